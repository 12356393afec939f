//! What many sessions open and send, and whether two lots of them can be told apart.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tally_mpc::{Opening, Role, SortParams, TallyParams, transcript};

use super::chi_square::{Apart, two_samples};
use super::election::Election;
use super::suite::for_each;
use super::trio::{End, Session};

/// Counts of what was seen, by feature and value.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    features: BTreeMap<&'static str, BTreeMap<u64, u64>>,
}

/// An engine that leaks, of which only what its sort opens is of interest.
#[derive(Clone, Copy, Debug)]
pub enum Leak {
    /// The rows are sorted as they came, without a shuffle.
    Unshuffled,
    /// They are shuffled, but rows of one index are left in the order in which everybody sees them.
    PublicTies,
    /// The shuffle leaves one row in three where it is.
    HalfShuffled,
}

/// The levels of the sort, as they were opened.
fn levels(end: &End) -> Vec<transcript::Level> {
    end.openings
        .iter()
        .filter(|opened| matches!(opened.opening, Opening::Comparisons { .. }))
        .map(|opened| transcript::Level {
            lanes: opened.lanes,
            words: opened.words.clone(),
        })
        .collect()
}

/// One number for many, so that other numbers give another one.
fn digest(numbers: impl Iterator<Item = usize>) -> u64 {
    numbers.fold(0u64, |sum, number| {
        (sum ^ number as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    })
}

impl Sample {
    fn count(&mut self, feature: &'static str, value: u64) {
        *self
            .features
            .entry(feature)
            .or_default()
            .entry(value)
            .or_default() += 1;
    }

    fn enter_levels(&mut self, levels: &[transcript::Level], ranks: &[u32]) {
        self.count("levels of the sort", levels.len() as u64);
        self.count(
            "comparisons of every level",
            digest(levels.iter().map(|level| level.lanes)),
        );
        let last = ranks.len() - 1;
        self.count("rank of the first row", ranks[0].into());
        self.count("rank of the last row", ranks[last].into());
        self.count("order of three rows", {
            let [a, b, c] = [ranks[0], ranks[last / 2], ranks[last]];
            u64::from(a < b) | u64::from(b < c) << 1 | u64::from(a < c) << 2
        });
        let inversions = (0..last).filter(|&i| ranks[i] > ranks[i + 1]).count();
        self.count("neighbours out of order", inversions as u64);
        if let (Some(first), Some(last)) = (levels.first(), levels.last()) {
            self.count("first opened bits", first.words[0] & 0x1f);
            let ones =
                |level: &transcript::Level| level.words.iter().map(|word| word.count_ones()).sum::<u32>();
            self.count("ones of the first level", ones(first).into());
            self.count("ones of the last level", ones(last).into());
        }
    }

    /// Runs the sessions numbered by `numbers` of a box.
    ///
    /// # Panics
    /// When a session fails, when what it opened in the sort is not what the simulator makes of one permutation, or when the three
    /// parties do not see the same.
    #[must_use]
    pub fn of_sessions(
        election: &Election,
        params: &TallyParams,
        sessions: usize,
        number: impl Fn(u64) -> u64 + Sync,
    ) -> Self {
        let sample = Mutex::new(Self::default());
        for_each(sessions, |i| {
            let number = number(i as u64);
            let ends = Session::honest(election, params.clone(), number).run();
            for end in &ends {
                let outcome = end.result.as_ref().expect("honest parties do not abort");
                assert!(election.agrees(outcome), "session {number} has the plain count");
                assert_eq!(end.openings, ends[0].openings, "all three see the same");
            }
            let levels = levels(&ends[0]);
            let ranks = realised(election.rows(), &params.sort, &levels);
            let mut sample = sample.lock().expect("no thread panics");
            sample.enter_levels(&levels, &ranks);
            for (role, end) in Role::ALL.into_iter().zip(&ends) {
                let feature = match role {
                    Role::P1 => "sizes of all messages of P1",
                    Role::P2 => "sizes of all messages of P2",
                    Role::P3 => "sizes of all messages of P3",
                };
                sample.count(feature, digest(end.sent.iter().map(|sent| sent.message.len())));
            }
            let keys = ends[0]
                .openings
                .iter()
                .find(|opened| opened.opening == Opening::TagKeys)
                .expect("every session opens them");
            sample.count("low bits of a tag key", keys.words[0] & 0xf);
        });
        sample.into_inner().expect("no thread panics")
    }

    /// As many made-up sessions, from public sizes and random permutations alone. Message sizes are not made up.
    ///
    /// # Panics
    /// Never: a permutation has an order.
    #[must_use]
    pub fn simulated(rows: usize, params: &TallyParams, seed: u64, sessions: usize) -> Self {
        let mut sample = Self::default();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut ranks: Vec<u32> = (0..rows as u32).collect();
        for _ in 0..sessions {
            ranks.shuffle(&mut rng);
            let levels = transcript::openings(&ranks, &params.sort).expect("a permutation");
            sample.enter_levels(&levels, &ranks);
            sample.count("low bits of a tag key", rng.random_range(0..16));
        }
        sample
    }

    /// What as many sorts of a leaky engine open.
    ///
    /// # Panics
    /// Never: ranks are a permutation.
    #[must_use]
    pub fn leaky(election: &Election, params: &TallyParams, leak: Leak, seed: u64, sessions: usize) -> Self {
        let mut sample = Self::default();
        let mut rng = StdRng::seed_from_u64(seed);
        let sorted = election.ranks();
        let mut moved: Vec<usize> = (0..sorted.len()).collect();
        for _ in 0..sessions {
            moved.shuffle(&mut rng);
            let ranks = match leak {
                Leak::Unshuffled => sorted.clone(),
                Leak::PublicTies => election.ranks_with_public_ties(&moved),
                Leak::HalfShuffled => {
                    let mut free: Vec<usize> = (0..moved.len()).filter(|row| row % 3 != 0).collect();
                    let places = free.clone();
                    free.shuffle(&mut rng);
                    let mut ranks = sorted.clone();
                    for (place, row) in places.into_iter().zip(free) {
                        ranks[place] = sorted[row];
                    }
                    ranks
                }
            };
            let levels = transcript::openings(&ranks, &params.sort).expect("a permutation");
            sample.enter_levels(&levels, &ranks);
        }
        sample
    }

    /// How far the features that both have are apart.
    #[must_use]
    pub fn compare(&self, other: &Self) -> BTreeMap<&'static str, Apart> {
        let shared = self
            .features
            .iter()
            .filter_map(|(feature, one)| Some((*feature, one, other.features.get(feature)?)));
        shared
            .map(|(feature, one, two)| (feature, two_samples(one, two)))
            .collect()
    }
}

/// The permutation that a session's sort realised. From it alone the simulator gives every opened bit again.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn realised(rows: usize, params: &SortParams, levels: &[transcript::Level]) -> Vec<u32> {
    let ranks = transcript::ranks(rows, params, levels).expect("the comparisons are those of one order");
    let simulated = transcript::openings(&ranks, params).expect("an order");
    assert_eq!(simulated, levels, "the simulator opens the same bits");
    ranks
}
