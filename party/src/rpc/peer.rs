//! The Peer service: what the other parties ask. Every method is for parties only and is passed on with the caller's role.

use std::sync::Arc;

use tally_proto::wire;
use tally_proto::wire::peer_server::Peer;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::seams::Answers;
use crate::mirror::{UNREAD, answered};
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
    type ShareStream = Answers<wire::FillPart>;
    type ReceiptsStream = Answers<wire::Receipt>;
    type RollStream = Answers<wire::RollPart>;

    async fn list(&self, request: Request<wire::SealRef>) -> Result<Response<Self::ListStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        // The List may be waited for a while; that holds no place.
        let parts = self.0.seals()?.list(caller, request.into_inner()).await?;
        let place = self.0.filling(caller).await?;
        Ok(Response::new(answered(parts, place, UNREAD)))
    }

    async fn claims(&self, request: Request<wire::SealRef>) -> Result<Response<wire::Envelope>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.seals()?.claims(caller, request.into_inner()).await?,
        ))
    }

    async fn fill(&self, request: Request<wire::FillRequest>) -> Result<Response<Self::FillStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        let place = self.0.filling(caller).await?;
        let parts = self.0.seals()?.fill(caller, request.into_inner()).await?;
        Ok(Response::new(answered(parts, place, UNREAD)))
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

    async fn log_heads(
        &self,
        request: Request<wire::LogHeadsRequest>,
    ) -> Result<Response<wire::LogHeadsReply>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(self.0.log_heads(caller).await?))
    }

    async fn log(&self, request: Request<wire::LogRequest>) -> Result<Response<wire::LogPage>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.log_page(caller, request.into_inner()).await?,
        ))
    }

    async fn mirror(&self, request: Request<wire::LogRequest>) -> Result<Response<wire::LogPage>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.mirror_page(caller, request.into_inner()).await?,
        ))
    }

    async fn cosigned(
        &self,
        request: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::CheckpointReply>, Status> {
        let caller = self.0.roles.party(&request)?;
        let election = request.into_inner().election;
        Ok(Response::new(self.0.cosigned_of_third(caller, election).await?))
    }

    async fn cosign(
        &self,
        request: Request<wire::CosignRequest>,
    ) -> Result<Response<wire::CosignReply>, Status> {
        let caller = self.0.roles.party(&request)?;
        self.0.take_cosignature(caller, request.into_inner()).await?;
        Ok(Response::new(wire::CosignReply {}))
    }

    async fn share(
        &self,
        request: Request<wire::FillRequest>,
    ) -> Result<Response<Self::ShareStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        let place = self.0.permit(caller)?;
        let parts = self.0.seals()?.share(caller, request.into_inner()).await?;
        Ok(Response::new(answered(parts, place, UNREAD)))
    }

    async fn recall(
        &self,
        request: Request<wire::RecallRequest>,
    ) -> Result<Response<wire::RecallReply>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(self.0.recall(caller).await?))
    }

    async fn receipts(
        &self,
        request: Request<wire::ReceiptsRequest>,
    ) -> Result<Response<Self::ReceiptsStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(
            self.0.receipts_of(caller, request.into_inner()).await?,
        ))
    }

    async fn roll(&self, request: Request<wire::BoxRef>) -> Result<Response<Self::RollStream>, Status> {
        let caller = self.0.roles.party(&request)?;
        Ok(Response::new(self.0.roll_of(caller, request.into_inner()).await?))
    }

    async fn hand_over(
        &self,
        request: Request<wire::ReceiptBatches>,
    ) -> Result<Response<wire::HandOverReply>, Status> {
        let caller = self.0.roles.party(&request)?;
        self.0.take_handed_over(caller, request.into_inner()).await?;
        Ok(Response::new(wire::HandOverReply {}))
    }
}
