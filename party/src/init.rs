//! `party init`: keys, a certificate authority, certificates, the identity file to hand out and the commented configuration.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rand::CryptoRng;
use tally_proto::envelope::Signer;
use tally_proto::identity::{Address, Fingerprint, IdentityError, PartyIdentity, PartyParts};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::{Authority, PeerRole, PkiError};
use tally_proto::secret_file::{self, SecretFileError};
use tally_proto::suite::OpeningKey;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::store::vault::KEY_BYTES;

/// What `init` is told.
#[derive(Clone, Debug)]
pub struct Init {
    /// Which party.
    pub role: Role,
    /// Name of the agency that runs it.
    pub agency: String,
    /// Where voters reach it, `https://host:port`.
    pub public_address: String,
    /// Where everyone else reaches it, `https://host:port`.
    pub peer_address: String,
    /// What the public listener binds; left out: all interfaces, the port of the address.
    pub public_listen: Option<SocketAddr>,
    /// What the peer listener binds; left out: all interfaces, the port of the address.
    pub peer_listen: Option<SocketAddr>,
}

/// What `init` made.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// The configuration file.
    pub config: PathBuf,
    /// The identity file, to be handed to the others.
    pub identity: PathBuf,
    /// What its operator reads over the phone.
    pub fingerprint: Fingerprint,
}

/// Why `init` stopped. Nothing that existed before was changed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a configuration already.
    #[error("{} exists: this directory is initialised; use another, or remove it if it was never used", .0.display())]
    Exists(PathBuf),
    /// A file or directory cannot be made.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret file cannot be made.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A name or address is not one.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// Makes everything that a party needs in `directory`, which is made when missing.
///
/// # Errors
/// [`InitError`]: initialised already, bad names or addresses, or the disk.
pub fn init(directory: &Path, init: &Init, rng: &mut impl CryptoRng) -> Result<Initialised, InitError> {
    let config = directory.join("party.toml");
    if config.exists() {
        return Err(InitError::Exists(config));
    }
    let public = Address::new("public address", &init.public_address)?;
    let peer = Address::new("peer address", &init.peer_address)?;
    let number = init.role.number();
    let authority = Authority::generate(&format!("Party {number} of the tally: {}", init.agency))?;
    let signer = Signer::generate(rng);
    let opening = OpeningKey::generate(rng);
    // The identity is checked before anything is written.
    let identity = PartyIdentity::new(PartyParts {
        role: init.role,
        agency: init.agency.clone(),
        public_address: init.public_address.clone(),
        peer_address: init.peer_address.clone(),
        tls_ca_pem: authority.cert_pem().to_owned(),
        signing_key: signer.public_key(),
        sealing_key: opening.sealing_key(),
    })?;
    let mut hosts = vec![public.host()];
    if peer.host() != public.host() {
        hosts.push(peer.host());
    }
    let party = authority.issue(&PeerRole::Party(init.role), &hosts)?;
    let operator = authority.issue(&PeerRole::Operator(init.role), &[])?;

    for name in ["keys", "tls", "ca", "others", "data"] {
        private_directory(&directory.join(name))?;
    }
    let mut storage = Zeroizing::new([0u8; KEY_BYTES]);
    rng.fill_bytes(&mut *storage);
    secret_file::create(&directory.join("keys/signing.key"), &*signer.seed())?;
    secret_file::create(&directory.join("keys/hpke.key"), &*opening.to_bytes())?;
    secret_file::create(&directory.join("keys/storage.key"), &*storage)?;
    secret_file::create(&directory.join("ca/ca.key"), authority.key_pem().as_bytes())?;
    secret_file::create(&directory.join("tls/party.key"), party.key_pem.as_bytes())?;
    secret_file::create(&directory.join("tls/operator.key"), operator.key_pem.as_bytes())?;
    public_file(&directory.join("ca/ca.pem"), authority.cert_pem())?;
    public_file(&directory.join("tls/party.pem"), &party.cert_pem)?;
    public_file(&directory.join("tls/operator.pem"), &operator.cert_pem)?;
    let identity_name = format!("party-{number}.identity.toml");
    let identity_path = directory.join(&identity_name);
    public_file(&identity_path, &identity.to_toml())?;

    let listen = |given: Option<SocketAddr>, address: &Address| match given {
        Some(given) => format!("\"{given}\""),
        None => format!("\"0.0.0.0:{}\"", address.port()),
    };
    let other = |role: Role| format!("\"others/party-{}.identity.toml\"", role.number());
    let mut others = [init.role.next(), init.role.prev()];
    others.sort();
    let text = Config::document(&[
        ("party", number.to_string()),
        ("listen.public", listen(init.public_listen, &public)),
        ("listen.peer", listen(init.peer_listen, &peer)),
        ("identities.own", format!("\"{identity_name}\"")),
        (
            "identities.others",
            format!("[{}, {}]", other(others[0]), other(others[1])),
        ),
        (
            "identities.coordinator",
            "\"others/coordinator.identity.toml\"".to_owned(),
        ),
    ]);
    // Last: its existence says that everything else is there.
    public_file(&config, &text)?;
    Ok(Initialised {
        config,
        identity: identity_path,
        fingerprint: identity.fingerprint(),
    })
}

fn private_directory(path: &Path) -> Result<(), InitError> {
    let at = |source| InitError::Io {
        path: path.to_owned(),
        source,
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path).map_err(at)
}

fn public_file(path: &Path, text: &str) -> Result<(), InitError> {
    let at = |source| InitError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(at)?;
    io::Write::write_all(&mut file, text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(at)
}

#[cfg(test)]
mod tests;
