//! Reading invitations as voters hold them: one code or link, or two halves that came on two ways; and making decoys of them.

use rand::CryptoRng;
use tally_proto::invitation::{Invitation, InvitationError, LINK_PREFIX, Part};
use zeroize::Zeroizing;

/// Reads an invitation: its code or link, or those of letter and text message in any order.
///
/// # Errors
/// [`InvitationError`]: mistyped, only one half, halves that do not belong together, or more than two texts.
pub fn read_invitation(texts: &[&str]) -> Result<Invitation, InvitationError> {
    match texts {
        [whole] => Invitation::parse(whole),
        [first, second] => Part::parse(first)?.combine(Part::parse(second)?),
        _ => Err(InvitationError::Combine(
            "give one code, or the two of an invitation in halves",
        )),
    }
}

/// An invitation that looks like the one in `text` (whole or half, code or link) and whose ballots never count.
///
/// Nothing is recorded, here or by any other function: which of several invitations is the true one is known to the voter alone.
///
/// # Errors
/// [`InvitationError`] when `text` is no invitation.
pub fn decoy_of(text: &str, rng: &mut impl CryptoRng) -> Result<Part, InvitationError> {
    Ok(Part::parse(text)?.decoy(rng))
}

/// The text of an invitation in the form that `like` has: a link or a code.
pub fn text_like(part: &Part, like: &str) -> Zeroizing<String> {
    let is_link = like
        .trim()
        .get(..LINK_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(LINK_PREFIX));
    if is_link { part.to_link() } else { part.to_code() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use tally_proto::ids::{BoxId, Hash32, VoterIndex};
    use tally_proto::invitation::{Credential, Letter, Message};

    const MANIFEST: Hash32 = Hash32([3; 32]);

    fn whole(credential: u64) -> Invitation {
        Invitation::new(&MANIFEST, BoxId(1), VoterIndex(42), Credential::new(credential))
    }

    fn parts() -> [Part; 3] {
        let message = Message::new(&MANIFEST, BoxId(1), VoterIndex(42), Credential::new(0xf00));
        [
            Part::Whole(whole(7)),
            Part::Letter(Letter::new(whole(0xf0))),
            Part::Message(message),
        ]
    }

    #[test]
    fn one_whole_or_two_halves() {
        let all = whole(0xabc).to_link();
        let read = read_invitation(&[&all]).unwrap();
        assert_eq!(read.credential_for(&MANIFEST).unwrap().expose(), 0xabc);
        let [_, letter, message] = parts().map(|part| part.to_code());
        for halves in [
            [letter.as_str(), message.as_str()],
            [message.as_str(), letter.as_str()],
        ] {
            let combined = read_invitation(&halves).unwrap();
            assert_eq!(combined.credential_for(&MANIFEST).unwrap().expose(), 0xf0 ^ 0xf00);
        }
        assert_eq!(
            read_invitation(&[&message]).unwrap_err(),
            InvitationError::MessageOnly
        );
        assert_eq!(
            read_invitation(&[&letter]).unwrap_err(),
            InvitationError::LetterOnly
        );
        for two in [[&letter, &letter], [&message, &message], [&all, &letter]] {
            assert!(matches!(
                read_invitation(&[two[0], two[1]]),
                Err(InvitationError::Combine(_))
            ));
        }
        assert!(matches!(read_invitation(&[]), Err(InvitationError::Combine(_))));
    }

    #[test]
    fn a_decoy_has_the_form_of_what_it_was_made_from() {
        let mut rng = StdRng::seed_from_u64(5);
        for real in parts() {
            for text in [real.to_code(), real.to_link()] {
                let decoy = decoy_of(&format!(" {}\n", *text), &mut rng).unwrap();
                let decoy = text_like(&decoy, &text);
                assert_eq!(decoy.len(), text.len());
                assert_eq!(decoy.starts_with(LINK_PREFIX), text.starts_with(LINK_PREFIX));
                assert_ne!(*decoy, *text);
                let again = Part::parse(&decoy).unwrap();
                assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&real));
            }
        }
        assert!(decoy_of("nonsense", &mut rng).is_err());
    }
}
