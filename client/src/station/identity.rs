//! A station's keys, certificate and identity file.
//!
//! `create` makes a signing key, a TLS key with a certificate request, and the public identity file. The commission puts the
//! identity into the manifest and answers the request with a certificate, which goes into the same directory.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rand::CryptoRng;
use tally_proto::envelope::{EnvelopeError, PublicKey, Signer};
use tally_proto::identity::{IdentityError, StationIdentity};
use tally_proto::ids::{BoxId, StationId};
use tally_proto::pki::{self, Leaf, PkiError};
use tally_proto::secret_file::{self, SecretFileError};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::disk::{RealDisk, make_private_dir, replace};

const SIGNING_KEY: &str = "signing.key";
const TLS_KEY: &str = "tls.key.pem";
const REQUEST: &str = "tls.request.pem";
const CERTIFICATE: &str = "tls.certificate.pem";
const IDENTITY: &str = "station.identity.toml";

/// Why a station's files cannot be used.
#[derive(Debug, Error)]
pub enum IdentityFilesError {
    /// A secret file.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signing key.
    #[error("the station's signing key: {0}")]
    Key(#[from] EnvelopeError),
    /// The TLS key or request.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The TLS key is no text.
    #[error("{path} is not PEM text")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The identity file names another key.
    #[error("{path} names another signing key than the one beside it: files of two stations are mixed up")]
    OtherKey {
        /// The identity file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The commission's certificate is not there yet.
    #[error(
        "{path} is not there yet: send {request} to the election commission and save the certificate it answers with"
    )]
    NotCertified {
        /// Where the certificate goes.
        path: PathBuf,
        /// The request.
        request: PathBuf,
    },
}

/// A station's identity and secret keys.
pub struct StationKeys {
    identity: StationIdentity,
    signer: Signer,
    directory: PathBuf,
}

impl fmt::Debug for StationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StationKeys")
            .field("id", &self.identity.id())
            .finish_non_exhaustive()
    }
}

