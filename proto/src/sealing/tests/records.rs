//! Which records stand.

use std::sync::Arc;

use super::*;
use crate::fixture::cards::CardKey;
use crate::ids::RoleExt as _;
use crate::order::{Reissue, SignedOrder};

/// Orders in force, one after the other.
fn orders(world: &World, changes: impl IntoIterator<Item = Change>) -> Vec<SignedOrder> {
    let mut orders: Vec<SignedOrder> = Vec::new();
    for (number, change) in (1..).zip(changes) {
        orders.push(world.order_after(orders.last(), number, change));
    }
    orders
}

/// Lets registrars issue the voter's credential again, and sets aside what the voter's card signed until then.
fn reissue(voter: u32, serial: u32, until: u64) -> Change {
    Change::Reissue(Reissue {
        of_box: BOX,
        voter: VoterIndex(voter),
        until: UnixSeconds(until),
        serial,
    })
}

/// What is sealed of these records under these orders, each List naming all of them.
fn seal_under(
    world: &World,
    orders: &[SignedOrder],
    records: &[Record],
    claimed: [Vec<Receipt>; 3],
) -> (Sealed, Evidence) {
    let election = EffectiveElection::new(Arc::clone(&world.manifest), orders).expect("in force");
    let hashes: Vec<_> = orders.iter().map(SignedOrder::hash).collect();
    let evidence = world.evidence(BOX, &[], records, claimed, [&hashes; 3]);
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    (sealed, evidence)
}

fn excluded(sealed: &Sealed) -> Vec<(Digest, Reason)> {
    let exclusions = sealed.seal.exclusions.iter();
    exclusions.map(|e| (e.digest, e.reason)).collect()
}

#[test]
fn a_registrar_replaces_no_credential_without_an_order_that_allows_its_serial() {
    let mut world = World::new(Shape {
        registrars: 2,
        ..Shape::default()
    });
    let half = |n| Half::new(n, 2).expect("half");
    let mut of = |voter, serial, n| record(&mut world, voter, serial, half(n), ALL);
    let first: Vec<Record> = (0..4).flat_map(|v| [of(v, 1, 0), of(v, 1, 1)]).collect();
    // After the close, the first registrar strikes whom it likes: with all three receipts.
    let again = [of(0, 2, 0), of(1, 2, 0), of(2, 3, 0), of(3, 0, 0)];
    let allowed = orders(&world, [reissue(1, 2, 0), reissue(2, 2, 0)]);
    let d = |r: &Record| r.public.0.digest();
    let v = VoterIndex;
    let records = [first.clone(), again.to_vec()].concat();
    let out = |which: &[usize]| {
        let mut out: Vec<_> = which
            .iter()
            .map(|at| (d(&again[*at]), Reason::RecordSerial))
            .collect();
        out.sort();
        out
    };

    let (sealed, _) = seal_under(&world, &[], &records, no_claims());
    assert_eq!(excluded(&sealed), out(&[0, 1, 2, 3]));
    let issued_first: Vec<_> = first
        .iter()
        .enumerate()
        .map(|(at, r)| (v(at as u32 / 2), d(r)))
        .collect();
    assert_eq!(sealed.standing, issued_first);

    // An order lets voter 1's second stand; of voter 2 it allows up to 2 only.
    let (sealed, evidence) = seal_under(&world, &allowed, &records, no_claims());
    assert_eq!(excluded(&sealed), out(&[0, 2, 3]));
    let mut expected = issued_first;
    expected[2].1 = d(&again[1]);
    assert_eq!(sealed.standing, expected);
    // Whoever recomputes the Seal without the order comes to another.
    let without = EffectiveElection::new(Arc::clone(&world.manifest), []).expect("no orders");
    assert!(compute(evidence.inputs(&without, BOX)).is_err());
}

