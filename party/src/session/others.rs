//! What a session asks of the two other parties besides its frames: what they hold of this party's, and help with an overdue frame.

use std::time::Duration;

use tally_proto::connect;
use tally_proto::ids::Role;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::meet::Endpoints;
use super::transport;

/// How long a party may take to answer. Relaying takes its own time, which the caller gives.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// The two other parties over gRPC, on connections apart from the sessions' own: a stuck stream does not stop a question.
#[derive(Clone, Debug)]
pub(crate) struct Others([Option<Channel>; 3]);

impl Others {
    /// Nothing is dialled yet.
    pub(crate) fn new(endpoints: &Endpoints) -> Self {
        Self(
            endpoints
                .each_ref()
                .map(|endpoint| endpoint.as_ref().map(transport::connect_lazily)),
        )
    }

    fn channel(&self, peer: Role) -> Result<Channel, Refusal> {
        let place = usize::from(peer.index()) - 1;
        self.0[place].clone().ok_or_else(|| {
            Refusal::new(
                Reason::PartyUnreachable,
                format_args!("no address of {peer} is configured"),
            )
        })
    }

    /// What `peer` holds of what this party signed: signed Holdings.
    pub(crate) async fn holdings(
        &self,
        peer: Role,
        request: wire::HoldingsRequest,
    ) -> Result<wire::Envelope, Refusal> {
        let mut client = connect::peer(self.channel(peer)?);
        within(peer, ANSWER_TIME, client.holdings(request)).await
    }

    /// Has `via` fetch the answer to a Demand against the third party.
    pub(crate) async fn relay(
        &self,
        via: Role,
        demand: wire::Envelope,
        patience: Duration,
    ) -> Result<wire::Mediation, Refusal> {
        let mut client = connect::peer(self.channel(via)?);
        within(via, patience, client.relay(demand)).await
    }

    /// The answer of `of` to a Demand against it.
    pub(crate) async fn supply(
        &self,
        of: Role,
        demand: wire::Envelope,
        patience: Duration,
    ) -> Result<wire::Envelope, Refusal> {
        let mut client = connect::peer(self.channel(of)?);
        within(of, patience, client.supply(demand)).await
    }
}

async fn within<T>(
    peer: Role,
    patience: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => {
            let Refusal { reason, detail } = Refusal::of_status(&status);
            Err(Refusal::new(reason, format_args!("{peer}: {detail}")))
        }
        Err(_) => Err(Refusal::new(
            Reason::PartyUnreachable,
            format_args!("{peer} did not answer within {} s", patience.as_secs()),
        )),
    }
}
