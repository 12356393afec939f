//! `party init`: keys, a certificate authority, certificates, the identity file to hand out and the commented configuration; with
//! officials, the keys sealed and the recovery kit.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rand::CryptoRng;
use tally_proto::envelope::Signer;
use tally_proto::identity::{Address, Fingerprint, IdentityError, PartyIdentity, PartyParts};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::{Authority, Leaf, Life, PeerRole, PkiError};
use tally_proto::secret_file::{self, SecretFileError};
use tally_proto::suite::OpeningKey;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::officials::ceremony::CeremonyError;
use crate::officials::{Label, Public, Sealed, Share, Terms, UnlockKey, Use};
use crate::renew::hosts;
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
    /// The key ceremony.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
}

/// What a party is made of, before anything is written.
struct Made {
    authority: Authority,
    signer: Signer,
    opening: OpeningKey,
    storage: Zeroizing<[u8; KEY_BYTES]>,
    identity: PartyIdentity,
    party: Leaf,
    operator: Leaf,
    public: Address,
    peer: Address,
}

impl Made {
    fn new(init: &Init, rng: &mut impl CryptoRng) -> Result<Made, InitError> {
        let public = Address::new("public address", &init.public_address)?;
        let peer = Address::new("peer address", &init.peer_address)?;
        let number = init.role.number();
        let authority = Authority::generate(&format!("Party {number} of the tally: {}", init.agency))?;
        let signer = Signer::generate(rng);
        let opening = OpeningKey::generate(rng);
        let mut storage = Zeroizing::new([0u8; KEY_BYTES]);
        rng.fill_bytes(&mut *storage);
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
        let hosts = hosts(&public, &peer);
        let party = authority.issue(&PeerRole::Party(init.role), &hosts)?;
        let operator = authority.issue(&PeerRole::Operator(init.role), &[])?;
        Ok(Made {
            party,
            operator,
            authority,
            signer,
            opening,
            storage,
            identity,
            public,
            peer,
        })
    }

    fn identity_name(&self) -> String {
        format!("party-{}.identity.toml", self.identity.role().number())
    }

    /// The configuration's text; `split`: the keys are sealed.
    fn config(&self, directory: &Path, init: &Init, split: bool) -> String {
        let listen = |given: Option<SocketAddr>, address: &Address| match given {
            Some(given) => format!("\"{given}\""),
            None => format!("\"0.0.0.0:{}\"", address.port()),
        };
        let other = |role: Role| format!("\"others/party-{}.identity.toml\"", role.number());
        let mut others = [init.role.next(), init.role.prev()];
        others.sort();
        let mut given = vec![
            ("party", init.role.number().to_string()),
            ("listen.public", listen(init.public_listen, &self.public)),
            ("listen.peer", listen(init.peer_listen, &self.peer)),
            ("identities.own", format!("\"{}\"", self.identity_name())),
            (
                "identities.others",
                format!("[{}, {}]", other(others[0]), other(others[1])),
            ),
            (
                "identities.coordinator",
                "\"others/coordinator.identity.toml\"".to_owned(),
            ),
        ];
        if let Some(data) = state_of(directory) {
            given.push(("data_dir", format!("{:?}", data.display().to_string())));
        }
        if split {
            given.push(("keys.sealed", format!("\"{SEALED}\"")));
            given.push(("tls.certificate", "\"tls/front.pem\"".to_owned()));
            given.push(("tls.key", "\"tls/front.key\"".to_owned()));
        }
        Config::document(&given)
    }

    fn initialised(&self, directory: &Path) -> Initialised {
        Initialised {
            config: directory.join(CONFIG),
            identity: directory.join(self.identity_name()),
            fingerprint: self.identity.fingerprint(),
        }
    }
}

/// Name of the configuration in a party's directory.
pub const CONFIG: &str = "party.toml";
/// Name of the sealed key file in it.
pub const SEALED: &str = "keys/sealed.keys";

fn fresh(directory: &Path) -> Result<(), InitError> {
    let config = directory.join(CONFIG);
    if config.exists() {
        return Err(InitError::Exists(config));
    }
    Ok(())
}

/// Makes everything that a party needs in `directory`, which is made when missing. The secret keys lie in files.
///
/// # Errors
/// [`InitError`]: initialised already, bad names or addresses, or the disk.
pub fn init(directory: &Path, init: &Init, rng: &mut impl CryptoRng) -> Result<Initialised, InitError> {
    fresh(directory)?;
    let made = Made::new(init, rng)?;
    directories(directory)?;
    secret_file::create(&directory.join("keys/signing.key"), &*made.signer.seed())?;
    secret_file::create(&directory.join("keys/hpke.key"), &*made.opening.to_bytes())?;
    secret_file::create(&directory.join("keys/storage.key"), &*made.storage)?;
    secret_file::create(&directory.join("ca/ca.key"), made.authority.key_pem().as_bytes())?;
    secret_file::create(&directory.join("tls/party.key"), made.party.key_pem.as_bytes())?;
    secret_file::create(
        &directory.join("tls/operator.key"),
        made.operator.key_pem.as_bytes(),
    )?;
    public_file(&directory.join("ca/ca.pem"), made.authority.cert_pem())?;
    public_file(&directory.join("tls/party.pem"), &made.party.cert_pem)?;
    public_file(&directory.join("tls/operator.pem"), &made.operator.cert_pem)?;
    public_file(&directory.join(made.identity_name()), &made.identity.to_toml())?;
    // Last: its existence says that everything else is there.
    public_file(&directory.join(CONFIG), &made.config(directory, init, false))?;
    Ok(made.initialised(directory))
}

