//! The tally sessions of one party server: Prepare, Tally, and the streams of the other parties.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tally_proto::connect::{ConnectError, Dial};
use tally_proto::envelope::{Envelope, PublicKey, Signer};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _, SessionNumber};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::tally_event::Event;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::ledger;
use super::link::Pace;
use super::lobby::Lobby;
use super::log::{Recorder, SessionLogs};
use super::meet::Endpoints;
use super::opening::Scene;
use super::outcome;
use super::progress::Progress;
use super::run::{Engine, EngineError, Interrupt, Stop, Surroundings, run};
use super::source::{Ready, TallySource};
use super::start::{Prepared, Starts};
use crate::entropy::Entropy;
use crate::party::Party;
use crate::rpc::seams::{Answers, TallyState};
use crate::store::{Store, StoreError, elections};

/// Progress is told at most this often.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What a party's sessions need.
pub struct SessionsParts {
    /// This party.
    pub own: Role,
    /// Signs Starts, Results and Aborts.
    pub signer: Arc<Signer>,
    /// Keeps numbers, results and aborts.
    pub store: Arc<Store>,
    /// Where contributions come from.
    pub entropy: Arc<dyn Entropy>,
    /// Where sealed boxes come from.
    pub source: Arc<dyn TallySource>,
    /// Where the other parties are.
    pub endpoints: Endpoints,
    /// How patient sessions are.
    pub pace: Pace,
    /// Where sessions are logged.
    pub logs: SessionLogs,
}

/// The tally sessions of one party server. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    parts: SessionsParts,
    lobby: Arc<Lobby>,
    boxes: Mutex<HashMap<(ElectionId, BoxId), BoxSessions>>,
}

/// The sessions of one box: the newest prepared, and the newest that was begun.
struct BoxSessions {
    scene: Scene,
    keys: [PublicKey; 3],
    prepared: Option<(Prepared, Ready)>,
    begun: Option<Begun>,
}

#[derive(Clone)]
struct Begun {
    id: Hash32,
    interrupt: Interrupt,
    progress: watch::Receiver<Option<Progress>>,
    end: watch::Receiver<Option<End>>,
}

/// How a session ended.
#[derive(Clone, Debug)]
enum End {
    Result(Envelope),
    Abort(Envelope, Stop),
    Failed(Refusal),
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({})", self.0.parts.own)
    }
}

