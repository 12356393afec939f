//! What ends a command badly, and with which exit code.

use std::path::PathBuf;

use tally_proto::connect::ConnectError;
use tally_proto::disclosure::DisclosureError;
use tally_proto::identity::Fingerprint;
use tally_proto::invitation::InvitationError;
use tally_proto::invitation::sheet::SheetError;
use tally_proto::reason::Reason;
use tally_proto::secret_file::SecretFileError;
use thiserror::Error;

use crate::carry::CarryError;
use crate::choice::ChoiceError;
use crate::device::DeviceError;
use crate::draw_code::DrawCodeError;
use crate::election::ElectionError;
use crate::enrol::EnrolError;
use crate::fault::Fault;
use crate::inspect::InspectError;
use crate::keepsake::KeepsakeError;
use crate::station::roll::RollFileError;
use crate::station::{IdentityFilesError, StationError};
use crate::tickets::DrawError;
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
    /// A decoy's sheet.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// A new file that must be this user's only.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The choices.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Enrolling.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// Registering a draw code.
    #[error(transparent)]
    DrawCode(#[from] DrawCodeError),
    /// Carrying a code over.
    #[error(transparent)]
    Carry(#[from] CarryError),
    /// Casting.
    #[error(transparent)]
    Cast(#[from] CastError),
    /// The device's tickets.
    #[error(transparent)]
    Tickets(#[from] DrawError),
    /// The device's memory.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Kept receipts.
    #[error(transparent)]
    Keepsake(#[from] KeepsakeError),
    /// The station.
    #[error(transparent)]
    Station(#[from] StationError),
    /// Outside the hours that a station knows.
    #[error(
        "{0}. Where an order has changed the hours and this station has not heard of it: --outside-hours"
    )]
    OutsideHours(StationError),
    /// A station's roll.
    #[error(transparent)]
    Roll(#[from] RollFileError),
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
    /// Not as many files as codes to write.
    #[error(
        "--out was given {files} times, and the invitation is of {codes} codes: give it once for each code"
    )]
    FilesForCodes {
        /// Codes.
        codes: usize,
        /// Files.
        files: usize,
    },
    /// The voter did not confirm.
    #[error("nothing was cast: the ballot was not confirmed")]
    NotConfirmed,
    /// Inspecting.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The manifest is not the one that the voter was told of.
    #[error(
        "this manifest's fingerprint is {has}, not the one you were told: get the manifest from the election commission"
    )]
    OtherFingerprint {
        /// Of the file.
        has: Fingerprint,
    },
    /// No ballot's name.
    #[error(
        "a ballot's name is BOX:DIGEST-WORDS, as `client vote --show-name` gives it; there are {boxes} boxes"
    )]
    NotAName {
        /// How many boxes there are.
        boxes: usize,
    },
    /// A file of checkpoints that this program did not write.
    #[error("{path} holds no checkpoints of an earlier check: {source}")]
    NoCheckpoints {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Something false was found.
    #[error(
        "what the parties show is false, see above: tell the election commission, and keep this text as evidence"
    )]
    False,
    /// A party shows a log into which no other party has seen as far.
    #[error(
        "a party's log is shown to you and, so far, to no other party, see above: check again a minute later"
    )]
    Unseen,
    /// Fewer than two parties could be asked.
    #[error("fewer than two parties could be asked: try again later")]
    TooFewAnswers,
    /// Whether two parties have the ballot is open, as one of them was not heard.
    #[error(
        "{agencies} did not show whether this ballot is there, see above, and of the others one has it: the answer is not final. Check again when {agencies} \
         answers. Where voting ends before that, cast again: the last ballot counts"
    )]
    NotFinal {
        /// Who runs the parties that were not heard.
        agencies: String,
    },
    /// The box is sealed without the ballot.
    #[error(
        "the box is sealed, and this ballot is not tallied, see above: keep this text and your receipts, and tell the election commission if you think it should be"
    )]
    LeftOut,
    /// The ballot is not where it should be.
    #[error("fewer than two parties have this ballot: cast again, and keep the receipts where you have them")]
    NotThere,
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
            Self::Inspect(error) => Some(error.reason()),
            Self::Enrol(error) => error.reason(),
            Self::DrawCode(error) => error.reason(),
            Self::Carry(error) => Some(error.reason()),
            Self::OtherFingerprint { .. } => Some(Reason::ManifestOther),
            Self::NotThere => Some(Reason::BallotNotHeld),
            Self::Unseen => Some(Reason::LogUnseen),
            Self::Tickets(error) | Self::Cast(CastError::Ticket(error)) => error.reason(),
            Self::Cast(CastError::Hours(error)) => Some(error.reason()),
            Self::NotANumber { .. } | Self::Station(StationError::NotInRoll { .. }) => {
                Some(Reason::VoterUnknown)
            }
            Self::Station(StationError::Closed(error)) => Some(error.reason()),
            Self::OutsideHours(StationError::OutsideHours { why, .. })
            | Self::Station(StationError::OutsideHours { why, .. }) => Some(why.reason()),
            Self::Station(StationError::Stopped(_)) => Some(Reason::BallotStationRevoked),
            _ => None,
        }
    }

    /// The exit code, as listed in the help.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Election(_) | Self::Invitation(_) | Self::Choice(_) | Self::NotANumber { .. } => 3,
            Self::OtherFingerprint { .. } | Self::NotAName { .. } | Self::Sheet(_) | Self::Carry(_) => 3,
            Self::OutsideHours(_) => 3,
            Self::False => 7,
            Self::Inspect(error) => match error {
                InspectError::NotHeld { .. } => 5,
                InspectError::Disclosure(DisclosureError::Commitment { .. }) => 7,
                InspectError::Disclosure(_) | InspectError::Election(_) => 3,
            },
            Self::Enrol(EnrolError::NoRegister | EnrolError::Card(_)) => 3,
            Self::Enrol(EnrolError::NotTaken(faults))
                if faults.iter().any(|f| matches!(f, Fault::Refused { .. })) =>
            {
                4
            }
            Self::Enrol(
                EnrolError::NotTaken(_)
                | EnrolError::NotTold(_)
                | EnrolError::Offsets { .. }
                | EnrolError::Places
                | EnrolError::Time(_),
            ) => 5,
            Self::DrawCode(error) if error.may_pass() => 5,
            Self::DrawCode(DrawCodeError::Refused { .. }) => 4,
            Self::DrawCode(_) => 3,
            Self::TooFewAnswers | Self::NotFinal { .. } => 5,
            Self::Unseen => 8,
            Self::NotThere | Self::LeftOut => 8,
            Self::NobodyToAsk { .. } | Self::FilesForCodes { .. } | Self::NotConfirmed => 2,
            Self::Cast(CastError::Refused { .. } | CastError::Hours(_))
            | Self::Station(StationError::Stopped(_)) => 4,
            Self::Cast(CastError::Ticket(error)) if error.may_pass() => 5,
            Self::Cast(CastError::Ticket(_)) => 4,
            Self::Cast(CastError::Time(_) | CastError::TimeOut { .. } | CastError::Open { .. }) => 5,
            Self::Cast(CastError::Seal(_)) => 3,
            Self::Station(
                StationError::Election(_)
                | StationError::Seal(_)
                | StationError::NotNamed { .. }
                | StationError::NotServed { .. }
                | StationError::Closed(_)
                | StationError::OutsideHours { .. }
                | StationError::NotInRoll { .. },
            ) => 3,
            _ => 1,
        }
    }
}

impl From<DisclosureError> for Failure {
    fn from(error: DisclosureError) -> Self {
        Self::Inspect(error.into())
    }
}
