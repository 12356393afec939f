//! Messages that are not what a step prescribes: every one ends in an error that names step and neighbour, none in a
//! panic.

mod election;

use election::{sample, tally_over};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tally_mpc::local::LocalChannel;
use tally_mpc::{Channel, ChannelError, Label, Neighbour, Phase, Role, TallyError, TallyParams};

/// What happens to one message on its way to the engine.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Short,
    Long,
    Empty,
    Label,
    Closed,
    Overdue,
    Flip,
    /// Whatever `at` is, the previous party's opening of the totals comes with every bit flipped.
    InvertTotals,
}

/// Damages the message number `at` that this party receives.
struct Saboteur {
    inner: LocalChannel,
    fault: Option<Fault>,
    at: usize,
    received: usize,
}

impl Channel for Saboteur {
    fn separate(&mut self) {
        self.inner.separate();
    }

    fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
        self.inner.send(to, label, message)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        let mut message = self.inner.recv(from, label, expected_len)?;
        let totals = matches!(self.fault, Some(Fault::InvertTotals));
        let hit = if totals {
            label.scope.phase == Phase::Open && label.scope.chunk == u32::MAX && from == Neighbour::Prev
        } else {
            self.received == self.at
        };
        self.received += 1;
        match self.fault.filter(|_| hit) {
            None => {}
            // Lengths are passed on as they are: the engine itself has to refuse them.
            Some(Fault::Short) => drop(message.pop()),
            Some(Fault::Long) => message.push(0),
            Some(Fault::Empty) => message.clear(),
            Some(Fault::Label) => {
                return Err(ChannelError::WrongLabel {
                    got: Label {
                        round: label.round + 1,
                        ..label
                    },
                });
            }
            Some(Fault::Closed) => return Err(ChannelError::Closed),
            Some(Fault::Overdue) => return Err(ChannelError::Overdue),
            Some(Fault::InvertTotals) => message.iter_mut().for_each(|byte| *byte ^= 0xFF),
            Some(Fault::Flip) => {
                if let Some(byte) = message.first_mut() {
                    *byte ^= 1;
                }
            }
        }
        Ok(message)
    }
}

/// The three parties' results with a fault at message `at` of `victim`, and how many messages the victim received.
fn with_fault(victim: Role, fault: Option<Fault>, at: usize) -> Vec<Result<(), TallyError>> {
    let election = sample(20, 60, 3);
    tally_over(
        &election,
        &TallyParams::default(),
        9,
        [(), (), ()],
        |role, inner| Saboteur {
            inner,
            fault: fault.filter(|_| role == victim),
            at,
            received: 0,
        },
    )
    .into_iter()
    .map(|(result, ())| result.map(|_| ()))
    .collect()
}

#[test]
fn every_malformed_message_is_an_error_that_names_the_sender() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for fault in [
        Fault::Short,
        Fault::Long,
        Fault::Empty,
        Fault::Label,
        Fault::Closed,
        Fault::Overdue,
    ] {
        for victim in Role::ALL {
            let mut places: Vec<usize> = (0..4).collect();
            places.extend((0..8).map(|_| (rng.next_u32() % 80) as usize));
            for at in places {
                let results = with_fault(victim, Some(fault), at);
                let own = &results[victim.index() as usize - 1];
                let Err(error) = own else {
                    // The tally was over before that many messages arrived.
                    assert!(at > 40, "{fault:?} at message {at} of {victim} went unnoticed");
                    continue;
                };
                let TallyError::Channel {
                    source, neighbour, ..
                } = error
                else {
                    panic!("{fault:?} gave {error}");
                };
                assert_eq!(error.suspects(), [victim.neighbour(*neighbour)]);
                assert!(error.phase().is_some());
                let right = match fault {
                    Fault::Short | Fault::Long | Fault::Empty => {
                        matches!(source, ChannelError::WrongLength { .. })
                    }
                    Fault::Label => matches!(source, ChannelError::WrongLabel { .. }),
                    Fault::Closed => matches!(source, ChannelError::Closed),
                    _ => matches!(source, ChannelError::Overdue),
                };
                assert!(right, "{fault:?} gave {error}");
                assert!(error.to_string().contains("round"), "{error}");
            }
        }
    }
}

/// A bit that flips on its way ends the session before the next opening, whatever message it is in; never a panic or a hang.
#[test]
fn flipped_bits_end_the_session() {
    for victim in Role::ALL {
        for at in 0..120 {
            for result in with_fault(victim, Some(Fault::Flip), at) {
                if let Err(error) = result {
                    assert!(!error.suspects().is_empty(), "{error}");
                } else {
                    assert!(at > 80, "message {at} of {victim}");
                }
            }
        }
    }
}

/// Of the two openings of the outputs a wrong one is passed over.
#[test]
fn a_wrong_opening_of_the_totals_vetoes_nothing() {
    for victim in Role::ALL {
        let results = with_fault(victim, Some(Fault::InvertTotals), 0);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
}

#[test]
fn an_interruption_accuses_nobody() {
    struct Interrupted;
    impl Channel for Interrupted {
        fn separate(&mut self) {}
        fn send(&mut self, _: Neighbour, _: Label, _: Vec<u8>) -> Result<(), ChannelError> {
            Err(ChannelError::Interrupted)
        }
        fn recv(&mut self, _: Neighbour, _: Label, _: usize) -> Result<Vec<u8>, ChannelError> {
            Err(ChannelError::Interrupted)
        }
    }
    let election = sample(3, 5, 1);
    for (result, ()) in tally_over(&election, &TallyParams::default(), 1, [(), (), ()], |_, _| {
        Interrupted
    }) {
        assert!(result.expect_err("interrupted").suspects().is_empty());
    }
}
