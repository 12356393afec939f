//! Why a tally stopped.

use crate::channel::{ChannelError, Label, Phase};
use crate::input::InputError;
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

impl TallyError {
    /// The parties of which one caused the error; empty when it is this party's own caller or input.
    pub fn suspects(&self) -> Vec<Role> {
        match self {
            Self::Channel {
                source: ChannelError::Interrupted,
                ..
            }
            | Self::Input(_)
            | Self::Params(_) => Vec::new(),
            Self::Channel { role, neighbour, .. } => vec![role.neighbour(*neighbour)],
            Self::Contradiction { .. } | Self::ImpossibleTotal { .. } => Role::ALL.to_vec(),
        }
    }

    /// The phase in which it happened, when a message or an opening was at fault.
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Channel { label, .. } => Some(label.scope.phase),
            Self::Contradiction { .. } => Some(Phase::Sort),
            Self::ImpossibleTotal { .. } => Some(Phase::Open),
            Self::Input(_) | Self::Params(_) => None,
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
}
