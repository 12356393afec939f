use super::*;
use crate::channel::{Channel, ChannelError, Phase};
use crate::error::CheckError;
use crate::gates::tests::{Altered, Booked, reveal, run, run_over, run_seeded, share};
use crate::prss::{Binding, Prss, Seed, Seeds};
use crate::share::Column;

const SCOPE: Scope = Scope {
    phase: Phase::Shuffle,
    step: 0,
    chunk: 0,
};

fn shared_table(gates: &Gates<'_>, flat: &[u64], width: usize) -> Table {
    let mut column = share(gates.role(), 1, flat);
    Table {
        width,
        own: std::mem::take(&mut column.a),
        next: std::mem::take(&mut column.b),
    }
}

fn shuffled(rows: usize, width: usize) -> (Vec<Vec<u64>>, Vec<Vec<u64>>) {
    let plain: Vec<Vec<u64>> = (0..rows)
        .map(|r| (0..width).map(|w| (r * 100 + w) as u64 ^ 0xABCD << 40).collect())
        .collect();
    let flat: Vec<u64> = plain.iter().flatten().copied().collect();
    let [opened, ..] = run(|gates| {
        let table = shared_table(gates, &flat, width);
        let table = shuffle(gates, SCOPE, table).expect("honest");
        assert_eq!(table.width, width + 1, "a row carries its tag");
        let column = Column::from_shares(table.own.clone(), table.next.clone());
        reveal(gates, column, 64 * rows * (width + 1))
    });
    let rows = opened.chunks(width + 1).map(|row| row[..width].to_vec());
    (plain, rows.collect())
}

#[test]
fn rows_stay_whole_and_none_is_lost() {
    for (rows, width) in [
        (1, 3),
        (2, 1),
        (63, 2),
        (64, 3),
        (65, 4),
        (200, 5),
        (100, 7),
        (12_000, 3),
    ] {
        let (mut plain, mut opened) = shuffled(rows, width);
        if rows > 60 {
            assert_ne!(plain, opened);
        }
        plain.sort();
        opened.sort();
        assert_eq!(plain, opened);
    }
}

#[test]
fn the_result_is_freshly_shared() {
    let plain = vec![7u64; 640];
    let shares = run(|gates| {
        let table = shared_table(gates, &plain, 1);
        let table = shuffle(gates, SCOPE, table).expect("honest");
        let before = share(gates.role(), 1, &plain);
        let mut old: Vec<u64> = before.a.iter().chain(&before.b).copied().collect();
        old.sort_unstable();
        (table.own.clone(), table.next.clone(), old)
    });
    for i in 0..3 {
        let (own, next, old) = &shares[i];
        assert_eq!(next, &shares[(i + 1) % 3].0, "neighbours hold the same share");
        assert!(own.iter().all(|word| old.binary_search(word).is_err()));
    }
}

/// What a cheat does to a message of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    FlipOneBit,
    FlipTwoBitsOfAWord,
    SwapRows,
    RepeatARow,
    FlipTheSameBitInTwoRows,
}

fn lie(how: Lie, message: &mut [u8], row: usize) {
    match how {
        Lie::FlipOneBit => message[3] ^= 4,
        Lie::FlipTwoBitsOfAWord => message[3] ^= 6,
        Lie::SwapRows => {
            let (one, other) = message.split_at_mut(row);
            one.swap_with_slice(&mut other[..row]);
        }
        Lie::RepeatARow => message.copy_within(..row, row),
        Lie::FlipTheSameBitInTwoRows => {
            message[0] ^= 1;
            message[row] ^= 1;
        }
    }
}

