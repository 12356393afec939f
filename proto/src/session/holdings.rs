//! Holdings: what a party has in its store of what another party signed for a box.
//!
//! A party whose store was restored from a backup does not know what it signed since. Before it signs a List, Claims, a Seal or a Start it
//! asks both others, with a fresh nonce; one of the two is honest and names everything that an honest party ever saw. The answer is signed: it
//! also names the signer's own Claims and Seal, and these name the Lists and Claims that it must have held. So an answer that hides
//! one of them contradicts itself, and [`Holdings::hides`] shows that to anyone.

use prost::Message as _;

use super::start::{Start, StartPayloadError};
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, IdError, Role, RoleExt as _};
use crate::sealing::{Claims, Seal};
use crate::wire;

/// Bytes of the question's nonce.
pub const NONCE_BYTES: usize = 32;
/// Longest payload: hashes, a Start and a Result.
const MAX_BYTES: usize = crate::result::MAX_RESULT_BYTES + (16 << 10);

/// Why Holdings are refused.
#[derive(Debug, thiserror::Error)]
pub enum HoldingsError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signature or form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The Start in them.
    #[error("the Start in it: {0}")]
    Start(#[from] StartPayloadError),
    /// Of another election, box or party, or to another question.
    #[error("they are of another election, box or party, or answer another question")]
    Other,
}

/// What `by` holds of what `of` signed for a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Whose signatures.
    pub of: Role,
    /// Who holds them.
    pub by: Role,
    /// Of the question.
    pub nonce: [u8; NONCE_BYTES],
    /// SHA-256 of the List's payload.
    pub list: Option<Hash32>,
    /// Of the Claims' payload.
    pub claims: Option<Hash32>,
    /// Of the Seal's payload.
    pub seal: Option<Hash32>,
    /// The Start of the highest number.
    pub start: Option<Envelope>,
    /// The box's Result, with the signatures that `by` knows.
    pub result: Option<Envelope>,
    /// The Claims that `by` signed.
    pub own_claims: Option<Hash32>,
    /// The Seal that `by` signed.
    pub own_seal: Option<Hash32>,
}

impl Holdings {
    /// Signs them as `by`.
    pub fn sign(&self, signer: &Signer) -> Envelope {
        let bytes = |hash: Option<Hash32>| hash.map_or_else(Vec::new, |hash| hash.0.to_vec());
        let payload = wire::Holdings {
            election: self.election.as_str().to_owned(),
            r#box: self.of_box.get(),
            of_party: self.of.number(),
            party: self.by.number(),
            nonce: self.nonce.to_vec(),
            list_hash: bytes(self.list),
            claims_hash: bytes(self.claims),
            seal_hash: bytes(self.seal),
            start: self.start.as_ref().map(Envelope::to_wire),
            result: self.result.as_ref().map(Envelope::to_wire),
            own_claims_hash: bytes(self.own_claims),
            own_seal_hash: bytes(self.own_seal),
        };
        signer.seal_envelope(Kind::Holdings, payload.encode_to_vec())
    }

    /// Checks form and the signature of the party that holds. The Start in them must be `of`'s own, for this box; the Result's signatures
    /// are the reader's to check.
    ///
    /// # Errors
    /// [`HoldingsError`].
    pub fn open(envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<Self, HoldingsError> {
        let raw: wire::Holdings = decode_canonical("holdings", envelope.payload(), MAX_BYTES)?;
        let by = Role::from_number(raw.party)?;
        envelope.verify_all(Kind::Holdings, std::slice::from_ref(&keys[by.slot()]))?;
        let hash = |bytes: &[u8]| (!bytes.is_empty()).then(|| Hash32::from_slice(bytes)).transpose();
        let holdings = Self {
            election: ElectionId::new(&raw.election)?,
            of_box: BoxId(raw.r#box),
            of: Role::from_number(raw.of_party)?,
            by,
            nonce: raw
                .nonce
                .as_slice()
                .try_into()
                .map_err(|_| HoldingsError::Other)?,
            list: hash(&raw.list_hash)?,
            claims: hash(&raw.claims_hash)?,
            seal: hash(&raw.seal_hash)?,
            start: raw.start.map(Envelope::from_wire).transpose()?,
            result: raw.result.map(Envelope::from_wire).transpose()?,
            own_claims: hash(&raw.own_claims_hash)?,
            own_seal: hash(&raw.own_seal_hash)?,
        };
        if holdings.of == by {
            return Err(HoldingsError::Other);
        }
        if let Some(start) = &holdings.start {
            let start = Start::open(start, keys)?;
            let same = start.party == holdings.of
                && start.election == holdings.election
                && start.of_box == holdings.of_box;
            if !same {
                return Err(HoldingsError::Other);
            }
        }
        Ok(holdings)
    }

    /// The highest number of a Start that they show; 0: none.
    pub fn number(&self) -> u64 {
        self.start
            .as_ref()
            .and_then(|start| Start::decode(start.payload()).ok())
            .map_or(0, |start| start.number.get())
    }

    /// Whether the signer's own `claims` or `seal`, which these Holdings name, show that it held what they leave out or give another hash.
    /// True convicts the signer, before anyone.
    pub fn hides(&self, claims: Option<(&Claims, Hash32)>, seal: Option<(&Seal, Hash32)>) -> bool {
        let of = self.of.slot();
        let hidden_list = claims.is_some_and(|(claims, hash)| {
            claims.party == self.by
                && self.own_claims == Some(hash)
                && claims.list_hashes.get(of).copied() != self.list
        });
        let hidden_claims = seal.is_some_and(|(seal, hash)| {
            self.own_seal == Some(hash) && seal.claims_hashes.get(of).copied() != self.claims
        });
        hidden_list || hidden_claims
    }
}