impl Sessions {
    /// Sessions of a party that has just started: none is prepared or running, whatever was before.
    pub fn new(parts: SessionsParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            lobby: Arc::default(),
            boxes: Mutex::default(),
        }))
    }

    /// Sessions of `party`, over the boxes of `source`.
    ///
    /// # Errors
    /// An address or a certificate that the transport cannot use.
    pub fn of_party(party: &Party, source: Arc<dyn TallySource>) -> Result<Self, ConnectError> {
        let mut endpoints: Endpoints = [None, None, None];
        for role in [party.role.next(), party.role.prev()] {
            let identity = party.identities.party(role);
            let dial = Dial {
                address: identity.peer_address(),
                anchor: identity.anchor(),
                leaf: Some(&party.leaf),
            };
            endpoints[role.slot()] = Some(dial.endpoint()?);
        }
        Ok(Self::new(SessionsParts {
            own: party.role,
            signer: Arc::clone(&party.signer),
            store: Arc::clone(&party.store),
            entropy: Arc::clone(&party.entropy),
            source,
            endpoints,
            pace: Pace::default(),
            logs: SessionLogs::new(party.session_logs.clone(), Arc::clone(&party.vault)),
        }))
    }

    /// Control.Prepare: this party's Start for the session of that number. An older session of the box that is still running ends;
    /// one that is opening its outputs is waited for.
    ///
    /// # Errors
    /// `session.stale`: the number is not above the last one or too far above it; `tally.already`; what the source says; `store.failed`.
    pub async fn prepare(&self, request: wire::PrepareRequest) -> Result<Envelope, Refusal> {
        let election = ElectionId::new(&request.election)?;
        let (of_box, number) = (BoxId(request.r#box), SessionNumber(request.session));
        let ready = self.ready(&election, of_box).await?;
        let scene = Scene {
            seal_hash: ready.seal_hash,
            election: election.clone(),
            box_id: of_box,
        };
        let place = (election, of_box);
        self.end_older(&place).await;
        let key = place.clone();
        self.blocking(move |inner| {
            let (election, of_box) = key;
            let raised = inner.parts.store.write(|tx| {
                let key = (elections::number_or_new(tx, election.as_str())?, of_box.get());
                ledger::raise(tx, key, number)
            });
            raised.map_err(Refusal::from)
        })
        .await?;
        let parts = &self.0.parts;
        let prepared = Prepared::new(parts.own, scene, number, &parts.signer, &mut parts.entropy.rng());
        let start = prepared.start().clone();
        let mut boxes = self.0.boxes();
        let sessions = boxes.entry(place).or_insert_with(|| BoxSessions {
            scene: prepared.scene.clone(),
            keys: ready.keys,
            prepared: None,
            begun: None,
        });
        // Of two requests at the same time the higher number stays: its Start is the newest that this party signed.
        if sessions
            .prepared
            .as_ref()
            .is_none_or(|(other, _)| other.number < number)
        {
            sessions.prepared = Some((prepared, ready));
        }
        tracing::info!(election = %request.election, box_id = %of_box, session = %number, "session prepared");
        Ok(start)
    }

    /// Control.Tally: runs the session that the three Starts open, tells its progress and ends with this party's Result or Abort. Asked
    /// again while it runs, it tells the rest. The session goes on when the caller goes away. Of a tallied box the stream is the stored
    /// Result, then the refusal `tally.already`.
    ///
    /// # Errors
    /// What is wrong with the Starts; `session.unknown`: this party's Start among them is not the newest it prepared since it started.
    pub async fn tally(&self, request: wire::TallyRequest) -> Result<Answers<wire::TallyEvent>, Refusal> {
        let election = ElectionId::new(&request.election)?;
        let of_box = BoxId(request.r#box);
        let place = (election, of_box);
        if let Some(result) = self.stored_result(&place).await? {
            let already = Refusal::new(
                Reason::TallyAlready,
                "the box is tallied: this is its stored Result",
            );
            let events = [Ok(event(Event::Result(result.to_wire()))), Err(already.into())];
            return Ok(futures::stream::iter(events).boxed());
        }
        let mut starts = Vec::with_capacity(3);
        for start in request.starts.into_iter().take(4) {
            starts.push(Envelope::from_wire(start)?);
        }
        let begun = self.begin(&place, &starts)?;
        let (events, stream) = mpsc::channel(16);
        tokio::spawn(tell(begun, events));
        Ok(ReceiverStream::new(stream).boxed())
    }

    /// Peer.Session: the frames of a session between `caller` and this party.
    ///
    /// # Errors
    /// `session.unknown`: no session here waits for them.
    pub async fn session(
        &self,
        caller: Role,
        frames: impl futures::Stream<Item = Result<wire::Frame, Status>> + Send + 'static,
    ) -> Result<Answers<wire::Frame>, Refusal> {
        self.0
            .lobby
            .arrive(caller, frames, self.0.parts.pace.message)
            .await
    }

    /// How far the tally of a box is.
    ///
    /// # Errors
    /// `store.failed`.
    pub async fn state(&self, election: &ElectionId, of_box: BoxId) -> Result<TallyState, Refusal> {
        let place = (election.clone(), of_box);
        let begun = self
            .0
            .boxes()
            .get(&place)
            .and_then(|sessions| sessions.begun.clone());
        let end = begun.as_ref().and_then(|begun| begun.end.borrow().clone());
        let running = begun.is_some() && end.is_none();
        let (last_session, done, stored) = self
            .blocking(move |inner| {
                let read = inner.parts.store.read(|tx| {
                    let Some(number) = elections::number_of(tx, place.0.as_str())? else {
                        return Ok((0, false, None));
                    };
                    let key = (number, place.1.get());
                    let last = ledger::last(tx, key)?;
                    Ok((
                        last.get(),
                        ledger::result(tx, key)?.is_some(),
                        ledger::abort(tx, key, last)?,
                    ))
                });
                read.map_err(store_failed)
            })
            .await?;
        let trouble = match (end, stored) {
            _ if running || done => String::new(),
            (Some(End::Abort(_, stop)), _) => stop.to_string(),
            (Some(End::Failed(refusal)), _) => refusal.to_string(),
            // After a restart only the signed statement is left.
            (_, Some(abort)) => outcome::describe(&Envelope::decode(&abort)?),
            _ => String::new(),
        };
        Ok(TallyState {
            running,
            done,
            last_session,
            trouble,
        })
    }

    /// Ends every running session, for a server that is stopping.
    pub fn stop(&self) {
        for sessions in self.0.boxes().values() {
            if let Some(begun) = &sessions.begun {
                begun.interrupt.now();
            }
        }
    }

    /// Begins the session of `starts`, or finds it running.
    fn begin(&self, place: &(ElectionId, BoxId), starts: &[Envelope]) -> Result<Begun, Refusal> {
        let unknown = |detail: String| Refusal::new(Reason::SessionUnknown, detail);
        let mut boxes = self.0.boxes();
        let Some(sessions) = boxes.get_mut(place) else {
            return Err(unknown(format!(
                "{} has prepared no session of this box since it started; prepare a new one with all three parties",
                self.0.parts.own
            )));
        };
        let starts = Starts::verify(starts, &sessions.keys, &sessions.scene)?;
        if let Some(begun) = sessions.begun.as_ref().filter(|begun| begun.id == starts.id) {
            return Ok(begun.clone());
        }
        let Some((prepared, ready)) = sessions.prepared.take_if(|(prepared, _)| prepared.is_of(&starts))
        else {
            return Err(unknown(format!(
                "the Start of {} among these is not its newest, or its session is over; prepare a new one with all three parties",
                self.0.parts.own
            )));
        };
        let interrupt = Interrupt::default();
        let (progress, progress_seen) = watch::channel(None);
        let (end, end_seen) = watch::channel(None);
        let begun = Begun {
            id: starts.id,
            interrupt: interrupt.clone(),
            progress: progress_seen,
            end: end_seen,
        };
        sessions.begun = Some(begun.clone());
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let ended = inner
                .conduct(prepared, ready, &starts, &interrupt, progress)
                .await;
            end.send_replace(Some(ended));
        });
        Ok(begun)
    }

    /// Ends an older session of the box, if one is running and not yet opening its outputs, and waits until it is over.
    async fn end_older(&self, place: &(ElectionId, BoxId)) {
        let begun = self
            .0
            .boxes()
            .get(place)
            .and_then(|sessions| sessions.begun.clone());
        if let Some(mut begun) = begun {
            if begun.end.borrow().is_none() {
                begun.interrupt.before_outputs();
            }
            // Without an end its task is gone: then it is over, too.
            let _ = ended(&mut begun.end).await;
        }
    }

    async fn stored_result(&self, place: &(ElectionId, BoxId)) -> Result<Option<Envelope>, Refusal> {
        let place = place.clone();
        let bytes = self
            .blocking(move |inner| {
                let read = inner
                    .parts
                    .store
                    .read(|tx| match elections::number_of(tx, place.0.as_str())? {
                        Some(number) => ledger::result(tx, (number, place.1.get())),
                        None => Ok(None),
                    });
                read.map_err(store_failed)
            })
            .await?;
        Ok(bytes.map(|bytes| Envelope::decode(&bytes)).transpose()?)
    }

    async fn ready(&self, election: &ElectionId, of_box: BoxId) -> Result<Ready, Refusal> {
        let election = election.clone();
        self.blocking(move |inner| inner.parts.source.ready(&election, of_box))
            .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let inner = Arc::clone(&self.0);
        blocking(inner, work).await
    }
}

