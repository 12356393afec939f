//! One session from its three Starts to its outputs: meet, run the engine on a thread of its own, close or abort.

use std::time::Duration;

use bytes::Bytes;
use tally_mpc::{
    Binding, Channel, Notary, Observer, Outcome, Seeds, TallyError, TallyInput, TallyParams, tally,
};
use tally_proto::ids::Role;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::session::Check;
use tally_proto::wire;
use tokio::sync::{oneshot, watch};

use super::accuser::{Accuser, input_stop, internal, log_stop};
use super::channel::Pace;
use super::demands::Demands;
use super::fate::{Fate, Loss};
use super::link::Farewell;
use super::lobby::Lobby;
use super::log::channel::{Recorded, RecordedNotary};
use super::log::{LogError, Recorder};
use super::meet::{Endpoints, Met, meet};
use super::notary::SessionNotary;
use super::opening::Contribution;
use super::progress::{Meter, PhaseReport, Progress};
use super::start::{Prepared, Starts};

/// Why a session ended without outputs, as the signed Abort says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// The stable reason.
    pub reason: Reason,
    /// The check that failed.
    pub check: Check,
    /// The step in which it happened.
    pub step: String,
    /// The pair of parties between which it happened, in order; `None` when it was between no two.
    pub channel: Option<[Role; 2]>,
    /// The parties of which one is at fault, ascending, without this one; empty when it is this one's own caller.
    pub suspects: Vec<Role>,
    /// What proves or supports it.
    pub evidence: Vec<wire::Evidence>,
    /// What happened, for the log and the coordinator.
    pub detail: String,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.detail)
    }
}

/// What a session took.
#[derive(Clone, Debug)]
pub struct Report {
    /// The phases that finished.
    pub phases: Vec<PhaseReport>,
    /// From the first dial to the outputs.
    pub time: Duration,
}

/// Ends a session early.
#[derive(Clone, Default)]
pub struct Interrupt(Fate);

impl Interrupt {
    /// Ends it: every wait of the engine, and the dialling.
    pub fn now(&self) {
        self.0.decide(None, Loss::Interrupted);
    }

    /// The same, unless its outputs are being opened. Others may have them by then, and whoever ended it here would keep them from this
    /// party; from there on it ends by itself, in at most [`tally_mpc::LAST_WAITS`] deadlines.
    pub fn before_outputs(&self) {
        self.0.decide_before_outputs(Loss::Interrupted);
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupt")
    }
}

/// Everything a session runs on besides its own objects.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Where the other two are.
    pub endpoints: &'a Endpoints,
    /// Where their streams arrive.
    pub lobby: &'a Lobby,
    /// How patient it is.
    pub pace: Pace,
    /// Where it is logged.
    pub log: &'a Recorder,
    /// How it demands frames that are overdue; absent in measurements.
    pub demands: Option<&'a Demands>,
}

/// What the engine's thread works with.
pub struct Engine<'a> {
    /// The two neighbours.
    pub channel: &'a mut dyn Channel,
    /// Signs this party's statements and checks the neighbours'.
    pub notary: &'a mut dyn Notary,
    /// Hears about progress.
    pub observer: &'a mut dyn Observer,
    /// The seeds of the two pairs.
    pub seeds: &'a Seeds,
    /// What the randomness is bound to.
    pub binding: &'a Binding,
    /// The session's log.
    pub log: &'a Recorder,
}

/// Why the engine's thread has no outputs.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine stopped.
    #[error(transparent)]
    Tally(#[from] TallyError),
    /// There is no input.
    #[error("{0}")]
    Input(Refusal),
    /// The session's log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Engine<'_> {
    /// The tally of `input`.
    ///
    /// # Errors
    /// The engine's, or the log's.
    pub fn tally(self, input: TallyInput, params: &TallyParams) -> Result<Outcome, EngineError> {
        self.log.input(&input.fingerprint(), params)?;
        Ok(tally(
            self.seeds,
            self.binding,
            input,
            self.channel,
            self.notary,
            self.observer,
            params,
        )?)
    }
}

