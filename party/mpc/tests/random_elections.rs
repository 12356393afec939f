//! Random whole elections in memory against a recount by plain code.

mod election;

use election::{Ballot, Election, Voter, tally_with};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tally_mpc::{BallotKind, BallotLayout, Contest, OpenedCounts, SortParams, TallyParams};

fn contest() -> impl Strategy<Value = Contest> {
    prop_oneof![
        (1u32..20).prop_map(|options| Contest::Single { options }),
        (1u32..12)
            .prop_flat_map(|options| (Just(options), 1..=options))
            .prop_map(|(options, max)| Contest::Approval { options, max }),
    ]
}

fn kind() -> impl Strategy<Value = BallotKind> {
    prop_oneof![
        6 => Just(BallotKind::Online),
        2 => Just(BallotKind::Electronic),
        1 => Just(BallotKind::Paper),
    ]
}

fn election() -> impl Strategy<Value = Election> {
    let voter = (
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.85),
        any::<u64>(),
    )
        .prop_map(|(live, enrolled, credential)| Voter {
            live,
            enrolled,
            credential,
        });
    let voters = prop::collection::vec(voter, 0..40);
    let ballots = (0usize..120).prop_flat_map(|most| {
        prop::collection::vec(
            (kind(), any::<u32>(), 0u8..10, any::<u64>(), any::<[u8; 8]>()),
            0..=most,
        )
    });
    (voters, prop::collection::vec(contest(), 1..4), 0usize..3, ballots).prop_map(
        |(voters, contests, wider, ballots)| {
            let bits = BallotLayout::index_bits_for(voters.len() as u32) + wider;
            let layout = BallotLayout::new(bits, contests).expect("a valid layout");
            let mut ballots: Vec<Ballot> = ballots
                .into_iter()
                .map(|(kind, index, truth, noise, payload)| {
                    // Mostly voters of the roll, sometimes any number that fits.
                    let index = if voters.is_empty() || truth == 0 {
                        index & ((1 << bits) - 1)
                    } else {
                        index % voters.len() as u32
                    };
                    let credential = match (voters.get(index as usize), truth) {
                        (Some(voter), 3..) => voter.credential,
                        // One wrong bit, the neighbour's, zero, anything.
                        (Some(voter), 2) => voter.credential ^ 1 << (noise % 64),
                        (Some(_), 1) => voters[(index as usize + 1) % voters.len()].credential,
                        _ if noise % 2 == 0 => 0,
                        _ => noise,
                    };
                    Ballot {
                        kind,
                        index,
                        credential,
                        payload: payload.to_vec(),
                    }
                })
                .collect();
            ballots.sort_by_key(|ballot| ballot.kind);
            Election {
                layout,
                voters,
                ballots,
            }
        },
    )
}

fn params() -> impl Strategy<Value = TallyParams> {
    let counts = prop_oneof![
        Just(OpenedCounts::Nothing),
        Just(OpenedCounts::Counted),
        Just(OpenedCounts::PerChannel)
    ];
    let sort = prop_oneof![
        2 => Just(SortParams::LAN),
        1 => Just(SortParams::WAN),
        3 => (2usize..6, 2usize..6, 0usize..300, 0usize..200, 6u32..16).prop_map(|(fan_out, finish, free_lanes, ripple_from, waiting)| {
            SortParams { fan_out, finish, free_lanes, ripple_from, chunk_lanes: 4096, waiting_gates: 1 << waiting }
        }),
    ];
    (counts, sort).prop_map(|(counts, sort)| TallyParams { counts, sort })
}

fn cases(default: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default);
    Config {
        cases,
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..Config::default()
    }
}

#[test]
fn every_party_gets_the_plain_recount() {
    let seed = *b"random elections, fixed seed 01!";
    let mut runner = TestRunner::new_with_rng(cases(3000), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    runner
        .run(
            &(election(), params(), any::<u64>()),
            |(election, params, seed)| {
                let expected = election.recount(params.counts);
                for (result, ()) in tally_with(&election, &params, seed, [(), (), ()]) {
                    let outcome = result.map_err(|error| TestCaseError::fail(error.to_string()))?;
                    prop_assert_eq!(&outcome, &expected);
                }
                Ok(())
            },
        )
        .unwrap_or_else(|failure| panic!("{failure}"));
}
