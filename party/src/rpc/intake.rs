//! The Intake service: voters on the public listener, stations on the peer listener.

use std::sync::Arc;

use futures::future::join_all;
use tally_proto::guard::{OnConnection, Seat};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::cast_answer::Outcome;
use tally_proto::wire::intake_server::Intake;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Request, Response, Status, async_trait};

use crate::intake::{Lane, Origin, Sender};
use crate::party::Party;

/// Most receipts, or ballots, of one message.
const MOST_TOGETHER: usize = 16;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct IntakeService(Arc<Party>);

impl IntakeService {
    pub(crate) fn new(party: Arc<Party>) -> Self {
        IntakeService(party)
    }

    /// Whose deliveries wait behind one another: receipts come from everybody.
    fn lane<T>(&self, request: &Request<T>) -> Result<Lane, Refusal> {
        Ok(match self.0.roles.of(request)? {
            None => public_lane(request),
            Some(role) => Lane::Named(role),
        })
    }

    fn origin<T>(&self, request: &Request<T>) -> Result<Origin, Refusal> {
        let sender = self.sender(request)?;
        let lane = match sender {
            Sender::Voter => public_lane(request),
            Sender::Station(station) => Lane::Named(PeerRole::Station(station)),
        };
        let seat = request.extensions().get::<Seat>().cloned();
        Ok(Origin {
            sender,
            lane,
            seat,
            in_company: false,
        })
    }

    async fn cast_one(
        &self,
        submission: wire::Submission,
        origin: Origin,
    ) -> Result<wire::CastReply, Refusal> {
        let taken = self.0.cast(submission, origin).await;
        let (receipt, stored) = self.count(taken)?;
        let others = Role::ALL.into_iter().filter(|party| stored[party.slot()]);
        Ok(wire::CastReply {
            receipt: Some(receipt.to_wire()),
            stored: others.map(|party| party.number()).collect(),
        })
    }

    /// Notes what became of a ballot.
    fn count<T>(&self, taken: Result<T, Refusal>) -> Result<T, Refusal> {
        match &taken {
            Ok(_) => {
                self.0.witness.metrics.accepted();
                tracing::trace!("ballot accepted");
            }
            Err(refusal) => {
                self.0.witness.metrics.refused(refusal.reason);
                tracing::debug!(reason = %refusal.reason, "ballot refused");
            }
        }
        taken
    }

    /// Voters show no certificate. On the peer listener only stations submit; parties and the coordinator may hand over receipts.
    fn sender<T>(&self, request: &Request<T>) -> Result<Sender, Refusal> {
        match self.0.roles.of(request)? {
            None => Ok(Sender::Voter),
            Some(PeerRole::Station(station)) => Ok(Sender::Station(station)),
            Some(other) => Err(Refusal::new(
                Reason::RoleRefused,
                format_args!(
                    "ballots come from voters, on the public address, and from stations; the caller is {other}"
                ),
            )),
        }
    }
}

/// By the address that a request to the public listener came from.
pub(super) fn public_lane<T>(request: &Request<T>) -> Lane {
    let connection = request.extensions().get::<TlsConnectInfo<OnConnection>>();
    Lane::Public(connection.map(|connection| connection.get_ref().network()))
}

#[async_trait]
impl Intake for IntakeService {
    async fn clock(&self, _: Request<wire::ClockRequest>) -> Result<Response<wire::ClockReply>, Status> {
        Ok(Response::new(wire::ClockReply {
            now_ms: self.0.now().get(),
        }))
    }

