//! What voters and stations meet.

use tally_proto::connect::{self, Dial};
use tally_proto::fixture::{CLOSES, OPENS, ports};
use tally_proto::identity::Address;
use tally_proto::ids::Role;
use tally_proto::pki::{Anchor, PeerRole};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::elections;
use crate::scene::Scene;
use crate::world::refusal;

async fn submit(scene: &Scene, submission: wire::Submission) -> Refusal {
    refusal(scene.party.intake().submit(submission).await)
}

/// A ballot of now, changed.
async fn changed(scene: &mut Scene, change: impl FnOnce(&mut wire::Submission)) -> Refusal {
    let ballot = scene.world.ballot();
    let mut part = scene.party.part(&ballot);
    change(&mut part);
    submit(scene, part).await
}

/// A ballot that says it was cast at `cast_at`, when it is `now`.
async fn at(scene: &mut Scene, now: u64, cast_at: u64) -> Refusal {
    scene.world.clock.set(now * 1000);
    let ballot = scene.world.ballot_at(cast_at);
    submit(scene, scene.party.part(&ballot)).await
}

pub(crate) async fn before_opening(scene: &mut Scene) -> Refusal {
    at(scene, OPENS - 1, OPENS - 1).await
}

pub(crate) async fn after_close(scene: &mut Scene) -> Refusal {
    at(scene, CLOSES + 1, CLOSES + 1).await
}

pub(crate) async fn out_of_range(scene: &mut Scene) -> Refusal {
    let now = scene.world.clock_s();
    at(scene, now, now - 61).await
}

pub(crate) async fn known_with_other_content(scene: &mut Scene) -> Refusal {
    let other = scene.world.ballot();
    let mut mixed = scene.first.clone();
    mixed.ciphertext = scene.party.part(&other).ciphertext;
    submit(scene, mixed).await
}

fn header(submission: &mut wire::Submission) -> &mut wire::BallotHeader {
    submission.header.as_mut().expect("a header")
}

pub(crate) async fn of_an_unknown_station(scene: &mut Scene) -> Refusal {
    let ballot = scene.world.station_ballot(1, 1, scene.world.clock_s());
    let mut part = scene.party.part(&ballot);
    let authority = wire::StationAuthority {
        station: 9,
        sequence: 1,
    };
    header(&mut part).authority = Some(wire::ballot_header::Authority::Station(authority));
    submit(scene, part).await
}

/// Of a station whose own hours have not come, while its channel is open.
pub(crate) async fn of_a_closed_station(scene: &mut Scene) -> Refusal {
    let now = scene.world.clock_s();
    let ballot = scene.world.station_ballot(1, 1, now);
    elections::define_another(scene, |manifest| {
        manifest.stations[0].openings = vec![wire::Opening {
            opens_local: "tomorrow morning".to_owned(),
            closes_local: "tomorrow night".to_owned(),
            opens_s: now + 10,
            closes_s: now + 20,
        }];
    })
    .await;
    let mut part = scene.party.part(&ballot);
    header(&mut part).election = elections::ANOTHER.to_owned();
    let station = scene.leaf(PeerRole::Station(1.into()));
    refusal(scene.party.station(&station).submit(part).await)
}

pub(crate) async fn with_a_wrong_station_signature(scene: &mut Scene) -> Refusal {
    let ballot = scene.world.station_ballot(1, 1, scene.world.clock_s());
    let mut part = scene.party.part(&ballot);
    part.authority_signature[3] ^= 1;
    let station = scene.leaf(PeerRole::Station(1.into()));
    refusal(scene.party.station(&station).submit(part).await)
}

pub(crate) async fn online_with_a_station_signature(scene: &mut Scene) -> Refusal {
    changed(scene, |part| part.authority_signature = vec![1; 64]).await
}

pub(crate) async fn of_an_unknown_election(scene: &mut Scene) -> Refusal {
    changed(scene, |part| header(part).election = "ward-9".to_owned()).await
}

