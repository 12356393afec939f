//! How far apart the parties are, and how their tally is cut for it.

use std::fmt;
use std::str::FromStr;

use tally_mpc::SortParams;

use super::{ManifestError, Unsupported};
use crate::wire;

/// How far apart the three parties are. Every party cuts its sort by it, so it is agreed like all else in the manifest, and an audit holds
/// a session to it. It changes neither the result nor what is opened, only what a tally costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Network {
    /// A few milliseconds at most: few comparisons, many rounds.
    #[default]
    Near,
    /// Tens of milliseconds: about a fifth of the rounds, for more than twice the traffic and the work.
    Far,
}

impl Network {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Near, Self::Far];

    /// How the sort is cut.
    pub const fn sort_params(self) -> SortParams {
        match self {
            Self::Near => SortParams::LAN,
            Self::Far => SortParams::WAN,
        }
    }

    /// The word for it in an election file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    /// From the manifest's number.
    ///
    /// # Errors
    /// [`Unsupported::Network`].
    pub fn from_number(number: i32) -> Result<Self, ManifestError> {
        match wire::Network::try_from(number) {
            Ok(wire::Network::Near) => Ok(Self::Near),
            Ok(wire::Network::Far) => Ok(Self::Far),
            Err(_) => Err(ManifestError::Unsupported(Unsupported::Network(number))),
        }
    }

    /// To the wire.
    pub fn to_wire(self) -> wire::Network {
        match self {
            Self::Near => wire::Network::Near,
            Self::Far => wire::Network::Far,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The word is neither `near` nor `far`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is \"near\" or \"far\"")]
pub struct UnknownNetwork;

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(word: &str) -> Result<Self, UnknownNetwork> {
        let found = Self::ALL.into_iter().find(|network| network.name() == word);
        found.ok_or(UnknownNetwork)
    }
}
