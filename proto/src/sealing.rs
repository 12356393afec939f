//! The rules of sealing: from three Lists and three Claims to the one Seal that all three parties compute alike.
//!
//! Pure functions of signed objects and public headers: no clock, no network, no store. A party calls [`compute`] to make its Seal, and
//! whoever verifies a bundle calls the same function to check it.
//!
//! 1. A **candidate** ballot has two acceptances, by List or by claimed receipt; a candidate record has three.
//! 2. A candidate ballot is out only by a public check: its place (election, box, channel, station), its time (opening hours in force), the
//!    station's signature, the station's revocation by an order, a (station, sequence) used twice, of which the lowest digest stays.
//! 3. Rows: online by (cast_at, digest), then electronic, then paper station ballots, these by (cast_at, station, sequence, digest).
//! 4. A voter's record stands if it has the highest serial of its half and no other record of that half has the same; of a split issue
//!    both halves must stand.
//! 5. `enrolled` = may vote online, and a record stands, and no order says otherwise; `live` = no order says otherwise, and of an open roll a
//!    record stands. The N of an open roll ends with the highest number whose record stands; its root is [`crate::roll::open_root`].
//!
//! Whether a *List* holds only what its party accepted in time is for the audit: nothing in here trusts or doubts a clock.

mod body;
mod claims;
mod gathering;
mod list;
mod records;
mod rows;
mod seal;
mod statements;
mod stopped;

pub use body::{BallotEvidence, BodyError, BoxBody, MAX_BODY_BYTES, RecordEvidence};
pub use claims::{
    Claimed, Claims, ClaimsError, ClaimsRoom, MAX_CLAIMED_RECEIPTS, Settled, settle, settle_by,
};
pub use gathering::{Agreed, Gathering};
pub use list::{DigestList, List, ListError, MAX_DIGESTS, SignedList};
pub use seal::{Counts, Exclusion, Seal, SealPayloadError, SignedSeal, StationCount};
pub use statements::{StatementError, Statements, check_two_statements};
pub use stopped::{MAX_PROOF_BYTES, SealingAbort};

use crate::bitmap::Bitmap;
use crate::envelope::MAX_ENVELOPE_BYTES;
use crate::ids::{BoxId, Digest, ElectionId, Hash32, Role, VoterIndex};
use crate::order::EffectiveElection;
use crate::reason::Reason;

/// Largest payload of Claims or a Seal in bytes: with its signatures it is an envelope that everyone decodes, from the wire and from a store.
pub(crate) const MAX_STATEMENT_BYTES: usize = MAX_ENVELOPE_BYTES - 1024;

/// Why no Seal follows from what was given.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// No such box.
    #[error("the election has no box {0}")]
    UnknownBox(BoxId),
    /// A List or Claims of another election, box, manifest or party.
    #[error("the {what} of {party} is not for box {of_box} of election {election}")]
    OtherSubject {
        /// List or Claims.
        what: &'static str,
        /// Whose place it stands in.
        party: Role,
        /// The election.
        election: ElectionId,
        /// The box.
        of_box: BoxId,
    },
    /// The evidence is not what a List states.
    #[error("the {kind} listed by {party} are not those of its List")]
    OtherList {
        /// Ballots or records.
        kind: &'static str,
        /// Whose List.
        party: Role,
    },
    /// Claims that were made over other Lists.
    #[error("the Claims of {0} name other Lists")]
    OtherLists(Role),
    /// Lists that contradict each other on the orders in force.
    #[error(
        "the Lists of {0} and {1} name different orders in force; which of them are orders, the orders show"
    )]
    OrdersDiffer(Role, Role),
    /// The orders given are not those that the Lists name.
    #[error("the Lists name {named} orders in force, the election given here has {given}, or others")]
    OtherOrders {
        /// The longest sequence of a List.
        named: usize,
        /// Orders of the election given.
        given: usize,
    },
    /// A candidate without its header, or a header without a candidate.
    #[error("the evidence of {kind} {} {}", .digest.short(), if *.candidate { "lacks the header: it is a candidate" } else { "has a header: it is no candidate" })]
    Header {
        /// Ballot or record.
        kind: &'static str,
        /// Its digest.
        digest: Digest,
        /// Whether it is a candidate.
        candidate: bool,
    },
    /// Evidence that is not ascending.
    #[error("the evidence of {kind} has {} twice or out of order", .digest.short())]
    Order {
        /// Ballots or records.
        kind: &'static str,
        /// The digest.
        digest: Digest,
    },
    /// The online column has another length than the roll.
    #[error("the online column has {actual} voters, the roll of the box has {expected}")]
    Online {
        /// N.
        expected: u32,
        /// Its length.
        actual: usize,
    },
    /// Too few ballots to be tallied.
    #[error(
        "box {of_box} ({name}) holds {submissions} submissions, the policy asks for at least {minimum}: it is not tallied alone"
    )]
    TooFew {
        /// The box.
        of_box: BoxId,
        /// Its name.
        name: String,
        /// Rows.
        submissions: u64,
        /// The minimum.
        minimum: u32,
    },
    /// Too few voters on an open roll.
    #[error(
        "{voters} voters enrolled for the open roll of box {of_box} ({name}), the policy asks for at least {minimum}: it is not tallied"
    )]
    TooFewVoters {
        /// The box.
        of_box: BoxId,
        /// Its name.
        name: String,
        /// Voters whose record stands.
        voters: usize,
        /// The minimum.
        minimum: u32,
    },
}