    async fn manifest(
        &self,
        request: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::ManifestReply>, Status> {
        let election = self.0.elections.get(&request.into_inner().election)?;
        Ok(Response::new(election.to_wire(self.0.role)))
    }

    async fn submit(&self, request: Request<wire::Submission>) -> Result<Response<wire::Receipt>, Status> {
        let origin = self.origin(&request)?;
        let taken = self.0.submit(request.into_inner(), origin).await;
        let receipt = self.count(taken)?;
        Ok(Response::new(receipt.to_wire()))
    }

    async fn cast(&self, request: Request<wire::Submission>) -> Result<Response<wire::CastReply>, Status> {
        let origin = self.origin(&request)?;
        Ok(Response::new(self.cast_one(request.into_inner(), origin).await?))
    }

    async fn cast_all(
        &self,
        request: Request<wire::Submissions>,
    ) -> Result<Response<wire::CastReplies>, Status> {
        let origin = Origin {
            in_company: true,
            ..self.origin(&request)?
        };
        let seat = origin.seat.clone();
        let submissions = request.into_inner().submissions;
        if submissions.len() > MOST_TOGETHER {
            let count = submissions.len();
            let detail = format_args!("{count} ballots in one message, at most {MOST_TOGETHER} are taken");
            return Err(Refusal::new(Reason::MessageTooLarge, detail).into());
        }
        // The first one has the request's own place, and each other one takes a place like a request.
        let all = submissions.into_iter().enumerate().map(async |(i, submission)| {
            let cast = self.cast_one(submission, origin.clone());
            match &seat {
                Some(seat) if i > 0 => seat.beside(cast).await,
                _ => cast.await,
            }
        });
        let answers = join_all(all).await.into_iter().map(|outcome| {
            let outcome = match outcome {
                Ok(taken) => Outcome::Taken(taken),
                Err(refusal) => Outcome::Refusal(refusal.to_wire(&[])),
            };
            wire::CastAnswer {
                outcome: Some(outcome),
            }
        });
        Ok(Response::new(wire::CastReplies {
            answers: answers.collect(),
        }))
    }

    async fn deliver(&self, request: Request<wire::Receipt>) -> Result<Response<wire::DeliverReply>, Status> {
        let lane = self.lane(&request)?;
        self.0.deliver(request.into_inner(), lane).await?;
        Ok(Response::new(wire::DeliverReply {}))
    }

    async fn deliver_all(
        &self,
        request: Request<wire::Receipts>,
    ) -> Result<Response<wire::DeliverReply>, Status> {
        let lane = self.lane(&request)?;
        let receipts = request.into_inner().receipts;
        if receipts.len() > MOST_TOGETHER {
            let count = receipts.len();
            let detail = format_args!("{count} receipts in one message, at most {MOST_TOGETHER} are taken");
            return Err(Refusal::new(Reason::MessageTooLarge, detail).into());
        }
        // All of them into one transaction, and whatever is wrong with one leaves the others alone.
        let stored = join_all(
            receipts
                .into_iter()
                .map(|receipt| self.0.deliver(receipt, lane.clone())),
        )
        .await;
        stored.into_iter().collect::<Result<(), Refusal>>()?;
        Ok(Response::new(wire::DeliverReply {}))
    }

    async fn checkpoint(
        &self,
        request: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::CheckpointReply>, Status> {
        let (note, cosigned) = self.0.checkpoint(request.into_inner().election).await?;
        Ok(Response::new(wire::CheckpointReply { note, cosigned }))
    }

    async fn inclusion(
        &self,
        request: Request<wire::InclusionRequest>,
    ) -> Result<Response<wire::InclusionReply>, Status> {
        let wire::InclusionRequest {
            election,
            position,
            size,
        } = request.into_inner();
        let path = self.0.inclusion(election, position, size).await?;
        Ok(Response::new(wire::InclusionReply {
            path: path.iter().map(|node| node.0.to_vec()).collect(),
        }))
    }

    async fn consistency(
        &self,
        request: Request<wire::ConsistencyRequest>,
    ) -> Result<Response<wire::ConsistencyReply>, Status> {
        let wire::ConsistencyRequest {
            election,
            old_size,
            new_size,
        } = request.into_inner();
        let path = self.0.consistency(election, old_size, new_size).await?;
        Ok(Response::new(wire::ConsistencyReply {
            path: path.iter().map(|node| node.0.to_vec()).collect(),
        }))
    }

    async fn mirrored(
        &self,
        request: Request<wire::MirroredRef>,
    ) -> Result<Response<wire::MirroredReply>, Status> {
        let wire::MirroredRef { election, party } = request.into_inner();
        let note = self.0.mirrored_of(election, party).await?;
        Ok(Response::new(wire::MirroredReply { note }))
    }

    async fn lookup(
        &self,
        request: Request<wire::LookupRequest>,
    ) -> Result<Response<wire::LookupReply>, Status> {
        Ok(Response::new(self.0.lookup(request.into_inner()).await?))
    }
}
