//! One party with an election in force and one ballot accepted.

use tally_proto::fixture::Shape;
use tally_proto::ids::Role;
use tally_proto::pki::{Leaf, PeerRole};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::Met;
use crate::world::{Party, World};

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) party: Party,
    /// The ballot that was accepted, and its receipt.
    pub(crate) first: wire::Submission,
    pub(crate) receipt: wire::Receipt,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let mut world = World::new(Shape::default());
        let party = world.start_in_force(Role::P1).await;
        let ballot = world.ballot();
        let first = party.part(&ballot);
        let accepted = party.intake().submit(first.clone()).await;
        let receipt = accepted.expect("accepted").into_inner();
        Self {
            world,
            party,
            first,
            receipt,
        }
    }

    /// The first ballot is still there, with the same receipt, and counted once.
    pub(crate) async fn intact(&self) {
        let again = self.party.intake().submit(self.first.clone()).await;
        assert_eq!(again.expect("known").into_inner(), self.receipt);
        let status = self
            .party
            .control(&self.leaf(PeerRole::Coordinator))
            .status(wire::StatusRequest {
                election: "ward-7".to_owned(),
            })
            .await
            .expect("status")
            .into_inner();
        assert_eq!(status.elections[0].boxes[0].received_online, 1);
    }

    /// The party loses power and is started again.
    pub(crate) async fn restart(&mut self) {
        let disk = self.party.disk.after_crash(1);
        let back = self.world.start_on(Role::P1, disk).await;
        std::mem::replace(&mut self.party, back).running.stop().await;
    }

    /// A certificate of P1's world.
    pub(crate) fn leaf(&self, role: PeerRole) -> Leaf {
        self.world.leaf_of(Role::P1, role)
    }
}

/// Brings a refusal about in a scene of its own, and sees that nothing was lost by it.
pub(crate) async fn driven(case: impl AsyncFnOnce(&mut Scene) -> Refusal) -> Met {
    let mut scene = Scene::new().await;
    let refusal = case(&mut scene).await;
    scene.intact().await;
    scene.party.running.stop().await;
    Met::Here(refusal.reason, refusal.to_string())
}
