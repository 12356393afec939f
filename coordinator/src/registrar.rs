//! A registrar: issues one fresh credential to each voter of a roll who may vote online.
//!
//! It holds a signing key and a TLS certificate from the coordinator. A credential exists in its memory from the moment it is
//! drawn until its invitation is written and its shares are sealed; on disk it exists in the invitation file only.

mod hand_over;
pub mod invitations;
pub mod issue;
pub mod outbox;
pub mod post;

use std::path::{Path, PathBuf};

use rand_core::CryptoRng;
use tally_proto::envelope::Signer;
use tally_proto::identity::RegistrarIdentity;
use tally_proto::ids::ElectionId;
use tally_proto::pki::{self, Leaf};
use tally_proto::secret_file;

use crate::directory::read_leaf;
use crate::error::{Error, StoredProblem};
use crate::files;

const IDENTITY: &str = "registrar.identity.toml";

/// An open registrar's directory with its keys.
#[derive(Debug)]
pub struct Registrar {
    path: PathBuf,
    identity: RegistrarIdentity,
    signer: Signer,
}

impl Registrar {
    /// Makes keys, identity and a certificate request (`request.pem`) in a new directory.
    ///
    /// # Errors
    /// [`Error::AlreadyThere`], [`Error::Identity`] for a name that is no slug, and failures to write.
    pub fn init(path: &Path, name: &str, rng: &mut impl CryptoRng) -> Result<Self, Error> {
        if path.join(IDENTITY).exists() {
            return Err(Error::AlreadyThere(path.to_path_buf()));
        }
        let signer = Signer::generate(rng);
        let identity =
            RegistrarIdentity::new(name, signer.public_key()).map_err(|source| Error::Identity {
                place: "registrar".to_owned(),
                source,
            })?;
        let (request, key) = pki::request()?;
        files::directory(path)?;
        secret_file::create(&path.join("signing.key"), signer.seed().as_slice())?;
        secret_file::create(&path.join("tls.key"), key.as_bytes())?;
        files::create(&path.join("request.pem"), request.as_bytes())?;
        files::create(&path.join(IDENTITY), identity.to_toml().as_bytes())?;
        Ok(Self {
            path: path.to_path_buf(),
            identity,
            signer,
        })
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// Files that are missing, exposed or damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let place = path.join(IDENTITY);
        let identity =
            RegistrarIdentity::from_toml(&files::read_text(&place)?).map_err(|source| Error::Identity {
                place: place.display().to_string(),
                source,
            })?;
        let signer = Signer::from_seed(secret_file::read_exact::<32>(&path.join("signing.key"))?.as_slice())?;
        if signer.public_key() != identity.signing_key() {
            return Err(Error::Stored {
                path: place,
                problem: StoredProblem::Damaged,
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            identity,
            signer,
        })
    }

    /// The public identity.
    pub fn identity(&self) -> &RegistrarIdentity {
        &self.identity
    }

    /// Where the public identity's file is.
    pub fn identity_file(&self) -> PathBuf {
        self.path.join(IDENTITY)
    }

    /// Where the certificate request is, for the coordinator's `certify`.
    pub fn request_file(&self) -> PathBuf {
        self.path.join("request.pem")
    }

    /// Where the certificate belongs that `certify` made.
    pub fn certificate_file(&self) -> PathBuf {
        self.path.join("tls.pem")
    }

    /// The signing key.
    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The TLS certificate and key.
    ///
    /// # Errors
    /// [`Error::NotCertified`] before the certificate is there.
    pub(crate) fn leaf(&self) -> Result<Leaf, Error> {
        let certificate = self.certificate_file();
        if !certificate.exists() {
            return Err(Error::NotCertified(certificate));
        }
        read_leaf(&certificate, &self.path.join("tls.key"))
    }

    /// Where the progress of issuing for an election is kept.
    fn issuing(&self, election: &ElectionId) -> PathBuf {
        self.path.join("issued").join(election.as_str())
    }
}
