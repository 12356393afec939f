use super::super::tests::{Altered, run_over, share};
use super::*;
use crate::channel::Channel;

const AT: Scope = Scope {
    phase: Phase::Open,
    step: 0,
    chunk: 0,
};

const PLAIN: [u64; 3] = [7, 1 << 63, 12_345];

/// What the three parties make of the outputs when `cheat` spoils its last statement to `spoilt` neighbours, and its opening to both.
fn outputs(cheat: Role, spoilt: &[Neighbour]) -> [Result<Vec<u64>, TallyError>; 3] {
    run_over(
        Some(cheat),
        |role, inner| Altered {
            inner,
            alter: move |to, label: Label, message: &mut Vec<u8>| {
                let statement = label.scope.phase == Phase::Barrier && spoilt.contains(&to);
                if role == cheat && (statement || label.scope.chunk == OPENING) {
                    message[HASH + 1] ^= 1;
                    *message.last_mut().expect("a signature") ^= 1;
                }
            },
        },
        |gates| {
            let value = gates.validate(AT, share(gates.role(), 3, &PLAIN))?;
            let value = gates.commit(AT, value)?;
            gates.open_committed(AT, Opening::Totals, value)
        },
    )
}

#[test]
fn a_last_statement_to_one_neighbour_is_a_statement_to_both() {
    for cheat in Role::ALL {
        for spoilt in [&[][..], &[Neighbour::Next], &[Neighbour::Prev]] {
            let outputs = outputs(cheat, spoilt);
            for (role, output) in Role::ALL.into_iter().zip(outputs) {
                if role != cheat {
                    assert_eq!(
                        output.expect("the other shows it"),
                        PLAIN,
                        "{role} by {cheat}, {spoilt:?}"
                    );
                }
            }
        }
    }
}

/// Neither honest party waits for the other, although this channel knows no deadline.
#[test]
fn without_a_last_statement_nobody_opens_anything() {
    for cheat in Role::ALL {
        let outputs = outputs(cheat, &[Neighbour::Next, Neighbour::Prev]);
        for (role, output) in Role::ALL.into_iter().zip(outputs) {
            let error = output.expect_err("nobody opens");
            if role != cheat {
                assert_eq!(error.suspects(), [cheat], "{error}");
                let source = matches!(
                    error,
                    TallyError::Check {
                        source: CheckError::Signature { .. },
                        ..
                    }
                );
                assert!(source, "{error}");
            }
        }
    }
}

/// The third party can hold back its commitment to one honest party until the other has waited a deadline for its statement. If that
/// one gave up, the first would open the totals to the third and have nobody to take its own share from.
#[test]
fn a_statement_that_is_a_deadline_late_still_counts() {
    /// The channel of the party that waits: the first wait for a statement of `late` is in vain.
    struct Late<C> {
        inner: C,
        late: Option<Neighbour>,
    }
    impl<C: Channel> Channel for Late<C> {
        fn separate(&mut self) {
            self.inner.separate();
        }
        fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
            self.inner.send(to, label, message)
        }
        fn recv(&mut self, from: Neighbour, label: Label, expected: usize) -> Result<Vec<u8>, ChannelError> {
            if label.scope.phase == Phase::Barrier && self.late.take_if(|late| *late == from).is_some() {
                return Err(ChannelError::Overdue);
            }
            self.inner.recv(from, label, expected)
        }
    }
    for cheat in Role::ALL {
        for late in [Neighbour::Next, Neighbour::Prev] {
            let waiting = cheat.neighbour(late);
            let outputs = run_over(
                Some(cheat),
                |role, inner| Late {
                    inner: Altered {
                        inner,
                        alter: move |_, label: Label, message: &mut Vec<u8>| {
                            if role == cheat && label.scope.chunk == OPENING {
                                message[0] ^= 1;
                            }
                        },
                    },
                    late: (role == waiting).then_some(late),
                },
                |gates| {
                    let value = gates.validate(AT, share(gates.role(), 3, &PLAIN))?;
                    let value = gates.commit(AT, value)?;
                    gates.open_committed(AT, Opening::Totals, value)
                },
            );
            for (role, output) in Role::ALL.into_iter().zip(outputs) {
                assert!(
                    role == cheat || output.is_ok_and(|output| output == PLAIN),
                    "{role} by {cheat}"
                );
            }
        }
    }
}
