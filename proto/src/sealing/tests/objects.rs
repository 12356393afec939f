//! Bodies, Lists, Seals and contradicting statements: what is decoded, and what is refused.

use super::*;

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
