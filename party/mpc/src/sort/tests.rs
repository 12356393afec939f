use super::*;
use crate::gates::tests::{reveal, run, share};
use crate::share::Column;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Distinct keys of `bits` bits in random order.
fn distinct_keys(rows: usize, bits: usize, seed: u64) -> Vec<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut keys = std::collections::BTreeSet::new();
    while keys.len() < rows {
        keys.insert(rng.next_u64() >> (64 - bits));
    }
    let mut keys: Vec<u64> = keys.into_iter().collect();
    for i in (1..rows).rev() {
        keys.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
    keys
}

fn shared_keys(gates: &Gates<'_>, plain: &[u64], bits: usize) -> Keys {
    let mask = u64::MAX >> (64 - bits);
    let mut column = share(gates.role(), 9, plain);
    let cut = |words: &mut Vec<u64>| std::mem::take(words).into_iter().map(|w| w & mask).collect();
    Keys {
        a: cut(&mut column.a),
        b: cut(&mut column.b),
        ids: (0..plain.len() as u32).collect(),
    }
}

#[test]
fn sorts_every_size_with_every_trade() {
    let small = SortParams {
        fan_out: 2,
        finish: 2,
        free_lanes: 0,
        ripple_from: 70,
        chunk_lanes: 4096,
        waiting_gates: 1 << 12,
    };
    let wide = SortParams {
        fan_out: 5,
        finish: 7,
        free_lanes: 40,
        ripple_from: 300,
        ..small.clone()
    };
    for params in [SortParams::LAN, SortParams::WAN, small, wide] {
        params.check().expect("in range");
        for (rows, bits) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (63, 6),
            (64, 7),
            (65, 64),
            (127, 9),
            (1000, 21),
            (9000, 41),
        ] {
            let plain = distinct_keys(rows, bits, rows as u64);
            let orders = run(|gates| {
                // The proofs of one level's gates ride on later ones, several at a time.
                gates.let_wait(params.waiting_gates);
                let keys = shared_keys(gates, &plain, bits);
                sort(gates, keys, bits, &params).expect("honest")
            });
            assert_eq!(orders[0], orders[1]);
            assert_eq!(orders[1], orders[2]);
            assert_eq!(orders[0].len(), rows);
            assert!(
                orders[0]
                    .windows(2)
                    .all(|pair| plain[pair[0] as usize] < plain[pair[1] as usize])
            );
        }
    }
}

#[test]
fn both_comparators_are_right_in_every_lane() {
    for bits in [1usize, 2, 3, 7, 40, 41, 63, 64] {
        let rows = if bits < 8 { 1 << bits } else { 300 };
        let plain = distinct_keys(rows, bits, 3);
        // Runs of awkward lengths: short ones, more than a block, all rows against the last.
        let mut runs: Vec<Run> = (0..rows.min(70))
            .map(|i| Run {
                from: i + 1,
                len: (rows - i - 1).min(i % 5),
                pivot: i,
            })
            .collect();
        runs.retain(|run| run.len > 0);
        runs.push(Run {
            from: 0,
            len: rows - 1,
            pivot: rows - 1,
        });
        let lanes: usize = runs.iter().map(|run| run.len).sum();
        for ripple_from in [0, usize::MAX] {
            let params = SortParams {
                ripple_from,
                chunk_lanes: 4096,
                ..SortParams::LAN
            };
            let [opened, ..] = run(|gates| {
                let keys = shared_keys(gates, &plain, bits);
                let less = Comparer::new(bits)
                    .less(gates, 0, &keys, &runs, &params)
                    .expect("honest");
                reveal(gates, less, lanes)
            });
            let expected = runs.iter().flat_map(|run| {
                let plain = &plain;
                (run.from..run.from + run.len).map(move |row| plain[row] < plain[run.pivot])
            });
            for (lane, less) in expected.enumerate() {
                assert_eq!(
                    opened[lane / 64] >> (lane % 64) & 1 == 1,
                    less,
                    "bits {bits} lane {lane}"
                );
            }
        }
    }
}

#[test]
fn contradicting_comparisons_are_refused() {
    // Rows 0, 1, 2 all pairs: row 1 < row 0, row 2 < row 1, row 0 < row 2 is a circle.
    let params = SortParams {
        free_lanes: 100,
        ..SortParams::LAN
    };
    let segment = Segment {
        start: 0,
        len: 4,
        sorted: 0,
    };
    let level = Level::plan(&[segment], &params);
    assert_eq!(level.lanes, 6);
    let mut keys = Keys {
        a: vec![0; 4],
        b: vec![0; 4],
        ids: (0..4).collect(),
    };
    // Lanes: (1,0) (2,0) (3,0) (2,1) (3,1) (3,2).
    let circle = 0b00_1001;
    let result = level.partition(7, &mut keys, &[circle], &mut segments::Scratch::default());
    assert!(matches!(
        result,
        Err(TallyError::Contradiction { step: 7, rows: 3 })
    ));
}

#[test]
fn parameters_out_of_range_are_refused() {
    let lan = || SortParams::LAN;
    assert_eq!(
        SortParams { fan_out: 1, ..lan() }.check(),
        Err(ParamsError::FanOut(1))
    );
    assert_eq!(
        SortParams { fan_out: 65, ..lan() }.check(),
        Err(ParamsError::FanOut(65))
    );
    assert_eq!(
        SortParams { finish: 1, ..lan() }.check(),
        Err(ParamsError::Finish(1))
    );
    for lanes in [0, 4095, 5000, 1 << 24] {
        assert_eq!(
            SortParams {
                chunk_lanes: lanes,
                ..lan()
            }
            .check(),
            Err(ParamsError::ChunkLanes(lanes))
        );
    }
}

#[test]
fn sorting_moves_a_key_little_more_than_log2_of_the_rows() {
    let rows = 1 << 14;
    let plain = distinct_keys(rows, 30, 1);
    #[derive(Default)]
    struct Count(usize);
    impl crate::Observer for Count {
        fn opened(&mut self, _: Opening, lanes: usize, _: &[u64]) {
            self.0 += lanes;
        }
    }
    let [count, ..] = crate::local::run_trio(|role, mut channel| {
        let mut count = Count::default();
        let binding = crate::Binding::new(&[0; 32], b"e", b"b", 1);
        let seeds = crate::gates::tests::seeds(role);
        let mut notary = crate::notary::tests::TestKeys::new(role);
        let mut gates = Gates::new(role, &seeds, &binding, &mut channel, &mut notary, &mut count);
        let keys = shared_keys(&gates, &plain, 30);
        let params = SortParams {
            free_lanes: 1 << 10,
            ..SortParams::LAN
        };
        sort(&mut gates, keys, 30, &params).expect("honest");
        count.0
    });
    // log2 of the rows is 14; a quicksort of random pivots makes 17 comparisons a row at this size.
    assert!(count < 16 * rows, "{count} comparisons for {rows} rows");
}

#[test]
fn a_column_of_public_words_opens_to_them() {
    let [opened, ..] = run(|gates| {
        let column = Column::public(gates.role(), &[5, 6]);
        reveal(gates, column, 128)
    });
    assert_eq!(opened, [5, 6]);
}
