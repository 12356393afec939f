//! What becomes of the ballots of a station that an order revokes.

use std::fmt;
use std::str::FromStr;

use super::{ManifestError, Unsupported};
use crate::ids::UnixSeconds;
use crate::wire;

/// What counts of a station that an order revokes. It stands in the manifest, so that nobody decides it when the ballots are there; sealing holds to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RevokedRows {
    /// What was cast before the order's moment: for a station that was in good hands until then.
    #[default]
    Before,
    /// Nothing: for elections where one cannot say since when a station was in bad hands.
    None,
}

impl RevokedRows {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Before, Self::None];

    /// Whether a ballot counts that a station cast at `cast_at` and that an order revokes from `from` on.
    pub fn count(self, cast_at: UnixSeconds, from: UnixSeconds) -> bool {
        match self {
            Self::Before => cast_at < from,
            Self::None => false,
        }
    }

    /// The word for it in an election file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::None => "none",
        }
    }

    /// From the manifest's number.
    ///
    /// # Errors
    /// [`Unsupported::RevokedRows`].
    pub fn from_number(number: i32) -> Result<Self, ManifestError> {
        match wire::RevokedRows::try_from(number) {
            Ok(wire::RevokedRows::Before) => Ok(Self::Before),
            Ok(wire::RevokedRows::None) => Ok(Self::None),
            Err(_) => Err(ManifestError::Unsupported(Unsupported::RevokedRows(number))),
        }
    }

    /// To the wire.
    pub fn to_wire(self) -> wire::RevokedRows {
        match self {
            Self::Before => wire::RevokedRows::Before,
            Self::None => wire::RevokedRows::None,
        }
    }

    /// What it means, for the people who sign the manifest.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Before => {
                "what it cast from the order's moment on does not count, what it cast before that and two parties have does"
            }
            Self::None => {
                "none of its ballots counts, whenever it cast them; what else these voters have cast stands again"
            }
        }
    }
}

impl fmt::Display for RevokedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The word is neither `before` nor `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("of a revoked station count the ballots \"before\" the order's moment, or \"none\"")]
pub struct UnknownRevokedRows;

impl FromStr for RevokedRows {
    type Err = UnknownRevokedRows;

    fn from_str(word: &str) -> Result<Self, UnknownRevokedRows> {
        let found = Self::ALL.into_iter().find(|rows| rows.name() == word);
        found.ok_or(UnknownRevokedRows)
    }
}
