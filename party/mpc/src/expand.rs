//! From a contest's field to one column for each thing that is counted, every one masked by the counted rows.
//!
//! Single choice: a tree of splits from the most significant bit, node -> (node AND bit, node ^ node AND bit), one AND
//! an inner node and so about one an option, as many rounds as the field has bits; spoilt = counted ^ all leaves within
//! the list. Approval: the number of set bits by full adders, compared with the limit; then one AND an option.

use crate::error::TallyError;
use crate::gates::{Gates, Tape};
use crate::layout::Contest;
use crate::share::Column;

/// The columns of one contest.
pub(crate) struct Expanded {
    /// One for each option.
    pub(crate) options: Vec<Column>,
    /// Spoilt votes; absent where no content of the field is one.
    pub(crate) spoilt: Option<Column>,
}

/// Expands the field `bits` (least significant first) of the rows `counted`.
pub(crate) fn expand(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    contest: &Contest,
    bits: &[Column],
    counted: &Column,
) -> Result<Expanded, TallyError> {
    match *contest {
        Contest::Single { options } => single(gates, tape, contest, options, bits, counted),
        Contest::Approval { max, .. } => approval(gates, tape, contest, max, bits, counted),
    }
}

fn single(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    contest: &Contest,
    options: u32,
    bits: &[Column],
    counted: &Column,
) -> Result<Expanded, TallyError> {
    let mut nodes = vec![(0u32, counted.duplicate())];
    for (j, bit) in bits.iter().enumerate().rev() {
        let pairs: Vec<_> = nodes.iter().map(|(_, node)| (node, bit)).collect();
        let products = gates.and(tape, &pairs)?;
        let mut below = Vec::with_capacity(2 * nodes.len());
        for ((prefix, mut node), product) in nodes.into_iter().zip(products) {
            node.xor_assign(&product);
            below.push((2 * prefix, node));
            // A subtree with numbers of the list only is of use.
            if (2 * prefix + 1) << j <= options {
                below.push((2 * prefix + 1, product));
            }
        }
        nodes = below;
    }
    let spoilt = contest.can_be_spoilt().then(|| {
        let mut spoilt = counted.duplicate();
        nodes.iter().for_each(|(_, leaf)| spoilt.xor_assign(leaf));
        spoilt
    });
    Ok(Expanded {
        options: nodes.into_iter().skip(1).map(|(_, leaf)| leaf).collect(),
        spoilt,
    })
}

fn approval(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    contest: &Contest,
    max: u32,
    bits: &[Column],
    counted: &Column,
) -> Result<Expanded, TallyError> {
    let (spoilt, valid) = if contest.can_be_spoilt() {
        let over = more_than(gates, tape, bits, max)?;
        let spoilt = gates.and1(tape, counted, &over)?;
        let mut valid = counted.duplicate();
        valid.xor_assign(&spoilt);
        (Some(spoilt), valid)
    } else {
        (None, counted.duplicate())
    };
    let pairs: Vec<_> = bits.iter().map(|bit| (&valid, bit)).collect();
    Ok(Expanded {
        options: gates.and(tape, &pairs)?,
        spoilt,
    })
}

/// Lane by lane: more than `max` of the bits are set.
fn more_than(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    bits: &[Column],
    max: u32,
) -> Result<Column, TallyError> {
    // Columns by weight; full adders turn three of a weight into one and a carry, half adders two.
    let width = (usize::BITS - bits.len().leading_zeros()) as usize;
    let mut weights: Vec<Vec<Column>> = (0..width).map(|_| Vec::new()).collect();
    weights[0] = bits.iter().map(Column::duplicate).collect();
    while weights.iter().any(|columns| columns.len() > 1) {
        let mut operands = Vec::new();
        let mut adders = Vec::new();
        for (weight, columns) in weights.iter_mut().enumerate() {
            let many = columns.len() > 2;
            while columns.len() > 2 || (columns.len() == 2 && !many) {
                let x = columns.pop().expect("at least two");
                let mut y = columns.pop().expect("at least two");
                y.xor_assign(&x);
                let mut other = x.duplicate();
                let mut sum = y.duplicate();
                if many {
                    let z = columns.pop().expect("at least three");
                    other.xor_assign(&z);
                    sum.xor_assign(&z);
                }
                adders.push((weight, x, sum));
                operands.push((y, other));
            }
        }
        let pairs: Vec<_> = operands.iter().map(|(x, y)| (x, y)).collect();
        let products = gates.and(tape, &pairs)?;
        for ((weight, mut carry, sum), product) in adders.into_iter().zip(products) {
            carry.xor_assign(&product);
            weights[weight].push(sum);
            // A carry out of the highest weight is zero: the count fits.
            if let Some(next) = weights.get_mut(weight + 1) {
                next.push(carry);
            }
        }
    }
    // count > max: from the lowest bit, OR where max has a 0 and AND where it has a 1.
    let length = bits.first().map_or(0, Column::words);
    let mut over = Column::zero(length);
    for (j, mut columns) in weights.into_iter().enumerate() {
        let bit = columns.pop().unwrap_or_else(|| Column::zero(length));
        let both = gates.and1(tape, &bit, &over)?;
        if max >> j & 1 == 1 {
            over = both;
        } else {
            over.xor_assign(&bit);
            over.xor_assign(&both);
        }
    }
    Ok(over)
}

#[cfg(test)]
mod tests;
