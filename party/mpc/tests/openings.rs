//! What a tally opens: fresh tag keys, comparison bits of the sort and the totals, and nothing else.

mod election;

use election::{Election, sample, tally_with};
use tally_mpc::{Observer, OpenedCounts, Opening, Outcome, SortParams, TallyParams};

/// Everything opened, in order.
#[derive(Default)]
struct Transcript(Vec<(Opening, usize, Vec<u64>)>);

impl Observer for Transcript {
    fn opened(&mut self, opening: Opening, lanes: usize, words: &[u64]) {
        self.0.push((opening, lanes, words.to_vec()));
    }
}

fn transcript(election: &Election, params: &TallyParams, seed: u64) -> (Outcome, Transcript) {
    let observers = [
        Transcript::default(),
        Transcript::default(),
        Transcript::default(),
    ];
    let [(first, heard), (_, second), (_, third)] = tally_with(election, params, seed, observers);
    assert!(
        heard.0 == second.0 && heard.0 == third.0,
        "all three parties see the same openings"
    );
    (first.expect("an honest tally"), heard)
}

/// Bit widths of the result: one column of 64 lanes for the up to 64 totals, as many words as the number of ballots has
/// bits.
fn check(election: &Election, params: &TallyParams, seed: u64) -> Vec<usize> {
    let (outcome, heard) = transcript(election, params, seed);
    assert_eq!(outcome, election.recount(params.counts));
    let totals: Vec<_> = heard
        .0
        .iter()
        .filter(|(opening, ..)| *opening == Opening::Totals)
        .collect();
    assert_eq!(totals.len(), 1, "the totals are opened once");
    assert_eq!(
        heard.0.last().map(|(opening, ..)| *opening),
        Some(Opening::Totals),
        "and last"
    );
    let bits = (usize::BITS - election.ballots.len().leading_zeros()) as usize;
    assert_eq!(totals[0].1, 64 * bits);
    // Only the lanes of totals that the parameters name hold anything.
    let named = election
        .layout
        .contests()
        .iter()
        .map(|c| c.options() as usize + usize::from(c.can_be_spoilt()));
    let counts = match params.counts {
        OpenedCounts::Nothing => 0,
        OpenedCounts::Counted => 1,
        OpenedCounts::PerChannel => 2,
    };
    let lanes = named.sum::<usize>() + counts;
    assert!(totals[0].2.iter().all(|word| word >> lanes == 0));
    let (opening, lanes, _) = &heard.0[0];
    assert_eq!(
        *opening,
        Opening::TagKeys,
        "the keys of the shuffle's tags are opened first"
    );
    assert!(lanes.is_multiple_of(64));
    let comparisons = &heard.0[1..heard.0.len() - 1];
    for (i, (opening, ..)) in comparisons.iter().enumerate() {
        assert_eq!(
            *opening,
            Opening::Comparisons { step: i as u32 },
            "one opening a level, in order"
        );
    }
    comparisons.iter().map(|(_, lanes, _)| *lanes).collect()
}

#[test]
fn only_keys_comparisons_and_totals_are_opened() {
    for (voters, ballots) in [(1, 1), (3, 40), (50, 50), (200, 700)] {
        let election = sample(voters, ballots, 7);
        for counts in [
            OpenedCounts::Nothing,
            OpenedCounts::Counted,
            OpenedCounts::PerChannel,
        ] {
            for sort in [SortParams::LAN, SortParams::WAN] {
                check(&election, &TallyParams { counts, sort }, 11);
            }
        }
    }
}

#[test]
fn the_first_level_of_comparisons_depends_on_sizes_only() {
    let params = TallyParams::default();
    let (one, other) = (sample(30, 200, 1), sample(30, 200, 2));
    assert_eq!(check(&one, &params, 5)[0], check(&other, &params, 6)[0]);
}

/// The opened bits of the same election are those of a random permutation: with other seeds they differ, and a single
/// comparison of two rows, one a voter's superseded ballot, is as often 1 as 0.
#[test]
fn opened_bits_tell_the_shuffle_not_the_ballots() {
    let mut election = sample(1, 0, 1);
    election.voters[0].live = true;
    election.ballots = sample(1, 1, 3).ballots;
    // Three rows: the roll row, the sentinel, the ballot; all pairs in one level.
    let mut orders = std::collections::HashMap::new();
    for seed in 0..1200 {
        let (_, heard) = transcript(&election, &TallyParams::default(), seed);
        assert_eq!(heard.0.len(), 3);
        *orders.entry(heard.0[1].2.clone()).or_insert(0) += 1;
    }
    // Six orders, 200 expected of each, standard deviation 13.
    assert_eq!(orders.len(), 6);
    assert!(orders.values().all(|&n| (130..270).contains(&n)), "{orders:?}");
}

#[test]
fn a_box_without_ballots_opens_nothing() {
    let election = sample(5, 0, 1);
    let (outcome, heard) = transcript(&election, &TallyParams::default(), 1);
    assert_eq!(outcome, election.recount(OpenedCounts::Nothing));
    assert!(heard.0.is_empty());
}
