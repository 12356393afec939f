//! Vectors of two, four and eight lanes on x86-64, and the kernels compiled for them.
//!
//! # Why this is sound
//!
//! The types here are private to [`super`]. Their operations use instructions that not every processor has, yet are safe
//! functions: what makes that sound is that nothing outside the `#[target_feature]` functions at the foot of each section uses
//! them, and that those are called by [`super::Kernels`] alone, whose level was detected on the running processor. The
//! operations are inlined into those functions, which is also what makes them fast. Memory is touched only through slices whose
//! length is checked first.

use super::kernels;
use super::lanes::{Clmul, Lanes, each};
use core::arch::x86_64::*;

/// Implements the operations that differ between widths only in the name of the instruction.
macro_rules! bitwise {
    ($lanes:expr, $set:ident, $load:ident, $store:ident, $xor:ident, $and:ident, $shl:ident, $shr:ident) => {
        const N: usize = $lanes;

        #[inline(always)]
        fn splat(word: u64) -> Self {
            // SAFETY: only reached from a kernel compiled for this vector (module documentation).
            Self(unsafe { $set(word as i64) })
        }
        #[inline(always)]
        fn load(words: &[u64]) -> Self {
            let words = &words[..$lanes];
            // SAFETY: as above; the slice holds a whole vector, and the load asks for no alignment.
            Self(unsafe { $load(words.as_ptr().cast()) })
        }
        #[inline(always)]
        fn store(self, words: &mut [u64]) {
            let words = &mut words[..$lanes];
            // SAFETY: as above; the slice has room for a whole vector, and the store asks for no alignment.
            unsafe { $store(words.as_mut_ptr().cast(), self.0) }
        }
        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            // SAFETY: only reached from a kernel compiled for this vector.
            Self(unsafe { $xor(self.0, other.0) })
        }
        #[inline(always)]
        fn and(self, other: Self) -> Self {
            // SAFETY: only reached from a kernel compiled for this vector.
            Self(unsafe { $and(self.0, other.0) })
        }
        #[inline(always)]
        fn shl<const BITS: i32>(self) -> Self {
            // SAFETY: only reached from a kernel compiled for this vector.
            Self(unsafe { $shl(self.0, _mm_cvtsi32_si128(BITS)) })
        }
        #[inline(always)]
        fn shr<const BITS: i32>(self) -> Self {
            // SAFETY: only reached from a kernel compiled for this vector.
            Self(unsafe { $shr(self.0, _mm_cvtsi32_si128(BITS)) })
        }
    };
}

/// Implements carry-less multiplication; the widths differ only in the names of the instructions.
macro_rules! carryless {
    ($clmul:ident, $low:ident, $high:ident, $sllv:ident, $srlv:ident) => {
        type Sum = Self;
        /// The products of the even lanes and of the odd lanes, 128 bits each.
        type Wide = (Self, Self);

        #[inline(always)]
        fn sum_zero() -> Self::Sum {
            Self::zero()
        }
        #[inline(always)]
        fn sum_add(sum: Self::Sum, a: Self, b: Self) -> Self::Sum {
            let (even, odd) = Self::wide_add((sum, Self::zero()), a, b);
            even.xor(odd)
        }
        #[inline(always)]
        fn sum_reduce(sum: Self::Sum) -> u64 {
            let mut words = [0; Self::N];
            sum.store(&mut words);
            let halves = words
                .chunks_exact(2)
                .fold((0, 0), |(low, high), w| (low ^ w[0], high ^ w[1]));
            crate::field::reduce(halves.0, halves.1)
        }
        #[inline(always)]
        fn wide_zero() -> Self::Wide {
            (Self::zero(), Self::zero())
        }
        #[inline(always)]
        fn wide_add(wide: Self::Wide, a: Self, b: Self) -> Self::Wide {
            // SAFETY: only reached from a kernel compiled for this vector.
            let (even, odd) = unsafe {
                (
                    Self($clmul::<0x00>(a.0, b.0)),
                    Self($clmul::<0x11>(a.0, b.0)),
                )
            };
            (wide.0.xor(even), wide.1.xor(odd))
        }
        #[inline(always)]
        fn wide_reduce((even, odd): Self::Wide) -> Self {
            // SAFETY: only reached from a kernel compiled for this vector.
            let (low, high) = unsafe { (Self($low(even.0, odd.0)), Self($high(even.0, odd.0))) };
            reduce(low, high)
        }
        #[inline(always)]
        fn mul_one(a: u64, b: u64) -> u64 {
            // SAFETY: only reached from a kernel compiled for this vector, all of which have PCLMULQDQ and SSE4.1.
            unsafe {
                let product =
                    _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(a as i64), _mm_cvtsi64_si128(b as i64));
                crate::field::reduce(
                    _mm_cvtsi128_si64(product) as u64,
                    _mm_extract_epi64::<1>(product) as u64,
                )
            }
        }
        #[inline(always)]
        fn powers(theta: u64, first: usize) -> Self {
            let mut up = [0; Self::N];
            for (lane, power) in up.iter_mut().enumerate() {
                *power = (first + lane) as u64;
            }
            let (theta, up, down) = (
                Self::splat(theta),
                Self::load(&up),
                Self::load(&up.map(|n| 64 - n)),
            );
            // SAFETY: only reached from a kernel compiled for this vector. A shift by 64 gives zero, as it should.
            let (low, high) = unsafe { (Self($sllv(theta.0, up.0)), Self($srlv(theta.0, down.0))) };
            reduce(low, high)
        }
    };
}

