//! Starts: each party's signed opening of a session, and the id that three of them give it.

use prost::Message as _;

use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, IdError, Role, RoleExt as _, SessionNumber};
use crate::layout::{Writer, tag};
use crate::wire;

/// Longest Start payload.
pub const MAX_START_BYTES: usize = 1024;

/// Why a Start was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartPayloadError {
    /// Not signed by its party, and by it alone.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A field has a wrong form.
    #[error("{field}: {source}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: IdError,
    },
}

/// One party's opening of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The Seal of what is to be tallied.
    pub seal_hash: Hash32,
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Whose Start it is.
    pub party: Role,
    /// The session's number: above those of all Starts that this party signed for the box before.
    pub number: SessionNumber,
    /// Commitments to the contributions to the seeds shared with (the next party, the previous one).
    pub commitments: (Hash32, Hash32),
}

impl Start {
    /// Signs it as its party.
    pub fn sign(&self, signer: &Signer) -> Envelope {
        let payload = wire::Start {
            seal_hash: self.seal_hash.0.to_vec(),
            election: self.election.as_str().to_owned(),
            r#box: self.of_box.get(),
            party: self.party.number(),
            session: self.number.get(),
            commitment_next: self.commitments.0.0.to_vec(),
            commitment_prev: self.commitments.1.0.to_vec(),
        };
        signer.seal_envelope(Kind::Start, payload.encode_to_vec())
    }

    /// Checks form and that it is signed by the party that it names, and by it alone.
    ///
    /// # Errors
    /// [`StartPayloadError`].
    pub fn open(envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<Self, StartPayloadError> {
        let start = Self::decode(envelope.payload())?;
        envelope.verify_all(Kind::Start, std::slice::from_ref(&keys[start.party.slot()]))?;
        Ok(start)
    }

    /// From a payload whose signature is checked elsewhere.
    ///
    /// # Errors
    /// [`StartPayloadError`], but never one of the signature.
    pub fn decode(payload: &[u8]) -> Result<Self, StartPayloadError> {
        let raw: wire::Start = decode_canonical("Start", payload, MAX_START_BYTES)?;
        let hash = |field, bytes: &[u8]| {
            Hash32::from_slice(bytes).map_err(|source| StartPayloadError::Field { field, source })
        };
        let field = |field| move |source| StartPayloadError::Field { field, source };
        Ok(Self {
            seal_hash: hash("seal_hash", &raw.seal_hash)?,
            election: ElectionId::new(&raw.election).map_err(field("election"))?,
            of_box: BoxId(raw.r#box),
            party: Role::from_number(raw.party).map_err(field("party"))?,
            number: SessionNumber(raw.session),
            commitments: (
                hash("commitment_next", &raw.commitment_next)?,
                hash("commitment_prev", &raw.commitment_prev)?,
            ),
        })
    }
}

/// A session's id: a hash over the three Start payloads in party order.
pub fn session_id(starts: [&[u8]; 3]) -> Hash32 {
    starts
        .iter()
        .fold(Writer::new(tag::SESSION), |layout, start| layout.bytes(start))
        .sha256()
}
