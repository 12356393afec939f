use super::*;
use crate::channel::{Phase, Scope};
use crate::gates::tests::{reveal, run, share};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

#[test]
fn counts_the_lanes_of_many_columns() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for (columns, length) in [
        (1usize, 1usize),
        (2, 2),
        (3, 7),
        (63, 9),
        (64, 5),
        (65, 30),
        (5, 700),
    ] {
        let mut plain: Vec<Vec<u64>> = (0..columns)
            .map(|_| (0..length).map(|_| rng.next_u64() & rng.next_u64()).collect())
            .collect();
        plain[0].fill(u64::MAX);
        if columns > 1 {
            plain[1].fill(0);
        }
        let bits = (usize::BITS - (64 * length).leading_zeros()) as usize;
        let [opened, ..] = run(|gates| {
            let role = gates.role();
            let mut tape = gates.tape(Scope {
                phase: Phase::Count,
                step: 0,
                chunk: 0,
            });
            let mut counters: Vec<Counter> = plain
                .iter()
                .enumerate()
                .map(|(i, words)| Counter::new(share(role, i as u64, words), bits))
                .collect();
            condense(gates, &mut tape, &mut counters).expect("honest");
            let sums = finish(gates, &mut tape, &counters, bits).expect("honest");
            let all = Column {
                a: sums.iter().flat_map(|c| c.a.clone()).collect(),
                b: sums.iter().flat_map(|c| c.b.clone()).collect(),
            };
            let lanes = 64 * all.words();
            reveal(gates, all, lanes)
        });
        for (c, words) in plain.iter().enumerate() {
            let expected: u64 = words.iter().map(|w| u64::from(w.count_ones())).sum();
            let group = &opened[c / 64 * bits..][..bits];
            let got: u64 = group
                .iter()
                .enumerate()
                .map(|(t, word)| (word >> (c % 64) & 1) << t)
                .sum();
            assert_eq!(got, expected, "{columns} columns of {length} words, column {c}");
        }
    }
}