/// [`crate::field::reduce`] in every lane.
#[inline(always)]
fn reduce<L: Lanes>(low: L, high: L) -> L {
    let t = high
        .xor(high.shr::<63>())
        .xor(high.shr::<61>())
        .xor(high.shr::<60>());
    low.xor(t).xor(t.shl::<1>()).xor(t.shl::<3>()).xor(t.shl::<4>())
}

/// Two lanes: PCLMULQDQ.
#[derive(Clone, Copy)]
struct X2(__m128i);

impl Lanes for X2 {
    bitwise!(
        2,
        _mm_set1_epi64x,
        _mm_loadu_si128,
        _mm_storeu_si128,
        _mm_xor_si128,
        _mm_and_si128,
        _mm_sll_epi64,
        _mm_srl_epi64
    );

    #[inline(always)]
    fn gather(words: &[u64]) -> [Self; 8] {
        let mut out = [Self::zero(); 8];
        for j in (0..8).step_by(2) {
            let (a, b) = (Self::load(&words[j..]), Self::load(&words[64 + j..]));
            // SAFETY: only reached from a kernel compiled for this vector.
            (out[j], out[j + 1]) = unsafe {
                (
                    Self(_mm_unpacklo_epi64(a.0, b.0)),
                    Self(_mm_unpackhi_epi64(a.0, b.0)),
                )
            };
        }
        out
    }
    #[inline(always)]
    fn scatter(vectors: [Self; 8], words: &mut [u64]) {
        for j in (0..8).step_by(2) {
            let (a, b) = (vectors[j], vectors[j + 1]);
            // SAFETY: only reached from a kernel compiled for this vector.
            let (low, high) = unsafe {
                (
                    Self(_mm_unpacklo_epi64(a.0, b.0)),
                    Self(_mm_unpackhi_epi64(a.0, b.0)),
                )
            };
            low.store(&mut words[j..]);
            high.store(&mut words[64 + j..]);
        }
    }
}

impl Clmul for X2 {
    carryless!(
        _mm_clmulepi64_si128,
        _mm_unpacklo_epi64,
        _mm_unpackhi_epi64,
        _mm_sllv_epi64,
        _mm_srlv_epi64
    );
}

/// Four lanes: AVX2, for the kernel that does not multiply.
#[derive(Clone, Copy)]
struct X4(__m256i);

impl X4 {
    /// Lane l of vector j to lane j of vector l.
    #[inline(always)]
    fn transpose(v: [Self; 4]) -> [Self; 4] {
        // SAFETY: only reached from a kernel compiled for this vector.
        unsafe {
            let (a, b) = (
                _mm256_unpacklo_epi64(v[0].0, v[1].0),
                _mm256_unpackhi_epi64(v[0].0, v[1].0),
            );
            let (c, d) = (
                _mm256_unpacklo_epi64(v[2].0, v[3].0),
                _mm256_unpackhi_epi64(v[2].0, v[3].0),
            );
            [
                Self(_mm256_permute2x128_si256::<0x20>(a, c)),
                Self(_mm256_permute2x128_si256::<0x20>(b, d)),
                Self(_mm256_permute2x128_si256::<0x31>(a, c)),
                Self(_mm256_permute2x128_si256::<0x31>(b, d)),
            ]
        }
    }
}

impl Lanes for X4 {
    bitwise!(
        4,
        _mm256_set1_epi64x,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_xor_si256,
        _mm256_and_si256,
        _mm256_sll_epi64,
        _mm256_srl_epi64
    );

