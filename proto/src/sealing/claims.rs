//! A party's one Claims of a box, and what three of them settle.

use std::collections::HashSet;

use super::MAX_STATEMENT_BYTES;
use super::body::BoxBody;
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, Role, RoleExt as _};
use crate::manifest::Manifest;
use crate::receipt::{Receipt, ReceiptError};
use crate::wire;

/// Most receipts in one Claims: as many as one party may hide while another is away. Long ones are fewer: see [`ClaimsRoom`].
pub const MAX_CLAIMED_RECEIPTS: usize = 1 << 20;
/// All of Claims but their receipts.
const HEAD_BYTES: usize = 256;
/// Tag and length of a receipt in Claims.
const FRAME_BYTES: usize = 6;

/// Counts the receipts that go into Claims, so that nothing is signed that nobody can decode: a receipt of a batch carries a path, and who gave it
/// chooses its length.
#[derive(Debug, Clone, Copy)]
pub struct ClaimsRoom {
    receipts: usize,
    bytes: usize,
}

impl Default for ClaimsRoom {
    fn default() -> Self {
        Self::within(MAX_STATEMENT_BYTES)
    }
}

impl ClaimsRoom {
    /// For a payload of so many bytes.
    fn within(bytes: usize) -> Self {
        Self {
            receipts: MAX_CLAIMED_RECEIPTS,
            bytes: bytes.saturating_sub(HEAD_BYTES),
        }
    }

    /// Takes one more of this encoded length, if it fits.
    #[must_use]
    pub fn take(&mut self, encoded_bytes: usize) -> bool {
        let needed = encoded_bytes.saturating_add(FRAME_BYTES);
        if self.receipts == 0 || needed > self.bytes {
            return false;
        }
        self.receipts -= 1;
        self.bytes -= needed;
        true
    }
}

/// Why Claims were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or a hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A receipt's form.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// Not three Lists.
    #[error("Claims name three Lists, these name {0}")]
    Lists(usize),
    /// Too many receipts.
    #[error("Claims hold at most {MAX_CLAIMED_RECEIPTS} receipts, these hold {0}")]
    TooMany(usize),
}

/// The payload of a party's Claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Whose.
    pub party: Role,
    /// SHA-256 of each List's payload, in party order.
    pub list_hashes: [Hash32; 3],
    /// Receipts of others for digests in this party's List that their signers did not list. Judged by [`settle`], not here.
    pub receipts: Vec<Receipt>,
}

