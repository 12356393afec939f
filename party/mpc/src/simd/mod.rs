//! Vector kernels for the proof of AND gates, chosen at run time: AVX-512 with VPCLMULQDQ, VBMI and GFNI; AVX2 with PCLMULQDQ;
//! portable.
//!
//! This is the one module of the crate that is allowed `unsafe` (`x86` says why it is sound). All three levels give the same
//! results bit for bit, and all run in constant time: no branch or index depends on a word, only on lengths and on challenges.
//!
//! Words of a batch come in groups of 64; word kappa of group g is at `64 g + kappa`. The six bits of kappa are six variables,
//! the lowest first. A polynomial of degree at most two in each of k variables is given on {0,1,inf}^k: its values at 0 and 1 and
//! its leading coefficient ("inf"), the first variable fastest, so that point (e_0, .., e_k-1) is at `sum e_t 3^t`.

// The instructions of the x86 vectors are unsafe to call where the processor may lack them.
#![allow(unsafe_code)]

mod kernels;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

/// Words in a group, and field elements that a group folds to.
pub const GROUP: usize = 64;
/// Points of {0,1,inf}^6.
pub const GRID: usize = 729;

/// The instructions a set of kernels is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Any processor with 64-bit words and a constant-time multiplication.
    Portable,
    /// AVX2 and PCLMULQDQ.
    Avx2,
    /// AVX-512 (F, BW, VL, VBMI), VPCLMULQDQ and GFNI.
    Avx512,
}

