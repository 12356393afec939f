use proptest::prelude::*;

use super::*;
use crate::ballot::{BallotHeader, StationMark, sign_authority};
use crate::calendar::Channel;
use crate::envelope::{Kind, SignatureBytes};
use crate::fixture::{CLOSES, Evidence, Listed, OPENS, Shape, World};
use crate::ids::{StationId, UnixSeconds};
use crate::invitation::Credential;
use crate::order::{Change, Correction};
use crate::receipt::Receipt;
use crate::record::{Half, RecordHeader};
use crate::wire;

const BOX: BoxId = BoxId(1);
const ALL: [bool; 3] = [true; 3];

type Ballot = Listed<(BallotHeader, Option<SignatureBytes>)>;
type Record = Listed<(RecordHeader, SignatureBytes)>;

pub(crate) fn ballot(
    world: &World,
    salt: u8,
    cast_at: u64,
    mark: Option<(u32, u64, bool)>,
    listed: [bool; 3],
) -> Ballot {
    let election = world.manifest.manifest().election().clone();
    let (at, commitments) = (UnixSeconds(cast_at), [Hash32([salt; 32]); 3]);
    let Some((station, sequence, paper)) = mark else {
        return Listed {
            public: (BallotHeader::online(election, BOX, at, commitments), None),
            listed,
        };
    };
    let mark = StationMark {
        station: StationId(station),
        sequence,
    };
    let header = BallotHeader::station(election, BOX, paper, at, commitments, mark);
    let signature = sign_authority(&world.stations[station as usize - 1], &header.digest());
    Listed {
        public: (header, Some(signature)),
        listed,
    }
}

pub(crate) fn record(world: &mut World, voter: u32, serial: u32, half: Half, listed: [bool; 3]) -> Record {
    let credential = Credential::generate(&mut world.rng);
    let [r, ..] = world.record(BOX, VoterIndex(voter), serial, half, &credential);
    Listed {
        public: (r.header().clone(), *r.authorisation()),
        listed,
    }
}

fn digest(b: &Ballot) -> Digest {
    b.public.0.digest()
}

fn no_claims() -> [Vec<Receipt>; 3] {
    Default::default()
}

fn seal(world: &World, ballots: &[Ballot], records: &[Record]) -> Sealed {
    let evidence = world.evidence(BOX, ballots, records, no_claims(), [&[]; 3]);
    compute(evidence.inputs(&world.election(), BOX)).expect("a Seal")
}

#[test]
fn rows_stand_in_public_order() {
    let world = World::new(Shape::default());
    let online_late = ballot(&world, 1, OPENS + 9, None, ALL);
    let online_early = ballot(&world, 2, OPENS + 1, None, [true, true, false]);
    let tie_a = ballot(&world, 3, OPENS + 5, None, [false, true, true]);
    let tie_b = ballot(&world, 4, OPENS + 5, None, [true, false, true]);
    let station_late = ballot(&world, 5, OPENS + 4, Some((1, 1, false)), ALL);
    let station_2 = ballot(&world, 6, OPENS + 3, Some((2, 1, false)), ALL);
    let station_1_second = ballot(&world, 7, OPENS + 3, Some((1, 3, false)), ALL);
    let station_1_first = ballot(&world, 8, OPENS + 3, Some((1, 2, false)), ALL);
    let paper = ballot(&world, 9, OPENS, Some((1, 4, true)), ALL);
    let once = ballot(&world, 10, OPENS, None, [false, false, true]);
    let given = [
        &paper,
        &station_2,
        &online_late,
        &once,
        &tie_a,
        &station_1_second,
        &station_late,
        &online_early,
        &station_1_first,
        &tie_b,
    ];
    let sealed = seal(&world, &given.map(Clone::clone), &[]);
    let (low, high) = if digest(&tie_a) < digest(&tie_b) {
        (&tie_a, &tie_b)
    } else {
        (&tie_b, &tie_a)
    };
    let expected = [
        &online_early,
        low,
        high,
        &online_late,
        &station_1_first,
        &station_1_second,
        &station_2,
        &station_late,
        &paper,
    ];
    assert_eq!(sealed.rows, expected.map(digest));
    assert_eq!(
        sealed.seal.counts,
        Counts {
            online: 4,
            station: 4,
            paper: 1
        }
    );
    assert!(sealed.seal.exclusions.is_empty());
    let [one, two] = sealed.seal.stations.as_slice() else {
        panic!("two stations serve the box")
    };
    assert_eq!(
        (one.electronic, one.paper, one.gaps, one.repeated_numbers),
        (3, 1, 0, 0)
    );
    // By number the station's times are +4, +3, +3, +0: they fall twice.
    assert_eq!(one.falling_times, 2);
    assert_eq!((two.electronic, two.paper, two.gaps), (1, 0, 0));
    assert_eq!(Seal::decode(&sealed.seal.encode()), Ok(sealed.seal));
}

