//! An auditor's desk at one party: the whole audit of a box and session, and the signed statement.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::CryptoRng;
use tally_proto::audit::{Audit, MAX_AUDITOR_BYTES};
use tally_proto::envelope::{Envelope, EnvelopeError, PublicKey, Signer};
use tally_proto::ids::{BoxId, ElectionId, Role, RoleExt as _, SessionNumber, UnixSeconds};
use tally_proto::refusal::Refusal;
use tally_proto::secret_file::{self, SecretFileError};
use tokio::runtime::Handle;

use super::session::{SessionAudit, SignedEnd, audit_session};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::SystemEntropy;
use crate::keys::{self, KeyError};
use crate::mirror::Gate;
use crate::sealing::{Parts, Patience, SealError, Sealing};
use crate::session::log::{LogError, SessionLogs};
use crate::session::{Scene, SealedBoxes, TallySource as _, ledger};
use crate::store::vault::StorageKey;
use crate::store::{Storage, Store, StoreError, elections};

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A key of the party.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The auditor's key file.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The auditor's key.
    #[error("the auditor's key {}: {source}", path.display())]
    AuditorKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: EnvelopeError,
    },
    /// The auditor's key is not the auditor's own.
    #[error("the auditor's key is a key of the election: make one with `party audit-key`")]
    NotOwnKey,
    /// The auditor's name.
    #[error("an auditor's name is 1 to {MAX_AUDITOR_BYTES} bytes without control characters")]
    Name,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds of the box.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The box is not sealed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A stored signed object.
    #[error("a stored object: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The session's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No session was logged.
    #[error(
        "no session of box {of_box} of election {election} is logged here; see session_logs in the configuration"
    )]
    NoSession {
        /// The election.
        election: ElectionId,
        /// The box.
        of_box: BoxId,
    },
    /// The configuration's signing key is not the manifest's.
    #[error("the configured signing key is not the one that the manifest has for {0}")]
    OtherParty(Role),
}

/// Makes an auditor's key file, and gives the public key. Never overwrites.
///
/// # Errors
/// The file cannot be written.
pub fn create_key(path: &Path, rng: &mut impl CryptoRng) -> Result<PublicKey, AuditError> {
    let signer = Signer::generate(rng);
    secret_file::create(path, signer.seed().as_slice())?;
    Ok(signer.public_key())
}

/// Reads an auditor's key file.
///
/// # Errors
/// Missing, exposed to other users, or no key.
pub fn read_key(path: &Path) -> Result<Signer, AuditError> {
    let seed = secret_file::read_exact::<32>(path)?;
    Signer::from_seed(seed.as_slice()).map_err(|source| AuditError::AuditorKey {
        path: path.to_owned(),
        source,
    })
}

/// One party's records under an auditor's eyes.
pub struct Desk {
    own: Role,
    store: Arc<Store>,
    signer: Arc<Signer>,
    sealing: Sealing,
    logs: SessionLogs,
    runtime: Handle,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({})", self.own)
    }
}

impl Desk {
    /// Opens what `config` names: the store for reading only, the storage key, and the signing key for the party's signature on the
    /// statement. Reads neither HPKE nor TLS keys. Blocks; the party's server must not be running on the same store.
    ///
    /// # Errors
    /// A key or the store cannot be opened.
    pub fn open(config: &Config, runtime: Handle) -> Result<Self, AuditError> {
        let store = Arc::new(Store::open_to_read(
            &config.data_dir.join(Storage::FILE),
            config.party.index(),
        )?);
        let (signer, vault) = keys::for_audit(config)?;
        let (signer, vault) = (Arc::new(signer), Arc::new(vault));
        let logs = SessionLogs::new(config.session_logs.clone(), Arc::clone(&vault));
        Ok(Self::over(config.party, store, signer, vault, logs, runtime))
    }

    /// Over parts that are open already.
    pub fn over(
        own: Role,
        store: Arc<Store>,
        signer: Arc<Signer>,
        vault: Arc<StorageKey>,
        logs: SessionLogs,
        runtime: Handle,
    ) -> Self {
        let sealing = Sealing::new(Parts {
            me: own,
            store: Arc::clone(&store),
            vault,
            signer: Arc::clone(&signer),
            clock: Arc::new(SystemClock),
            patience: Patience::default(),
            entropy: Arc::new(SystemEntropy),
            gate: Arc::new(Gate::always_open()),
        });
        Self {
            own,
            store,
            signer,
            sealing,
            logs,
            runtime,
        }
    }

    /// Audits the box and its session of `number`, the newest logged one where none is given. Blocks; must not be called from an
    /// asynchronous task.
    ///
    /// # Errors
    /// [`AuditError`]: the audit could not be made. What it finds is in the statement.
    pub fn audit(
        &self,
        election: &ElectionId,
        of_box: BoxId,
        number: Option<SessionNumber>,
        (name, auditor): (&str, &Signer),
        now: UnixSeconds,
    ) -> Result<(Audit, Envelope), AuditError> {
        let named = (1..=MAX_AUDITOR_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        if !named {
            return Err(AuditError::Name);
        }
        let sessions = self.logs.sessions(election, of_box)?;
        let number = number
            .or(sessions.last().copied())
            .ok_or_else(|| AuditError::NoSession {
                election: election.clone(),
                of_box,
            })?;
        let boxes = SealedBoxes::new(self.sealing.clone(), self.runtime.clone());
        let ready = boxes.ready(election, of_box)?;
        let sealed = self
            .runtime
            .block_on(self.sealing.sealed_box(election, of_box))?
            .ok_or_else(|| AuditError::NoSession {
                election: election.clone(),
                of_box,
            })?;
        let manifest = sealed.manifest();
        if ready.keys[self.own.slot()] != self.signer.public_key() {
            return Err(AuditError::OtherParty(self.own));
        }
        if manifest.manifest().signatories().contains(&auditor.public_key()) {
            return Err(AuditError::NotOwnKey);
        }
        let mut items = sealed.audit()?;
        let scene = Scene {
            seal_hash: sealed.seal_hash(),
            election: election.clone(),
            box_id: of_box,
        };
        let log = self.logs.open(self.own, election, of_box, number)?;
        let signed = self.signed_end(election, of_box, number)?;
        let SessionAudit {
            items: of_session,
            session_id,
            channels,
            agreed,
            stated,
            end,
        } = audit_session(log, self.own, &scene, number, ready, &signed)?;
        items.extend(of_session);
        let audit = Audit {
            election: election.clone(),
            of_box,
            seal_hash: scene.seal_hash,
            manifest_hash: manifest.hash(),
            session: number,
            session_id,
            party: self.own,
            auditor: name.to_owned(),
            auditor_key: auditor.public_key(),
            audited_at: now,
            items,
            channels,
            agreed,
            stated,
            end,
        };
        let envelope = audit.sign(auditor, &self.signer);
        Ok((audit, envelope))
    }

    fn signed_end(
        &self,
        election: &ElectionId,
        of_box: BoxId,
        number: SessionNumber,
    ) -> Result<SignedEnd, AuditError> {
        let (result, abort) = self.store.read(|tx| {
            let Some(key) = elections::number_of(tx, election.as_str())? else {
                return Ok::<_, StoreError>((None, None));
            };
            let key = (key, of_box.get());
            Ok((ledger::result(tx, key)?, ledger::abort(tx, key, number)?))
        })?;
        let decode = |bytes: Option<Vec<u8>>| bytes.map(|bytes| Envelope::decode(&bytes)).transpose();
        Ok(SignedEnd {
            result: decode(result)?,
            abort: decode(abort)?,
        })
    }
}
