//! Field elements on the wire: eight bytes each, little endian, in numbers that the shape of a proof prescribes.

use super::error::ProofError;
use crate::role::Role;

/// Appends field elements to a message.
pub(super) fn put(elements: &[u64], out: &mut Vec<u8>) {
    out.reserve(8 * elements.len());
    for element in elements {
        out.extend_from_slice(&element.to_le_bytes());
    }
}

/// A received message, named for errors.
pub(super) struct Message<'a> {
    pub(super) name: &'static str,
    pub(super) from: Role,
    pub(super) bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// The bytes, if they are as many as they should be.
    pub(super) fn exactly(&self, expected: usize) -> Result<&'a [u8], ProofError> {
        if self.bytes.len() == expected {
            return Ok(self.bytes);
        }
        Err(ProofError::Length {
            message: self.name,
            from: self.from,
            got: self.bytes.len(),
            expected,
        })
    }

    /// The field elements, if they are as many as they should be.
    pub(super) fn elements(
        &self,
        expected: usize,
    ) -> Result<impl Iterator<Item = u64> + use<'a>, ProofError> {
        let words = self.exactly(8 * expected)?.chunks_exact(8);
        Ok(words.map(|word| u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"))))
    }

    /// So many field elements.
    pub(super) fn array<const N: usize>(&self) -> Result<[u64; N], ProofError> {
        let mut elements = self.elements(N)?;
        Ok(std::array::from_fn(|_| {
            elements.next().expect("the number of elements was checked")
        }))
    }

    /// 32 bytes.
    pub(super) fn hash(&self) -> Result<[u8; 32], ProofError> {
        self.exactly(32)
            .map(|bytes| bytes.try_into().expect("the length was checked"))
    }
}
