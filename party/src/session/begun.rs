//! A session that began here: begun on disk, run, followed by whoever asks, and what it leaves behind.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, ElectionId, Hash32, SessionNumber};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::tally_event::Event;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tracing::Instrument as _;

use super::board::Board;
use super::demands::Demands;
use super::ledger::{self, RaiseError};
use super::log::Recorder;
use super::opening::Scene;
use super::outcome;
use super::progress::Progress;
use super::run::{Engine, EngineError, Interrupt, Stop, Surroundings, run};
use super::service::{Inner, Sessions, blocking};
use super::source::Ready;
use super::start::{Prepared, Starts};
use crate::journal;
use crate::metrics::SessionEnd;
use crate::store::elections;

/// Progress is told at most this often.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A session that began here, as whoever asks sees it.
#[derive(Clone)]
pub(super) struct Begun {
    pub(super) id: Hash32,
    pub(super) number: SessionNumber,
    pub(super) board: Arc<Board>,
    pub(super) interrupt: Interrupt,
    pub(super) progress: watch::Receiver<Option<Progress>>,
    pub(super) demand: watch::Receiver<Option<wire::Envelope>>,
    pub(super) end: watch::Receiver<Option<End>>,
}

/// How a session ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Result(Envelope),
    Abort(Envelope, Stop),
    Failed(Refusal),
}

impl Begun {
    fn is_running(&self) -> bool {
        // Without an end its task is gone: then it is over, too.
        self.end.borrow().is_none() && self.end.has_changed().is_ok()
    }

    /// Ends it unless it is opening its outputs, and waits until it is over.
    async fn over(mut self) {
        if self.is_running() {
            self.interrupt.before_outputs();
        }
        // Without an end its task is gone.
        let _ = ended(&mut self.end).await;
    }
}

/// What Starts come to.
enum Next {
    /// Their session runs, or ran.
    Running(Begun),
    /// Their session may begin.
    Taken(Box<(Starts, Prepared, Ready)>),
    /// Their session may begin once this older one is over.
    After(Begun),
}

impl Sessions {
    /// Begins the session of `starts`, or finds it running. One at a time runs of a box: an older one that began meanwhile ends first.
    pub(super) async fn begin(
        &self,
        place: &(ElectionId, BoxId),
        starts: &[Envelope],
    ) -> Result<Begun, Refusal> {
        loop {
            let one = self.0.beginning.lock().await;
            match self.next(place, starts)? {
                Next::Running(begun) => return Ok(begun),
                Next::Taken(taken) => return self.begin_taken(place, *taken).await,
                Next::After(older) => {
                    // No other box waits for the end.
                    drop(one);
                    older.over().await;
                }
            }
        }
    }

    /// What `starts` come to, given what is prepared and running here.
    fn next(&self, place: &(ElectionId, BoxId), starts: &[Envelope]) -> Result<Next, Refusal> {
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
            return Ok(Next::Running(begun.clone()));
        }
        let newest = sessions.prepared.as_ref();
        if newest.is_some_and(|(prepared, _)| prepared.is_of(&starts))
            && let Some(older) = sessions.begun.as_ref().filter(|begun| begun.is_running())
        {
            return Ok(Next::After(older.clone()));
        }
        let Some((prepared, ready)) = sessions.prepared.take_if(|(prepared, _)| prepared.is_of(&starts))
        else {
            return Err(unknown(format!(
                "the Start of {} among these is not its newest, or its session is over; prepare a new one with all three parties",
                self.0.parts.own
            )));
        };
        Ok(Next::Taken(Box::new((starts, prepared, ready))))
    }

    /// Begins a session. The Starts are on disk before the first frame.
    async fn begin_taken(
        &self,
        place: &(ElectionId, BoxId),
        (starts, prepared, ready): (Starts, Prepared, Ready),
    ) -> Result<Begun, Refusal> {
        let (of, written) = (place.clone(), starts.clone());
        self.blocking(move |inner| {
            let began = inner.parts.store.write(|tx| {
                let key = (elections::number_or_new(tx, of.0.as_str())?, of.1.get());
                let own = inner.parts.own;
                let others = [own.next(), own.prev()].map(|party| (party, written.number, written.of(party)));
                ledger::begin(tx, key, &others)
            });
            began.map_err(Refusal::from)
        })
        .await?;
        let parts = &self.0.parts;
        let interrupt = Interrupt::default();
        let (progress, progress_seen) = watch::channel(None);
        let (end, end_seen) = watch::channel(None);
        let (told, demand_seen) = watch::channel(None);
        let board = Arc::new(Board::new(starts.id, parts.own, starts.keys));
        let demands = Demands {
            board: Arc::clone(&board),
            scene: prepared.scene.clone(),
            signer: Arc::clone(&parts.signer),
            entropy: Arc::clone(&parts.entropy),
            others: self.0.others.clone(),
            runtime: Handle::current(),
            told: Arc::new(told),
            patience: parts.pace.relay,
        };
        let begun = Begun {
            id: starts.id,
            number: starts.number,
            board,
            interrupt: interrupt.clone(),
            progress: progress_seen,
            demand: demand_seen,
            end: end_seen,
        };
        if let Some(sessions) = self.0.boxes().get_mut(place) {
            sessions.begun = Some(begun.clone());
        }
        let inner = Arc::clone(&self.0);
        let (scene, number) = (&prepared.scene, starts.number);
        let span = tracing::info_span!("session", election = %scene.election, box_id = %scene.box_id, session = %number);
        let work = async move {
            let ended = inner
                .conduct(prepared, ready, &starts, &interrupt, progress, &demands)
                .await;
            if !matches!(ended, End::Result(_)) {
                demands.board.forget();
            }
            end.send_replace(Some(ended));
        };
        tokio::spawn(work.instrument(span));
        Ok(begun)
    }

    /// Ends an older session of the box, if one is running and not yet opening its outputs, and waits until it is over.
    pub(super) async fn end_older(&self, place: &(ElectionId, BoxId)) {
        let begun = {
            // One that is just beginning is seen. No other box waits for the end.
            let _one = self.0.beginning.lock().await;
            let boxes = self.0.boxes();
            boxes.get(place).and_then(|sessions| sessions.begun.clone())
        };
        if let Some(begun) = begun {
            begun.over().await;
        }
    }
}

