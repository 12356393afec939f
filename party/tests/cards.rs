//! Enrolment by card at real servers over TLS: who is taken, each refusal, and one record for several elections of a register.

use std::time::Duration;

use tally_party::store::{Kind, StoreError, accepted, registers};
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, REGISTER, WINDOW, called, number};
use tally_proto::fixture::{CLOSES, DRAINED, OPENS, Shape};
use tally_proto::ids::{BoxId, Role, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::order::{Change, Reissue};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::record::RecordSubmission;
use tally_proto::wire;

use crate::world::three::stopped;
use crate::world::{Party, World, reason, refusal};

fn world() -> World {
    let world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    for role in Role::ALL {
        world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
    }
    world
}

async fn one() -> (World, Party) {
    let world = world();
    let party = world.start_in_force(Role::P1).await;
    (world, party)
}

/// What `party` is sent for this card, signed `early` seconds before now.
fn part(world: &mut World, party: &Party, shape: &CardShape, early: u64) -> wire::RecordSubmission {
    let card = world.fixture.cards.as_mut().expect("cards").card(shape);
    let at = UnixSeconds(world.clock_s().wrapping_sub(early));
    let all: [RecordSubmission; 3] = world.fixture.card_record(&card, at, &Credential::new(7));
    all[usize::from(party.role.index()) - 1].to_wire()
}

fn good() -> CardShape {
    CardShape::of(&called(1, 0), CardKey::P256, OPENS)
}

/// Digests of the records of a box.
fn records(party: &Party, election: u32, of_box: u32) -> Vec<[u8; 32]> {
    let store = &party.running.party().store;
    store
        .read(|tx| accepted::digests(tx, Kind::Record, election, of_box))
        .expect("read")
}

#[tokio::test]
async fn a_card_enrols_its_holder_and_the_same_again_gets_the_same_receipt() {
    let (mut world, party) = one().await;
    let mut enrolment = party.enrolment();
    for (voter, key) in (0..3).zip(CardKey::ALL) {
        let shape = CardShape::of(&called(1, voter), key, OPENS);
        let sent = part(&mut world, &party, &shape, 5);
        let first = enrolment.enrol(sent.clone()).await.expect("taken").into_inner();
        assert_eq!((first.r#box, first.v), (1, voter));
        assert!(first.receipt.is_some());
        // Long after, when the card's time to sign is over.
        world.clock.set((OPENS + 5000) * 1000);
        assert_eq!(enrolment.enrol(sent).await.expect("known").into_inner(), first);
        world.clock.set((OPENS + 100) * 1000);
    }
    // A re-issued card: another certificate and key, the same person.
    let again = part(&mut world, &party, &good(), 0);
    let reply = enrolment.enrol(again).await.expect("taken").into_inner();
    assert_eq!((reply.r#box, reply.v), (1, 0));
    assert_eq!(records(&party, 1, 1).len(), 4);
    // What anyone may ask for does not name the holder.
    let digest = records(&party, 1, 1)[0];
    let asked = wire::LookupRequest {
        election: world.fixture.manifest.manifest().election().as_str().into(),
        r#box: 1,
        digest: digest.to_vec(),
        record: true,
        holder: Vec::new(),
    };
    let known = party.intake().lookup(asked).await.expect("known").into_inner();
    assert!(known.accepted && known.receipt.is_none() && known.authority_signature.is_empty());
    // Registrars' records do not come this way, nor cards' that.
    let issued = world.fixture.record(
        BoxId(1),
        VoterIndex(0),
        1,
        tally_proto::record::Half::WHOLE,
        &Credential::new(1),
    );
    assert_eq!(
        reason(enrolment.enrol(issued[0].to_wire()).await),
        Reason::RecordSource
    );
    let records = tokio_stream::iter([issued[0].to_wire()]);
    assert_eq!(reason(enrolment.register(records).await), Reason::RoleRefused);
    let sent = part(&mut world, &party, &good(), 1);
    let leaf = world.leaf_of(party.role, PeerRole::Registrar("letters".into()));
    let mut answers = party
        .registration(&leaf)
        .register(tokio_stream::iter([sent]))
        .await
        .expect("served")
        .into_inner();
    let answer = answers
        .message()
        .await
        .expect("an answer")
        .and_then(|a| a.outcome);
    let Some(wire::record_receipt::Outcome::Refusal(refused)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(refused.reason, Reason::RecordSource.code());
}

/// Whose certificates name nobody, as Japan's: the roll has the numbers of a voter's certificates, and a re-issued card is another one of them.
#[tokio::test]
async fn a_card_issued_anew_is_the_same_voters_where_the_roll_has_both_numbers() {
    let mut world = World::new(Shape {
        cards: true,
        by_number: true,
        ..Shape::default()
    });
    world.write_revocations(Role::P1, &[], OPENS - DAY, OPENS + DAY);
    let party = world.start_in_force(Role::P1).await;
    let mut enrolment = party.enrolment();
    let numbered = |voter, card| CardShape {
        person: "PNOEE-nobody".into(),
        serial: Some(number(1, voter, card)),
        ..good()
    };
    let [old, new, stranger, other] =
        [(0, 0), (0, 1), (0, 2), (1, 1)].map(|(voter, card)| numbered(voter, card));
    let first = part(&mut world, &party, &old, 9);
    let late = part(&mut world, &party, &old, 5);
    let second = part(&mut world, &party, &new, 1);
    for sent in [first, second] {
        let reply = enrolment.enrol(sent).await.expect("taken").into_inner();
        assert_eq!((reply.r#box, reply.v), (1, 0));
    }
    assert_eq!(records(&party, 1, 1).len(), 2);
    // The record of the new card stands: what the old one signed before is no record any more.
    assert_eq!(reason(enrolment.enrol(late).await), Reason::CardLater);
    let neighbour = part(&mut world, &party, &other, 0);
    let reply = enrolment.enrol(neighbour).await.expect("taken").into_inner();
    assert_eq!((reply.r#box, reply.v), (1, 1));
    let nobody = part(&mut world, &party, &stranger, 0);
    assert_eq!(reason(enrolment.enrol(nobody).await), Reason::CardNotOnRoll);
    // A list of the authority names the old card by its number.
    world.write_revocations(Role::P1, &[number(1, 0, 0)], OPENS - 60, OPENS + DAY);
    world.clock.set((world.clock_s() + 2) * 1000);
    let revoked = part(&mut world, &party, &old, 0);
    assert_eq!(reason(enrolment.enrol(revoked).await), Reason::CardRevoked);
    let anew = part(&mut world, &party, &new, 0);
    enrolment.enrol(anew).await.expect("taken");
}

/// An authority that splits its lists: each certificate needs the list of its own distribution point.
#[tokio::test]
async fn lists_that_an_authority_splits_lie_side_by_side() {
    let (mut world, party) = one().await;
    let (one, two) = ("http://lists.example/1.crl", "http://lists.example/2.crl");
    let directory = world.root.path().join("P1/revocation");
    std::fs::remove_file(directory.join("cards.crl")).expect("removed");
    let write = |world: &World, name: &str, point: &str, serials: &[Vec<u8>]| {
        let cards = world.fixture.cards.as_ref().expect("cards");
        let list = cards.revocations_at(&[point], serials, OPENS - 60, OPENS + DAY);
        std::fs::write(directory.join(name), list).expect("written");
    };
    let shape = CardShape {
        points: vec![one.into()],
        ..good()
    };
    let card = world.fixture.cards.as_mut().expect("cards").card(&shape);
    let now = UnixSeconds(world.clock_s());
    let sent = world.fixture.card_record(&card, now, &Credential::new(7))[0].to_wire();
    let mut enrolment = party.enrolment();
    write(&world, "2.crl", two, &[]);
    let refused = refusal(enrolment.enrol(sent.clone()).await);
    assert_eq!(refused.reason, Reason::CardRevocationList, "{refused}");
    assert!(refused.detail.contains(one), "{refused}");
    write(&world, "1.crl", one, std::slice::from_ref(&card.serial));
    assert_eq!(reason(enrolment.enrol(sent.clone()).await), Reason::CardRevoked);
    write(&world, "1.crl", one, &[vec![1, 2], vec![3]]);
    enrolment.enrol(sent).await.expect("taken");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_card_is_said_and_leaves_nothing() {
    let (mut world, party) = one().await;
    let now = world.clock_s();
    let mut enrolment = party.enrolment();
    type Shaped = fn(&mut CardShape);
    let cases: [(Shaped, Reason); 7] = [
        (|s| s.not_after = OPENS, Reason::CardExpired),
        (|s| s.not_before = OPENS + 1000, Reason::CardNotYetValid),
        (|s| s.authentication = false, Reason::CardPurpose),
        (|s| s.person = "PNOLT-38001011000".into(), Reason::CardNamesNobody),
        (|s| s.person = called(3, 0), Reason::CardNotOnRoll),
        (|s| s.person = called(1, 4), Reason::VoterStationOnly),
        (|s| s.key = CardKey::P384, Reason::CardSignature),
    ];
    for (change, due) in cases {
        let mut shape = good();
        change(&mut shape);
        let mut sent = part(&mut world, &party, &shape, 0);
        if due == Reason::CardSignature {
            let last = sent.authorisation.len() - 1;
            sent.authorisation[last] ^= 1;
        }
        let refused = refusal(enrolment.enrol(sent).await);
        assert_eq!(refused.reason, due, "{refused}");
        assert!(refused.detail.len() > 40, "{refused}");
        assert!(!refused.detail.contains("3800101"), "{refused}");
    }
    // Another hierarchy of the same names.
    let strangers = tally_proto::fixture::cards::Cards::new(OPENS);
    let own = world.fixture.cards.replace(strangers);
    let sent = part(&mut world, &party, &good(), 0);
    world.fixture.cards = own;
    assert_eq!(reason(enrolment.enrol(sent).await), Reason::CardIssuer);

    // Times: far from the party's clock on either side, and before the register opens.
    for early in [301, u64::MAX - 300] {
        let card = world.fixture.cards.as_mut().expect("cards").card(&good());
        let at = UnixSeconds(now.wrapping_sub(early));
        let all = world.fixture.card_record(&card, at, &Credential::new(7));
        let refused = refusal(enrolment.enrol(all[0].to_wire()).await);
        assert_eq!(refused.reason, Reason::CardSignedAt, "{refused}");
    }
    world.clock.set((WINDOW.0.get() - 1) * 1000);
    let mut long = good();
    long.not_before = WINDOW.0.get() - DAY;
    let sent = part(&mut world, &party, &long, 0);
    assert_eq!(reason(enrolment.enrol(sent).await), Reason::CardSignedAt);
    world.clock.set(now * 1000);

    // Revocation: no list, an old one, one that names the card; each read again when its file changes.
    let card = world.fixture.cards.as_mut().expect("cards").card(&good());
    let all = world
        .fixture
        .card_record(&card, UnixSeconds(now), &Credential::new(7));
    let list = world.root.path().join("P1/revocation/cards.crl");
    std::fs::remove_file(&list).expect("removed");
    let mut met = Vec::new();
    met.push(reason(enrolment.enrol(all[0].to_wire()).await));
    std::fs::write(&list, b"not a list").expect("written");
    met.push(reason(enrolment.enrol(all[0].to_wire()).await));
    world.write_revocations(Role::P1, &[], OPENS - 2 * DAY, OPENS - 1);
    met.push(reason(enrolment.enrol(all[0].to_wire()).await));
    world.write_revocations(
        Role::P1,
        std::slice::from_ref(&card.serial),
        OPENS - 60,
        OPENS + DAY,
    );
    met.push(reason(enrolment.enrol(all[0].to_wire()).await));
    assert_eq!(
        met,
        [
            Reason::CardRevocationList,
            Reason::CardRevocationList,
            Reason::CardRevocationList,
            Reason::CardRevoked
        ]
    );
    assert!(records(&party, 1, 1).is_empty());
    world.write_revocations(Role::P1, &[vec![1, 2], vec![3]], OPENS - 60, OPENS + DAY);
    enrolment.enrol(all[0].to_wire()).await.expect("taken");
    assert_eq!(records(&party, 1, 1).len(), 1);
}

#[tokio::test]
async fn two_records_of_one_second_do_not_both_come_in() {
    let (mut world, party) = one().await;
    let [first, second] = [0, 0].map(|early| part(&mut world, &party, &good(), early));
    let mut enrolment = party.enrolment();
    enrolment.enrol(first).await.expect("taken");
    assert_eq!(reason(enrolment.enrol(second).await), Reason::RecordSerial);
}

/// Waits until the box has so many records.
async fn until(party: &Party, election: u32, of_box: u32, count: usize) -> Vec<[u8; 32]> {
    for _ in 0..600 {
        let found = records(party, election, of_box);
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("election {election}: {:?}", records(party, election, of_box));
}

#[tokio::test]
async fn a_voter_may_not_bring_records_without_end() {
    let (mut world, party) = one().await;
    let mut enrolment = party.enrolment();
    for early in (10..18).rev() {
        let sent = part(&mut world, &party, &good(), early);
        enrolment.enrol(sent).await.expect("taken");
    }
    let ninth = part(&mut world, &party, &good(), 9);
    let refused = refusal(enrolment.enrol(ninth).await);
    assert_eq!(refused.reason, Reason::CardTooOften, "{refused}");
    assert_eq!(records(&party, 1, 1).len(), 8, "nothing is written");
    // Another voter is not kept waiting; the first one only so long, and then longer.
    let shape = CardShape::of(&called(1, 1), CardKey::P256, OPENS);
    let other = part(&mut world, &party, &shape, 0);
    enrolment.enrol(other).await.expect("taken");
    let newest = world.clock_s() - 10;
    for (pause, due) in [(59, false), (60, true), (60 + 119, false), (60 + 120, true)] {
        world.clock.set((newest + pause) * 1000);
        let sent = part(&mut world, &party, &good(), 0);
        let answer = enrolment.enrol(sent).await;
        match due {
            true => drop(answer.expect("taken")),
            false => assert_eq!(reason(answer), Reason::CardTooOften, "{pause}"),
        }
    }
    assert_eq!(records(&party, 1, 1).len(), 11);
}

/// Somebody else had the card and has used up what one voter may bring: the order that sets that aside gives the card its records again.
#[tokio::test]
async fn an_order_gives_a_card_its_records_again() {
    let (mut world, party) = one().await;
    let mut enrolment = party.enrolment();
    for early in (10..18).rev() {
        let sent = part(&mut world, &party, &good(), early);
        enrolment.enrol(sent).await.expect("taken");
    }
    let mut newest = world.clock_s() - 10;
    for doublings in 0..8 {
        newest += 60 << doublings;
        world.clock.set(newest * 1000);
        let sent = part(&mut world, &party, &good(), 0);
        enrolment.enrol(sent).await.expect("taken");
    }
    assert_eq!(records(&party, 1, 1).len(), 16);
    world.clock.set((newest + (60 << 8)) * 1000);
    let sent = part(&mut world, &party, &good(), 0);
    assert_eq!(reason(enrolment.enrol(sent).await), Reason::BoxFull);
    let reissue = Change::Reissue(Reissue {
        serial: 0,
        of_box: BoxId(1),
        voter: VoterIndex(0),
        until: UnixSeconds(newest),
    });
    let order = world.fixture.order(1, reissue);
    let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
    control
        .complete(order.envelope().to_wire())
        .await
        .expect("in force");
    // As at first: eight at will, then a wait.
    for early in (0..8).rev() {
        let sent = part(&mut world, &party, &good(), early);
        enrolment.enrol(sent).await.expect("taken");
    }
    let now = world.clock_s();
    world.clock.set((now + 1) * 1000);
    let sent = part(&mut world, &party, &good(), 0);
    assert_eq!(reason(enrolment.enrol(sent).await), Reason::CardTooOften);
    assert_eq!(records(&party, 1, 1).len(), 24);
}

#[tokio::test]
async fn a_record_from_the_future_stands_against_none_of_the_meantime() {
    let (mut world, party) = one().await;
    let mut enrolment = party.enrolment();
    let [ahead, too_far] = [5u64, 6].map(|ahead| part(&mut world, &party, &good(), ahead.wrapping_neg()));
    assert_eq!(reason(enrolment.enrol(too_far).await), Reason::CardSignedAt);
    enrolment.enrol(ahead).await.expect("taken");
    // Whoever enrols in between is told, and not that it went well.
    let between = part(&mut world, &party, &good(), 0);
    assert_eq!(reason(enrolment.enrol(between).await), Reason::CardLater);
    world.clock.set((world.clock_s() + 6) * 1000);
    let after = part(&mut world, &party, &good(), 0);
    enrolment.enrol(after).await.expect("taken");
    assert_eq!(records(&party, 1, 1).len(), 2);
}

#[tokio::test]
async fn records_are_taken_until_the_online_channel_closes_and_not_against_an_order() {
    let (mut world, party) = one().await;
    let mut enrolment = party.enrolment();
    let until = UnixSeconds(world.clock_s() + 50);
    let reissue = Change::Reissue(Reissue {
        serial: 0,
        of_box: BoxId(1),
        voter: VoterIndex(0),
        until,
    });
    let order = world.fixture.order(1, reissue);
    let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
    control
        .complete(order.envelope().to_wire())
        .await
        .expect("in force");
    let sent = part(&mut world, &party, &good(), 0);
    assert_eq!(reason(enrolment.enrol(sent).await), Reason::RecordReissued);
    world.clock.set((until.get() + 1) * 1000);
    let sent = part(&mut world, &party, &good(), 0);
    enrolment.enrol(sent).await.expect("taken");
    // Stations deliver for hours yet, but who enrols now would lose what they cast and could cast nothing anew.
    const { assert!(CLOSES < DRAINED) };
    let shape = CardShape {
        not_after: DRAINED + DAY,
        ..CardShape::of(&called(1, 1), CardKey::P256, OPENS)
    };
    world.clock.set(CLOSES * 1000 + 999);
    let sent = part(&mut world, &party, &shape, 0);
    enrolment.enrol(sent).await.expect("in time");
    world.clock.set((CLOSES + 1) * 1000);
    let sent = part(&mut world, &party, &shape, 1);
    assert_eq!(reason(enrolment.enrol(sent).await), Reason::BoxPhase);
}

#[tokio::test]
async fn who_votes_in_one_election_does_not_lose_that_by_enrolling_in_another() {
    let (mut world, party) = one().await;
    let mut enrolment = party.enrolment();
    let first = part(&mut world, &party, &good(), 9);
    enrolment.enrol(first).await.expect("taken");
    let own = records(&party, 1, 1);
    world.define_another("second");
    world.put_in_force(&party).await;
    let again = part(&mut world, &party, &good(), 0);
    enrolment.enrol(again).await.expect("taken");
    let seconds = records(&party, 2, 1);
    assert_eq!(seconds.len(), 1, "its own only: both are open already");
    // Looked at, and not taken.
    let looked = |number| {
        let store = &party.running.party().store;
        let open = store
            .read(|tx| registers::not_taken_over(tx, REGISTER, number, 9))
            .expect("read");
        open.is_empty()
    };
    for _ in 0..600 {
        if looked(1) && looked(2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(looked(1) && looked(2));
    assert_eq!((records(&party, 1, 1), records(&party, 2, 1)), (own, seconds));
}

#[tokio::test]
async fn an_enrolment_costs_no_transaction_for_every_election_that_there_ever_was() {
    let (mut world, party) = one().await;
    let mut writes = Vec::new();
    for voter in [1, 2] {
        let looked = |numbers: u32| {
            let open = party.running.party().store.read(|tx| {
                let mut open = 0;
                for number in 1..=numbers {
                    open += registers::not_taken_over(tx, REGISTER, number, 9)?.len();
                }
                Ok::<_, StoreError>(open)
            });
            open.expect("read") == 0
        };
        let elections = party.running.party().elections.all().len() as u32;
        let shape = CardShape::of(&called(1, voter), CardKey::P256, OPENS);
        let sent = part(&mut world, &party, &shape, 0);
        let before = party.disk.operations();
        party.enrolment().enrol(sent).await.expect("taken");
        for _ in 0..600 {
            if looked(elections) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(looked(elections));
        writes.push(party.disk.operations() - before);
        // All of them are open already, and take nothing over.
        for n in 0..30 * u32::from(voter == 1) {
            world.define_another(&format!("earlier-{n}"));
            world.put_in_force(&party).await;
        }
    }
    assert!(writes[1] < writes[0] + 30, "{writes:?}");
}

#[tokio::test]
async fn one_record_serves_every_election_of_the_register() {
    let (mut world, party) = one().await;
    // Before any of them opens.
    world.clock.set((OPENS - 3000) * 1000);
    let mut enrolment = party.enrolment();
    let sent = part(&mut world, &party, &good(), 0);
    enrolment.enrol(sent).await.expect("taken");
    let own = records(&party, 1, 1);
    // Defined after the enrolment: takes it over. Defined before another enrolment: takes that over, too.
    world.define_another("second");
    world.put_in_force(&party).await;
    assert_eq!(until(&party, 2, 1, 1).await, own);
    let shape = CardShape::of(&called(2, 0), CardKey::P384, OPENS);
    let sent = part(&mut world, &party, &shape, 0);
    let reply = enrolment.enrol(sent).await.expect("taken").into_inner();
    assert_eq!((reply.r#box, reply.v), (2, 0));
    assert_eq!(until(&party, 1, 2, 1).await, records(&party, 2, 2));
    // It survives a restart, and nothing is taken twice.
    let disk = stopped(party).await;
    let party = world.start_on(Role::P1, disk).await;
    world.define_another("third");
    world.put_in_force(&party).await;
    assert_eq!(until(&party, 3, 1, 1).await, own);
    until(&party, 3, 2, 1).await;
    for election in 1..=3 {
        assert_eq!(
            records(&party, election, 1).len() + records(&party, election, 2).len(),
            2
        );
    }
}

#[tokio::test]
async fn a_roll_with_another_salt_is_refused() {
    let mut world = world();
    let party = world.start(Role::P2).await;
    let mut manifest = world.fixture.manifest.manifest().to_wire();
    manifest.register.as_mut().expect("a register").salt_hash = vec![1; 32];
    let payload = prost::Message::encode_to_vec(&manifest);
    let envelope = world
        .fixture
        .sign_all(tally_proto::envelope::Kind::Manifest, payload);
    world.fixture.manifest =
        std::sync::Arc::new(tally_proto::manifest::SignedManifest::open(envelope).expect("a manifest"));
    world.hold_offset_keys(&party);
    assert_eq!(reason(world.publish(&party).await), Reason::RollMismatch);
}
