//! Which records stand.

use std::sync::Arc;

use super::*;
use crate::fixture::cards::CardKey;
use crate::order::{Reissue, SignedOrder};

#[test]
fn a_record_stands_with_three_acceptances_and_the_highest_serial() {
    let mut world = World::new(Shape::default());
    let whole = Half::WHOLE;
    let v0_old = record(&mut world, 0, 1, whole, ALL);
    let v0_new = record(&mut world, 0, 2, whole, ALL);
    let v1_two_receipts = record(&mut world, 1, 5, whole, [true, true, false]);
    let v1_standing = record(&mut world, 1, 3, whole, ALL);
    let v2_equal: Vec<_> = (0..2).map(|_| record(&mut world, 2, 4, whole, ALL)).collect();
    let v2_lower = record(&mut world, 2, 1, whole, ALL);
    let v3_claimed = record(&mut world, 3, 1, whole, [true, true, false]);
    let v4_station_only = record(&mut world, 4, 1, whole, ALL);
    let d = |r: &Record| r.public.0.digest();
    let records = [
        vec![
            v0_old,
            v0_new.clone(),
            v1_two_receipts,
            v1_standing.clone(),
            v2_lower,
        ],
        v2_equal.clone(),
        vec![v3_claimed.clone(), v4_station_only.clone()],
    ]
    .concat();
    let claimed = [vec![], vec![world.receipt(Role::P3, BOX, d(&v3_claimed))], vec![]];
    let evidence = world.evidence(BOX, &[], &records, claimed, [&[]; 3]);
    let sealed = compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
    let v = VoterIndex;
    assert_eq!(
        sealed.standing,
        [
            (v(0), d(&v0_new)),
            (v(1), d(&v1_standing)),
            (v(3), d(&v3_claimed))
        ]
    );
    assert_eq!(sealed.enrolled.as_bytes(), [0b01011]);
    assert_eq!(sealed.live.as_bytes(), [0b11111]);
    let mut expected = vec![
        (d(&v2_equal[0]), Reason::RecordSerial),
        (d(&v2_equal[1]), Reason::RecordSerial),
        (d(&v4_station_only), Reason::VoterStationOnly),
    ];
    expected.sort();
    assert_eq!(
        sealed
            .seal
            .exclusions
            .iter()
            .map(|e| (e.digest, e.reason))
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(
        sealed.settled.hidden(),
        [Claimed {
            party: Role::P3,
            digest: d(&v3_claimed)
        }]
    );
}

#[test]
fn both_halves_must_stand() {
    let mut world = World::new(Shape {
        registrars: 2,
        ..Shape::default()
    });
    let half = |n| Half::new(n, 2).expect("half");
    let both = [
        record(&mut world, 0, 1, half(0), ALL),
        record(&mut world, 0, 2, half(1), ALL),
    ];
    let first_only = record(&mut world, 1, 1, half(0), ALL);
    let second_only = record(&mut world, 2, 1, half(1), ALL);
    let equal = [
        record(&mut world, 3, 1, half(0), ALL),
        record(&mut world, 3, 1, half(1), ALL),
        record(&mut world, 3, 1, half(1), ALL),
    ];
    let records = [both.to_vec(), vec![first_only, second_only], equal.to_vec()].concat();
    let sealed = seal(&world, &[], &records);
    let d = |r: &Record| r.public.0.digest();
    assert_eq!(sealed.standing, both.each_ref().map(|r| (VoterIndex(0), d(r))));
    assert_eq!(sealed.enrolled.as_bytes(), [0b00001]);
    assert_eq!(sealed.seal.exclusions.len(), 2);
}

#[test]
fn orders_correct_live_and_enrolled_but_enrol_nobody() {
    let mut world = World::new(Shape::default());
    let records = [
        record(&mut world, 0, 1, Half::WHOLE, ALL),
        record(&mut world, 1, 1, Half::WHOLE, ALL),
    ];
    let correct = |after: Option<&crate::order::SignedOrder>, number, voter, live, enrolled| {
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
    let third = correct(Some(&second), 3, 2, true, true);
    let orders = [first, second, third];
    let election = EffectiveElection::new(world.manifest.clone(), &orders).expect("applies");
    let hashes = orders.each_ref().map(crate::order::SignedOrder::hash);
    let evidence = world.evidence(BOX, &[], &records, no_claims(), [&hashes, &hashes[..2], &[]]);
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    assert_eq!(sealed.live.as_bytes(), [0b11101]);
    assert_eq!(sealed.enrolled.as_bytes(), [0b00010]);
}

fn by_card(world: &mut World, voter: u32, signed_at: u64, listed: [bool; 3]) -> Record {
    let card = world.card(BOX, VoterIndex(voter), CardKey::P256);
    let credential = Credential::generate(&mut world.rng);
    let [r, ..] = world.card_record(&card, UnixSeconds(signed_at), &credential);
    Listed {
        public: (r.header().clone(), Endorsement::Card(VoterIndex(voter))),
        listed,
    }
}

#[test]
fn a_card_record_beats_issued_ones_and_only_an_order_sets_it_aside() {
    let mut world = World::new(Shape {
        voters: [6, 3],
        cards: true,
        ..Shape::default()
    });
    let at = OPENS - 1000;
    let whole = Half::WHOLE;
    // Voter 0: issued later and with any serial, the card's stands. 1: the later of two cards'. 2: equal seconds, nobody's. 3: set aside by an
    // order. 4: set aside, and enrolled again since. 5: station only.
    let v0_issued = record(&mut world, 0, u32::MAX, whole, ALL);
    let v0_card = by_card(&mut world, 0, at, ALL);
    let v1_old = by_card(&mut world, 1, at, ALL);
    let v1_new = by_card(&mut world, 1, at + 1, ALL);
    let v2_issued = record(&mut world, 2, 1, whole, ALL);
    let v2_equal: Vec<_> = (0..2).map(|_| by_card(&mut world, 2, at, ALL)).collect();
    let v3_issued = record(&mut world, 3, 2, whole, ALL);
    let v3_card = by_card(&mut world, 3, at, ALL);
    let v4_two_receipts = by_card(&mut world, 4, at + 9, [true, true, false]);
    let v4_card = by_card(&mut world, 4, at, ALL);
    let v4_again = by_card(&mut world, 4, at + 1, ALL);
    let v5_card = by_card(&mut world, 5, at, ALL);
    let d = |r: &Record| r.public.0.digest();
    let v = VoterIndex;
    let reissue = |after: Option<&SignedOrder>, number, voter| {
        let (of_box, voter, until) = (BOX, v(voter), UnixSeconds(at));
        world.order_after(after, number, Change::Reissue(Reissue { of_box, voter, until }))
    };
    let first = reissue(None, 1, 3);
    let second = reissue(Some(&first), 2, 4);
    let orders = [first, second];
    let election = EffectiveElection::new(Arc::clone(&world.manifest), &orders).expect("two orders");
    let hashes: Vec<_> = orders.iter().map(SignedOrder::hash).collect();
    let records = [
        vec![v0_issued, v0_card.clone(), v1_old, v1_new.clone(), v2_issued],
        v2_equal.clone(),
        vec![
            v3_issued.clone(),
            v3_card.clone(),
            v4_two_receipts,
            v4_card.clone(),
        ],
        vec![v4_again.clone(), v5_card.clone()],
    ]
    .concat();
    let evidence = world.evidence(BOX, &[], &records, no_claims(), [&hashes; 3]);
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    assert_eq!(
        sealed.standing,
        [
            (v(0), d(&v0_card)),
            (v(1), d(&v1_new)),
            (v(3), d(&v3_issued)),
            (v(4), d(&v4_again)),
        ]
    );
    assert_eq!(sealed.enrolled.as_bytes(), [0b011011]);
    let excluded: Vec<_> = sealed
        .seal
        .exclusions
        .iter()
        .map(|e| (e.digest, e.reason))
        .collect();
    let mut expected = vec![
        (d(&v2_equal[0]), Reason::RecordSerial),
        (d(&v2_equal[1]), Reason::RecordSerial),
        (d(&v3_card), Reason::RecordReissued),
        (d(&v4_card), Reason::RecordReissued),
        (d(&v5_card), Reason::VoterStationOnly),
    ];
    expected.sort();
    assert_eq!(excluded, expected);
    let body = evidence.body.encode();
    assert_eq!(BoxBody::decode(&body, 6), Ok(evidence.body));
}
