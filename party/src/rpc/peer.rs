//! The Peer service: what the other parties ask. Every method is for parties only and is passed on with the caller's role.

use std::sync::Arc;

use tally_proto::wire;
use tally_proto::wire::peer_server::Peer;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::seams::Answers;
use crate::party::Party;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct PeerService(Arc<Party>);

impl PeerService {
    pub(crate) fn new(party: Arc<Party>) -> Self {
        PeerService(party)
    }
}

#[async_trait]
impl Peer for PeerService {
    type ListStream = Answers<wire::ListPart>;
    type FillStream = Answers<wire::FillPart>;
    type SessionStream = Answers<wire::Frame>;

    async fn list(&self, request: Request<wire::SealRef>) -> Result<Response<Self::ListStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.seals()?.list(caller, request.into_inner()).await?,
        ))
    }

    async fn claims(&self, request: Request<wire::SealRef>) -> Result<Response<wire::Envelope>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.seals()?.claims(caller, request.into_inner()).await?,
        ))
    }

    async fn fill(&self, request: Request<wire::FillRequest>) -> Result<Response<Self::FillStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.seals()?.fill(caller, request.into_inner()).await?,
        ))
    }

    async fn mediate(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Mediation>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.seals()?.mediate(caller, request.into_inner()).await?,
        ))
    }

    async fn answer(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Envelope>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.seals()?.answer(caller, request.into_inner()).await?,
        ))
    }

    async fn judge(&self, request: Request<wire::JudgeRequest>) -> Result<Response<wire::Envelope>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.seals()?.judge(caller, request.into_inner()).await?,
        ))
    }

    async fn seal_signature(
        &self,
        request: Request<wire::SealRef>,
    ) -> Result<Response<wire::Envelope>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0
                .seals()?
                .seal_signature(caller, request.into_inner())
                .await?,
        ))
    }

    async fn holdings(
        &self,
        request: Request<wire::HoldingsRequest>,
    ) -> Result<Response<wire::Envelope>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.tallies()?.holdings(caller, request.into_inner()).await?,
        ))
    }

    async fn relay(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Mediation>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.tallies()?.relay(caller, request.into_inner()).await?,
        ))
    }

    async fn supply(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Envelope>, Status> {
        self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.tallies()?.supply(request.into_inner()).await?,
        ))
    }

    async fn offset_key(
        &self,
        request: Request<wire::OffsetKeyRequest>,
    ) -> Result<Response<wire::OffsetKeyReply>, Status> {
        let caller = self.0.roles.party(&request)?;
        let request = request.into_inner();
        let reply = self
            .0
            .blocking(move |party| party.offset_key_for(caller, &request))
            .await?;
        Ok(Response::new(reply))
    }

    async fn session(
        &self,
        request: Request<Streaming<wire::Frame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.tallies()?.session(caller, request.into_inner()).await?,
        ))
    }
}
