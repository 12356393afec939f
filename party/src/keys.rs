//! What a party reads from its files before it does anything: secret keys, certificates, identities.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tally_proto::envelope::{EnvelopeError, Signer};
use tally_proto::identity::{CoordinatorIdentity, IdentityError, PartyIdentity};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::{Anchor, Leaf, PeerRole, PkiError, Trust};
use tally_proto::secret_file::{self, SecretFileError};
use tally_proto::suite::{OpeningKey, Suite, SuiteError};
use zeroize::Zeroizing;

use crate::config::{Config, TlsPair};
use crate::holder::{self, HolderError};
use crate::officials::{Label, Sealed, SealedError, Terms, UnlockKey, Use};
use crate::store::vault::StorageKey;

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A secret file is missing, exposed or of a wrong length.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A public file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No signing key.
    #[error("{}: {source}", path.display())]
    Signing {
        /// The file.
        path: PathBuf,
        /// Why.
        source: EnvelopeError,
    },
    /// No HPKE key.
    #[error("{}: {source}", path.display())]
    Hpke {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SuiteError,
    },
    /// A private key in PEM is not text.
    #[error("{}: not a PEM file", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
    },
    /// No identity file.
    #[error("{}: {source}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// An identity of the wrong party.
    #[error("{}: this is the identity of party {found}, party {expected} is needed", path.display())]
    WrongParty {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Role,
        /// Whose it should be.
        expected: Role,
    },
    /// The others' files are not the other two parties'.
    #[error(
        "identities.others are the files of {first} and {second}; needed are the two parties that this one is not"
    )]
    WrongOthers {
        /// Whose the first is.
        first: Role,
        /// Whose the second is.
        second: Role,
    },
    /// A key file does not belong to the identity that was handed out.
    #[error("{}: not the {what} of the identity file {}", path.display(), identity.display())]
    NotOwn {
        /// The key file.
        path: PathBuf,
        /// Which key.
        what: &'static str,
        /// The identity file.
        identity: PathBuf,
    },
    /// The sealed key file.
    #[error("{}: {source}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealedError,
    },
    /// The sealed keys of another party.
    #[error("{}: these are the keys of {found}; those of {expected} are needed", path.display())]
    OtherKeys {
        /// The file.
        path: PathBuf,
        /// Whose they are.
        found: Role,
        /// Whose they should be.
        expected: Role,
    },
    /// A certificate that stands for a role where one that does not is needed.
    #[error(
        "{}: with split keys this must be the certificate that stands for no role (tls/front.pem); the party's own is in the sealed key file",
        path.display()
    )]
    NotFront {
        /// The file.
        path: PathBuf,
    },
    /// The key holder.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// The officials have not come yet.
    #[error("the keys are locked: {0} are needed, each with `party unseal`")]
    Locked(Terms),
    /// The private key is not the certificate's.
    #[error("{}: {source}", path.display())]
    Mismatch {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate is not the party's.
    #[error("{}: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PkiError,
    },
}

