//! The Peer service's Session half, on a listener of its own.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use tally_proto::ids::Role;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::peer_server::Peer;
use tonic::{Request, Response, Status, Streaming};

use super::service::Sessions;
use crate::roles::Roles;

/// Frames of a session in one direction.
pub type Frames = BoxStream<'static, Result<wire::Frame, Status>>;

/// Takes the frames that a party sends and returns those to send it.
pub type Answer = dyn Fn(Role, Frames) -> BoxFuture<'static, Result<Frames, Refusal>> + Send + Sync;

/// Finds the sessions that questions beside a session go to.
pub type Current = dyn Fn() -> Sessions + Send + Sync;

/// A Peer service that serves sessions and nothing else: for measurements and tests, where there is no box to seal.
#[derive(Clone)]
pub struct SessionPeer {
    roles: Arc<Roles>,
    answer: Arc<Answer>,
    current: Option<Arc<Current>>,
}

impl std::fmt::Debug for SessionPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionPeer")
    }
}

impl SessionPeer {
    /// Sessions of the parties that `roles` knows go to `answer`.
    pub fn new(roles: Roles, answer: Arc<Answer>) -> Self {
        Self {
            roles: Arc::new(roles),
            answer,
            current: None,
        }
    }

    /// Questions beside a session go to the sessions that `current` gives; without it they are refused.
    #[must_use]
    pub fn asking(mut self, current: Arc<Current>) -> Self {
        self.current = Some(current);
        self
    }

    fn sessions(&self) -> Result<Sessions, Status> {
        match &self.current {
            Some(current) => Ok(current()),
            None => sessions_only(),
        }
    }
}

fn sessions_only<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this listener serves tally sessions only"))
}

#[tonic::async_trait]
impl Peer for SessionPeer {
    type ListStream = stream::Empty<Result<wire::ListPart, Status>>;
    type FillStream = stream::Empty<Result<wire::FillPart, Status>>;
    type SessionStream = Frames;
    type ShareStream = stream::Empty<Result<wire::FillPart, Status>>;
    type ReceiptsStream = stream::Empty<Result<wire::Receipt, Status>>;
    type RollStream = stream::Empty<Result<wire::RollPart, Status>>;

    async fn log_heads(
        &self,
        _: Request<wire::LogHeadsRequest>,
    ) -> Result<Response<wire::LogHeadsReply>, Status> {
        sessions_only()
    }
    async fn log(&self, _: Request<wire::LogRequest>) -> Result<Response<wire::LogPage>, Status> {
        sessions_only()
    }
    async fn mirror(&self, _: Request<wire::LogRequest>) -> Result<Response<wire::LogPage>, Status> {
        sessions_only()
    }
    async fn cosigned(
        &self,
        _: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::CheckpointReply>, Status> {
        sessions_only()
    }
    async fn cosign(&self, _: Request<wire::CosignRequest>) -> Result<Response<wire::CosignReply>, Status> {
        sessions_only()
    }
    async fn share(&self, _: Request<wire::FillRequest>) -> Result<Response<Self::ShareStream>, Status> {
        sessions_only()
    }
    async fn recall(&self, _: Request<wire::RecallRequest>) -> Result<Response<wire::RecallReply>, Status> {
        sessions_only()
    }
    async fn receipts(
        &self,
        _: Request<wire::ReceiptsRequest>,
    ) -> Result<Response<Self::ReceiptsStream>, Status> {
        sessions_only()
    }
    async fn hand_over(
        &self,
        _: Request<wire::ReceiptBatches>,
    ) -> Result<Response<wire::HandOverReply>, Status> {
        sessions_only()
    }
    async fn roll(&self, _: Request<wire::BoxRef>) -> Result<Response<Self::RollStream>, Status> {
        sessions_only()
    }

    async fn list(&self, _: Request<wire::SealRef>) -> Result<Response<Self::ListStream>, Status> {
        sessions_only()
    }
    async fn claims(&self, _: Request<wire::SealRef>) -> Result<Response<wire::Envelope>, Status> {
        sessions_only()
    }
    async fn fill(&self, _: Request<wire::FillRequest>) -> Result<Response<Self::FillStream>, Status> {
        sessions_only()
    }
    async fn mediate(&self, _: Request<wire::Envelope>) -> Result<Response<wire::Mediation>, Status> {
        sessions_only()
    }
    async fn answer(&self, _: Request<wire::Envelope>) -> Result<Response<wire::Envelope>, Status> {
        sessions_only()
    }
    async fn judge(&self, _: Request<wire::JudgeRequest>) -> Result<Response<wire::Envelope>, Status> {
        sessions_only()
    }
    async fn offset_key(
        &self,
        _: Request<wire::OffsetKeyRequest>,
    ) -> Result<Response<wire::OffsetKeyReply>, Status> {
        sessions_only()
    }
    async fn seal_signature(&self, _: Request<wire::SealRef>) -> Result<Response<wire::Envelope>, Status> {
        sessions_only()
    }
    async fn holdings(
        &self,
        request: Request<wire::HoldingsRequest>,
    ) -> Result<Response<wire::Envelope>, Status> {
        let party = self.roles.party(&request)?;
        let held = self.sessions()?.holdings(party, request.into_inner()).await?;
        Ok(Response::new(held.to_wire()))
    }
    async fn relay(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Mediation>, Status> {
        let party = self.roles.party(&request)?;
        Ok(Response::new(
            self.sessions()?.relay(party, request.into_inner()).await?,
        ))
    }
    async fn supply(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Envelope>, Status> {
        self.roles.party(&request)?;
        let supplied = self.sessions()?.supply(request.into_inner()).await?;
        Ok(Response::new(supplied.to_wire()))
    }
    async fn session(
        &self,
        request: Request<Streaming<wire::Frame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let party = self.roles.party(&request)?;
        Ok(Response::new(
            (self.answer)(party, request.into_inner().boxed()).await?,
        ))
    }
}
