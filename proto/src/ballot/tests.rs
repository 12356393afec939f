use super::*;
use crate::fixture::{Cast, OPENS, Shape, World};
use crate::ids::VoterIndex;
use tally_mpc::layout::Choice;

fn header() -> BallotHeader {
    let election = ElectionId::new("ward-7").expect("slug");
    BallotHeader::online(
        election,
        BoxId(1),
        UnixSeconds(OPENS),
        [1, 2, 3].map(|b| Hash32([b; 32])),
    )
}

/// Of the right form, signed by nobody.
fn ticket(byte: u8) -> Ticket {
    Ticket::from_wire(&wire::TicketAuthority {
        key: Signer::from_seed(&[byte; 32])
            .expect("a seed")
            .public_key()
            .as_bytes()
            .to_vec(),
        day_s: u64::from(byte),
        randomizer: vec![byte; 32],
        signature: vec![byte; 256],
    })
    .expect("a ticket's form")
}

fn station_header() -> BallotHeader {
    let mark = StationMark {
        station: StationId(1),
        sequence: 1,
    };
    let h = header();
    BallotHeader::station(h.election, h.of_box, false, h.cast_at, h.commitments, mark)
}

#[test]
fn a_ticket_is_in_the_digest_with_every_field() {
    let base = header().with_ticket(ticket(1));
    let changed = |change: fn(&mut wire::TicketAuthority)| {
        let mut wire = ticket(1).to_wire();
        change(&mut wire);
        header()
            .with_ticket(Ticket::from_wire(&wire).expect("a form"))
            .digest()
    };
    let mut all = vec![
        header().digest(),
        base.digest(),
        changed(|t| t.key = ticket(2).key().as_bytes().to_vec()),
        changed(|t| t.day_s = 2),
        changed(|t| t.randomizer[31] ^= 1),
        changed(|t| t.signature[255] ^= 1),
    ];
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6);
    assert_eq!(BallotHeader::decode(&base.encode()), Ok(base.clone()));
    assert!(base.encode().len() < MAX_HEADER_BYTES);
    for cut in [0, 31, 33] {
        let mut wire = ticket(1).to_wire();
        wire.randomizer = vec![1; cut];
        assert!(Ticket::from_wire(&wire).is_err(), "{cut}");
    }
}

#[test]
fn every_field_is_in_the_digest() {
    let base = header();
    let swapped = [2, 1, 3].map(|b| Hash32([b; 32]));
    let mark = |station, sequence| {
        Some(Authority::Station(StationMark {
            station: StationId(station),
            sequence,
        }))
    };
    let station = station_header();
    let all = [
        base.clone(),
        BallotHeader {
            election: ElectionId::new("ward-8").expect("slug"),
            ..base.clone()
        },
        BallotHeader {
            of_box: BoxId(2),
            ..base.clone()
        },
        BallotHeader {
            cast_at: UnixSeconds(OPENS + 1),
            ..base.clone()
        },
        BallotHeader {
            commitments: swapped,
            ..base.clone()
        },
        station.clone(),
        BallotHeader {
            channel: ChannelKind::Paper,
            ..station.clone()
        },
        BallotHeader {
            authority: mark(2, 1),
            ..station.clone()
        },
        BallotHeader {
            authority: mark(1, 2),
            ..station
        },
    ];
    for (i, header) in all.iter().enumerate() {
        assert!(
            all[..i].iter().all(|other| other.digest() != header.digest()),
            "{i}"
        );
        assert_eq!(BallotHeader::decode(&header.encode()), Ok(header.clone()));
    }
    // The layout is part of the interface: another implementation must arrive at the same bytes.
    assert_eq!(base.digest(), expected_digest());
}

