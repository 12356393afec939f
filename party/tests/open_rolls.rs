//! An open roll at real servers over TLS: P1 gives the numbers, each party pairs number and person for good, and nothing that P1, a voter or a
//! crash does gives one person two numbers or one number to two people.

use std::sync::Arc;

use tally_party::clock::ManualClock;
use tally_party::entropy::SeededEntropy;
use tally_party::intake::Lane;
use tally_party::server::Deps;
use tally_party::store::sim::SimDisk;
use tally_party::store::{Kind, Storage, accepted, receipts, registers};
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, called};
use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape};
use tally_proto::ids::{BoxId, Role, UnixMillis, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::RecordSubmission;
use tally_proto::wire;

use crate::world::three::stopped;
use crate::world::{Party, World, reason};

const BOX: BoxId = BoxId(1);
const FREEZES: u64 = OPENS + 3000;

fn world(most: u32) -> World {
    let open = OpenShape {
        most,
        freezes: FREEZES,
        min_voters: 1,
    };
    let world = World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(open),
        ..Shape::default()
    });
    for role in Role::ALL {
        world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
    }
    world
}

/// The record of person `person`, for the three parties, without a number; signed `early` seconds before now.
fn record(world: &mut World, person: u32, early: u64) -> [RecordSubmission; 3] {
    let shape = CardShape::of(&called(9, person), CardKey::P256, OPENS);
    let card = world.fixture.cards.as_mut().expect("cards").card(&shape);
    let at = UnixSeconds(world.clock_s() - early);
    world.fixture.card_record(&card, at, &Credential::new(7))
}

/// The part of P2 or P3 with a number that P1 says it gave.
fn numbered(world: &World, all: &[RecordSubmission; 3], to: Role, v: u32) -> wire::RecordSubmission {
    let digest = all[0].header().numbered(VoterIndex(v)).digest();
    let receipt = world.fixture.receipt(Role::P1, BOX, digest);
    let part = &all[usize::from(to.index()) - 1];
    part.clone().numbered_by(VoterIndex(v), receipt).to_wire()
}

async fn enrol(party: &Party, part: wire::RecordSubmission) -> Result<wire::EnrolReply, tonic::Status> {
    Ok(party.enrolment().enrol(part).await?.into_inner())
}

/// (number, digest) of the records that a party accepted, by number.
fn on_roll(party: &tally_party::party::Party) -> Vec<(u32, [u8; 32])> {
    let mut found = Vec::new();
    let read = party.store.read(|tx| {
        accepted::for_each(tx, Kind::Record, 1, 1, |digest, row| {
            let (v, _) = row.authority_signature.split_first_chunk::<4>().expect("v");
            found.push((u32::from_be_bytes(*v), *digest));
            Ok::<_, tally_party::store::StoreError>(())
        })
    });
    read.expect("read");
    found.sort_unstable();
    found
}

fn numbers(party: &Party) -> Vec<u32> {
    on_roll(party.running.party())
        .into_iter()
        .map(|(v, _)| v)
        .collect()
}

