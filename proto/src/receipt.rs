//! Receipts: a party's signature that it accepted a ballot or a record, when, and where in its log. One signature covers a batch: see
//! [`Batch`].

mod batch;
mod whole;

pub use batch::{Batch, BatchSignature, MAX_BATCH, SIGNED_TOGETHER, sign_batch};
pub use whole::{WHOLE_RECEIPT_BYTES, WholeBatch, whole_batches};

use crate::ballot::BallotHeader;
use crate::calendar::Timing;
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{PublicKey, Signer};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, Role, RoleExt as _, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::merkle::{MAX_LEAVES, leaf_hash};
use crate::order::EffectiveElection;
use crate::wire;

/// Largest encoded receipt in bytes.
pub const MAX_RECEIPT_BYTES: usize = 448 + batch::MAX_SIGNATURE_BYTES;

/// Why a receipt was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An id or a hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The signature's form.
    #[error(
        "a receipt's signature of {0} bytes: it has 64, or 68 and a path of 32 bytes a node as long as its place in its batch requires"
    )]
    Signature(usize),
    /// No log is so long.
    #[error("a receipt names position {0}; a log has at most {MAX_LEAVES} entries")]
    Position(u64),
    /// The form of a whole batch.
    #[error("a whole batch of receipts is malformed: {what}")]
    Whole {
        /// What it should be.
        what: &'static str,
    },
    /// The signature does not verify.
    #[error("the receipt's signature is not of party {0}")]
    BadSignature(Role),
}

impl ReceiptError {
    /// The stable reason.
    pub fn reason(&self) -> crate::reason::Reason {
        use crate::reason::Reason;
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Id(_) | Self::Signature(_) | Self::Position(_) | Self::Whole { .. } => {
                Reason::MessageMalformed
            }
            Self::BadSignature(_) => Reason::ReceiptInvalid,
        }
    }
}

/// What a receipt states.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acceptance {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Who accepted.
    pub party: Role,
    /// Of a ballot or a record.
    pub digest: Digest,
    /// SHA-256 of the ciphertext that this party took.
    pub ciphertext_hash: Hash32,
    /// The party's clock at that moment, to the second: a receipt says no more of a ballot's time than its header does. What was in time to the
    /// millisecond is in time by its second.
    pub received_at: UnixSeconds,
    /// Position in the party's log of this election.
    pub position: u64,
}

impl Acceptance {
    fn layout(&self) -> Writer {
        Writer::new(tag::RECEIPT)
            .election(&self.election)
            .ballot_box(self.of_box)
            .u8(self.party.index())
            .fixed(&self.digest.0)
            .fixed(&self.ciphertext_hash.0)
            .u64(self.received_at.get())
            .u64(self.position)
    }

    /// The leaf of the party's log at [`Acceptance::position`]: RFC 6962 leaf hash over (tag, box, digest, ciphertext hash, received_at).
    pub fn log_leaf(&self) -> Hash32 {
        log_leaf(self.of_box, &self.digest, &self.ciphertext_hash, self.received_at)
    }

    fn leaf(&self) -> Hash32 {
        leaf_hash(self.layout().as_bytes())
    }

    /// Signs it, as a batch of one.
    ///
    /// # Panics
    /// None: one acceptance makes one receipt.
    pub fn sign(self, signer: &Signer) -> Receipt {
        sign_batch(vec![self], signer)
            .pop()
            .expect("one acceptance makes one receipt")
    }

    /// Whether a ballot with `header` was in time when this was signed; the header must be that of the digest.
    pub fn is_timely(&self, header: &BallotHeader, election: &EffectiveElection) -> bool {
        let channel = election.channel(header.channel());
        channel.is_some_and(|c| c.check(header.cast_at(), self.received_at.millis()) == Ok(Timing::InTime))
    }

    /// Whether a record was in time when this was signed: while the election still takes anything, and before an open roll froze.
    pub fn is_timely_record(&self, election: &EffectiveElection) -> bool {
        self.received_at <= election.records_until(self.of_box)
    }
}

/// The leaf of a party's log for one acceptance.
pub fn log_leaf(
    of_box: BoxId,
    digest: &Digest,
    ciphertext_hash: &Hash32,
    received_at: UnixSeconds,
) -> Hash32 {
    let layout = Writer::new(tag::LOG)
        .ballot_box(of_box)
        .fixed(&digest.0)
        .fixed(&ciphertext_hash.0)
        .u64(received_at.get());
    leaf_hash(layout.as_bytes())
}

/// A well-formed receipt; its signature is judged by [`Receipt::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    acceptance: Acceptance,
    signature: BatchSignature,
}

impl Receipt {
    /// From the wire.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn from_wire(wire: &wire::Receipt) -> Result<Self, ReceiptError> {
        if wire.position >= MAX_LEAVES {
            return Err(ReceiptError::Position(wire.position));
        }
        Ok(Self {
            acceptance: Acceptance {
                election: ElectionId::new(&wire.election)?,
                of_box: BoxId(wire.r#box),
                party: Role::from_number(wire.party)?,
                digest: Digest::from_slice(&wire.digest)?,
                ciphertext_hash: Hash32::from_slice(&wire.ciphertext_hash)?,
                received_at: UnixSeconds(wire.received_at_s),
                position: wire.position,
            },
            signature: BatchSignature::from_slice(&wire.signature)?,
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        Self::from_wire(&decode_canonical("receipt", bytes, MAX_RECEIPT_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Receipt {
        let a = &self.acceptance;
        wire::Receipt {
            election: a.election.as_str().into(),
            r#box: a.of_box.get(),
            party: a.party.number(),
            digest: a.digest.0.to_vec(),
            ciphertext_hash: a.ciphertext_hash.0.to_vec(),
            received_at_s: a.received_at.get(),
            position: a.position,
            signature: self.signature.to_bytes(),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// Verifies the signature with the key of the party that the receipt names (`keys` in party order) and returns what it states.
    ///
    /// # Errors
    /// [`ReceiptError::BadSignature`].
    pub fn verify(&self, keys: &[PublicKey; 3]) -> Result<&Acceptance, ReceiptError> {
        if self.batch().is_some_and(|batch| batch.verify(keys)) {
            Ok(&self.acceptance)
        } else {
            Err(ReceiptError::BadSignature(self.acceptance.party))
        }
    }

    /// What its signature is said to be over: the receipt is good exactly if this verifies. Receipts of one batch give equal ones, so that
    /// who takes many verifies each signature once. Costs as many hashes as the path has nodes.
    pub fn batch(&self) -> Option<Batch> {
        self.signature.batch_of(&self.acceptance)
    }

    /// The signature, as it came.
    pub fn signature(&self) -> &BatchSignature {
        &self.signature
    }

    /// What it states, believed or not.
    pub fn unverified(&self) -> &Acceptance {
        &self.acceptance
    }
}

#[cfg(test)]
mod tests;