/// Every wrong message of rows or tags, from whomever, is found by two honest parties before a row is used, and the cheat is a
/// suspect of both.
#[test]
fn a_wrong_row_or_tag_never_passes() {
    let flat: Vec<u64> = (0..300).map(|i| i * 0x0101_0101).collect();
    let lies = [
        Lie::FlipOneBit,
        Lie::FlipTwoBitsOfAWord,
        Lie::SwapRows,
        Lie::RepeatARow,
        Lie::FlipTheSameBitInTwoRows,
    ];
    let mut seen = 0;
    for cheat in Role::ALL {
        // Legs 0 and 1 carry rows, tags have a leg of their own.
        for leg in 0..3 {
            for to in [Neighbour::Next, Neighbour::Prev] {
                for how in lies {
                    let told = &std::sync::atomic::AtomicBool::new(false);
                    let results = run_over(
                        Some(cheat),
                        |role, inner| Altered {
                            inner,
                            alter: move |towards, label: Label, message: &mut Vec<u8>| {
                                let hit = label.scope.phase == Phase::Shuffle && label.scope.chunk == leg;
                                if role == cheat && hit && towards == to {
                                    lie(how, message, if leg == 2 { 8 } else { 32 });
                                    told.store(true, std::sync::atomic::Ordering::Relaxed);
                                }
                            },
                        },
                        |gates| {
                            let table = shared_table(gates, &flat, 3);
                            shuffle(gates, SCOPE, table).map(|_| ())
                        },
                    );
                    if !told.load(std::sync::atomic::Ordering::Relaxed) {
                        // This party sends no such message.
                        continue;
                    }
                    seen += 1;
                    if cheat == Role::P1 && leg == 2 {
                        // P_3 never uses the share that these tags are of: X1 and X2 are made by P_1 alone.
                        assert!(results.iter().all(Result::is_ok));
                        continue;
                    }
                    let (mut checks, mut errors) = (0, Vec::new());
                    for (role, result) in Role::ALL.into_iter().zip(results) {
                        if role == cheat {
                            continue;
                        }
                        let error = result.expect_err("the shuffle does not come out");
                        errors.push(error.to_string());
                        if let TallyError::Check { source, .. } = &error {
                            assert!(matches!(source, CheckError::Shuffle { .. }), "{error}");
                            assert!(error.suspects().contains(&cheat), "{error}");
                            checks += 1;
                        }
                    }
                    assert!(checks > 0, "{how:?} by {cheat} in leg {leg}: {errors:?}");
                }
            }
        }
    }
    // Four messages of rows and three of tags.
    assert_eq!(seen, 7 * lies.len());
}

/// A party that waits for the keys before it sends its last rows waits for ever: nobody opens them.
#[test]
fn the_keys_are_not_opened_before_every_row_has_arrived() {
    /// Holds back the last rows until a key arrives.
    struct Rushing {
        inner: Booked,
        cheat: bool,
    }
    impl Channel for Rushing {
        fn separate(&mut self) {
            self.inner.separate();
        }

        fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
            if self.cheat && label.scope.phase == Phase::Shuffle && label.scope.chunk == 1 {
                // In its place nothing is sent; the session ends when this party gives up.
                return Err(ChannelError::Overdue);
            }
            self.inner.send(to, label, message)
        }
        fn recv(&mut self, from: Neighbour, label: Label, expected: usize) -> Result<Vec<u8>, ChannelError> {
            let opens = label.scope.phase == Phase::Shuffle && label.scope.chunk == u32::MAX;
            assert!(!opens, "a key was about to be opened");
            self.inner.recv(from, label, expected)
        }
    }
    for cheat in [Role::P2, Role::P3] {
        let results = run_over(
            Some(cheat),
            |role, inner| Rushing {
                inner,
                cheat: role == cheat,
            },
            |gates| {
                let table = shared_table(gates, &[5; 30], 3);
                shuffle(gates, SCOPE, table).map(|_| ())
            },
        );
        assert!(results.iter().all(Result::is_err));
    }
}

/// P_3 gives one tag a wrong share, which P_2 moves by a permutation that P_3 does not know, and takes the error out of what it gets
/// back where it guesses that the row went. If the check passed where the guess is right, P_3 would know where that row went: it
/// must fail whatever the guess.
#[test]
fn a_guess_at_where_a_row_went_is_never_confirmed() {
    /// P_3's channel: an error in the tag of the first row, taken out of row `guess` of Y1.
    struct Guessing {
        inner: Booked,
        guess: Option<usize>,
    }
    const WIDTH: usize = 3;
    impl Channel for Guessing {
        fn separate(&mut self) {
            self.inner.separate();
        }

        fn send(&mut self, to: Neighbour, label: Label, mut message: Vec<u8>) -> Result<(), ChannelError> {
            if self.guess.is_some() && label.scope.chunk == 2 && label.scope.phase == Phase::Shuffle {
                message[0] ^= 1;
            }
            self.inner.send(to, label, message)
        }
        fn recv(&mut self, from: Neighbour, label: Label, expected: usize) -> Result<Vec<u8>, ChannelError> {
            let mut message = self.inner.recv(from, label, expected)?;
            if label.scope.chunk == 0
                && label.scope.phase == Phase::Shuffle
                && let Some(guess) = self.guess
            {
                message[8 * (guess * (WIDTH + 1) + WIDTH)] ^= 1;
            }
            Ok(message)
        }
    }
    for guess in 0..3 {
        let results = run_over(
            Some(Role::P3),
            |role, inner| Guessing {
                inner,
                guess: (role == Role::P3).then_some(guess),
            },
            |gates| {
                let table = shared_table(gates, &[9; 3 * WIDTH], WIDTH);
                shuffle(gates, SCOPE, table).map(|_| ())
            },
        );
        for (role, result) in Role::ALL.into_iter().zip(results) {
            assert!(
                role == Role::P3 || result.is_err(),
                "{role} confirms that the row went to {guess}"
            );
        }
    }
}

