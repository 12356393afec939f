use prost::Message as _;

use super::*;
use crate::ballot::StationMark;
use crate::fixture::{Cast, OPENS, Shape, World};
use crate::ids::{BoxId, Digest, StationId, UnixSeconds, VoterIndex};
use crate::invitation::Credential;
use crate::reason::Reason;
use crate::record::Half;
use crate::{ballot, wire};

fn manifest(tickets: bool, change: impl FnOnce(&mut wire::Manifest)) -> Result<Manifest, ManifestError> {
    let world = World::new(Shape {
        tickets,
        registrars: 2,
        ..Shape::default()
    });
    let mut wire = world.manifest.manifest().to_wire();
    change(&mut wire);
    for of_box in &mut wire.boxes {
        of_box.index_bits = tally_mpc::BallotLayout::index_bits_for(of_box.voters) as u32;
    }
    Manifest::from_wire(&wire)
}

fn first(manifest: &Manifest) -> Capacity {
    manifest.boxes()[0].capacity()
}

/// In a body, and as excluded in the Seal.
fn bytes_of(ballot: wire::BallotEvidence, digest: Digest) -> u64 {
    let body = wire::BoxBody {
        ballots: vec![ballot],
        ..Default::default()
    };
    let seal = wire::Seal {
        exclusions: vec![wire::Exclusion {
            digest: digest.0.to_vec(),
            reason: Reason::BallotStationSequence.code().to_owned(),
        }],
        ..Default::default()
    };
    (body.encoded_len() + seal.encoded_len()) as u64
}

#[test]
fn no_evidence_is_longer_than_what_is_counted_for_it() {
    for tickets in [false, true] {
        let mut world = World::new(Shape {
            tickets,
            ..Shape::default()
        });
        let manifest = world.manifest.manifest().clone();
        let counted = ballot_bytes(&manifest) * 2 / 3;
        let online = world.ballot(Cast {
            of_box: BoxId(2),
            voter: VoterIndex(0),
            credential: 1,
            choices: &[tally_mpc::Choice::Blank],
            cast_at: UnixSeconds(OPENS + 1),
            mark: None,
            paper: false,
        });
        let header = online[0].header();
        let evidence = wire::BallotEvidence {
            header: Some(wire::BallotHeader {
                r#box: u32::MAX,
                ..header.to_wire()
            }),
            listed: 7,
            ..Default::default()
        };
        let online = bytes_of(evidence, header.digest());
        let mark = StationMark {
            station: StationId(u32::MAX),
            sequence: u64::MAX,
        };
        let (election, commitments) = (manifest.election().clone(), *header.commitments());
        let at = UnixSeconds(u64::MAX);
        let header = ballot::BallotHeader::station(election, BoxId(u32::MAX), true, at, commitments, mark);
        let evidence = wire::BallotEvidence {
            header: Some(header.to_wire()),
            authority_signature: vec![7; 64],
            listed: 7,
            ..Default::default()
        };
        let station = bytes_of(evidence, header.digest());
        assert!(online.max(station) <= counted, "{online}, {station} of {counted}");
        assert!(online.max(station) * 2 > counted, "and not much shorter");
    }
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let manifest = world.manifest.manifest().clone();
    let (records, bytes) = records(&manifest, 1000);
    let of_one = bytes / records;
    let issued = world.record(BoxId(1), VoterIndex(0), 1, Half::WHOLE, &Credential::new(1));
    let card = world.card(BoxId(1), VoterIndex(1), crate::fixture::cards::CardKey::P256);
    let card = world.card_record(&card, UnixSeconds(OPENS - 9), &Credential::new(2));
    for header in [issued[0].header(), card[0].header()] {
        let body = wire::BoxBody {
            records: vec![wire::RecordEvidence {
                header: Some(header.to_wire()),
                authorisation: vec![7; 64],
                listed: 7,
                card_voter: Some(u32::MAX),
                ..Default::default()
            }],
            ..Default::default()
        };
        let exclusion = bytes_of(wire::BallotEvidence::default(), header.digest());
        let bytes = body.encoded_len() as u64 + exclusion;
        assert!(bytes <= of_one, "{bytes} of {of_one}");
    }
}

#[test]
fn a_box_takes_sixteen_ballots_a_voter_or_as_many_as_can_be_published() {
    let small = manifest(true, |_| {}).expect("a manifest");
    let capacity = first(&small);
    assert_eq!(capacity.ballots(), 16 * 5 + 10_000);
    assert_eq!(
        (capacity.online, capacity.stations),
        (5040, 5040),
        "a half for each side"
    );
    assert_eq!(
        capacity.one_station, 2520,
        "of several stations none can take all"
    );
    assert_eq!(capacity.records, 2 * 5 + 100);

    // A million voters with tickets and split credentials, in one box: two ballots each at least.
    let large = manifest(true, |m| m.boxes[0].voters = 1_000_000).expect("a manifest");
    let capacity = first(&large);
    assert!(
        (2_000_000..16_000_000).contains(&capacity.ballots()),
        "{capacity:?}"
    );
    let evidence = capacity.ballots() * ballot_bytes(&large) + records(&large, 1_000_000).1;
    assert!(evidence <= MAX_BODY_BYTES as u64);

    // Where no station is, all is for online ballots.
    let online = manifest(false, |m| {
        m.channels.truncate(1);
        m.stations.clear();
    });
    let online = first(&online.expect("a manifest"));
    assert_eq!((online.online, online.stations), (10_080, 0));
}

#[test]
fn all_boxes_together_fit_into_a_bundle() {
    let many = manifest(true, |m| {
        let of_box = m.boxes[0].clone();
        m.boxes = (1..=200)
            .map(|id| wire::Box {
                id,
                voters: 10_000,
                ..of_box.clone()
            })
            .collect();
        m.stations.iter_mut().for_each(|s| s.boxes.clear());
    })
    .expect("two million voters");
    let of = |b: &BallotBox| b.capacity().ballots() * ballot_bytes(&many) + records(&many, 10_000).1;
    let together: u64 = many.boxes().iter().map(of).sum();
    assert!(together <= MAX_EVIDENCE_BYTES, "{together}");
    assert!(first(&many).ballots() >= 20_000);
}

#[test]
fn what_could_not_be_published_is_refused_by_name() {
    let refused = |change: fn(&mut wire::Manifest)| {
        let error = manifest(true, change).expect_err("refused");
        assert_eq!(error.reason(), Reason::ManifestInvalid);
        let ManifestError::BoxTooLarge { of_box, .. } = error else {
            panic!("{error}")
        };
        assert!(error.to_string().contains("(District"), "{error}");
        of_box
    };
    // Too many voters; more than fit are promised; fewer than the voters need.
    assert_eq!(refused(|m| m.boxes[1].voters = 3_000_000), BoxId(2));
    assert_eq!(refused(|m| m.boxes[0].max_ballots = 100_000_000), BoxId(1));
    assert_eq!(refused(|m| m.boxes[0].max_ballots = 9), BoxId(1));
    let stated = manifest(true, |m| m.boxes[0].max_ballots = 11).expect("two a voter");
    assert_eq!(first(&stated).ballots(), 11);
    assert_eq!(Manifest::decode(&stated.encode()).expect("decodes"), stated);
}
