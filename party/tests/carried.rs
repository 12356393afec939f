//! Enrolled in one election, carried into another whose roll calls people otherwise: no credential moves, and no operator signs that unseen.

use std::sync::Arc;
use std::time::Duration;

use tally_party::cli::countersign;
use tally_party::operator::Operator;
use tally_party::store::{Kind, accepted, boxes, registers};
use tally_proto::envelope::Kind as Envelopes;
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, REGISTER, called, person};
use tally_proto::fixture::{OPENS, Shape};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, StationId, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::manifest::SignedManifest;
use tally_proto::order::{Change, Reissue, Revocation, SignedOrder};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::roll::{Roll, RollEntry};
use tally_proto::wire;

use crate::world::{Party, World, reason, refusal};

/// P1, and who of box 1 has enrolled in the first election, before anything opens.
async fn enrolled(voters: &[u32]) -> (World, Party) {
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    world.write_revocations(Role::P1, &[], OPENS - DAY, OPENS + DAY);
    let party = world.start_in_force(Role::P1).await;
    world.clock.set((OPENS - 3000) * 1000);
    for voter in voters {
        let shape = CardShape::of(&called(1, *voter), CardKey::P256, OPENS);
        let card = world.fixture.cards.as_mut().expect("cards").card(&shape);
        let at = UnixSeconds(world.clock_s());
        let record = world.fixture.card_record(&card, at, &Credential::new(7));
        let reply = party.enrolment().enrol(record[0].to_wire()).await.expect("taken");
        assert_eq!(reply.into_inner().v, *voter);
    }
    (world, party)
}

/// From now on the world is the election "second", with that roll of box 1.
fn define_second(world: &mut World, edit: impl FnOnce(&mut Vec<RollEntry>)) {
    let mut entries = world.fixture.rolls[0].entries().to_vec();
    edit(&mut entries);
    let roll = Roll::new(entries).expect("a roll");
    let mut manifest = world.fixture.manifest.manifest().to_wire();
    manifest.election = "second".into();
    manifest.boxes[0].voters = roll.voters();
    manifest.boxes[0].roll_root = roll.root().0.to_vec();
    let payload = prost::Message::encode_to_vec(&manifest);
    let envelope = world.fixture.sign_all(Envelopes::Manifest, payload);
    world.fixture.manifest = Arc::new(SignedManifest::open(envelope).expect("by the rules"));
    world.fixture.rolls[0] = roll;
}

fn object(world: &World) -> Hash32 {
    world.fixture.manifest.hash()
}

async fn carried(world: &World, party: &Party) -> wire::CarriedReply {
    let leaf = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let object_hash = object(world).0.to_vec();
    let mut control = party.control(&leaf);
    control
        .carried(wire::ObjectRef { object_hash })
        .await
        .expect("told")
        .into_inner()
}

async fn sign(world: &World, party: &Party, changed: u64) -> Result<wire::CountersignReply, tonic::Status> {
    let leaf = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let request = wire::CountersignRequest {
        object_hash: object(world).0.to_vec(),
        confirmation: "second".to_owned(),
        changed,
    };
    Ok(party.control(&leaf).countersign(request).await?.into_inner())
}

