//! Each party looks for itself at what a card signed: what one of them alone refuses does not stand, whatever the two others have taken.

use tally_party::clock::ManualClock;
use tally_party::store::Storage;
use tally_party::store::sim::SimDisk;
use tally_proto::envelope::Envelope;
use tally_proto::fixture::DRAINED;
use tally_proto::pki::PeerRole;
use tally_proto::sealing::{BoxBody, Claims, Inputs, Sealed, SignedList, compute};
use tally_proto::wire;
use tally_proto::wire::seal_event::Event;

use super::*;
use crate::world::refusal;

/// P3's clock is off by so much.
const OFF_S: u64 = 400;

/// Three parties that know each other, and P3's own clock.
async fn start_apart() -> (World, Vec<Party>, ManualClock) {
    let world = World::connected(Shape {
        cards: true,
        ..Shape::default()
    });
    let own = ManualClock::new((OPENS + 100) * 1000);
    let mut parties = Vec::new();
    for role in Role::ALL {
        world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
        let clock = if role == Role::P3 { &own } else { &world.clock };
        let disk = SimDisk::new();
        let storage = Storage::Backend(Box::new(disk.clone()));
        let party = world
            .start_by(clock.clone(), world.config(role), storage, disk)
            .await;
        // Later ones have the election of it.
        if role == Role::P1 {
            refuses_another_roll(&world, &party).await;
        }
        world.put_in_force(&party).await;
        parties.push(party);
    }
    (world, parties, own)
}

/// The manifest commits to what the roll says of people: a commission that gives one party another roll gives it none.
async fn refuses_another_roll(world: &World, party: &Party) {
    world.hold_offset_keys(party);
    let mut parts = world.publication();
    let mut persons = Vec::new();
    for part in &mut parts {
        if let Some(wire::publish_part::Part::Roll(roll)) = &mut part.part {
            persons.extend(roll.entries.iter_mut().flat_map(|entry| &mut entry.persons));
        }
    }
    *persons[1] = vec![7; 32];
    let leaf = world.leaf_of(party.role, PeerRole::Coordinator);
    let mut control = party.control(&leaf);
    let refused = refusal(control.publish(tokio_stream::iter(parts)).await);
    assert_eq!(refused.reason, Reason::RollMismatch, "{refused}");
}

async fn tries(
    world: &World,
    parties: &[Party],
    made: &cards::Card,
) -> Result<tally_client::Enrolled, EnrolError> {
    let file = Card::File(CardFile::open(&pkcs12(world, made), PASSWORD).expect("opens"));
    let mut never = |_: &str| panic!("asked");
    let mut rng = StdRng::seed_from_u64(world.clock_s());
    let connections = connections(world, parties);
    enrol(&election(world), &connections, &file, &mut never, &mut rng).await
}

/// That one party alone refused, in words that name it and say that nobody is enrolled.
fn refused_by(tried: Result<tally_client::Enrolled, EnrolError>, party: Role, due: Reason, part: &str) {
    let error = tried.expect_err("one party refuses");
    let words = error.to_string();
    let EnrolError::NotTaken(faults) = error else {
        panic!("{words}")
    };
    let named: Vec<_> = faults
        .iter()
        .map(|fault| (fault.party(), fault.reason()))
        .collect();
    assert_eq!(named, [(party, due)], "{words}");
    for said in [
        "you are not enrolled: all three parties must take the record",
        part,
    ] {
        assert!(words.contains(said), "{words}");
    }
    assert!(words.contains(&format!("({party})")), "{words}");
}

/// Box 1, sealed by all three: what anybody computes from the evidence.
async fn sealed(world: &World, parties: &[Party]) -> Sealed {
    let asked = parties.iter().map(async |party| {
        let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
        let election = world.fixture.manifest.manifest().election().as_str().to_owned();
        let mut events = control
            .seal(wire::BoxRef { election, r#box: 1 })
            .await
            .expect("begins")
            .into_inner();
        let mut body = Vec::new();
        loop {
            match events
                .message()
                .await
                .expect("goes on")
                .and_then(|event| event.event)
            {
                Some(Event::BodyPart(part)) => body.extend_from_slice(&part),
                Some(Event::Done(done)) => return (body, done),
                Some(Event::Progress(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let heard = futures::future::join_all(asked).await;
    let (body, done) = &heard[0];
    let manifest = world.fixture.manifest.manifest();
    let keys = manifest.party_keys();
    let envelope = |wire: &wire::Envelope| Envelope::from_wire(wire.clone()).expect("an envelope");
    let lists: Vec<_> = (done.lists.iter())
        .map(|list| SignedList::open(envelope(list), &keys).expect("a List"))
        .collect();
    let claims: Vec<_> = (done.claims.iter())
        .map(|claims| Claims::open(&envelope(claims), &keys).expect("Claims"))
        .collect();
    let voters = manifest.ballot_box(BoxId(1)).expect("the box").voters();
    let computed = compute(Inputs {
        election: &world.fixture.election(),
        of_box: BoxId(1),
        lists: &lists.try_into().expect("three"),
        claims: &claims.try_into().expect("three"),
        body: &BoxBody::decode(body, voters).expect("a body"),
    });
    let computed = computed.expect("follows");
    for (_, done) in &heard {
        let payload = done.seal.as_ref().expect("a Seal").payload.clone();
        assert_eq!(payload, computed.seal.encode(), "what all three sign");
    }
    computed
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_party_alone_refuses_is_told_and_does_not_stand_at_the_seal() {
    let (mut world, parties, own) = start_apart().await;
    let made: Vec<cards::Card> = (0..4)
        .map(|voter| {
            card(
                &mut world,
                &CardShape::of(&called(1, voter), CardKey::P256, OPENS),
            )
        })
        .collect();
    // All agree on the first.
    let enrolled = tries(&world, &parties, &made[0]).await.expect("enrolled");
    assert_eq!(enrolled.voter, VoterIndex(0));
    // P2 alone has a list that names the second's card.
    let serial = std::slice::from_ref(&made[1].serial);
    world.write_revocations(Role::P2, serial, OPENS - 60, OPENS + DAY);
    let tried = tries(&world, &parties, &made[1]).await;
    refused_by(tried, Role::P2, Reason::CardRevoked, "was revoked");
    // P3's clock alone is late, then early: to it the signature is from the future, then old.
    let now = world.clock_s();
    for (voter, clock) in [(2, now - OFF_S), (3, now + OFF_S)] {
        own.set(clock * 1000);
        let tried = tries(&world, &parties, &made[voter]).await;
        refused_by(tried, Role::P3, Reason::CardSignedAt, "the clock here shows");
    }
    let held: Vec<usize> = parties.iter().map(|party| records(party).len()).collect();
    assert_eq!(held, [4, 3, 2], "the two others have taken each of them");

    for clock in [&world.clock, &own] {
        clock.set((DRAINED + 1) * 1000);
    }
    let sealed = sealed(&world, &parties).await;
    let enrolled: Vec<bool> = (0..4).map(|voter| sealed.enrolled.get(voter)).collect();
    assert_eq!(enrolled, [true, false, false, false]);
    let standing: Vec<VoterIndex> = sealed.standing.iter().map(|(voter, _)| *voter).collect();
    assert_eq!(standing, [VoterIndex(0)]);
}
