//! Complaints: how three parties find out which of two lies about a share, without trusting anyone's word and without anyone learning
//! a share it is not entitled to.
//!
//! P_j filled a candidate (one that it did not accept, or that it accepted and lost with its disk) and the share that the sender S gave does not open the commitment, or S gave none. Only P_j has seen
//! that, so P_j's word would stand against S's. Instead:
//!
//! 1. P_j makes a one-time HPKE key *for that digest* and signs it in a Complaint. It goes to the third party M.
//! 2. M sees that S accepted the candidate (that follows from Lists and Claims) and that the key takes answers, and asks S. S seals
//!    (nonce, share) to the one-time key and signs that. M has seen S's signature and hands the answer on.
//!    S need not judge the complaint: P_j is entitled to that share of every ballot, so false requests learn nothing.
//! 3. *No answer*: M signs that S is silent, P_j says so too: S is named by two, **stated**.
//! 4. The answer opens the commitment: P_j takes it and goes on. Nobody is named, the first transmission is forgotten.
//! 5. It does not: P_j shows M the one-time private key. M opens the answer itself. Either the opening fails the commitment, then S
//!    signed a wrong answer; or it opens it, then P_j complained falsely. One of the two is named, **proved** to anyone by complaint,
//!    answer, key and header.
//!
//! The key is shown only when the answer was wrong, so an honest party never lets M see a share. M relays, and cannot read or alter.

use prost::Message as _;
use rand::CryptoRng;
use tally_proto::decode::{DecodeError, decode_canonical};
use tally_proto::envelope::{Envelope, EnvelopeError, Kind as Signed, PublicKey, Signer};
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::one_time::{OneTimeError, OneTimeKey, seal_answer};
use tally_proto::shares::Opening;
use tally_proto::wire;

use crate::store::Kind;

const MAX_BYTES: usize = 4096;

/// Why a complaint, or a request about one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComplaintError {
    /// Not of this election and box, or the parties are not caller and third party.
    #[error("it names another election or box, or not the caller and the third party")]
    Subject,
    /// The accused did not accept the digest, or it is no candidate.
    #[error("{} is not a candidate that the accused accepted", .digest.short())]
    NotOwed {
        /// The digest complained of.
        digest: Digest,
    },
    /// This party has no such ballot or record.
    #[error("{} is not held here", .digest.short())]
    NotHeld {
        /// The digest complained of.
        digest: Digest,
    },
    /// The answer is not to this complaint.
    #[error("the answer is to another complaint")]
    OtherComplaint,
    /// The key shown is not the complaint's.
    #[error("the private key shown does not belong to the complaint's one-time key")]
    OtherKey,
    /// The one-time key takes no answers.
    #[error(transparent)]
    Key(#[from] OneTimeError),
    /// Signature or form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Encoding.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The share that two parties both hold: x_{i+1} is P_i's second and P_{i+1}'s first.
pub(super) fn common_share(one: Role, other: Role) -> Role {
    if one.next() == other { other } else { one }
}

/// A checked complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) election: ElectionId,
    pub(super) of_box: BoxId,
    pub(super) complainant: Role,
    pub(super) accused: Role,
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    pub(super) one_time_key: [u8; 32],
}

impl Complaint {
    /// Signs it as the complainant.
    pub(super) fn sign(&self, signer: &Signer) -> Envelope {
        let payload = wire::Complaint {
            election: self.election.as_str().to_owned(),
            r#box: self.of_box.get(),
            complainant: self.complainant.number(),
            accused: self.accused.number(),
            digest: self.digest.0.to_vec(),
            record: self.kind == Kind::Record,
            one_time_key: self.one_time_key.to_vec(),
        };
        signer.seal_envelope(Signed::Complaint, payload.encode_to_vec())
    }

