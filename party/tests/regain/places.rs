//! What a restored party accepted and has not got back whole keeps its places from others.

use std::sync::atomic::Ordering;

use tally_proto::fixture::cards::{CardKey, CardShape, DAY, called};
use tally_proto::fixture::{OPENS, OpenShape, Shape};
use tally_proto::ids::{Role, RoleExt as _, StationId, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::wire;

use super::{with_liar, withholding};

use crate::world::three::{Three, open, submit, until};
use crate::world::{Party, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_keeps_its_station_s_number_and_its_room() {
    // Ten ballots: five online, five at stations.
    let mut three = Three::with(Shape {
        max_ballots: 10,
        ..Shape::default()
    });
    let (one, two, third) = with_liar(&three).await;
    let backup = one.disk.after_crash(1);
    let now = three.world.clock_s();
    let station = three.world.leaf_of(Role::P1, PeerRole::Station(StationId(1)));
    let mut cast = vec![three.world.station_ballot(1, 1, now)];
    let mut receipts = Vec::new();
    for party in [&one, &two.party] {
        let given = party.station(&station).submit(party.part(&cast[0])).await;
        receipts.push(given.expect("taken").into_inner());
    }
    receipts.truncate(1);
    for _ in 0..5 {
        let ballot = three.world.ballot();
        receipts.push(submit(&one, &ballot).await);
        submit(&two.party, &ballot).await;
        cast.push(ballot);
    }
    for other in [&two.party, &third] {
        three.caught_up(other, &[&one]).await;
    }
    three.caught_up(&third, &[&two.party]).await;
    one.running.stop().await;
    three.world.boot(Role::P1);
    let withheld = withholding(&two);
    let one = three.start(Role::P1, backup).await;
    open(&one).await;
    assert_eq!(three.log_of(&one).await.lost, 6);
    let again = three.world.station_ballot(1, 1, now);
    let refused = refusal(one.station(&station).submit(one.part(&again)).await);
    assert_eq!(refused.reason, Reason::BallotStationSequence, "{refused}");
    // Four more are ten, and what its List may hold.
    for _ in 0..4 {
        let ballot = three.world.ballot();
        submit(&one, &ballot).await;
    }
    let beyond = three.world.ballot();
    let refused = refusal(one.intake().submit(one.part(&beyond)).await);
    assert_eq!(refused.reason, Reason::BoxFull, "{refused}");
    assert!(refused.detail.contains("10 ballots"), "{refused}");
    withheld.store(false, Ordering::Relaxed);
    until("mended", async || three.log_of(&one).await.lost == 0).await;
    let known = one.station(&station).submit(one.part(&cast[0])).await;
    assert_eq!(known.expect("known").into_inner(), receipts[0]);
    for (ballot, receipt) in cast.iter().zip(&receipts).skip(1) {
        assert_eq!(submit(&one, ballot).await, *receipt);
    }
    drop(third);
}

/// Enrols a person on the open roll at these parties, P1 the first of them: what P1 said.
async fn enrolled(
    three: &mut Three,
    person: u32,
    parties: &[&Party],
) -> (wire::RecordSubmission, wire::EnrolReply) {
    let shape = CardShape::of(&called(9, person), CardKey::P256, OPENS);
    let at = UnixSeconds(three.world.clock_s());
    let cards = three.world.fixture.cards.as_mut().expect("cards");
    let card = cards.card(&shape);
    let record = three.world.fixture.card_record(&card, at, &Credential::new(7));
    let mut enrolment = parties[0].enrolment();
    let own = record[0].to_wire();
    let reply = enrolment.enrol(own.clone()).await.expect("taken").into_inner();
    let receipt = Receipt::from_wire(reply.receipt.as_ref().expect("one")).expect("a receipt");
    for party in &parties[1..] {
        let part = record[party.role.slot()].clone();
        let part = part.numbered_by(VoterIndex(reply.v), receipt.clone()).to_wire();
        party.enrolment().enrol(part).await.expect("taken");
    }
    (own, reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_an_open_roll_is_given_once_though_its_record_is_not_whole() {
    let roll = OpenShape {
        most: 5,
        freezes: OPENS + 3000,
        min_voters: 1,
    };
    let mut three = Three::with(Shape {
        cards: true,
        registrars: 0,
        open: Some(roll),
        ..Shape::default()
    });
    for role in Role::ALL {
        three.world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
    }
    let (one, two, third) = with_liar(&three).await;
    let backup = one.disk.after_crash(1);
    let (first, given) = enrolled(&mut three, 1, &[&one, &two.party, &third]).await;
    assert_eq!(given.v, 0);
    for other in [&two.party, &third] {
        three.caught_up(other, &[&one]).await;
    }
    one.running.stop().await;
    three.world.boot(Role::P1);
    let withheld = withholding(&two);
    let one = three.start(Role::P1, backup).await;
    open(&one).await;
    assert_eq!(three.log_of(&one).await.lost, 1);
    let (_, next) = enrolled(&mut three, 2, &[&one, &two.party, &third]).await;
    assert_eq!(next.v, 1, "the first number is taken");
    withheld.store(false, Ordering::Relaxed);
    until("mended", async || three.log_of(&one).await.lost == 0).await;
    let again = one.enrolment().enrol(first).await.expect("known").into_inner();
    assert_eq!((again.v, again.receipt), (0, given.receipt));
    drop(third);
}