#[tokio::test]
async fn p1_gives_numbers_in_order_and_enrolling_again_replaces() {
    let mut world = world(5);
    let p1 = world.start_in_force(Role::P1).await;
    let p2 = world.start_in_force(Role::P2).await;
    let mut all = Vec::new();
    for (person, due) in [(40, 0), (30, 1), (40, 0)] {
        let record = record(&mut world, person, 9 - all.len() as u64);
        let first = enrol(&p1, record[0].to_wire()).await.expect("taken");
        assert_eq!((first.r#box, first.v), (1, due), "person {person}");
        let receipt = Receipt::from_wire(first.receipt.as_ref().expect("one")).expect("a receipt");
        assert_eq!(
            receipt.unverified().digest,
            record[0].header().numbered(VoterIndex(due)).digest()
        );
        let part = record[1].clone().numbered_by(VoterIndex(due), receipt).to_wire();
        let second = enrol(&p2, part.clone()).await.expect("taken");
        assert_eq!((second.r#box, second.v), (1, due));
        // The same again, a lost reply: the same receipts.
        assert_eq!(enrol(&p1, record[0].to_wire()).await.expect("known"), first);
        assert_eq!(enrol(&p2, part).await.expect("known"), second);
        all.push(record);
    }
    assert_eq!(numbers(&p1), [0, 0, 1]);
    assert_eq!(on_roll(p1.running.party()), on_roll(p2.running.party()));
    // Whoever takes a digest from the log learns no number by it before the seal.
    for (_, digest) in on_roll(p1.running.party()) {
        let asked = wire::LookupRequest {
            election: world.fixture.manifest.manifest().election().as_str().into(),
            r#box: 1,
            digest: digest.to_vec(),
            record: true,
            holder: Vec::new(),
        };
        let known = p1.intake().lookup(asked).await.expect("known").into_inner();
        assert!(known.accepted && known.receipt.is_none());
        assert!(known.public.is_none() && known.authority_signature.is_empty());
    }
    // P2 keeps P1's word for each number: a P1 whose store is set back gets them by it.
    let kept = p2.running.party().store.read(|tx| {
        let mut kept = 0;
        tally_party::store::receipts::for_each(tx, 1, 1, |_, by, _| {
            kept += u32::from(by == 1);
            Ok::<_, tally_party::store::StoreError>(())
        })?;
        Ok::<_, tally_party::store::StoreError>(kept)
    });
    assert_eq!(kept.expect("read"), 3);
    // No other election of the register takes such a record over.
    let noted = p1
        .running
        .party()
        .store
        .read(|tx| registers::not_taken_over(tx, tally_proto::fixture::cards::REGISTER, 2, 10));
    assert!(noted.expect("read").is_empty());
}

#[tokio::test]
async fn numbers_come_from_p1_and_from_nobody_else() {
    let mut world = world(5);
    let p1 = world.start_in_force(Role::P1).await;
    let p2 = world.start_in_force(Role::P2).await;
    let (one, other) = (record(&mut world, 1, 1), record(&mut world, 2, 1));
    let v = VoterIndex(3);
    let own = world
        .fixture
        .receipt(Role::P1, BOX, one[0].header().numbered(v).digest());
    let of_other = world
        .fixture
        .receipt(Role::P1, BOX, other[0].header().numbered(v).digest());
    let of_p3 = world
        .fixture
        .receipt(Role::P3, BOX, one[0].header().numbered(v).digest());
    let mut forged = of_p3.to_wire();
    forged.party = 1;
    let forged = Receipt::from_wire(&forged).expect("well-formed");
    let with =
        |part: &RecordSubmission, receipt: &Receipt| part.clone().numbered_by(v, receipt.clone()).to_wire();
    let mut no_receipt = with(&one[1], &own);
    no_receipt.numbered = None;
    let mut without = one[1].to_wire();
    without.numbered = Some(own.to_wire());
    // A voter chooses a number: at P1, and at P2 with what it could get hold of.
    for (party, part) in [
        (&p1, with(&one[0], &own)),
        (&p2, one[1].to_wire()),
        (&p2, no_receipt),
        (&p2, without),
        (&p2, with(&one[1], &of_other)),
        (&p2, with(&one[1], &of_p3)),
        (&p2, with(&one[1], &forged)),
    ] {
        assert_eq!(reason(enrol(party, part).await), Reason::RollNumberGiver);
    }
    // A number beyond the roll, though P1 says it gave it.
    let beyond = numbered(&world, &one, Role::P2, 5);
    assert_eq!(reason(enrol(&p2, beyond).await), Reason::VoterUnknown);
    // A registrar's is not taken either, nor a card record of the kind for closed rolls.
    let mut closed = one[0].to_wire();
    let mark = closed.header.as_mut().and_then(|header| header.card.as_mut());
    mark.expect("a card's").place = None;
    assert_eq!(reason(enrol(&p1, closed).await), Reason::RollKind);
    assert!(numbers(&p1).is_empty() && numbers(&p2).is_empty());
    // What a voter brings to P1 as another party's receipt is nobody's word: not with a new record, nor with one that is there.
    let v0 = VoterIndex(0);
    let mut with_receipt = one[0].to_wire();
    let said = world
        .fixture
        .receipt(Role::P1, BOX, one[0].header().numbered(v0).digest());
    let mut of_p2 = said.to_wire();
    of_p2.party = 2;
    for receipt in [of_p2, said.to_wire()] {
        with_receipt.numbered = Some(receipt);
        assert_eq!(
            reason(enrol(&p1, with_receipt.clone()).await),
            Reason::RollNumberGiver
        );
    }
    let next = |party: &Party| {
        let store = &party.running.party().store;
        store.read(|tx| registers::next_number(tx, 1, 1)).expect("read")
    };
    assert_eq!((next(&p1), next(&p2)), (0, 0), "nothing refused used a number up");
    let (_p3, taken) = (
        world.start_in_force(Role::P3).await,
        enrol(&p1, one[0].to_wire()).await.expect("taken"),
    );
    assert_eq!(taken.v, 0);
    assert_eq!(
        reason(enrol(&p1, with_receipt).await),
        Reason::RollNumberGiver,
        "nor with the record that is there"
    );
    let mut stored = 0;
    let store = &p1.running.party().store;
    let read = store.read(|tx| {
        receipts::for_each(tx, 1, BOX.get(), |_, _, _| {
            stored += 1;
            Ok::<_, tally_party::store::StoreError>(())
        })
    });
    read.expect("read");
    assert_eq!(stored, 0, "P1 holds no receipt that it has not verified");
}

/// N follows the highest number, and the tally N: P1 and a friend with one card could make both as large as the manifest allows.
#[tokio::test]
async fn p1_gives_no_number_far_above_how_many_there_are() {
    let most = 100_000;
    let mut world = world(most);
    let others = [
        world.start_in_force(Role::P2).await,
        world.start_in_force(Role::P3).await,
    ];
    let (first, friend) = (record(&mut world, 1, 1), record(&mut world, 2, 1));
    for party in &others {
        let part = numbered(&world, &first, party.role, 0);
        enrol(party, part).await.expect("taken");
        for v in [most - 1, 1_002] {
            let part = numbered(&world, &friend, party.role, v);
            assert_eq!(reason(enrol(party, part).await), Reason::RollNumberAhead);
        }
        assert_eq!(numbers(party), [0]);
        // Some people begin and do not finish.
        let part = numbered(&world, &friend, party.role, 1_001);
        enrol(party, part).await.expect("taken");
        assert_eq!(numbers(party), [0, 1_001]);
    }
    // Who has a number keeps it, however few there are.
    let again = record(&mut world, 2, 0);
    for party in &others {
        let part = numbered(&world, &again, party.role, 1_001);
        enrol(party, part).await.expect("taken");
    }
}

/// What is begun while another party is away cannot be finished, and would only leave gaps.
#[tokio::test]
async fn p1_gives_nobody_a_new_number_while_another_party_is_away() {
    let mut world = world(5);
    let p1 = world.start_in_force(Role::P1).await;
    let silent = || {
        p1.running
            .party()
            .sight
            .silent(Role::P3, "nothing listens".to_owned())
    };
    silent();
    let first = record(&mut world, 1, 1);
    assert_eq!(enrol(&p1, first[0].to_wire()).await.expect("taken").v, 0);
    world.clock.set((world.clock_s() + 61) * 1000);
    silent();
    let sight = &p1.running.party().sight;
    sight.answered(Role::P2, UnixMillis(world.clock_s() * 1000), 0);
    let other = record(&mut world, 2, 0);
    let refused = enrol(&p1, other[0].to_wire()).await.expect_err("away");
    assert!(refused.message().contains("P3 does not answer P1"), "{refused}");
    assert_eq!(reason::<()>(Err(refused)), Reason::PartyUnreachable);
    // Whoever has a number is told what is wrong by the party that is away.
    let again = record(&mut world, 1, 0);
    assert_eq!(enrol(&p1, again[0].to_wire()).await.expect("taken").v, 0);
    assert_eq!(numbers(&p1), [0, 0]);
}

/// The malicious party is P1: its receipts are made by hand.
#[tokio::test]
async fn whatever_p1_gives_the_first_pairing_stands() {
    let mut world = world(5);
    let p2 = world.start_in_force(Role::P2).await;
    let p3 = world.start_in_force(Role::P3).await;
    let (one, other) = (record(&mut world, 1, 5), record(&mut world, 2, 5));
    enrol(&p2, numbered(&world, &one, Role::P2, 3))
        .await
        .expect("taken");
    // The same number to another person; another number to the same person, in the same record and in a later one.
    let later = record(&mut world, 1, 1);
    for part in [
        numbered(&world, &other, Role::P2, 3),
        numbered(&world, &one, Role::P2, 4),
        numbered(&world, &later, Role::P2, 0),
    ] {
        assert_eq!(reason(enrol(&p2, part).await), Reason::RollNumberTaken);
    }
    // At the same time P3 was told another number of the same person: two digests, and neither has three acceptances.
    enrol(&p3, numbered(&world, &one, Role::P3, 4))
        .await
        .expect("taken");
    assert_eq!((numbers(&p2), numbers(&p3)), (vec![3], vec![4]));
    let (at_2, at_3) = (on_roll(p2.running.party()), on_roll(p3.running.party()));
    assert_ne!(at_2[0].1, at_3[0].1);
    for (party, v) in [(&p2, 4), (&p3, 3)] {
        let part = numbered(&world, &later, party.role, v);
        assert_eq!(reason(enrol(party, part).await), Reason::RollNumberTaken);
    }
    // It is so after a restart, and the number of before still serves.
    let disk = stopped(p2).await;
    let p2 = world.start_on(Role::P2, disk).await;
    let part = numbered(&world, &other, Role::P2, 3);
    assert_eq!(reason(enrol(&p2, part).await), Reason::RollNumberTaken);
    enrol(&p2, numbered(&world, &later, Role::P2, 3))
        .await
        .expect("taken");
    enrol(&p2, numbered(&world, &other, Role::P2, 0))
        .await
        .expect("taken");
    assert_eq!(numbers(&p2), [0, 3, 3]);
}

#[tokio::test]
async fn a_full_roll_takes_nobody_else_and_a_frozen_one_nothing() {
    let mut world = world(2);
    let party = world.start_in_force(Role::P1).await;
    let (one, other) = (record(&mut world, 1, 9), record(&mut world, 2, 9));
    enrol(&party, one[0].to_wire()).await.expect("taken");
    enrol(&party, other[0].to_wire()).await.expect("taken");
    let third = record(&mut world, 3, 9);
    assert_eq!(reason(enrol(&party, third[0].to_wire()).await), Reason::RollFull);
    // Whoever is on it may replace what they have.
    let again = record(&mut world, 2, 1);
    assert_eq!(enrol(&party, again[0].to_wire()).await.expect("taken").v, 1);
    // The last second is in time, the one after it is not; what is known gets its receipt at any time.
    world.clock.set(FREEZES * 1000 + 999);
    let last = record(&mut world, 1, 0);
    enrol(&party, last[0].to_wire()).await.expect("in time");
    world.clock.set((FREEZES + 1) * 1000);
    let late = record(&mut world, 1, 0);
    assert_eq!(reason(enrol(&party, late[0].to_wire()).await), Reason::RollFrozen);
    assert_eq!(enrol(&party, last[0].to_wire()).await.expect("known").v, 0);
    assert_eq!(numbers(&party), [0, 0, 1, 1]);
    // Ballots go on until the online channel closes.
    const { assert!(FREEZES < CLOSES) };
    let ballot = world.ballot();
    party.intake().submit(party.part(&ballot)).await.expect("taken");
}

#[tokio::test]
async fn an_open_roll_is_published_empty() {
    let world = world(5);
    let party = world.start(Role::P1).await;
    world.hold_offset_keys(&party);
    let mut parts = world.publication();
    let Some(wire::publish_part::Part::Roll(roll)) = parts[1].part.as_mut() else {
        panic!("the salt")
    };
    roll.entries.push(wire::RollEntry {
        v: 0,
        reference: "somebody".into(),
        online: true,
        persons: Vec::new(),
    });
    let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
    let refused = control.publish(tokio_stream::iter(parts)).await;
    assert_eq!(reason(refused), Reason::RollMismatch);
    let without_salt = world.publication()[..1].to_vec();
    let refused = control.publish(tokio_stream::iter(without_salt)).await;
    assert_eq!(reason(refused), Reason::RollMismatch);
    world.publish(&party).await.expect("published");
}

/// P1 on this disk, without a server.
fn open(world: &World, disk: &SimDisk) -> Option<Arc<tally_party::party::Party>> {
    let deps = Deps {
        clock: Arc::new(ManualClock::new(world.clock_s() * 1000)),
        storage: Storage::Backend(Box::new(disk.clone())),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    let party = tally_party::party::Party::open(&world.config(Role::P1), deps).ok()?;
    for election in party.elections.all() {
        party.gate.open(election.number());
    }
    Some(Arc::new(party))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_number_and_receipt_gives_no_second_number() {
    let mut world = world(5);
    let prepared = world.start_in_force(Role::P1).await;
    let disk = prepared.disk.clone();
    prepared.running.stop().await;
    let before = disk.after_crash(0);
    let records = [
        record(&mut world, 1, 9),
        record(&mut world, 2, 9),
        record(&mut world, 1, 3),
    ];
    let mut failures = 0;
    for failing in 0.. {
        let disk = before.after_crash(0);
        let Some(party) = open(&world, &disk) else {
            panic!("a sound disk opens")
        };
        let begun = disk.operations();
        disk.fail_from(begun + failing);
        let mut given = Vec::new();
        for record in &records {
            let reply = party.enrol(record[0].to_wire(), Lane::Public(None)).await;
            given.push(reply.ok().map(|reply| reply.v));
        }
        drop(party);
        let whole = given.iter().all(Option::is_some);
        for seed in [0, 0x5555_5555, u64::MAX] {
            let disk = disk.after_crash(seed);
            let party = open(&world, &disk).expect("it opens after a crash");
            let mut after = Vec::new();
            for record in &records {
                let reply = party.enrol(record[0].to_wire(), Lane::Public(None)).await;
                after.push(reply.expect("taken").v);
            }
            // Whoever got a number has it still; both people have one each, and the same in both of one's records.
            let kept = given
                .iter()
                .zip(&after)
                .all(|(given, after)| given.is_none_or(|v| v == *after));
            assert!(
                kept,
                "operation {failing}, seed {seed}: {given:?} became {after:?}"
            );
            assert_eq!(after[0], after[2], "operation {failing}, seed {seed}");
            let mut both = [after[0], after[1]];
            both.sort_unstable();
            assert_eq!(
                both,
                [0, 1],
                "operation {failing}, seed {seed}: nothing is skipped"
            );
            assert_eq!(on_roll(&party).len(), 3);
        }
        failures += u32::from(!whole);
        if whole {
            break;
        }
    }
    assert!(failures > 5, "{failures} writes failed in turn");
}

/// Names are held in memory while they are told.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_the_roll_is_told_to_one_reader_after_the_other() {
    use tally_party::store::accepted::{Accepted, Counted};
    const MANY: u32 = 16_000;
    let mut world = world(20_000);
    let p1 = world.start_in_force(Role::P1).await;
    let one = record(&mut world, 1, 1);
    enrol(&p1, one[0].to_wire()).await.expect("taken");
    let asked = wire::BoxRef {
        election: world.fixture.manifest.manifest().election().as_str().into(),
        r#box: 1,
    };
    let store = &p1.running.party().store;
    let (_, digest) = on_roll(p1.running.party())[0];
    let row = store
        .read(|tx| accepted::get(tx, Kind::Record, 1, 1, &digest))
        .expect("read")
        .expect("accepted");
    // As many as fit into no buffer on the way.
    let written = store.write(|tx| {
        for v in 1..MANY {
            let header = one[0].header().numbered(VoterIndex(v));
            let row = Accepted {
                header: header.encode(),
                authority_signature: [&v.to_be_bytes()[..], &row.authority_signature[4..]].concat(),
                position: u64::from(v) + 100,
                ..row.clone()
            };
            accepted::insert(tx, 1, 1, &header.digest().0, Counted::Record, &row)?;
        }
        Ok::<_, tally_party::store::StoreError>(())
    });
    written.expect("written");
    let leaf = world.leaf_of(Role::P1, PeerRole::Coordinator);
    let mut narrow = tally_proto::connect::control(p1.narrow_peer_channel(&leaf));
    let unread = narrow
        .open_roll(asked.clone())
        .await
        .expect("begins")
        .into_inner();
    let mut control = p1.control(&leaf);
    let second = tokio::spawn(async move {
        let mut parts = control.open_roll(asked).await.expect("begins").into_inner();
        let (mut names, mut heads) = (0, 0);
        while let Some(part) = parts.message().await.expect("goes on") {
            names += part.entries.len();
            heads += usize::from(part.head.is_some());
        }
        (names, heads)
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!second.is_finished(), "it waits for its turn");
    drop(unread);
    let told = tokio::time::timeout(std::time::Duration::from_secs(20), second).await;
    assert_eq!(told.expect("its turn comes").expect("ran"), (MANY as usize, 1));
}
