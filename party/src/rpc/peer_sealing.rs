//! Sealing over gRPC: the Peer service's sealing half on both ends, and Control.Seal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use serde_json::json;
use tally_proto::connect;
use tally_proto::envelope::MAX_ENVELOPE_BYTES;
use tally_proto::ids::{BoxId, ElectionId, Role};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::peer_client::PeerClient;
use tally_proto::wire::seal_event::Event;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, async_trait};
use tracing::Instrument as _;

use super::seams::{Answers, Seals};
use crate::journal;
use crate::party::Party;
use crate::peers::Peers;
use crate::sealing::{self, FillParts, ListParts, PeerError, SealError, SealedBox, Sealing, Step};
use crate::witness::Witness;

/// Events that wait for a slow coordinator; progress beyond them is dropped, nothing else is.
const EVENTS: usize = 16;

/// How long a peer may take to begin an answer: longer than it holds a question for what it does not have yet, mediation included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest part of a List: the signed List with its orders' hashes, or a megabyte of digests.
const MAX_LIST_PART_BYTES: usize = 2 << 20;
/// Largest Claims or Seal, with its signature.
const MAX_STATEMENT_BYTES: usize = MAX_ENVELOPE_BYTES + 1024;
/// Largest part of a fill: a header, a card's certificates and a share.
const MAX_FILL_PART_BYTES: usize = 128 << 10;

/// Smallest pause between two progress events of one phase.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// The two other parties over gRPC.
#[derive(Clone, Debug)]
struct GrpcPeers(Peers);

impl GrpcPeers {
    fn client(&self, peer: Role) -> Result<PeerClient<Channel>, PeerError> {
        let channel = self.0.channel(peer).ok_or_else(|| PeerError::Unreachable {
            peer,
            detail: "it is this party itself".to_owned(),
        })?;
        Ok(connect::peer(channel))
    }
}

/// The beginning of an answer, or what its absence means.
async fn begin<T>(
    peer: Role,
    answer: impl Future<Output = Result<Response<T>, Status>> + Send,
) -> Result<T, PeerError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(PeerError::of_refusal(peer, Refusal::of_status(&status))),
        Err(_) => {
            let detail = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
            Err(PeerError::Unreachable { peer, detail })
        }
    }
}

/// The parts of an answer. Whoever leaves one out for as long as an answer may take cannot be reached.
fn parts<T: Send + 'static>(
    peer: Role,
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> futures::stream::BoxStream<'static, Result<T, PeerError>> {
    futures::stream::unfold(Some(stream.boxed()), move |rest| async move {
        let mut rest = rest?;
        match tokio::time::timeout(ANSWER_TIMEOUT, rest.next()).await {
            Ok(Some(Ok(part))) => Some((Ok(part), Some(rest))),
            Ok(Some(Err(status))) => {
                let error = PeerError::of_refusal(peer, Refusal::of_status(&status));
                Some((Err(error), None))
            }
            Ok(None) => None,
            Err(_) => {
                let detail = format!("no further part within {} s", ANSWER_TIMEOUT.as_secs());
                Some((Err(PeerError::Unreachable { peer, detail }), None))
            }
        }
    })
    .boxed()
}

impl sealing::Peers for GrpcPeers {
    async fn list(&self, peer: Role, of: wire::SealRef) -> Result<ListParts, PeerError> {
        let mut client = self.client(peer)?.max_decoding_message_size(MAX_LIST_PART_BYTES);
        Ok(parts(peer, begin(peer, client.list(of)).await?))
    }

    async fn claims(&self, peer: Role, of: wire::SealRef) -> Result<wire::Envelope, PeerError> {
        let mut client = self.client(peer)?.max_decoding_message_size(MAX_STATEMENT_BYTES);
        begin(peer, client.claims(of)).await
    }

    async fn holdings(
        &self,
        peer: Role,
        request: wire::HoldingsRequest,
    ) -> Result<wire::Envelope, PeerError> {
        begin(peer, self.client(peer)?.holdings(request)).await
    }

    async fn fill(&self, peer: Role, request: wire::FillRequest) -> Result<FillParts, PeerError> {
        let mut client = self.client(peer)?.max_decoding_message_size(MAX_FILL_PART_BYTES);
        Ok(parts(peer, begin(peer, client.fill(request)).await?))
    }

    async fn mediate(&self, peer: Role, complaint: wire::Envelope) -> Result<wire::Mediation, PeerError> {
        begin(peer, self.client(peer)?.mediate(complaint)).await
    }

