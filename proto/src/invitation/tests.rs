use super::*;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const MANIFEST: Hash32 = Hash32([0xab; 32]);

fn invitation(credential: u64) -> Invitation {
    Invitation::new(
        &MANIFEST,
        BoxId(3),
        VoterIndex(19_999),
        Credential::new(credential),
    )
}

fn draw(byte: u8) -> DrawCode {
    DrawCode::from_slice(&[byte; 10]).expect("ten bytes")
}

fn letter(credential: u64) -> Part {
    Part::Letter(Letter::new(invitation(credential)))
}

fn message(credential: u64) -> Part {
    let credential = Credential::new(credential);
    Part::Message(Message::new(&MANIFEST, BoxId(3), VoterIndex(19_999), credential))
}

/// Every form a code has.
fn parts(credential: u64) -> [Part; 5] {
    [
        Part::Whole(invitation(credential)),
        letter(credential),
        message(credential),
        Part::Whole(invitation(credential).with_draw(draw(7))),
        Part::Letter(Letter::new(invitation(credential).with_draw(draw(7)))),
    ]
}

/// All that a code says but for its credential.
fn form(part: &Part) -> (u8, Option<(BoxId, VoterIndex)>, Vec<u8>, bool) {
    match part {
        Part::Whole(i) => (
            0,
            Some((i.of_box(), i.voter())),
            i.whose.manifest.clone(),
            i.draw.is_some(),
        ),
        Part::Letter(l) => (
            1,
            Some((l.of_box(), l.voter())),
            l.0.whose.manifest.clone(),
            l.0.draw.is_some(),
        ),
        Part::Message(m) => (2, None, m.mark.to_vec(), false),
    }
}

fn exposed(part: &Part) -> u64 {
    match part {
        Part::Whole(i) => i.credential.expose(),
        Part::Letter(l) => l.0.credential.expose(),
        Part::Message(m) => m.credential.expose(),
    }
}

#[test]
fn codes_and_links_read_back() {
    for credential in [0, 7, 1 << 63, u64::MAX] {
        for (part, groups) in parts(credential).into_iter().zip([10, 10, 5, 14, 14]) {
            let (code, link) = (part.to_code(), part.to_link());
            assert_eq!((code.len(), code.split('-').count()), (groups * 5 - 1, groups));
            assert!(link.starts_with("tally:v1:"));
            for text in [
                code.to_string(),
                link.to_string(),
                link.to_lowercase(),
                code.replace('-', " "),
                code.replace('-', ""),
                code.replace('0', "o").replace('1', "l").replace('V', "u"),
            ] {
                let read = Part::parse(&text).expect("reads");
                assert_eq!(exposed(&read), credential);
                let (read, mut own) = (form(&read), form(&part));
                own.2.truncate(read.2.len());
                assert!(read.2.len() >= if read.0 == 2 { 2 } else { HASH });
                assert_eq!(read, own);
            }
        }
    }
}

#[test]
fn numbers_of_every_size_read_back_and_only_as_they_are_written() {
    for number in [0, 1, 15, 16, 255, 4095, 65_535, 1 << 20, u32::MAX - 1, u32::MAX] {
        let i = Invitation::new(&MANIFEST, BoxId(number), VoterIndex(number), Credential::new(9));
        for i in [i.decoy(&mut ChaCha20Rng::seed_from_u64(1)), i.with_draw(draw(3))] {
            let read = Invitation::parse(&i.to_code()).expect("reads");
            assert_eq!((read.of_box(), read.voter()), (BoxId(number), VoterIndex(number)));
            assert_eq!(*read.to_code(), *i.to_code());
        }
    }
    assert_eq!(take_number(&[16, 3]), None, "a leading nought");
    assert_eq!(take_number(&[17; 9]), None, "without an end");
    assert_eq!(take_number(&[17, 16, 16, 16, 16, 16, 16, 16, 0]), None, "33 bits");
}