/// Like [`init`], with the secret keys sealed under a key that is split on `terms`: no secret key lies in a file but the operator's and that
/// of the certificate shown while locked. `hand_out` gives the shares to their officials and has enough read back; nothing is written
/// before it has. The recovery kit is written to `kit`.
///
/// # Errors
/// [`InitError`]: as [`init`], or the ceremony.
pub fn init_split(
    directory: &Path,
    init: &Init,
    terms: Terms,
    kit: &Path,
    rng: &mut impl CryptoRng,
    hand_out: impl FnOnce(&[Share], &Public) -> Result<(), CeremonyError>,
) -> Result<Initialised, InitError> {
    fresh(directory)?;
    if kit.exists() {
        return Err(InitError::Exists(kit.to_owned()));
    }
    let made = Made::new(init, rng)?;
    let front = made
        .authority
        .issue_front(&hosts(&made.public, &made.peer), Life::of_leaf())?;
    let key = UnlockKey::generate(rng);
    let (shares, public) = key.split(init.role, terms, rng).map_err(CeremonyError::Split)?;
    hand_out(&shares, &public)?;
    drop(shares);
    let sealed = Sealed::seal(
        Use::Keys,
        &public,
        &key,
        &[
            (Label::Signing, &*made.signer.seed()),
            (Label::Hpke, &*made.opening.to_bytes()),
            (Label::Storage, &*made.storage),
            (Label::Party, made.party.cert_pem.as_bytes()),
            (Label::PartyKey, made.party.key_pem.as_bytes()),
        ],
        rng,
    )
    .encode();
    let (config, identity) = (made.config(directory, init, true), made.identity.to_toml());
    let whole = Sealed::seal(
        Use::Kit,
        &public,
        &key,
        &[
            (Label::SealedKeys, &sealed),
            (Label::AuthorityKey, made.authority.key_pem().as_bytes()),
            (Label::Authority, made.authority.cert_pem().as_bytes()),
            (Label::FrontKey, front.key_pem.as_bytes()),
            (Label::Front, front.cert_pem.as_bytes()),
            (Label::OperatorKey, made.operator.key_pem.as_bytes()),
            (Label::Operator, made.operator.cert_pem.as_bytes()),
            (Label::Identity, identity.as_bytes()),
            (Label::Config, config.as_bytes()),
        ],
        rng,
    );
    directories(directory)?;
    secret_file::create(kit, &whole.encode())?;
    secret_file::create(&directory.join(SEALED), &sealed)?;
    secret_file::create(&directory.join("tls/front.key"), front.key_pem.as_bytes())?;
    secret_file::create(
        &directory.join("tls/operator.key"),
        made.operator.key_pem.as_bytes(),
    )?;
    public_file(&directory.join("ca/ca.pem"), made.authority.cert_pem())?;
    public_file(&directory.join("tls/front.pem"), &front.cert_pem)?;
    public_file(&directory.join("tls/operator.pem"), &made.operator.cert_pem)?;
    public_file(&directory.join(made.identity_name()), &identity)?;
    // Last: its existence says that everything else is there.
    public_file(&directory.join(CONFIG), &config)?;
    Ok(made.initialised(directory))
}

fn directories(directory: &Path) -> Result<(), InitError> {
    for name in ["keys", "tls", "ca", "others"] {
        private_directory(&directory.join(name))?;
    }
    // Where the service keeps its state elsewhere, its supervisor makes that.
    match state_of(directory) {
        Some(_) => Ok(()),
        None => private_directory(&directory.join("data")),
    }
}

/// Where the service keeps its state whose configuration is in `directory`: nothing below /etc may be written by a service, and `/etc/tally/party-1`
/// goes with `/var/lib/tally/party-1` (deploy/systemd). `None` elsewhere: it is below the configuration.
fn state_of(directory: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(directory).ok()?;
    let name = whole.strip_prefix("/etc").ok()?;
    Some(Path::new("/var/lib").join(name))
}

pub(crate) fn private_directory(path: &Path) -> Result<(), InitError> {
    crate::store::private_directory(path).map_err(|source| InitError::Io {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn public_file(path: &Path, text: &str) -> Result<(), InitError> {
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
