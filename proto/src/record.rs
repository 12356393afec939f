//! Credential records: whose, by which registrar, which half, with commitments to the credential's three shares.

use bytes::Bytes;

use crate::ballot::{MAX_CIPHERTEXT_BYTES, commitments};
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{EnvelopeError, PublicKey, SignatureBytes, Signer};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, UnixSeconds, VoterIndex};
use crate::layout::{Writer, tag};
use crate::manifest::Manifest;
use crate::reason::Reason;
use crate::wire;

/// Largest encoded record header in bytes.
pub const MAX_HEADER_BYTES: usize = 512;
/// Largest encoded record submission in bytes.
pub const MAX_SUBMISSION_BYTES: usize = MAX_HEADER_BYTES + MAX_CIPHERTEXT_BYTES + 256;

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An id or a commitment.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A key or a signature's form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No header.
    #[error("the submission has no header")]
    NoHeader,
    /// Halves are 1 or 2.
    #[error("half {half} of {halves} is no half: 0 of 1, 0 of 2 or 1 of 2")]
    Half {
        /// The half.
        half: u32,
        /// Of how many.
        halves: u32,
    },
    /// Too large a ciphertext.
    #[error("a ciphertext has at most {MAX_CIPHERTEXT_BYTES} bytes, this has {0}")]
    Ciphertext(usize),
    /// Of another election.
    #[error("the record is for election {0}, not for this one")]
    OtherElection(ElectionId),
    /// No such box.
    #[error("the election has no box {0}")]
    UnknownBox(BoxId),
    /// Beyond the roll.
    #[error("box {of_box} has no voter {voter}: its roll ends at {}", voters.saturating_sub(1))]
    UnknownVoter {
        /// The box.
        of_box: BoxId,
        /// The voter.
        voter: VoterIndex,
        /// N.
        voters: u32,
    },
    /// The manifest splits issuing otherwise.
    #[error("the manifest issues credentials in {expected} halves, the record says {actual}")]
    OtherHalves {
        /// The manifest's.
        expected: u32,
        /// The record's.
        actual: u32,
    },
    /// Not the registrar of this half.
    #[error("registrar key {} is not that of the registrar who issues this half", .0.short())]
    OtherRegistrar(PublicKey),
    /// The registrar's signature does not verify.
    #[error("the registrar's signature over the record does not verify")]
    BadAuthorisation,
}

impl RecordError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Id(_) | Self::Envelope(_) | Self::NoHeader => Reason::MessageMalformed,
            Self::Half { .. } | Self::OtherHalves { .. } => Reason::RecordHalves,
            Self::Ciphertext(_) => Reason::MessageTooLarge,
            Self::OtherElection(_) => Reason::ElectionOther,
            Self::UnknownBox(_) => Reason::BoxUnknown,
            Self::UnknownVoter { .. } => Reason::VoterUnknown,
            Self::OtherRegistrar(_) | Self::BadAuthorisation => Reason::RecordAuthorisation,
        }
    }
}

/// Which part of a credential a record carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Half {
    half: u32,
    halves: u32,
}

impl Half {
    /// The whole credential, from one registrar.
    pub const WHOLE: Self = Self { half: 0, halves: 1 };

    /// Half `half` (from 0) of `halves`.
    ///
    /// # Errors
    /// [`RecordError::Half`].
    pub const fn new(half: u32, halves: u32) -> Result<Self, RecordError> {
        if halves >= 1 && halves <= 2 && half < halves {
            Ok(Self { half, halves })
        } else {
            Err(RecordError::Half { half, halves })
        }
    }

    /// Its number, from 0.
    pub const fn number(self) -> u32 {
        self.half
    }
    /// Of how many.
    pub const fn of(self) -> u32 {
        self.halves
    }
    /// Whether it is all of the credential.
    pub const fn is_whole(self) -> bool {
        self.halves == 1
    }
}

/// The parts of a [`RecordHeader`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordParts {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// The voter.
    pub voter: VoterIndex,
    /// Highest stands.
    pub serial: u32,
    /// When it was issued.
    pub signed_at: UnixSeconds,
    /// c_1, c_2, c_3.
    pub commitments: [Hash32; 3],
    /// Which part of the credential.
    pub half: Half,
    /// Who issued it.
    pub registrar: PublicKey,
}

/// The public part of a credential record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordHeader(RecordParts);

impl std::ops::Deref for RecordHeader {
    type Target = RecordParts;
    fn deref(&self) -> &RecordParts {
        &self.0
    }
}

