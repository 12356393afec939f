use super::*;
use crate::fixture::{Cast, OPENS, Shape, World};
use crate::ids::{UnixSeconds, VoterIndex};
use crate::invitation::Credential;
use crate::record::Half;
use tally_mpc::layout::Choice;

fn ballot(world: &mut World) -> [crate::ballot::Submission; 3] {
    world.ballot(Cast {
        of_box: BoxId(1),
        voter: VoterIndex(4),
        credential: 0xdead_beef,
        choices: &[Choice::Options(vec![2]), Choice::Options(vec![1, 4])],
        cast_at: UnixSeconds(OPENS),
        mark: None,
        paper: false,
    })
}

#[test]
fn what_is_sealed_opens_to_three_replicated_shares() {
    let mut world = World::new(Shape::default());
    let submissions = ballot(&mut world);
    let manifest = world.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box");
    let context = ShareContext::ballot(manifest.election(), of_box);
    let shares = Role::ALL.map(|me| {
        let s = &submissions[me.slot()];
        let key = &world.opening_keys[me.slot()];
        context
            .open(me, key, &s.digest(), s.header().commitments(), s.ciphertext())
            .expect("opens")
    });
    for me in Role::ALL {
        assert_eq!(
            shares[me.slot()].next.share(),
            shares[me.next().slot()].this.share()
        );
        assert_eq!(
            shares[me.slot()].next.nonce(),
            shares[me.next().slot()].this.nonce()
        );
        let packed = shares[me.slot()].to_bytes();
        let read = context.read(&packed).expect("reads");
        assert_eq!(read.this.share(), shares[me.slot()].this.share());
        assert!(context.read(&packed[1..]).is_err());
    }
    let plain: Vec<u8> = (0..context.share_bytes())
        .map(|i| shares.iter().fold(0, |x, s| x ^ s.this.share()[i]))
        .collect();
    let expected = of_box.layout().pack(
        4,
        0xdead_beef,
        &[Choice::Options(vec![2]), Choice::Options(vec![1, 4])],
    );
    assert_eq!(plain, *expected.expect("packs"));
}

#[test]
fn credential_shares_xor_to_the_credential() {
    let mut world = World::new(Shape::default());
    let submissions = world.record(
        BoxId(2),
        VoterIndex(1),
        1,
        Half::WHOLE,
        &Credential::new(0x0123_4567_89ab_cdef),
    );
    let election = world.manifest.manifest().election().clone();
    let context = ShareContext::credential(&election, BoxId(2));
    let mut credential = 0;
    for (me, s) in Role::ALL.into_iter().zip(&submissions) {
        let key = &world.opening_keys[me.slot()];
        let shares = context
            .open(me, key, &s.digest(), &s.header().commitments, s.ciphertext())
            .expect("opens");
        credential ^= *shares.credential_shares().expect("a credential").0;
    }
    assert_eq!(credential, 0x0123_4567_89ab_cdef);
}

#[test]
fn a_ciphertext_belongs_to_one_party_digest_and_box() {
    let mut world = World::new(Shape::default());
    let submissions = ballot(&mut world);
    let manifest = world.manifest.manifest();
    let context = ShareContext::ballot(manifest.election(), manifest.ballot_box(BoxId(1)).expect("box"));
    let (s, key) = (&submissions[0], &world.opening_keys[0]);
    let commitments = s.header().commitments();
    let unopenable = |result: Result<PartyShares, ShareError>| {
        assert_eq!(result.err(), Some(ShareError::Suite(SuiteError::Unopenable)));
    };
    unopenable(context.open(Role::P1, key, &Digest([0; 32]), commitments, s.ciphertext()));
    unopenable(context.open(Role::P2, key, &s.digest(), commitments, s.ciphertext()));
    unopenable(context.open(
        Role::P1,
        &world.opening_keys[1],
        &s.digest(),
        commitments,
        s.ciphertext(),
    ));
    let shorter = context.open(Role::P1, key, &s.digest(), commitments, &s.ciphertext()[1..]);
    assert!(matches!(shorter, Err(ShareError::CiphertextLength { .. })));
    let other = ShareContext::credential(manifest.election(), BoxId(1));
    assert!(matches!(
        other.open(Role::P1, key, &s.digest(), commitments, s.ciphertext()),
        Err(ShareError::CiphertextLength { .. })
    ));
}

