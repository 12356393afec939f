//! Sessions as the Control and Peer services call them.

use tally_proto::ids::{BoxId, ElectionId, Role};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tonic::{Streaming, async_trait};

use super::service::Sessions;
use crate::rpc::seams::{Answers, Tallies, TallyState};

#[async_trait]
impl Tallies for Sessions {
    async fn prepare(&self, request: wire::PrepareRequest) -> Result<wire::Envelope, Refusal> {
        Ok(Sessions::prepare(self, request).await?.to_wire())
    }

    async fn tally(&self, request: wire::TallyRequest) -> Result<Answers<wire::TallyEvent>, Refusal> {
        Sessions::tally(self, request).await
    }

    async fn session(
        &self,
        caller: Role,
        frames: Streaming<wire::Frame>,
    ) -> Result<Answers<wire::Frame>, Refusal> {
        Sessions::session(self, caller, frames).await
    }

    async fn holdings(
        &self,
        caller: Role,
        request: wire::HoldingsRequest,
    ) -> Result<wire::Envelope, Refusal> {
        Ok(Sessions::holdings(self, caller, request).await?.to_wire())
    }

    async fn relay(&self, caller: Role, demand: wire::Envelope) -> Result<wire::Mediation, Refusal> {
        Sessions::relay(self, caller, demand).await
    }

    async fn supply(&self, demand: wire::Envelope) -> Result<wire::Envelope, Refusal> {
        Ok(Sessions::supply(self, demand).await?.to_wire())
    }

    async fn deliver(&self, answer: wire::Envelope) -> Result<(), Refusal> {
        Sessions::deliver(self, answer).await
    }

    async fn conclude(&self, result: wire::Envelope) -> Result<(), Refusal> {
        Sessions::conclude(self, result).await
    }

    async fn allow(&self, request: wire::AllowSessionsRequest) -> Result<u32, Refusal> {
        Sessions::allow(self, request).await
    }

    async fn state(&self, election: ElectionId, of_box: BoxId) -> Result<TallyState, Refusal> {
        Sessions::state(self, &election, of_box).await
    }
}
