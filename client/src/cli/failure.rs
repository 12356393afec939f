//! What ends a command badly, and with which exit code.

use std::path::PathBuf;

use tally_proto::connect::ConnectError;
use tally_proto::invitation::InvitationError;
use tally_proto::reason::Reason;
use thiserror::Error;

use crate::choice::ChoiceError;
use crate::device::DeviceError;
use crate::election::ElectionError;
use crate::keepsake::KeepsakeError;
use crate::station::{IdentityFilesError, StationError};
use crate::voter::CastError;

/// A command's failure, in a sentence for a person.
#[derive(Debug, Error)]
pub enum Failure {
    /// The manifest.
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// The invitation.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// The choices.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Casting.
    #[error(transparent)]
    Cast(#[from] CastError),
    /// The device's memory.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Kept receipts.
    #[error(transparent)]
    Keepsake(#[from] KeepsakeError),
    /// The station.
    #[error(transparent)]
    Station(#[from] StationError),
    /// The station's files.
    #[error(transparent)]
    Identity(#[from] IdentityFilesError),
    /// The transport could not be set up.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The input cannot be read.
    #[error("cannot read what was typed: {0}")]
    Input(std::io::Error),
    /// A person would have to be asked.
    #[error("there is nobody to ask here: {instead}")]
    NobodyToAsk {
        /// What to give on the command line.
        instead: &'static str,
    },
    /// The voter did not confirm.
    #[error("nothing was cast: the ballot was not confirmed")]
    NotConfirmed,
    /// A number was expected.
    #[error("\"{given}\" is not a number of the roll")]
    NotANumber {
        /// What was given.
        given: String,
    },
}

impl Failure {
    /// The stable reason code, where there is one that the message does not name already.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Election(error) | Self::Station(StationError::Election(error)) => Some(error.reason()),
            Self::Invitation(error) => Some(error.reason()),
            Self::Choice(error) => Some(error.reason()),
            Self::NotANumber { .. } | Self::Station(StationError::NotInRoll { .. }) => {
                Some(Reason::VoterUnknown)
            }
            _ => None,
        }
    }

    /// The exit code, as listed in the help.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Election(_) | Self::Invitation(_) | Self::Choice(_) | Self::NotANumber { .. } => 3,
            Self::NobodyToAsk { .. } | Self::NotConfirmed => 2,
            Self::Cast(CastError::Refused { .. }) => 4,
            Self::Cast(CastError::Time(_) | CastError::TimeOut { .. }) => 5,
            Self::Cast(CastError::Seal(_)) => 3,
            Self::Station(
                StationError::Election(_)
                | StationError::Seal(_)
                | StationError::NotNamed { .. }
                | StationError::NotServed { .. }
                | StationError::NotInRoll { .. },
            ) => 3,
            _ => 1,
        }
    }
}
