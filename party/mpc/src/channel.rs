//! What the engine asks of the wire: labelled messages to and from the two neighbours.

use std::fmt;
use std::io;

use crate::role::Neighbour;

/// A part of the tally, for labels and for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// All rows are shuffled.
    Shuffle = 1,
    /// The sort by (index, position) with opened comparison bits.
    Sort = 2,
    /// Every ballot meets its group's credential and flags; validity.
    Join = 3,
    /// The last valid row of each group.
    Scan = 4,
    /// Choices are expanded and summed.
    Count = 5,
    /// The sums are committed to and opened.
    Open = 6,
    /// Labels only: the gates of the phase under way are proven.
    Proof = 7,
    /// Labels only: signed statements before an opening.
    Barrier = 8,
}

impl Phase {
    /// The phases in the order in which they run and are reported. Proofs and barriers belong to the phase they are about.
    pub const ALL: [Self; 6] = [
        Self::Shuffle,
        Self::Sort,
        Self::Join,
        Self::Scan,
        Self::Count,
        Self::Open,
    ];

    /// A stable lower-case name for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shuffle => "shuffle",
            Self::Sort => "sort",
            Self::Join => "join",
            Self::Scan => "scan",
            Self::Count => "count",
            Self::Open => "open",
            Self::Proof => "proof",
            Self::Barrier => "barrier",
        }
    }

    /// The phase that a label names by that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Shuffle,
            2 => Self::Sort,
            3 => Self::Join,
            4 => Self::Scan,
            5 => Self::Count,
            6 => Self::Open,
            7 => Self::Proof,
            8 => Self::Barrier,
            _ => return None,
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A unit of work with its own randomness: a step of a phase (a sort level, say) and a chunk of its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The phase.
    pub phase: Phase,
    /// The step within the phase.
    pub step: u32,
    /// The chunk within the step.
    pub chunk: u32,
}

impl Scope {
    /// Fixed encoding: phase, step, chunk, little-endian.
    pub fn to_bytes(self) -> [u8; 9] {
        let mut out = [0; 9];
        out[0] = self.phase as u8;
        out[1..5].copy_from_slice(&self.step.to_le_bytes());
        out[5..9].copy_from_slice(&self.chunk.to_le_bytes());
        out
    }

    /// What [`Scope::to_bytes`] makes; `None` where it names no phase.
    pub fn from_bytes(bytes: &[u8; 9]) -> Option<Self> {
        let [phase, s0, s1, s2, s3, c0, c1, c2, c3] = *bytes;
        Some(Self {
            phase: Phase::from_number(phase)?,
            step: u32::from_le_bytes([s0, s1, s2, s3]),
            chunk: u32::from_le_bytes([c0, c1, c2, c3]),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} step {} chunk {}", self.phase, self.step, self.chunk)
    }
}

/// The name of one message between two parties in one direction; unique in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The unit of work.
    pub scope: Scope,
    /// The message's number within it.
    pub round: u32,
}

impl Label {
    /// The length of [`Label::to_bytes`].
    pub const BYTES: usize = 13;

    /// Fixed encoding: the scope's, then the round, little-endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..9].copy_from_slice(&self.scope.to_bytes());
        out[9..].copy_from_slice(&self.round.to_le_bytes());
        out
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} round {}", self.scope, self.round)
    }
}

/// Ordered, labelled messages to and from the two neighbours of one party in one session.
///
/// Within one direction between two parties the engine sends and expects messages in the same order (first in, first
/// out), so an implementation needs one ordered stream a direction and no reordering. Every receive names the label and
/// the exact length that must arrive; an implementation refuses anything else with [`ChannelError::WrongLabel`] or
/// [`ChannelError::WrongLength`] (the engine checks the length once more). Messages are at most
/// [`MAX_MESSAGE_BYTES`] long; most are tens to hundreds of kilobytes.
///
/// `send` hands over the buffer and should return once the message is queued. All three parties may be sending at the
/// same time before any of them receives, so an implementation must accept at least [`MAX_IN_FLIGHT_BYTES`] in each
/// direction without waiting for the receiver. `recv` blocks until the message is there, the peer is gone or overdue,
/// or the caller interrupts the tally. A buffer that `recv` returns is used again for a later send.
pub trait Channel {
    /// Queues `message` for the neighbour.
    ///
    /// # Errors
    /// The connection is closed, the caller interrupted the tally, or the transport failed.
    fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError>;

    /// Waits for the next message of the neighbour, which must bear `label` and be `expected_len` bytes long.
    ///
    /// # Errors
    /// As for `send`; besides the neighbour sent another label or length, or is overdue.
    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError>;

    /// From now on each neighbour is heard for itself: the end or the silence of one must not end the wait for the other, and a receive
    /// that was overdue may be tried again, at most [`LAST_WAITS`] times in all. The engine says so before it states that the outputs may
    /// be opened; from there on one neighbour is enough. None of these waits may be more than twice as long as another: what one honest
    /// party does is in time for the other by the number of its waits. A channel that wraps another passes it on.
    fn separate(&mut self);
}

/// No message of the engine is longer.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// At most so many waits of one party, each as long as the channel allows, come after [`Channel::separate`]: two statements, two
/// refusals and two openings to send, two tries at each neighbour's statement and six at its opening. A limit on the whole session
/// must leave the time for them: it would be a way to show one party the totals and not the other.
pub const LAST_WAITS: u32 = 22;

/// A channel must take this many unreceived bytes a direction without blocking.
pub const MAX_IN_FLIGHT_BYTES: usize = 16 << 20;

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer ended the session or its connection is gone.
    #[error("the connection is closed")]
    Closed,
    /// The message did not arrive in the time the caller allows.
    #[error("the message is overdue")]
    Overdue,
    /// The caller stopped the tally.
    #[error("the tally was interrupted")]
    Interrupted,
    /// Another message arrived.
    #[error("a message labelled {got} arrived")]
    WrongLabel {
        /// The label that arrived.
        got: Label,
    },
    /// A message of another length arrived.
    #[error("a message of {got} bytes arrived instead of {expected}")]
    WrongLength {
        /// The length that the step prescribes.
        expected: usize,
        /// The length that arrived.
        got: usize,
    },
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Transport(#[from] io::Error),
}