pub(crate) async fn of_an_unknown_box(scene: &mut Scene) -> Refusal {
    changed(scene, |part| header(part).r#box = 9).await
}

/// Of an election that has no stations.
pub(crate) async fn on_an_unknown_channel(scene: &mut Scene) -> Refusal {
    let ballot = scene.world.station_ballot(1, 1, scene.world.clock_s());
    elections::define_another(scene, |manifest| {
        manifest.channels.truncate(1);
        manifest.stations.clear();
    })
    .await;
    let mut part = scene.party.part(&ballot);
    header(&mut part).election = elections::ANOTHER.to_owned();
    submit(scene, part).await
}

pub(crate) async fn without_a_header(scene: &mut Scene) -> Refusal {
    changed(scene, |part| part.header = None).await
}

pub(crate) async fn too_large(scene: &mut Scene) -> Refusal {
    changed(scene, |part| part.ciphertext = vec![7; 9 << 10].into()).await
}

pub(crate) async fn not_opening_its_commitment(scene: &mut Scene) -> Refusal {
    let wrong = scene.world.wrong_commitment(&scene.party);
    submit(scene, wrong).await
}

pub(crate) async fn with_a_flipped_bit(scene: &mut Scene) -> Refusal {
    changed(scene, |part| {
        let mut bytes = part.ciphertext.to_vec();
        bytes[40] ^= 1;
        part.ciphertext = bytes.into();
    })
    .await
}

pub(crate) async fn of_a_station_without_certificate(scene: &mut Scene) -> Refusal {
    let ballot = scene.world.station_ballot(1, 1, scene.world.clock_s());
    submit(scene, scene.party.part(&ballot)).await
}

pub(crate) async fn of_an_election_not_in_force(scene: &mut Scene) -> Refusal {
    let parts = elections::another(scene, |_| {});
    elections::publish(scene, parts).await.expect("published");
    changed(scene, |part| {
        header(part).election = elections::ANOTHER.to_owned()
    })
    .await
}

pub(crate) async fn of_a_listed_box(scene: &mut Scene) -> Refusal {
    elections::freeze(scene, 1);
    changed(scene, |_| {}).await
}

pub(crate) async fn a_forged_receipt(scene: &mut Scene) -> Refusal {
    let mut forged = scene.receipt.clone();
    forged.position += 1;
    refusal(scene.party.intake().deliver(forged).await)
}

pub(crate) async fn beyond_the_log(scene: &mut Scene) -> Refusal {
    let request = wire::InclusionRequest {
        election: "ward-7".to_owned(),
        position: 5,
        size: 6,
    };
    refusal(scene.party.intake().inclusion(request).await)
}

/// Asks for the time on `port` of this machine, where a server of `whose` authority is expected.
async fn ask_the_time(scene: &Scene, port: u16, whose: Role) -> Refusal {
    let identity = scene.world.fixture.manifest.manifest().party(whose);
    let anchor: &Anchor = identity.anchor();
    let address = Address::new("test", &format!("https://127.0.0.1:{port}")).expect("an address");
    let dial = Dial {
        address: &address,
        anchor,
        leaf: None,
    };
    let mut intake = connect::intake(dial.channel().expect("a channel"));
    let status = intake.clock(wire::ClockRequest {}).await.expect_err("nobody");
    Refusal::of_status(&status)
}

pub(crate) async fn where_nobody_listens(scene: &mut Scene) -> Refusal {
    let [port] = ports::free();
    ask_the_time(scene, port, Role::P1).await
}

pub(crate) async fn where_somebody_else_listens(scene: &mut Scene) -> Refusal {
    let port = scene.party.running.public_address().port();
    ask_the_time(scene, port, Role::P2).await
}

/// What a party of a later version might say.
pub(crate) async fn a_code_of_another_version(_: &mut Scene) -> Refusal {
    Refusal::from_wire(&wire::Refusal {
        digest: Vec::new(),
        reason: "ballot.too-blue".to_owned(),
        detail: "the ballot is too blue".to_owned(),
    })
}