fn read_text(path: &Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|source| KeyError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Reads the signing key.
///
/// # Errors
/// [`KeyError`].
pub fn signer(path: &Path) -> Result<Signer, KeyError> {
    let seed = secret_file::read_exact::<32>(path)?;
    Signer::from_seed(&*seed).map_err(|source| KeyError::Signing {
        path: path.to_owned(),
        source,
    })
}

/// Reads the HPKE key.
///
/// # Errors
/// [`KeyError`].
pub fn opening(path: &Path) -> Result<OpeningKey, KeyError> {
    let bytes = secret_file::read_exact::<32>(path)?;
    OpeningKey::from_bytes(Suite::X25519ChaCha20Poly1305, &*bytes).map_err(|source| KeyError::Hpke {
        path: path.to_owned(),
        source,
    })
}

/// Reads the key of shares at rest.
///
/// # Errors
/// [`KeyError`].
pub fn storage(path: &Path) -> Result<StorageKey, KeyError> {
    Ok(StorageKey::new(*secret_file::read_exact::<32>(path)?))
}

/// The sealed key file, when the configuration names one.
///
/// # Errors
/// [`KeyError::Sealed`], [`KeyError::OtherKeys`].
pub fn sealed(config: &Config) -> Result<Option<Sealed>, KeyError> {
    let Some(path) = &config.keys.sealed else {
        return Ok(None);
    };
    let sealed = Sealed::read(path, Use::Keys).map_err(|source| KeyError::Sealed {
        path: path.clone(),
        source,
    })?;
    let found = sealed.public().party;
    if found != config.party {
        return Err(KeyError::OtherKeys {
            path: path.clone(),
            found,
            expected: config.party,
        });
    }
    Ok(Some(sealed))
}

/// Where this party's keys are read from.
enum Source<'a> {
    Files(&'a Config),
    Sealed(&'a Path, Sealed, UnlockKey),
}

impl Source<'_> {
    /// Asks the key holder when the keys are sealed. Blocks.
    fn of(config: &Config) -> Result<Source<'_>, KeyError> {
        match (&config.keys.sealed, sealed(config)?) {
            (Some(path), Some(sealed)) => {
                let key = holder::key(&config.keys.holder, sealed.public())?
                    .ok_or(KeyError::Locked(sealed.public().terms))?;
                Ok(Source::Sealed(path, sealed, key))
            }
            _ => Ok(Source::Files(config)),
        }
    }

    fn entry(&self, label: Label) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        match self {
            Source::Files(config) => {
                let path = match label {
                    Label::Signing => &config.keys.signing,
                    Label::Hpke => &config.keys.hpke,
                    _ => &config.keys.storage,
                };
                Ok(secret_file::read_exact::<32>(path)?)
            }
            Source::Sealed(path, sealed, key) => {
                sealed.open_exact(key, label).map_err(|source| KeyError::Sealed {
                    path: (*path).to_owned(),
                    source,
                })
            }
        }
    }

    fn path(&self, label: Label) -> PathBuf {
        match self {
            Source::Files(config) if label == Label::Signing => config.keys.signing.clone(),
            Source::Files(config) => config.keys.hpke.clone(),
            Source::Sealed(path, ..) => (*path).to_owned(),
        }
    }

    fn signer(&self) -> Result<Signer, KeyError> {
        let seed = self.entry(Label::Signing)?;
        Signer::from_seed(&*seed).map_err(|source| KeyError::Signing {
            path: self.path(Label::Signing),
            source,
        })
    }

    fn opening(&self) -> Result<OpeningKey, KeyError> {
        let bytes = self.entry(Label::Hpke)?;
        OpeningKey::from_bytes(Suite::X25519ChaCha20Poly1305, &*bytes).map_err(|source| KeyError::Hpke {
            path: self.path(Label::Hpke),
            source,
        })
    }

    /// Where certificate and key are, for messages.
    fn pair(&self) -> TlsPair {
        match self {
            Source::Files(config) => config.tls.party.clone(),
            Source::Sealed(path, ..) => TlsPair {
                certificate: (*path).to_owned(),
                key: (*path).to_owned(),
            },
        }
    }

    fn leaf(&self) -> Result<Leaf, KeyError> {
        match self {
            Source::Files(config) => leaf(&config.tls.party),
            Source::Sealed(path, sealed, key) => {
                let text = |label| {
                    let bytes = sealed.open(key, label).map_err(|source| KeyError::Sealed {
                        path: (*path).to_owned(),
                        source,
                    })?;
                    std::str::from_utf8(&bytes)
                        .map(|text| Zeroizing::new(text.to_owned()))
                        .map_err(|_| KeyError::NotPem {
                            path: (*path).to_owned(),
                        })
                };
                Ok(Leaf {
                    cert_pem: text(Label::Party)?.to_string(),
                    key_pem: text(Label::PartyKey)?,
                })
            }
        }
    }

    fn storage(&self) -> Result<StorageKey, KeyError> {
        Ok(StorageKey::new(*self.entry(Label::Storage)?))
    }
}

/// The signing key and the storage key, for an audit: from their files, or from the sealed file with the key holder's key. Blocks.
///
/// # Errors
/// [`KeyError`].
pub fn for_audit(config: &Config) -> Result<(Signer, StorageKey), KeyError> {
    let source = Source::of(config)?;
    Ok((source.signer()?, source.storage()?))
}

/// Reads a certificate and its key.
///
/// # Errors
/// [`KeyError`].
pub fn leaf(pair: &TlsPair) -> Result<Leaf, KeyError> {
    let key = secret_file::read(&pair.key)?;
    let key_pem = std::str::from_utf8(&key)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| KeyError::NotPem {
            path: pair.key.clone(),
        })?;
    Ok(Leaf {
        cert_pem: read_text(&pair.certificate)?,
        key_pem,
    })
}

/// Reads a party's identity file.
///
/// # Errors
/// [`KeyError`].
pub fn party_identity(path: &Path) -> Result<PartyIdentity, KeyError> {
    PartyIdentity::from_toml(&read_text(path)?).map_err(|source| KeyError::Identity {
        path: path.to_owned(),
        source,
    })
}

/// Reads the coordinator's identity file.
///
/// # Errors
/// [`KeyError`].
pub fn coordinator_identity(path: &Path) -> Result<CoordinatorIdentity, KeyError> {
    CoordinatorIdentity::from_toml(&read_text(path)?).map_err(|source| KeyError::Identity {
        path: path.to_owned(),
        source,
    })
}

/// Who takes part, as configured.
#[derive(Clone, Debug)]
pub struct Identities {
    /// The three parties, in order.
    pub parties: [PartyIdentity; 3],
    /// The coordinator.
    pub coordinator: CoordinatorIdentity,
}