#[test]
fn an_order_allows_serials_of_one_voter_and_none_takes_them_back() {
    let world = World::new(Shape::default());
    let nothing = world.order(1, reissue(0, 2, 0));
    let orders = [
        nothing.clone(),
        world.order_after(Some(&nothing), 2, reissue(0, 5, 0)),
    ];
    let third = world.order_after(Some(&orders[1]), 3, reissue(0, 3, 0));
    let all = [&orders[0], &orders[1], &third];
    let election = EffectiveElection::new(Arc::clone(&world.manifest), all).expect("in force");
    let allows = |v, serial| election.allows_serial(BOX, VoterIndex(v), serial);
    let serials = [0, 1, 2, 5, 6, u32::MAX];
    assert_eq!(
        serials.map(|s| allows(0, s)),
        [false, true, true, true, false, false]
    );
    assert_eq!(
        serials.map(|s| allows(1, s)),
        [false, true, false, false, false, false]
    );
    assert!(!election.allows_serial(BoxId(2), VoterIndex(0), 2));
    // One that allows nothing and sets nothing aside is none, nor does one set cards aside where there are none.
    let refused = |change| {
        let order = crate::order::Order {
            change,
            ..nothing.order().clone()
        };
        let envelope = world.sign_all(Kind::Order, order.encode());
        SignedOrder::open(envelope, &world.manifest).expect_err("refused")
    };
    use crate::order::OrderError;
    assert_eq!(refused(reissue(0, 1, 0)), OrderError::NoChange(1));
    assert_eq!(
        refused(reissue(0, 2, OPENS)),
        OrderError::NoRegister { number: 1 }
    );
}

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
    let allowed = orders(&world, [0, 1, 2].map(|voter| reissue(voter, 5, 0)));
    let (sealed, _) = seal_under(&world, &allowed, &records, claimed);
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
    assert_eq!(excluded(&sealed), expected);
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
    let allowed = orders(&world, [reissue(0, 2, 0)]);
    let (sealed, _) = seal_under(&world, &allowed, &records, no_claims());
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
    let changes = [reissue(0, u32::MAX, 0), reissue(3, 2, at), reissue(4, 0, at)];
    let allowed = orders(&world, changes);
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
    let (sealed, evidence) = seal_under(&world, &allowed, &records, no_claims());
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
    let mut expected = vec![
        (d(&v2_equal[0]), Reason::RecordSerial),
        (d(&v2_equal[1]), Reason::RecordSerial),
        (d(&v3_card), Reason::RecordReissued),
        (d(&v4_card), Reason::RecordReissued),
        (d(&v5_card), Reason::VoterStationOnly),
    ];
    expected.sort();
    assert_eq!(excluded(&sealed), expected);
    let body = evidence.body.encode();
    assert_eq!(BoxBody::decode(&body, 6), Ok(evidence.body));
}

/// `party`'s receipt for the record in another election, validly signed.
fn receipt_elsewhere(world: &World, party: Role, record: &Record) -> Receipt {
    let receipt = world.receipt(party, BoxId(2), record.public.0.digest());
    let mut acceptance = receipt.unverified().clone();
    acceptance.election = crate::ids::ElectionId::new("ward-6").expect("an id");
    acceptance.sign(&world.signers[party.slot()])
}

#[test]
fn what_one_party_does_not_take_over_stands_by_its_receipt_in_the_other_election() {
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let two = [true, true, false];
    let at = OPENS - 1000;
    let records: Vec<Record> = (0..3).map(|voter| by_card(&mut world, voter, at, two)).collect();
    let [left_out, hidden, unknown] = records.as_slice() else {
        panic!("three")
    };
    let d = |r: &Record| r.public.0.digest();
    let claimed = [
        vec![
            receipt_elsewhere(&world, Role::P3, left_out),
            receipt_elsewhere(&world, Role::P3, hidden),
        ],
        // P2 has P3's receipt of this election: that proves more.
        vec![world.receipt(Role::P3, BOX, d(hidden))],
        vec![],
    ];
    let (sealed, _) = seal_under(&world, &[], &records, claimed);
    let standing = [(VoterIndex(0), d(left_out)), (VoterIndex(1), d(hidden))];
    assert_eq!(sealed.standing, standing);
    assert!(!sealed.enrolled.get(2), "{}: two acceptances", d(unknown));
    let by_p3 = |record| Claimed {
        party: Role::P3,
        digest: d(record),
    };
    assert_eq!(sealed.settled.elsewhere(), [by_p3(left_out)]);
    assert_eq!(sealed.settled.hidden(), [by_p3(hidden)]);
    assert!(sealed.settled.false_claims().is_empty());
}

/// One party cannot bring a record into an election by itself, however many receipts of another election it has: whether it is that
/// election's nobody else has found. Nor are there such receipts where nothing is taken over.
#[test]
fn receipts_of_another_election_stand_only_for_what_both_others_list() {
    let attempt = |shape: Shape, listed: [bool; 3], of_card: bool| {
        let mut world = World::new(shape);
        let made = if of_card {
            by_card(&mut world, 0, OPENS - 1000, listed)
        } else {
            record(&mut world, 0, 1, Half::WHOLE, listed)
        };
        let claimed = [Role::P2, Role::P3]
            .into_iter()
            .filter(|party| !listed[party.slot()])
            .map(|party| receipt_elsewhere(&world, party, &made))
            .collect::<Vec<_>>();
        let count = claimed.len();
        let evidence = RecordEvidence::bare(made.public.0.digest(), listed);
        let body = BoxBody::new(vec![], vec![evidence], world.rolls[0].online()).expect("a body");
        let evidence = world.sign_evidence(BOX, body, [claimed, vec![], vec![]], [&[]; 3]);
        let sealed = compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
        assert!(sealed.standing.is_empty() && sealed.settled.elsewhere().is_empty());
        let named = sealed.settled.false_claims();
        assert_eq!(named.len(), count);
        assert!(named.iter().all(|by| by.party == Role::P1));
    };
    let cards = Shape {
        cards: true,
        ..Shape::default()
    };
    attempt(cards, [true, false, false], true);
    attempt(Shape::default(), [true, true, false], false);
}
