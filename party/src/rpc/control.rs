//! The Control service: the coordinator and this party's own operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use prost::Message as _;
use serde_json::json;
use tally_proto::card::Salt;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, ElectionId, Hash32, RegisterId, Role, RoleExt as _, VoterIndex};
use tally_proto::manifest::{MAX_VOTERS, Manifest, SignedManifest};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::roll::{Roll, RollEntry};
use tally_proto::wire;
use tally_proto::wire::control_server::Control;
use tally_proto::wire::publish_part::Part;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::seams::Answers;
use crate::journal::Event;
use crate::party::Party;
use crate::roles::Needs;

/// How long one part of a publication may take.
const PART: Duration = Duration::from_secs(30);
/// How long all of it may take.
const IN_ALL: Duration = Duration::from_secs(15 * 60);

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ControlService {
    party: Arc<Party>,
    /// Publications: one at a time, as its rolls are held in memory; the others wait in turn.
    publishing: Arc<Semaphore>,
    /// Answers of who is on an open roll: one at a time, as its names are; the others wait in turn.
    telling: Arc<Semaphore>,
}

impl ControlService {
    pub(crate) fn new(party: Arc<Party>) -> Self {
        ControlService {
            party,
            publishing: Arc::new(Semaphore::new(1)),
            telling: Arc::new(Semaphore::new(1)),
        }
    }

    /// Adds a line to the journal, which waits for the disk.
    async fn record(&self, event: Event, facts: serde_json::Value) -> Result<(), Refusal> {
        let record = move |party: &Party| {
            party.witness.record(event, facts);
            Ok(())
        };
        self.party.blocking(record).await
    }
}

/// Waits for its turn.
async fn turn(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    let place = Arc::clone(of).acquire_owned().await;
    place.map_err(|_| Refusal::new(Reason::PartyShuttingDown, "the party is stopping"))
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Reason::MessageMalformed, detail)
}

/// The parts of a publication, each of which must come in time.
struct Upload<S> {
    parts: S,
    end: Instant,
    /// Bytes that may still come.
    left: u64,
    most: u64,
}

impl<S: Stream<Item = Result<wire::PublishPart, Status>> + Unpin> Upload<S> {
    fn new(parts: S, most: u64) -> Self {
        Self {
            parts,
            end: Instant::now() + IN_ALL,
            left: most,
            most,
        }
    }

    async fn next(&mut self) -> Result<Option<Part>, Status> {
        let by = (Instant::now() + PART).min(self.end);
        let slow = |_| {
            let (part, all) = (PART.as_secs(), IN_ALL.as_secs() / 60);
            let detail = format!(
                "a part of a publication did not come within {part} s, or all of it within {all} minutes"
            );
            Refusal::new(Reason::MessageTooSlow, detail)
        };
        let next = timeout_at(by, self.parts.next()).await.map_err(slow)?;
        let Some(part) = next.transpose()? else {
            return Ok(None);
        };
        let part = part
            .part
            .ok_or_else(|| malformed("a part of a publication is empty"))?;
        let bytes = match &part {
            Part::Manifest(envelope) => envelope.encoded_len(),
            Part::Roll(roll) => roll.encoded_len(),
        };
        self.left = self.left.checked_sub(bytes as u64).ok_or_else(|| {
            let detail = format!(
                "the publication is longer than the {} MiB of server.uncountersigned_mib; the party's operator can raise that",
                self.most >> 20
            );
            Refusal::new(Reason::MessageTooLarge, detail)
        })?;
        Ok(Some(part))
    }

    /// The manifest, which comes first.
    async fn manifest(&mut self) -> Result<SignedManifest, Status> {
        let Some(Part::Manifest(envelope)) = self.next().await? else {
            return Err(malformed("a publication begins with the manifest").into());
        };
        let envelope = Envelope::from_wire(envelope).map_err(Refusal::from)?;
        Ok(SignedManifest::open(envelope).map_err(|error| Refusal::new(error.reason(), error))?)
    }

