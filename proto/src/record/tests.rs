use super::*;
use crate::fixture::{Shape, World};
use crate::invitation::Credential;

fn submission(world: &mut World, half: Half) -> RecordSubmission {
    let [p1, ..] = world.record(BoxId(1), VoterIndex(2), 1, half, &Credential::new(42));
    p1
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
        other(|p| p.election = ElectionId::new("other").expect("slug")),
        other(|p| p.of_box = BoxId(2)),
        other(|p| p.voter = VoterIndex(3)),
        other(|p| p.serial = 2),
        other(|p| p.signed_at = UnixSeconds(1)),
        other(|p| p.commitments.swap(0, 1)),
        other(|p| p.half = Half::new(1, 2).expect("half")),
        other(|p| p.half = Half::WHOLE),
    ];
    for (i, header) in all.iter().enumerate() {
        assert!(
            all[..i].iter().all(|other| other.digest() != header.digest()),
            "{i}"
        );
        assert_eq!(RecordHeader::decode(&header.encode()), Ok(header.clone()));
    }
    let registrar = world.registrars[1].public_key();
    assert_ne!(
        RecordHeader::new(RecordParts {
            registrar,
            ..base.clone()
        })
        .digest(),
        all[0].digest()
    );
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
    assert_eq!(good.header().check_place(manifest), Ok(()));
    assert_eq!(
        good.header()
            .check_authorisation(&good.digest(), good.authorisation()),
        Ok(())
    );
    let moved = good
        .header()
        .check_authorisation(&Digest([0; 32]), good.authorisation());
    assert_eq!(moved, Err(RecordError::BadAuthorisation));
    let check = |change: &dyn Fn(&mut RecordParts)| {
        let mut parts = good.header().0.clone();
        change(&mut parts);
        RecordHeader::new(parts)
            .check_place(manifest)
            .expect_err("refused")
    };
    let reasons = [
        check(&|p| p.election = ElectionId::new("other").expect("slug")).reason(),
        check(&|p| p.of_box = BoxId(3)).reason(),
        check(&|p| p.voter = VoterIndex(5)).reason(),
        check(&|p| p.half = Half::WHOLE).reason(),
        check(&|p| p.half = Half::new(0, 2).expect("half")).reason(),
        check(&|p| p.registrar = world.signers[0].public_key()).reason(),
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
        *good.authorisation(),
        vec![0; MAX_CIPHERTEXT_BYTES + 1],
    );
    assert_eq!(huge, Err(RecordError::Ciphertext(MAX_CIPHERTEXT_BYTES + 1)));
    assert_eq!(
        RecordSubmission::decode(&prost::Message::encode_to_vec(&good.to_wire())),
        Ok(good)
    );
}
