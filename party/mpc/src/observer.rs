//! What a running tally tells its caller: phases, progress, traffic and what was opened.

use crate::channel::Phase;

/// What one party sent and waited for in a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes in messages sent, without any framing of the channel.
    pub bytes_sent: u64,
    /// Bytes in messages received.
    pub bytes_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Rounds: how many times in a row somebody has to wait for a message before it can send the next.
    pub rounds: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.messages_sent += other.messages_sent;
        self.rounds += other.rounds;
    }
}

/// The kind of a value that is opened. There is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Opening {
    /// Comparison bits of one level of the sort: those of a uniformly random permutation.
    Comparisons {
        /// The level.
        step: u32,
    },
    /// The keys of a shuffle's tags, once everything they judge is fixed: fresh uniform words, used for nothing else.
    TagKeys,
    /// The sums that make the result.
    Totals,
}

/// Hears about a running tally. The engine has no clock: whoever wants times takes them here. All that is passed is
/// public.
pub trait Observer {
    /// A phase begins.
    fn phase_started(&mut self, _phase: Phase) {}
    /// A phase is over.
    fn phase_finished(&mut self, _phase: Phase, _traffic: &Traffic) {}
    /// Of the phase's work, `done` of `total` parts are finished.
    fn progress(&mut self, _phase: Phase, _done: u64, _total: u64) {}
    /// `lanes` bits were opened; bit i is bit i % 64 of word i / 64.
    fn opened(&mut self, _opening: Opening, _lanes: usize, _words: &[u64]) {}
}

/// An observer that ignores everything.
impl Observer for () {}