#[test]
fn every_single_typing_error_is_found_and_its_group_named() {
    for part in parts(0x0123_4567_89ab_cdef) {
        let code = part.to_code();
        for (at, old) in code.char_indices().filter(|(_, c)| *c != '-') {
            for new in "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
                .chars()
                .filter(|new| *new != old)
            {
                let mut typed = code.to_string();
                typed.replace_range(at..=at, &new.to_string());
                let refused = Part::parse(&typed).expect_err("found");
                let groups = vec![at / 5 + 1];
                // A wrong form, box or voter can ask for another number of groups.
                let of_length = matches!(
                    refused,
                    InvitationError::Groups { .. } | InvitationError::Length(_)
                ) && at < 7;
                assert!(
                    of_length || refused == InvitationError::Mistyped { groups },
                    "{at} {new}: {refused}"
                );
            }
        }
    }
}

/// The check is made of the typed characters and of nothing else, so that it tells a coercer nothing: whoever chooses a credential gets a code
/// that passes, for every form, and no two credentials are treated differently.
#[test]
fn every_well_formed_code_passes_whoever_made_it() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let issued = parts(Credential::generate(&mut rng).expose());
    for part in &issued {
        for _ in 0..200 {
            let made_up = part.decoy(&mut rng);
            let (code, true_code) = (made_up.to_code(), part.to_code());
            assert_eq!(code.len(), true_code.len());
            assert_eq!(form(&Part::parse(&code).expect("passes")), {
                let mut own = form(part);
                own.2
                    .truncate(form(&Part::parse(&true_code).expect("passes")).2.len());
                own
            });
        }
    }
    // Codes whose halves were swapped between a true and a made-up invitation pass as well.
    let halves = letter(Credential::generate(&mut rng).expose())
        .combine(message(Credential::generate(&mut rng).expose()))
        .expect("of one voter");
    assert!(halves.credential_for(&MANIFEST).is_ok());
    // And what is typed wrong is refused alike for both.
    for part in [letter(5), letter(5).decoy(&mut rng)] {
        let code = part.to_code().to_string();
        let mut wrong: Vec<char> = code.chars().collect();
        wrong[22] = if wrong[22] == '7' { '8' } else { '7' };
        let refused = Part::parse(&wrong.into_iter().collect::<String>()).expect_err("found");
        assert_eq!(refused, InvitationError::Mistyped { groups: vec![5] });
    }
}

/// For every half there is exactly one other half for each credential: a half is as good as none.
#[test]
fn a_half_leaves_every_credential_possible() {
    let known = 0x1234_5678_9abc_def0u64;
    for credential in [0u64, 1, u64::MAX, 0xdead_beef] {
        let whole = letter(known)
            .combine(message(known ^ credential))
            .expect("of one voter");
        assert_eq!(
            whole.credential_for(&MANIFEST).expect("of it").expose(),
            credential
        );
    }
    assert_eq!(
        Invitation::parse(&letter(7).to_code()).err(),
        Some(InvitationError::LetterOnly)
    );
    assert_eq!(
        Invitation::parse(&message(7).to_code()).err(),
        Some(InvitationError::MessageOnly)
    );
}

#[test]
fn errors_help_and_repeat_nothing_secret() {
    let code = invitation(7).to_code().to_string();
    let error = |text: &str| Part::parse(text).expect_err("refused");
    let groups: Vec<&str> = code.split('-').collect();
    assert_eq!(
        error(&code[..48]),
        InvitationError::GroupSize {
            group: 10,
            characters: 3
        }
    );
    let doubled = format!(
        "{}-{}7-{}",
        groups[..3].join("-"),
        groups[3],
        groups[4..].join("-")
    );
    assert_eq!(
        error(&doubled),
        InvitationError::GroupSize {
            group: 4,
            characters: 5
        }
    );
    assert_eq!(
        error(&code[..44]),
        InvitationError::Groups {
            wanted: 10,
            characters: 36
        }
    );
    assert_eq!(
        error(&code.replace('-', "")[..39]),
        InvitationError::Groups {
            wanted: 10,
            characters: 39
        }
    );
    assert_eq!(error(""), InvitationError::Length(0));
    assert_eq!(error("hello"), InvitationError::Length(5));
    assert_eq!(error(&format!("tally:v2:{code}")), InvitationError::OtherVersion);
    assert_eq!(
        error(&code.replace('-', "*")),
        InvitationError::Character { group: 2, found: '*' }
    );
    assert_eq!(error(&"0".repeat(10_000)), InvitationError::Length(10_000));
    let mut wrong: Vec<char> = code.chars().collect();
    for at in [1, 7, 16] {
        wrong[at] = if wrong[at] == 'Z' { 'Y' } else { 'Z' };
    }
    let several = error(&wrong.into_iter().collect::<String>());
    assert!(!several.to_string().contains(groups[0]), "{several}");
    assert_eq!(
        InvitationError::Mistyped { groups: vec![2, 5] }.to_string(),
        "groups 2 and 5 are mistyped: compare with the invitation"
    );
    assert_eq!(
        invitation(7).credential_for(&Hash32([1; 32])).err(),
        Some(InvitationError::OtherElection)
    );
    assert_eq!(format!("{:?}", invitation(7)), "Invitation(box 3, secret)");
    assert_eq!(
        format!("{:?} {:?}", letter(7), message(7)),
        "Letter(Letter(box 3, secret)) Message(Message(secret))"
    );
    assert_eq!(format!("{:?}", Credential::new(7)), "Credential(secret)");
}

