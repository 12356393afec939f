use super::*;
use crate::channel::{ChannelError, Phase};
use crate::local::{LocalChannel, run_trio};
use crate::notary::ChannelHashes;
use crate::notary::tests::TestKeys;
use crate::observer::Opening;
use crate::prss::Seed;
use crate::share::Column;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::{Arc, Mutex};

pub(crate) fn seeds(role: Role) -> Seeds {
    Seeds {
        prev: Seed::new([role.index(); 32]),
        next: Seed::new([role.next().index(); 32]),
    }
}

fn scope(step: u32) -> Scope {
    Scope {
        phase: Phase::Sort,
        step,
        chunk: 0,
    }
}

fn words_of(seed: u64, length: usize) -> Vec<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..length).map(|_| rng.next_u64()).collect()
}

/// The shares of `plain` as `role` holds them.
pub(crate) fn share(role: Role, seed: u64, plain: &[u64]) -> Column {
    let [x1, x2] = [2 * seed + 1_000, 2 * seed + 1_001].map(|s| words_of(s, plain.len()));
    let x3: Vec<u64> = (0..plain.len()).map(|i| plain[i] ^ x1[i] ^ x2[i]).collect();
    match role {
        Role::P1 => Column::from_shares(x1, x2),
        Role::P2 => Column::from_shares(x2, x3),
        Role::P3 => Column::from_shares(x3, x1),
    }
}

/// Words in one message of a layer.
const MESSAGE_WORDS: usize = 32 * 1024;

/// Runs `circuit` on three parties and returns what they return.
pub(crate) fn run<T: Send>(circuit: impl Fn(&mut Gates<'_>) -> T + Sync) -> [T; 3] {
    run_over(None, |_, channel| channel, circuit)
}

/// What a cheat's channel and its keys know of one another.
struct Books {
    /// What really went over the channel.
    real: Ledger,
    /// What the cheat's engine, which knows nothing of the alterations, thinks.
    believed: Option<ChannelHashes>,
}

/// A channel that a cheat may alter: its statements at the barriers say what it really sent, and its own engine is told that all is
/// well. An honest party's is left as it is.
pub(crate) struct Booked {
    inner: LocalChannel,
    cheat: Option<Arc<Mutex<Books>>>,
}

/// Signs what the books say, and believes everything.
struct BookedKeys {
    keys: TestKeys,
    cheat: Option<Arc<Mutex<Books>>>,
}

impl Channel for Booked {
    fn separate(&mut self) {
        self.inner.separate();
    }

    fn send(&mut self, to: Neighbour, label: Label, mut message: Vec<u8>) -> Result<(), ChannelError> {
        if let Some(books) = &self.cheat {
            let mut books = books.lock().expect("no panic");
            if label.scope.phase == Phase::Barrier {
                message[..ChannelHashes::BYTES].copy_from_slice(&books.real.hashes().to_bytes());
            } else {
                books.real.sent(to, label, &message);
            }
        }
        self.inner.send(to, label, message)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        let mut message = self.inner.recv(from, label, expected_len)?;
        let Some(books) = &self.cheat else {
            return Ok(message);
        };
        let mut books = books.lock().expect("no panic");
        if label.scope.phase != Phase::Barrier {
            books.real.received(from, label, &message);
        } else if let (Some(believed), Some(stated)) = (books.believed, message.first_chunk_mut()) {
            let mut channels = ChannelHashes::from_bytes(stated);
            match from {
                Neighbour::Next => {
                    channels.from_prev = believed.to_next;
                    channels.to_prev = believed.from_next;
                }
                Neighbour::Prev => {
                    channels.from_next = believed.to_prev;
                    channels.to_next = believed.from_prev;
                }
            }
            *stated = channels.to_bytes();
        }
        Ok(message)
    }
}

impl Notary for BookedKeys {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        let mut statement = statement.to_vec();
        if let (Some(books), Some(stated)) = (&self.cheat, statement.last_chunk_mut()) {
            let mut books = books.lock().expect("no panic");
            books.believed = Some(ChannelHashes::from_bytes(stated));
            *stated = books.real.hashes().to_bytes();
        }
        self.keys.sign(&statement)
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        self.cheat.is_some() || self.keys.verify(signer, statement, signature)
    }
}