    async fn answer(&self, peer: Role, complaint: wire::Envelope) -> Result<wire::Envelope, PeerError> {
        begin(peer, self.client(peer)?.answer(complaint)).await
    }

    async fn judge(&self, peer: Role, request: wire::JudgeRequest) -> Result<wire::Envelope, PeerError> {
        begin(peer, self.client(peer)?.judge(request)).await
    }

    async fn seal_signature(&self, peer: Role, of: wire::SealRef) -> Result<wire::Envelope, PeerError> {
        let mut client = self.client(peer)?.max_decoding_message_size(MAX_STATEMENT_BYTES);
        begin(peer, client.seal_signature(of)).await
    }
}

/// Sealing as the services see it.
#[derive(Clone, Debug)]
pub(crate) struct SealingService {
    sealing: Sealing,
    peers: GrpcPeers,
    stopping: watch::Receiver<bool>,
    witness: Witness,
    /// How far running seals are.
    running: Arc<Mutex<HashMap<(ElectionId, BoxId), Step>>>,
}

impl SealingService {
    /// Serves `sealing` of `party`, until `stopping` says true.
    pub(crate) fn new(party: &Party, sealing: Sealing, stopping: watch::Receiver<bool>) -> Self {
        Self {
            sealing,
            peers: GrpcPeers(party.peers.clone()),
            stopping,
            witness: party.witness.clone(),
            running: Arc::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(ElectionId, BoxId), Step>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down what a run of sealing came to.
pub(crate) fn write_down(
    witness: &Witness,
    (election, of_box): (&ElectionId, BoxId),
    ended: &Result<SealedBox, SealError>,
) {
    let place = || json!({ "election": election.as_str(), "box": of_box.get() });
    match ended {
        Err(SealError::Aborted(abort)) => {
            tracing::error!(%election, box_id = %of_box, finding = %abort.finding, "sealing aborted");
            let mut facts = place();
            facts["finding"] = json!(abort.finding.to_string());
            witness.record(journal::Event::SealAborted, facts);
        }
        Err(error) => {
            tracing::warn!(%election, box_id = %of_box, %error, "sealing stopped, to be asked for again")
        }
        Ok(sealed) => {
            let mut facts = place();
            facts["seal"] = json!(sealed.seal_hash().to_string());
            let findings: Vec<String> = sealed.findings().iter().map(ToString::to_string).collect();
            for finding in &findings {
                tracing::error!(%election, box_id = %of_box, finding, "sealed, though a party lied");
            }
            facts["findings"] = json!(findings);
            witness.record(journal::Event::Sealed, facts);
        }
    }
}

fn answers<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, SealError>> + Send + 'static,
) -> Answers<T> {
    stream
        .map(|part| part.map_err(|error| Status::from(Refusal::from(error))))
        .boxed()
}

#[async_trait]
impl Seals for SealingService {
    async fn seal(&self, election: ElectionId, of_box: BoxId) -> Result<Answers<wire::SealEvent>, Refusal> {
        // What can be refused at once is refused before the stream begins.
        self.sealing.check(&election, of_box).await?;
        let sealed_before = self.sealing.phase(&election, of_box).await? == Some(wire::BoxPhase::Sealed);
        let (events, received) = mpsc::channel(EVENTS);
        let service = self.clone();
        // A task of its own: the box is sealed to the end even if the coordinator goes away.
        let span = tracing::info_span!("seal", %election, box_id = %of_box);
        let work = async move {
            let place = (election.clone(), of_box);
            let mut reporter = Reporter {
                events: events.clone(),
                began: Instant::now(),
                last: None,
            };
            let run = service.sealing.run(&election, of_box, &service.peers, |step| {
                service.running().insert(place.clone(), step);
                reporter.report(step);
            });
            let mut stopping = service.stopping.clone();
            let ended = tokio::select! {
                ended = run => ended,
                // What is written stays written; the next run goes on from there.
                _ = stopping.wait_for(|stop| *stop) => Err(SealError::Interrupted),
            };
            service.running().remove(&place);
            if !sealed_before {
                write_down(&service.witness, (&election, of_box), &ended);
            }
            let sent = match ended {
                Ok(sealed) => send_sealed(&events, &sealed).await,
                Err(SealError::Aborted(abort)) => {
                    send(&events, Event::Abort(abort.statement.to_wire())).await
                }
                Err(error) => events
                    .send(Err(Refusal::from(error).into()))
                    .await
                    .map_err(|_| Gone),
            };
            // A coordinator that went away asks again; what is sealed stays sealed.
            if sent.is_err() {
                tracing::debug!(%election, %of_box, "the coordinator went away while a box was sealed");
            }
        };
        tokio::spawn(work.instrument(span));
        Ok(ReceiverStream::new(received).boxed())
    }

    async fn phase(&self, election: ElectionId, of_box: BoxId) -> Result<Option<wire::BoxPhase>, Refusal> {
        Ok(self.sealing.phase(&election, of_box).await?)
    }

    fn progress(&self, election: &ElectionId, of_box: BoxId) -> Option<wire::Progress> {
        let step = *self.running().get(&(election.clone(), of_box))?;
        Some(progress(step, Duration::ZERO))
    }

    async fn list(&self, caller: Role, of: wire::SealRef) -> Result<Answers<wire::ListPart>, Refusal> {
        Ok(answers(self.sealing.list(caller, of).await?))
    }

    async fn claims(&self, _caller: Role, of: wire::SealRef) -> Result<wire::Envelope, Refusal> {
        Ok(self.sealing.claims(of).await?.to_wire())
    }

    async fn fill(
        &self,
        caller: Role,
        request: wire::FillRequest,
    ) -> Result<Answers<wire::FillPart>, Refusal> {
        Ok(answers(self.sealing.fill(caller, request).await?))
    }

    async fn share(
        &self,
        caller: Role,
        request: wire::FillRequest,
    ) -> Result<Answers<wire::FillPart>, Refusal> {
        Ok(answers(self.sealing.share(caller, request).await?))
    }

    async fn mediate(&self, caller: Role, complaint: wire::Envelope) -> Result<wire::Mediation, Refusal> {
        Ok(self.sealing.mediate(caller, complaint, &self.peers).await?)
    }

    async fn answer(&self, caller: Role, complaint: wire::Envelope) -> Result<wire::Envelope, Refusal> {
        Ok(self.sealing.answer(caller, complaint).await?)
    }

    async fn judge(&self, caller: Role, request: wire::JudgeRequest) -> Result<wire::Envelope, Refusal> {
        Ok(self.sealing.judge(caller, request).await?)
    }

    async fn seal_signature(&self, _caller: Role, of: wire::SealRef) -> Result<wire::Envelope, Refusal> {
        Ok(self.sealing.seal_signature(of).await?.to_wire())
    }
}

type Events = mpsc::Sender<Result<wire::SealEvent, Status>>;

/// The coordinator no longer listens.
struct Gone;

async fn send(events: &Events, event: Event) -> Result<(), Gone> {
    events
        .send(Ok(wire::SealEvent { event: Some(event) }))
        .await
        .map_err(|_| Gone)
}

/// The body in parts, then the signed objects.
async fn send_sealed(events: &Events, sealed: &SealedBox) -> Result<(), Gone> {
    let mut body_bytes = 0;
    let mut parts = sealed.body_parts();
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => {
                body_bytes += part.len() as u64;
                send(events, Event::BodyPart(part)).await?;
            }
            Err(error) => {
                return events
                    .send(Err(Refusal::from(error).into()))
                    .await
                    .map_err(|_| Gone);
            }
        }
    }
    let done = wire::SealDone {
        seal: Some(sealed.seal().envelope().to_wire()),
        body_bytes,
        lists: sealed.lists().iter().map(|list| list.to_wire()).collect(),
        claims: sealed.claims().iter().map(|claims| claims.to_wire()).collect(),
        proofs: sealed
            .proofs()
            .iter()
            .map(tally_proto::envelope::Envelope::to_wire)
            .collect(),
    };
    send(events, Event::Done(done)).await
}

fn progress(step: Step, elapsed: Duration) -> wire::Progress {
    wire::Progress {
        phase: step.phase.to_owned(),
        done: step.done,
        total: step.total,
        elapsed_ms: elapsed.as_millis() as u64,
        ..Default::default()
    }
}

/// Turns steps into progress events, without waiting for anybody.
struct Reporter {
    events: Events,
    began: Instant,
    last: Option<(&'static str, Instant)>,
}

impl Reporter {
    fn report(&mut self, step: Step) {
        let now = Instant::now();
        let soon = self
            .last
            .is_some_and(|(phase, at)| phase == step.phase && now - at < PROGRESS_PAUSE);
        if soon && step.done != step.total {
            return;
        }
        self.last = Some((step.phase, now));
        let progress = progress(step, now - self.began);
        // A full queue means that the coordinator is slow: the next step will tell it more.
        let _ = self.events.try_send(Ok(wire::SealEvent {
            event: Some(Event::Progress(progress)),
        }));
    }
}
