mod model;
mod objects;
mod open_rolls;
mod parts;
mod records;
mod stopped;
mod tickets;

use super::*;
use crate::ballot::{BallotHeader, StationMark, sign_authority};
use crate::calendar::Channel;
use crate::envelope::{Kind, SignatureBytes};
use crate::fixture::{CLOSES, Evidence, Listed, OPENS, Shape, World};
use crate::ids::{StationId, UnixSeconds};
use crate::invitation::Credential;
use crate::manifest::RevokedRows;
use crate::order::{Change, Correction, Revocation};
use crate::receipt::Receipt;
use crate::record::{Endorsement, Half, RecordHeader};
use crate::wire;

const BOX: BoxId = BoxId(1);
const ALL: [bool; 3] = [true; 3];

type Ballot = Listed<(BallotHeader, Option<SignatureBytes>)>;
type Record = Listed<(RecordHeader, Endorsement)>;

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
        public: (
            r.header().clone(),
            Endorsement::Registrar(*r.registrar_signature().expect("issued")),
        ),
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
    assert!(matches!(
        differ,
        Err(SealingError::OrdersDiffer(Role::P1, Role::P2))
    ));
}

#[test]
fn a_revoked_station_is_out_from_that_moment_on_and_no_other_is() {
    let world = World::new(Shape::default());
    let change = Change::Revocation(Revocation {
        station: StationId(1),
        from: UnixSeconds(OPENS + 10),
    });
    let order = world.order(1, change);
    let election = EffectiveElection::new(world.manifest.clone(), [&order]).expect("applies");
    let ballots = [
        ballot(&world, 1, OPENS + 9, Some((1, 1, false)), ALL),
        ballot(&world, 2, OPENS + 10, Some((1, 2, false)), ALL),
        ballot(&world, 3, OPENS + 11, Some((1, 3, true)), ALL),
        ballot(&world, 4, OPENS + 10, Some((2, 1, false)), ALL),
        ballot(&world, 5, OPENS + 20, None, ALL),
    ];
    let hashes = [order.hash()];
    let evidence = world.evidence(BOX, &ballots, &[], no_claims(), [&hashes, &hashes, &hashes]);
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    let [before, at, paper, other, online] = ballots.each_ref().map(digest);
    assert_eq!(sealed.rows, [online, before, other]);
    let mut expected = [at, paper].map(|digest| Exclusion {
        digest,
        reason: Reason::BallotStationRevoked,
    });
    expected.sort_by_key(|e| e.digest);
    assert_eq!(sealed.seal.exclusions, expected);
    assert_eq!(sealed.seal.stations[0].electronic, 1);
}

#[test]
fn of_a_revoked_station_nothing_counts_where_the_manifest_says_so() {
    let shape = Shape {
        revoked_rows: RevokedRows::None,
        ..Shape::default()
    };
    let world = World::new(shape);
    let change = Change::Revocation(Revocation {
        station: StationId(1),
        from: UnixSeconds(OPENS + 10),
    });
    let order = world.order(1, change);
    let ballots = [
        ballot(&world, 1, OPENS + 9, Some((1, 1, false)), ALL),
        ballot(&world, 2, OPENS + 10, Some((1, 2, true)), ALL),
        ballot(&world, 3, OPENS + 9, Some((2, 1, false)), ALL),
    ];
    let hashes = [order.hash()];
    let evidence = world.evidence(BOX, &ballots, &[], no_claims(), [&hashes, &hashes, &hashes]);
    let election = EffectiveElection::new(world.manifest.clone(), [&order]).expect("applies");
    let sealed = compute(evidence.inputs(&election, BOX)).expect("a Seal");
    let [before, after, other] = ballots.each_ref().map(digest);
    assert_eq!(sealed.rows, [other]);
    let mut expected = [before, after].map(|digest| Exclusion {
        digest,
        reason: Reason::BallotStationRevoked,
    });
    expected.sort_by_key(|e| e.digest);
    assert_eq!(sealed.seal.exclusions, expected);
    assert_eq!(
        sealed.seal.stations[0].electronic + sealed.seal.stations[0].paper,
        0
    );
    // Without the order all of them count.
    let evidence = world.evidence(BOX, &ballots, &[], no_claims(), [&[]; 3]);
    let sealed = compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
    assert_eq!((sealed.rows.len(), sealed.seal.exclusions.len()), (3, 0));
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