/// The numbers of box 1 with a record in the second election, once everything was looked at.
async fn taken_over(world: &World, party: &Party) -> Vec<u32> {
    world.put_in_force(party).await;
    let store = &party.running.party().store;
    let number = party
        .running
        .party()
        .elections
        .get("second")
        .expect("known")
        .number();
    for _ in 0..600 {
        let left = store.read(|tx| registers::not_taken_over(tx, REGISTER, number, 9));
        if left.expect("read").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut numbers = Vec::new();
    let read = store.read(|tx| {
        assert!(registers::not_taken_over(tx, REGISTER, number, 9)?.is_empty());
        accepted::for_each(tx, Kind::Record, number, 1, |_, row| {
            let (v, _) = row.authority_signature.split_first_chunk::<4>().expect("v");
            numbers.push(u32::from_be_bytes(*v));
            Ok::<_, tally_party::store::StoreError>(())
        })
    });
    read.expect("read");
    numbers.sort_unstable();
    numbers
}

fn told(reply: &wire::CarriedReply) -> Vec<(&str, &str, &str)> {
    let voters = reply.voters.iter();
    voters
        .map(|of| (of.election.as_str(), of.before.as_str(), of.now.as_str()))
        .collect()
}

#[tokio::test]
async fn codes_that_were_exchanged_move_no_credential_and_are_signed_by_nobody_unseen() {
    let (mut world, party) = enrolled(&[0, 1, 2]).await;
    define_second(&mut world, |entries| {
        let (one, other) = (entries[0].persons.clone(), entries[1].persons.clone());
        (entries[0].persons, entries[1].persons) = (other, one);
    });
    world.publish(&party).await.expect("published");
    let reply = carried(&world, &party).await;
    assert_eq!((reply.enrolled, reply.changed), (3, 2));
    let due = [
        ("ward-7", "voter-1-0", "voter-1-1"),
        ("ward-7", "voter-1-1", "voter-1-0"),
    ];
    assert_eq!(told(&reply), due);
    for wrong in [0, 1, 3] {
        let refused = refusal(sign(&world, &party, wrong).await);
        assert_eq!(refused.reason, Reason::RollPersonsChanged, "{refused}");
        assert!(
            refused.detail.contains("\"voter-1-0\" of election ward-7"),
            "{refused}"
        );
    }
    let second = party.running.party().elections.get("second").expect("known");
    assert!(!second.signed_manifest().is_countersigned_by(Role::P1));
    // The operator's command names them before it asks for the election's id, and signs with their number.
    let leaf = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let mut operator = Operator::over(party.peer_channel(Some(&leaf)));
    let mut output = Vec::new();
    countersign(&mut operator, &mut "second\n".as_bytes(), &mut output, false)
        .await
        .expect("signed");
    let shown = String::from_utf8(output).expect("text");
    let named = shown
        .find("\"voter-1-1\" of election ward-7 is \"voter-1-0\" here")
        .expect("named");
    assert!(
        named < shown.find("type the election's id").expect("asked"),
        "{shown}"
    );
    assert!(
        shown.contains("2 of 3 people") && shown.contains("Countersigned."),
        "{shown}"
    );
    // Again is fine, whatever was enrolled meanwhile.
    sign(&world, &party, 0).await.expect("the same signature");
    // Whoever signed it knowingly: nobody's credential stands at somebody else's number. The third one's follows.
    assert_eq!(taken_over(&world, &party).await, [2]);
}

#[tokio::test]
async fn a_reference_that_stands_for_somebody_else_is_told_and_a_voter_who_left_is_not() {
    let (mut world, party) = enrolled(&[0, 1, 2]).await;
    define_second(&mut world, |entries| {
        // Somebody else's card under the first one's name; the second one has moved away; the third one is called otherwise.
        entries[0].persons = vec![person("PNOEE-somebody")];
        entries[1].persons = vec![person("PNOEE-newcomer")];
        entries[1].reference = "newcomer".into();
        entries[2].reference = "renamed".into();
    });
    world.publish(&party).await.expect("published");
    let reply = carried(&world, &party).await;
    assert_eq!((reply.enrolled, reply.changed), (3, 2));
    assert_eq!(
        told(&reply),
        [("ward-7", "voter-1-0", ""), ("ward-7", "voter-1-2", "renamed")]
    );
    assert_eq!(reason(sign(&world, &party, 1).await), Reason::RollPersonsChanged);
    sign(&world, &party, 2).await.expect("seen");
    assert_eq!(taken_over(&world, &party).await, [0; 0]);
}

#[tokio::test]
async fn other_numbers_of_the_same_people_change_nothing() {
    let (mut world, party) = enrolled(&[0, 1, 2]).await;
    define_second(&mut world, |entries| entries[..4].reverse());
    world.publish(&party).await.expect("published");
    let reply = carried(&world, &party).await;
    assert_eq!((reply.enrolled, reply.changed), (3, 0));
    assert!(reply.voters.is_empty() && reply.orders.is_empty());
    assert_eq!(reason(sign(&world, &party, 1).await), Reason::RollPersonsChanged);
    sign(&world, &party, 0).await.expect("nothing to see");
    assert_eq!(taken_over(&world, &party).await, [1, 2, 3]);
}

/// What an order sets aside in one election is good in the next, unless it is ordered there too: so it is said before anybody signs.
#[tokio::test]
async fn orders_of_other_elections_are_shown_as_they_do_not_follow() {
    let (mut world, party) = enrolled(&[0]).await;
    let reissue = Change::Reissue(Reissue {
        serial: 0,
        of_box: BoxId(1),
        voter: VoterIndex(0),
        until: UnixSeconds(world.clock_s()),
    });
    let order = world.fixture.order(1, reissue);
    let mut control = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    control
        .complete(order.envelope().to_wire())
        .await
        .expect("in force");
    define_second(&mut world, |_| {});
    world.publish(&party).await.expect("published");
    let reply = carried(&world, &party).await;
    let [order] = reply.orders.as_slice() else {
        panic!("{reply:?}")
    };
    let first = ElectionId::new("ward-7").expect("an id");
    assert_eq!((order.election.as_str(), order.number), (first.as_str(), 1));
    assert_eq!(order.voter, "voter-1-0");
    assert!(
        order.does.contains("what the voter's card signed up to"),
        "{order:?}"
    );
    let leaf = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let mut operator = Operator::over(party.peer_channel(Some(&leaf)));
    let mut output = Vec::new();
    countersign(&mut operator, &mut "no\n".as_bytes(), &mut output, false)
        .await
        .expect("shown");
    let shown = String::from_utf8(output).expect("text");
    assert!(
        shown.contains("DO NOT FOLLOW") && shown.contains("order 1 of election ward-7, \"voter-1-0\" there"),
        "{shown}"
    );
}

/// Proposes an order of the first election, with the commission's signature alone.
async fn propose(world: &World, party: &Party, order: &SignedOrder) {
    let mut proposal = order.envelope().to_wire();
    let coordinator = world.fixture.coordinator.public_key();
    proposal
        .signatures
        .retain(|signature| signature.public_key == coordinator.as_bytes());
    let mut control = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    control.propose_order(proposal).await.expect("proposed");
}

/// What the operator reads who is asked to countersign.
async fn shown(world: &World, party: &Party) -> String {
    let leaf = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let mut operator = Operator::over(party.peer_channel(Some(&leaf)));
    let mut output = Vec::new();
    countersign(&mut operator, &mut "no\n".as_bytes(), &mut output, false)
        .await
        .expect("shown");
    String::from_utf8(output).expect("text")
}

/// A card is reported stolen while two elections are open: whoever has it votes on in the one that the order does not name.
#[tokio::test]
async fn an_order_says_in_which_other_elections_the_same_card_goes_on_counting() {
    let (mut world, party) = enrolled(&[0, 1]).await;
    let until = UnixSeconds(world.clock_s());
    let reissue = |voter, until| {
        let voter = VoterIndex(voter);
        let (serial, of_box) = (0, BoxId(1));
        Change::Reissue(Reissue {
            serial,
            of_box,
            voter,
            until,
        })
    };
    let orders = [reissue(0, until), reissue(1, until), reissue(2, until)];
    let orders = orders.map(|change| world.fixture.order(1, change));
    // The later election has the first voter under another name, and not the second.
    define_second(&mut world, |entries| {
        "somebody-0".clone_into(&mut entries[0].reference);
        entries.remove(1);
    });
    world.put_in_force(&party).await;
    let inner = party.running.party();
    let second = inner.elections.get("second").expect("known").number();

    for (order, also) in orders.iter().zip([vec!["somebody-0"], vec![], vec![]]) {
        propose(&world, &party, order).await;
        let text = shown(&world, &party).await;
        assert_eq!(text.contains("DOES NOTHING"), !also.is_empty(), "{text}");
        for reference in also {
            assert!(
                text.contains(&format!("election second, {reference:?} there")),
                "{text}"
            );
        }
    }
    // Once its list is made nothing can be ordered there any more.
    propose(&world, &party, &orders[0]).await;
    assert!(shown(&world, &party).await.contains("election second"));
    let frozen = inner.store.write(|tx| boxes::freeze(tx, second, 1));
    frozen.expect("written");
    let text = shown(&world, &party).await;
    assert!(
        text.contains("Order 1 of election ward-7") && !text.contains("DOES NOTHING"),
        "{text}"
    );
}

/// The seal of a station's machine was broken: its key comes back in the next election's manifest.
#[tokio::test]
async fn a_station_whose_key_was_revoked_elsewhere_is_shown() {
    let (mut world, party) = enrolled(&[]).await;
    let revocation = Change::Revocation(Revocation {
        station: StationId(2),
        from: UnixSeconds(world.clock_s()),
    });
    let order = world.fixture.order(1, revocation);
    define_second(&mut world, |_| {});
    world.publish(&party).await.expect("published");
    assert!(carried(&world, &party).await.stations.is_empty());
    assert!(!shown(&world, &party).await.contains("REVOKED, by order"));
    let mut control = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    control
        .complete(order.envelope().to_wire())
        .await
        .expect("in force");
    let reply = carried(&world, &party).await;
    let [station] = reply.stations.as_slice() else {
        panic!("{reply:?}")
    };
    assert_eq!(
        (station.station, station.election.as_str(), station.number),
        (2, "ward-7", 1)
    );
    let text = shown(&world, &party).await;
    assert!(
        text.contains("Station 2 HAS THE KEY OF A STATION THAT WAS REVOKED, by order 1 of election ward-7"),
        "{text}"
    );
}
