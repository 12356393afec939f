use super::*;
use crate::channel::Phase;
use crate::gates::tests::{reveal, run, share};

fn shuffled(rows: usize, width: usize) -> (Vec<Vec<u64>>, Vec<Vec<u64>>) {
    let plain: Vec<Vec<u64>> = (0..rows)
        .map(|r| (0..width).map(|w| (r * 100 + w) as u64 ^ 0xABCD << 40).collect())
        .collect();
    let flat: Vec<u64> = plain.iter().flatten().copied().collect();
    let [opened, ..] = run(|gates| {
        let mut column = share(gates.role(), 1, &flat);
        let table = Table {
            width,
            own: std::mem::take(&mut column.a),
            next: std::mem::take(&mut column.b),
        };
        let scope = Scope {
            phase: Phase::Shuffle,
            step: 0,
            chunk: 0,
        };
        let mut table = shuffle(gates, scope, table).expect("honest");
        let column = crate::Column {
            a: std::mem::take(&mut table.own),
            b: std::mem::take(&mut table.next),
        };
        reveal(gates, column, 64 * rows * width)
    });
    (plain, opened.chunks(width).map(<[u64]>::to_vec).collect())
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
        let mut column = share(gates.role(), 1, &plain);
        let table = Table {
            width: 1,
            own: std::mem::take(&mut column.a),
            next: std::mem::take(&mut column.b),
        };
        let mut table = shuffle(
            gates,
            Scope {
                phase: Phase::Shuffle,
                step: 0,
                chunk: 0,
            },
            table,
        )
        .expect("honest");
        let before = share(gates.role(), 1, &plain);
        let mut old: Vec<u64> = before.a.iter().chain(&before.b).copied().collect();
        old.sort_unstable();
        (
            std::mem::take(&mut table.own),
            std::mem::take(&mut table.next),
            old,
        )
    });
    for i in 0..3 {
        let (own, next, old) = &shares[i];
        assert_eq!(next, &shares[(i + 1) % 3].0, "neighbours hold the same share");
        assert!(own.iter().all(|word| old.binary_search(word).is_err()));
    }
}
