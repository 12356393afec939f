//! One session from its three Starts to its outputs: meet, run the engine on a thread of its own, close or abort.

use std::time::Duration;

use bytes::Bytes;
use tally_mpc::{
    Binding, Channel, Notary, Observer, Outcome, Seeds, TallyError, TallyInput, TallyParams, tally,
};
use tally_proto::envelope::Envelope;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tokio::sync::{oneshot, watch};

use super::link::{Fate, Loss, Pace};
use super::lobby::Lobby;
use super::log::channel::{Recorded, RecordedNotary};
use super::log::{LogError, Recorder};
use super::meet::{Endpoints, Met, meet};
use super::notary::SessionNotary;
use super::opening::Contribution;
use super::outcome;
use super::progress::{Meter, PhaseReport, Progress};
use super::start::{Prepared, Starts};

/// Why a session ended without outputs, as the signed Abort says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The stable reason.
    pub reason: Reason,
    /// The step in which it happened.
    pub step: String,
    /// The pair of parties between which it happened, "P1-P2"; empty when no other party had to do with it.
    pub channel: String,
    /// The parties of which one is at fault; empty when it is this one's own caller.
    pub suspects: Vec<Role>,
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
    let Surroundings {
        endpoints,
        lobby,
        pace,
        log,
    } = surroundings;
    let log = log.clone();
    let met = match log_opening(&log, &prepared, starts) {
        Ok(()) => meet(&prepared, starts, endpoints, lobby, &fate, pace).await,
        Err(error) => Err((own, Loss::Log(error))),
    };
    let met = match met {
        Ok(met) => met,
        Err((with, loss)) => {
            let stop = stop_of_loss(own, Some(with), loss, "opening".to_owned());
            log.end(Some(&statement(&stop)));
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
            EngineError::Tally(error) => stop_of_error(own, &fate, &error),
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

fn log_stop(error: LogError) -> Stop {
    Stop {
        reason: error.reason(),
        step: "session log".to_owned(),
        ..internal(error.to_string())
    }
}

fn input_stop(detail: String) -> Stop {
    Stop {
        step: "input".to_owned(),
        ..internal(detail)
    }
}

fn internal(detail: String) -> Stop {
    Stop {
        reason: Reason::Internal,
        step: "engine".to_owned(),
        channel: String::new(),
        suspects: Vec::new(),
        detail,
    }
}

fn channel_name(one: Role, other: Role) -> String {
    let (low, high) = if one < other { (one, other) } else { (other, one) };
    format!("P{}-P{}", low.number(), high.number())
}

/// What the engine's error means, given what the connections saw.
fn stop_of_error(own: Role, fate: &Fate, error: &TallyError) -> Stop {
    let step = error
        .step()
        .map_or_else(|| "input".to_owned(), |step| step.to_string());
    match (error, fate.first()) {
        // A wait that ended because something else went wrong: that is what counts.
        (
            TallyError::Channel {
                source: tally_mpc::ChannelError::Closed | tally_mpc::ChannelError::Interrupted,
                ..
            },
            Some((with, loss)),
        ) => stop_of_loss(own, with, loss, step),
        (
            TallyError::Channel {
                neighbour, source, ..
            },
            _,
        ) => {
            let other = own.neighbour(*neighbour);
            let reason = match source {
                tally_mpc::ChannelError::Overdue => Reason::TallyOverdue,
                tally_mpc::ChannelError::Closed => Reason::TallyAborted,
                _ => Reason::TallyCheckFailed,
            };
            Stop {
                reason,
                step,
                channel: channel_name(own, other),
                suspects: vec![other],
                detail: error.to_string(),
            }
        }
        (
            TallyError::Check { .. }
            | TallyError::Contradiction { .. }
            | TallyError::ImpossibleTotal { .. }
            | TallyError::Stopped,
            _,
        ) => Stop {
            reason: Reason::TallyCheckFailed,
            step,
            channel: error
                .channel()
                .map_or_else(String::new, |[one, other]| channel_name(one, other)),
            suspects: error.suspects(),
            detail: format!("{} ({})", error, error.check()),
        },
        _ => input_stop(error.to_string()),
    }
}

/// What a lost neighbour means.
fn stop_of_loss(own: Role, with: Option<Role>, loss: Loss, step: String) -> Stop {
    let reason = match &loss {
        Loss::Broken(_) | Loss::NoAddress => Reason::PartyUnreachable,
        Loss::Silent => Reason::TallyOverdue,
        Loss::Ended | Loss::Abort(_) | Loss::Interrupted => Reason::TallyAborted,
        Loss::Log(error) => error.reason(),
        Loss::Contribution | Loss::Frame(_) => Reason::TallyCheckFailed,
    };
    let other = with.filter(|role| *role != own && !matches!(loss, Loss::Interrupted));
    Stop {
        reason,
        step,
        channel: other.map(|other| channel_name(own, other)).unwrap_or_default(),
        suspects: if matches!(loss, Loss::NoAddress) {
            Vec::new()
        } else {
            other.into_iter().collect()
        },
        detail: match (other, &loss) {
            (Some(other), Loss::Abort(statement)) => match Envelope::decode(statement) {
                Ok(statement) => format!("{other} says: {}", outcome::describe(&statement)),
                Err(error) => format!("{other} aborted with a statement that does not decode: {error}"),
            },
            (Some(other), loss) => format!("{other}: {loss}"),
            (None, loss) => loss.to_string(),
        },
    }
}