/// The same over channels that `wrap` makes of the honest ones; what `cheat` sends may be altered there.
pub(crate) fn run_over<T: Send, C: Channel>(
    cheat: Option<Role>,
    wrap: impl Fn(Role, Booked) -> C + Sync,
    circuit: impl Fn(&mut Gates<'_>) -> T + Sync,
) -> [T; 3] {
    run_seeded(seeds, cheat, wrap, circuit)
}

/// The same with seeds of one's own.
pub(crate) fn run_seeded<T: Send, C: Channel>(
    seeds: impl Fn(Role) -> Seeds + Sync,
    cheat: Option<Role>,
    wrap: impl Fn(Role, Booked) -> C + Sync,
    circuit: impl Fn(&mut Gates<'_>) -> T + Sync,
) -> [T; 3] {
    run_trio(|role, inner| {
        let binding = Binding::new(&[0; 32], b"e", b"b", 1);
        let cheat = (cheat == Some(role)).then(|| {
            Arc::new(Mutex::new(Books {
                real: Ledger::new(role, &binding),
                believed: None,
            }))
        });
        let keys = TestKeys::new(role);
        let mut notary = BookedKeys {
            keys,
            cheat: cheat.clone(),
        };
        let mut channel = wrap(role, Booked { inner, cheat });
        let mut observer = ();
        let mut gates = Gates::new(
            role,
            &seeds(role),
            &binding,
            &mut channel,
            &mut notary,
            &mut observer,
        );
        circuit(&mut gates)
    })
}

/// Opens a column for a test.
pub(crate) fn reveal(gates: &mut Gates<'_>, column: Column, lanes: usize) -> Vec<u64> {
    try_reveal(gates, column, lanes).expect("honest")
}

pub(crate) fn try_reveal(
    gates: &mut Gates<'_>,
    column: Column,
    lanes: usize,
) -> Result<Vec<u64>, TallyError> {
    let at = Scope {
        phase: Phase::Open,
        step: 0,
        chunk: 0,
    };
    let validated = gates.validate(at, column)?;
    gates.open(at, Opening::Totals, validated, lanes)
}

#[test]
fn products_are_right_at_every_length() {
    for lanes in [1usize, 63, 64, 65, 64 * 511, 64 * 513, 64 * (MESSAGE_WORDS + 7)] {
        let length = lanes.div_ceil(64);
        let plain: Vec<Vec<u64>> = (0..5).map(|i| words_of(i, length)).collect();
        let opened = run(|gates| {
            let x: Vec<Column> = (0..5).map(|i| share(gates.role(), i as u64, &plain[i])).collect();
            let mut tape = gates.tape(scope(1));
            let products = gates
                .and(&mut tape, &[(&x[0], &x[1]), (&x[2], &x[3])])
                .expect("honest");
            let mut both = products;
            let last = gates.and1(&mut tape, &x[4], &x[4]).expect("honest");
            gates
                .and_assign(&mut tape, &mut both[..1], &[last])
                .expect("honest");
            both.into_iter()
                .enumerate()
                .map(|(i, column)| {
                    let at = scope(i as u32 + 2);
                    let validated = gates.validate(at, column).expect("honest");
                    gates.open(at, Opening::Totals, validated, lanes).expect("honest")
                })
                .collect::<Vec<_>>()
        });
        for opened in &opened {
            for i in 0..lanes {
                let bit = |words: &[u64]| words[i / 64] >> (i % 64) & 1;
                assert_eq!(bit(&opened[0]), bit(&plain[0]) & bit(&plain[1]) & bit(&plain[4]));
                assert_eq!(bit(&opened[1]), bit(&plain[2]) & bit(&plain[3]));
            }
        }
    }
}

#[test]
fn what_is_opened_beyond_the_lanes_is_cut_off() {
    let [opened, ..] = run(|gates| {
        let column = Column::public(gates.role(), &[u64::MAX, u64::MAX]);
        reveal(gates, column, 65)
    });
    assert_eq!(opened, [u64::MAX, 1]);
}

/// Passes everything on; `alter` may change what this party sends.
pub(crate) struct Altered<F> {
    pub(crate) inner: Booked,
    pub(crate) alter: F,
}

impl<F: FnMut(Neighbour, Label, &mut Vec<u8>)> Channel for Altered<F> {
    fn separate(&mut self) {
        self.inner.separate();
    }

    fn send(&mut self, to: Neighbour, label: Label, mut message: Vec<u8>) -> Result<(), ChannelError> {
        (self.alter)(to, label, &mut message);
        self.inner.send(to, label, message)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        self.inner.recv(from, label, expected_len)
    }
}

/// What lies beyond the lanes never leaves a party: with it in the opening, the padding of a comparison would show a key's bit.
#[test]
fn lanes_beyond_those_opened_are_not_sent() {
    let sent = Mutex::new(Vec::new());
    run_over(
        None,
        |_, inner| Altered {
            inner,
            alter: |to, label: Label, message: &mut Vec<u8>| {
                if label.scope.phase == Phase::Open && to == Neighbour::Next {
                    sent.lock().expect("no panic").push(message.clone());
                }
            },
        },
        |gates| {
            let column = share(gates.role(), 5, &[u64::MAX, u64::MAX]);
            assert_eq!(reveal(gates, column, 67), [u64::MAX, 7]);
        },
    );
    let sent = sent.into_inner().expect("no panic");
    assert_eq!(sent.len(), 3);
    for message in sent {
        let last = words(&message).last().expect("two words");
        assert_eq!(last >> 3, 0);
    }
}

/// One wrong product, in any lane of any party's message, is proven wrong to both others before anything is opened.
#[test]
fn a_wrong_product_is_never_opened() {
    for cheat in Role::ALL {
        for bits in [1u64, 3, 1 << 63 | 1] {
            let results = run_over(
                Some(cheat),
                |role, inner| Altered {
                    inner,
                    alter: move |to, label: Label, message: &mut Vec<u8>| {
                        if role == cheat && to == Neighbour::Prev && label.scope.phase == Phase::Sort {
                            for (byte, flip) in message[8..].iter_mut().zip(bits.to_le_bytes()) {
                                *byte ^= flip;
                            }
                        }
                    },
                },
                |gates| {
                    let (x, y) = (share(gates.role(), 1, &[7; 70]), share(gates.role(), 2, &[5; 70]));
                    let mut tape = gates.tape(scope(1));
                    let product = gates.and1(&mut tape, &x, &y)?;
                    let opened = try_reveal(gates, product, 64 * 70);
                    let again = try_reveal(gates, Column::zero(1), 64);
                    assert!(opened.is_ok() || matches!(again, Err(TallyError::Stopped)));
                    opened
                },
            );
            for (role, result) in Role::ALL.into_iter().zip(results) {
                let error = result.expect_err("nobody opens it");
                if role != cheat {
                    assert!(
                        matches!(
                            error,
                            TallyError::Check {
                                source: CheckError::Proof(_),
                                ..
                            }
                        ),
                        "{error}"
                    );
                    assert!(error.suspects().contains(&cheat), "{error}");
                }
            }
        }
    }
}

#[test]
fn nothing_to_open_takes_no_message() {
    run(|gates| {
        assert!(reveal(gates, Column::zero(0), 0).is_empty());
        assert!(reveal(gates, Column::zero(0), 0).is_empty());
    });
}

/// Gates that fill the log several times over are proven on the way, and the opening is right.
#[test]
fn a_long_circuit_is_proven_piece_by_piece() {
    let length = 1 << 17;
    let (x, y) = (words_of(1, length), words_of(2, length));
    let opened = run(|gates| {
        let (x, y) = (share(gates.role(), 1, &x), share(gates.role(), 2, &y));
        let mut tape = gates.tape(scope(1));
        let mut z = gates.and1(&mut tape, &x, &y).expect("honest");
        for _ in 0..12 {
            z = gates.and1(&mut tape, &z, &y).expect("honest");
        }
        reveal(gates, z, 64 * length)
    });
    for opened in opened {
        assert!(opened.iter().zip(x.iter().zip(&y)).all(|(z, (x, y))| *z == x & y));
    }
}

/// A chunk of 2^22 gates takes five rounds and one of 64 gates two; they go in lockstep. A wrong product in either is found.
#[test]
fn chunks_of_different_lengths_are_proven_side_by_side() {
    let length = (1 << 16) + 1;
    for wrong in [None, Some(0), Some(length - 1)] {
        let results = run_over(
            wrong.map(|_| Role::P2),
            |role, inner| Altered {
                inner,
                alter: move |to, label: Label, message: &mut Vec<u8>| {
                    let word = wrong.map(|word| (word / MESSAGE_WORDS, word % MESSAGE_WORDS));
                    if role == Role::P2
                        && to == Neighbour::Prev
                        && label.scope.phase == Phase::Sort
                        && let Some((part, word)) = word
                        && label.round as usize == part
                    {
                        message[8 * word] ^= 1;
                    }
                },
            },
            |gates| {
                let x = share(gates.role(), 1, &vec![7; length]);
                let mut tape = gates.tape(scope(1));
                let z = gates.and1(&mut tape, &x, &x)?;
                let last = Column::from_shares(z.a[length - 1..].to_vec(), z.b[length - 1..].to_vec());
                try_reveal(gates, last, 64)
            },
        );
        for (role, result) in Role::ALL.into_iter().zip(results) {
            match (wrong, result) {
                (None, result) => assert_eq!(result.expect("honest"), [7]),
                (Some(_), Ok(_)) => panic!("{role} opened"),
                (Some(_), Err(error)) => {
                    assert!(
                        role == Role::P2 || error.suspects().contains(&Role::P2),
                        "{error}"
                    );
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "drawn twice")]
fn a_scope_used_twice_panics() {
    run(|gates| {
        let _ = gates.tape(scope(1));
        let _ = gates.tape(scope(1));
    });
}
