//! Why a tally stopped, and who may be to blame.

use crate::channel::{ChannelError, Label, Phase, Scope};
use crate::input::InputError;
use crate::notary::Signed;
use crate::proof::ProofError;
use crate::role::{Neighbour, Role};

/// Why a tally stopped. Nothing is opened after an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TallyError {
    /// A message could not be sent, or what arrived is not what the step prescribes.
    #[error("{label}: {} ({neighbour}): {source}; start a new session once that party answers", role.neighbour(*neighbour))]
    Channel {
        /// The message.
        label: Label,
        /// This party.
        role: Role,
        /// Which neighbour the message was for or from.
        neighbour: Neighbour,
        /// What happened.
        source: ChannelError,
    },
    /// A check that a party which follows the protocol passes.
    #[error("{at}, seen by {role}: {source}")]
    Check {
        /// The step whose values were checked.
        at: Scope,
        /// This party.
        role: Role,
        /// What was wrong.
        #[source]
        source: CheckError,
    },
    /// The engine was asked to go on after an error.
    #[error("the session stopped at an earlier error; nothing more is opened")]
    Stopped,
    /// The opened comparison bits are not those of any order: some party computed wrongly.
    #[error(
        "sort step {step}: the opened comparisons among {rows} pivots contradict one another; some party deviated"
    )]
    Contradiction {
        /// The level of the sort.
        step: u32,
        /// How many rows were compared with one another.
        rows: usize,
    },
    /// An opened total is more than the number of ballots: some party computed wrongly.
    #[error("the opened total {total} exceeds the number of ballots, {ballots}; some party deviated")]
    ImpossibleTotal {
        /// The total.
        total: u64,
        /// The ballots of the box.
        ballots: u64,
    },
    /// The input does not fit together.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A parameter is out of range.
    #[error(transparent)]
    Params(#[from] ParamsError),
}

/// A check failed: one of the suspects deviated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A proof of AND gates.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The hashes of tagged rows that two parties compare after a shuffle differ.
    #[error("the rows of the shuffle do not have the tags that {with} vouches for; {} or {} deviated", suspects[0], suspects[1])]
    Shuffle {
        /// With whom the hash was compared.
        with: Role,
        /// The two others.
        suspects: [Role; 2],
    },
    /// The value that one neighbour opened is not the one whose hash the other sent.
    #[error("the two copies of an opened share differ; {} or {} deviated", suspects[0], suspects[1])]
    Copies {
        /// The two others.
        suspects: [Role; 2],
    },
    /// The two holders of a share of the outputs committed to different ones.
    #[error("the two commitments to a share of the outputs differ; {} or {} deviated", suspects[0], suspects[1])]
    Commitments {
        /// The two others.
        suspects: [Role; 2],
    },
    /// Neither holder opened the share of the outputs to which both committed.
    #[error("no opening of the outputs fits the commitment of {} and {}", suspects[0], suspects[1])]
    Outputs {
        /// The two others.
        suspects: [Role; 2],
    },
    /// A statement at a barrier is not signed by its party.
    #[error("{from} did not sign its statement at barrier {number}")]
    Signature {
        /// The barrier.
        number: u32,
        /// Whose statement it is.
        from: Role,
    },
    /// A neighbour states that other messages went between it and this party than this party saw.
    #[error("at barrier {number} {with} signed that other messages passed between it and this party")]
    Transcript {
        /// The barrier.
        number: u32,
        /// The neighbour.
        with: Role,
        /// What it signed.
        signed: Box<Signed>,
    },
    /// The two others signed different accounts of the messages between them.
    #[error(
        "at barrier {number} {} and {} signed different accounts of the messages between them",
        signed[0].statement.signer,
        signed[1].statement.signer
    )]
    Statements {
        /// The barrier.
        number: u32,
        /// What the next and the previous party signed.
        signed: Box<[Signed; 2]>,
    },
}

/// How an accusation can be shown to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Signatures that anybody can check show that one of the suspects deviated.
    Proved,
    /// This party says so; its log and the signed channel hashes let an audit decide.
    Stated,
}

impl CheckError {
    /// The parties of which at least one deviated.
    pub fn suspects(&self) -> Vec<Role> {
        match self {
            Self::Proof(error) => error.suspects(),
            Self::Shuffle { suspects, .. }
            | Self::Copies { suspects }
            | Self::Commitments { suspects }
            | Self::Outputs { suspects } => suspects.to_vec(),
            Self::Signature { from, .. } => vec![*from],
            Self::Transcript { with, .. } => vec![*with],
            Self::Statements { signed, .. } => signed.iter().map(|s| s.statement.signer).collect(),
        }
    }

