use super::*;
use crate::channel::{Phase, Scope};
use crate::gates::tests::{run, share};
use crate::observer::Opening;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Expands a random field in every lane and compares with plain bits; lane i is counted where bit i of `counted` is.
fn check(contest: &Contest, length: usize, seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut words = |n: usize| -> Vec<Vec<u64>> {
        (0..n)
            .map(|_| (0..length).map(|_| rng.next_u64()).collect())
            .collect()
    };
    let field = words(contest.bits());
    let counted = words(1).remove(0);
    let [opened, ..] = run(|gates| {
        let role = gates.role();
        let bits: Vec<Column> = field
            .iter()
            .enumerate()
            .map(|(i, w)| share(role, i as u64, w))
            .collect();
        let counted = share(role, 999, &counted);
        let mut tape = gates.tape(Scope {
            phase: Phase::Count,
            step: 0,
            chunk: 0,
        });
        let expanded = expand(gates, &mut tape, contest, &bits, &counted).expect("honest");
        let columns = expanded.options.into_iter().chain(expanded.spoilt);
        columns
            .enumerate()
            .map(|(i, column)| {
                let scope = Scope {
                    phase: Phase::Open,
                    step: i as u32,
                    chunk: 0,
                };
                let column = gates.validate(scope, column).expect("honest");
                gates
                    .open(scope, Opening::Totals, column, 64 * length)
                    .expect("honest")
            })
            .collect::<Vec<_>>()
    });
    let options = contest.options() as usize;
    assert_eq!(opened.len(), options + usize::from(contest.can_be_spoilt()));
    for lane in 0..64 * length {
        let bit = |words: &[u64]| words[lane / 64] >> (lane % 64) & 1 == 1;
        let set: Vec<bool> = field.iter().map(|words| bit(words)).collect();
        let (spoilt, chosen): (bool, Vec<bool>) = match contest {
            Contest::Single { .. } => {
                let number: usize = set.iter().enumerate().map(|(i, &b)| usize::from(b) << i).sum();
                (number > options, (1..=options).map(|o| o == number).collect())
            }
            Contest::Approval { max, .. } => {
                let spoilt = set.iter().filter(|&&b| b).count() > *max as usize;
                (spoilt, set.iter().map(|&b| b && !spoilt).collect())
            }
        };
        for (o, &chosen) in chosen.iter().enumerate() {
            assert_eq!(bit(&opened[o]), chosen && bit(&counted), "{contest:?} option {o}");
        }
        if let Some(words) = opened.get(options) {
            assert_eq!(bit(words), spoilt && bit(&counted), "{contest:?} spoilt");
        }
    }
}

#[test]
fn single_choices_of_every_size() {
    for options in (1..=18).chain([31, 32, 33, 63, 64, 65, 100]) {
        check(&Contest::Single { options }, 5, u64::from(options));
    }
}

#[test]
fn approvals_of_every_limit() {
    for options in [1, 2, 3, 4, 5, 7, 8, 9, 16, 17] {
        for max in 1..=options {
            check(&Contest::Approval { options, max }, 4, u64::from(options));
        }
    }
}