/// The digest of [`header`], put together by hand from the documented layout.
fn expected_digest() -> Digest {
    let mut bytes = vec![15];
    bytes.extend_from_slice(b"tally/v1/ballot");
    bytes.extend_from_slice(&[0, 0, 0, 6]);
    bytes.extend_from_slice(b"ward-7");
    bytes.extend_from_slice(&[0, 0, 0, 1, 1]);
    bytes.extend_from_slice(&OPENS.to_be_bytes());
    for b in [1u8, 2, 3] {
        bytes.extend_from_slice(&[b; 32]);
    }
    bytes.push(0);
    Digest(Hash32::of(&bytes).0)
}

#[test]
fn authority_fits_the_channel() {
    let mut wire = header().to_wire();
    wire.channel = wire::ChannelKind::Station.into();
    assert_eq!(
        BallotHeader::from_wire(&wire),
        Err(BallotError::Authority(ChannelKind::Station))
    );
    let mut wire = station_header().to_wire();
    wire.channel = wire::ChannelKind::Online.into();
    assert_eq!(
        BallotHeader::from_wire(&wire),
        Err(BallotError::Authority(ChannelKind::Online))
    );
    wire.authority = Some(wire::ballot_header::Authority::Ticket(
        wire::TicketAuthority::default(),
    ));
    assert!(matches!(
        BallotHeader::from_wire(&wire),
        Err(BallotError::Ticket(_))
    ));
    wire.authority = Some(wire::ballot_header::Authority::Ticket(ticket(1).to_wire()));
    assert!(BallotHeader::from_wire(&wire).is_ok());
    wire.channel = wire::ChannelKind::Station.into();
    assert_eq!(
        BallotHeader::from_wire(&wire),
        Err(BallotError::Authority(ChannelKind::Station)),
        "a station is no voter"
    );
    wire.channel = 9;
    assert_eq!(BallotHeader::from_wire(&wire), Err(BallotError::Channel(9)));
    let mut wire = header().to_wire();
    wire.c2.push(0);
    assert_eq!(
        BallotHeader::from_wire(&wire),
        Err(BallotError::Id(IdError::HashLength(33)))
    );
}

#[test]
fn a_stations_ballot_needs_its_own_stations_signature() {
    let mut world = World::new(Shape::default());
    let mark = StationMark {
        station: StationId(1),
        sequence: 7,
    };
    let cast = Cast {
        of_box: BoxId(1),
        voter: VoterIndex(0),
        credential: 0,
        choices: &[Choice::Options(vec![1]), Choice::Blank],
        cast_at: UnixSeconds(OPENS),
        mark: Some(mark),
        paper: false,
    };
    let [submission, ..] = world.ballot(cast);
    let manifest = world.manifest.manifest();
    let (header, digest) = (submission.header(), submission.digest());
    let signature = submission.authority_signature();
    assert_eq!(header.check_authority(&digest, signature, manifest), Ok(()));
    let absent = header.check_authority(&digest, None, manifest);
    assert_eq!(absent, Err(BallotError::AuthoritySignature(ChannelKind::Station)));
    let other = sign_authority(&world.stations[1], &digest);
    assert_eq!(
        header.check_authority(&digest, Some(&other), manifest),
        Err(BallotError::BadAuthority(StationId(1)))
    );
    let moved = header.check_authority(&Digest([0; 32]), signature, manifest);
    assert_eq!(moved, Err(BallotError::BadAuthority(StationId(1))));
    let online = super::tests::header();
    let unwanted = online.check_authority(&online.digest(), signature, manifest);
    assert_eq!(
        unwanted,
        Err(BallotError::AuthoritySignature(ChannelKind::Online))
    );
    assert_eq!(Submission::decode(&submission.encode()), Ok(submission));
}