    /// A stable lower-case name of the check for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proof(_) => "gate proof",
            Self::Shuffle { .. } => "shuffle tags",
            Self::Copies { .. } => "copies of an opening",
            Self::Commitments { .. } => "output commitments",
            Self::Outputs { .. } => "output openings",
            Self::Signature { .. } => "barrier signature",
            Self::Transcript { .. } | Self::Statements { .. } => "channel hashes",
        }
    }
}

impl TallyError {
    /// The parties of which one caused the error; empty when it is this party's own caller or input.
    pub fn suspects(&self) -> Vec<Role> {
        match self {
            Self::Channel {
                source: ChannelError::Interrupted,
                ..
            }
            | Self::Stopped
            | Self::Input(_)
            | Self::Params(_) => Vec::new(),
            Self::Channel { role, neighbour, .. } => vec![role.neighbour(*neighbour)],
            Self::Check { source, .. } => source.suspects(),
            Self::Contradiction { .. } | Self::ImpossibleTotal { .. } => Role::ALL.to_vec(),
        }
    }

    /// The check that failed, by a stable name.
    pub fn check(&self) -> &'static str {
        match self {
            Self::Channel { .. } => "message",
            Self::Check { source, .. } => source.name(),
            Self::Contradiction { .. } => "order of the pivots",
            Self::ImpossibleTotal { .. } => "range of the totals",
            Self::Stopped | Self::Input(_) | Self::Params(_) => "input",
        }
    }

    /// The step in which it happened, when a message or a check was at fault.
    pub fn step(&self) -> Option<Scope> {
        match self {
            Self::Channel { label, .. } => Some(label.scope),
            Self::Check { at, .. } => Some(*at),
            Self::Contradiction { step, .. } => Some(Scope {
                phase: Phase::Sort,
                step: *step,
                chunk: 0,
            }),
            Self::ImpossibleTotal { .. } => Some(Scope {
                phase: Phase::Open,
                step: 0,
                chunk: 0,
            }),
            Self::Stopped | Self::Input(_) | Self::Params(_) => None,
        }
    }

    /// The phase in which it happened, when a message or a check was at fault.
    pub fn phase(&self) -> Option<Phase> {
        self.step().map(|step| step.phase)
    }

    /// The pair of parties between which it happened, where it was one pair.
    pub fn channel(&self) -> Option<[Role; 2]> {
        match self {
            Self::Channel { role, neighbour, .. } => Some([*role, role.neighbour(*neighbour)]),
            Self::Check { role, source, .. } => match source {
                CheckError::Proof(error) => match *error {
                    ProofError::Length { from, .. } | ProofError::ZeroPoint { from } => Some([*role, from]),
                    ProofError::Challenges { prover, verifier }
                    | ProofError::Rejected { prover, verifier } => Some([prover, verifier]),
                },
                CheckError::Shuffle { with, .. } | CheckError::Transcript { with, .. } => {
                    Some([*role, *with])
                }
                CheckError::Signature { from, .. } => Some([*role, *from]),
                CheckError::Statements { signed, .. } => {
                    Some([signed[0].statement.signer, signed[1].statement.signer])
                }
                CheckError::Copies { .. } | CheckError::Commitments { .. } | CheckError::Outputs { .. } => {
                    None
                }
            },
            _ => None,
        }
    }

    /// Whether signatures show it, or this party's word.
    pub fn standing(&self) -> Standing {
        match self {
            Self::Check {
                source: CheckError::Statements { .. },
                ..
            } => Standing::Proved,
            _ => Standing::Stated,
        }
    }
}

/// A parameter of the tally is out of range.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamsError {
    /// The pivot fan-out must leave something to do and fit its counters.
    #[error("a pivot fan-out of {0} is not within 2 to 64")]
    FanOut(usize),
    /// Segments up to this length are finished by comparing all pairs.
    #[error("all-pairs finishing of segments up to {0} rows is not within 2 to 64")]
    Finish(usize),
    /// A chunk of lanes has to be a multiple of 4096 and no larger than the longest message.
    #[error("{0} lanes a message is not a multiple of 4096 within 4096 to 8388608")]
    ChunkLanes(usize),
    /// The gates that may wait for their proof have to fit into memory.
    #[error("{0} gates waiting for their proof are not within 64 to 1073741824")]
    WaitingGates(usize),
}
