//! The Control service: the coordinator and this party's own operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tally_proto::card::Salt;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, ElectionId, Hash32, RegisterId, Role, RoleExt as _};
use tally_proto::manifest::{MAX_VOTERS, SignedManifest};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::roll::Roll;
use tally_proto::wire;
use tally_proto::wire::control_server::Control;
use tally_proto::wire::publish_part::Part;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::seams::Answers;
use crate::journal::Event;
use crate::party::Party;
use crate::roles::Needs;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ControlService(Arc<Party>);

impl ControlService {
    pub(crate) fn new(party: Arc<Party>) -> Self {
        ControlService(party)
    }
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Reason::MessageMalformed, detail)
}

/// Takes the parts of a publication: the manifest, then the rolls of its boxes. What is kept in memory is bounded by the manifest.
async fn receive(
    mut parts: Streaming<wire::PublishPart>,
) -> Result<
    (
        SignedManifest,
        BTreeMap<BoxId, Vec<wire::RollEntry>>,
        Option<Salt>,
    ),
    Status,
> {
    let first = parts.message().await?.and_then(|part| part.part);
    let Some(Part::Manifest(envelope)) = first else {
        return Err(malformed("a publication begins with the manifest").into());
    };
    let envelope = Envelope::from_wire(envelope).map_err(Refusal::from)?;
    let manifest = SignedManifest::open(envelope).map_err(|error| Refusal::new(error.reason(), error))?;
    let mut rolls: BTreeMap<BoxId, Vec<wire::RollEntry>> = BTreeMap::new();
    let mut salt: Option<Salt> = None;
    while let Some(part) = parts.message().await? {
        let Some(Part::Roll(part)) = part.part else {
            return Err(malformed("after the manifest, a publication has rolls only").into());
        };
        let id = BoxId(part.r#box);
        let voters = manifest
            .manifest()
            .ballot_box(id)
            .filter(|of_box| of_box.open().is_none())
            .map_or(0, |of_box| of_box.voters())
            .min(MAX_VOTERS);
        let roll = rolls.entry(id).or_default();
        if roll.len() + part.entries.len() > voters as usize {
            let detail = format!("the roll of box {id} is longer than the manifest's {voters} voters");
            return Err(Refusal::new(Reason::RollMismatch, detail).into());
        }
        roll.extend(part.entries);
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
    Ok((manifest, rolls, salt))
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
        self.0.roles.require(&request, Needs::Coordinator)?;
        let (manifest, parts, salt) = receive(request.into_inner()).await?;
        let election = manifest.manifest().election().to_string();
        let hash = self
            .0
            .blocking(move |party| {
                party.check_offsets(manifest.manifest())?;
                let mut rolls = BTreeMap::new();
                let open = manifest.manifest().open_box().map(|of_box| of_box.id());
                // Of an open roll comes the salt alone.
                let given = |(id, entries): &(BoxId, Vec<_>)| Some(*id) != open || !entries.is_empty();
                for (id, entries) in parts.into_iter().filter(given) {
                    let roll = Roll::from_wire(entries)
                        .map_err(|error| Refusal::new(error.reason(), format_args!("box {id}: {error}")))?;
                    rolls.insert(id, roll);
                }
                party.elections.publish(
                    &party.store,
                    &party.identities,
                    party.role,
                    manifest,
                    &rolls,
                    salt,
                )
            })
            .await?;
        let facts = json!({ "election": election, "manifest": hash.to_string() });
        self.0.witness.record(Event::Published, facts);
        Ok(Response::new(wire::PublishReply {
            manifest_hash: hash.0.to_vec(),
        }))
    }

    async fn open_roll(
        &self,
        request: Request<wire::BoxRef>,
    ) -> Result<Response<Self::OpenRollStream>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        Ok(Response::new(self.0.open_roll(request.into_inner()).await?))
    }

    async fn propose_order(
        &self,
        request: Request<wire::Envelope>,
    ) -> Result<Response<wire::OrderReply>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        let envelope = Envelope::from_wire(request.into_inner()).map_err(Refusal::from)?;
        let in_force = self
            .0
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
        self.0.roles.require(&request, Needs::Operator)?;
        let pending = self
            .0
            .blocking(|party| party.elections.pending(&party.store, party.role))
            .await?;
        Ok(Response::new(pending))
    }

    async fn countersign(
        &self,
        request: Request<wire::CountersignRequest>,
    ) -> Result<Response<wire::CountersignReply>, Status> {
        self.0.roles.require(&request, Needs::Operator)?;
        let wire::CountersignRequest {
            object_hash,
            confirmation,
        } = request.into_inner();
        let hash = Hash32::from_slice(&object_hash).map_err(Refusal::from)?;
        let facts = json!({ "election": confirmation, "object": hash.to_string() });
        let signature = self
            .0
            .blocking(move |party| {
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
        self.0.witness.record(Event::Countersigned, facts);
        Ok(Response::new(wire::CountersignReply {
            signature: Some(signature.to_wire()),
        }))
    }

    async fn signatures(
        &self,
        request: Request<wire::ObjectRef>,
    ) -> Result<Response<wire::SignaturesReply>, Status> {
        self.0.roles.require(&request, Needs::CoordinatorOrOperator)?;
        let hash = Hash32::from_slice(&request.into_inner().object_hash).map_err(Refusal::from)?;
        let signatures = self.0.elections.signatures(hash)?;
        Ok(Response::new(wire::SignaturesReply {
            signatures: signatures.iter().map(|s| s.to_wire()).collect(),
        }))
    }

    async fn complete(&self, request: Request<wire::Envelope>) -> Result<Response<wire::OrderReply>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        let envelope = Envelope::from_wire(request.into_inner()).map_err(Refusal::from)?;
        let object = envelope.hash();
        let in_force = self
            .0
            .blocking(move |party| party.elections.complete(&party.store, party.role, &envelope))
            .await?;
        if in_force {
            self.0
                .witness
                .record(Event::InForce, json!({ "object": object.to_string() }));
            // Registrars and voters may come at once.
            self.0.until_open().await;
        }
        Ok(Response::new(wire::OrderReply { in_force }))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusReply>, Status> {
        self.0.roles.require(&request, Needs::CoordinatorOrOperator)?;
        Ok(Response::new(
            self.0.status(&request.into_inner().election).await?,
        ))
    }

    async fn seal(&self, request: Request<wire::BoxRef>) -> Result<Response<Self::SealStream>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        let wire::BoxRef { election, r#box } = request.into_inner();
        let election = ElectionId::new(&election).map_err(Refusal::from)?;
        Ok(Response::new(self.0.seals()?.seal(election, BoxId(r#box)).await?))
    }

    async fn prepare(
        &self,
        request: Request<wire::PrepareRequest>,
    ) -> Result<Response<wire::Envelope>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        Ok(Response::new(
            self.0.tallies()?.prepare(request.into_inner()).await?,
        ))
    }

    async fn tally(
        &self,
        request: Request<wire::TallyRequest>,
    ) -> Result<Response<Self::TallyStream>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        Ok(Response::new(
            self.0.tallies()?.tally(request.into_inner()).await?,
        ))
    }

    async fn conclude(
        &self,
        request: Request<wire::Envelope>,
    ) -> Result<Response<wire::ConcludeReply>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        self.0.tallies()?.conclude(request.into_inner()).await?;
        Ok(Response::new(wire::ConcludeReply {}))
    }

    async fn supply(&self, request: Request<wire::Envelope>) -> Result<Response<wire::Envelope>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        Ok(Response::new(
            self.0.tallies()?.supply(request.into_inner()).await?,
        ))
    }

    async fn deliver(&self, request: Request<wire::Envelope>) -> Result<Response<wire::SupplyReply>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        self.0.tallies()?.deliver(request.into_inner()).await?;
        Ok(Response::new(wire::SupplyReply {}))
    }

    async fn offset_commitments(
        &self,
        request: Request<wire::RegisterRef>,
    ) -> Result<Response<wire::OffsetCommitmentsReply>, Status> {
        self.0.roles.require(&request, Needs::Coordinator)?;
        let register = RegisterId::new(&request.into_inner().register).map_err(Refusal::from)?;
        let held = self.0.offset_commitments(register).await?;
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
        self.0.roles.require(&request, Needs::Operator)?;
        self.0.trust_store(&request.into_inner())?;
        Ok(Response::new(wire::TrustStoreReply {}))
    }

    async fn allow_sessions(
        &self,
        request: Request<wire::AllowSessionsRequest>,
    ) -> Result<Response<wire::AllowSessionsReply>, Status> {
        self.0.roles.require(&request, Needs::Operator)?;
        let request = request.into_inner();
        let facts = json!({ "election": request.election, "box": request.r#box });
        let sessions = self.0.tallies()?.allow(request).await?;
        self.0.witness.record(Event::SessionsAllowed, facts);
        Ok(Response::new(wire::AllowSessionsReply { sessions }))
    }
}
