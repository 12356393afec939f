//! Orders of correction are taken after the close and before the List, whoever asks.

use tally_proto::calendar::{Channel as Calendar, ChannelKind};
use tally_proto::envelope::Kind;
use tally_proto::fixture::{CLOSES, DRAINED, Shape};
use tally_proto::ids::{BoxId, Hash32, Role, VoterIndex};
use tally_proto::order::{Change, Correction, Order, SignedOrder};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::wire;
use tally_proto::wire::control_client::ControlClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::world::{Party, World, refusal};

struct Scene {
    world: World,
    party: Party,
    coordinator: ControlClient<Channel>,
    operator: ControlClient<Channel>,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new(Shape::default());
        let party = world.start_in_force(Role::P1).await;
        let client = |role| party.control(&world.leaf_of(Role::P1, role));
        Scene {
            coordinator: client(PeerRole::Coordinator),
            operator: client(PeerRole::Operator(Role::P1)),
            world,
            party,
        }
    }

    fn at(&self, second: u64) {
        self.world.clock.set(second * 1000);
    }

    fn order(&self, after: Option<&SignedOrder>, number: u32, change: Change) -> Order {
        Order {
            after: after.map(SignedOrder::hash),
            election: self.world.fixture.manifest.manifest().election().clone(),
            manifest_hash: self.world.fixture.manifest.hash(),
            number,
            reason: "for a test".into(),
            change,
        }
    }

    async fn propose(&mut self, order: &Order) -> Result<(), Status> {
        let coordinator = &self.world.fixture.coordinator;
        let envelope = coordinator.seal_envelope(Kind::Order, order.encode());
        self.coordinator.propose_order(envelope.to_wire()).await.map(drop)
    }

    async fn countersign(&mut self, order: &Order) -> Result<(), Status> {
        let sign = wire::CountersignRequest {
            object_hash: Hash32::of(&order.encode()).0.to_vec(),
            confirmation: "ward-7".into(),
            changed: 0,
        };
        self.operator.countersign(sign).await.map(drop)
    }
}

fn strike(voter: u32) -> Change {
    Change::Correction(Correction {
        of_box: BoxId(1),
        voter: VoterIndex(voter),
        live: true,
        enrolled: false,
    })
}

/// The refusal names the second after which corrections may come.
fn comes_too_early(result: Result<(), Status>, until: u64) {
    let refused = refusal(result);
    assert_eq!(refused.reason, Reason::OrderInvalid);
    let until = tally_proto::ids::UnixSeconds(until).to_string();
    assert!(
        refused.detail.contains("after the last close") && refused.detail.contains(&until),
        "{refused}"
    );
}

#[tokio::test]
async fn a_correction_is_neither_taken_nor_signed_before_the_close() {
    let mut scene = Scene::new().await;
    let order = scene.order(None, 1, strike(2));
    comes_too_early(scene.propose(&order).await, CLOSES);
    // On the very last second somebody may still vote.
    scene.at(CLOSES);
    comes_too_early(scene.propose(&order).await, CLOSES);
    scene.at(CLOSES + 1);
    scene.propose(&order).await.expect("after the close");
    // An operator whose clock is not there yet signs nothing, whoever took the proposal before.
    scene.at(CLOSES);
    comes_too_early(scene.countersign(&order).await, CLOSES);
    let stands = scene
        .party
        .running
        .party()
        .elections
        .get("ward-7")
        .expect("known");
    assert_eq!(stands.orders_in_force().len(), 0);
    scene.at(CLOSES + 1);
    scene.countersign(&order).await.expect("signed");
    let complete = scene.world.fixture.order(1, strike(2));
    let reply = scene.coordinator.complete(complete.envelope().to_wire()).await;
    assert!(reply.expect("complete").into_inner().in_force);

    // And none once this party's List is signed.
    scene.at(DRAINED + 1);
    let party = scene.party.running.party();
    let frozen = party
        .store
        .write(|tx| tally_party::store::boxes::freeze(tx, 1, 1));
    frozen.expect("written");
    let late = scene.order(Some(&complete), 2, strike(3));
    assert_eq!(refusal(scene.propose(&late).await).reason, Reason::SealAlready);
}

/// The online channel closes 500 s later.
fn longer(scene: &Scene) -> Change {
    let manifest = scene.world.fixture.manifest.manifest();
    let mut longer = manifest.channel(ChannelKind::Online).expect("online").to_wire();
    longer.openings[0].closes_s = CLOSES + 500;
    longer.receive_until_s = CLOSES + 600;
    Change::Calendar(Calendar::from_wire(&longer).expect("a calendar"))
}

#[tokio::test]
async fn a_correction_waits_for_every_close_that_this_party_has_signed() {
    for signed in [false, true] {
        let mut scene = Scene::new().await;
        let first = scene.order(None, 1, longer(&scene));
        scene.propose(&first).await.expect("proposed");
        if signed {
            scene.countersign(&first).await.expect("signed");
        }
        let correction = scene.order(None, 2, strike(2));
        scene.at(CLOSES + 1);
        let result = scene.propose(&correction).await;
        if signed {
            comes_too_early(result, CLOSES + 500);
            scene.at(CLOSES + 501);
            scene.propose(&correction).await.expect("after that close too");
        } else {
            // Proposed, and signed by nobody here: it may never be in force.
            result.expect("after the close in force");
        }
    }
}
