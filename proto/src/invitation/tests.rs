use super::*;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const MANIFEST: Hash32 = Hash32([0xab; 32]);

fn invitation(half: Half, credential: u64) -> Invitation {
    Invitation::new(
        &MANIFEST,
        BoxId(3),
        VoterIndex(19_999),
        half,
        Credential::new(credential),
    )
}

fn half(number: u32) -> Half {
    Half::new(number, 2).expect("half")
}

#[test]
fn codes_and_links_read_back() {
    for (part, credential) in [(Half::WHOLE, 0), (half(0), u64::MAX), (half(1), 1 << 63)] {
        let i = invitation(part, credential);
        let (code, link) = (i.to_code(), i.to_link());
        assert_eq!((code.len(), code.split('-').count()), (59, 12));
        assert!(link.starts_with("tally:v1:"));
        for text in [
            code.to_string(),
            link.to_string(),
            link.to_lowercase(),
            code.replace('-', " "),
        ] {
            let read = Invitation::parse(&text).expect("reads");
            assert_eq!(
                (read.of_box(), read.voter(), read.half()),
                (BoxId(3), VoterIndex(19_999), part)
            );
            assert_eq!(read.credential.expose(), credential);
            assert_eq!(read.manifest_prefix(), &[0xab; 8]);
        }
    }
}

#[test]
fn every_single_typing_error_is_found() {
    let code = invitation(Half::WHOLE, 0x0123_4567_89ab_cdef).to_code();
    for (at, old) in code.char_indices().filter(|(_, c)| *c != '-') {
        for new in "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
            .chars()
            .filter(|new| *new != old)
        {
            let mut typed = code.to_string();
            typed.replace_range(at..=at, &new.to_string());
            assert_eq!(
                Invitation::parse(&typed).err(),
                Some(InvitationError::Checksum),
                "{at} {new}"
            );
        }
    }
}

#[test]
fn errors_help_and_repeat_nothing_secret() {
    let code = invitation(Half::WHOLE, 7).to_code();
    assert_eq!(
        Invitation::parse(&code[..58]).err(),
        Some(InvitationError::Length(47))
    );
    assert_eq!(Invitation::parse("").err(), Some(InvitationError::Length(0)));
    assert_eq!(
        Invitation::parse(&format!("tally:v2:{}", *code)).err(),
        Some(InvitationError::OtherVersion)
    );
    assert!(matches!(
        Invitation::parse(&code.replace('-', "*")).err(),
        Some(InvitationError::Base32(_))
    ));
    assert_eq!(
        Invitation::parse(&"0".repeat(10_000)).err(),
        Some(InvitationError::Length(10_000))
    );
    let i = invitation(half(1), 7);
    let error = i.credential_for(&MANIFEST).expect_err("half").to_string();
    assert!(error.contains("half 2"), "{error}");
    let other = invitation(Half::WHOLE, 7)
        .credential_for(&Hash32([1; 32]))
        .expect_err("other")
        .to_string();
    assert!(
        other.contains("abababab") && other.contains("01010101"),
        "{other}"
    );
    assert_eq!(format!("{i:?}"), "Invitation(box 3, secret)");
    assert_eq!(format!("{:?}", i.credential), "Credential(secret)");
}

#[test]
fn two_halves_make_a_whole() {
    let whole = invitation(half(1), 0b1100)
        .combine(invitation(half(0), 0b1010))
        .expect("combines");
    assert_eq!(whole.credential_for(&MANIFEST).expect("whole").expose(), 0b0110);
    let refused = |a: Invitation, b: Invitation| matches!(a.combine(b), Err(InvitationError::Combine(_)));
    assert!(refused(invitation(half(0), 1), invitation(half(0), 2)));
    assert!(refused(invitation(Half::WHOLE, 1), invitation(half(0), 2)));
    let voter = Invitation::new(&MANIFEST, BoxId(3), VoterIndex(1), half(1), Credential::new(1));
    assert!(refused(invitation(half(0), 1), voter));
    let election = Invitation::new(
        &Hash32([1; 32]),
        BoxId(3),
        VoterIndex(19_999),
        half(1),
        Credential::new(1),
    );
    assert!(refused(invitation(half(0), 1), election));
}

