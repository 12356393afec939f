//! What a kernel asks of a vector of 64-bit lanes, and its portable form: one lane, a `u64`.
//!
//! The kernels in [`super::kernels`] are written once over these traits. Every operation is lane by lane unless it says
//! otherwise, and none depends on the values in the lanes.

use crate::field;

/// Bitwise arithmetic on [`Lanes::N`] words at once.
pub(super) trait Lanes: Copy {
    /// The number of 64-bit lanes.
    const N: usize;

    /// The same word in every lane.
    fn splat(word: u64) -> Self;
    /// The first `N` words of a slice. Panics if there are fewer.
    fn load(words: &[u64]) -> Self;
    /// Writes the lanes to the first `N` words of a slice. Panics if there are fewer.
    fn store(self, words: &mut [u64]);
    fn xor(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn shl<const BITS: i32>(self) -> Self;
    fn shr<const BITS: i32>(self) -> Self;

    /// Eight words from each of `N` groups of 64: lane l of vector j is `words[64 l + j]`.
    fn gather(words: &[u64]) -> [Self; 8];
    /// The inverse of [`Lanes::gather`].
    fn scatter(vectors: [Self; 8], words: &mut [u64]);

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0)
    }

    /// Like [`Lanes::load`], with zeros in the lanes that a short slice lacks.
    #[inline(always)]
    fn load_short(words: &[u64]) -> Self {
        if words.len() >= Self::N {
            return Self::load(words);
        }
        let mut padded = [0; 8];
        padded[..words.len()].copy_from_slice(words);
        Self::load(&padded)
    }

    /// Like [`Lanes::store`], dropping the lanes for which a short slice has no place.
    #[inline(always)]
    fn store_short(self, words: &mut [u64]) {
        if words.len() >= Self::N {
            return self.store(words);
        }
        let mut padded = [0; 8];
        self.store(&mut padded);
        let n = words.len();
        words.copy_from_slice(&padded[..n]);
    }
}

/// Carry-less multiplication in GF(2^64).
pub(super) trait Clmul: Lanes {
    /// The unreduced sum of the products of all lanes, some of them still side by side.
    type Sum: Copy;
    /// The unreduced products lane by lane.
    type Wide: Copy;

    fn sum_zero() -> Self::Sum;
    /// Adds the product of every lane of `a` with the same lane of `b`.
    fn sum_add(sum: Self::Sum, a: Self, b: Self) -> Self::Sum;
    fn sum_reduce(sum: Self::Sum) -> u64;

    fn wide_zero() -> Self::Wide;
    fn wide_add(wide: Self::Wide, a: Self, b: Self) -> Self::Wide;
    fn wide_reduce(wide: Self::Wide) -> Self;

    /// `theta X^(first + l)` in lane l, for a public `first` with `first + N <= 64`.
    fn powers(theta: u64, first: usize) -> Self;

    /// The product of two elements.
    fn mul_one(a: u64, b: u64) -> u64;
}

/// The vectors `f(0), f(1), ..`. Unlike `array::from_fn` certain to be inlined, without which vectors would go through memory and
/// be handled by code compiled for narrower ones.
#[inline(always)]
pub(super) fn each<L: Lanes, const N: usize>(f: impl Fn(usize) -> L) -> [L; N] {
    let mut vectors = [L::zero(); N];
    let mut i = 0;
    while i < N {
        vectors[i] = f(i);
        i += 1;
    }
    vectors
}

impl Lanes for u64 {
    const N: usize = 1;

    #[inline(always)]
    fn splat(word: u64) -> Self {
        word
    }
    #[inline(always)]
    fn load(words: &[u64]) -> Self {
        words[0]
    }
    #[inline(always)]
    fn store(self, words: &mut [u64]) {
        words[0] = self;
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn shl<const BITS: i32>(self) -> Self {
        self << BITS
    }
    #[inline(always)]
    fn shr<const BITS: i32>(self) -> Self {
        self >> BITS
    }
    #[inline(always)]
    fn gather(words: &[u64]) -> [Self; 8] {
        let mut row = [0; 8];
        row.copy_from_slice(&words[..8]);
        row
    }
    #[inline(always)]
    fn scatter(vectors: [Self; 8], words: &mut [u64]) {
        words[..8].copy_from_slice(&vectors);
    }
}

impl Clmul for u64 {
    type Sum = (u64, u64);
    type Wide = (u64, u64);

    #[inline(always)]
    fn sum_zero() -> Self::Sum {
        (0, 0)
    }
    #[inline(always)]
    fn sum_add(sum: Self::Sum, a: Self, b: Self) -> Self::Sum {
        let (low, high) = field::clmul(a, b);
        (sum.0 ^ low, sum.1 ^ high)
    }
    #[inline(always)]
    fn sum_reduce(sum: Self::Sum) -> u64 {
        field::reduce(sum.0, sum.1)
    }
    #[inline(always)]
    fn wide_zero() -> Self::Wide {
        (0, 0)
    }
    #[inline(always)]
    fn wide_add(wide: Self::Wide, a: Self, b: Self) -> Self::Wide {
        Self::sum_add(wide, a, b)
    }
    #[inline(always)]
    fn wide_reduce(wide: Self::Wide) -> Self {
        field::reduce(wide.0, wide.1)
    }
    #[inline(always)]
    fn powers(theta: u64, first: usize) -> Self {
        field::mul_power(theta, first as u32)
    }
    #[inline(always)]
    fn mul_one(a: u64, b: u64) -> u64 {
        field::mul(a, b)
    }
}
