use super::*;
use crate::card::Scheme;
use crate::fixture::{Shape, World};
use crate::invitation::Credential;

fn submission(world: &mut World, half: Half) -> RecordSubmission {
    let [p1, ..] = world.record(BoxId(1), VoterIndex(2), 1, half, &Credential::new(42));
    p1
}

fn issue(parts: &mut RecordParts) -> &mut Issue {
    match &mut parts.source {
        Source::Issued(issue) => issue,
        Source::Card(_) => panic!("an issued record"),
    }
}

#[test]
fn every_field_is_in_the_digest() {
    let mut world = World::new(Shape {
        registrars: 2,
        ..Shape::default()
    });
    let half = Half::new(0, 2).expect("half");
    let base = submission(&mut world, half).header.0;
    let other = |change: fn(&mut RecordParts)| {
        let mut parts = base.clone();
        change(&mut parts);
        RecordHeader::new(parts)
    };
    let all = [
        RecordHeader::new(base.clone()),
        other(|p| issue(p).election = ElectionId::new("other").expect("slug")),
        other(|p| issue(p).of_box = BoxId(2)),
        other(|p| issue(p).voter = VoterIndex(3)),
        other(|p| p.serial = 2),
        other(|p| p.signed_at = UnixSeconds(1)),
        other(|p| p.commitments.swap(0, 1)),
        other(|p| issue(p).half = Half::new(1, 2).expect("half")),
        other(|p| issue(p).half = Half::WHOLE),
    ];
    for (i, header) in all.iter().enumerate() {
        assert!(
            all[..i].iter().all(|other| other.digest() != header.digest()),
            "{i}"
        );
        assert_eq!(RecordHeader::decode(&header.encode()), Ok(header.clone()));
    }
    let mut other = base.clone();
    issue(&mut other).registrar = world.registrars[1].public_key();
    assert_ne!(RecordHeader::new(other).digest(), all[0].digest());
}

fn card(register: &str, holder: u8, serial: u32) -> RecordHeader {
    RecordHeader::new(RecordParts {
        source: Source::Card(CardMark {
            place: None,
            register: RegisterId::new(register).expect("slug"),
            holder: Hash32([holder; 32]),
        }),
        serial,
        signed_at: UnixSeconds(serial.into()),
        commitments: [1, 2, 3].map(|c| Hash32([c; 32])),
    })
}

#[test]
fn a_card_record_names_nobody_and_is_told_from_an_issued_one() {
    let header = card("citizens", 1, 9);
    assert!(header.is_card() && header.issue().is_none());
    assert_eq!(RecordHeader::decode(&header.encode()), Ok(header.clone()));
    let others = [
        card("others", 1, 9),
        card("citizens", 2, 9),
        card("citizens", 1, 8),
    ];
    assert!(others.iter().all(|other| other.digest() != header.digest()));
    let mut wire = header.to_wire();
    wire.v = 3;
    assert_eq!(RecordHeader::from_wire(&wire), Err(RecordError::StrayFields));

    let mut world = World::new(Shape::default());
    let issued = submission(&mut world, Half::WHOLE);
    let manifest = world.manifest.manifest();
    assert_eq!(
        header.check_place(manifest).err().map(|e| e.reason()),
        Some(Reason::RecordSource)
    );
    assert_eq!(
        issued.header().check_register(manifest).err().map(|e| e.reason()),
        Some(Reason::RecordSource)
    );
    let reasons = |manifest| {
        let checked = |header: &RecordHeader| header.check_register(manifest).err().map(|e| e.reason());
        [&header, &card("others", 1, 9)].map(checked)
    };
    assert_eq!(reasons(manifest), [Some(Reason::CardRegister); 2]);
    let with_cards = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let by_card = with_cards.manifest.manifest();
    assert_eq!(reasons(by_card), [None, Some(Reason::CardRegister)]);
    let mut other_serial = header.0.clone();
    other_serial.serial += 1;
    assert_eq!(
        RecordHeader::new(other_serial)
            .check_register(by_card)
            .err()
            .map(|e| e.reason()),
        Some(Reason::CardMalformed)
    );
    assert_eq!(Manifest::decode(&by_card.encode()).expect("canonical"), *by_card);

    let authorisation =
        CardAuthorisation::new([7; 32], vec![1, 2], Scheme::RsaPssSha256, vec![3]).expect("of the form");
    let election = manifest.election().clone();
    let whole = RecordSubmission::of_card(header, authorisation.clone(), vec![4; 9], election.clone())
        .expect("a card record");
    assert_eq!(whole.election(), Some(&election));
    assert_eq!(RecordSubmission::from_wire(whole.to_wire()), Ok(whole));
    let stray = RecordSubmission::of_card(issued.header().clone(), authorisation, vec![4; 9], election);
    assert_eq!(stray, Err(RecordError::OtherSource { card: false }));
}