#[test]
fn a_decoy_differs_in_the_credential_only() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for part in [Half::WHOLE, half(0)] {
        let true_one = invitation(part, 7);
        let decoy = true_one.decoy(&mut rng);
        assert_eq!(decoy.to_link().len(), true_one.to_link().len());
        assert_eq!(
            (decoy.half(), decoy.voter(), decoy.of_box()),
            (true_one.half(), true_one.voter(), true_one.of_box())
        );
        assert_ne!(decoy.credential.expose(), 7);
        assert!(Invitation::parse(&decoy.to_link()).is_ok());
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,120}") {
        let _ = Invitation::parse(&text);
    }

    #[test]
    fn any_base32_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 30)) {
        let mut bytes = bytes;
        let check = checksum(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&check);
        if let Ok(read) = Invitation::parse(&crockford::encode(&bytes)) {
            prop_assert_eq!(crockford::decode(&read.to_code()), Ok(bytes));
        }
    }
}

#[test]
fn a_draw_code_is_the_voters_and_not_the_credentials() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let draw = || DrawCode::from_slice(&[7; 10]).expect("ten bytes");
    for part in [Half::WHOLE, half(0), half(1)] {
        let i = invitation(part, 5).with_draw(draw());
        let code = i.to_code();
        assert_eq!((code.len(), code.split('-').count()), (79, 16));
        let read = Invitation::parse(&i.to_link()).expect("reads");
        assert_eq!(read.draw_code().expect("there").expose(), &[7; 10]);
        assert_eq!((read.voter(), read.half()), (i.voter(), part));
        // The coordinator cannot tell who draws with a decoy.
        let decoy = i.decoy(&mut rng);
        assert_eq!(decoy.to_code().len(), code.len());
        let hash = |i: &Invitation| {
            i.draw_code()
                .expect("there")
                .hash(&MANIFEST, i.of_box(), i.voter())
        };
        assert_eq!(hash(&decoy), hash(&i));
        assert_ne!(
            hash(&i),
            i.draw_code().expect("there").hash(&MANIFEST, BoxId(4), i.voter())
        );
    }
    assert!(
        Invitation::parse(&invitation(Half::WHOLE, 5).to_code())
            .expect("reads")
            .draw_code()
            .is_none()
    );
    // Of two halves, the first registrar's stands, in either order.
    let other = || DrawCode::from_slice(&[8; 10]).expect("ten bytes");
    for swapped in [false, true] {
        let (first, second) = (
            invitation(half(0), 1).with_draw(draw()),
            invitation(half(1), 2).with_draw(other()),
        );
        let whole = if swapped {
            second.combine(first)
        } else {
            first.combine(second)
        };
        assert_eq!(
            whole
                .expect("belong together")
                .draw_code()
                .expect("there")
                .expose(),
            &[7; 10]
        );
    }
    let alone = invitation(half(1), 2).combine(invitation(half(0), 1).with_draw(draw()));
    assert_eq!(
        alone
            .expect("belong together")
            .draw_code()
            .expect("there")
            .expose(),
        &[7; 10]
    );
}

#[test]
fn a_code_says_its_own_length() {
    // A code with a draw code cut to the length of one without, and the other way round: the version and the checksum both say so.
    let long = invitation(Half::WHOLE, 5)
        .with_draw(DrawCode::from_slice(&[7; 10]).expect("ten bytes"))
        .to_code();
    assert!(Invitation::parse(&long[..59]).is_err());
    assert!(matches!(
        Invitation::parse(&long[..78]),
        Err(InvitationError::Length(63))
    ));
    let short = invitation(Half::WHOLE, 5).to_code();
    let bytes = crockford::decode(&short).expect("base32");
    for version in [0, VERSION_WITH_DRAW, 3] {
        let mut checked = bytes[..CHECKED].to_vec();
        checked[0] = version;
        let check = checksum(&checked);
        let typed = crockford::encode_groups(&[&checked[..], &check].concat());
        assert_eq!(
            Invitation::parse(&typed).err(),
            Some(InvitationError::Form),
            "{version}"
        );
    }
}
