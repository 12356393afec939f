//! Channels in memory with a deadline, and a look at what has arrived.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tally_mpc::{Channel, ChannelError, Label, Neighbour};

/// When it arrives, what it is, what it says.
type Frame = (Instant, Label, Vec<u8>);

/// One party's end of three parties in memory.
pub struct Wire {
    to: [Sender<Frame>; 2],
    from: [Receiver<Frame>; 2],
    /// Sent to this party, not taken yet.
    ahead: [VecDeque<Frame>; 2],
    patience: Duration,
    /// How long what this party sends is on its way.
    pub latency: Duration,
}

fn side(neighbour: Neighbour) -> usize {
    match neighbour {
        Neighbour::Next => 0,
        Neighbour::Prev => 1,
    }
}

impl Wire {
    /// The ends of P1, P2 and P3; a message is overdue after `patience`.
    #[must_use]
    pub fn trio(patience: Duration) -> [Self; 3] {
        let [f1, f2, f3] = [channel(), channel(), channel()];
        let [b1, b2, b3] = [channel(), channel(), channel()];
        let end = |to, from| Self {
            to,
            from,
            ahead: Default::default(),
            patience,
            latency: Duration::ZERO,
        };
        [
            end([f1.0, b1.0], [b2.1, f3.1]),
            end([f2.0, b2.0], [b3.1, f1.1]),
            end([f3.0, b3.0], [b1.1, f2.1]),
        ]
    }

    /// Waits until a message that `wanted` likes has come from a neighbour, with what came before it still untaken; or until the
    /// neighbour is gone or `until` is past. A message that it likes.
    pub fn await_any(
        &mut self,
        from: Neighbour,
        until: Instant,
        mut wanted: impl FnMut(Label, &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let at = side(from);
        let mut seen = 0;
        loop {
            while let Some((_, label, message)) = self.ahead[at].get(seen) {
                if wanted(*label, message) {
                    return Some(message.clone());
                }
                seen += 1;
            }
            let left = until.saturating_duration_since(Instant::now());
            let frame = self.from[at].recv_timeout(left).ok()?;
            self.ahead[at].push_back(frame);
        }
    }
}

impl Channel for Wire {
    fn separate(&mut self) {}

    fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
        self.to[side(to)]
            .send((Instant::now() + self.latency, label, message))
            .map_err(|_| ChannelError::Closed)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        let deadline = Instant::now() + self.patience;
        let at = side(from);
        if self.ahead[at].is_empty() {
            let frame = self.from[at]
                .recv_timeout(self.patience)
                .map_err(|error| match error {
                    RecvTimeoutError::Timeout => ChannelError::Overdue,
                    RecvTimeoutError::Disconnected => ChannelError::Closed,
                })?;
            self.ahead[at].push_back(frame);
        }
        let (arrives, ..) = self.ahead[at].front().expect("one was there or came");
        let arrives = *arrives;
        if arrives > Instant::now() {
            std::thread::sleep(arrives.min(deadline).saturating_duration_since(Instant::now()));
            if arrives > deadline {
                return Err(ChannelError::Overdue);
            }
        }
        let (_, got, message) = self.ahead[at].pop_front().expect("one was there or came");
        if got != label {
            return Err(ChannelError::WrongLabel { got });
        }
        if message.len() != expected_len {
            return Err(ChannelError::WrongLength {
                expected: expected_len,
                got: message.len(),
            });
        }
        Ok(message)
    }
}