impl Identities {
    /// Reads the four identity files and checks that they are who they should be.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(config: &Config) -> Result<Identities, KeyError> {
        let own = own_identity(config)?;
        let [first, second] = &config.identities.others;
        let others = [party_identity(first)?, party_identity(second)?];
        let by_role = |role: Role| {
            [&own, &others[0], &others[1]]
                .into_iter()
                .find(|identity| identity.role() == role)
                .cloned()
        };
        match (by_role(Role::P1), by_role(Role::P2), by_role(Role::P3)) {
            (Some(p1), Some(p2), Some(p3)) => Ok(Identities {
                parties: [p1, p2, p3],
                coordinator: coordinator_identity(&config.identities.coordinator)?,
            }),
            _ => Err(KeyError::WrongOthers {
                first: others[0].role(),
                second: others[1].role(),
            }),
        }
    }

    /// One party's identity.
    pub fn party(&self, role: Role) -> &PartyIdentity {
        &self.parties[role.slot()]
    }

    /// Who may say what they are on the peer listener.
    pub fn trust(&self) -> Trust {
        Role::ALL
            .into_iter()
            .fold(Trust::new(), |trust, role| {
                trust.party(role, self.party(role).anchor().clone())
            })
            .coordinator(self.coordinator.anchor().clone())
    }
}

/// Reads this party's own identity file.
///
/// # Errors
/// [`KeyError`].
pub fn own_identity(config: &Config) -> Result<PartyIdentity, KeyError> {
    let path = &config.identities.own;
    let own = party_identity(path)?;
    if own.role() != config.party {
        return Err(KeyError::WrongParty {
            path: path.clone(),
            found: own.role(),
            expected: config.party,
        });
    }
    Ok(own)
}

/// The server's secrets, checked against the identity that the others know.
#[derive(Debug)]
pub struct Secrets {
    /// Signs.
    pub signer: Signer,
    /// Opens what is sealed to this party.
    pub opening: OpeningKey,
    /// Seals and opens shares at rest.
    pub storage: StorageKey,
    /// Certificate and key of both listeners and towards the others.
    pub leaf: Leaf,
}

impl Secrets {
    /// Reads all of them, from their files or from the sealed file with the key holder's key, and checks that they are those of `own`. Blocks.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::Locked`] and [`KeyError::Holder`] while the officials have not come.
    pub fn load(config: &Config, own: &PartyIdentity) -> Result<Secrets, KeyError> {
        let source = Source::of(config)?;
        let secrets = Secrets {
            signer: source.signer()?,
            opening: source.opening()?,
            storage: source.storage()?,
            leaf: source.leaf()?,
        };
        let not_own = |label, what| KeyError::NotOwn {
            path: source.path(label),
            what,
            identity: config.identities.own.clone(),
        };
        if secrets.signer.public_key() != own.signing_key() {
            return Err(not_own(Label::Signing, "signing key"));
        }
        if secrets.opening.sealing_key() != *own.sealing_key() {
            return Err(not_own(Label::Hpke, "HPKE key"));
        }
        check_leaf(&secrets.leaf, &source.pair(), own.anchor(), own.role())?;
        Ok(secrets)
    }
}

/// The certificate must be one that the others would believe, and the key must be its own.
pub(crate) fn check_leaf(leaf: &Leaf, pair: &TlsPair, anchor: &Anchor, role: Role) -> Result<(), KeyError> {
    let certificate = matching(leaf, pair)?;
    let refused = |source| KeyError::Certificate {
        path: pair.certificate.clone(),
        source,
    };
    let trust = Trust::new().party(role, anchor.clone());
    let (found, _) = trust.role_of(&certificate).map_err(refused)?;
    if !matches!(found, PeerRole::Party(of) | PeerRole::Operator(of) if of == role) {
        return Err(refused(PkiError::WrongAuthority(found)));
    }
    Ok(())
}

/// The certificate, if the key is its own.
fn matching(leaf: &Leaf, pair: &TlsPair) -> Result<CertificateDer<'static>, KeyError> {
    let not_pem = |path: &Path| KeyError::NotPem {
        path: path.to_owned(),
    };
    let certificate =
        CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes()).map_err(|_| not_pem(&pair.certificate))?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).map_err(|_| not_pem(&pair.key))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(vec![certificate.clone()], key, &provider).map_err(|source| {
        KeyError::Mismatch {
            path: pair.key.clone(),
            source,
        }
    })?;
    Ok(certificate)
}

/// Reads the certificate of a party whose keys are locked: a server's, that stands for no role.
///
/// # Errors
/// [`KeyError`]; [`KeyError::NotFront`] for a certificate with a role, whose key must not lie on the disk.
pub fn front_leaf(config: &Config) -> Result<Leaf, KeyError> {
    let pair = &config.tls.party;
    let leaf = leaf(pair)?;
    let certificate = matching(&leaf, pair)?;
    match Trust::new().role_of(&certificate) {
        Err(PkiError::Roles(0)) => Ok(leaf),
        _ => Err(KeyError::NotFront {
            path: pair.certificate.clone(),
        }),
    }
}

/// Reads the operator's certificate, checked against `own`.
///
/// # Errors
/// [`KeyError`].
pub fn operator_leaf(config: &Config, own: &PartyIdentity) -> Result<Leaf, KeyError> {
    let leaf = leaf(&config.tls.operator)?;
    check_leaf(&leaf, &config.tls.operator, own.anchor(), own.role())?;
    Ok(leaf)
}
