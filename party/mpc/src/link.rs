//! The channel as the engine uses it: metered, with errors that name step and neighbour, and with buffers that go round.

use zeroize::Zeroize;

use crate::channel::{Channel, ChannelError, Label, MAX_MESSAGE_BYTES, Phase};
use crate::error::TallyError;
use crate::ledger::Ledger;
use crate::notary::ChannelHashes;
use crate::observer::{Observer, Traffic};
use crate::role::{Neighbour, Role};

/// Buffers kept for reuse.
const POOL: usize = 64;

/// Spare buffers, which may hold messages. Wiped on drop.
#[derive(Default)]
struct Pool(Vec<Vec<u8>>);

/// The two connections of one party in one session.
pub(crate) struct Link<'a> {
    role: Role,
    channel: &'a mut dyn Channel,
    pub(crate) observer: &'a mut dyn Observer,
    pool: Pool,
    traffic: Traffic,
    /// What went over the channels; `None` where nobody asks.
    ledger: Option<Ledger>,
}

impl<'a> Link<'a> {
    pub(crate) fn new(
        role: Role,
        channel: &'a mut dyn Channel,
        observer: &'a mut dyn Observer,
        ledger: Option<Ledger>,
    ) -> Self {
        Self {
            role,
            channel,
            observer,
            pool: Pool::default(),
            traffic: Traffic::default(),
            ledger,
        }
    }

    /// The hashes of everything sent and received so far.
    ///
    /// # Panics
    /// Without a ledger.
    pub(crate) fn hashes(&self) -> ChannelHashes {
        self.ledger
            .as_ref()
            .expect("barriers exist where a ledger is kept")
            .hashes()
    }

    pub(crate) fn start(&mut self, phase: Phase) {
        self.traffic = Traffic::default();
        self.observer.phase_started(phase);
    }

    pub(crate) fn finish(&mut self, phase: Phase) {
        self.observer.phase_finished(phase, &self.traffic);
    }

    /// Counts one round: the caller is about to wait for what depends on what was just sent.
    pub(crate) fn count_round(&mut self) {
        self.traffic.rounds += 1;
    }

    /// A buffer of that length; its content is left over from elsewhere and must be overwritten whole.
    pub(crate) fn buffer(&mut self, len: usize) -> Vec<u8> {
        debug_assert!(len <= MAX_MESSAGE_BYTES);
        let mut buffer = self.pool.0.pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.pool.0.len() < POOL {
            self.pool.0.push(buffer);
        } else {
            buffer.zeroize();
        }
    }

    /// From now on one neighbour's end must not end the wait for the other.
    pub(crate) fn separate(&mut self) {
        self.channel.separate();
    }

    pub(crate) fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), TallyError> {
        if let Some(ledger) = &mut self.ledger {
            ledger.sent(to, label, &message);
        }
        self.send_unrecorded(to, label, message)
    }

    /// A frame of a barrier, which the hashes leave out.
    pub(crate) fn send_unrecorded(
        &mut self,
        to: Neighbour,
        label: Label,
        message: Vec<u8>,
    ) -> Result<(), TallyError> {
        self.traffic.bytes_sent += message.len() as u64;
        self.traffic.messages_sent += 1;
        let role = self.role;
        self.channel
            .send(to, label, message)
            .map_err(|source| TallyError::Channel {
                label,
                role,
                neighbour: to,
                source,
            })
    }

    pub(crate) fn recv(
        &mut self,
        from: Neighbour,
        label: Label,
        expected: usize,
    ) -> Result<Vec<u8>, TallyError> {
        let message = self.recv_unrecorded(from, label, expected)?;
        if let Some(ledger) = &mut self.ledger {
            ledger.received(from, label, &message);
        }
        Ok(message)
    }

    /// A frame of a barrier, which the hashes leave out.
    pub(crate) fn recv_unrecorded(
        &mut self,
        from: Neighbour,
        label: Label,
        expected: usize,
    ) -> Result<Vec<u8>, TallyError> {
        let fail = |source| TallyError::Channel {
            label,
            role: self.role,
            neighbour: from,
            source,
        };
        let message = self.channel.recv(from, label, expected).map_err(fail)?;
        if message.len() != expected {
            return Err(fail(ChannelError::WrongLength {
                expected,
                got: message.len(),
            }));
        }
        self.traffic.bytes_received += expected as u64;
        Ok(message)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// Writes words as little-endian bytes; both of matching length.
#[inline]
pub(crate) fn put_words(bytes: &mut [u8], words: &[u64]) {
    for (out, word) in bytes.chunks_exact_mut(8).zip(words) {
        out.copy_from_slice(&word.to_le_bytes());
    }
}

/// The words in little-endian bytes.
#[inline]
pub(crate) fn words(bytes: &[u8]) -> impl ExactSizeIterator<Item = u64> + '_ {
    bytes
        .chunks_exact(8)
        .map(|b| u64::from_le_bytes(b.try_into().expect("chunks of exactly 8 bytes")))
}
