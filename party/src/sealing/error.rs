//! Why a box was not sealed, and who is at fault for what.

use std::fmt;

use tally_mpc::InputError;
use tally_proto::decode::DecodeError;
use tally_proto::envelope::{Envelope, EnvelopeError};
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role, UnixSeconds};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::sealing::SealingError;

use super::peers::{Item, PeerError};
use crate::store::vault::VaultError;
use crate::store::{Kind, StoreError};

/// A lie, or a silence, that the rules name a party for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lie {
    /// Signed two different Lists of one box.
    TwoLists,
    /// Signed two different Claims of one box.
    TwoClaims,
    /// Signed two different Seals of one box.
    TwoSeals,
    /// Signed a Seal that does not follow from the Lists and Claims it names.
    OtherSeal,
    /// Listed a ballot as a credential record, or a record as a ballot.
    WrongKind,
    /// Signed a receipt for a digest that it did not list.
    HidAcceptance,
    /// Did not take over a card record that it accepted for another election of the register. To have been away until the end looks alike.
    NotTakenOver,
    /// Signed Claims that hold a receipt which is not what it says.
    FalseClaim,
    /// Answered a complaint with something that does not open the commitment.
    WrongAnswer,
    /// Complained of an answer that does open the commitment.
    FalseComplaint,
    /// Did not answer a complaint.
    Silent,
    /// Gave wrong shares or none to the party that asked, and right ones only when the third party asked. A broken link between the two looks alike.
    ThroughThird,
    /// Signed that it holds nothing of what its own Claims or Seal show that it held.
    HidHoldings,
}

impl Lie {
    /// The stable code, as in an Abort.
    pub fn reason(self) -> Reason {
        match self {
            Self::TwoLists | Self::TwoClaims | Self::TwoSeals => Reason::SealTwoLists,
            Self::OtherSeal => Reason::SealDisagreement,
            Self::WrongKind => Reason::SealWrongKind,
            Self::HidAcceptance => Reason::SealAcceptanceHidden,
            Self::NotTakenOver => Reason::SealNotTakenOver,
            Self::FalseClaim => Reason::SealClaimFalse,
            Self::WrongAnswer => Reason::SealShareWrong,
            Self::FalseComplaint => Reason::SealComplaintFalse,
            Self::Silent | Self::ThroughThird => Reason::SealShareWithheld,
            Self::HidHoldings => Reason::SessionHidden,
        }
    }
}

impl Lie {
    /// As it is stored; never used again for another one.
    pub(super) fn stored_as(self) -> u8 {
        match self {
            Self::TwoLists => 1,
            Self::TwoClaims => 2,
            Self::TwoSeals => 3,
            Self::OtherSeal => 4,
            Self::WrongKind => 5,
            Self::HidAcceptance => 6,
            Self::NotTakenOver => 7,
            Self::FalseClaim => 8,
            Self::WrongAnswer => 9,
            Self::FalseComplaint => 10,
            Self::Silent => 11,
            Self::ThroughThird => 12,
            Self::HidHoldings => 13,
        }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TwoLists => "signed two different Lists",
            Self::TwoClaims => "signed two different Claims",
            Self::TwoSeals => "signed two different Seals",
            Self::OtherSeal => "signed a Seal that does not follow from the Lists and Claims",
            Self::WrongKind => "listed a ballot as a record or a record as a ballot",
            Self::HidAcceptance => "did not list what it gave a receipt for",
            Self::NotTakenOver => {
                "did not take over a card record that it accepted for another election of the register: it was away until the end, or leaves people out"
            }
            Self::FalseClaim => "claimed a receipt that is not what it says",
            Self::WrongAnswer => "answered a complaint with what does not open the commitment",
            Self::FalseComplaint => "complained of an answer that opens the commitment",
            Self::Silent => "did not answer a complaint",
            Self::ThroughThird => {
                "gave right shares only through the third party, time and again: it withholds them, or the link between is broken"
            }
            Self::HidHoldings => "hid what it held of another party's signatures",
        })
    }
}

/// What a finding rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Basis {
    /// Signatures that anyone can check.
    Proved,
    /// The word of those who sign it.
    Stated,
}

/// A party named for a lie or a silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Who.
    pub named: Role,
    /// For what.
    pub lie: Lie,
    /// On what ground.
    pub basis: Basis,
    /// The ballot or record it was about, where it was about one.
    pub digest: Option<Digest>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let basis = match self.basis {
            Basis::Proved => "proved",
            Basis::Stated => "stated",
        };
        write!(f, "{} {} ({basis})", self.named, self.lie)
    }
}

/// A finding that ended the sealing, with this party's signed Abort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealAbort {
    /// Who is named and why.
    pub finding: Finding,
    /// The Abort, signed by this party, with the evidence in it.
    pub statement: Envelope,
}