#[test]
fn a_record_is_of_the_manifests_own_registrar_and_voter() {
    let mut world = World::new(Shape {
        registrars: 2,
        ..Shape::default()
    });
    let half = Half::new(1, 2).expect("half");
    let good = submission(&mut world, half);
    let manifest = world.manifest.manifest();
    assert_eq!(good.header().check_place(manifest).err(), None);
    let signature = good.registrar_signature().expect("issued");
    assert_eq!(
        good.header().check_authorisation(&good.digest(), signature),
        Ok(())
    );
    let moved = good.header().check_authorisation(&Digest([0; 32]), signature);
    assert_eq!(moved, Err(RecordError::BadAuthorisation));
    let check = |change: &dyn Fn(&mut RecordParts)| {
        let mut parts = good.header().0.clone();
        change(&mut parts);
        RecordHeader::new(parts)
            .check_place(manifest)
            .expect_err("refused")
    };
    let reasons = [
        check(&|p| issue(p).election = ElectionId::new("other").expect("slug")).reason(),
        check(&|p| issue(p).of_box = BoxId(3)).reason(),
        check(&|p| issue(p).voter = VoterIndex(5)).reason(),
        check(&|p| issue(p).half = Half::WHOLE).reason(),
        check(&|p| issue(p).half = Half::new(0, 2).expect("half")).reason(),
        check(&|p| issue(p).registrar = world.signers[0].public_key()).reason(),
    ];
    use Reason as R;
    let expected = [
        R::ElectionOther,
        R::BoxUnknown,
        R::VoterUnknown,
        R::RecordHalves,
        R::RecordAuthorisation,
        R::RecordAuthorisation,
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn halves_and_forms_are_checked() {
    assert_eq!(Half::new(0, 1), Ok(Half::WHOLE));
    for (half, halves) in [(0, 0), (1, 1), (2, 2), (0, 3), (u32::MAX, u32::MAX)] {
        assert_eq!(Half::new(half, halves), Err(RecordError::Half { half, halves }));
    }
    let mut world = World::new(Shape::default());
    let good = submission(&mut world, Half::WHOLE);
    let mut wire = good.to_wire();
    wire.authorisation.pop();
    assert!(matches!(
        RecordSubmission::from_wire(wire),
        Err(RecordError::Envelope(_))
    ));
    assert_eq!(
        RecordSubmission::from_wire(wire::RecordSubmission::default()),
        Err(RecordError::NoHeader)
    );
    let huge = RecordSubmission::new(
        good.header().clone(),
        *good.registrar_signature().expect("issued"),
        vec![0; MAX_CIPHERTEXT_BYTES + 1],
    );
    assert_eq!(huge, Err(RecordError::Ciphertext(MAX_CIPHERTEXT_BYTES + 1)));
    assert_eq!(
        RecordSubmission::decode(&prost::Message::encode_to_vec(&good.to_wire())),
        Ok(good)
    );
}

#[test]
fn the_number_on_an_open_roll_is_in_the_digest_and_not_in_what_the_card_signs() {
    let place = |election: &str, of_box, voter| OpenPlace {
        election: ElectionId::new(election).expect("slug"),
        of_box: BoxId(of_box),
        voter,
    };
    let of = |place: Option<OpenPlace>| {
        let mut parts = card("citizens", 1, 9).0;
        if let Source::Card(mark) = &mut parts.source {
            mark.place = place;
        }
        RecordHeader::new(parts)
    };
    let asked = of(Some(place("ward-7", 1, None)));
    let given = asked.numbered(VoterIndex(0));
    assert_eq!(given.open_place(), Some(&place("ward-7", 1, Some(VoterIndex(0)))));
    assert_eq!(asked.digest(), asked.signed_digest());
    assert_eq!(given.signed_digest(), asked.digest());
    let all = [
        of(None),
        asked.clone(),
        given.clone(),
        asked.numbered(VoterIndex(1)),
        of(Some(place("ward-8", 1, None))),
        of(Some(place("ward-7", 2, None))),
        of(Some(place("ward-8", 1, Some(VoterIndex(0))))),
    ];
    for (at, header) in all.iter().enumerate() {
        assert!(
            all[..at].iter().all(|other| other.digest() != header.digest()),
            "{at}"
        );
        assert_eq!(RecordHeader::decode(&header.encode()), Ok(header.clone()));
    }
    assert_eq!(
        of(None).numbered(VoterIndex(3)),
        of(None),
        "a record for closed rolls has no number"
    );
    // P1's receipt beside a record that has no place, and a receipt that is none.
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let receipt = world.receipt(Role::P1, BoxId(1), given.digest());
    let card = world.card(BoxId(1), VoterIndex(0), crate::fixture::cards::CardKey::P256);
    let [closed, ..] = world.card_record(&card, UnixSeconds(9), &crate::invitation::Credential::new(1));
    let mut stray = closed.to_wire();
    stray.numbered = Some(receipt.to_wire());
    assert_eq!(RecordSubmission::from_wire(stray), Err(RecordError::StrayFields));
    let keys = world.manifest.manifest().party_keys();
    let checked = |header: &RecordHeader, receipt: Option<&Receipt>| {
        header
            .check_numbered(receipt, &keys)
            .err()
            .map(|error| error.reason())
    };
    assert_eq!(checked(&given, Some(&receipt)), None);
    let of_p2 = world.receipt(Role::P2, BoxId(1), given.digest());
    let giver = Some(Reason::RollNumberGiver);
    assert_eq!(checked(&given, Some(&of_p2)), giver);
    assert_eq!(checked(&given, None), giver);
    assert_eq!(checked(&asked, Some(&receipt)), giver);
    assert_eq!(checked(&all[3], Some(&receipt)), giver);
    assert_eq!(checked(&all[0], Some(&receipt)), Some(Reason::RollKind));
    // In an election whose roll is closed.
    let by_card = world.manifest.manifest();
    let mut parts = closed.header().0.clone();
    if let Source::Card(mark) = &mut parts.source {
        mark.place = Some(place("ward-7", 1, Some(VoterIndex(0))));
    }
    let open = RecordHeader::new(parts).check_register(by_card).err();
    assert_eq!(open.map(|error| error.reason()), Some(Reason::RollKind));
}