async fn blocking<T: Send + 'static>(
    inner: Arc<Inner>,
    work: impl FnOnce(&Inner) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(move || work(&inner)).await {
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

fn store_failed(error: StoreError) -> Refusal {
    Refusal::new(Reason::StoreFailed, error)
}

impl Inner {
    fn boxes(&self) -> MutexGuard<'_, HashMap<(ElectionId, BoxId), BoxSessions>> {
        // Nothing panics while it holds the lock.
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the session's log: without one there is no session.
    async fn begin_log(self: &Arc<Self>, scene: Scene, number: SessionNumber) -> Result<Recorder, Refusal> {
        let begin = move |inner: &Inner| {
            let parts = &inner.parts;
            let log = parts
                .logs
                .begin(parts.own, &scene, number, &mut parts.entropy.rng());
            log.map_err(|error| Refusal::new(error.reason(), error))
        };
        blocking(Arc::clone(self), begin).await
    }

    /// Runs one session, and keeps what it leaves behind.
    async fn conduct(
        self: &Arc<Self>,
        prepared: Prepared,
        ready: Ready,
        starts: &Starts,
        interrupt: &Interrupt,
        progress: watch::Sender<Option<Progress>>,
    ) -> End {
        let (scene, number, own) = (prepared.scene.clone(), starts.number, self.parts.own);
        let log = match self.begin_log(scene.clone(), number).await {
            Ok(log) => log,
            Err(refusal) => return End::Failed(refusal),
        };
        let Ready {
            params,
            input,
            conclude,
            ..
        } = ready;
        let work = move |engine: Engine<'_>| {
            let input = input().map_err(EngineError::Input)?;
            engine.tally(input, &params)
        };
        let statement = {
            let (scene, signer) = (scene.clone(), Arc::clone(&self.parts.signer));
            move |stop: &Stop| outcome::abort(&scene, number, own, stop, &signer).encode().into()
        };
        let surroundings = Surroundings {
            endpoints: &self.parts.endpoints,
            lobby: &self.lobby,
            pace: self.parts.pace,
            log: &log,
        };
        tracing::info!(election = %scene.election, box_id = %scene.box_id, session = %number, "session begins");
        let ended = run(
            prepared,
            starts,
            surroundings,
            interrupt,
            progress,
            work,
            statement,
        )
        .await;
        let signer = &self.parts.signer;
        let end = match ended {
            Ok((outcome, report)) => match conclude(&outcome) {
                Ok(result) => {
                    let seconds = report.time.as_secs_f64();
                    tracing::info!(
                        election = %scene.election, box_id = %scene.box_id, session = %number, seconds,
                        "session ends with a result"
                    );
                    End::Result(result.sign(signer))
                }
                Err(error) => return End::Failed(Refusal::new(error.reason(), error)),
            },
            Err(stop) => {
                tracing::warn!(
                    election = %scene.election, box_id = %scene.box_id, session = %number, reason = %stop.reason.code(),
                    step = %stop.step, channel = %stop.channel, detail = %stop.detail, "session aborts"
                );
                End::Abort(outcome::abort(&scene, number, own, &stop, signer), stop)
            }
        };
        let kept = end.clone();
        let stored = blocking(Arc::clone(self), move |inner| {
            let write = inner.parts.store.write(|tx| {
                let key = (
                    elections::number_or_new(tx, scene.election.as_str())?,
                    scene.box_id.get(),
                );
                match &kept {
                    End::Result(envelope) => ledger::put_result(tx, key, &envelope.encode()),
                    End::Abort(envelope, _) => ledger::put_abort(tx, key, number, &envelope.encode()),
                    End::Failed(_) => Ok(()),
                }
            });
            write.map_err(store_failed)
        });
        // What is not on disk is not shown.
        match stored.await {
            Ok(()) => end,
            Err(refusal) => End::Failed(refusal),
        }
    }
}