#[test]
fn halves_of_two_voters_or_elections_do_not_combine() {
    let whole = message(0b1100).combine(letter(0b1010)).expect("combines");
    assert_eq!(whole.credential_for(&MANIFEST).expect("whole").expose(), 0b0110);
    let refused = |a: Part, b: Part| matches!(a.combine(b), Err(InvitationError::Combine(_)));
    assert!(refused(letter(1), letter(2)));
    assert!(refused(message(1), message(2)));
    assert!(refused(Part::Whole(invitation(1)), letter(2)));
    let of = |manifest: &Hash32, of_box, v| {
        Part::Message(Message::new(
            manifest,
            BoxId(of_box),
            VoterIndex(v),
            Credential::new(1),
        ))
    };
    assert!(refused(letter(1), of(&MANIFEST, 3, 20_000)));
    assert!(refused(letter(1), of(&MANIFEST, 4, 19_999)));
    assert!(refused(letter(1), of(&Hash32([1; 32]), 3, 19_999)));
    // The mark is of what the letter holds: it is the same after reading.
    let read = Part::parse(&letter(1).to_code()).expect("reads");
    assert!(read.combine(of(&MANIFEST, 3, 19_999)).is_ok());
}

#[test]
fn a_code_vouches_for_its_manifest_with_sixty_bits() {
    for part in [
        Part::Whole(invitation(1)),
        Part::Whole(invitation(1).with_draw(draw(1))),
    ] {
        let read = Part::parse(&part.to_code())
            .expect("reads")
            .whole()
            .expect("whole");
        assert!(read.credential_for(&MANIFEST).is_ok());
        for bit in 0..60 {
            let mut other = MANIFEST;
            other.0[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(
                read.credential_for(&other).err(),
                Some(InvitationError::OtherElection),
                "{bit}"
            );
        }
    }
}

#[test]
fn a_draw_code_is_the_voters_and_not_the_credentials() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let i = invitation(5).with_draw(draw(7));
    let read = Invitation::parse(&i.to_link()).expect("reads");
    assert_eq!(read.draw_code().expect("there").expose(), &[7; 10]);
    // The coordinator cannot tell who draws with a decoy.
    let decoy = i.decoy(&mut rng);
    assert_eq!(decoy.to_code().len(), i.to_code().len());
    let hash = |i: &Invitation, of_box| i.draw_code().expect("there").hash(&MANIFEST, of_box, i.voter());
    assert_eq!(hash(&decoy, i.of_box()), hash(&i, i.of_box()));
    assert_ne!(hash(&i, i.of_box()), hash(&i, BoxId(4)));
    assert!(
        Invitation::parse(&invitation(5).to_code())
            .expect("reads")
            .draw_code()
            .is_none()
    );
    let split = Part::Letter(Letter::new(invitation(1).with_draw(draw(8))));
    let whole = message(2).combine(split).expect("belong together");
    assert_eq!(whole.draw_code().expect("there").expose(), &[8; 10]);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,120}") {
        let _ = Part::parse(&text);
    }

    #[test]
    fn any_characters_with_their_check_are_read_or_refused(
        form in 0u8..6,
        rest in proptest::collection::vec(0u8..32, 15..60),
    ) {
        let data = [&[form][..], &rest].concat();
        let text = typed::write(&data);
        if let Ok(read) = Part::parse(&text) {
            prop_assert_eq!(&*read.to_code(), &*text);
        }
    }
}