impl Claims {
    /// From the wire.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn from_wire(wire: &wire::Claims) -> Result<Self, ClaimsError> {
        let [l1, l2, l3] = wire.list_hashes.as_slice() else {
            return Err(ClaimsError::Lists(wire.list_hashes.len()));
        };
        if wire.receipts.len() > MAX_CLAIMED_RECEIPTS {
            return Err(ClaimsError::TooMany(wire.receipts.len()));
        }
        Ok(Self {
            election: ElectionId::new(&wire.election)?,
            of_box: BoxId(wire.r#box),
            party: Role::from_number(wire.party)?,
            list_hashes: [
                Hash32::from_slice(l1)?,
                Hash32::from_slice(l2)?,
                Hash32::from_slice(l3)?,
            ],
            receipts: wire
                .receipts
                .iter()
                .map(Receipt::from_wire)
                .collect::<Result<_, _>>()?,
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ClaimsError> {
        Self::from_wire(&decode_canonical("Claims", bytes, MAX_STATEMENT_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Claims {
        wire::Claims {
            election: self.election.as_str().into(),
            r#box: self.of_box.get(),
            party: self.party.number(),
            list_hashes: self.list_hashes.iter().map(|h| h.0.to_vec()).collect(),
            receipts: self.receipts.iter().map(Receipt::to_wire).collect(),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// Checks form, and that exactly the party it names has signed (`keys` in party order). Returns the payload's hash as well.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn open(envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<(Self, Hash32), ClaimsError> {
        let claims = Self::decode(envelope.payload())?;
        envelope.verify_all(Kind::Claims, &[keys[claims.party.slot()]])?;
        Ok((claims, envelope.hash()))
    }
}

/// A party named by a digest: who hid an acceptance, or who claimed what does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Claimed {
    /// Who is named.
    pub party: Role,
    /// By what.
    pub digest: Digest,
}

/// What three Claims settle. Everyone computes the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    acceptances: HashSet<Claimed>,
    hidden: Vec<Claimed>,
    elsewhere: Vec<Claimed>,
    false_claims: Vec<Claimed>,
}

impl Settled {
    /// Whether a claimed receipt shows that `party` accepted `digest` without listing it.
    pub fn accepts(&self, party: Role, digest: &Digest) -> bool {
        !self.acceptances.is_empty()
            && self.acceptances.contains(&Claimed {
                party,
                digest: *digest,
            })
    }

    /// Parties whose own receipts prove that they hid what they accepted, in order of the Claims.
    pub fn hidden(&self) -> &[Claimed] {
        &self.hidden
    }

    /// Parties that accepted a card record for another election of the register and did not take it over into this one, by their own receipts for
    /// that one, in order of the Claims. They left it out, or were away.
    pub fn elsewhere(&self) -> &[Claimed] {
        &self.elsewhere
    }

    /// Every acceptance that claimed receipts show.
    pub fn claimed(&self) -> impl Iterator<Item = &Claimed> {
        self.hidden.iter().chain(&self.elsewhere)
    }

    /// Claimants of receipts that are not what they say, in order of the Claims.
    pub fn false_claims(&self) -> &[Claimed] {
        &self.false_claims
    }
}

/// Judges every claimed receipt. It holds if it is of this election and box, validly signed by another party than the claimant, and for a
/// digest that the claimant listed and the signer did not. What does not hold is disregarded, and its claimant is named.
///
/// A receipt's time is not looked at: a receipt *means* accepted in time, and of claimant and signer at least one is honest.
///
/// A card record is of its register, and one party that does not take it over from another election could otherwise keep chosen voters from voting
/// here, unseen: three acceptances are needed. So its receipt for the same digest in *another* election is its acceptance too, where **both**
/// others list the record here: one of them is honest, and has found that the record is this election's. What is issued or cast names its election,
/// so no honest party has such a receipt for anything else.
pub fn settle(manifest: &Manifest, of_box: BoxId, claims: [&Claims; 3], body: &BoxBody) -> Settled {
    settle_by(manifest, of_box, claims, |digest, party| {
        body.is_listed(digest, party)
    })
}

/// Like [`settle`], where `is_listed` says whether a party's List holds a digest, as a ballot or as a record: for a party that has the
/// Lists but not yet the headers of all candidates.
pub fn settle_by(
    manifest: &Manifest,
    of_box: BoxId,
    claims: [&Claims; 3],
    is_listed: impl Fn(&Digest, Role) -> bool,
) -> Settled {
    let keys = manifest.party_keys();
    let takes_over = manifest.register().is_some() && manifest.open_box().is_none();
    let (mut settled, mut proved) = (Settled::default(), HashSet::new());
    for claims in claims {
        for receipt in &claims.receipts {
            let digest = receipt.unverified().digest;
            let lists = |party: Role| is_listed(&digest, party);
            let judged = receipt.verify(&keys).ok().and_then(|a| {
                let third = claims.party.third(a.party)?;
                let here = a.election == *manifest.election() && a.of_box == of_box;
                let elsewhere = a.election != *manifest.election() && takes_over && lists(third);
                let holds = lists(claims.party) && !lists(a.party) && (here || elsewhere);
                holds.then_some((a.party, here))
            });
            let Some((party, here)) = judged else {
                settled.false_claims.push(Claimed {
                    party: claims.party,
                    digest,
                });
                continue;
            };
            let claimed = Claimed { party, digest };
            let first = settled.acceptances.insert(claimed);
            if here && proved.insert(claimed) {
                settled.hidden.push(claimed);
            } else if !here && first {
                settled.elsewhere.push(claimed);
            }
        }
    }
    // Another of the claimants may have had the receipt of this election.
    settled.elsewhere.retain(|claimed| !proved.contains(claimed));
    settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Shape, World};
    use crate::ids::UnixSeconds;
    use crate::merkle::MAX_LEAVES;
    use crate::receipt::{Acceptance, sign_batch};

    #[test]
    fn what_fits_is_decoded_and_one_more_does_not_fit() {
        let world = World::new(Shape::default());
        let election = world.manifest.manifest().election().clone();
        let acceptance = |n: u64| Acceptance {
            election: election.clone(),
            of_box: BoxId(u32::MAX),
            party: Role::P2,
            digest: Digest([7; 32]),
            ciphertext_hash: Hash32([n as u8; 32]),
            received_at: UnixSeconds(u64::MAX),
            position: MAX_LEAVES - 1 - n,
        };
        // Batches of one, and one whose paths are long.
        let mut receipts: Vec<Receipt> = (0..40)
            .flat_map(|n| sign_batch(vec![acceptance(n)], &world.signers[1]))
            .collect();
        receipts.extend(sign_batch((0..600).map(acceptance).collect(), &world.signers[1]));
        for bytes in [0, 1000, 20_000, 100_000] {
            let mut room = ClaimsRoom::within(bytes);
            let fitting = receipts
                .iter()
                .take_while(|receipt| room.take(receipt.encode().len()));
            let mut claims = Claims {
                election: election.clone(),
                of_box: BoxId(u32::MAX),
                party: Role::P1,
                list_hashes: [Hash32([0xff; 32]); 3],
                receipts: fitting.cloned().collect(),
            };
            let encoded = claims.encode();
            assert!(
                encoded.len() <= bytes.max(HEAD_BYTES),
                "{} of {bytes}",
                encoded.len()
            );
            assert_eq!(Claims::decode(&encoded).expect("decodes"), claims);
            claims.receipts.push(receipts[claims.receipts.len()].clone());
            assert!(claims.encode().len() + HEAD_BYTES + FRAME_BYTES * claims.receipts.len() > bytes);
        }
        let mut room = ClaimsRoom::default();
        let longest = receipts.last().expect("600").encode().len() + 7 * 32;
        let most = (0..).take_while(|_| room.take(longest)).count();
        assert!(
            most < MAX_CLAIMED_RECEIPTS,
            "long ones are bounded by their bytes"
        );
        assert!(most * (longest + FRAME_BYTES) + HEAD_BYTES <= MAX_STATEMENT_BYTES);
        let mut room = ClaimsRoom::default();
        assert_eq!((0..).take_while(|_| room.take(200)).count(), MAX_CLAIMED_RECEIPTS);
    }
}
