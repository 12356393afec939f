//! One party: what its services share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::json;
use tally_proto::connect::ConnectError;
use tally_proto::envelope::Signer;
use tally_proto::ids::{Role, UnixMillis};
use tally_proto::pki::Leaf;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::suite::OpeningKey;
use tally_proto::wire::BoxPhase;
use tokio::sync::watch;

use crate::alarm::{Alarm, Alarms, Change};
use crate::clock::Clock;
use crate::config::{AlarmLimits, Config};
use crate::elections::{Drafts, Election, Elections, ElectionsError};
use crate::entropy::Entropy;
use crate::intake::Intake;
use crate::intake::lists::Revocations;
use crate::journal::{Event, Journal, JournalError};
use crate::keys::{Identities, KeyError, Secrets, own_identity};
use crate::mirror::{Following, Gate};
use crate::peers::Peers;
use crate::replaced::Replaced;
use crate::roles::Roles;
use crate::rpc::seams::{Seals, Tallies};
use crate::server::Deps;
use crate::sight::Sight;
use crate::store::certificates;
use crate::store::marks::Marks;
use crate::store::vault::StorageKey;
use crate::store::{Store, StoreError};
use crate::witness::Witness;

/// Why a party could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PartyError {
    /// Keys, certificates or identities.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds cannot be used.
    #[error(transparent)]
    Elections(#[from] ElectionsError),
    /// A channel to another party.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// One party, shared by its services.
pub struct Party {
    /// Which party.
    pub role: Role,
    /// Who takes part, as configured.
    pub identities: Identities,
    /// Certificate and key towards everyone.
    pub leaf: Leaf,
    /// Signs receipts, checkpoints and objects.
    pub signer: Arc<Signer>,
    /// Opens what is sealed to this party.
    pub opening: Arc<OpeningKey>,
    /// Seals and opens shares at rest.
    pub vault: Arc<StorageKey>,
    /// Directory of the session logs.
    pub session_logs: PathBuf,
    /// The durable store.
    pub store: Arc<Store>,
    /// The clock that phases run on.
    pub clock: Arc<dyn Clock>,
    /// Fresh generators.
    pub entropy: Arc<dyn Entropy>,
    /// Elections known here.
    pub elections: Elections,
    /// Channels to the two others.
    pub peers: Peers,
    /// Roles of callers.
    pub roles: Roles,
    /// Taking ballots, records and receipts.
    pub intake: Intake,
    /// Revocation lists of enrolment by card.
    pub(crate) revocations: Revocations,
    /// Counts and writes down what happens.
    pub witness: Witness,
    /// The phases that boxes were last seen in.
    pub(crate) phases: Mutex<HashMap<(String, u32), BoxPhase>>,
    /// What a person must see to.
    pub alarms: Alarms,
    /// When these are raised.
    pub alarm_limits: AlarmLimits,
    /// The two others, as last seen.
    pub sight: Sight,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// Directory of the key holder's socket, where officials hold the key.
    pub(crate) key_holder: Option<PathBuf>,
    /// Which elections' logs may grow.
    pub gate: Arc<Gate>,
    /// Following the others.
    pub following: Following,
    pub(crate) mirror_every: Duration,
    pub(crate) mirror_grace_ms: u64,
    stopping: OnceLock<watch::Receiver<bool>>,
    clock_trouble: Mutex<Option<String>>,
    seals: OnceLock<Arc<dyn Seals>>,
    tallies: OnceLock<Arc<dyn Tallies>>,
}

impl std::fmt::Debug for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Party({})", self.role)
    }
}

impl Party {
    /// Reads the files, opens the store, loads the elections and starts the threads of intake. Blocks.
    ///
    /// # Errors
    /// [`PartyError`].
    pub fn open(config: &Config, deps: Deps) -> Result<Party, PartyError> {
        let own = own_identity(config)?;
        let identities = Identities::load(config)?;
        let Secrets {
            signer,
            opening,
            storage,
            leaf,
        } = Secrets::load(config, &own)?;
        let role = config.party;
        let marks = Marks::open(&config.marks, &config.data_dir)
            .inspect_err(|error| {
                let path = config.marks.display();
                tracing::warn!(%error, %path, "mirror.marks cannot be used: after a start this party needs the word of others");
            })
            .ok();
        let cache_bytes = config.intake.cache_bytes;
        let store = Store::open_with_cache(deps.storage, role.index(), cache_bytes)?;
        let store = Arc::new(store.with_marks(marks));
        let elections = Elections::load(&store)?.bounded(Drafts {
            most: config.server.uncountersigned_elections,
            bytes: config.server.uncountersigned_bytes,
            reserve_bytes: config.intake.reserve_bytes,
        });
        let signer = Arc::new(signer);
        let peers = Peers::new(role, &identities, &leaf)?;
        let journal = Journal::open(role, &config.telemetry.journal, config.telemetry.journal_bytes)?;
        let witness = Witness::new(journal, Arc::clone(&deps.clock));
        let newest = store.read(certificates::all)?;
        let roles = Roles::new(role, identities.trust())
            .seen_by(witness.clone())
            .remembering(Replaced::with(newest));
        let sight = Sight::new(role, UnixMillis(deps.clock.now_ms()));
        let metrics = Arc::clone(&witness.metrics);
        let intake = Intake::start(
            role,
            Arc::clone(&store),
            Arc::clone(&signer),
            config.intake,
            metrics,
        )?;
        let following = Following::new(deps.clock.now_ms());
        Ok(Party {
            role,
            gate: Arc::default(),
            following,
            mirror_every: Duration::from_millis(config.mirror.every_ms),
            mirror_grace_ms: config.mirror.grace_ms,
            leaf,
            signer,
            opening: Arc::new(opening),
            vault: Arc::new(storage),
            session_logs: config.session_logs.clone(),
            store,
            clock: deps.clock,
            entropy: deps.entropy,
            elections,
            peers,
            roles,
            intake,
            witness,
            revocations: Revocations::of(&config.revocation_lists),
            phases: Mutex::default(),
            alarms: Alarms::default(),
            alarm_limits: config.alarms,
            sight,
            data_dir: config.data_dir.clone(),
            key_holder: (config.keys.sealed.is_some()).then(|| config.keys.holder.clone()),
            identities,
            stopping: OnceLock::new(),
            clock_trouble: Mutex::default(),
            seals: OnceLock::new(),
            tallies: OnceLock::new(),
        })
    }