    /// The rolls of its boxes, and the salt of their persons' codes. What is kept in memory is bounded by the manifest.
    async fn rolls(
        &mut self,
        manifest: &Manifest,
    ) -> Result<(BTreeMap<BoxId, Vec<RollEntry>>, Option<Salt>), Status> {
        let mut rolls: BTreeMap<BoxId, Vec<RollEntry>> = BTreeMap::new();
        let mut salt: Option<Salt> = None;
        while let Some(part) = self.next().await? {
            let Part::Roll(part) = part else {
                return Err(malformed("after the manifest, a publication has rolls only").into());
            };
            let id = BoxId(part.r#box);
            let of_box = manifest.ballot_box(id).ok_or_else(|| {
                let detail = format!("the election of this publication has no box {id}");
                Refusal::new(Reason::BoxUnknown, detail)
            })?;
            let voters = match of_box.open() {
                None => of_box.voters().min(MAX_VOTERS),
                Some(_) => 0,
            };
            let roll = rolls.entry(id).or_default();
            if roll.len() + part.entries.len() > voters as usize {
                let detail = format!("the roll of box {id} is longer than the manifest's {voters} voters");
                return Err(Refusal::new(Reason::RollMismatch, detail).into());
            }
            // No more is kept of an entry than it may have.
            for entry in part.entries {
                let entry = RollEntry::from_wire(VoterIndex(roll.len() as u32), entry)
                    .map_err(|error| Refusal::new(error.reason(), format_args!("box {id}: {error}")))?;
                roll.push(entry);
            }
            let given = match part.salt.as_slice() {
                [] => None,
                bytes => Some(Salt(
                    bytes
                        .try_into()
                        .map_err(|_| malformed("a roll's salt has 32 bytes"))?,
                )),
            };
            if salt.is_some() && salt != given {
                return Err(malformed("the parts of a publication bring two salts").into());
            }
            salt = given;
        }
        Ok((rolls, salt))
    }
}

#[async_trait]
impl Control for ControlService {
    type SealStream = Answers<wire::SealEvent>;
    type TallyStream = Answers<wire::TallyEvent>;
    type OpenRollStream = Answers<wire::OpenRollPart>;

    async fn publish(
        &self,
        request: Request<Streaming<wire::PublishPart>>,
    ) -> Result<Response<wire::PublishReply>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        let turn = turn(&self.publishing).await?;
        let mut upload = Upload::new(request.into_inner(), self.party.elections.drafts().bytes);
        let manifest = upload.manifest().await?;
        let election = manifest.manifest().election().to_string();
        // What would not be taken ends before its rolls.
        let (manifest, is_known) = self
            .party
            .blocking(move |party| {
                let is_known = party.is_published(&manifest)?;
                party.check_offsets(manifest.manifest())?;
                Ok((manifest, is_known))
            })
            .await?;
        let (parts, salt) = upload.rolls(manifest.manifest()).await?;
        let open = manifest.manifest().open_box().map(|of_box| of_box.id());
        let (rolls, turn) = self
            .party
            .blocking(move |_| {
                let mut rolls = BTreeMap::new();
                // Of an open roll comes the salt alone.
                let given = |(id, entries): &(BoxId, Vec<_>)| Some(*id) != open || !entries.is_empty();
                for (id, entries) in parts.into_iter().filter(given) {
                    let roll = Roll::new(entries)
                        .map_err(|error| Refusal::new(error.reason(), format_args!("box {id}: {error}")))?;
                    rolls.insert(id, roll);
                }
                Ok((rolls, turn))
            })
            .await?;
        let published = self.party.publish_in_turn(manifest, rolls, salt, Some(turn));
        let hash = published.await?;
        // Once, however often it is brought.
        if !is_known {
            let facts = json!({ "election": election, "manifest": hash.to_string() });
            self.record(Event::Published, facts).await?;
        }
        Ok(Response::new(wire::PublishReply {
            manifest_hash: hash.0.to_vec(),
        }))
    }

