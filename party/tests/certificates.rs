//! A renewed certificate ends the one before, at a real server: for the coordinator and another party, at once remembered on disk and held to after a
//! restart; and never a station's, which the commission could make itself.

use std::time::Duration;

use tally_party::store::certificates::{self, Newest};
use tally_party::store::sim::SimDisk;
use tally_party::store::{Storage, Store};
use tally_proto::connect;
use tally_proto::fixture::Shape;
use tally_proto::ids::{Role, StationId, UnixSeconds};
use tally_proto::pki::{Leaf, Life, PeerRole, Shown, system_now};
use tally_proto::reason::Reason;
use tally_proto::wire;
use tokio::time::timeout;
use tonic::Status;

use crate::world::{self, Party, World, refusal};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR_S: u64 = 3600;

fn issued(world: &World, role: &PeerRole, hours_ago: u64) -> Leaf {
    let authority = match role {
        PeerRole::Party(party) => &world.fixture.authorities[*party as usize],
        _ => &world.fixture.coordinator_authority,
    };
    let now = system_now().get();
    let life = Life::between(
        UnixSeconds(now - hours_ago * HOUR_S),
        UnixSeconds(now + 24 * HOUR_S),
    );
    authority.issue_for(role, &[], life).expect("issued")
}

/// What each role asks for that is its own.
async fn asks(party: &Party, role: &PeerRole, leaf: &Leaf) -> Result<(), Status> {
    match role {
        PeerRole::Party(_) => {
            let mut peer = connect::peer(party.peer_channel(Some(leaf)));
            peer.log_heads(wire::LogHeadsRequest::default()).await.map(drop)
        }
        PeerRole::Coordinator => {
            let mut control = party.control(leaf);
            control.status(wire::StatusRequest::default()).await.map(drop)
        }
        _ => {
            // Its certificate is looked at before what it delivers.
            let delivered = party.station(leaf).deliver(wire::Receipt::default()).await;
            match delivered {
                Err(status) if world::reason(Err::<(), _>(status.clone())) == Reason::MessageMalformed => {
                    Ok(())
                }
                other => other.map(drop),
            }
        }
    }
}

fn remembered(party: &Party) -> Vec<(String, Newest)> {
    let store = &party.running.party().store;
    store.read(certificates::all).expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_certificate_is_refused_once_a_newer_one_has_been_known_for_an_hour() {
    let world = World::new(Shape::default());
    let roles = [PeerRole::Coordinator, PeerRole::Party(Role::P2)];
    let pairs = roles.map(|role| {
        let [stolen, renewed] = [3, 2].map(|hours_ago| issued(&world, &role, hours_ago));
        (role, stolen, renewed)
    });
    let station = PeerRole::Station(StationId(1));
    let [first, other] = [3, 2].map(|hours_ago| issued(&world, &station, hours_ago));
    let party = world.start(Role::P1).await;
    for leaf in [&first, &other] {
        asks(&party, &station, leaf).await.expect("a station's");
    }
    for (role, stolen, renewed) in &pairs {
        asks(&party, role, stolen).await.expect("the only one so far");
        asks(&party, role, renewed).await.expect("the newer one");
        asks(&party, role, stolen).await.expect("within the hour");
    }
    let all = async {
        loop {
            let rows = remembered(&party);
            let has = |leaf: &Leaf| {
                let begins = Shown::of(&leaf.cert_pem).expect("a certificate").begins();
                rows.iter().any(|(_, newest)| newest.from == begins)
            };
            if rows.len() == pairs.len() && pairs.iter().all(|(_, _, renewed)| has(renewed)) {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let rows = timeout(PATIENCE, all).await.expect("written down");
    party.running.stop().await;

    // The party is started an hour later, with what it wrote down.
    let disk = SimDisk::new();
    let store = Store::open(Storage::Backend(Box::new(disk.clone())), 1).expect("a store");
    let earlier: Vec<_> = rows
        .into_iter()
        .map(|(place, newest)| {
            let shown = UnixSeconds(newest.shown.get() - HOUR_S);
            (place, Newest { shown, ..newest })
        })
        .collect();
    store
        .write(|tx| certificates::put(tx, &earlier))
        .expect("written");
    drop(store);
    let party = world.start_on(Role::P1, disk).await;
    for (role, stolen, renewed) in &pairs {
        let refused = refusal(asks(&party, role, stolen).await);
        assert_eq!(refused.reason, Reason::CertificateReplaced, "{refused}");
        assert!(refused.detail.contains(&role.to_string()), "{refused}");
        asks(&party, role, renewed).await.expect("the newest");
        let refused = refusal(asks(&party, role, stolen).await);
        assert_eq!(refused.reason, Reason::CertificateReplaced, "{refused}");
    }
    let status = party.running.party().status("").await.expect("status");
    let told: Vec<&str> = (status.alarms.iter())
        .filter(|alarm| alarm.code == "certificate.replaced")
        .map(|alarm| alarm.about.as_str())
        .collect();
    assert_eq!(told, ["coordinator", "party:2"]);
    for leaf in [&first, &other] {
        asks(&party, &station, leaf)
            .await
            .expect("until an order ends the station");
    }
    // One of equal age is no older one: nobody is locked out by a second issue within one second.
    let (role, _, renewed) = &pairs[0];
    let begins = Shown::of(&renewed.cert_pem).expect("a certificate").begins();
    let life = Life::between(begins, UnixSeconds(begins.get() + 24 * HOUR_S));
    let twin = world.fixture.coordinator_authority.issue_for(role, &[], life);
    asks(&party, role, &twin.expect("issued")).await.expect("as new");
}
