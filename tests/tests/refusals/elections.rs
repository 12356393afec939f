//! What the coordinator and operators meet.

use prost::Message as _;
use tally_proto::envelope::Kind;
use tally_proto::fixture::CLOSES;
use tally_proto::ids::{BoxId, Hash32, UnixSeconds, VoterIndex};
use tally_proto::order::{Change, Correction, Order, Reissue};
use tally_proto::pki::PeerRole;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::control_client::ControlClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::scene::Scene;
use crate::world::refusal;

/// The id of another election of the same parties.
pub(crate) const ANOTHER: &str = "ward-8";

fn coordinator(scene: &Scene) -> ControlClient<Channel> {
    scene.party.control(&scene.leaf(PeerRole::Coordinator))
}

fn operator(scene: &Scene) -> ControlClient<Channel> {
    scene
        .party
        .control(&scene.leaf(PeerRole::Operator(scene.party.role)))
}

/// This party's List of the box is signed, as far as intake and orders can tell.
pub(crate) fn freeze(scene: &Scene, of_box: u32) {
    let store = &scene.party.running.party().store;
    store
        .write(|tx| tally_party::store::boxes::freeze(tx, 1, of_box))
        .expect("written");
}

/// What publishes the manifest, changed and signed by the coordinator, with its rolls.
fn publication(scene: &Scene, change: impl FnOnce(&mut wire::Manifest)) -> Vec<wire::PublishPart> {
    let fixture = &scene.world.fixture;
    let mut manifest = fixture.manifest.manifest().to_wire();
    change(&mut manifest);
    let envelope = fixture
        .coordinator
        .seal_envelope(Kind::Manifest, manifest.encode_to_vec());
    let mut parts = scene.world.publication();
    parts[0].part = Some(wire::publish_part::Part::Manifest(envelope.to_wire()));
    parts
}

/// The same as another election.
pub(crate) fn another(scene: &Scene, change: impl FnOnce(&mut wire::Manifest)) -> Vec<wire::PublishPart> {
    publication(scene, |manifest| {
        manifest.election = ANOTHER.to_owned();
        change(manifest);
    })
}

pub(crate) async fn publish(scene: &Scene, parts: Vec<wire::PublishPart>) -> Result<(), Status> {
    coordinator(scene)
        .publish(tokio_stream::iter(parts))
        .await
        .map(drop)
}

/// Publishes another election and puts it in force.
pub(crate) async fn define_another(scene: &Scene, change: impl FnOnce(&mut wire::Manifest)) {
    let fixture = &scene.world.fixture;
    let mut manifest = fixture.manifest.manifest().to_wire();
    manifest.election = ANOTHER.to_owned();
    change(&mut manifest);
    let complete = fixture.sign_all(Kind::Manifest, manifest.encode_to_vec());
    let parts = publication(scene, |published| *published = manifest);
    publish(scene, parts).await.expect("published");
    let reply = coordinator(scene).complete(complete.to_wire()).await;
    assert!(reply.expect("completed").into_inner().in_force);
}

async fn unpublished(scene: &Scene, parts: Vec<wire::PublishPart>) -> Refusal {
    refusal(publish(scene, parts).await)
}

pub(crate) async fn without_contests(scene: &mut Scene) -> Refusal {
    unpublished(scene, another(scene, |manifest| manifest.contests.clear())).await
}

pub(crate) async fn of_another_version(scene: &mut Scene) -> Refusal {
    unpublished(scene, another(scene, |manifest| manifest.version = 2)).await
}

pub(crate) async fn defined_twice(scene: &mut Scene) -> Refusal {
    unpublished(scene, publication(scene, |manifest| manifest.created_at_s += 1)).await
}

pub(crate) async fn with_other_parties(scene: &mut Scene) -> Refusal {
    let parts = another(scene, |manifest| {
        manifest.parties[1].agency = "Somebody".to_owned()
    });
    unpublished(scene, parts).await
}

pub(crate) async fn with_another_suite(scene: &mut Scene) -> Refusal {
    let parts = another(scene, |manifest| {
        manifest.parties[1].hpke_keys[0].aead_id = 2;
    });
    unpublished(scene, parts).await
}

pub(crate) async fn with_a_box_too_small(scene: &mut Scene) -> Refusal {
    let parts = another(scene, |manifest| {
        manifest.policy.as_mut().expect("a policy").min_voters = 100;
    });
    unpublished(scene, parts).await
}

/// Another election whose second entry of the roll is changed.
fn with_entry(scene: &Scene, change: fn(&mut wire::RollEntry)) -> Vec<wire::PublishPart> {
    let mut parts = another(scene, |_| {});
    if let Some(wire::publish_part::Part::Roll(roll)) = &mut parts[2].part {
        change(&mut roll.entries[0]);
    }
    parts
}

pub(crate) async fn with_a_voter_twice(scene: &mut Scene) -> Refusal {
    let parts = with_entry(scene, |entry| entry.reference = "voter-1-0".to_owned());
    unpublished(scene, parts).await
}