    /// Now, on this party's clock.
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.clock.now_ms())
    }

    /// The alarm about this stands from now with `detail`, or no longer without.
    pub fn alarm(&self, alarm: Alarm, about: &str, detail: Option<String>) {
        let code = alarm.code();
        for (about, change) in self.alarms.set(alarm, about, detail.clone(), self.now()) {
            match change {
                Change::Raised => {
                    tracing::error!(party = %self.role, alarm = code, about, detail, "alarm: {}", alarm.advice());
                    let facts = json!({ "alarm": code, "about": about, "detail": detail });
                    self.witness.record(Event::AlarmRaised, facts);
                }
                Change::Cleared => {
                    tracing::info!(party = %self.role, alarm = code, about, "the alarm is over");
                    self.witness
                        .record(Event::AlarmCleared, json!({ "alarm": code, "about": about }));
                }
            }
        }
    }

    /// What is wrong with this party's clock, as the last comparison with the others' found; empty when nothing is.
    pub fn clock_trouble(&self) -> String {
        self.clock_trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .unwrap_or_default()
    }

    /// Whether this party may accept anything new of an election.
    ///
    /// # Errors
    /// `party.recollecting`: it does not know yet that its store is the newest there was; `clock.wrong`: its clock is over a second from both
    /// others'.
    pub fn may_accept(&self, election: &Election) -> Result<(), Refusal> {
        self.gate.check(election.number())?;
        match self.clock_trouble().as_str() {
            "" => Ok(()),
            trouble => Err(Refusal::new(Reason::ClockWrong, trouble)),
        }
    }

    pub(crate) fn set_clock_trouble(&self, trouble: Option<String>) {
        *self.clock_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The signal that ends held and long-running requests.
    pub(crate) fn stop_with(&self, stopping: watch::Receiver<bool>) {
        // A second server on one party does not exist: `Server::start` makes its own.
        let _ = self.stopping.set(stopping);
    }

    /// Completes when the server is stopping; never when it has no server.
    pub async fn stopping(&self) {
        match self.stopping.get() {
            Some(stopping) => {
                // A server that is gone has stopped.
                let _ = stopping.clone().wait_for(|stop| *stop).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Runs `work`, which reads or writes the store, on a blocking thread.
    ///
    /// # Errors
    /// What `work` returns, or `internal` when it panicked.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Party) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let party = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&party)).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "a blocking task ended by a fault of this program");
                Err(Refusal::new(
                    Reason::Internal,
                    "the request ended by a fault of this program; its log tells more",
                ))
            }
        }
    }

    /// Plugs sealing in, once.
    pub fn plug_seals(&self, seals: Arc<dyn Seals>) {
        // A second time would be this program's own mistake and changes nothing.
        let _ = self.seals.set(seals);
    }

    /// Plugs tally sessions in, once.
    pub fn plug_tallies(&self, tallies: Arc<dyn Tallies>) {
        // A second time would be this program's own mistake and changes nothing.
        let _ = self.tallies.set(tallies);
    }

    /// Sealing.
    ///
    /// # Errors
    /// `party.shutting-down` before it is plugged in.
    pub fn seals(&self) -> Result<&dyn Seals, Refusal> {
        self.seals.get().map(|seals| &**seals).ok_or_else(not_started)
    }

    /// Tally sessions.
    ///
    /// # Errors
    /// `party.shutting-down` before they are plugged in.
    pub fn tallies(&self) -> Result<&dyn Tallies, Refusal> {
        self.tallies
            .get()
            .map(|tallies| &**tallies)
            .ok_or_else(not_started)
    }
}

fn not_started() -> Refusal {
    Refusal::new(Reason::PartyShuttingDown, "the party is starting or stopping")
}