    async fn open_roll(
        &self,
        request: Request<wire::BoxRef>,
    ) -> Result<Response<Self::OpenRollStream>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        let place = turn(&self.telling).await?;
        Ok(Response::new(
            self.party.open_roll(request.into_inner(), place).await?,
        ))
    }

    async fn propose_order(
        &self,
        request: Request<wire::Envelope>,
    ) -> Result<Response<wire::OrderReply>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        let envelope = Envelope::from_wire(request.into_inner()).map_err(Refusal::from)?;
        let in_force = self
            .party
            .blocking(move |party| {
                party
                    .elections
                    .propose(&party.store, party.role, envelope, party.now())
            })
            .await?;
        Ok(Response::new(wire::OrderReply { in_force }))
    }

    async fn pending(
        &self,
        request: Request<wire::PendingRequest>,
    ) -> Result<Response<wire::PendingReply>, Status> {
        self.party.roles.require(&request, Needs::Operator)?;
        let pending = self
            .party
            .blocking(|party| party.elections.pending(&party.store, party.role))
            .await?;
        Ok(Response::new(pending))
    }

    async fn carried(
        &self,
        request: Request<wire::ObjectRef>,
    ) -> Result<Response<wire::CarriedReply>, Status> {
        self.party.roles.require(&request, Needs::Operator)?;
        let hash = Hash32::from_slice(&request.into_inner().object_hash).map_err(Refusal::from)?;
        let carried = self.party.blocking(move |party| party.carried_into(hash)).await?;
        Ok(Response::new(carried))
    }

    async fn countersign(
        &self,
        request: Request<wire::CountersignRequest>,
    ) -> Result<Response<wire::CountersignReply>, Status> {
        self.party.roles.require(&request, Needs::Operator)?;
        let wire::CountersignRequest {
            object_hash,
            confirmation,
            changed,
        } = request.into_inner();
        let hash = Hash32::from_slice(&object_hash).map_err(Refusal::from)?;
        let facts = json!({ "election": confirmation, "object": hash.to_string() });
        let signature = self
            .party
            .blocking(move |party| {
                party.check_carried(hash, changed)?;
                party.elections.countersign(
                    &party.store,
                    (party.role, &party.signer),
                    hash,
                    &confirmation,
                    party.now(),
                )
            })
            .await?;
        // Signed, so what was typed is the election's id.
        self.record(Event::Countersigned, facts).await?;
        Ok(Response::new(wire::CountersignReply {
            signature: Some(signature.to_wire()),
        }))
    }

    async fn signatures(
        &self,
        request: Request<wire::ObjectRef>,
    ) -> Result<Response<wire::SignaturesReply>, Status> {
        self.party.roles.require(&request, Needs::CoordinatorOrOperator)?;
        let hash = Hash32::from_slice(&request.into_inner().object_hash).map_err(Refusal::from)?;
        let signatures = self.party.elections.signatures(hash)?;
        Ok(Response::new(wire::SignaturesReply {
            signatures: signatures.iter().map(|s| s.to_wire()).collect(),
        }))
    }

    async fn complete(&self, request: Request<wire::Envelope>) -> Result<Response<wire::OrderReply>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        let envelope = Envelope::from_wire(request.into_inner()).map_err(Refusal::from)?;
        let object = envelope.hash();
        let (was, in_force) = self
            .party
            .blocking(move |party| {
                let was = party.elections.has_whole(object);
                let in_force = party.elections.complete(&party.store, party.role, &envelope)?;
                Ok((was, in_force))
            })
            .await?;
        if in_force && !was {
            let facts = json!({ "object": object.to_string() });
            self.record(Event::InForce, facts).await?;
        }
        if in_force {
            // Registrars and voters may come at once.
            self.party.until_open().await;
        }
        Ok(Response::new(wire::OrderReply { in_force }))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusReply>, Status> {
        self.party.roles.require(&request, Needs::CoordinatorOrOperator)?;
        Ok(Response::new(
            self.party.status(&request.into_inner().election).await?,
        ))
    }

    async fn seal(&self, request: Request<wire::BoxRef>) -> Result<Response<Self::SealStream>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        let wire::BoxRef { election, r#box } = request.into_inner();
        let election = ElectionId::new(&election).map_err(Refusal::from)?;
        Ok(Response::new(
            self.party.seals()?.seal(election, BoxId(r#box)).await?,
        ))
    }

    async fn prepare(
        &self,
        request: Request<wire::PrepareRequest>,
    ) -> Result<Response<wire::Envelope>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        Ok(Response::new(
            self.party.tallies()?.prepare(request.into_inner()).await?,
        ))
    }

    async fn tally(
        &self,
        request: Request<wire::TallyRequest>,
    ) -> Result<Response<Self::TallyStream>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        Ok(Response::new(
            self.party.tallies()?.tally(request.into_inner()).await?,
        ))
    }

    async fn conclude(
        &self,
        request: Request<wire::Envelope>,
    ) -> Result<Response<wire::ConcludeReply>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        self.party.tallies()?.conclude(request.into_inner()).await?;
        Ok(Response::new(wire::ConcludeReply {}))
    }

    async fn supply(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Envelope>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        Ok(Response::new(
            self.party.tallies()?.supply(request.into_inner()).await?,
        ))
    }

    async fn deliver(&self, request: Request<wire::Envelope>) -> Result<Response<wire::SupplyReply>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        self.party.tallies()?.deliver(request.into_inner()).await?;
        Ok(Response::new(wire::SupplyReply {}))
    }

    async fn offset_commitments(
        &self,
        request: Request<wire::RegisterRef>,
    ) -> Result<Response<wire::OffsetCommitmentsReply>, Status> {
        self.party.roles.require(&request, Needs::Coordinator)?;
        let register = RegisterId::new(&request.into_inner().register).map_err(Refusal::from)?;
        let held = self.party.offset_commitments(register).await?;
        let offset = |(j, commitment): (Role, Hash32)| wire::CredentialOffset {
            index: j.number(),
            commitment: commitment.0.to_vec(),
        };
        Ok(Response::new(wire::OffsetCommitmentsReply {
            offsets: held.into_iter().map(offset).collect(),
        }))
    }

    async fn trust_store(
        &self,
        request: Request<wire::TrustStoreRequest>,
    ) -> Result<Response<wire::TrustStoreReply>, Status> {
        self.party.roles.require(&request, Needs::Operator)?;
        self.party.trust_store(&request.into_inner())?;
        Ok(Response::new(wire::TrustStoreReply {}))
    }

    async fn allow_sessions(
        &self,
        request: Request<wire::AllowSessionsRequest>,
    ) -> Result<Response<wire::AllowSessionsReply>, Status> {
        self.party.roles.require(&request, Needs::Operator)?;
        let request = request.into_inner();
        let facts = json!({ "election": request.election, "box": request.r#box });
        let sessions = self.party.tallies()?.allow(request).await?;
        self.record(Event::SessionsAllowed, facts).await?;
        Ok(Response::new(wire::AllowSessionsReply { sessions }))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tally_proto::fixture::{Shape, World};
    use tokio::time::sleep;

    use super::*;

    fn part(entries: usize) -> wire::PublishPart {
        let roll = wire::RollPart {
            r#box: 1,
            entries: vec![wire::RollEntry::default(); entries],
            salt: Vec::new(),
        };
        wire::PublishPart {
            part: Some(Part::Roll(roll)),
        }
    }

    /// Why an upload ends, and after how many seconds.
    async fn ends(parts: impl Stream<Item = Result<wire::PublishPart, Status>>, most: u64) -> (Reason, u64) {
        let began = Instant::now();
        let parts = std::pin::pin!(parts);
        let mut upload = Upload::new(parts, most);
        loop {
            if let Err(status) = upload.next().await {
                return (Refusal::of_status(&status).reason, began.elapsed().as_secs());
            }
        }
    }

    #[tokio::test]
    async fn what_no_roll_can_have_ends_a_publication_at_that_part() {
        let world = World::new(Shape::default());
        let manifest = world.manifest.manifest();
        let entries = |box_id: u32, change: fn(&mut wire::RollEntry)| {
            let mut entry = wire::RollEntry {
                reference: "voter".to_owned(),
                ..Default::default()
            };
            change(&mut entry);
            let roll = wire::RollPart {
                r#box: box_id,
                entries: vec![entry],
                salt: Vec::new(),
            };
            wire::PublishPart {
                part: Some(Part::Roll(roll)),
            }
        };
        let mut of_no_box = entries(999, |_| {});
        if let Some(Part::Roll(roll)) = &mut of_no_box.part {
            roll.entries.clear();
        }
        for (part, due) in [
            (of_no_box, Reason::BoxUnknown),
            (
                entries(1, |e| e.persons = vec![Vec::new(); 1000]),
                Reason::RollDuplicate,
            ),
            (
                entries(1, |e| e.persons = vec![vec![7; 33]]),
                Reason::MessageMalformed,
            ),
            (
                entries(1, |e| e.reference = "v".repeat(201)),
                Reason::MessageMalformed,
            ),
            (entries(1, |e| e.v = 1), Reason::RollGap),
        ] {
            // Nothing else comes, and nothing else is waited for.
            let parts = std::pin::pin!(stream::iter([Ok(part)]).chain(stream::pending()));
            let ended = Upload::new(parts, 1 << 20).rolls(manifest).await;
            let status = ended.expect_err("refused");
            assert_eq!(Refusal::of_status(&status).reason, due);
        }
        let good = std::pin::pin!(stream::iter([Ok(entries(1, |_| {}))]));
        let (rolls, _) = Upload::new(good, 1 << 20).rolls(manifest).await.expect("good");
        assert_eq!(rolls[&BoxId(1)].len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_publication_that_says_nothing_or_has_no_end_is_given_up() {
        let silent = stream::iter([Ok(part(1))]).chain(stream::pending());
        assert_eq!(ends(silent, 1000).await, (Reason::MessageTooSlow, 30));
        let drip = stream::repeat_with(|| Ok(part(0))).then(|part| async {
            sleep(Duration::from_secs(29)).await;
            part
        });
        assert_eq!(ends(drip, u64::MAX).await, (Reason::MessageTooSlow, 900));
        let endless = stream::repeat_with(|| Ok(part(1)));
        assert_eq!(ends(endless, 1000).await, (Reason::MessageTooLarge, 0));
        let empty = stream::repeat_with(|| Ok(wire::PublishPart { part: None }));
        assert_eq!(ends(empty, 1000).await, (Reason::MessageMalformed, 0));
    }
}
