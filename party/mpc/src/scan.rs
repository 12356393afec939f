//! The last valid row of each group, over strided lanes (see [`crate::join`]).
//!
//! Seen from a row, the first later row that is a roll row or valid decides: e = that row is valid. Intervals carry
//! (S, V) with S = some row in it decides, V = the first that does is valid; leaves S = is_roll ^ valid, V = valid.
//! (S, V)_left . (S, V)_right = (S_l ^ NOT S_l AND S_r, V_l ^ NOT S_l AND V_r). A work-efficient suffix scan: 3 ANDs a row
//! and about 2 log2 M rounds; then last = valid AND NOT e, counted = last AND NOT is_paper: 2 more ANDs a row.

use crate::channel::{Phase, Scope};
use crate::error::TallyError;
use crate::gates::{Gates, Tape};
use crate::share::Column;

/// The rows whose vote counts: the last valid one of each group, unless it is paper.
pub(crate) fn counted(
    gates: &mut Gates<'_>,
    valid: Column,
    is_roll: &Column,
    is_paper: &Column,
) -> Result<Column, TallyError> {
    let role = gates.role();
    let mut tape = gates.tape(Scope {
        phase: Phase::Scan,
        step: 0,
        chunk: 0,
    });
    let mut decides = is_roll.duplicate();
    decides.xor_assign(&valid);
    let mut later = later_valid(gates, &mut tape, decides, valid.duplicate())?;
    later.not_assign(role);
    let last = gates.and1(&mut tape, &valid, &later)?;
    let mut counts = is_paper.duplicate();
    counts.not_assign(role);
    gates.and1(&mut tape, &last, &counts)
}

/// For each row: the first later row that decides is valid.
fn later_valid(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    decides: Column,
    valid: Column,
) -> Result<Column, TallyError> {
    let role = gates.role();
    let (mut s, mut v) = (decides, valid);
    // Of each level: NOT S and V of the right partners.
    let mut rights = Vec::new();
    let mut lengths = Vec::new();
    while s.words() > 1 {
        let length = s.words();
        let mut not_left = every_other(&s, 0);
        not_left.not_assign(role);
        let (s_right, v_right) = (every_other(&s, 1), every_other(&v, 1));
        let mut products = gates.and(tape, &[(&not_left, &s_right), (&not_left, &v_right)])?;
        let (v_up, s_up) = (
            products.pop().expect("two products"),
            products.pop().expect("two products"),
        );
        s = merge_up(&s, &s_up);
        v = merge_up(&v, &v_up);
        let mut not_right = s_right;
        not_right.not_assign(role);
        rights.push((not_right, v_right));
        lengths.push(length);
    }
    // One word is left: lane b is strip b, later strips in higher lanes.
    for shift in [1, 2, 4, 8, 16, 32] {
        let mut not_s = s.duplicate();
        not_s.not_assign(role);
        let (s_later, v_later) = (shifted(&s, shift), shifted(&v, shift));
        let mut products = gates.and(tape, &[(&not_s, &s_later), (&not_s, &v_later)])?;
        v.xor_assign(&products.pop().expect("two products"));
        s.xor_assign(&products.pop().expect("two products"));
    }
    let mut later = shifted(&v, 1);
    while let (Some((not_right, v_right)), Some(length)) = (rights.pop(), lengths.pop()) {
        let pairs = length / 2;
        let last = Column {
            a: later.a[..pairs].to_vec(),
            b: later.b[..pairs].to_vec(),
        };
        let mut left = gates.and1(tape, &not_right, &last)?;
        left.xor_assign(&v_right);
        let mut down = Column::zero(length);
        for (out, left, right) in [(&mut down.a, &left.a, &later.a), (&mut down.b, &left.b, &later.b)] {
            for i in 0..pairs {
                out[2 * i] = left[i];
                out[2 * i + 1] = right[i];
            }
            if length % 2 == 1 {
                out[length - 1] = right[pairs];
            }
        }
        later = down;
    }
    Ok(later)
}

/// The words 2 i + offset that belong to whole pairs.
fn every_other(column: &Column, offset: usize) -> Column {
    let pick = |words: &[u64]| words.chunks_exact(2).map(|pair| pair[offset]).collect();
    Column {
        a: pick(&column.a),
        b: pick(&column.b),
    }
}

/// left ^ product for every pair, then the word without a partner.
fn merge_up(column: &Column, products: &Column) -> Column {
    let merge = |words: &[u64], products: &[u64]| {
        let pairs = words.chunks_exact(2);
        let alone = pairs.remainder();
        pairs
            .zip(products)
            .map(|(pair, z)| pair[0] ^ z)
            .chain(alone.iter().copied())
            .collect()
    };
    Column {
        a: merge(&column.a, &products.a),
        b: merge(&column.b, &products.b),
    }
}

/// Lane b takes what lane b + shift holds; zero comes in at the top.
fn shifted(column: &Column, shift: usize) -> Column {
    let shift = |words: &[u64]| words.iter().map(|w| w >> shift).collect();
    Column {
        a: shift(&column.a),
        b: shift(&column.b),
    }
}

#[cfg(test)]
mod tests;
