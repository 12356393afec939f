//! What an error means to this party: whom it suspects, and with what evidence.
//!
//! Of the parties that an honest party names one deviated, as long as no more than one does. Whoever hears of a stop only from a neighbour
//! knows nothing of it by itself: the neighbour may have been wronged, or lie. So it names the neighbour and whom the neighbour names, and
//! carries the neighbour's Abort. To believe the neighbour's word alone would not do: a liar that tells each of the two others
//! that the other one stopped it would then stand in nobody's set. The set is narrowed by what needs no belief:
//!
//! - signatures in the neighbour's Abort prove that one of some parties deviated: these, without this party;
//! - this party's own connection to the one whom the neighbour names broke, or brought what must not be: that one.

use tally_mpc::{ChannelError, CheckError, Signed, TallyError};
use tally_proto::envelope::Envelope;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::session::{Check, SessionAbort};
use tally_proto::wire;
use tally_proto::wire::evidence::Object;

use super::fate::{Fate, Loss};
use super::log::LogError;
use super::outcome;
use super::run::Stop;
use super::start::Starts;

pub(crate) fn log_stop(error: LogError) -> Stop {
    Stop {
        reason: error.reason(),
        check: Check::Log,
        step: "session log".to_owned(),
        ..internal(error.to_string())
    }
}

pub(crate) fn input_stop(detail: String) -> Stop {
    Stop {
        step: "input".to_owned(),
        check: Check::Input,
        ..internal(detail)
    }
}

pub(crate) fn internal(detail: String) -> Stop {
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
pub(crate) struct Accuser {
    pub(crate) own: Role,
    pub(crate) starts: Starts,
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
    pub(crate) fn stop_of_error(
        &self,
        fate: &Fate,
        error: &TallyError,
        last: Option<wire::Evidence>,
    ) -> Stop {
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
            ) => self.stop_of_loss(fate, with, loss, step),
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
    pub(crate) fn stop_of_loss(&self, fate: &Fate, with: Option<Role>, loss: Loss, step: String) -> Stop {
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
            (Loss::Abort(statement), Some(other)) => self.told(&mut stop, fate, other, &statement),
            _ => {}
        }
        stop
    }

    /// `other` says that it stopped, and whom it suspects: it, or one of these, is at fault.
    fn told(&self, stop: &mut Stop, fate: &Fate, other: Role, statement: &[u8]) {
        let Some((envelope, abort)) = self.said(other, statement) else {
            stop.check = Check::Frame;
            stop.detail = format!("{other} stopped and sent no Abort of this session signed by it");
            return;
        };
        let Ok(examined) = abort.examine(&self.starts.keys) else {
            // An honest party signs no Abort of which that can be said.
            stop.check = Check::Frame;
            stop.detail = format!("{other} stopped and sent an Abort whose evidence does not hold");
            return;
        };
        stop.detail = format!("{other} says: {}", outcome::words(&abort));
        stop.evidence.push(stated(&envelope));
        let proved: Vec<Role> = examined
            .proofs
            .iter()
            .flat_map(|proof| proof.suspects())
            .collect();
        let proved = self.others(proved);
        if !proved.is_empty() {
            stop.suspects = proved;
            return;
        }
        stop.suspects = self.others([vec![other], abort.suspects.clone()].concat());
        let named = self
            .own
            .third(other)
            .filter(|third| abort.suspects.contains(third));
        let Some((named, loss)) = named.and_then(|named| Some((named, fate.of(named)?))) else {
            return;
        };
        match loss {
            // It says something else; both may be heard.
            Loss::Abort(statement) => {
                if let Some((envelope, _)) = self.said(named, &statement) {
                    stop.evidence.push(stated(&envelope));
                }
            }
            Loss::Broken(_) | Loss::Ended | Loss::Frame(_) | Loss::Contribution => {
                stop.suspects = vec![named];
                stop.detail = format!("{named}: {loss}; {}", stop.detail);
            }
            _ => {}
        }
    }

    /// The Abort of this session that `by` signed.
    fn said(&self, by: Role, statement: &[u8]) -> Option<(Envelope, SessionAbort)> {
        let envelope = Envelope::decode(statement).ok()?;
        let abort = SessionAbort::open(&envelope, &self.starts.keys).ok()?;
        (abort.party == by && abort.session == self.starts.id).then_some((envelope, abort))
    }
}

fn stated(abort: &Envelope) -> wire::Evidence {
    wire::Evidence {
        object: Some(Object::Statement(abort.to_wire())),
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

#[cfg(test)]
mod tests;
