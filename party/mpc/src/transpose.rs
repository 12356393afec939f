//! Transposition of 64 x 64 bits: rows of words to bit columns and back.

/// Transposes in place: afterwards bit i of word j is what bit j of word i was.
#[inline]
pub(crate) fn transpose64(block: &mut [u64; 64]) {
    exchange::<32>(block, 0x0000_0000_FFFF_FFFF);
    exchange::<16>(block, 0x0000_FFFF_0000_FFFF);
    exchange::<8>(block, 0x00FF_00FF_00FF_00FF);
    exchange::<4>(block, 0x0F0F_0F0F_0F0F_0F0F);
    exchange::<2>(block, 0x3333_3333_3333_3333);
    exchange::<1>(block, 0x5555_5555_5555_5555);
}

/// One stage: swaps the off-diagonal quadrants of every 2W x 2W square.
#[inline(always)]
fn exchange<const W: usize>(block: &mut [u64; 64], mask: u64) {
    for square in block.chunks_exact_mut(2 * W) {
        let (upper, lower) = square.split_at_mut(W);
        for (u, l) in upper.iter_mut().zip(lower) {
            let t = ((*u >> W) ^ *l) & mask;
            *u ^= t << W;
            *l ^= t;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_every_bit_to_its_mirror() {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut block = [0u64; 64];
        for word in &mut block {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *word = state ^ state >> 29;
        }
        let before = block;
        transpose64(&mut block);
        for (i, row) in before.iter().enumerate() {
            for (j, column) in block.iter().enumerate() {
                assert_eq!(row >> j & 1, column >> i & 1);
            }
        }
        transpose64(&mut block);
        assert_eq!(block, before);
    }
}