#[test]
fn a_share_that_does_not_open_its_commitment_is_named() {
    let mut world = World::new(Shape::default());
    let manifest = world.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box");
    let context = ShareContext::ballot(manifest.election(), of_box);
    let packed = of_box
        .layout()
        .pack(0, 1, &[Choice::Blank, Choice::Blank])
        .expect("packs");
    let openings = split_ballot(of_box.layout(), &packed, &mut world.rng).expect("splits");
    let commitments = context.commit_all(&openings);
    let digest = Digest([7; 32]);
    let sealed = |wrong: Role, rng: &mut _| {
        let mut changed = openings
            .each_ref()
            .map(|o| Opening::from_parts(o.nonce.clone(), o.share.clone()));
        changed[wrong.slot()].share[0] ^= 1;
        context
            .seal(
                Role::P3,
                manifest.party(Role::P3).sealing_key(),
                &digest,
                &changed,
                rng,
            )
            .expect("sealed")
    };
    for (wrong, named) in [
        (Role::P3, Some(Role::P3)),
        (Role::P1, Some(Role::P1)),
        (Role::P2, None),
    ] {
        let ciphertext = sealed(wrong, &mut world.rng);
        let opened = context.open(
            Role::P3,
            &world.opening_keys[2],
            &digest,
            &commitments,
            &ciphertext,
        );
        assert_eq!(opened.err(), named.map(|share| ShareError::Commitment { share }));
    }
    // Commitments are bound to election, box, share number, nonce and share.
    let other = crate::ids::ElectionId::new("other").expect("slug");
    let elsewhere = [
        ShareContext {
            of: other.as_str(),
            ..context
        }
        .commit(Role::P1, &openings[0]),
        ShareContext {
            of_box: BoxId(2),
            ..context
        }
        .commit(Role::P1, &openings[0]),
        ShareContext {
            form: ShareForm::Credential,
            ..context
        }
        .commit(Role::P1, &openings[0]),
        context.commit(Role::P2, &openings[0]),
        context.commit(Role::P1, &openings[1]),
    ];
    assert!(!elsewhere.contains(&commitments[0]));
    // And to every bit of the share, those of the voter as those of the choice.
    for bit in 0..of_box.layout().share_bytes() * 8 {
        let mut share = openings[0].share.clone();
        share[bit / 8] ^= 1 << (bit % 8);
        if of_box.layout().check(&share).is_ok() {
            let changed = Opening::from_parts(openings[0].nonce.clone(), share);
            assert_ne!(context.commit(Role::P1, &changed), commitments[0], "bit {bit}");
        }
    }
}

#[test]
fn openings_between_parties_are_checked_for_form_and_commitment() {
    let mut world = World::new(Shape::default());
    let manifest = world.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box");
    let context = ShareContext::ballot(manifest.election(), of_box);
    let packed = of_box
        .layout()
        .pack(0, 1, &[Choice::Blank, Choice::Blank])
        .expect("packs");
    let openings = split_ballot(of_box.layout(), &packed, &mut world.rng).expect("splits");
    let commitments = context.commit_all(&openings);
    let take = |j, nonce: &[u8], share: &[u8]| {
        context
            .take(j, nonce, Zeroizing::new(share.to_vec()), &commitments)
            .map(|_| ())
    };
    let (nonce, share) = (openings[0].nonce(), openings[0].share());
    assert_eq!(take(Role::P1, nonce, share), Ok(()));
    assert_eq!(
        take(Role::P2, nonce, share),
        Err(ShareError::Commitment { share: Role::P2 })
    );
    assert!(matches!(
        take(Role::P1, &nonce[1..], share),
        Err(ShareError::OpeningLength { nonce: 31, .. })
    ));
    assert!(matches!(
        take(Role::P1, nonce, &share[1..]),
        Err(ShareError::OpeningLength { .. })
    ));
    let mut padded = share.to_vec();
    *padded.last_mut().expect("not empty") |= 0x80;
    assert!(matches!(
        take(Role::P1, nonce, &padded),
        Err(ShareError::Layout { share: Role::P1, .. })
    ));
    assert!(!format!("{:?}", openings[0]).contains(&share[0].to_string()) || share[0] < 10);
}
