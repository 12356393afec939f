//! Three servers that follow each other's logs.

use std::time::{Duration, Instant};

use tally_party::store::Storage;
use tally_party::store::sim::SimDisk;
use tally_proto::ballot::Submission;
use tally_proto::connect;
use tally_proto::fixture::Shape;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::PeerRole;
use tally_proto::wire;
use tally_proto::wire::peer_client::PeerClient;
use tonic::transport::Channel;

use super::liar::Liar;
use super::{Party, World};

/// What must come about comes about within this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);
pub(crate) const ID: &str = "ward-7";

pub(crate) struct Three {
    pub(crate) world: World,
    /// Pause between two looks at each other's logs; many elections want a longer one.
    pub(crate) every_ms: u64,
}

impl Three {
    pub(crate) fn new() -> Self {
        Self::with(Shape::default())
    }

    pub(crate) fn with(shape: Shape) -> Self {
        let mut world = World::connected(shape);
        world.trusting = false;
        Self { world, every_ms: 20 }
    }

    /// Starts a party on that disk, whatever is on it.
    pub(crate) async fn start(&self, role: Role, disk: SimDisk) -> Party {
        self.start_at(role, disk, self.world.peer_port(role)).await
    }

    /// The same behind somebody who lies.
    pub(crate) async fn start_liar(&self, role: Role, disk: SimDisk) -> Liar {
        let party = self.start_at(role, disk, 0).await;
        Liar::before(&self.world, party).await
    }

    /// The same on any storage, of which `disk` is the disk.
    pub(crate) async fn start_in(&self, role: Role, storage: Storage, disk: SimDisk) -> Party {
        let port = self.world.peer_port(role);
        self.start_with(role, storage, disk, port).await
    }

    async fn start_at(&self, role: Role, disk: SimDisk, peer_port: u16) -> Party {
        let storage = Storage::Backend(Box::new(disk.clone()));
        self.start_with(role, storage, disk, peer_port).await
    }

    async fn start_with(&self, role: Role, storage: Storage, disk: SimDisk, peer_port: u16) -> Party {
        let mut config = self.world.config(role);
        config.listen_peer.set_port(peer_port);
        config.mirror.every_ms = self.every_ms;
        config.mirror.grace_ms = 0;
        self.world.start_with(config, storage, disk).await
    }

    /// All three with fresh disks and the election in force.
    pub(crate) async fn all(&self) -> [Party; 3] {
        let mut parties = Vec::new();
        for role in Role::ALL {
            let party = self.start(role, SimDisk::new()).await;
            self.world.put_in_force(&party).await;
            parties.push(party);
        }
        let parties: [Party; 3] = parties.try_into().unwrap_or_else(|_| panic!("three"));
        for party in &parties {
            open(party).await;
        }
        parties
    }

    pub(crate) fn client(&self, of: &Party, role: PeerRole, by: Role) -> PeerClient<Channel> {
        connect::peer(of.peer_channel(Some(&self.world.leaf_of(by, role))))
    }

    pub(crate) async fn log_of(&self, party: &Party) -> wire::ElectionStatus {
        let leaf = self.world.leaf_of(party.role, PeerRole::Operator(party.role));
        let asked = wire::StatusRequest {
            election: ID.to_owned(),
        };
        let status = party.control(&leaf).status(asked).await.expect("status");
        status.into_inner().elections.remove(0)
    }

    pub(crate) async fn about(&self, party: &Party, of: Role) -> wire::PeerLog {
        let status = self.log_of(party).await;
        let peer = status.peers.into_iter().find(|peer| peer.party == of.number());
        peer.expect("a peer")
    }

    /// Waits until `party` has nothing left to look at in the logs of `of`, which it has heard to the end.
    pub(crate) async fn caught_up(&self, party: &Party, of: &[&Party]) {
        for other in of {
            let size = self.log_of(other).await.log_size;
            until("caught up", async || {
                let about = self.about(party, other.role).await;
                about.size >= size && about.behind == 0
            })
            .await;
        }
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < DEADLINE, "{what}: not so in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Stops a party. Its disk, as a kill at that moment would leave it: nothing of the old server writes to it any more.
pub(crate) async fn stopped(party: Party) -> SimDisk {
    let disk = party.disk.after_crash(3);
    party.running.stop().await;
    disk
}

pub(crate) async fn open(party: &Party) {
    let inner = party.running.party();
    let number = inner.elections.get(ID).expect("known").number();
    until("accepting", async || inner.gate.is_open(number)).await;
}

pub(crate) async fn submit(party: &Party, ballot: &[Submission; 3]) -> wire::Receipt {
    let receipt = party.intake().submit(party.part(ballot)).await;
    receipt.expect("accepted").into_inner()
}

pub(crate) fn trust(election: &str) -> wire::TrustStoreRequest {
    wire::TrustStoreRequest {
        election: election.to_owned(),
        confirmation: election.to_owned(),
    }
}

pub(crate) async fn open_by_operator(party: &Party) {
    party.running.party().trust_store(&trust(ID)).expect("known");
    open(party).await;
}

/// Has a party seal box 1, to the end: how many candidates it had to fill, and the Seal.
pub(crate) async fn seal(three: &Three, party: &Party) -> (u64, Vec<u8>) {
    use tally_proto::wire::seal_event::Event;
    let mut control = party.control(&three.world.leaf_of(party.role, PeerRole::Coordinator));
    let asked = wire::BoxRef {
        election: ID.to_owned(),
        r#box: 1,
    };
    let mut events = control.seal(asked).await.expect("begins").into_inner();
    let mut to_fill = 0;
    while let Some(event) = events.message().await.expect("goes on") {
        match event.event {
            Some(Event::Progress(progress)) if progress.phase == "fill" => to_fill = progress.total,
            Some(Event::Done(done)) => return (to_fill, done.seal.expect("a Seal").payload.to_vec()),
            Some(Event::Abort(_)) | None => panic!("aborted"),
            Some(_) => {}
        }
    }
    panic!("the stream ended without a word")
}
