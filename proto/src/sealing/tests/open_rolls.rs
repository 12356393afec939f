//! N, root and flags of an open roll follow from the records that stand.

use std::sync::Arc;

use super::*;
use crate::fixture::OpenShape;
use crate::fixture::cards::CardKey;
use crate::order::{Reissue, SignedOrder};
use crate::record::RecordHeader;
use crate::roll::open_root;

const AT: u64 = OPENS - 1000;

fn world(most: u32, min_voters: u32) -> World {
    World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most,
            freezes: CLOSES,
            min_voters,
        }),
        ..Shape::default()
    })
}

/// The record of a new card with the number `v`, signed at second `at`.
fn with_number(world: &mut World, v: u32, at: u64, listed: [bool; 3]) -> Record {
    let card = world.card(BOX, VoterIndex(v), CardKey::P256);
    let credential = Credential::generate(&mut world.rng);
    let [r, ..] = world.card_record(&card, UnixSeconds(at), &credential);
    let voter = VoterIndex(v);
    Listed {
        public: (r.header().numbered(voter), Endorsement::Card(voter)),
        listed,
    }
}

fn d(r: &Record) -> Digest {
    r.public.0.digest()
}

#[test]
fn the_roll_is_whose_records_stand() {
    let mut world = world(100, 2);
    // 0 stands. 1 enrolled again. 2 was given by two parties only. 3 has two of one second: nobody's. 4 stands, 5 and 6 were never finished.
    let v0 = with_number(&mut world, 0, AT, ALL);
    let v1_old = with_number(&mut world, 1, AT, ALL);
    let v1_new = with_number(&mut world, 1, AT + 1, ALL);
    let v2 = with_number(&mut world, 2, AT, [true, false, true]);
    let v3: Vec<_> = (0..2).map(|_| with_number(&mut world, 3, AT, ALL)).collect();
    let v4 = with_number(&mut world, 4, AT, ALL);
    let v6 = with_number(&mut world, 6, AT, [true, false, false]);
    let records = [
        vec![v0.clone(), v1_old, v1_new.clone(), v2],
        v3.clone(),
        vec![v4.clone(), v6],
    ]
    .concat();
    let evidence = world.evidence(BOX, &[], &records, no_claims(), [&[]; 3]);
    let sealed = compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
    let v = VoterIndex;
    let standing = [(v(0), d(&v0)), (v(1), d(&v1_new)), (v(4), d(&v4))];
    assert_eq!(sealed.standing, standing);
    assert_eq!(sealed.seal.voters, 5, "up to the highest number that stands");
    // Who has two of one second may vote at a station.
    assert_eq!(sealed.live.as_bytes(), [0b11011]);
    assert_eq!(sealed.enrolled.as_bytes(), [0b10011]);
    assert_eq!((sealed.live.len(), evidence.body.online().len()), (5, 0));
    assert_eq!(sealed.seal.roll_root, open_root(5, &standing));
    let other_roots = [
        open_root(6, &standing),
        open_root(5, &standing[..2]),
        open_root(5, &[(v(0), d(&v1_new)), (v(1), d(&v0)), (v(4), d(&v4))]),
    ];
    assert!(!other_roots.contains(&sealed.seal.roll_root));
    let mut expected: Vec<_> = v3.iter().map(|r| (d(r), Reason::RecordSerial)).collect();
    expected.sort();
    let excluded: Vec<_> = sealed
        .seal
        .exclusions
        .iter()
        .map(|e| (e.digest, e.reason))
        .collect();
    assert_eq!(excluded, expected);
    // Whoever verifies recomputes the same from the bytes.
    let bytes = evidence.body.encode();
    assert_eq!(BoxBody::decode(&bytes, 0), Ok(evidence.body.clone()));
    assert_eq!(Seal::decode(&sealed.seal.encode()), Ok(sealed.seal));
}

