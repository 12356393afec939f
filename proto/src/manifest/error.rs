//! Why a manifest is refused.

use std::fmt;

use super::{MAX_SHARE_BYTES, RegisterError, VERSION};
use crate::calendar::{ChannelError, ChannelKind};
use crate::decode::DecodeError;
use crate::envelope::EnvelopeError;
use crate::identity::IdentityError;
use crate::ids::{BoxId, ContestId, IdError, StationId, UnixSeconds};
use crate::reason::Reason;
use crate::text::TextError;
use tally_mpc::layout::LayoutError;

/// Something a manifest asks for that this version does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsupported {
    /// Another version of the format.
    Version(u32),
    /// A contest rule of a later version.
    Rule(ContestId),
    /// A distance between the parties of a later version.
    Network(i32),
    /// A treatment of revoked stations of a later version.
    RevokedRows(i32),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "manifest version {version} (supported: {VERSION})"),
            Self::Rule(id) => write!(f, "the rule of contest {id}"),
            Self::Network(number) => write!(f, "network {number} (supported: near, far)"),
            Self::RevokedRows(number) => write!(f, "revoked_rows {number} (supported: before, none)"),
        }
    }
}

/// Why an open roll cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenRollError {
    /// The root is not known yet.
    #[error("box {0}: an open roll has no root before the seal")]
    Root(BoxId),
    /// Nobody is on two rolls, and no card says which district its holder lives in.
    #[error("an election with an open roll has one box, this has {0}")]
    Boxes(usize),
    /// Only a card says who somebody is.
    #[error("voters enrol for an open roll by card: the manifest needs a register")]
    NoRegister,
    /// A re-issued card would be another person.
    #[error(
        "a certificate's own number names a card, not a person: with a new card somebody would get a second vote on an open roll. Name another field"
    )]
    CertificateSerial,
    /// Nobody knows to whom to issue.
    #[error("nothing is issued for an open roll: it has no registrars, this manifest names {0}")]
    Registrars(usize),
    /// It would still grow while it is sealed.
    #[error("the open roll freezes at {freezes}, after {until}, the last moment in which anything is taken")]
    Late {
        /// As stated.
        freezes: UnixSeconds,
        /// Of all channels.
        until: UnixSeconds,
    },
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// An open roll.
    #[error(transparent)]
    OpenRoll(#[from] OpenRollError),
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The election's id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Enrolment by card.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// Not in this version.
    #[error("not supported: {0}")]
    Unsupported(Unsupported),
    /// A text.
    #[error("{place}: {source}")]
    Text {
        /// Where.
        place: String,
        /// What is wrong.
        source: TextError,
    },
    /// A count is out of bounds.
    #[error("{what}: {min} to {max} are needed, this has {count}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// At least.
        min: usize,
        /// At most.
        max: usize,
    },
    /// A number stands twice, or numbers do not rise.
    #[error("{what} {number} stands twice or out of order: numbers rise")]
    Number {
        /// Of what.
        what: &'static str,
        /// Which.
        number: u32,
    },
    /// A box names a contest that is not there, or one twice.
    #[error("box {of_box} names contest {contest}, which does not exist or stands twice")]
    BoxContest {
        /// The box.
        of_box: BoxId,
        /// The contest.
        contest: ContestId,
    },
    /// Contests do not pack.
    #[error("box {of_box}: {source}")]
    Layout {
        /// The box.
        of_box: BoxId,
        /// What is wrong.
        source: LayoutError,
    },
    /// Too wide a ballot.
    #[error("box {of_box}: a ballot of {bytes} bytes is wider than {MAX_SHARE_BYTES}")]
    Wide {
        /// The box.
        of_box: BoxId,
        /// Its size.
        bytes: usize,
    },
    /// Too few voters for the manifest's own policy.
    #[error(
        "box {of_box} ({name}) has {voters} voters, the policy asks for at least {minimum}: merge it with another"
    )]
    BoxTooSmall {
        /// The box.
        of_box: BoxId,
        /// Its name.
        name: String,
        /// Its voters.
        voters: u32,
        /// The minimum.
        minimum: u32,
    },
    /// What the box may take could not be sealed and published.
    #[error(
        "box {of_box} ({name}) would take {ballots} ballots at each party: {fits} can be sealed and published with the other boxes, and its voters \
         need {least}; say so with max_ballots, split the box, or hold several elections"
    )]
    BoxTooLarge {
        /// The box.
        of_box: BoxId,
        /// Its name.
        name: String,
        /// Ballots that it would take.
        ballots: u64,
        /// Ballots that it must take.
        least: u64,
        /// Ballots that fit.
        fits: u64,
    },
    /// index_bits is not what the number of voters asks for.
    #[error("box {of_box}: {voters} voters need index_bits = {expected}, this says {actual}")]
    IndexBits {
        /// The box.
        of_box: BoxId,
        /// Its voters.
        voters: u32,
        /// The right width.
        expected: u32,
        /// The stated one.
        actual: u32,
    },
    /// A root is not 32 bytes.
    #[error("box {0}: roll_root is not 32 bytes")]
    RollRoot(BoxId),
    /// A channel.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Two channels of a kind.
    #[error("the {0} channel stands twice or out of order (online, station, paper)")]
    ChannelTwice(ChannelKind),
    /// A station channel without stations.
    #[error("there is a {0} channel, but no station")]
    NoStation(ChannelKind),
    /// Parties are not P1, P2, P3.
    #[error("exactly the parties 1, 2, 3 in this order are needed; at place {place} stands {number:?}")]
    Parties {
        /// Place, from 1.
        place: usize,
        /// The number found.
        number: Option<u32>,
    },
    /// An identity.
    #[error("{place}: {source}")]
    Identity {
        /// Where.
        place: String,
        /// What is wrong.
        source: IdentityError,
    },
    /// Tickets.
    #[error(transparent)]
    Tickets(#[from] crate::ticket::TicketingError),
    /// Offsets.
    #[error("offsets: exactly three commitments of 32 bytes are needed, numbered 1, 2, 3, or none at all")]
    Offsets,
    /// Offsets without a register, or a register without.
    #[error(
        "enrolment by card and commitments to keys of offsets come together: `coordinator register` agrees on them"
    )]
    OffsetsOfRegister,
    /// A part is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// One key or authority stands for two.
    #[error("{what} {key} stands for two identities: each needs its own")]
    SharedKey {
        /// What.
        what: &'static str,
        /// The key or its fingerprint.
        key: String,
    },
    /// A station is limited to a box that does not exist.
    #[error("station {station} names box {of_box}, which does not exist")]
    StationBox {
        /// The station.
        station: StationId,
        /// The box.
        of_box: BoxId,
    },
}

impl ManifestError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Envelope(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Unsupported(_) => Reason::ManifestUnsupported,
            Self::BoxTooSmall { .. } => Reason::BoxTooSmall,
            Self::Identity {
                source: IdentityError::Hpke(crate::suite::SuiteError::Unsupported { .. }),
                ..
            } => Reason::SuiteUnsupported,
            _ => Reason::ManifestInvalid,
        }
    }
}