#[test]
fn a_ballot_is_out_only_by_public_checks() {
    let world = World::new(Shape::default());
    let good = ballot(&world, 1, OPENS, None, ALL);
    let early = ballot(&world, 2, OPENS - 1, None, ALL);
    let late = ballot(&world, 3, CLOSES + 1, None, ALL);
    let mut unsigned = ballot(&world, 4, OPENS, Some((1, 1, false)), ALL);
    unsigned.public.1 = None;
    let mut foreign = ballot(&world, 5, OPENS, Some((1, 2, false)), ALL);
    foreign.public.1 = Some(sign_authority(&world.stations[1], &digest(&foreign)));
    let mut other_box = ballot(&world, 6, OPENS, None, ALL);
    let header = &other_box.public.0;
    other_box.public.0 = BallotHeader::online(
        header.election().clone(),
        BoxId(2),
        header.cast_at(),
        *header.commitments(),
    );
    let mut no_box = ballot(&world, 7, OPENS, None, ALL);
    let header = &no_box.public.0;
    no_box.public.0 = BallotHeader::online(
        header.election().clone(),
        BoxId(9),
        header.cast_at(),
        *header.commitments(),
    );
    let sealed = seal(
        &world,
        &[&good, &early, &late, &unsigned, &foreign, &other_box, &no_box].map(Clone::clone),
        &[],
    );
    assert_eq!(sealed.rows, [digest(&good)]);
    let mut expected = [
        (digest(&early), Reason::BallotBeforeOpening),
        (digest(&late), Reason::BallotAfterClose),
        (digest(&unsigned), Reason::BallotAuthorityMissing),
        (digest(&foreign), Reason::BallotStationSignature),
        (digest(&other_box), Reason::BoxUnknown),
        (digest(&no_box), Reason::BoxUnknown),
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

#[test]
fn a_repeated_station_number_keeps_the_lowest_digest_and_names_the_station() {
    let world = World::new(Shape::default());
    let same: Vec<Ballot> = (1..=3)
        .map(|salt| {
            ballot(
                &world,
                salt,
                OPENS + u64::from(salt),
                Some((1, 5, salt == 2)),
                ALL,
            )
        })
        .collect();
    let other_station = ballot(&world, 4, OPENS, Some((2, 5, false)), ALL);
    let sealed = seal(&world, &[same.clone(), vec![other_station.clone()]].concat(), &[]);
    let mut digests: Vec<_> = same.iter().map(digest).collect();
    digests.sort();
    let mut rows = sealed.rows.clone();
    rows.sort();
    let mut expected = vec![digests[0], digest(&other_station)];
    expected.sort();
    assert_eq!(rows, expected);
    let excluded: Vec<_> = sealed
        .seal
        .exclusions
        .iter()
        .map(|e| (e.digest, e.reason))
        .collect();
    assert_eq!(
        excluded,
        [digests[1], digests[2]].map(|d| (d, Reason::BallotStationSequence))
    );
    let [one, two] = sealed.seal.stations.as_slice() else {
        panic!("two stations serve the box")
    };
    assert_eq!(
        (one.repeated_numbers, one.gaps, one.electronic + one.paper),
        (2, 4, 1)
    );
    assert_eq!((two.repeated_numbers, two.gaps, two.electronic), (0, 4, 1));
}

#[test]
fn an_order_moves_the_calendar_for_sealing_too() {
    let world = World::new(Shape::default());
    let mut wire = world.manifest.manifest().channels()[0].to_wire();
    wire.openings[0].opens_s = OPENS + 10;
    let order = world.order(
        1,
        Change::Calendar(Channel::from_wire(&wire).expect("a calendar")),
    );
    let election = EffectiveElection::new(world.manifest.clone(), [&order]).expect("applies");
    let (early, good) = (
        ballot(&world, 1, OPENS + 9, None, ALL),
        ballot(&world, 2, OPENS + 10, None, ALL),
    );
    let ballots = [early, good];
    let hashes = [order.hash()];
    let some: [&[Hash32]; 3] = [&[], &hashes, &[]];
    let evidence = world.evidence(BOX, &ballots, &[], no_claims(), some);
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    assert_eq!(sealed.rows, [digest(&ballots[1])]);
    assert_eq!(sealed.seal.orders, hashes);
    let without = compute(evidence.inputs(&world.election(), BOX));
    assert!(matches!(
        without,
        Err(SealingError::OtherOrders { named: 1, given: 0 })
    ));
    let wrong = [Hash32([9; 32])];
    let differ = world.evidence(BOX, &ballots, &[], no_claims(), [&hashes, &wrong, &[]]);
    let differ = compute(differ.inputs(&election, BOX));
    assert!(matches!(differ, Err(SealingError::OrdersDiffer(Role::P2))));
}

#[test]
fn a_claimed_receipt_is_an_acceptance_and_names_who_hid_it() {
    let world = World::new(Shape::default());
    let b = ballot(&world, 1, OPENS, None, [true, false, false]);
    let receipt = world.receipt(Role::P2, BOX, digest(&b));
    // Twice, and by two claimants: one of them lists it, one does not.
    let claimed = [vec![receipt.clone(), receipt.clone()], vec![], vec![receipt]];
    let evidence = world.evidence(BOX, std::slice::from_ref(&b), &[], claimed, [&[]; 3]);
    let sealed = compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
    assert_eq!(sealed.rows, [digest(&b)]);
    let named = |party| Claimed {
        party,
        digest: digest(&b),
    };
    assert_eq!(sealed.settled.hidden(), [named(Role::P2)]);
    assert_eq!(sealed.settled.false_claims(), [named(Role::P3)]);
}

#[test]
fn claims_that_do_not_hold_are_disregarded_and_named() {
    let world = World::new(Shape::default());
    let b = ballot(&world, 1, OPENS, None, [true, false, false]);
    let listed_by_signer = ballot(&world, 2, OPENS, None, [true, true, false]);
    let d = digest(&b);
    let forged = Receipt::from_wire(&wire::Receipt {
        signature: vec![0; 64],
        ..world.receipt(Role::P2, BOX, d).to_wire()
    });
    let wrong = vec![
        forged.expect("well formed"),
        world.receipt(Role::P1, BOX, d),
        world.receipt(Role::P2, BoxId(2), d),
        world.receipt(Role::P2, BOX, Digest([7; 32])),
        world.receipt(Role::P2, BOX, digest(&listed_by_signer)),
    ];
    let count = wrong.len();
    let mut ballots = vec![b.clone(), listed_by_signer];
    // The fixture believes every claim; the rules do not, so the header must not be there.
    let evidence = world.evidence(BOX, &ballots, &[], [wrong.clone(), vec![], vec![]], [&[]; 3]);
    let believed = compute(evidence.inputs(&world.election(), BOX));
    assert!(matches!(
        believed,
        Err(SealingError::Header { candidate: false, .. })
    ));
    let bare = vec![
        BallotEvidence::bare(d, ballots[0].listed),
        BallotEvidence::candidate(ballots[1].public.0.clone(), None, ballots.remove(1).listed),
    ];
    let mut bare = bare;
    bare.sort_by_key(BallotEvidence::digest);
    let body = BoxBody::new(bare, vec![], world.rolls[0].online()).expect("a body");
    let evidence = world.sign_evidence(BOX, body, [wrong, vec![], vec![]], [&[]; 3]);
    let sealed = compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
    assert_eq!(sealed.rows.len(), 1);
    assert!(!sealed.rows.contains(&d));
    assert_eq!(sealed.settled.false_claims().len(), count);
    assert!(sealed.settled.false_claims().iter().all(|c| c.party == Role::P1));
    assert!(sealed.settled.hidden().is_empty());
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
    let correct = |number, voter, live, enrolled| {
        let change = Correction {
            of_box: BOX,
            voter: VoterIndex(voter),
            live,
            enrolled,
        };
        world.order(number, Change::Correction(change))
    };
    let orders = [
        correct(1, 0, true, false),
        correct(2, 1, false, true),
        correct(3, 2, true, true),
    ];
    let election = EffectiveElection::new(world.manifest.clone(), &orders).expect("applies");
    let hashes = orders.each_ref().map(crate::order::SignedOrder::hash);
    let evidence = world.evidence(BOX, &[], &records, no_claims(), [&hashes, &hashes[..2], &[]]);
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    assert_eq!(sealed.live.as_bytes(), [0b11101]);
    assert_eq!(sealed.enrolled.as_bytes(), [0b00010]);
}

#[test]
fn a_box_below_the_minimum_is_refused_by_name() {
    let world = World::new(Shape {
        min_submissions: 2,
        ..Shape::default()
    });
    let ballots = [
        ballot(&world, 1, OPENS, None, ALL),
        ballot(&world, 2, OPENS - 1, None, ALL),
    ];
    let evidence = world.evidence(BOX, &ballots, &[], no_claims(), [&[]; 3]);
    let error = compute(evidence.inputs(&world.election(), BOX)).expect_err("too few");
    assert_eq!(error.reason(), Reason::BallotTooFew);
    assert!(
        error
            .to_string()
            .contains("box 1 (District 1) holds 1 submissions"),
        "{error}"
    );
}

#[test]
fn evidence_that_does_not_belong_together_is_refused() {
    let world = World::new(Shape::default());
    let other_world = World::new(Shape {
        seed: 9,
        ..Shape::default()
    });
    let ballots = [
        ballot(&world, 1, OPENS, None, ALL),
        ballot(&world, 2, OPENS, None, [true, true, false]),
    ];
    let make = || world.evidence(BOX, &ballots, &[], no_claims(), [&[]; 3]);
    let election = world.election();
    let refused = |change: fn(&mut Evidence, Evidence), with: Evidence| {
        let mut evidence = make();
        change(&mut evidence, with);
        compute(evidence.inputs(&election, BOX)).expect_err("refused")
    };
    let fewer = || world.evidence(BOX, &ballots[..1], &[], no_claims(), [&[]; 3]);
    let claims = refused(|e, with| e.claims = with.claims, fewer());
    assert!(matches!(claims, SealingError::OtherLists(Role::P1)));
    let body = refused(|e, with| e.body = with.body, fewer());
    assert!(matches!(
        body,
        SealingError::OtherList {
            kind: "ballots",
            party: Role::P1
        }
    ));
    let swapped = refused(|e, _| e.lists.swap(0, 1), fewer());
    assert!(matches!(
        swapped,
        SealingError::OtherSubject {
            what: "List",
            party: Role::P1,
            ..
        }
    ));
    let swapped = refused(|e, _| e.claims.swap(1, 2), fewer());
    assert!(matches!(
        swapped,
        SealingError::OtherSubject {
            what: "Claims",
            party: Role::P2,
            ..
        }
    ));
    let foreign = other_world.evidence(BOX, &[], &[], no_claims(), [&[]; 3]);
    let foreign = refused(|e, with| e.lists = with.lists, foreign);
    assert!(matches!(foreign, SealingError::OtherSubject { .. }));
    let evidence = make();
    assert!(matches!(
        compute(evidence.inputs(&election, BoxId(2))),
        Err(SealingError::OtherSubject { .. })
    ));
    assert!(matches!(
        compute(evidence.inputs(&election, BoxId(9))),
        Err(SealingError::UnknownBox(_))
    ));

    let bare = |listed| BallotEvidence::bare(digest(&ballots[0]), listed);
    let online = world.rolls[0].online();
    let body = BoxBody::new(vec![bare(ALL)], vec![], online.clone()).expect("a body");
    let evidence = world.sign_evidence(BOX, body, no_claims(), [&[]; 3]);
    let missing = compute(evidence.inputs(&election, BOX));
    assert!(matches!(
        missing,
        Err(SealingError::Header { candidate: true, .. })
    ));
    let body = BoxBody::new(vec![], vec![], world.rolls[1].online()).expect("a body");
    let evidence = world.sign_evidence(BOX, body, no_claims(), [&[]; 3]);
    assert!(matches!(
        compute(evidence.inputs(&election, BOX)),
        Err(SealingError::Online {
            expected: 5,
            actual: 3
        })
    ));

    let twice = BoxBody::new(vec![bare(ALL), bare(ALL)], vec![], online.clone());
    assert_eq!(twice, Err(BodyError::Order(digest(&ballots[0]))));
    let nobody = BoxBody::new(vec![bare([false; 3])], vec![], online);
    assert!(matches!(nobody, Err(BodyError::Listed { listed: 0, .. })));
}

#[test]
fn bodies_survive_their_bytes_and_refuse_hybrids() {
    let mut world = World::new(Shape::default());
    let records = [
        record(&mut world, 0, 1, Half::WHOLE, ALL),
        record(&mut world, 1, 1, Half::WHOLE, [true, true, false]),
    ];
    let ballots = [
        ballot(&world, 1, OPENS, Some((1, 1, false)), ALL),
        ballot(&world, 2, OPENS, None, [true, false, false]),
    ];
    let evidence = world.evidence(BOX, &ballots, &records, no_claims(), [&[]; 3]);
    let body = &evidence.body;
    assert_eq!(BoxBody::decode(&body.encode(), 5), Ok(body.clone()));
    assert!(matches!(
        BoxBody::decode(&body.encode(), 9),
        Err(BodyError::Online(_))
    ));
    let hybrid = |change: fn(&mut wire::BallotEvidence)| {
        let mut wire = body.to_wire();
        wire.ballots.iter_mut().for_each(change);
        BoxBody::from_wire(&wire, 5)
    };
    assert!(matches!(
        hybrid(|e| e.digest = vec![1; 32]),
        Err(BodyError::HeaderOrDigest | BodyError::Order(_))
    ));
    assert!(matches!(
        hybrid(|e| e.header = None),
        Err(BodyError::StraySignature | BodyError::Id(_))
    ));
    assert!(matches!(
        hybrid(|e| e.listed = 8),
        Err(BodyError::Listed { listed: 8, .. })
    ));
    assert!(matches!(
        hybrid(|e| e.listed = 0),
        Err(BodyError::Listed { listed: 0, .. })
    ));
}

#[test]
fn digest_lists_are_strictly_ascending_whole_digests() {
    let digests = [Digest([1; 32]), Digest([2; 32])];
    let bytes = [[1u8; 32], [2; 32]].concat();
    let list = DigestList::from_bytes(&bytes).expect("ascending");
    assert_eq!(list.as_slice(), digests);
    assert_eq!(list.statement(), (2, Hash32::of(&bytes)));
    assert!(list.contains(&digests[1]) && !list.contains(&Digest([3; 32])));
    assert_eq!(DigestList::from_bytes(&bytes[1..]), Err(ListError::Ragged(63)));
    assert_eq!(
        DigestList::new(vec![digests[1], digests[0]]),
        Err(ListError::Order(digests[0]))
    );
    assert_eq!(
        DigestList::new(vec![digests[1]; 2]),
        Err(ListError::Order(digests[1]))
    );
}

#[test]
fn two_statements_convict_only_their_signer() {
    let world = World::new(Shape::default());
    let keys = world.manifest.manifest().party_keys();
    let b = [ballot(&world, 1, OPENS, None, ALL)];
    let one = world.evidence(BOX, &b, &[], no_claims(), [&[]; 3]);
    let other = world.evidence(BOX, &[], &[], no_claims(), [&[]; 3]);
    let elsewhere = world.evidence(BoxId(2), &[], &[], no_claims(), [&[]; 3]);
    let list = |e: &Evidence| e.lists[0].envelope().clone();
    let check = |kind, party, a: &_, b: &_| check_two_statements(kind, party, &keys, a, b);
    let p1 = Role::P1;
    assert!(matches!(
        check(Kind::List, p1, &list(&one), &list(&other)),
        Ok(Statements::Contradict)
    ));
    assert!(matches!(
        check(Kind::List, p1, &list(&one), &list(&one)),
        Ok(Statements::Same)
    ));
    assert!(matches!(
        check(Kind::List, p1, &list(&one), &list(&elsewhere)),
        Ok(Statements::Unrelated)
    ));
    assert!(matches!(
        check(Kind::List, Role::P2, &list(&one), &list(&other)),
        Err(StatementError::Party { .. })
    ));
    let (c1, c2) = (&one.claims_envelopes[0], &other.claims_envelopes[0]);
    assert!(matches!(
        check(Kind::Claims, p1, c1, c2),
        Ok(Statements::Contradict)
    ));
    assert!(matches!(
        check(Kind::Claims, p1, c1, &list(&one)),
        Err(StatementError::Claims(_))
    ));
    let seals = [&one, &other].map(|e| {
        let sealed = compute(e.inputs(&world.election(), BOX)).expect("a Seal");
        sealed.seal.sign(&world.signers[0])
    });
    assert!(matches!(
        check(Kind::Seal, p1, &seals[0], &seals[1]),
        Ok(Statements::Contradict)
    ));
    assert!(matches!(
        check(Kind::Seal, Role::P3, &seals[0], &seals[1]),
        Err(StatementError::Envelope(_))
    ));
    assert!(matches!(
        check(Kind::Start, p1, &seals[0], &seals[1]),
        Err(StatementError::Kind(Kind::Start))
    ));
    let mut forged = list(&other);
    forged.add_signature(world.signers[1].sign(Kind::List, forged.payload()));
    assert!(matches!(
        check(Kind::List, p1, &list(&one), &forged),
        Err(StatementError::List(_))
    ));
}

#[test]
fn a_seal_needs_three() {
    let world = World::new(Shape::default());
    let keys = world.manifest.manifest().party_keys();
    let sealed = seal(&world, &[ballot(&world, 1, OPENS, None, ALL)], &[]);
    let mut envelope = sealed.seal.sign(&world.signers[0]);
    for signer in &world.signers[1..] {
        assert!(SignedSeal::open(envelope.clone(), &keys).is_err());
        envelope.add_signature(signer.sign(Kind::Seal, envelope.payload()));
    }
    let signed = SignedSeal::open(envelope, &keys).expect("three");
    assert_eq!((signed.hash(), signed.seal()), (sealed.seal.hash(), &sealed.seal));
}

/// One made-up ballot: offset of its time from the opening, where it was cast, who lists it, and whose receipt is claimed.
#[derive(Clone, Debug)]
struct Made {
    offset: i64,
    mark: Option<(u32, u64, bool)>,
    listed: u8,
    claimed: Option<(usize, usize)>,
}

fn made() -> impl Strategy<Value = Made> {
    let mark = proptest::option::of((1u32..=2, 1u64..6, any::<bool>()));
    let claimed = proptest::option::of((0usize..3, 0usize..3));
    (-1i64..6, mark, 1u8..8, claimed).prop_map(|(offset, mark, listed, claimed)| Made {
        offset,
        mark,
        listed,
        claimed,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The rules against a plain model that works through them one by one, without sorting keys or maps.
    #[test]
    fn sealing_agrees_with_a_plain_model(all in proptest::collection::vec(made(), 0..24)) {
        thread_local!(static WORLD: World = World::new(Shape::default()));
        WORLD.with(|world| agrees_with_model(world, &all))?;
    }
}

fn agrees_with_model(world: &World, all: &[Made]) -> Result<(), TestCaseError> {
    let mut ballots = Vec::new();
    let mut claimed: [Vec<Receipt>; 3] = Default::default();
    let mut candidates = Vec::new();
    for (salt, made) in (0u8..).zip(all) {
        let listed: [bool; 3] = std::array::from_fn(|i| made.listed >> i & 1 == 1);
        let b = ballot(
            world,
            salt,
            OPENS.saturating_add_signed(made.offset),
            made.mark,
            listed,
        );
        let mut accepted = listed;
        // Only claims that hold: the others have their own test.
        if let Some((claimant, signer)) = made.claimed.filter(|(c, s)| c != s && listed[*c] && !listed[*s]) {
            claimed[claimant].push(world.receipt(Role::ALL[signer], BOX, digest(&b)));
            accepted[signer] = true;
        }
        if accepted.iter().filter(|a| **a).count() >= 2 && made.offset >= 0 {
            candidates.push((made.clone(), digest(&b)));
        }
        ballots.push(b);
    }
    // The lowest digest of a (station, number) stays.
    let stays = |(m, d): &&(Made, Digest)| {
        let place = |m: &Made| m.mark.map(|(station, number, _)| (station, number));
        place(m).is_none() || candidates.iter().all(|(o, e)| place(o) != place(m) || e >= d)
    };
    let mut rows: Vec<_> = candidates.iter().filter(stays).collect();
    // A plain insertion of each row before the first that is greater.
    let before = |(a, d): &(Made, Digest), (b, e): &(Made, Digest)| {
        let class = |m: &Made| match m.mark {
            None => 0,
            Some((_, _, false)) => 1,
            Some((_, _, true)) => 2,
        };
        let mark = |m: &Made| m.mark.map_or((0, 0), |(station, number, _)| (station, number));
        (class(a), a.offset, mark(a), d) < (class(b), b.offset, mark(b), e)
    };
    let mut expected: Vec<&(Made, Digest)> = Vec::new();
    for row in rows.drain(..) {
        let at = expected
            .iter()
            .position(|other| before(row, other))
            .unwrap_or(expected.len());
        expected.insert(at, row);
    }

    let evidence = world.evidence(BOX, &ballots, &[], claimed, [&[]; 3]);
    let sealed =
        compute(evidence.inputs(&world.election(), BOX)).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(
        &sealed.rows,
        &expected.iter().map(|(_, d)| *d).collect::<Vec<_>>()
    );
    let class = |paper| {
        expected
            .iter()
            .filter(|(m, _)| m.mark.is_some_and(|(_, _, p)| p == paper))
            .count() as u64
    };
    prop_assert_eq!(sealed.seal.counts.paper, class(true));
    prop_assert_eq!(sealed.seal.counts.station, class(false));
    prop_assert_eq!(sealed.seal.counts.total(), expected.len() as u64);
    prop_assert!(sealed.settled.false_claims().is_empty());
    for count in &sealed.seal.stations {
        let own = |m: &Made| {
            m.mark
                .filter(|(s, ..)| *s == count.station.get())
                .map(|(_, n, _)| n)
        };
        let numbers: Vec<u64> = expected.iter().filter_map(|(m, _)| own(m)).collect();
        let gaps = (1..=numbers.iter().copied().max().unwrap_or(0))
            .filter(|n| !numbers.contains(n))
            .count() as u64;
        prop_assert_eq!(
            (count.gaps, count.electronic + count.paper),
            (gaps, numbers.len() as u64)
        );
        let all_of_it = candidates.iter().filter_map(|(m, _)| own(m)).count() as u64;
        prop_assert_eq!(count.repeated_numbers, all_of_it - numbers.len() as u64);
        let time = |n: u64| {
            expected
                .iter()
                .find(|(m, _)| own(m) == Some(n))
                .map(|(m, _)| m.offset)
        };
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let falls = sorted.windows(2).filter(|w| time(w[1]) < time(w[0])).count() as u64;
        prop_assert_eq!(count.falling_times, falls);
    }
    // The same evidence always gives the same bytes, and every signed part survives its encoding.
    let again =
        compute(evidence.inputs(&world.election(), BOX)).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(again.seal.encode(), sealed.seal.encode());
    let body = BoxBody::decode(&evidence.body.encode(), 5).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(body, evidence.body);
    Ok(())
}
