use super::*;
use crate::gates::tests::{reveal, run, share};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Bits of rows in strided lanes.
fn strided(rows: &[bool]) -> Vec<u64> {
    let length = rows.len().div_ceil(64);
    let mut words = vec![0; length];
    for (r, &bit) in rows.iter().enumerate() {
        words[r % length] |= u64::from(bit) << (r / length);
    }
    words
}

#[test]
fn finds_the_last_valid_row_of_every_group() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for rows in [1usize, 2, 63, 64, 65, 127, 128, 129, 191, 300, 1000, 4097] {
        for density in [1, 3, 20] {
            let is_roll: Vec<bool> = (0..rows)
                .map(|r| r == 0 || rng.next_u32() % density == 0)
                .collect();
            let valid: Vec<bool> = is_roll
                .iter()
                .map(|&roll| !roll && rng.next_u32() % 3 > 0)
                .collect();
            let paper: Vec<bool> = valid.iter().map(|_| rng.next_u32() % 4 == 0).collect();
            let mut expected = vec![false; rows];
            for r in 0..rows {
                let group_end = (r + 1..rows).find(|&q| is_roll[q]).unwrap_or(rows);
                expected[r] = valid[r] && !paper[r] && !valid[r + 1..group_end].contains(&true);
            }
            let [opened, ..] = run(|gates| {
                let role = gates.role();
                let [valid, is_roll, paper] = [&valid, &is_roll, &paper].map(|bits| strided(bits));
                let valid = share(role, 1, &valid);
                let (is_roll, paper) = (share(role, 2, &is_roll), share(role, 3, &paper));
                let out = counted(gates, valid, &is_roll, &paper).expect("honest");
                let lanes = 64 * out.words();
                reveal(gates, out, lanes)
            });
            assert_eq!(opened, strided(&expected), "{rows} rows");
        }
    }
}
