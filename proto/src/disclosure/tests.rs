use super::*;
use crate::fixture::{OPENS, Shape, World};
use crate::ids::{UnixSeconds, VoterIndex};
use crate::invitation::{Credential, Invitation};
use crate::shares::split_ballot;
use proptest::prelude::*;
use tally_mpc::layout::Choice;

struct Made {
    world: World,
    header: BallotHeader,
    text: Zeroizing<String>,
}

/// A ballot of voter 4 in box 1, with the text for another device.
fn ballot(world: &mut World, credential: u64, choices: &[Choice]) -> (BallotHeader, Zeroizing<String>) {
    let manifest = world.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box").clone();
    let election = manifest.election().clone();
    let packed = of_box.layout().pack(4, credential, choices).expect("packs");
    let openings = split_ballot(of_box.layout(), &packed, &mut world.rng).expect("splits");
    let commitments = ShareContext::ballot(&election, &of_box).commit_all(&openings);
    let header = BallotHeader::online(election, BoxId(1), UnixSeconds(OPENS), commitments);
    let text = Disclosure::of(&world.manifest.hash(), &of_box, header.digest(), &openings).to_text();
    (header, text)
}

fn made(credential: u64, choices: &[Choice]) -> Made {
    let mut world = World::new(Shape::default());
    let (header, text) = ballot(&mut world, credential, choices);
    Made { world, header, text }
}

fn open(made: &Made, text: &str) -> Result<Vec<Choice>, DisclosureError> {
    let manifest = made.world.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box");
    let disclosure = Disclosure::parse(text)?;
    disclosure.check_election(&made.world.manifest.hash())?;
    let plain = disclosure.open(manifest.election(), of_box, &made.header)?;
    Ok(of_box.layout().choices(&plain).expect("of the layout's length"))
}

fn choices() -> [Choice; 2] {
    [Choice::Options(vec![2]), Choice::Options(vec![1, 4])]
}

#[test]
fn another_device_reads_the_choice_and_nothing_else() {
    // The credential occurs nowhere in what is shown, in either byte order.
    let credential = 0x0123_4567_89ab_cdef_u64;
    let made = made(credential, &choices());
    assert_eq!(open(&made, &made.text), Ok(choices().to_vec()));
    let spaced = made.text.to_lowercase().replace(":1:", ":1: \n");
    assert_eq!(open(&made, &spaced), Ok(choices().to_vec()));
    let bytes = crockford::decode(&made.text[CHECK_PREFIX.len()..]).expect("base32");
    for secret in [credential.to_le_bytes(), credential.to_be_bytes()] {
        assert!(!bytes.windows(8).any(|window| window == secret));
    }
    // Its length is that of every ballot of the box, whatever is chosen and with whichever credential.
    for (credential, choices) in [
        (0, [Choice::Blank, Choice::Blank]),
        (u64::MAX, [Choice::Blank, Choice::Spoilt]),
    ] {
        let other = self::made(credential, &choices);
        assert_eq!(other.text.len(), made.text.len());
        assert_eq!(open(&other, &other.text), Ok(choices.to_vec()));
    }
    let shown = Disclosure::parse(&made.text).expect("parses");
    assert!(!format!("{shown:?}").contains(&made.text[40..60]));
}

#[test]
fn a_changed_choice_does_not_open_the_ballot_whatever_part_is_changed() {
    let mut made = made(7, &choices());
    let bytes = crockford::decode(&made.text[CHECK_PREFIX.len()..]).expect("base32");
    let shares = HEAD..bytes.len() - CHECKSUM;
    let each = shares.len() / 3;
    for j in Role::ALL {
        // Of a_j, of key_j, of the choice part.
        for offset in [0, 32, 64] {
            let mut changed = bytes[..shares.end].to_vec();
            changed[shares.start + j.slot() * each + offset] ^= 1;
            let check = checksum(&changed);
            changed.extend_from_slice(&check);
            let text = format!("{CHECK_PREFIX}{}", crockford::encode(&changed));
            assert_eq!(open(&made, &text), Err(DisclosureError::Commitment { share: j }));
        }
    }
    assert_eq!(
        DisclosureError::Commitment { share: Role::P1 }.reason(),
        Reason::CheckCodeMismatch
    );
    // The text of another ballot, of the same voter.
    let (_, other) = ballot(&mut made.world, 7, &choices());
    assert!(matches!(
        open(&made, &other),
        Err(DisclosureError::OtherBallot(_))
    ));
}

#[test]
fn refusals_say_what_is_wrong() {
    let made = made(7, &choices());
    let parse = |text: &str| Disclosure::parse(text).expect_err("refused");
    let invitation = Invitation::new(
        &made.world.manifest.hash(),
        BoxId(1),
        VoterIndex(4),
        Credential::new(7),
    );
    for text in [invitation.to_code(), invitation.to_link()] {
        assert_eq!(parse(&text), DisclosureError::Invitation);
        assert_eq!(parse(&text).reason(), Reason::CheckCodeInvalid);
    }
    assert_eq!(parse("https://example.org"), DisclosureError::OtherForm);
    assert_eq!(
        parse(&made.text.replace(":1:", ":2:")),
        DisclosureError::OtherForm
    );
    assert!(matches!(parse(CHECK_PREFIX), DisclosureError::Length(0)));
    assert!(matches!(
        parse(&made.text[..60]),
        DisclosureError::Checksum | DisclosureError::Length(_)
    ));
    let mut mistyped = made.text.to_string();
    mistyped.replace_range(100..101, if &mistyped[100..101] == "7" { "8" } else { "7" });
    assert_eq!(parse(&mistyped), DisclosureError::Checksum);
    mistyped.replace_range(100..101, "U");
    assert!(matches!(parse(&mistyped), DisclosureError::Base32(_)));
    assert!(matches!(
        parse(&"A".repeat(MAX_TEXT_BYTES + 1)),
        DisclosureError::Length(_)
    ));

    let disclosure = Disclosure::parse(&made.text).expect("parses");
    assert!(matches!(
        disclosure.check_election(&Hash32([9; 32])),
        Err(DisclosureError::OtherElection { .. })
    ));
    // A box of another layout, under the same digest.
    let manifest = made.world.manifest.manifest();
    let second = manifest.ballot_box(BoxId(2)).expect("box");
    assert!(matches!(
        disclosure.open(manifest.election(), second, &made.header),
        Err(DisclosureError::OtherBox { .. })
    ));
}

#[test]
fn a_share_of_another_form_is_named() {
    let made = made(7, &choices());
    let mut disclosure = Disclosure::parse(&made.text).expect("parses");
    let manifest = made.world.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box");
    disclosure.shares[1].1.part.push(0);
    assert!(matches!(
        disclosure.open(manifest.election(), of_box, &made.header),
        Err(DisclosureError::Layout { share: Role::P2, .. })
    ));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = Disclosure::parse(&text);
        let _ = Disclosure::parse(&format!("{CHECK_PREFIX}{text}"));
    }
}