impl Inner {
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
        demands: &Demands,
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
            let (scene, signer, starts) = (scene.clone(), Arc::clone(&self.parts.signer), starts.clone());
            move |stop: &Stop| {
                outcome::abort(&scene, &starts, own, stop, &signer)
                    .encode()
                    .into()
            }
        };
        let surroundings = Surroundings {
            endpoints: &self.parts.endpoints,
            lobby: &self.lobby,
            pace: self.parts.pace,
            log: &log,
            demands: Some(demands),
        };
        tracing::info!(election = %scene.election, box_id = %scene.box_id, session = %number, "session begins");
        let witness = &self.parts.witness;
        let place = || json!({ "election": scene.election.as_str(), "box": scene.box_id.get(), "session": number.get() });
        witness.metrics.session_begun();
        witness.record(journal::Event::SessionBegun, place());
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
                    for phase in &report.phases {
                        let (ms, traffic) = (phase.time.as_millis() as u64, &phase.traffic);
                        tracing::info!(
                            phase = phase.phase.name(),
                            ms,
                            bytes = traffic.bytes_sent,
                            rounds = traffic.rounds,
                            "phase"
                        );
                    }
                    witness.metrics.session_ended(SessionEnd::Result);
                    witness.record(journal::Event::SessionResult, place());
                    End::Result(result.sign(signer))
                }
                Err(error) => {
                    witness.metrics.session_ended(SessionEnd::Failed);
                    return End::Failed(Refusal::new(error.reason(), error));
                }
            },
            Err(stop) => {
                tracing::warn!(
                    election = %scene.election, box_id = %scene.box_id, session = %number, reason = %stop.reason.code(),
                    check = %stop.check.code(), step = %stop.step, suspects = ?stop.suspects, detail = %stop.detail, "session aborts"
                );
                witness.metrics.session_ended(SessionEnd::Aborted);
                let mut facts = place();
                facts["reason"] = json!(stop.reason.code());
                facts["check"] = json!(stop.check.code());
                facts["step"] = json!(stop.step.to_string());
                facts["suspects"] = json!(stop.suspects.iter().map(ToString::to_string).collect::<Vec<_>>());
                witness.record(journal::Event::SessionAborted, facts);
                End::Abort(outcome::abort(&scene, starts, own, &stop, signer), stop)
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
                    End::Result(envelope) => ledger::put_result(tx, key, envelope)?,
                    End::Abort(envelope, _) => ledger::put_abort(tx, key, number, &envelope.encode())?,
                    End::Failed(_) => {}
                }
                Ok::<_, RaiseError>(())
            });
            write.map_err(Refusal::from)
        });
        // What is not on disk is not shown.
        match stored.await {
            Ok(()) => end,
            Err(refusal) => End::Failed(refusal),
        }
    }
}

pub(super) fn event(event: Event) -> wire::TallyEvent {
    wire::TallyEvent { event: Some(event) }
}

/// Waits for the end; `None` when the session's task is gone without one.
pub(super) async fn ended(end: &mut watch::Receiver<Option<End>>) -> Option<End> {
    end.wait_for(Option::is_some).await.ok()?.clone()
}

/// Tells a caller where a session is, then how it ended. Ends early when the caller is gone.
pub(super) async fn tell(begun: Begun, events: mpsc::Sender<Result<wire::TallyEvent, Status>>) {
    let Begun {
        mut progress,
        mut demand,
        mut end,
        ..
    } = begun;
    let mut demanding = true;
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
            changed = demand.changed(), if demanding => {
                demanding = changed.is_ok();
                let open = demand.borrow_and_update().clone();
                if let Some(open) = open
                    && events.send(Ok(event(Event::Demand(open)))).await.is_err()
                {
                    return;
                }
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

pub(super) fn progress_message(progress: &Progress) -> wire::Progress {
    wire::Progress {
        phase: progress.phase.name().to_owned(),
        done: progress.done,
        total: progress.total,
        elapsed_ms: u64::try_from(progress.elapsed.as_millis()).unwrap_or(u64::MAX),
        sent_bytes: progress.bytes_sent,
        rounds: progress.rounds,
    }
}
