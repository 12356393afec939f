//! What the Control and Peer services pass on to sealing and to tally sessions.
//!
//! Callers' roles are checked before anything is passed on: `caller` is another party, proved by its certificate; the methods without one are
//! the coordinator's.

use futures::stream::BoxStream;
use tally_proto::ids::{BoxId, ElectionId, Role};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tonic::{Status, Streaming, async_trait};

/// A stream of answers.
pub type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Sealing, as the services see it.
#[async_trait]
pub trait Seals: Send + Sync + 'static {
    /// Control.Seal: seals a box, or goes on with it, or shows what was sealed.
    async fn seal(&self, election: ElectionId, of_box: BoxId) -> Result<Answers<wire::SealEvent>, Refusal>;

    /// How far a box is: `Sealing` once this party's List is signed, `Sealed` once the Seal has three signatures, `None` before.
    async fn phase(&self, election: ElectionId, of_box: BoxId) -> Result<Option<wire::BoxPhase>, Refusal>;

    /// How far a running seal of the box is; `None` when none runs.
    fn progress(&self, election: &ElectionId, of_box: BoxId) -> Option<wire::Progress>;

    /// Peer.List.
    async fn list(&self, caller: Role, of: wire::SealRef) -> Result<Answers<wire::ListPart>, Refusal>;

    /// Peer.Claims.
    async fn claims(&self, caller: Role, of: wire::SealRef) -> Result<wire::Envelope, Refusal>;

    /// Peer.Fill.
    async fn fill(
        &self,
        caller: Role,
        request: wire::FillRequest,
    ) -> Result<Answers<wire::FillPart>, Refusal>;

    /// Peer.Share.
    async fn share(
        &self,
        caller: Role,
        request: wire::FillRequest,
    ) -> Result<Answers<wire::FillPart>, Refusal>;

    /// Peer.Mediate.
    async fn mediate(&self, caller: Role, complaint: wire::Envelope) -> Result<wire::Mediation, Refusal>;

    /// Peer.Answer.
    async fn answer(&self, caller: Role, complaint: wire::Envelope) -> Result<wire::Envelope, Refusal>;

    /// Peer.Judge.
    async fn judge(&self, caller: Role, request: wire::JudgeRequest) -> Result<wire::Envelope, Refusal>;

    /// Peer.SealSignature.
    async fn seal_signature(&self, caller: Role, of: wire::SealRef) -> Result<wire::Envelope, Refusal>;
}

/// How far the tally of a sealed box is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TallyState {
    /// A session is running.
    pub running: bool,
    /// A signed Result is stored.
    pub done: bool,
    /// The highest session number signed; 0: none.
    pub last_session: u64,
    /// What stopped the last session; empty: nothing did.
    pub trouble: String,
    /// Sessions that may begin without a person.
    pub sessions_left: u32,
    /// How far a running session is.
    pub progress: Option<wire::Progress>,
}

/// Tally sessions, as the services see them.
#[async_trait]
pub trait Tallies: Send + Sync + 'static {
    /// Control.Prepare: this party's signed Start for the session of that number.
    async fn prepare(&self, request: wire::PrepareRequest) -> Result<wire::Envelope, Refusal>;

    /// Control.Tally: runs the session that the three Starts open.
    async fn tally(&self, request: wire::TallyRequest) -> Result<Answers<wire::TallyEvent>, Refusal>;

    /// Peer.Session: the frames of a session between `caller` and this party.
    async fn session(
        &self,
        caller: Role,
        frames: Streaming<wire::Frame>,
    ) -> Result<Answers<wire::Frame>, Refusal>;

    /// Peer.Holdings.
    async fn holdings(&self, caller: Role, request: wire::HoldingsRequest)
    -> Result<wire::Envelope, Refusal>;

    /// Peer.Relay.
    async fn relay(&self, caller: Role, demand: wire::Envelope) -> Result<wire::Mediation, Refusal>;

    /// Peer.Supply and Control.Supply.
    async fn supply(&self, demand: wire::Envelope) -> Result<wire::Envelope, Refusal>;

    /// Control.Deliver.
    async fn deliver(&self, answer: wire::Envelope) -> Result<(), Refusal>;

    /// Control.Conclude.
    async fn conclude(&self, result: wire::Envelope) -> Result<(), Refusal>;

    /// Control.AllowSessions, of this party's own operator.
    async fn allow(&self, request: wire::AllowSessionsRequest) -> Result<u32, Refusal>;

    /// How far the tally of a box is.
    async fn state(&self, election: ElectionId, of_box: BoxId) -> Result<TallyState, Refusal>;
}
