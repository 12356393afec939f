//! Shared bit columns, and the type that says a value may be opened.

use std::fmt;

use zeroize::Zeroize;

use crate::role::Role;

/// A shared column of bits, 64 lanes a word: this party's (x_i, x_{i+1}) of each. What it was computed from has not
/// been validated, so it cannot be opened. Not cloned, compared or printed; zeroised on drop.
///
/// ```compile_fail,E0599
/// fn copy(column: tally_mpc::Column) -> tally_mpc::Column { column.clone() }
/// ```
///
/// ```compile_fail,E0369
/// fn same(a: tally_mpc::Column, b: tally_mpc::Column) -> bool { a == b }
/// ```
///
/// ```compile_fail,E0277
/// fn print(column: tally_mpc::Column) -> String { format!("{column}") }
/// ```
pub struct Column {
    pub(crate) a: Vec<u64>,
    pub(crate) b: Vec<u64>,
}

impl Column {
    /// A shared zero in every lane.
    pub fn zero(words: usize) -> Self {
        Self {
            a: vec![0; words],
            b: vec![0; words],
        }
    }

    /// A public value, as seen by `role`.
    pub fn public(role: Role, words: &[u64]) -> Self {
        let (ma, mb) = role.constant_masks();
        Self {
            a: words.iter().map(|w| w & ma).collect(),
            b: words.iter().map(|w| w & mb).collect(),
        }
    }

    /// From this party's two shares, of equal length.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn from_shares(own: Vec<u64>, next: Vec<u64>) -> Self {
        assert_eq!(
            own.len(),
            next.len(),
            "both shares of a column have the same length"
        );
        Self { a: own, b: next }
    }

    /// Length in words.
    pub fn words(&self) -> usize {
        self.a.len()
    }

    /// self ^= other, lane by lane; local.
    pub(crate) fn xor_assign(&mut self, other: &Self) {
        xor(&mut self.a, &other.a);
        xor(&mut self.b, &other.b);
    }

    /// self = NOT self; local.
    pub(crate) fn not_assign(&mut self, role: Role) {
        let (ma, mb) = role.constant_masks();
        self.a.iter_mut().for_each(|w| *w ^= ma);
        self.b.iter_mut().for_each(|w| *w ^= mb);
    }

    /// A copy, for the engine's own circuits only.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            a: self.a.clone(),
            b: self.b.clone(),
        }
    }

    /// Both share words, to read.
    pub(crate) fn pair(&self) -> Pair<'_> {
        Pair {
            a: &self.a,
            b: &self.b,
        }
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Column({} words)", self.a.len())
    }
}

impl Drop for Column {
    fn drop(&mut self) {
        self.a.zeroize();
        self.b.zeroize();
    }
}

/// Lengthens a column with zeros. Memory it moves out of is wiped.
pub(crate) fn grow(column: &mut Vec<u64>, len: usize) {
    if len > column.capacity() {
        let mut larger = Vec::with_capacity(len.max(2 * column.capacity()));
        larger.extend_from_slice(column);
        column.zeroize();
        *column = larger;
    }
    if len > column.len() {
        column.resize(len, 0);
    }
}

/// Appends words to a column. Memory it moves out of is wiped.
pub(crate) fn append(column: &mut Vec<u64>, words: &[u64]) {
    let at = column.len();
    grow(column, at + words.len());
    column[at..].copy_from_slice(words);
}

/// target ^= other.
pub(crate) fn xor(target: &mut [u64], other: &[u64]) {
    for (t, o) in target.iter_mut().zip(other) {
        *t ^= o;
    }
}

/// out = x ^ y, over the length of `x`.
#[inline]
pub(crate) fn sum(out: &mut [u64], x: &[u64], y: &[u64]) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = x ^ y;
    }
}

/// Words of both shares, to read.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) a: &'a [u64],
    pub(crate) b: &'a [u64],
}

impl<'a> Pair<'a> {
    pub(crate) fn range(self, from: usize, to: usize) -> Self {
        Self {
            a: &self.a[from..to],
            b: &self.b[from..to],
        }
    }
}
