//! The field GF(2^64): polynomials over GF(2) modulo X^64 + X^4 + X^3 + X + 1, in portable constant-time arithmetic.
//!
//! An element is a `u64`: bit i is the coefficient of X^i. Addition is XOR. No function here branches on, or indexes by, an
//! operand, so elements may be shares. Bulk work goes through [`crate::simd::Kernels`], which is tested against this module.

/// The low terms of the modulus, X^4 + X^3 + X + 1: what X^64 is congruent to.
pub const MODULUS: u64 = 0x1b;

/// Bits i with i = r mod 5, for r = 0..5.
const EVERY_FIFTH: [u64; 5] = {
    let mut masks = [0u64; 5];
    let mut i = 0;
    while i < 64 {
        masks[i % 5] |= 1 << i;
        i += 1;
    }
    masks
};

/// The same over 128 bits.
const EVERY_FIFTH_WIDE: [u128; 5] = {
    let mut masks = [0u128; 5];
    let mut i = 0;
    while i < 128 {
        masks[i % 5] |= 1 << i;
        i += 1;
    }
    masks
};

/// The carry-less product of two polynomials of degree below 64, as (low, high) words.
///
/// Constant time wherever the processor's 64-bit multiplication is: each factor is cut into five parts with one bit in five,
/// so that a column of an ordinary product adds at most 13 bits and never carries into the next one of its part (13 < 2^5).
/// Costs 25 multiplications; see [`crate::simd::Kernels::mul`] for the one-instruction version.
#[inline]
pub fn clmul(a: u64, b: u64) -> (u64, u64) {
    let part_a = EVERY_FIFTH.map(|m| (a & m) as u128);
    let part_b = EVERY_FIFTH.map(|m| (b & m) as u128);
    let mut product = 0u128;
    for (r, mask) in EVERY_FIFTH_WIDE.iter().enumerate() {
        let mut column = 0u128;
        for i in 0..5 {
            column ^= part_a[i] * part_b[(r + 5 - i) % 5];
        }
        product |= column & mask;
    }
    (product as u64, (product >> 64) as u64)
}

/// The element congruent to `low + high X^64`.
#[inline(always)]
pub const fn reduce(low: u64, high: u64) -> u64 {
    // high X^64 = high (X^4 + X^3 + X + 1); what that pushes past X^63 (at most 4 bits) is folded into `high` first.
    let t = high ^ (high >> 63) ^ (high >> 61) ^ (high >> 60);
    low ^ t ^ (t << 1) ^ (t << 3) ^ (t << 4)
}

/// The product of two elements.
#[inline]
pub fn mul(a: u64, b: u64) -> u64 {
    let (low, high) = clmul(a, b);
    reduce(low, high)
}

/// The square of an element. Linear over GF(2): the bits are spread apart and reduced, no multiplication.
#[inline]
pub const fn square(a: u64) -> u64 {
    reduce(spread(a as u32), spread((a >> 32) as u32))
}

/// The product of an element and X^n, for a public n below 64.
#[inline]
pub const fn mul_power(a: u64, n: u32) -> u64 {
    // Two shifts, so that n = 0 does not ask for a shift by 64.
    reduce(a << n, (a >> 1) >> (63 - n))
}

/// Bit i of the argument to bit 2i of the result.
const fn spread(a: u32) -> u64 {
    let mut x = a as u64;
    x = (x | (x << 16)) & 0x0000_ffff_0000_ffff;
    x = (x | (x << 8)) & 0x00ff_00ff_00ff_00ff;
    x = (x | (x << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | (x << 2)) & 0x3333_3333_3333_3333;
    (x | (x << 1)) & 0x5555_5555_5555_5555
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The schoolbook product, one bit at a time.
    pub(crate) fn slow_clmul(a: u64, b: u64) -> u128 {
        (0..64)
            .filter(|i| b >> i & 1 == 1)
            .fold(0, |sum, i| sum ^ (a as u128) << i)
    }

    /// The product by doubling and adding, reducing one bit at a time.
    pub(crate) fn slow_mul(mut a: u64, mut b: u64) -> u64 {
        let mut sum = 0;
        while b != 0 {
            if b & 1 == 1 {
                sum ^= a;
            }
            let carry = a >> 63;
            a = (a << 1) ^ (carry * MODULUS);
            b >>= 1;
        }
        sum
    }

    /// A seeded sequence of test words (splitmix64).
    pub(crate) struct Words(pub(crate) u64);

    impl Words {
        pub(crate) fn word(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        }

        pub(crate) fn words(&mut self, n: usize) -> Vec<u64> {
            (0..n).map(|_| self.word()).collect()
        }
    }

    /// Values at the edges of the word, every power of X, and random ones.
    pub(crate) fn samples(seed: u64, random: usize) -> Vec<u64> {
        let mut all = vec![
            0,
            1,
            2,
            3,
            MODULUS,
            u64::MAX,
            u64::MAX - 1,
            1 << 63,
            3 << 62,
            0xaaaa_aaaa_aaaa_aaaa,
        ];
        all.extend((0..64).map(|i| 1 << i));
        all.extend(Words(seed).words(random));
        all
    }

    #[test]
    fn products_equal_the_bitwise_model() {
        let all = samples(1, 60);
        for &a in &all {
            for &b in &all {
                let wide = slow_clmul(a, b);
                assert_eq!(clmul(a, b), (wide as u64, (wide >> 64) as u64), "{a:#x} x {b:#x}");
                assert_eq!(mul(a, b), slow_mul(a, b), "{a:#x} x {b:#x}");
            }
        }
    }

    #[test]
    fn squares_and_powers_equal_products() {
        for a in samples(2, 500) {
            assert_eq!(square(a), slow_mul(a, a));
            for n in [0, 1, 7, 31, 62, 63] {
                assert_eq!(mul_power(a, n), slow_mul(a, 1 << n), "{a:#x} X^{n}");
            }
        }
    }

    #[test]
    fn the_modulus_is_irreducible() {
        // Rabin's test for degree 64 = 2^6: X^(2^64) = X, and X^(2^32) - X is prime to the modulus. In a ring where the
        // modulus had a factor, X^(2^32) + X would not be invertible; raise it to 2^64 - 1 and expect one.
        let mut x = 2u64;
        for _ in 0..32 {
            x = square(x);
        }
        let y = x ^ 2;
        for _ in 32..64 {
            x = square(x);
        }
        assert_eq!(x, 2);
        let (mut power, mut square_of) = (1u64, y);
        for _ in 0..64 {
            power = mul(power, square_of);
            square_of = square(square_of);
        }
        assert_eq!(power, 1);
    }

    #[test]
    fn the_field_axioms_hold_on_samples() {
        let mut words = Words(3);
        for _ in 0..300 {
            let (a, b, c) = (words.word(), words.word(), words.word());
            assert_eq!(mul(a, b), mul(b, a));
            assert_eq!(mul(a, mul(b, c)), mul(mul(a, b), c));
            assert_eq!(mul(a, b ^ c), mul(a, b) ^ mul(a, c));
            assert_eq!(mul(a, 1), a);
        }
    }
}
