//! The Registration service: credential records from registrars and from voters' devices with their cards, and offsets for these devices.

use std::sync::Arc;

use futures::StreamExt;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::record_receipt::Outcome;
use tally_proto::wire::registration_server::Registration;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::intake::public_lane;
use super::seams::Answers;
use crate::party::Party;
use crate::roles::Needs;

/// Records of one stream that are checked and written at the same time.
const AT_ONCE: usize = 512;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct RegistrationService(Arc<Party>);

impl RegistrationService {
    pub(crate) fn new(party: Arc<Party>) -> Self {
        RegistrationService(party)
    }
}

#[async_trait]
impl Registration for RegistrationService {
    type RegisterStream = Answers<wire::RecordReceipt>;

    /// One answer a record, in the order of the records: its receipt, or why it was refused. A refused record does not end the stream.
    async fn register(
        &self,
        request: Request<Streaming<wire::RecordSubmission>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let PeerRole::Registrar(registrar) = self.0.roles.require(&request, Needs::Registrar)? else {
            return Err(Refusal::new(Reason::RoleRefused, "this is for a registrar").into());
        };
        let party = Arc::clone(&self.0);
        let registrar: Arc<str> = registrar.into();
        let answers = request.into_inner().map(move |record| {
            let (party, registrar) = (Arc::clone(&party), Arc::clone(&registrar));
            async move {
                let outcome = match party.register(record?, &registrar).await {
                    Ok(receipt) => Outcome::Receipt(receipt.to_wire()),
                    Err((digest, refusal)) => Outcome::Refusal(refusal.to_wire(&digest)),
                };
                Ok(wire::RecordReceipt {
                    outcome: Some(outcome),
                })
            }
        });
        Ok(Response::new(answers.buffered(AT_ONCE).boxed()))
    }
    /// Whoever asks shows that they drew the record; there is no other role for a voter's device.
    async fn offsets(
        &self,
        request: Request<wire::OffsetsRequest>,
    ) -> Result<Response<wire::OffsetsReply>, Status> {
        let lane = public_lane(&request);
        Ok(Response::new(
            self.0.tell_offsets(request.into_inner(), lane).await?,
        ))
    }

    /// Anyone may come: the record says by its card whose it is.
    async fn enrol(
        &self,
        request: Request<wire::RecordSubmission>,
    ) -> Result<Response<wire::EnrolReply>, Status> {
        let lane = public_lane(&request);
        Ok(Response::new(self.0.enrol(request.into_inner(), lane).await?))
    }
}
