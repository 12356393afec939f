//! Three channels in memory, for tests, benchmarks and simulations: one thread a party.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::channel::{Channel, ChannelError, Label};
use crate::role::{Neighbour, Role};

type Frame = (Label, Vec<u8>);

/// One party's end of an in-memory trio. Messages are moved, not copied, and queues are unbounded.
pub struct LocalChannel {
    to: [Sender<Frame>; 2],
    from: [Receiver<Frame>; 2],
}

impl LocalChannel {
    /// The channels of P_1, P_2 and P_3.
    pub fn trio() -> [Self; 3] {
        // forward[i]: P_{i+1} (counted from 0) to its next; backward[i]: to its previous.
        let [f1, f2, f3] = [channel(), channel(), channel()];
        let [b1, b2, b3] = [channel(), channel(), channel()];
        [
            Self {
                to: [f1.0, b1.0],
                from: [b2.1, f3.1],
            },
            Self {
                to: [f2.0, b2.0],
                from: [b3.1, f1.1],
            },
            Self {
                to: [f3.0, b3.0],
                from: [b1.1, f2.1],
            },
        ]
    }
}

/// Index into the pairs above.
fn side(neighbour: Neighbour) -> usize {
    match neighbour {
        Neighbour::Next => 0,
        Neighbour::Prev => 1,
    }
}

impl Channel for LocalChannel {
    /// The neighbours' queues have nothing to do with one another.
    fn separate(&mut self) {}

    fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
        self.to[side(to)]
            .send((label, message))
            .map_err(|_| ChannelError::Closed)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        let (got, message) = self.from[side(from)].recv().map_err(|_| ChannelError::Closed)?;
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

/// Runs `party` on three threads, one for each role with its channel, and returns what the three return.
///
/// # Panics
/// When one of the three panics.
pub fn run_trio<T: Send>(party: impl Fn(Role, LocalChannel) -> T + Sync) -> [T; 3] {
    let [c1, c2, c3] = LocalChannel::trio();
    std::thread::scope(|scope| {
        let start = |role, channel| {
            let party = &party;
            scope.spawn(move || party(role, channel))
        };
        [start(Role::P1, c1), start(Role::P2, c2), start(Role::P3, c3)].map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Phase, Scope};

    #[test]
    fn messages_reach_the_right_neighbour() {
        let label = Label {
            scope: Scope {
                phase: Phase::Sort,
                step: 1,
                chunk: 2,
            },
            round: 3,
        };
        run_trio(|role, mut channel| {
            for to in [Neighbour::Next, Neighbour::Prev] {
                channel
                    .send(to, label, vec![role.index(), to as u8])
                    .expect("the peer is there");
            }
            for from in [Neighbour::Next, Neighbour::Prev] {
                let got = channel.recv(from, label, 2).expect("a message");
                assert_eq!(got, [role.neighbour(from).index(), from.opposite() as u8]);
            }
        });
    }

    #[test]
    fn a_wrong_label_a_wrong_length_and_a_closed_end_are_errors() {
        let label = Label {
            scope: Scope {
                phase: Phase::Sort,
                step: 1,
                chunk: 2,
            },
            round: 3,
        };
        let other = Label { round: 4, ..label };
        let [mut c1, mut c2, c3] = LocalChannel::trio();
        c1.send(Neighbour::Next, other, vec![1]).expect("queued");
        c1.send(Neighbour::Next, label, vec![1, 2]).expect("queued");
        assert!(
            matches!(c2.recv(Neighbour::Prev, label, 1), Err(ChannelError::WrongLabel { got }) if got == other)
        );
        assert!(matches!(
            c2.recv(Neighbour::Prev, label, 1),
            Err(ChannelError::WrongLength { expected: 1, got: 2 })
        ));
        drop(c3);
        assert!(matches!(
            c2.recv(Neighbour::Next, label, 1),
            Err(ChannelError::Closed)
        ));
        assert!(matches!(
            c2.send(Neighbour::Next, label, vec![]),
            Err(ChannelError::Closed)
        ));
    }
}