fn event(event: Event) -> wire::TallyEvent {
    wire::TallyEvent { event: Some(event) }
}

/// Waits for the end; `None` when the session's task is gone without one.
async fn ended(end: &mut watch::Receiver<Option<End>>) -> Option<End> {
    end.wait_for(Option::is_some).await.ok()?.clone()
}

/// Tells a caller where a session is, then how it ended. Ends early when the caller is gone.
async fn tell(begun: Begun, events: mpsc::Sender<Result<wire::TallyEvent, Status>>) {
    let Begun {
        mut progress,
        mut end,
        ..
    } = begun;
    let mut running = true;
    let end = loop {
        tokio::select! {
            biased;
            end = ended(&mut end) => break end,
            changed = progress.changed(), if running => {
                // When the engine is done, only the end is still to come.
                running = changed.is_ok();
                let now = *progress.borrow_and_update();
                if let Some(now) = now
                    && running
                    && events.send(Ok(event(Event::Progress(progress_message(&now))))).await.is_err()
                {
                    return;
                }
                tokio::time::sleep(TELL_EVERY).await;
            }
        }
    };
    let last = match end {
        Some(End::Result(envelope)) => Ok(event(Event::Result(envelope.to_wire()))),
        Some(End::Abort(envelope, _)) => Ok(event(Event::Abort(envelope.to_wire()))),
        Some(End::Failed(refusal)) => Err(refusal.into()),
        None => Err(Refusal::new(
            Reason::Internal,
            "the session ended by a fault of this program; its log tells more",
        )
        .into()),
    };
    // The caller may be gone.
    let _ = events.send(last).await;
}

fn progress_message(progress: &Progress) -> wire::Progress {
    wire::Progress {
        phase: progress.phase.name().to_owned(),
        done: progress.done,
        total: progress.total,
        elapsed_ms: u64::try_from(progress.elapsed.as_millis()).unwrap_or(u64::MAX),
        sent_bytes: progress.bytes_sent,
        rounds: progress.rounds,
    }
}
