//! What the holder of a ballot shows a party to be told where the ballot stands in its log.
//!
//! ```text
//! word_j = SHA-256(tag, digest, j, a_j), its first 16 bytes        a_j: see `shares`
//! ```
//!
//! A digest names a ballot to everybody, once the sealed list is published. Words 1 and 2 are known to the device that made the ballot, to whoever
//! was given its name or its check code, and each to the two parties that hold that share: P1 and P3 know word 1, P2 knows word 2. So a party can
//! tell a holder from everybody else, from what it stores anyway. A word says nothing of the share.

use std::fmt;

use subtle::ConstantTimeEq as _;
use tally_mpc::layout::BallotLayout;

use crate::ids::{Digest, Hash32, Role, RoleExt as _};
use crate::layout::{Writer, tag};
use crate::shares::{ChoiceOpening, Opening, PartyShares};

/// Bytes of a word.
pub const WORD_BYTES: usize = 16;
const CHECK_BYTES: usize = 4;

/// Words 1 and 2 of one ballot: who has them is told by any party where it stands in the party's log. Not to be shown with the digest to anybody who is
/// not to know when it was cast.
#[derive(Clone)]
pub struct Holder([[u8; WORD_BYTES]; 2]);

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder(secret)")
    }
}

fn word(digest: &Digest, j: Role, voter: &Hash32) -> [u8; WORD_BYTES] {
    let hash = Writer::new(tag::HOLDER)
        .fixed(digest.as_bytes())
        .u8(j.index())
        .fixed(&voter.0)
        .sha256();
    let (first, _) = hash.0.split_first_chunk().expect("a hash has 32 bytes");
    *first
}

impl Holder {
    /// Of the ballot that was made from these openings.
    pub fn of(layout: &BallotLayout, digest: &Digest, openings: &[Opening; 3]) -> Self {
        let voter = |j: Role| ChoiceOpening::of(layout, &openings[j.slot()]).0;
        Self::of_voter_parts(digest, [&voter(Role::P1), &voter(Role::P2)])
    }

    /// From a_1 and a_2.
    pub(crate) fn of_voter_parts(digest: &Digest, [one, two]: [&Hash32; 2]) -> Self {
        Self([word(digest, Role::P1, one), word(digest, Role::P2, two)])
    }

    /// Reads [`Holder::to_text`]; `None` of anything else, and of the words of another digest: who mistypes a name is not to think that the parties lie.
    pub fn parse(digest: &Digest, text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        let (words, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        let (words, []) = words.as_chunks::<WORD_BYTES>() else {
            return None;
        };
        let holder = Self(words.try_into().ok()?);
        (holder.check(digest) == *check).then_some(holder)
    }

    /// Both words and four bytes that find a slip, 72 hexadecimal digits.
    pub fn to_text(&self, digest: &Digest) -> String {
        let bytes = [self.0.as_flattened(), &self.check(digest)].concat();
        data_encoding::HEXLOWER.encode(&bytes)
    }

    fn check(&self, digest: &Digest) -> [u8; CHECK_BYTES] {
        let hash = Writer::new(tag::HOLDER)
            .fixed(digest.as_bytes())
            .bytes(self.0.as_flattened())
            .sha256();
        let (first, _) = hash.0.split_first_chunk().expect("a hash has 32 bytes");
        *first
    }

    /// The word that this party knows: nobody is told another.
    pub fn word_for(&self, party: Role) -> [u8; WORD_BYTES] {
        match party {
            Role::P1 | Role::P3 => self.0[0],
            Role::P2 => self.0[1],
        }
    }
}

/// Whether `shown` is a word of the ballot of which party `me` holds these shares.
pub fn is_holder(
    layout: &BallotLayout,
    me: Role,
    digest: &Digest,
    shares: &PartyShares,
    shown: &[u8],
) -> bool {
    let known = [(me, &shares.this), (me.next(), &shares.next)];
    known.into_iter().any(|(j, opening)| {
        let (voter, _) = ChoiceOpening::of(layout, opening);
        bool::from(word(digest, j, &voter).ct_eq(shown))
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::fixture::{Shape, World};
    use crate::ids::BoxId;
    use crate::shares::split_ballot;

    #[test]
    fn each_party_knows_the_word_that_it_is_shown_and_no_other_ballot_has_it() {
        let world = World::new(Shape::default());
        let layout = world
            .manifest
            .manifest()
            .ballot_box(BoxId(1))
            .expect("a box")
            .layout();
        let mut rng = StdRng::seed_from_u64(5);
        let packed = layout.pack_payload(0, 7, &[]).expect("packs");
        let digest = Digest([3; 32]);
        let [ballot, other] = [(); 2].map(|()| split_ballot(layout, &packed, &mut rng).expect("splits"));
        let copy = |of: &Opening| {
            Opening::from_parts(
                zeroize::Zeroizing::new(*of.nonce()),
                zeroize::Zeroizing::new(of.share().to_vec()),
            )
        };
        let holder = Holder::of(layout, &digest, &ballot);
        let again = Holder::parse(&digest, &holder.to_text(&digest)).expect("reads");
        for me in Role::ALL {
            let held = |openings: &[Opening; 3]| PartyShares {
                this: copy(&openings[me.slot()]),
                next: copy(&openings[me.next().slot()]),
            };
            let word = again.word_for(me);
            assert!(is_holder(layout, me, &digest, &held(&ballot), &word), "{me}");
            assert!(!is_holder(layout, me, &digest, &held(&other), &word), "{me}");
            assert!(
                !is_holder(layout, me, &Digest([4; 32]), &held(&ballot), &word),
                "{me}"
            );
            for wrong in [&word[..15], &[], &[0; WORD_BYTES]] {
                assert!(!is_holder(layout, me, &digest, &held(&ballot), wrong), "{me}");
            }
        }
        let text = holder.to_text(&digest);
        for wrong in [
            "",
            "zz",
            &text[2..],
            &text.to_uppercase(),
            &text.replace('3', "4"),
        ] {
            assert!(Holder::parse(&digest, wrong).is_none(), "{wrong}");
        }
        assert!(Holder::parse(&Digest([4; 32]), &text).is_none());
        assert_eq!(format!("{holder:?}"), "Holder(secret)");
    }
}
