//! What a party asks of the two others while sealing. Implemented by gRPC clients in a server, and in memory by tests, where a
//! saboteur may stand in between.

use std::fmt;
use std::future::Future;

use futures::stream::BoxStream;
use tally_proto::ids::Role;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

/// Parts of a List with its body, in order.
pub type ListParts = BoxStream<'static, Result<wire::ListPart, PeerError>>;

/// One part per digest asked for, in the order of the request.
pub type FillParts = BoxStream<'static, Result<wire::FillPart, PeerError>>;

/// The two other parties. `peer` is the one asked; what it answers is not yet checked.
pub trait Peers: Send + Sync {
    /// The List of `of.of_party` and its body: the peer's own, or this party's as the peer holds it; or, relayed, the third party's (then the
    /// envelope alone).
    fn list(
        &self,
        peer: Role,
        of: wire::SealRef,
    ) -> impl Future<Output = Result<ListParts, PeerError>> + Send;

    /// The Claims of `of.of_party`: the peer's own, or the third party's relayed.
    fn claims(
        &self,
        peer: Role,
        of: wire::SealRef,
    ) -> impl Future<Output = Result<wire::Envelope, PeerError>> + Send;

    /// What the peer holds of what this party signed for a box.
    fn holdings(
        &self,
        peer: Role,
        request: wire::HoldingsRequest,
    ) -> impl Future<Output = Result<wire::Envelope, PeerError>> + Send;

    /// Headers and the share that both we and `peer` are entitled to, for candidates that we did not accept.
    fn fill(
        &self,
        peer: Role,
        request: wire::FillRequest,
    ) -> impl Future<Output = Result<FillParts, PeerError>> + Send;

    /// Asks `peer` to fetch the third party's answer to our complaint.
    fn mediate(
        &self,
        peer: Role,
        complaint: wire::Envelope,
    ) -> impl Future<Output = Result<wire::Mediation, PeerError>> + Send;

    /// As the mediator: the accused's answer to a complaint, sealed to the complaint's one-time key.
    fn answer(
        &self,
        peer: Role,
        complaint: wire::Envelope,
    ) -> impl Future<Output = Result<wire::Envelope, PeerError>> + Send;

    /// Shows the mediator the one-time key: its signed word on who is at fault.
    fn judge(
        &self,
        peer: Role,
        request: wire::JudgeRequest,
    ) -> impl Future<Output = Result<wire::Envelope, PeerError>> + Send;

    /// The Seal as `of.of_party` signed it: the peer's own, or the third party's relayed.
    fn seal_signature(
        &self,
        peer: Role,
        of: wire::SealRef,
    ) -> impl Future<Output = Result<wire::Envelope, PeerError>> + Send;
}

/// Why a peer did not give what it was asked for. None of these is a lie, and none decides content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It has not come that far; ask again.
    #[error("party {peer} has not come that far yet")]
    NotYet {
        /// Whom we asked.
        peer: Role,
    },
    /// It could not be reached, or the connection broke; ask again.
    #[error("party {peer} cannot be reached: {detail}")]
    Unreachable {
        /// Whom we asked.
        peer: Role,
        /// What the transport said.
        detail: String,
    },
    /// It said no.
    #[error("party {peer} refused with {reason}: {detail}")]
    Refused {
        /// Whom we asked.
        peer: Role,
        /// The stable code of its refusal.
        reason: Reason,
        /// Its words.
        detail: String,
    },
    /// It sent something that is not what the protocol says.
    #[error("party {peer} sent {what} that cannot be used: {flaw}")]
    Malformed {
        /// Whom we asked.
        peer: Role,
        /// What was asked for.
        what: Item,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

impl PeerError {
    /// Whom we asked.
    pub fn peer(&self) -> Role {
        match self {
            Self::NotYet { peer }
            | Self::Unreachable { peer, .. }
            | Self::Refused { peer, .. }
            | Self::Malformed { peer, .. } => *peer,
        }
    }

    /// Whether the same question may be answered a moment later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NotYet { .. } | Self::Unreachable { .. })
    }
}

/// What one party asks of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A List and its body.
    List,
    /// Claims.
    Claims,
    /// Shares of candidates.
    Fill,
    /// An answer to a complaint.
    Answer,
    /// A mediator's service.
    Mediation,
    /// A signed Seal.
    Seal,
    /// What it holds of this party's signatures.
    Holdings,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "its List",
            Self::Claims => "its Claims",
            Self::Fill => "shares of candidates",
            Self::Answer => "its answer to a complaint",
            Self::Mediation => "its mediation",
            Self::Seal => "its signed Seal",
            Self::Holdings => "its statement of what it holds of this party's signatures",
        })
    }
}

/// What is wrong with something a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// No valid signature of the party whose object it should be.
    Signature,
    /// The bytes do not decode, or do not re-encode to themselves.
    Encoding,
    /// It is of another election, box, party or manifest.
    Subject,
    /// The body does not have the announced length or hash, or is not strictly ascending.
    Body,
    /// The stream ended early or out of order.
    Stream,
    /// It refers to Lists that are not those we hold.
    OtherLists,
    /// A header comes without what its authority signed.
    Authority,
    /// It is longer than the manifest lets it be.
    TooLong,
    /// It is not what the party said that it holds.
    OtherThanSaid,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "it bears no valid signature of that party",
            Self::Encoding => "it does not decode, or not to the same bytes",
            Self::Subject => "it is of another election, box, party or manifest",
            Self::Body => "its body does not match what was signed",
            Self::Stream => "the stream ended early or out of order",
            Self::OtherLists => "it refers to other Lists than those shown here",
            Self::Authority => "a ballot or record comes without the signature of its station or registrar",
            Self::TooLong => "it names more than the manifest lets a party take for the box",
            Self::OtherThanSaid => "it is not the one that the party said it holds",
        })
    }
}

impl PeerError {
    /// What a refusal of `peer` means to the one who asked.
    pub fn of_refusal(peer: Role, refusal: Refusal) -> Self {
        match refusal.reason {
            Reason::SealPending => Self::NotYet { peer },
            Reason::PartyUnreachable | Reason::PartyBusy | Reason::PartyShuttingDown => Self::Unreachable {
                peer,
                detail: refusal.detail,
            },
            reason => Self::Refused {
                peer,
                reason,
                detail: refusal.detail,
            },
        }
    }
}
