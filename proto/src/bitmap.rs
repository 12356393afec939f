//! One public bit a voter, least significant bit first in each byte, unused bits of the last byte zero.

use crate::ids::Hash32;

/// A bitmap of fixed length.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Bitmap {
    bits: usize,
    bytes: Vec<u8>,
}

/// Bytes that are no bitmap of the expected length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bitmap of {bits} bits has {} bytes and zero bits after the last; this has {actual} bytes", bits.div_ceil(8))]
pub struct BitmapError {
    /// Expected bits.
    pub bits: usize,
    /// Bytes given.
    pub actual: usize,
}

impl Bitmap {
    /// All bits zero.
    pub fn zeros(bits: usize) -> Self {
        Self {
            bits,
            bytes: vec![0; bits.div_ceil(8)],
        }
    }

    /// From bits in order.
    pub fn from_bits(bits: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut map = Self::zeros(bits.len());
        for (i, bit) in bits.enumerate() {
            map.set(i, bit);
        }
        map
    }

    /// From its bytes.
    ///
    /// # Errors
    /// A wrong length, or a bit set after the last.
    pub fn from_bytes(bits: usize, bytes: &[u8]) -> Result<Self, BitmapError> {
        let error = BitmapError {
            bits,
            actual: bytes.len(),
        };
        if bytes.len() != bits.div_ceil(8) {
            return Err(error);
        }
        match bytes.last() {
            Some(last) if !bits.is_multiple_of(8) && last >> (bits % 8) != 0 => Err(error),
            _ => Ok(Self {
                bits,
                bytes: bytes.to_vec(),
            }),
        }
    }

    /// How many bits.
    pub fn len(&self) -> usize {
        self.bits
    }

    /// Whether there is no bit at all.
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// Bit `i`; false beyond the end.
    pub fn get(&self, i: usize) -> bool {
        i < self.bits && self.bytes.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1)
    }

    /// Sets bit `i`; nothing happens beyond the end.
    pub fn set(&mut self, i: usize, value: bool) {
        if i < self.bits
            && let Some(byte) = self.bytes.get_mut(i / 8)
        {
            *byte = *byte & !(1 << (i % 8)) | u8::from(value) << (i % 8);
        }
    }

    /// How many bits are set.
    pub fn count_ones(&self) -> usize {
        self.bytes.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(&self.bytes)
    }

    /// The bits in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.bits).map(|i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_least_significant_first_at_every_boundary() {
        for bits in [0usize, 1, 7, 8, 9, 63, 64, 65] {
            let map = Bitmap::from_bits((0..bits).map(|i| i % 3 == 0));
            assert_eq!(
                map.iter().collect::<Vec<_>>(),
                (0..bits).map(|i| i % 3 == 0).collect::<Vec<_>>()
            );
            assert_eq!(map.count_ones(), bits.div_ceil(3));
            assert_eq!(Bitmap::from_bytes(bits, map.as_bytes()), Ok(map.clone()));
            assert!(Bitmap::from_bytes(bits, &[map.as_bytes(), &[0]].concat()).is_err());
            assert!(!map.get(bits));
        }
        assert_eq!(
            Bitmap::from_bits([true, false, true].into_iter()).as_bytes(),
            [0b101]
        );
        assert_eq!(
            Bitmap::from_bytes(3, &[0b1000]),
            Err(BitmapError { bits: 3, actual: 1 })
        );
    }
}
