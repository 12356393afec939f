//! Reading invitations as voters hold them: one code or link, or two halves that came on two ways; and making decoys of them.

use rand::CryptoRng;
use tally_proto::invitation::{Invitation, InvitationError, LINK_PREFIX};
use zeroize::Zeroizing;

/// Reads an invitation: its code or link, or those of both halves in any order.
///
/// # Errors
/// [`InvitationError`]: mistyped, only one half, halves that do not belong together, or more than two texts.
pub fn read_invitation(texts: &[&str]) -> Result<Invitation, InvitationError> {
    match texts {
        [whole] => {
            let invitation = Invitation::parse(whole)?;
            if invitation.half().is_whole() {
                Ok(invitation)
            } else {
                Err(InvitationError::HalfOnly(invitation.half().number()))
            }
        }
        [first, second] => Invitation::parse(first)?.combine(Invitation::parse(second)?),
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
pub fn decoy_of(text: &str, rng: &mut impl CryptoRng) -> Result<Zeroizing<String>, InvitationError> {
    let text = text.trim();
    let decoy = Invitation::parse(text)?.decoy(rng);
    let is_link = text
        .get(..LINK_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(LINK_PREFIX));
    Ok(if is_link { decoy.to_link() } else { decoy.to_code() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use tally_proto::ids::{BoxId, Hash32, VoterIndex};
    use tally_proto::invitation::Credential;
    use tally_proto::record::Half;

    fn invitation(half: Half, credential: u64) -> Invitation {
        Invitation::new(
            &Hash32([3; 32]),
            BoxId(1),
            VoterIndex(42),
            half,
            Credential::new(credential),
        )
    }

    #[test]
    fn one_whole_or_two_halves() {
        let manifest = Hash32([3; 32]);
        let whole = invitation(Half::WHOLE, 0xabc).to_link();
        assert_eq!(
            read_invitation(&[&whole])
                .unwrap()
                .credential_for(&manifest)
                .unwrap()
                .expose(),
            0xabc
        );
        let [first, second] =
            [0, 1].map(|half| invitation(Half::new(half, 2).unwrap(), 0xf0 << (4 * half)).to_code());
        for halves in [
            [first.as_str(), second.as_str()],
            [second.as_str(), first.as_str()],
        ] {
            let combined = read_invitation(&halves).unwrap();
            assert_eq!(combined.credential_for(&manifest).unwrap().expose(), 0xf0 ^ 0xf00);
        }
        assert_eq!(
            read_invitation(&[&second]).unwrap_err(),
            InvitationError::HalfOnly(1)
        );
        assert!(matches!(
            read_invitation(&[&first, &first]),
            Err(InvitationError::Combine(_))
        ));
        assert!(matches!(read_invitation(&[]), Err(InvitationError::Combine(_))));
    }

    #[test]
    fn a_decoy_has_the_form_of_what_it_was_made_from() {
        let mut rng = StdRng::seed_from_u64(5);
        for half in [Half::WHOLE, Half::new(0, 2).unwrap(), Half::new(1, 2).unwrap()] {
            let real = invitation(half, 7);
            for text in [real.to_code(), real.to_link()] {
                let decoy = decoy_of(&format!(" {}\n", *text), &mut rng).unwrap();
                assert_eq!(decoy.len(), text.len());
                assert_eq!(decoy.starts_with(LINK_PREFIX), text.starts_with(LINK_PREFIX));
                let parsed = Invitation::parse(&decoy).unwrap();
                assert_eq!(
                    (parsed.of_box(), parsed.voter(), parsed.half()),
                    (real.of_box(), real.voter(), half)
                );
                assert_ne!(*decoy, *text);
            }
        }
        assert!(decoy_of("nonsense", &mut rng).is_err());
    }
}
