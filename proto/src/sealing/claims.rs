//! A party's one Claims of a box, and what three of them settle.

use std::collections::HashSet;

use super::body::BoxBody;
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, MAX_ENVELOPE_BYTES, PublicKey};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, Role, RoleExt as _};
use crate::manifest::Manifest;
use crate::receipt::{Receipt, ReceiptError};
use crate::wire;

/// Most receipts in one Claims: as many as one party may hide while another is away, within [`MAX_ENVELOPE_BYTES`].
pub const MAX_CLAIMED_RECEIPTS: usize = 1 << 20;

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
        Self::from_wire(&decode_canonical("Claims", bytes, MAX_ENVELOPE_BYTES)?)
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

    /// Claimants of receipts that are not what they say, in order of the Claims.
    pub fn false_claims(&self) -> &[Claimed] {
        &self.false_claims
    }
}

/// Judges every claimed receipt. It holds if it is of this election and box, validly signed by another party than the claimant, and for a
/// digest that the claimant listed and the signer did not. What does not hold is disregarded, and its claimant is named.
///
/// A receipt's time is not looked at: a receipt *means* accepted in time, and of claimant and signer at least one is honest.
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
    let mut settled = Settled::default();
    for claims in claims {
        for receipt in &claims.receipts {
            let digest = receipt.unverified().digest;
            let holds = receipt.verify(&keys).is_ok_and(|a| {
                let lists = |party: Role| is_listed(&digest, party);
                a.election == *manifest.election()
                    && a.of_box == of_box
                    && a.party != claims.party
                    && lists(claims.party)
                    && !lists(a.party)
            });
            if !holds {
                settled.false_claims.push(Claimed {
                    party: claims.party,
                    digest,
                });
                continue;
            }
            let claimed = Claimed {
                party: receipt.unverified().party,
                digest,
            };
            if settled.acceptances.insert(claimed) {
                settled.hidden.push(claimed);
            }
        }
    }
    settled
}