/// Runs the session that `starts` opens, with this party's contributions: meets both neighbours, then runs `work`, which is the tally, on
/// a thread of its own. On a stop, `statement` makes the encoded signed Abort that the neighbours are sent.
///
/// # Errors
/// Why there are no outputs. Nothing is opened then.
pub async fn run<T: Send + 'static>(
    prepared: Prepared,
    starts: &Starts,
    surroundings: Surroundings<'_>,
    interrupt: &Interrupt,
    progress: watch::Sender<Option<Progress>>,
    work: impl FnOnce(Engine<'_>) -> Result<T, EngineError> + Send + 'static,
    statement: impl FnOnce(&Stop) -> Bytes + Send + 'static,
) -> Result<(T, Report), Stop> {
    let fate = interrupt.0.clone();
    let own = prepared.own;
    let mut meter = Meter::new(progress);
    let accuser = Accuser {
        own,
        starts: starts.clone(),
    };
    let log = surroundings.log.clone();
    let met = match log_opening(&log, &prepared, starts) {
        Ok(()) => meet(&prepared, starts, surroundings, &fate).await,
        Err(error) => Err((None, Loss::Log(error), Farewell::default())),
    };
    let met = match met {
        Ok(met) => met,
        Err((with, loss, farewell)) => {
            let stop = accuser.stop_of_loss(&fate, with, loss, "opening".to_owned());
            let abort = statement(&stop);
            farewell.say(&abort);
            log.end(Some(&abort));
            return Err(stop);
        }
    };
    let mut notary = SessionNotary::new(starts.id, prepared.signer, starts.keys);
    let (sender, ended) = oneshot::channel();
    let engine = move || {
        let Met {
            mut channel,
            fate,
            seeds,
            binding,
            revealed,
        } = met;
        let outcome = log_revealed(&log, own, &revealed).map_err(EngineError::from);
        let outcome = outcome.and_then(|()| {
            work(Engine {
                channel: &mut Recorded::new(&mut channel, &log, fate.clone()),
                notary: &mut RecordedNotary::new(&mut notary, &log),
                observer: &mut meter,
                seeds: &seeds,
                binding: &binding,
                log: &log,
            })
        });
        let outcome = outcome.map_err(|error| match error {
            EngineError::Tally(error) => accuser.stop_of_error(&fate, &error, notary.last()),
            EngineError::Input(refusal) => Stop {
                reason: refusal.reason,
                ..input_stop(refusal.detail)
            },
            EngineError::Log(error) => log_stop(error),
        });
        drop((seeds, revealed));
        match &outcome {
            Ok(_) => {
                channel.close();
                log.end(None);
            }
            Err(stop) => {
                let abort = statement(stop);
                channel.abort(abort.clone());
                log.end(Some(&abort));
            }
        }
        // What cannot be audited has no outcome here, though the others may have one.
        let written = log.finish().map_err(log_stop);
        let outcome = outcome.and_then(|outcome| written.map(|()| outcome));
        let (phases, time) = meter.finish();
        // The receiver is gone only when the server shuts down; then nobody wants to know.
        let _ = sender.send(outcome.map(|outcome| (outcome, Report { phases, time })));
    };
    let thread = std::thread::Builder::new().name(format!("tally-{}", starts.id.short()));
    thread
        .spawn(engine)
        .map_err(|error| internal(format!("no thread for the tally: {error}")))?;
    ended.await.unwrap_or_else(|_| {
        Err(internal(
            "the tally's thread ended by a panic; the log says where".to_owned(),
        ))
    })
}

/// What opens the session, before any frame.
fn log_opening(log: &Recorder, prepared: &Prepared, starts: &Starts) -> Result<(), LogError> {
    let own = prepared.own;
    log.starts(&starts.envelopes)?;
    log.contribution(own, own.next(), &prepared.next)?;
    log.contribution(own, own.prev(), &prepared.prev)
}

/// What the neighbours contributed.
fn log_revealed(log: &Recorder, own: Role, [next, prev]: &[Contribution; 2]) -> Result<(), LogError> {
    log.contribution(own.next(), own, next)?;
    log.contribution(own.prev(), own, prev)
}