#[test]
fn places_are_those_of_the_manifest() {
    let world = World::new(Shape::default());
    let manifest = world.manifest.manifest();
    let base = station_header();
    assert_eq!(base.check_place(manifest).map(BallotBox::id), Ok(BoxId(1)));
    let election = ElectionId::new("other").expect("slug");
    let other = BallotHeader {
        election: election.clone(),
        ..base.clone()
    };
    assert_eq!(
        other.check_place(manifest).map(|_| ()),
        Err(BallotError::OtherElection(election))
    );
    let other = BallotHeader {
        of_box: BoxId(9),
        ..base.clone()
    };
    assert_eq!(
        other.check_place(manifest).map(|_| ()),
        Err(BallotError::UnknownBox(BoxId(9)))
    );
    for (station, of_box) in [(9, 1), (2, 2)] {
        let mark = StationMark {
            station: StationId(station),
            sequence: 1,
        };
        let other = BallotHeader {
            authority: Some(Authority::Station(mark)),
            of_box: BoxId(of_box),
            ..base.clone()
        };
        let unknown = BallotError::UnknownStation {
            station: StationId(station),
            of_box: BoxId(of_box),
        };
        assert_eq!(other.check_place(manifest).map(|_| ()), Err(unknown));
    }
}

#[test]
fn a_stations_own_hours_bind_its_ballots_only() {
    crate::connect::install_tls_provider();
    let world = World::new(Shape::default());
    let mut wire = world.manifest.manifest().to_wire();
    let opening = |from: u64, to: u64| wire::Opening {
        opens_local: "from".to_owned(),
        closes_local: "to".to_owned(),
        opens_s: OPENS + from,
        closes_s: OPENS + to,
    };
    wire.stations[0].openings = vec![opening(10, 20), opening(30, 40)];
    let manifest = Manifest::from_wire(&wire).expect("a manifest");
    assert_eq!(manifest.to_wire(), wire);
    let at = |mut header: BallotHeader, second: u64| {
        header.cast_at = UnixSeconds(OPENS + second);
        header.check_place(&manifest).map(drop)
    };
    for (second, opens) in [(9, Some(10)), (21, Some(30)), (41, None)] {
        let closed = BallotError::StationClosed {
            station: StationId(1),
            cast_at: UnixSeconds(OPENS + second),
            opens: opens.map(|opens| UnixSeconds(OPENS + opens)),
        };
        assert_eq!(at(station_header(), second), Err(closed.clone()));
        assert_eq!(closed.reason(), Reason::BallotStationClosed);
        let says = if opens.is_some() {
            "opens at 2"
        } else {
            "has closed for good"
        };
        assert!(closed.to_string().contains(says), "{closed}");
        assert_eq!(at(header(), second), Ok(()), "online hours are the channel's");
        let mark = StationMark {
            station: StationId(2),
            sequence: 1,
        };
        let h = header();
        let other = BallotHeader::station(h.election, h.of_box, true, h.cast_at, h.commitments, mark);
        assert_eq!(at(other, second), Ok(()), "another station");
    }
    for second in [10, 20, 30, 40] {
        assert_eq!(at(station_header(), second), Ok(()));
    }
    for wrong in [vec![opening(20, 10)], vec![opening(10, 20), opening(20, 30)]] {
        wire.stations[0].openings = wrong;
        assert!(Manifest::from_wire(&wire).is_err());
    }
}

#[test]
fn submissions_keep_their_limits() {
    let huge = Submission::new(header(), vec![0; MAX_CIPHERTEXT_BYTES + 1], None);
    assert_eq!(huge, Err(BallotError::Ciphertext(MAX_CIPHERTEXT_BYTES + 1)));
    let unsigned = Submission::new(station_header(), vec![0; 10], None);
    assert_eq!(
        unsigned,
        Err(BallotError::AuthoritySignature(ChannelKind::Station))
    );
    assert_eq!(
        Submission::from_wire(wire::Submission::default()),
        Err(BallotError::NoHeader)
    );
    let mut wire = Submission::new(station_header(), vec![0; 10], Some(SignatureBytes([1; 64])))
        .expect("fits")
        .to_wire();
    wire.authority_signature.pop();
    assert_eq!(
        Submission::from_wire(wire),
        Err(BallotError::Envelope(EnvelopeError::SignatureLength(63)))
    );
}
