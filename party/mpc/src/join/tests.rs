use super::*;
use crate::gates::tests::{reveal, run, share};
use crate::input::Shape;
use crate::layout::{BallotLayout, Contest};
use crate::shuffle::Table;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

#[test]
fn validity_is_the_formula_for_every_kind_of_row() {
    let layout = BallotLayout::new(10, vec![Contest::Single { options: 5 }]).expect("valid");
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for rows in [1usize, 2, 63, 64, 65, 129, 700] {
        let shape = Shape {
            voters: 10,
            online: rows as u32,
            electronic: 0,
            paper: 0,
        };
        let format = RowLayout::new(&layout, &shape);
        let width = format.words();
        // Rows in sorted order: a roll row with the change to the group before, then ballots.
        let mut plain = vec![0u64; rows * width];
        let mut expected = Vec::new();
        let (mut live, mut enrolled, mut credential) = (false, false, 0u64);
        for (r, row) in plain.chunks_mut(width).enumerate() {
            if r == 0 || rng.next_u32() % 4 == 0 {
                let new = (rng.next_u32() % 4 > 0, rng.next_u32() % 4 > 0, rng.next_u64());
                format.xor_bit(row, format.roll_bit(), 1);
                format.xor_bit(row, format.live_bit(), u64::from(live ^ new.0));
                format.xor_bit(row, format.enrolled_bit(), u64::from(enrolled ^ new.1));
                row[format.delta_word()] = credential ^ new.2;
                (live, enrolled, credential) = new;
                expected.push(false);
            } else {
                let kind = rng.next_u32() % 3;
                // The true credential, one wrong bit, or anything.
                let given = match rng.next_u32() % 3 {
                    0 => credential,
                    1 => credential ^ 1 << (rng.next_u32() % 64),
                    _ => rng.next_u64(),
                };
                row[format.credential_word()] = given;
                format.xor_bit(row, format.station_bit(), u64::from(kind == 1));
                format.xor_bit(row, format.paper_bit(), u64::from(kind == 2));
                expected.push(live && (kind > 0 || enrolled && given == credential));
            }
            format.xor_bits(row, format.payload_bit(), r as u64 % 8);
        }
        // The rows come in any order and are brought into this one.
        let order: Vec<u32> = (0..rows as u32).rev().collect();
        let mixed: Vec<u64> = plain.chunks(width).rev().flatten().copied().collect();
        let opened = run(|gates| {
            let mut column = share(gates.role(), 1, &mixed);
            let table = Shuffled::of(Table {
                width,
                own: std::mem::take(&mut column.a),
                next: std::mem::take(&mut column.b),
            });
            let mut joined = Joined::load(&table, &order, &format, layout.payload_bits());
            assert_eq!(joined.payload.len(), 3);
            let valid = joined.valid(gates).expect("honest");
            let lanes = 64 * valid.words();
            reveal(gates, valid, lanes)
        });
        let length = rows.div_ceil(64);
        for lane in 0..64 * length {
            let got = opened[0][lane % length] >> (lane / length) & 1 == 1;
            assert_eq!(
                got,
                expected.get(lane).copied().unwrap_or(false),
                "row {lane} of {rows}"
            );
        }
    }
}