#[test]
fn too_few_who_stand_are_not_tallied() {
    let mut world = world(100, 3);
    let refused = |world: &World, records: &[Record]| {
        let evidence = world.evidence(BOX, &[], records, no_claims(), [&[]; 3]);
        match compute(evidence.inputs(&world.election(), BOX)) {
            Err(error @ SealingError::TooFewVoters { .. }) => {
                assert_eq!(error.reason(), Reason::RollTooFew);
                error.to_string()
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(&world, &[]).starts_with("0 voters"));
    // High numbers and replaced records are no voters.
    let mut records = vec![
        with_number(&mut world, 0, AT, ALL),
        with_number(&mut world, 90, AT, ALL),
    ];
    records.push(with_number(&mut world, 90, AT + 1, ALL));
    assert!(refused(&world, &records).starts_with("2 voters"));
    records.push(with_number(&mut world, 5, AT, ALL));
    let evidence = world.evidence(BOX, &[], &records, no_claims(), [&[]; 3]);
    let sealed = compute(evidence.inputs(&world.election(), BOX)).expect("three stand");
    assert_eq!((sealed.seal.voters, sealed.live.count_ones()), (91, 3));
}

#[test]
fn nobody_is_on_it_by_an_order_or_another_kind_of_record() {
    let mut world = world(8, 1);
    let v0 = with_number(&mut world, 0, AT, ALL);
    let v1 = with_number(&mut world, 1, AT, ALL);
    let v2 = with_number(&mut world, 2, AT, ALL);
    let v3 = with_number(&mut world, 3, AT, ALL);
    // Evidence that names another voter than the record: whoever publishes it did not get it from the record.
    let mut other = with_number(&mut world, 6, AT, ALL);
    other.public.1 = Endorsement::Card(VoterIndex(5));
    // A record for closed rolls, and one without a number.
    let as_closed = |header: &RecordHeader| {
        let mut wire = header.to_wire();
        wire.card.as_mut().expect("a card's").place = None;
        RecordHeader::from_wire(&wire).expect("well-formed")
    };
    let mut closed = with_number(&mut world, 7, AT, ALL);
    closed.public.0 = as_closed(&closed.public.0);
    let mut unnumbered = with_number(&mut world, 4, AT, ALL);
    let mut wire = unnumbered.public.0.to_wire();
    wire.card
        .as_mut()
        .and_then(|card| card.place.as_mut())
        .expect("a place")
        .v = None;
    unnumbered.public.0 = RecordHeader::from_wire(&wire).expect("well-formed");
    let records = [
        v0,
        v1,
        v2,
        v3.clone(),
        other.clone(),
        closed.clone(),
        unnumbered.clone(),
    ];
    let correct = |after: Option<&SignedOrder>, number, voter, live, enrolled| {
        let change = Correction {
            of_box: BOX,
            voter: VoterIndex(voter),
            live,
            enrolled,
        };
        world.order_after(after, number, Change::Correction(change))
    };
    let first = correct(None, 1, 0, true, false);
    let second = correct(Some(&first), 2, 1, false, true);
    // Beyond the highest that stands, and a number that nobody has.
    let third = correct(Some(&second), 3, 5, true, true);
    let reissue = Change::Reissue(Reissue {
        serial: 0,
        of_box: BOX,
        voter: VoterIndex(3),
        until: UnixSeconds(AT),
    });
    let fourth = world.order_after(Some(&third), 4, reissue);
    let orders = [first, second, third, fourth];
    let election = EffectiveElection::new(Arc::clone(&world.manifest), &orders).expect("applies");
    let hashes = orders.each_ref().map(SignedOrder::hash);
    let evidence = world.evidence(BOX, &[], &records, no_claims(), [&hashes; 3]);
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    // The order that puts 3's record out ends online votes only.
    assert_eq!(sealed.seal.voters, 4);
    assert_eq!(sealed.live.as_bytes(), [0b1101]);
    assert_eq!(sealed.enrolled.as_bytes(), [0b0110]);
    assert_eq!(sealed.seal.roll_root, open_root(4, &sealed.standing));
    let mut expected = vec![
        (d(&v3), Reason::RecordReissued),
        (d(&other), Reason::RollNumberGiver),
        (d(&closed), Reason::RollKind),
        (d(&unnumbered), Reason::RollNumberGiver),
    ];
    expected.sort();
    let excluded: Vec<_> = sealed
        .seal
        .exclusions
        .iter()
        .map(|e| (e.digest, e.reason))
        .collect();
    assert_eq!(excluded, expected);
}

/// Somebody else had the voter's card: the commission has its records set aside, and the voter votes at the station.
#[test]
fn an_order_ends_online_votes_and_leaves_the_station_vote() {
    let mut world = world(8, 3);
    let records = [
        with_number(&mut world, 0, AT, ALL),
        with_number(&mut world, 1, AT, ALL),
        with_number(&mut world, 2, AT, ALL),
        with_number(&mut world, 2, AT + 9, ALL),
    ];
    let sealed_until = |until: u64| {
        let change = Change::Reissue(Reissue {
            serial: 0,
            of_box: BOX,
            voter: VoterIndex(2),
            until: UnixSeconds(until),
        });
        let order = world.order(1, change);
        let election = EffectiveElection::new(Arc::clone(&world.manifest), [&order]).expect("applies");
        let hashes = [order.hash()];
        let evidence = world.evidence(BOX, &[], &records, no_claims(), [&hashes; 3]);
        compute(evidence.inputs(&election, BOX)).expect("a Seal: three are on the roll")
    };
    let sealed = sealed_until(AT + 9);
    assert_eq!(sealed.seal.voters, 3);
    assert_eq!(
        (sealed.live.as_bytes(), sealed.enrolled.as_bytes()),
        (&[0b111][..], &[0b011][..])
    );
    assert_eq!(sealed.seal.exclusions.len(), 2);
    // Who enrolled again after the moment of the order votes online too.
    let sealed = sealed_until(AT + 8);
    assert_eq!(
        (sealed.live.as_bytes(), sealed.enrolled.as_bytes()),
        (&[0b111][..], &[0b111][..])
    );
    assert_eq!(sealed.standing[2], (VoterIndex(2), d(&records[3])));

    // Registrars issue nothing there, so no order lets them issue again.
    let again = crate::order::Order {
        change: Change::Reissue(Reissue {
            serial: 2,
            of_box: BOX,
            voter: VoterIndex(1),
            until: UnixSeconds(AT),
        }),
        ..world
            .order(
                1,
                Change::Reissue(Reissue {
                    serial: 0,
                    of_box: BOX,
                    voter: VoterIndex(1),
                    until: UnixSeconds(AT),
                }),
            )
            .order()
            .clone()
    };
    let envelope = world.sign_all(Kind::Order, again.encode());
    let refused = SignedOrder::open(envelope, &world.manifest).expect_err("refused");
    assert_eq!(
        refused,
        crate::order::OrderError::NothingIssued {
            number: 1,
            of_box: BOX
        }
    );
}
