//! The Peer service's Session half.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use tally_proto::wire;
use tally_proto::wire::peer_server::Peer;
use tonic::{Request, Response, Status, Streaming};

use super::lobby::Lobby;
use crate::roles::Roles;

/// How long a stream that arrives waits for its session to be asked for here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Frames that leave.
pub type Frames = BoxStream<'static, Result<wire::Frame, Status>>;

/// Answers `Peer.Session`: the calling party's stream goes to the session that waits for it.
///
/// # Errors
/// The caller is no other party, or no session waits for the stream.
pub async fn session(
    roles: &Roles,
    lobby: &Lobby,
    request: Request<Streaming<wire::Frame>>,
) -> Result<Response<Frames>, Status> {
    let party = roles.party(&request)?;
    Ok(Response::new(
        lobby.arrive(party, request.into_inner(), PATIENCE).await?,
    ))
}

/// A Peer service that serves sessions and nothing else: for measurements, where there is no box to seal.
#[derive(Clone, Debug)]
pub struct SessionPeer {
    roles: Arc<Roles>,
    lobby: Arc<Lobby>,
}

impl SessionPeer {
    /// For the sessions that wait in `lobby`.
    pub fn new(roles: Arc<Roles>, lobby: Arc<Lobby>) -> Self {
        Self { roles, lobby }
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
    async fn seal_signature(&self, _: Request<wire::SealRef>) -> Result<Response<wire::Envelope>, Status> {
        sessions_only()
    }
    async fn session(
        &self,
        request: Request<Streaming<wire::Frame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        session(&self.roles, &self.lobby, request).await
    }
}