impl RecordHeader {
    /// From its parts, each of which is already checked.
    pub const fn new(parts: RecordParts) -> Self {
        Self(parts)
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_wire(wire: &wire::RecordHeader) -> Result<Self, RecordError> {
        Ok(Self(RecordParts {
            election: ElectionId::new(&wire.election)?,
            of_box: BoxId(wire.r#box),
            voter: VoterIndex(wire.v),
            serial: wire.serial,
            signed_at: UnixSeconds(wire.signed_at_s),
            commitments: commitments(&wire.c1, &wire.c2, &wire.c3)?,
            half: Half::new(wire.half, wire.halves)?,
            registrar: PublicKey::from_slice(&wire.registrar_key)?,
        }))
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::from_wire(&decode_canonical("record header", bytes, MAX_HEADER_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::RecordHeader {
        let [c1, c2, c3] = self.commitments.map(|c| c.0.to_vec());
        wire::RecordHeader {
            election: self.election.as_str().into(),
            r#box: self.of_box.get(),
            v: self.voter.get(),
            serial: self.serial,
            signed_at_s: self.signed_at.get(),
            c1,
            c2,
            c3,
            half: self.half.number(),
            halves: self.half.of(),
            registrar_key: self.registrar.as_bytes().to_vec(),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// SHA-256 of (tag, election, box, v, serial, signed_at, c_1, c_2, c_3, half, halves, registrar's key).
    pub fn digest(&self) -> Digest {
        let [c1, c2, c3] = &self.commitments;
        let layout = Writer::new(tag::RECORD)
            .election(&self.election)
            .ballot_box(self.of_box)
            .u32(self.voter.get())
            .u32(self.serial)
            .u64(self.signed_at.get())
            .fixed(&c1.0)
            .fixed(&c2.0)
            .fixed(&c3.0)
            .u32(self.half.number())
            .u32(self.half.of())
            .fixed(self.registrar.as_bytes());
        Digest(layout.sha256().0)
    }

    /// Checks that election, box, voter and registrar are those of `manifest`.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn check_place(&self, manifest: &Manifest) -> Result<(), RecordError> {
        if self.election != *manifest.election() {
            return Err(RecordError::OtherElection(self.election.clone()));
        }
        let of_box = manifest
            .ballot_box(self.of_box)
            .ok_or(RecordError::UnknownBox(self.of_box))?;
        if self.voter.get() >= of_box.voters() {
            let (of_box, voters) = (self.of_box, of_box.voters());
            return Err(RecordError::UnknownVoter {
                of_box,
                voter: self.voter,
                voters,
            });
        }
        let (expected, actual) = (manifest.halves(), self.half.of());
        if expected != actual {
            return Err(RecordError::OtherHalves { expected, actual });
        }
        match manifest.registrars().get(self.half.number() as usize) {
            Some(registrar) if registrar.signing_key() == self.registrar => Ok(()),
            _ => Err(RecordError::OtherRegistrar(self.registrar)),
        }
    }

    /// Checks the registrar's signature over the digest. That the key is the right registrar's is [`RecordHeader::check_place`]'s
    /// business.
    ///
    /// # Errors
    /// [`RecordError::BadAuthorisation`].
    pub fn check_authorisation(
        &self,
        digest: &Digest,
        authorisation: &SignatureBytes,
    ) -> Result<(), RecordError> {
        let layout = Writer::new(tag::AUTHORISATION).fixed(&digest.0);
        if self.registrar.verify(layout.as_bytes(), authorisation) {
            Ok(())
        } else {
            Err(RecordError::BadAuthorisation)
        }
    }
}

/// A registrar's signature over a record's digest.
pub fn authorise(signer: &Signer, digest: &Digest) -> SignatureBytes {
    signer.sign_layout(&Writer::new(tag::AUTHORISATION).fixed(&digest.0))
}

/// A record as one party is sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordSubmission {
    header: RecordHeader,
    digest: Digest,
    authorisation: SignatureBytes,
    ciphertext: Bytes,
}

impl RecordSubmission {
    /// From its parts.
    ///
    /// # Errors
    /// [`RecordError::Ciphertext`].
    pub fn new(
        header: RecordHeader,
        authorisation: SignatureBytes,
        ciphertext: impl Into<Bytes>,
    ) -> Result<Self, RecordError> {
        let ciphertext = ciphertext.into();
        if ciphertext.len() > MAX_CIPHERTEXT_BYTES {
            return Err(RecordError::Ciphertext(ciphertext.len()));
        }
        Ok(Self {
            digest: header.digest(),
            header,
            authorisation,
            ciphertext,
        })
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_wire(wire: wire::RecordSubmission) -> Result<Self, RecordError> {
        let header = RecordHeader::from_wire(wire.header.as_ref().ok_or(RecordError::NoHeader)?)?;
        Self::new(
            header,
            SignatureBytes::from_slice(&wire.authorisation)?,
            wire.ciphertext,
        )
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::from_wire(decode_canonical(
            "record submission",
            bytes,
            MAX_SUBMISSION_BYTES,
        )?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::RecordSubmission {
        wire::RecordSubmission {
            header: Some(self.header.to_wire()),
            authorisation: self.authorisation.0.to_vec(),
            ciphertext: self.ciphertext.clone(),
        }
    }

    /// The header.
    pub fn header(&self) -> &RecordHeader {
        &self.header
    }
    /// The header's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
    /// The registrar's signature.
    pub fn authorisation(&self) -> &SignatureBytes {
        &self.authorisation
    }
    /// What only one party can open.
    pub fn ciphertext(&self) -> &Bytes {
        &self.ciphertext
    }
    /// SHA-256 of the ciphertext, as receipts name it.
    pub fn ciphertext_hash(&self) -> Hash32 {
        Hash32::of(&self.ciphertext)
    }
}

#[cfg(test)]
mod tests;
