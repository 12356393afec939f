//! Counts of the set lanes of columns, by carry-save adders.
//!
//! A full adder takes three words of one weight to a word of that weight, x ^ y ^ z, and one of the next,
//! x ^ (x ^ y)(x ^ z): one AND. All weights of all columns reduce in the same rounds, log_1.5 of the words; about one AND
//! a lane. When few words are left their 64 lanes are turned so that each column becomes a lane, the adders go on, and a
//! ripple of one AND a bit ends it.

use crate::error::TallyError;
use crate::gates::{Gates, Tape};
use crate::share::{Column, append};
use crate::transpose::transpose64;

/// Words of a weight at which the lanes are turned.
const FEW: usize = 8;

/// Words by weight: the value is the sum of 2^t times the set lanes of `weights[t]`.
pub(crate) struct Counter {
    weights: Vec<Column>,
}

impl Counter {
    /// Counts the lanes of a column; the result has `bits` bits.
    pub(crate) fn new(column: Column, bits: usize) -> Self {
        let mut weights: Vec<Column> = (0..bits.max(1)).map(|_| Column::zero(0)).collect();
        weights[0] = column;
        Self { weights }
    }

    fn longest(&self) -> usize {
        self.weights.iter().map(Column::words).max().unwrap_or(0)
    }
}

/// Adds up until no weight of any counter has more than `target` words, at least 2.
fn reduce(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    counters: &mut [Counter],
    target: usize,
) -> Result<(), TallyError> {
    while counters.iter().any(|counter| counter.longest() > target) {
        let mut operands = Vec::new();
        let mut adders = Vec::new();
        for (c, counter) in counters.iter_mut().enumerate() {
            for (weight, column) in counter.weights.iter_mut().enumerate() {
                let third = column.words() / 3;
                if third == 0 {
                    continue;
                }
                let part = |from: usize, to: usize| Column {
                    a: column.a[from..to].to_vec(),
                    b: column.b[from..to].to_vec(),
                };
                let (x, mut y, mut z) = (part(0, third), part(third, 2 * third), part(2 * third, 3 * third));
                let mut rest = part(3 * third, column.words());
                y.xor_assign(&x);
                let mut sum = y.duplicate();
                sum.xor_assign(&z);
                append(&mut rest.a, &sum.a);
                append(&mut rest.b, &sum.b);
                z.xor_assign(&x);
                *column = rest;
                operands.push((y, z));
                adders.push((c, weight, x));
            }
        }
        let pairs: Vec<_> = operands.iter().map(|(x, y)| (x, y)).collect();
        let products = gates.and(tape, &pairs)?;
        for ((c, weight, mut carry), product) in adders.into_iter().zip(products) {
            carry.xor_assign(&product);
            // A carry out of the highest weight is zero: the count fits.
            if let Some(next) = counters[c].weights.get_mut(weight + 1) {
                append(&mut next.a, &carry.a);
                append(&mut next.b, &carry.b);
            }
        }
    }
    Ok(())
}

/// Adds up until few words are left, so that a counter takes little memory.
pub(crate) fn condense(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    counters: &mut [Counter],
) -> Result<(), TallyError> {
    reduce(gates, tape, counters, FEW)
}

/// The counts of up to 64 counters in each returned column: word t is bit t, lane o counter o of those 64.
pub(crate) fn finish(
    gates: &mut Gates<'_>,
    tape: &mut Tape,
    counters: &[Counter],
    bits: usize,
) -> Result<Vec<Column>, TallyError> {
    let mut turned: Vec<Counter> = counters.chunks(64).map(|group| turn(group, bits)).collect();
    reduce(gates, tape, &mut turned, 2)?;
    let word = |counter: &Counter, weight: usize, i: usize| {
        let column = &counter.weights[weight];
        Column {
            a: vec![column.a.get(i).copied().unwrap_or(0)],
            b: vec![column.b.get(i).copied().unwrap_or(0)],
        }
    };
    let mut carries: Vec<Column> = turned.iter().map(|_| Column::zero(1)).collect();
    let mut sums: Vec<Column> = turned.iter().map(|_| Column::zero(bits)).collect();
    for weight in 0..bits {
        let mut operands = Vec::new();
        for (counter, (carry, sum)) in turned.iter().zip(carries.iter_mut().zip(&mut sums)) {
            let (x, mut y) = (word(counter, weight, 0), word(counter, weight, 1));
            y.xor_assign(&x);
            sum.a[weight] = y.a[0] ^ carry.a[0];
            sum.b[weight] = y.b[0] ^ carry.b[0];
            carry.xor_assign(&x);
            operands.push((y, std::mem::replace(carry, x)));
        }
        if weight + 1 == bits {
            break;
        }
        let pairs: Vec<_> = operands.iter().map(|(x, y)| (x, y)).collect();
        for (carry, product) in carries.iter_mut().zip(gates.and(tape, &pairs)?) {
            carry.xor_assign(&product);
        }
    }
    Ok(sums)
}

/// One counter whose lane o holds what counter o of the group held in all its lanes.
fn turn(group: &[Counter], bits: usize) -> Counter {
    let share = |pick: fn(&Column) -> &[u64], weight: usize| {
        let longest = group.iter().map(|c| c.weights[weight].words()).max().unwrap_or(0);
        let mut out = Vec::with_capacity(64 * longest);
        for i in 0..longest {
            let mut block = [0; 64];
            for (word, counter) in block.iter_mut().zip(group) {
                *word = pick(&counter.weights[weight]).get(i).copied().unwrap_or(0);
            }
            transpose64(&mut block);
            out.extend_from_slice(&block);
        }
        out
    };
    Counter {
        weights: (0..bits.max(1))
            .map(|t| Column {
                a: share(|c| &c.a, t),
                b: share(|c| &c.b, t),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