    #[inline(always)]
    fn gather(words: &[u64]) -> [Self; 8] {
        let mut out = [Self::zero(); 8];
        for j in [0, 4] {
            let rows = each(|l| Self::load(&words[64 * l + j..]));
            out[j..j + 4].copy_from_slice(&Self::transpose(rows));
        }
        out
    }
    #[inline(always)]
    fn scatter(vectors: [Self; 8], words: &mut [u64]) {
        for j in [0, 4] {
            let rows = Self::transpose(each(|i| vectors[j + i]));
            for (l, row) in rows.into_iter().enumerate() {
                row.store(&mut words[64 * l + j..]);
            }
        }
    }
}

/// Eight lanes: AVX-512 with VPCLMULQDQ.
#[derive(Clone, Copy)]
struct X8(__m512i);

impl X8 {
    /// Lane l of vector j to lane j of vector l.
    #[inline(always)]
    fn transpose(v: [Self; 8]) -> [Self; 8] {
        let mut out = [Self::zero(); 8];
        for odd in 0..2 {
            // SAFETY: only reached from a kernel compiled for this vector.
            unsafe {
                let pair = |j: usize| match odd {
                    0 => _mm512_unpacklo_epi64(v[j].0, v[j + 1].0),
                    _ => _mm512_unpackhi_epi64(v[j].0, v[j + 1].0),
                };
                let t = [pair(0), pair(2), pair(4), pair(6)];
                let (a, b) = (
                    _mm512_shuffle_i64x2::<0x44>(t[0], t[1]),
                    _mm512_shuffle_i64x2::<0xee>(t[0], t[1]),
                );
                let (c, d) = (
                    _mm512_shuffle_i64x2::<0x44>(t[2], t[3]),
                    _mm512_shuffle_i64x2::<0xee>(t[2], t[3]),
                );
                out[odd] = Self(_mm512_shuffle_i64x2::<0x88>(a, c));
                out[2 + odd] = Self(_mm512_shuffle_i64x2::<0xdd>(a, c));
                out[4 + odd] = Self(_mm512_shuffle_i64x2::<0x88>(b, d));
                out[6 + odd] = Self(_mm512_shuffle_i64x2::<0xdd>(b, d));
            }
        }
        out
    }
}

impl Lanes for X8 {
    bitwise!(
        8,
        _mm512_set1_epi64,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_xor_si512,
        _mm512_and_si512,
        _mm512_sll_epi64,
        _mm512_srl_epi64
    );

    #[inline(always)]
    fn gather(words: &[u64]) -> [Self; 8] {
        Self::transpose(each(|l| Self::load(&words[64 * l..])))
    }
    #[inline(always)]
    fn scatter(vectors: [Self; 8], words: &mut [u64]) {
        for (l, row) in Self::transpose(vectors).into_iter().enumerate() {
            row.store(&mut words[64 * l..]);
        }
    }
}

impl Clmul for X8 {
    carryless!(
        _mm512_clmulepi64_epi128,
        _mm512_unpacklo_epi64,
        _mm512_unpackhi_epi64,
        _mm512_sllv_epi64,
        _mm512_srlv_epi64
    );
}

/// Compiles the kernels for one set of instructions.
macro_rules! compile {
    ($features:literal, $clmul:ty) => {
        #[target_feature(enable = $features)]
        pub(in super::super) fn tail_fold(u: &mut [u64], eq: &[u64]) {
            kernels::tail_fold::<$clmul>(u, eq);
        }
        #[target_feature(enable = $features)]
        pub(in super::super) fn cube(c: &[u64], theta: &[u64], out: &mut [u64; 64]) {
            kernels::cube::<$clmul>(c, theta, out);
        }
        #[target_feature(enable = $features)]
        pub(in super::super) fn scale(u: &mut [u64], theta: &[u64]) {
            kernels::scale::<$clmul>(u, theta);
        }
        #[target_feature(enable = $features)]
        pub(in super::super) fn evaluate(values: &mut [u64], rho: &[u64]) -> u64 {
            kernels::evaluate::<$clmul>(values, rho)
        }
        /// See [`kernels::row_sums`]. Rows are a few words long, which would leave most of wide vectors empty.
        #[target_feature(enable = $features)]
        pub(in super::super) fn row_sums(rows: &[u64], weights: &[u64], out: &mut [u64]) {
            kernels::row_sums::<X2>(rows, weights, out);
        }
        #[target_feature(enable = $features)]
        pub(in super::super) fn mul(a: u64, b: u64) -> u64 {
            kernels::mul::<$clmul>(a, b)
        }
    };
}

/// The kernels for AVX2 with PCLMULQDQ.
pub(super) mod avx2 {
    use super::*;

