//! Names of things: elections, boxes, voters, stations, parties, digests, moments.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a slug.
    #[error(
        "election id {0:?} is not a slug: use 1 to 64 of a-z, 0-9 and hyphens, with no hyphen at either end"
    )]
    Election(String),
    /// Not a slug.
    #[error(
        "register id {0:?} is not a slug: use 1 to 64 of a-z, 0-9 and hyphens, with no hyphen at either end"
    )]
    Register(String),
    /// Not a party number.
    #[error("{0} is not a party: parties are numbered 1, 2 and 3")]
    Party(u64),
    /// Not 32 bytes.
    #[error("a hash has 32 bytes, this has {0}")]
    HashLength(usize),
    /// Not hexadecimal.
    #[error("{0:?} is not a hash: write 64 hexadecimal digits")]
    HashText(String),
}

/// 1 to [`MAX_SLUG_BYTES`] of a-z, 0-9 and inner hyphens.
fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=MAX_SLUG_BYTES).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// Longest slug in bytes.
pub const MAX_SLUG_BYTES: usize = 64;

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident, $refused:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest id in bytes.
            pub const MAX_BYTES: usize = MAX_SLUG_BYTES;

            /// Checks and takes `text`.
            ///
            /// # Errors
            /// When it is not a slug.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if is_slug(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError::$refused(text.chars().take(80).collect()))
                }
            }

            /// The slug.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

slug!(
    /// An election's id: a slug of a-z, 0-9 and inner hyphens, at most 64 bytes. Cheap to clone.
    ElectionId,
    Election
);
slug!(
    /// The id of a register of enrolled credentials, which many elections of the same roll may name: a slug as an election's id is.
    RegisterId,
    Register
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $int);

        impl $name {
            /// The bare number.
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl From<$int> for $name {
            fn from(value: $int) -> Self {
                Self(value)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

/// A number that people see as such. A moment is shown as one: [`crate::moment`].
macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
shown!(BoxId, ContestId, VoterIndex, StationId, SessionNumber);

number! {
    /// A box within an election.
    BoxId, u32
}
number! {
    /// A contest within an election.
    ContestId, u32
}
number! {
    /// A voter's position in the roll of a box, from 0.
    VoterIndex, u32
}
number! {
    /// A polling station within an election.
    StationId, u32
}
number! {
    /// The number of a tally session of a box; only rises.
    SessionNumber, u64
}
number! {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    UnixSeconds, u64
}
number! {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    UnixMillis, u64
}

impl UnixMillis {
    /// The second this moment lies in (rounded down).
    pub const fn seconds(self) -> UnixSeconds {
        UnixSeconds(self.0 / 1000)
    }
}

impl UnixSeconds {
    /// The first millisecond of this second; saturates far beyond any calendar.
    pub const fn millis(self) -> UnixMillis {
        UnixMillis(self.0.saturating_mul(1000))
    }
}

macro_rules! hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Takes exactly 32 bytes.
            ///
            /// # Errors
            /// [`IdError::HashLength`] for any other length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError::HashLength(bytes.len()))
            }

            /// The first 4 bytes as hexadecimal, for logs and tables.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok().map(Self))
                    .ok_or_else(|| IdError::HashText(text.chars().take(80).collect()))
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

hash! {
    /// The public name of a ballot or of a credential record: SHA-256 of its header's fixed layout.
    Digest
}
hash! {
    /// SHA-256 of something else: an object's payload, a list body, a ciphertext, a Merkle node.
    Hash32
}

impl Hash32 {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

pub use tally_mpc::Role;

/// What messages and tables need of a [`Role`] besides its arithmetic.
pub trait RoleExt: Sized {
    /// From the number 1, 2 or 3 of a message.
    ///
    /// # Errors
    /// [`IdError::Party`] for any other number.
    fn from_number(number: u32) -> Result<Self, IdError>;
    /// 1, 2 or 3, as messages carry it.
    fn number(self) -> u32;
    /// 0, 1 or 2: the place in an array of three.
    fn slot(self) -> usize;
    /// The one that is neither `self` nor `other`; `None` when they are the same.
    fn third(self, other: Self) -> Option<Self>;
}

impl RoleExt for Role {
    fn from_number(number: u32) -> Result<Self, IdError> {
        u8::try_from(number)
            .ok()
            .and_then(Self::from_index)
            .ok_or(IdError::Party(number.into()))
    }

    fn number(self) -> u32 {
        self.index().into()
    }

    fn slot(self) -> usize {
        usize::from(self.index()) - 1
    }

    fn third(self, other: Self) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|p| *p != self && *p != other)
            .filter(|_| self != other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn election_ids_are_slugs() {
        for good in ["a", "ward-7-2026", "0"] {
            assert_eq!(ElectionId::new(good).expect("slug").as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "a-", "Ward", "ward 7", "w\u{e4}hl", long.as_str()] {
            assert!(ElectionId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn party_arithmetic_is_a_ring() {
        for p in Role::ALL {
            assert_eq!(p.next().next().next(), p);
            assert_eq!(p.next().prev(), p);
            assert_eq!(p.third(p.next()), Some(p.prev()));
            assert_eq!(p.third(p), None);
            assert_eq!(Role::from_number(p.number()), Ok(p));
        }
        assert_eq!(Role::from_number(0), Err(IdError::Party(0)));
        assert_eq!(Role::from_number(4), Err(IdError::Party(4)));
    }

    #[test]
    fn hashes_print_and_parse() {
        let hash = Hash32::of(b"abc");
        assert_eq!(
            hash.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(hash.to_string().parse::<Hash32>(), Ok(hash));
        assert!("ba78".parse::<Hash32>().is_err());
        assert_eq!(Digest::from_slice(&[0; 31]), Err(IdError::HashLength(31)));
    }
}
