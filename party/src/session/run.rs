//! One session from its three Starts to its outputs: meet, run the engine on a thread of its own, close or abort.

use std::time::Duration;

use bytes::Bytes;
use tally_mpc::{
    Binding, Channel, Notary, Observer, Outcome, Seeds, TallyError, TallyInput, TallyParams, tally,
};
use tally_mpc::{ChannelError, CheckError, Signed};
use tally_proto::envelope::Envelope;
use tally_proto::ids::Role;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::session::{Check, SessionAbort};
use tally_proto::wire;
use tally_proto::wire::evidence::Object;
use tokio::sync::{oneshot, watch};

use super::channel::Pace;
use super::demands::Demands;
use super::fate::{Fate, Loss};
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
    let Surroundings {
        endpoints,
        lobby,
        pace,
        log,
        demands,
    } = surroundings;
    let accuser = Accuser {
        own,
        starts: starts.clone(),
    };
    let log = log.clone();
    let met = match log_opening(&log, &prepared, starts) {
        Ok(()) => meet(&prepared, starts, endpoints, lobby, &fate, pace, demands).await,
        Err(error) => Err((None, Loss::Log(error))),
    };
    let met = match met {
        Ok(met) => met,
        Err((with, loss)) => {
            let stop = accuser.stop_of_loss(with, loss, "opening".to_owned());
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

fn log_stop(error: LogError) -> Stop {
    Stop {
        reason: error.reason(),
        check: Check::Log,
        step: "session log".to_owned(),
        ..internal(error.to_string())
    }
}

fn input_stop(detail: String) -> Stop {
    Stop {
        step: "input".to_owned(),
        check: Check::Input,
        ..internal(detail)
    }
}

fn internal(detail: String) -> Stop {
    Stop {
        reason: Reason::Internal,
        check: Check::Fault,
        step: "engine".to_owned(),
        channel: None,
        suspects: Vec::new(),
        evidence: Vec::new(),
        detail,
    }
}

fn in_order([one, other]: [Role; 2]) -> [Role; 2] {
    if one < other { [one, other] } else { [other, one] }
}

/// Says what an error means to this party, and with what evidence.
struct Accuser {
    own: Role,
    starts: Starts,
}

impl Accuser {
    /// Suspects in order, without this party, which knows that it is honest.
    fn others(&self, mut suspects: Vec<Role>) -> Vec<Role> {
        suspects.sort();
        suspects.dedup();
        suspects.retain(|role| *role != self.own);
        suspects
    }

    /// What the engine's error means, given what the connections saw. `last` is this party's last barrier statement.
    fn stop_of_error(&self, fate: &Fate, error: &TallyError, last: Option<wire::Evidence>) -> Stop {
        let own = self.own;
        let step = error
            .step()
            .map_or_else(|| "input".to_owned(), |step| step.to_string());
        match (error, fate.first()) {
            // A wait that ended because something else went wrong: that is what counts.
            (
                TallyError::Channel {
                    source: ChannelError::Closed | ChannelError::Interrupted | ChannelError::Overdue,
                    ..
                },
                Some((with, loss)),
            ) => self.stop_of_loss(with, loss, step),
            (
                TallyError::Channel {
                    neighbour, source, ..
                },
                _,
            ) => {
                let other = own.neighbour(*neighbour);
                let (reason, check) = match source {
                    ChannelError::Overdue => (Reason::TallyOverdue, Check::Deadline),
                    ChannelError::Closed => (Reason::TallyAborted, Check::Connection),
                    ChannelError::Transport(_) => (Reason::TallyCheckFailed, Check::Frame),
                    _ => (Reason::TallyCheckFailed, Check::Message),
                };
                Stop {
                    reason,
                    check,
                    step,
                    channel: Some(in_order([own, other])),
                    suspects: vec![other],
                    evidence: Vec::new(),
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
                check: error.check().parse().unwrap_or(Check::Fault),
                step,
                channel: error.channel().map(in_order),
                suspects: self.others(error.suspects()),
                evidence: self.signed_accounts(error, last),
                detail: format!("{} ({})", error, error.check()),
            },
            _ => input_stop(error.to_string()),
        }
    }

    /// The signed statements behind a failed comparison of channel hashes, and the Starts that name their session.
    fn signed_accounts(&self, error: &TallyError, last: Option<wire::Evidence>) -> Vec<wire::Evidence> {
        let TallyError::Check { source, .. } = error else {
            return Vec::new();
        };
        let statements = match source {
            CheckError::Transcript { signed, .. } => last.into_iter().chain([barrier(signed)]).collect(),
            CheckError::Statements { signed, .. } => signed.iter().map(barrier).collect::<Vec<_>>(),
            _ => return Vec::new(),
        };
        self.starts.evidence().into_iter().chain(statements).collect()
    }

    /// What a lost neighbour, a neighbour's Abort or the end of the session's time means.
    fn stop_of_loss(&self, with: Option<Role>, loss: Loss, step: String) -> Stop {
        let own = self.own;
        let (reason, check) = match &loss {
            Loss::Broken(_) => (Reason::PartyUnreachable, Check::Connection),
            Loss::NoAddress => (Reason::PartyUnreachable, Check::Input),
            Loss::Silent | Loss::Overdue(_) => (Reason::TallyOverdue, Check::Deadline),
            Loss::Stuck => (Reason::TallyOverdue, Check::Connection),
            Loss::Deadline => (Reason::TallyOverdue, Check::Session),
            Loss::Ended => (Reason::TallyAborted, Check::Connection),
            Loss::Abort(_) => (Reason::TallyAborted, Check::Neighbour),
            Loss::Log(error) => (error.reason(), Check::Log),
            Loss::Interrupted => (Reason::TallyAborted, Check::Interrupted),
            Loss::Contribution => (Reason::TallyCheckFailed, Check::Contribution),
            Loss::Frame(_) => (Reason::TallyCheckFailed, Check::Frame),
        };
        let other = with.filter(|role| *role != own);
        let mut stop = Stop {
            reason,
            check,
            step,
            channel: other.map(|other| in_order([own, other])),
            suspects: other.into_iter().collect(),
            evidence: Vec::new(),
            detail: match other {
                Some(other) => format!("{other}: {loss}"),
                None => loss.to_string(),
            },
        };
        match (loss, other) {
            // This party's own configuration lacks it.
            (Loss::NoAddress, _) => stop.suspects.clear(),
            // Somebody was slow; no frame was overdue by itself.
            (Loss::Deadline, _) => stop.suspects = self.others(Role::ALL.to_vec()),
            (Loss::Overdue(evidence), _) => stop.evidence = evidence,
            (Loss::Abort(statement), Some(other)) => self.told(&mut stop, other, &statement),
            _ => {}
        }
        stop
    }

    /// `other` says that it stopped, and whom it suspects: it, or one of these, is at fault.
    fn told(&self, stop: &mut Stop, other: Role, statement: &[u8]) {
        let said = Envelope::decode(statement).ok().and_then(|envelope| {
            let abort = SessionAbort::open(&envelope, &self.starts.keys).ok()?;
            (abort.party == other && abort.session == self.starts.id).then_some((envelope, abort))
        });
        let Some((envelope, abort)) = said else {
            stop.check = Check::Frame;
            stop.detail = format!("{other} stopped and sent no Abort of this session signed by it");
            return;
        };
        stop.suspects = self.others([vec![other], abort.suspects.clone()].concat());
        stop.detail = format!("{other} says: {}", outcome::words(&abort));
        stop.evidence.push(wire::Evidence {
            object: Some(Object::Statement(envelope.to_wire())),
        });
    }
}

fn barrier(signed: &Signed) -> wire::Evidence {
    wire::Evidence {
        object: Some(Object::Barrier(wire::BarrierStatement {
            statement: signed.statement.to_bytes().to_vec(),
            signature: signed.signature.to_vec(),
        })),
    }
}