pub(crate) async fn with_a_gap_in_the_roll(scene: &mut Scene) -> Refusal {
    unpublished(scene, with_entry(scene, |entry| entry.v = 7)).await
}

pub(crate) async fn with_another_roll(scene: &mut Scene) -> Refusal {
    unpublished(scene, with_entry(scene, |entry| entry.online ^= true)).await
}

/// Order 1: the third voter of box 1 is struck off.
fn order(scene: &Scene) -> Order {
    Order {
        election: scene.world.fixture.manifest.manifest().election().clone(),
        manifest_hash: scene.world.fixture.manifest.hash(),
        number: 1,
        after: None,
        reason: "moved away".to_owned(),
        change: Change::Correction(Correction {
            of_box: BoxId(1),
            voter: VoterIndex(2),
            live: false,
            enrolled: false,
        }),
    }
}

async fn propose(scene: &Scene, payload: Vec<u8>) -> Refusal {
    let envelope = scene
        .world
        .fixture
        .coordinator
        .seal_envelope(Kind::Order, payload);
    refusal(coordinator(scene).propose_order(envelope.to_wire()).await)
}

pub(crate) async fn an_order_for_another_manifest(scene: &mut Scene) -> Refusal {
    let mut order = order(scene);
    order.manifest_hash.0[0] ^= 1;
    propose(scene, order.encode()).await
}

pub(crate) async fn an_order_with_a_gap(scene: &mut Scene) -> Refusal {
    let mut order = order(scene);
    // After one that is not in force here.
    (order.number, order.after) = (2, Some(Hash32([1; 32])));
    propose(scene, order.encode()).await
}

pub(crate) async fn an_order_that_is_not_canonical(scene: &mut Scene) -> Refusal {
    let mut payload = order(scene).encode();
    payload.extend_from_slice(&[0xf8, 0x01, 0x01]);
    propose(scene, payload).await
}

/// A listed box takes no order, and one that was proposed before is not countersigned any more.
pub(crate) async fn an_order_for_a_listed_box(scene: &mut Scene) -> Refusal {
    // Corrections come after the close only.
    let mut order = order(scene);
    order.change = Change::Reissue(Reissue {
        of_box: BoxId(1),
        voter: VoterIndex(0),
        until: UnixSeconds(0),
        serial: 2,
    });
    let order = order.encode();
    let envelope = scene
        .world
        .fixture
        .coordinator
        .seal_envelope(Kind::Order, order.clone());
    coordinator(scene)
        .propose_order(envelope.to_wire())
        .await
        .expect("proposed");
    freeze(scene, 1);
    let request = wire::CountersignRequest {
        object_hash: envelope.hash().0.to_vec(),
        confirmation: "ward-7".to_owned(),
        changed: 0,
    };
    let unsigned = refusal(operator(scene).countersign(request).await);
    let mut other = Order::decode(&order).expect("an order");
    other.reason = "moved away, again".to_owned();
    let refused = propose(scene, other.encode()).await;
    assert_eq!(unsigned.reason, refused.reason);
    refused
}

pub(crate) async fn an_unsigned_order(scene: &mut Scene) -> Refusal {
    let order = order(scene);
    let mut envelope = scene
        .world
        .fixture
        .coordinator
        .seal_envelope(Kind::Order, order.encode())
        .to_wire();
    envelope.signatures[0].signature[5] ^= 1;
    refusal(coordinator(scene).propose_order(envelope).await)
}

pub(crate) async fn another_id_typed(scene: &mut Scene) -> Refusal {
    let request = wire::CountersignRequest {
        object_hash: scene.world.fixture.manifest.hash().0.to_vec(),
        confirmation: "ward-8".to_owned(),
        changed: 0,
    };
    refusal(operator(scene).countersign(request).await)
}

pub(crate) async fn an_unknown_object(scene: &mut Scene) -> Refusal {
    let request = wire::CountersignRequest {
        object_hash: vec![1; 32],
        confirmation: "ward-7".to_owned(),
        changed: 0,
    };
    refusal(operator(scene).countersign(request).await)
}

fn box_1() -> wire::BoxRef {
    wire::BoxRef {
        election: "ward-7".to_owned(),
        r#box: 1,
    }
}

pub(crate) async fn sealed_too_early(scene: &mut Scene) -> Refusal {
    scene.world.clock.set(CLOSES * 1000);
    refusal(coordinator(scene).seal(box_1()).await.map(drop))
}

pub(crate) async fn tallied_unsealed(scene: &mut Scene) -> Refusal {
    let request = wire::PrepareRequest {
        election: "ward-7".to_owned(),
        r#box: 1,
        session: 1,
    };
    refusal(coordinator(scene).prepare(request).await)
}

/// With Starts that this party did not sign since it started.
pub(crate) async fn tallied_unprepared(scene: &mut Scene) -> Refusal {
    let start = scene
        .world
        .fixture
        .sign_all(Kind::Start, b"the Start of an earlier life".to_vec())
        .to_wire();
    let request = wire::TallyRequest {
        election: "ward-7".to_owned(),
        r#box: 1,
        starts: vec![start; 3],
    };
    refusal(coordinator(scene).tally(request).await.map(drop))
}
