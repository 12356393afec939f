//! Complaints: how three parties find out which of two lies about a share, without trusting anyone's word and without anyone learning
//! a share it is not entitled to.
//!
//! P_j filled a candidate (one that it did not accept, or that it accepted and lost with its disk) and the share that the sender S gave does not
//! open the commitment, or S gave none. Only P_j has seen that, so P_j's word would stand against S's. Instead:
//!
//! 1. P_j makes a one-time HPKE key *for that digest* and signs it in a Complaint. It goes to the third party M.
//! 2. M sees that S accepted the candidate (that follows from Lists and Claims) and that the key takes answers, and asks S. S seals
//!    (nonce, share) to the one-time key and signs that. M has seen S's signature and hands the answer on.
//!    S need not judge the complaint: P_j is entitled to that share of every ballot, so false requests learn nothing.
//! 3. *No answer*: M signs that S is silent, P_j says so too: S is named by two, **stated**.
//! 4. The answer opens the commitment: P_j takes it and goes on. Nobody is named for one; a party that does so time and again is told of by P_j
//!    (stated: a broken link looks alike). Complaints run side by side, so late answers hold up many candidates at once and not each for itself.
//! 5. It does not: P_j shows M the one-time private key. M opens the answer itself. Either the opening fails the commitment, then S
//!    signed a wrong answer; or it opens it, then P_j complained falsely. One of the two is named, **proved** to anyone by complaint,
//!    answer, key and header.
//!
//! The key is shown only when the answer was wrong, so an honest party never lets M see a share. M relays, and cannot read or alter.

use prost::Message as _;
use rand_core::CryptoRng;

use crate::ballot::BallotHeader;
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind as Signed, PublicKey, Signer};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, Role, RoleExt as _};
use crate::manifest::Manifest;
use crate::one_time::{OneTimeError, OneTimeKey, seal_answer};
use crate::record::RecordHeader;
use crate::shares::{Opening, ShareContext};
use crate::wire;

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
pub fn common_share(one: Role, other: Role) -> Role {
    if one.next() == other { other } else { one }
}

/// A checked complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Who complains.
    pub complainant: Role,
    /// Who is to answer.
    pub accused: Role,
    /// Whether it is about a record, not a ballot.
    pub record: bool,
    /// The ballot or record whose share is missing.
    pub digest: Digest,
    /// To which the share is to be sealed.
    pub one_time_key: [u8; 32],
}

impl Complaint {
    /// Signs it as the complainant.
    pub fn sign(&self, signer: &Signer) -> Envelope {
        let payload = wire::Complaint {
            election: self.election.as_str().to_owned(),
            r#box: self.of_box.get(),
            complainant: self.complainant.number(),
            accused: self.accused.number(),
            digest: self.digest.0.to_vec(),
            record: self.record,
            one_time_key: self.one_time_key.to_vec(),
        };
        signer.seal_envelope(Signed::Complaint, payload.encode_to_vec())
    }

    /// Election and box that an unverified complaint names: where to look for the keys that verify it.
    ///
    /// # Errors
    /// Bytes that are no complaint.
    pub fn place(envelope: &Envelope) -> Result<(String, u32), ComplaintError> {
        let raw: wire::Complaint = decode_canonical("complaint", envelope.payload(), MAX_BYTES)?;
        Ok((raw.election, raw.r#box))
    }

    /// Checks form and the complainant's signature; `keys` in party order.
    ///
    /// # Errors
    /// [`ComplaintError`].
    pub fn open(envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<Self, ComplaintError> {
        let raw: wire::Complaint = decode_canonical("complaint", envelope.payload(), MAX_BYTES)?;
        let subject = |_| ComplaintError::Subject;
        let complaint = Self {
            election: ElectionId::new(&raw.election).map_err(|_| ComplaintError::Subject)?,
            of_box: BoxId(raw.r#box),
            complainant: Role::from_number(raw.complainant).map_err(subject)?,
            accused: Role::from_number(raw.accused).map_err(subject)?,
            record: raw.record,
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
///
/// # Errors
/// A one-time key that takes no answers.
pub fn answer(
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
///
/// # Errors
/// [`ComplaintError`].
pub fn open_answer(
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
pub enum Verdict {
    /// The answer does not open the commitment: the accused.
    AnswerWrong,
    /// It does: the complainant.
    AnswerRight,
}

/// Opens the answer with the key shown and lets `opens` decide whether that opens the commitment.
///
/// # Errors
/// A key that is not the complaint's.
pub fn judge(
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
///
/// # Errors
/// Another one, or none.
pub fn verify_one(envelope: &Envelope, kind: Signed, key: &PublicKey) -> Result<(), EnvelopeError> {
    match envelope.verify(kind, std::slice::from_ref(key))?.as_slice() {
        [true] => Ok(()),
        _ => Err(EnvelopeError::MissingSigner { kind, key: *key }),
    }
}

/// Whom complaint, answer and the key shown convict of a lie about a share of box `of_box`: the accused of a wrong answer, or the complainant of a
/// false complaint. `about`: the public part of what the complaint names.
///
/// # Errors
/// [`ComplaintError`]: they do not belong together, or to this box. Then they prove nothing.
pub fn convicted(
    manifest: &Manifest,
    of_box: BoxId,
    complaint: &Envelope,
    answer: &Envelope,
    private_key: &[u8],
    about: &wire::abort::Subject,
) -> Result<(Role, Verdict), ComplaintError> {
    let keys = manifest.party_keys();
    let (hash, complaint) = (complaint.hash(), Complaint::open(complaint, &keys)?);
    let sealed = open_answer(answer, hash, complaint.accused, &keys)?;
    let ballot_box = manifest.ballot_box(of_box).ok_or(ComplaintError::Subject)?;
    if complaint.election != *manifest.election() || complaint.of_box != of_box {
        return Err(ComplaintError::Subject);
    }
    let of = common_share(complaint.complainant, complaint.accused);
    let judged = |digest: Digest, record: bool, context: &ShareContext<'_>, commitments: &[Hash32; 3]| {
        if (digest, record) != (complaint.digest, complaint.record) {
            return Err(ComplaintError::Subject);
        }
        let opens = |opening: &Opening| context.check(of, opening, commitments).is_ok();
        judge(&complaint, hash, &sealed, private_key, opens)
    };
    let verdict = match about {
        wire::abort::Subject::Ballot(header) => {
            let header = BallotHeader::from_wire(header).map_err(|_| ComplaintError::Subject)?;
            let context = ShareContext::ballot(manifest.election(), ballot_box);
            judged(header.digest(), false, &context, header.commitments())?
        }
        wire::abort::Subject::Record(header) => {
            let header = RecordHeader::from_wire(header).map_err(|_| ComplaintError::Subject)?;
            judged(header.digest(), true, &header.context(), &header.commitments)?
        }
    };
    let named = match verdict {
        Verdict::AnswerWrong => complaint.accused,
        Verdict::AnswerRight => complaint.complainant,
    };
    Ok((named, verdict))
}