    /// Election and box that an unverified complaint names: where to look for the keys that verify it.
    pub(super) fn place(envelope: &Envelope) -> Result<(String, u32), ComplaintError> {
        let raw: wire::Complaint = decode_canonical("complaint", envelope.payload(), MAX_BYTES)?;
        Ok((raw.election, raw.r#box))
    }

    /// Checks form and the complainant's signature; `keys` in party order.
    pub(super) fn open(envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<Self, ComplaintError> {
        let raw: wire::Complaint = decode_canonical("complaint", envelope.payload(), MAX_BYTES)?;
        let subject = |_| ComplaintError::Subject;
        let complaint = Self {
            election: ElectionId::new(&raw.election).map_err(|_| ComplaintError::Subject)?,
            of_box: BoxId(raw.r#box),
            complainant: Role::from_number(raw.complainant).map_err(subject)?,
            accused: Role::from_number(raw.accused).map_err(subject)?,
            kind: if raw.record { Kind::Record } else { Kind::Ballot },
            digest: Digest::from_slice(&raw.digest).map_err(subject)?,
            one_time_key: raw
                .one_time_key
                .as_slice()
                .try_into()
                .map_err(|_| OneTimeError::Key)?,
        };
        if complaint.complainant == complaint.accused {
            return Err(ComplaintError::Subject);
        }
        verify_one(envelope, Signed::Complaint, &keys[complaint.complainant.slot()])?;
        Ok(complaint)
    }
}

/// The accused's signed answer.
pub(super) fn answer(
    complaint: Hash32,
    accused: Role,
    one_time_key: &[u8; 32],
    opening: &Opening,
    signer: &Signer,
    rng: &mut impl CryptoRng,
) -> Result<Envelope, ComplaintError> {
    let sealed = seal_answer(one_time_key, &complaint, opening, rng)?;
    let payload = wire::ComplaintAnswer {
        complaint_hash: complaint.0.to_vec(),
        party: accused.number(),
        sealed,
    };
    Ok(signer.seal_envelope(Signed::Answer, payload.encode_to_vec()))
}

/// Checks that `envelope` is the answer of `accused` to `complaint`; gives what it sealed.
pub(super) fn open_answer(
    envelope: &Envelope,
    complaint: Hash32,
    accused: Role,
    keys: &[PublicKey; 3],
) -> Result<Vec<u8>, ComplaintError> {
    let raw: wire::ComplaintAnswer =
        decode_canonical("answer to a complaint", envelope.payload(), MAX_BYTES)?;
    verify_one(envelope, Signed::Answer, &keys[accused.slot()])?;
    if raw.party != accused.number() || raw.complaint_hash != complaint.0 {
        return Err(ComplaintError::OtherComplaint);
    }
    Ok(raw.sealed)
}

/// What the key shown to a mediator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The answer does not open the commitment: the accused.
    AnswerWrong,
    /// It does: the complainant.
    AnswerRight,
}

/// Opens the answer with the key shown and lets `opens` decide whether that opens the commitment.
pub(super) fn judge(
    complaint: &Complaint,
    complaint_hash: Hash32,
    sealed: &[u8],
    private_key: &[u8],
    opens: impl FnOnce(&Opening) -> bool,
) -> Result<Verdict, ComplaintError> {
    let key = OneTimeKey::from_bytes(private_key)?;
    if key.public() != complaint.one_time_key {
        return Err(ComplaintError::OtherKey);
    }
    match key.open(&complaint_hash, sealed) {
        Ok(opening) if opens(&opening) => Ok(Verdict::AnswerRight),
        Ok(_) | Err(_) => Ok(Verdict::AnswerWrong),
    }
}

/// Exactly one signature, of `key`.
pub(super) fn verify_one(envelope: &Envelope, kind: Signed, key: &PublicKey) -> Result<(), EnvelopeError> {
    match envelope.verify(kind, std::slice::from_ref(key))?.as_slice() {
        [true] => Ok(()),
        _ => Err(EnvelopeError::MissingSigner { kind, key: *key }),
    }
}