impl SealingError {
    /// The stable reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::UnknownBox(_) => Reason::BoxUnknown,
            Self::TooFew { .. } => Reason::BallotTooFew,
            Self::TooFewVoters { .. } => Reason::RollTooFew,
            Self::OtherSubject { .. } => Reason::ElectionOther,
            Self::OrdersDiffer(..) | Self::OtherOrders { .. } => Reason::OrderInvalid,
            Self::OtherList { .. }
            | Self::OtherLists(_)
            | Self::Order { .. }
            | Self::Header { .. }
            | Self::Online { .. } => Reason::SealDisagreement,
        }
    }
}

/// What a Seal is computed from. All references: nothing is copied but what goes into the Seal.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The election under exactly the orders that the Lists name; see [`orders_in_force`].
    pub election: &'a EffectiveElection,
    /// The box.
    pub of_box: BoxId,
    /// The three Lists, in party order.
    pub lists: &'a [SignedList; 3],
    /// The three Claims, in party order, with the hashes of their payloads.
    pub claims: &'a [(Claims, Hash32); 3],
    /// The public evidence: listed digests and candidates' headers.
    pub body: &'a BoxBody,
}

/// A computed Seal and what it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The payload that the parties sign.
    pub seal: Seal,
    /// Ballot digests in row order.
    pub rows: Vec<Digest>,
    /// Standing records: by voter, then half.
    pub standing: Vec<(VoterIndex, Digest)>,
    /// One bit a voter.
    pub live: Bitmap,
    /// One bit a voter.
    pub enrolled: Bitmap,
    /// Claims that do not hold, and receipts that name a party which hid an acceptance.
    pub settled: Settled,
}

/// The orders that a Seal takes: the longest of the Lists' sequences, of which the others must be prefixes.
///
/// # Errors
/// [`SealingError::OrdersDiffer`].
pub fn orders_in_force(lists: [&List; 3]) -> Result<&[Hash32], SealingError> {
    let [mut longest, ..] = lists;
    for list in lists {
        let (short, long) = if list.orders.len() > longest.orders.len() {
            (longest, list)
        } else {
            (list, longest)
        };
        if !long.orders.starts_with(&short.orders) {
            return Err(SealingError::OrdersDiffer(longest.party, list.party));
        }
        longest = long;
    }
    Ok(&longest.orders)
}

/// Computes the Seal from evidence that stands in memory; see [`Gathering`] for evidence that does not.
///
/// # Errors
/// [`SealingError`]: inputs that do not belong together, or a box below the policy's minimum.
pub fn compute(inputs: Inputs<'_>) -> Result<Sealed, SealingError> {
    let Inputs {
        election,
        of_box,
        lists,
        claims,
        body,
    } = inputs;
    let of_claims = [&claims[0].0, &claims[1].0, &claims[2].0];
    let settled = settle(election.manifest(), of_box, of_claims, body);
    let agreed = Agreed {
        election,
        of_box,
        lists,
        claims,
    };
    let mut gathering = Gathering::new(agreed, settled, body.online().clone())?;
    gathering.ballots(body.ballots())?;
    gathering.records(body.records())?;
    gathering.finish()
}

#[cfg(test)]
pub(crate) mod tests;