impl Level {
    /// Every level, the slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vbmi")
                    && is_x86_feature_detected!("vpclmulqdq")
                    && is_x86_feature_detected!("pclmulqdq")
                    && is_x86_feature_detected!("gfni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

/// A set of kernels that runs on this processor.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    /// Available on this processor: the constructors saw to it, which is what makes the calls below sound.
    level: Level,
}

/// Calls a kernel compiled for the level.
macro_rules! dispatch {
    ($level:expr, $kernel:ident $(<$generic:ident>)? ($($arg:expr),*)) => {
        match $level {
            Level::Portable => kernels::$kernel::<u64 $(, $generic)?>($($arg),*),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Kernels` of this level exists only where the processor was seen to have its instructions.
            Level::Avx2 => unsafe { x86::avx2::$kernel($($arg),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx512 => unsafe { x86::avx512::$kernel($($arg),*) },
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => kernels::$kernel::<u64 $(, $generic)?>($($arg),*),
        }
    };
}

impl Kernels {
    /// The fastest kernels this processor can run.
    pub fn best() -> Self {
        Level::ALL
            .iter()
            .rev()
            .find_map(|&level| Self::at(level))
            .unwrap_or(Self {
                level: Level::Portable,
            })
    }

    /// The kernels of one level, if this processor can run them.
    pub fn at(level: Level) -> Option<Self> {
        level.is_available().then_some(Self { level })
    }

    /// The level of these kernels.
    pub fn level(self) -> Level {
        self.level
    }

    /// `out[e] = sum_g theta_g (U_g(e) & V_g(e))` for e in {0,1,inf}^6, where U is the XOR of the two slices `u` and V that of
    /// `v`, and a word is an element of GF(2^64).
    ///
    /// # Panics
    /// If a slice does not hold 64 words for each theta.
    pub fn grid(self, u: [&[u64]; 2], v: [&[u64]; 2], theta: &[u64], out: &mut [u64; GRID]) {
        for words in [u[0], u[1], v[0], v[1]] {
            assert_eq!(words.len(), GROUP * theta.len(), "64 words for each theta");
        }
        dispatch!(self.level, grid(u, v, theta, out))
    }

    /// `out[64 g + b] = sum_kappa bit_b(W_(g, kappa)) eq[kappa]`, where W is the XOR of the columns.
    ///
    /// # Panics
    /// If the slices do not all hold the same whole number of groups.
    pub fn fold<const C: usize>(self, columns: [&[u64]; C], eq: &[u64; GROUP], out: &mut [u64]) {
        assert!(out.len().is_multiple_of(GROUP), "whole groups");
        assert!(
            columns.iter().all(|w| w.len() == out.len()),
            "an element for each word"
        );
        dispatch!(self.level, fold<C>(columns, eq, out))
    }

    /// Multiplies element b of group g, at `64 g + b`, by `theta_g X^b`.
    ///
    /// # Panics
    /// If there are not 64 elements for each theta.
    pub fn scale(self, elements: &mut [u64], theta: &[u64]) {
        assert_eq!(elements.len(), GROUP * theta.len(), "64 elements for each theta");
        dispatch!(self.level, scale(elements, theta))
    }

    /// `out[kappa] = sum_g theta_g c_(g, kappa)`: a verifier's share of the grid on {0,1}^6.
    ///
    /// # Panics
    /// If there are not 64 words for each theta.
    pub fn cube(self, c: &[u64], theta: &[u64], out: &mut [u64; GROUP]) {
        assert_eq!(c.len(), GROUP * theta.len(), "64 words for each theta");
        dispatch!(self.level, cube(c, theta, out))
    }

    /// `out[e] = sum_g u_g(e) v_g(e)` for e in {0,1,inf}^k, where k is such that `out` holds 3^k values. With 2^k n elements in
    /// each slice, value j of group g is at `j n + g`.
    ///
    /// # Panics
    /// If `out` does not hold 3^k values for 3 <= k <= 6, or the slices do not both hold a multiple of 2^k elements.
    pub fn tail_grid(self, u: &[u64], v: &[u64], out: &mut [u64]) {
        let variables = (3..=6)
            .find(|&k| 3usize.pow(k) == out.len())
            .expect("27, 81, 243 or 729 values") as usize;
        assert!(
            u.len().is_multiple_of(1 << variables) && u.len() == v.len(),
            "whole groups of elements"
        );
        dispatch!(self.level, tail_grid(u, v, variables, out))
    }

    /// `u_g = sum_j eq[j] u[j n + g]` for n = `elements.len() / eq.len()`, in the first n places; the others keep what they had.
    ///
    /// # Panics
    /// If `eq` is empty or its length does not divide the number of elements.
    pub fn tail_fold(self, elements: &mut [u64], eq: &[u64]) {
        assert!(
            elements.len().is_multiple_of(eq.len()),
            "whole groups of elements"
        );
        dispatch!(self.level, tail_fold(elements, eq))
    }

    /// `out[r] ^= sum_j weights[j] rows[width r + j]`, where the width of a row is the number of weights: a weighted sum of the
    /// words of each row.
    ///
    /// # Panics
    /// If there are no weights, or `rows` does not hold a row for each place of `out`.
    pub fn row_sums(self, rows: &[u64], weights: &[u64], out: &mut [u64]) {
        assert!(
            !weights.is_empty() && rows.len() == weights.len() * out.len(),
            "a row of as many words as weights for each sum"
        );
        dispatch!(self.level, row_sums(rows, weights, out))
    }

    /// The value at `rho` in F^k of a polynomial given on {0,1,inf}^k. Leaves rubbish in `values`.
    ///
    /// # Panics
    /// If there are not 3^k values.
    pub fn evaluate(self, values: &mut [u64], rho: &[u64]) -> u64 {
        assert_eq!(
            values.len(),
            3usize.pow(rho.len() as u32),
            "3^k values for k variables"
        );
        dispatch!(self.level, evaluate(values, rho))
    }

    /// `out[j] = product of rho_t where bit t of j is one and 1 + rho_t where it is zero`: the multilinear weights of {0,1}^k at
    /// `rho`.
    ///
    /// # Panics
    /// If `out` does not hold 2^k values.
    pub fn eq_table(self, rho: &[u64], out: &mut [u64]) {
        assert_eq!(out.len(), 1 << rho.len(), "2^k values for k variables");
        out[0] = 1;
        for (t, &r) in rho.iter().enumerate() {
            let (low, high) = out[..2 << t].split_at_mut(1 << t);
            for (low, high) in low.iter_mut().zip(high) {
                *high = self.mul(*low, r);
                *low ^= *high;
            }
        }
    }

    /// The product of two elements.
    pub fn mul(self, a: u64, b: u64) -> u64 {
        dispatch!(self.level, mul(a, b))
    }
}