/// Where a cheat flips a bit: in which message of rows or tags, sent or taken, and in which word of it.
type Place = (bool, Neighbour, u32, usize);

/// Flips the lowest bit at some places of what this party sends, and of what it takes.
struct Flipping<'a> {
    inner: Booked,
    cheat: bool,
    places: &'a [Place],
    /// Takes down every place there is.
    seen: Option<&'a std::sync::Mutex<Vec<Place>>>,
}

impl Flipping<'_> {
    fn flip(&self, sent: bool, with: Neighbour, label: Label, message: &mut [u8]) {
        let leg = label.scope.chunk;
        if !self.cheat || label.scope.phase != Phase::Shuffle || leg > 2 {
            return;
        }
        for (i, word) in message.chunks_exact_mut(8).enumerate() {
            let place = (sent, with, leg, i);
            word[0] ^= u8::from(self.places.contains(&place));
            if let Some(seen) = self.seen {
                seen.lock().expect("no panic").push(place);
            }
        }
    }
}

impl Channel for Flipping<'_> {
    fn separate(&mut self) {
        self.inner.separate();
    }

    fn send(&mut self, to: Neighbour, label: Label, mut message: Vec<u8>) -> Result<(), ChannelError> {
        self.flip(true, to, label, &mut message);
        self.inner.send(to, label, message)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected: usize) -> Result<Vec<u8>, ChannelError> {
        let mut message = self.inner.recv(from, label, expected)?;
        self.flip(false, from, label, &mut message);
        Ok(message)
    }
}

/// Whether two errors of a cheat, anywhere in what it sends and takes, stop the session must not depend on what it does not know:
/// the permutation, masks and keys that the two others share. Else the outcome would tell it something about them.
#[test]
fn whether_errors_pass_does_not_depend_on_what_the_cheat_cannot_know() {
    const UNKNOWN: [u8; 6] = [20, 21, 22, 23, 24, 25];
    for cheat in Role::ALL {
        // The pair of P_{j-1} and P_j has the seed j, but for that of the two others.
        let seeds = |role: Role, unknown: u8| {
            let seed = |j: Role| Seed::new([if j == cheat.prev() { unknown } else { j.index() }; 32]);
            Seeds {
                prev: seed(role),
                next: seed(role.next()),
            }
        };
        let mut orders = UNKNOWN.map(|unknown| {
            let binding = Binding::new(&[0; 32], b"e", b"b", 1);
            let mut prss = Prss::new(cheat.next(), &seeds(cheat.next(), unknown), &binding);
            prss.stream(Neighbour::Next, Purpose::Permutation, SCOPE)
                .permutation(2)
        });
        orders.sort();
        assert_ne!(
            orders[0], orders[5],
            "the two others' permutation is not always the same"
        );
        let shuffled = |unknown: u8, places: &[Place], seen: Option<&std::sync::Mutex<Vec<Place>>>| {
            let results = run_seeded(
                |role| seeds(role, unknown),
                Some(cheat),
                |role, inner| Flipping {
                    inner,
                    cheat: role == cheat,
                    places,
                    seen,
                },
                |gates| {
                    let table = shared_table(gates, &[5, 6], 1);
                    shuffle(gates, SCOPE, table).map(|_| ())
                },
            );
            let honest = Role::ALL
                .into_iter()
                .zip(results)
                .filter(|(role, _)| *role != cheat);
            honest.map(|(_, result)| result).all(|result| result.is_ok())
        };
        let seen = std::sync::Mutex::new(Vec::new());
        assert!(shuffled(UNKNOWN[0], &[], Some(&seen)), "nothing is flipped");
        let places = seen.into_inner().expect("no panic");
        assert!(places.len() >= 8, "{places:?}");
        for (i, one) in places.iter().enumerate() {
            for other in &places[i..] {
                let passed = UNKNOWN.map(|unknown| shuffled(unknown, &[*one, *other], None));
                let constant = passed.iter().all(|now| *now == passed[0]);
                assert!(constant, "{cheat} flips {one:?} and {other:?}: {passed:?}");
            }
        }
    }
}
