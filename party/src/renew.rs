//! `party renew-certificates`: new TLS certificates under the same authority and identity, for the same host names. No manifest and no other
//! party needs to know: they trust the authority. The server takes them at its next start.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tally_proto::identity::{Address, PartyIdentity};
use tally_proto::ids::UnixSeconds;
use tally_proto::pki::{Authority, Leaf, Life, PeerRole, PkiError, Shown};
use tally_proto::secret_file::{self, SecretFileError};

use crate::config::{Config, TlsPair};
use crate::keys::{self, KeyError};

/// Why the certificates are the old ones.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Files of the party.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A secret file.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// Issuing.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The key is no text.
    #[error("the key of the authority is not a PEM file")]
    NotPem,
    /// The key of another authority.
    #[error(
        "this is not the key of the authority in {}: with any other, nobody would believe the certificates", identity.display()
    )]
    OtherAuthority {
        /// The identity file.
        identity: PathBuf,
    },
    /// A file cannot be replaced.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// New certificates with their keys. In use only once they are written.
#[derive(Debug)]
pub struct Issued {
    pub(crate) party: Leaf,
    pub(crate) operator: Leaf,
    /// Shown while keys that officials hold are locked.
    pub(crate) front: Leaf,
}

impl Issued {
    /// Issues for the party of `own`, with its authority's key (PEM), in the place of the certificates `before`.
    ///
    /// # Errors
    /// [`RenewError::OtherAuthority`], [`RenewError::NotPem`], [`RenewError::Pki`].
    pub(crate) fn new(
        own: &PartyIdentity,
        authority_key: &[u8],
        life: Life,
        before: &[Shown],
    ) -> Result<Issued, RenewError> {
        let key = std::str::from_utf8(authority_key).map_err(|_| RenewError::NotPem)?;
        let authority = Authority::from_pem(own.anchor().pem(), key)?;
        let hosts = hosts(own.public_address(), own.peer_address());
        // Whoever meets old and new tells them apart by their beginnings.
        let life = before.iter().fold(life, |life, shown| life.after(shown.begins()));
        Ok(Issued {
            party: authority.issue_for(&PeerRole::Party(own.role()), &hosts, life)?,
            operator: authority.issue_for(&PeerRole::Operator(own.role()), &[], life)?,
            front: authority.issue_front(&hosts, life)?,
        })
    }

    /// Puts the operator's in place, and the one that the listeners' files hold: the party's, or with split keys the one that is shown while
    /// locked. A crash in between leaves a key beside another one's certificate, which the server refuses by name; the command mends it.
    ///
    /// # Errors
    /// [`RenewError::Secret`], [`RenewError::Io`].
    pub fn write(&self, config: &Config) -> Result<(), RenewError> {
        let listeners = match config.keys.sealed {
            Some(_) => &self.front,
            None => &self.party,
        };
        put(&config.tls.party, listeners)?;
        put(&config.tls.operator, &self.operator)
    }

    /// The last second at which the party's is believed.
    ///
    /// # Errors
    /// [`RenewError::Pki`].
    pub fn ends(&self) -> Result<UnixSeconds, RenewError> {
        Ok(self.party.ends()?)
    }
}

/// The names that a party serves under.
pub(crate) fn hosts<'a>(public: &'a Address, peer: &'a Address) -> Vec<&'a str> {
    let mut hosts = vec![public.host()];
    if peer.host() != public.host() {
        hosts.push(peer.host());
    }
    hosts
}

/// The certificates in these files. One that cannot be read is no reason not to replace it.
pub(crate) fn before(pairs: &[&TlsPair]) -> Vec<Shown> {
    let texts = pairs
        .iter()
        .filter_map(|pair| fs::read_to_string(&pair.certificate).ok());
    texts.filter_map(|pem| Shown::of(&pem).ok()).collect()
}

/// Issues new certificates with the authority's key in a file. Nothing is written.
///
/// # Errors
/// [`RenewError`].
pub fn issue(config: &Config, authority_key: &Path, life: Life) -> Result<Issued, RenewError> {
    let own = keys::own_identity(config)?;
    let key = secret_file::read(authority_key)?;
    let issued = Issued::new(
        &own,
        &key,
        life,
        &before(&[&config.tls.party, &config.tls.operator]),
    )?;
    // An authority's certificate and another one's key issue what nobody believes.
    for leaf in [&issued.party, &issued.operator] {
        keys::check_leaf(leaf, &config.tls.party, own.anchor(), own.role()).map_err(|_| {
            RenewError::OtherAuthority {
                identity: config.identities.own.clone(),
            }
        })?;
    }
    Ok(issued)
}

fn put(pair: &TlsPair, leaf: &Leaf) -> Result<(), RenewError> {
    secret_file::replace(&pair.key, leaf.key_pem.as_bytes())?;
    let path = &pair.certificate;
    let mut beside = path.file_name().unwrap_or_default().to_owned();
    beside.push(".new");
    let beside = path.with_file_name(beside);
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(leaf.cert_pem.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    });
    written.map_err(|source| RenewError::Io {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests;
