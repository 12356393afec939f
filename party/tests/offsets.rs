//! Three servers agree on the keys of the offsets of enrolled credentials, over mutual TLS.

mod world;

use std::net::TcpListener;

use tally_party::store::Storage;
use tally_party::store::sim::SimDisk;
use tally_proto::connect;
use tally_proto::fixture::Shape;
use tally_proto::ids::{Hash32, RegisterId, Role, RoleExt as _};
use tally_proto::offsets::OffsetKey;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::wire;
use tonic::Status;

use world::{Party, World, reason};

const REGISTER: &str = "city-2027";

/// A world whose parties know each other's ports.
struct Three {
    world: World,
    ports: [u16; 3],
}

impl Three {
    fn new() -> Self {
        // Held together, so that they differ.
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let ports = held.map(|listener| listener.local_addr().expect("bound").port());
        let world = World::new(Shape {
            peer_ports: ports,
            ..Shape::default()
        });
        Self { world, ports }
    }

    async fn start_on(&self, role: Role, disk: SimDisk) -> Party {
        let mut config = self.world.config(role);
        config.listen_peer.set_port(self.ports[role.slot()]);
        let storage = Storage::Backend(Box::new(disk.clone()));
        self.world.start_with(config, storage, disk).await
    }

    async fn start(&self, role: Role) -> Party {
        self.start_on(role, SimDisk::new()).await
    }

    /// What the coordinator is told by `party`.
    async fn commitments(&self, party: &Party) -> Result<Vec<(u32, Hash32)>, Status> {
        let mut control = party.control(&self.world.leaf_of(party.role, PeerRole::Coordinator));
        let register = wire::RegisterRef {
            register: REGISTER.into(),
        };
        let reply = control.offset_commitments(register).await?.into_inner();
        let one =
            |of: &wire::CredentialOffset| (of.index, Hash32::from_slice(&of.commitment).expect("32 bytes"));
        Ok(reply.offsets.iter().map(one).collect())
    }

    /// What `asked` gives `caller` as K_j.
    async fn key(&self, asked: &Party, caller: Role, j: u32) -> Result<Vec<u8>, Status> {
        let leaf = self.world.leaf_of(caller, PeerRole::Party(caller));
        let request = wire::OffsetKeyRequest {
            register: REGISTER.into(),
            index: j,
        };
        let mut peer = connect::peer(asked.peer_channel(Some(&leaf)));
        Ok(peer.offset_key(request).await?.into_inner().key)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pair_of_neighbours_comes_to_hold_one_key() {
    let three = Three::new();
    let [p1, p2, p3] = [
        three.start(Role::P1).await,
        three.start(Role::P2).await,
        three.start(Role::P3).await,
    ];
    // The first time each draws its own, and has its neighbour's only if that was asked before.
    let first = three.commitments(&p1).await.expect("P1 draws K_1");
    assert_eq!(first.iter().map(|(j, _)| *j).collect::<Vec<_>>(), [1]);
    let third = three
        .commitments(&p3)
        .await
        .expect("P3 draws K_3 and is given K_1");
    assert_eq!(third.iter().map(|(j, _)| *j).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(third[1], first[0], "both holders name the same commitment");
    three.commitments(&p2).await.expect("P2");
    let mut all = Vec::new();
    for party in [&p1, &p2, &p3] {
        let held = three.commitments(party).await.expect("both");
        let own = party.role;
        assert_eq!(
            held.iter().map(|(j, _)| *j).collect::<Vec<_>>(),
            [own.number(), own.next().number()]
        );
        all.extend(held);
    }
    all.sort_by_key(|(j, _)| *j);
    for copies in all.chunks(2) {
        assert_eq!(copies[0], copies[1], "both holders name the same commitment");
    }
    // Each key opens its commitment, for its two holders only; nobody else is given it.
    let register = RegisterId::new(REGISTER).expect("an id");
    for (asked, caller) in [(&p1, Role::P2), (&p1, Role::P3), (&p2, Role::P1), (&p3, Role::P2)] {
        for j in Role::ALL {
            let answer = three.key(asked, caller, j.number()).await;
            let together = [j, j.prev()].contains(&asked.role) && [j, j.prev()].contains(&caller);
            if together {
                let key = OffsetKey::from_bytes(&answer.expect("both hold it")).expect("64 bytes");
                let commitment = key.commitment(&register, j);
                assert!(all.contains(&(j.number(), commitment)), "K_{j} opens C_{j}");
            } else {
                assert_eq!(
                    reason(answer),
                    Reason::RoleRefused,
                    "{caller} asks {} for K_{j}",
                    asked.role
                );
            }
        }
    }
    assert_eq!(
        reason(three.key(&p1, Role::P2, 0).await),
        Reason::MessageMalformed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_restart_and_come_back_after_a_lost_store() {
    let three = Three::new();
    let [p1, p2, p3] = [
        three.start(Role::P1).await,
        three.start(Role::P2).await,
        three.start(Role::P3).await,
    ];
    for _ in 0..2 {
        for party in [&p1, &p2, &p3] {
            three.commitments(party).await.expect("asked");
        }
    }
    let before = three.commitments(&p2).await.expect("P2's");
    assert_eq!(before.len(), 2);
    let disk = p2.disk.clone();
    p2.running.stop().await;
    let p2 = three.start_on(Role::P2, disk).await;
    assert_eq!(three.commitments(&p2).await.expect("after a restart"), before);
    p2.running.stop().await;
    // Another disk: P1 has K_2 and P3 has K_3, so nothing new is drawn.
    let p2 = three.start(Role::P2).await;
    let given = three.key(&p2, Role::P1, 2).await.expect("asked");
    assert!(given.is_empty(), "nothing is drawn for a peer");
    assert_eq!(
        three.commitments(&p2).await.expect("from both neighbours"),
        before
    );
    // A party that is alone draws nothing: its neighbour may hold what it lost.
    let alone = Three::new();
    let p1 = alone.start(Role::P1).await;
    assert_eq!(reason(alone.commitments(&p1).await), Reason::PartyUnreachable);
}
