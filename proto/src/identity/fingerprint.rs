//! Fingerprints.

use std::fmt;

use crate::crockford;
use crate::layout::Writer;

/// What is read over the phone: 120 bits of a hash as six groups of four characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint(String);

impl Fingerprint {
    pub(super) fn of(layout: &Writer) -> Self {
        Self(crockford::encode_groups(&layout.sha256().0[..15]))
    }

    /// The fingerprint of any public object, by its hash.
    pub fn of_hash(hash: &crate::ids::Hash32) -> Self {
        Self(crockford::encode_groups(&hash.0[..15]))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