    compile!("avx2,pclmulqdq", X2);

    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(in super::super) fn grid(u: [&[u64]; 2], v: [&[u64]; 2], theta: &[u64], out: &mut [u64; 729]) {
        kernels::grid::<X2>(u, v, theta, out);
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(in super::super) fn tail_grid(u: &[u64], v: &[u64], variables: usize, out: &mut [u64]) {
        kernels::tail_grid::<X2>(u, v, variables, out);
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(in super::super) fn fold<const C: usize>(columns: [&[u64]; C], eq: &[u64; 64], out: &mut [u64]) {
        kernels::fold::<X4, C>(columns, eq, out);
    }
}

/// The kernels for AVX-512 with VPCLMULQDQ, VBMI and GFNI.
pub(super) mod avx512 {
    use super::*;

    compile!(
        "avx512f,avx512bw,avx512vl,avx512vbmi,vpclmulqdq,pclmulqdq,gfni",
        X8
    );

    /// See [`kernels::grid`]. Few groups leave most of wide vectors empty, and their sums are many.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,vpclmulqdq,pclmulqdq,gfni")]
    pub(in super::super) fn grid(u: [&[u64]; 2], v: [&[u64]; 2], theta: &[u64], out: &mut [u64; 729]) {
        match theta.len() {
            0..4 => kernels::grid::<X2>(u, v, theta, out),
            _ => kernels::grid::<X8>(u, v, theta, out),
        }
    }

    /// See [`kernels::tail_grid`], and above for its short ones.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,vpclmulqdq,pclmulqdq,gfni")]
    pub(in super::super) fn tail_grid(u: &[u64], v: &[u64], variables: usize, out: &mut [u64]) {
        match u.len() >> variables {
            0..4 => kernels::tail_grid::<X2>(u, v, variables, out),
            _ => kernels::tail_grid::<X8>(u, v, variables, out),
        }
    }

    /// See [`kernels::fold`]. Here the 64 x 64 bit matrix of `eq` is cut into 8 x 8 blocks of 8 x 8 bits, which GFNI multiplies
    /// with bytes that hold one bit of eight words.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,vpclmulqdq,pclmulqdq,gfni")]
    pub(in super::super) fn fold<const C: usize>(columns: [&[u64]; C], eq: &[u64; 64], out: &mut [u64]) {
        let mut lines = *eq;
        kernels::transpose(&mut lines);
        // Block (p, q) takes bits kappa = 8 q .. 8 q + 8 to bits 8 p .. 8 p + 8; row i of a block is its byte 7 - i.
        let mut blocks = [[0u64; 8]; 8];
        for (i, line) in lines.iter().enumerate() {
            for (q, block) in blocks[i / 8].iter_mut().enumerate() {
                *block |= (line >> (8 * q) & 0xff) << (8 * (7 - i % 8));
            }
        }
        let bytes = |f: fn(usize) -> usize| {
            let words: [u64; 8] =
                core::array::from_fn(|c| (0..8).fold(0, |word, j| word | (f(8 * c + j) as u64) << (8 * j)));
            X8::load(&words).0
        };
        // Byte j of word c from byte c of word j, and the same with the order within the word reversed.
        let swap = bytes(|at| at % 8 * 8 + at / 8);
        let swap_reversed = bytes(|at| (7 - at % 8) * 8 + at / 8);
        let identity = X8::splat(0x8040_2010_0804_0201).0;
        for (g, out) in out.chunks_exact_mut(64).enumerate() {
            // Byte b of plane q: bit b of words 8 q .. 8 q + 8.
            let planes: [X8; 8] = each(|q| {
                let mut words = X8::zero();
                for column in columns {
                    words = words.xor(X8::load(&column[64 * g + 8 * q..64 * g + 8 * q + 8]));
                }
                let bytes = _mm512_permutexvar_epi8(swap_reversed, words.0);
                X8(_mm512_gf2p8affine_epi64_epi8::<0>(identity, bytes))
            });
            // Byte b of product p: byte p of element b.
            let products: [X8; 8] = each(|p| {
                let mut sum = X8::zero();
                for q in 0..8 {
                    let block = X8::splat(blocks[p][q]).0;
                    sum = sum.xor(X8(_mm512_gf2p8affine_epi64_epi8::<0>(planes[q].0, block)));
                }
                sum
            });
            for (elements, out) in X8::transpose(products).into_iter().zip(out.chunks_exact_mut(8)) {
                X8(_mm512_permutexvar_epi8(swap, elements.0)).store(out);
            }
        }
    }
}