impl StationKeys {
    /// Makes the files of a new station in `directory`; never overwrites one. No boxes means all.
    ///
    /// # Errors
    /// [`IdentityFilesError`], also when there is a station in the directory already.
    pub fn create(
        directory: &Path,
        id: StationId,
        name: &str,
        boxes: Vec<BoxId>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, IdentityFilesError> {
        let signer = Signer::generate(rng);
        let identity = StationIdentity::new(id, name, signer.public_key(), boxes)?;
        make_private_dir(directory).map_err(|source| IdentityFilesError::Io {
            path: directory.to_owned(),
            source,
        })?;
        secret_file::create(&directory.join(SIGNING_KEY), &*signer.seed())?;
        let (request, key_pem) = pki::request()?;
        secret_file::create(&directory.join(TLS_KEY), key_pem.as_bytes())?;
        for (name, text) in [(REQUEST, &request), (IDENTITY, &identity.to_toml())] {
            let path = directory.join(name);
            replace(&RealDisk, &path, text.as_bytes())
                .map_err(|source| IdentityFilesError::Io { path, source })?;
        }
        Ok(Self {
            identity,
            signer,
            directory: directory.to_owned(),
        })
    }

    /// Loads the files of a station.
    ///
    /// # Errors
    /// [`IdentityFilesError`].
    pub fn load(directory: &Path) -> Result<Self, IdentityFilesError> {
        let path = directory.join(IDENTITY);
        let text = read_text(&path)?;
        let identity = StationIdentity::from_toml(&text)?;
        let signer = Signer::from_seed(&*secret_file::read_exact::<32>(&directory.join(SIGNING_KEY))?)?;
        if signer.public_key() != identity.signing_key() {
            return Err(IdentityFilesError::OtherKey { path });
        }
        Ok(Self {
            identity,
            signer,
            directory: directory.to_owned(),
        })
    }

    /// The station's number.
    pub fn id(&self) -> StationId {
        self.identity.id()
    }

    /// The public identity, for the manifest.
    pub fn identity(&self) -> &StationIdentity {
        &self.identity
    }

    /// The public half of the signing key.
    pub fn public_key(&self) -> PublicKey {
        self.signer.public_key()
    }

    /// The certificate request, PEM, for the commission.
    ///
    /// # Errors
    /// [`IdentityFilesError::Io`].
    pub fn request(&self) -> Result<String, IdentityFilesError> {
        read_text(&self.directory.join(REQUEST))
    }

    /// Stores the commission's certificate (PEM).
    ///
    /// # Errors
    /// [`IdentityFilesError::Io`].
    pub fn install_certificate(&self, pem: &str) -> Result<(), IdentityFilesError> {
        let path = self.directory.join(CERTIFICATE);
        replace(&RealDisk, &path, pem.as_bytes()).map_err(|source| IdentityFilesError::Io { path, source })
    }

    /// The TLS certificate and key.
    ///
    /// # Errors
    /// [`IdentityFilesError::NotCertified`] until the certificate is installed.
    pub fn leaf(&self) -> Result<Leaf, IdentityFilesError> {
        let path = self.directory.join(CERTIFICATE);
        if !path.exists() {
            return Err(IdentityFilesError::NotCertified {
                path,
                request: self.directory.join(REQUEST),
            });
        }
        let cert_pem = read_text(&path)?;
        let path = self.directory.join(TLS_KEY);
        let key = secret_file::read(&path)?;
        let key = std::str::from_utf8(&key).map_err(|_| IdentityFilesError::NotText { path })?;
        Ok(Leaf {
            cert_pem,
            key_pem: Zeroizing::new(key.to_owned()),
        })
    }

    /// Where the identity file of the station in `directory` is.
    pub fn identity_path(directory: &Path) -> PathBuf {
        directory.join(IDENTITY)
    }

    /// Where the certificate request is.
    pub fn request_path(directory: &Path) -> PathBuf {
        directory.join(REQUEST)
    }

    /// Where the commission's certificate goes.
    pub fn certificate_path(directory: &Path) -> PathBuf {
        directory.join(CERTIFICATE)
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }
}

fn read_text(path: &Path) -> Result<String, IdentityFilesError> {
    fs::read_to_string(path).map_err(|source| IdentityFilesError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn made_once_loaded_again_and_certified() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("station");
        let mut rng = StdRng::seed_from_u64(1);
        let made = StationKeys::create(&at, StationId(7), "Town hall", vec![BoxId(1)], &mut rng).unwrap();
        let again = StationKeys::create(&at, StationId(7), "Town hall", vec![], &mut rng);
        assert!(matches!(again, Err(IdentityFilesError::Secret(_))));
        let loaded = StationKeys::load(&at).unwrap();
        assert_eq!(loaded.identity(), made.identity());
        assert_eq!(loaded.public_key(), made.public_key());
        assert!(matches!(
            loaded.leaf(),
            Err(IdentityFilesError::NotCertified { .. })
        ));
        let authority = pki::Authority::generate("commission").unwrap();
        let role = pki::PeerRole::Station(StationId(7));
        let certificate = authority
            .sign_request(
                &loaded.request().unwrap(),
                &role,
                &[],
                tally_proto::pki::Life::of_leaf(),
            )
            .unwrap();
        loaded.install_certificate(&certificate).unwrap();
        assert_eq!(loaded.leaf().unwrap().cert_pem, certificate);
        assert_eq!(format!("{loaded:?}"), "StationKeys { id: StationId(7), .. }");
    }

    #[test]
    fn files_of_two_stations_are_not_mixed() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("1"), directory.path().join("2"));
        let mut rng = StdRng::seed_from_u64(2);
        StationKeys::create(&one, StationId(1), "One", vec![], &mut rng).unwrap();
        StationKeys::create(&two, StationId(2), "Two", vec![], &mut rng).unwrap();
        fs::copy(two.join(IDENTITY), one.join(IDENTITY)).unwrap();
        assert!(matches!(
            StationKeys::load(&one),
            Err(IdentityFilesError::OtherKey { .. })
        ));
    }
}