/// Why a box was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A key of offsets.
    #[error(transparent)]
    Offsets(#[from] crate::offsets::MissingKey),
    /// Not an election of this party.
    #[error("election {0} is not known here")]
    UnknownElection(String),
    /// Not a box of the election.
    #[error("election {election} has no box {of_box}")]
    UnknownBox {
        /// The election.
        election: ElectionId,
        /// The box asked for.
        of_box: BoxId,
    },
    /// The manifest or an order of the store is not complete or does not verify.
    #[error("the manifest of {election} is not countersigned by all three parties")]
    NotCountersigned {
        /// The election.
        election: ElectionId,
    },
    /// The box still takes submissions by this party's clock.
    #[error("box {of_box} takes submissions until {until} and it is {now} here; seal it afterwards")]
    TooEarly {
        /// The box.
        of_box: BoxId,
        /// Its last moment.
        until: UnixSeconds,
        /// This party's clock.
        now: UnixSeconds,
    },
    /// This party's log may not grow yet.
    #[error(transparent)]
    Closed(Refusal),
    /// Something of a peer is missing. Nothing is lost: seal again.
    #[error("sealing waits for {item} of {of}: {source}; seal again when that party is up")]
    Waiting {
        /// Whose object is missing.
        of: Role,
        /// What is missing.
        item: Item,
        /// What the last attempt met with.
        source: PeerError,
    },
    /// A peer's List names an order that this party does not have yet.
    #[error(
        "{of} listed under {theirs} orders, {ours} are in force here; deliver the missing orders, then seal again"
    )]
    OrdersMissing {
        /// Who has more.
        of: Role,
        /// How many it has.
        theirs: usize,
        /// How many are here.
        ours: usize,
    },
    /// Two Lists name different orders under one number: three parties signed both.
    #[error(
        "{of} listed under other orders than those in force here; compare the orders of the three parties"
    )]
    OrdersDiffer {
        /// Whose List.
        of: Role,
    },
    /// Two Lists name different orders, and this party has neither.
    #[error(
        "{one} and {other} listed under different orders, neither of which is in force here; deliver the order that all three signed, then seal \
         again: whoever listed another one is named"
    )]
    OrdersContradict {
        /// Whose List.
        one: Role,
        /// And whose.
        other: Role,
    },
    /// More hidden acceptances than one signed object carries.
    #[error(
        "{of} did not list what it gave receipts for, so often that Claims cannot carry all of it: {claimed} receipts fit; nothing is signed; \
         {of} must be restored or replaced"
    )]
    TooManyClaims {
        /// Whose receipt does not fit any more.
        of: Role,
        /// Receipts that fit.
        claimed: usize,
    },
    /// No Seal follows from the Lists and Claims: a box below the policy's minimum, above all.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// A party is named for a lie or a silence, and sealing cannot go on.
    #[error("sealing aborted: {}", .0.finding)]
    Aborted(Box<SealAbort>),
    /// This party's signature says it accepted something that its store does not hold.
    #[error(
        "this party accepted {kind} {} by its own signature but does not hold it; restore the store",
        .digest.short()
    )]
    Lost {
        /// Ballot or record.
        kind: Kind,
        /// Which.
        digest: Digest,
    },
    /// The two others agree on a Seal that this party did not compute.
    #[error(
        "both other parties signed Seal {}, this party computed {}; compare versions, rolls and orders",
        .theirs.short(), .ours.short()
    )]
    OddOneOut {
        /// What they signed.
        theirs: Hash32,
        /// What was computed here.
        ours: Hash32,
    },
    /// The others hold another object with this party's signature than this party has, or would sign now.
    #[error(
        "{of} holds {item} with this party's signature that is not the one here: this party's store was restored, or run twice; \
         nothing more is signed for the box"
    )]
    SignedOther {
        /// Who holds it.
        of: Role,
        /// Which object.
        item: Item,
    },
    /// This party's log says that it signed another List for the box, and only whoever was shown that one can give it back.
    #[error(
        "this party's log names its List {} of the box, what its store holds makes another: nothing is signed until a party that was shown the \
         first one gives it back",
        .before.short()
    )]
    ListedOther {
        /// The hash of the List that was signed.
        before: Hash32,
    },
    /// Something asked for is not there yet.
    #[error("{0} is not there yet; ask again")]
    NotYet(Item),
    /// A complaint, or a request about one, that the rules do not allow.
    #[error("the complaint is refused: {0}")]
    Complaint(#[from] super::complaint::ComplaintError),
    /// What was sealed does not make rows for a tally.
    #[error("the sealed box does not make a tally's input: {0}")]
    Input(Box<InputError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stored shares do not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A stored or received object is not what it should be.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Stored or received bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A task of this process ended without a word (shutdown).
    #[error("sealing was interrupted by a shutdown; seal again")]
    Interrupted,
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        let reason = match &error {
            SealError::UnknownElection(_) => Reason::ElectionUnknown,
            SealError::UnknownBox { .. } => Reason::BoxUnknown,
            SealError::NotCountersigned { .. } => Reason::ManifestNotCountersigned,
            SealError::TooEarly { .. } => Reason::BoxPhase,
            SealError::Waiting { .. }
            | SealError::OrdersMissing { .. }
            | SealError::ListedOther { .. }
            | SealError::NotYet(_) => Reason::SealPending,
            SealError::OrdersDiffer { .. }
            | SealError::OrdersContradict { .. }
            | SealError::OddOneOut { .. } => Reason::SealDisagreement,
            SealError::TooManyClaims { .. } => Reason::MessageTooLarge,
            SealError::Sealing(error) => error.reason(),
            SealError::Aborted(abort) => abort.finding.lie.reason(),
            SealError::Complaint(_) => Reason::MessageMalformed,
            SealError::SignedOther { .. }
            | SealError::Lost { .. }
            | SealError::Store(_)
            | SealError::Vault(_) => Reason::StoreFailed,
            SealError::Input(_) => Reason::Internal,
            SealError::Interrupted => Reason::PartyShuttingDown,
            SealError::Closed(refusal) => return refusal.clone(),
            SealError::Offsets(crate::offsets::MissingKey::Absent { .. }) => Reason::OffsetsMissing,
            SealError::Offsets(crate::offsets::MissingKey::Store(_)) => Reason::StoreFailed,
            SealError::Envelope(error) => return error.clone().into(),
            SealError::Decode(error) => return error.clone().into(),
        };
        Refusal::new(reason, error)
    }
}
