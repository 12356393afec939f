//! Credential records: commitments to the three shares of a voter's credential, and who says whose it is.
//!
//! An *issued* record is of one election and names voter, registrar and half. A *card* record is of a register ([`crate::card`]), which many
//! elections may name: its header names nobody, and the certificate that its authorisation brings says through the roll of each election who
//! the voter is. A card record for an *open* roll ([`OpenPlace`]) is of one election, and names the number that its holder got there: P1 gives
//! numbers, so the card signs before there is one.
//!
//! ```text
//! issued:  digest = SHA-256(tag, election, box, v, serial, signed_at, c_1, c_2, c_3, half, halves, registrar's key)
//! card:    digest = SHA-256(tag', register, holder, serial, signed_at, c_1, c_2, c_3)     holder = SHA-256(tag'', nonce, certificate)
//! open:    signed = SHA-256(tag_s, election, box, register, holder, serial, signed_at, c_1, c_2, c_3)
//!          digest = SHA-256(tag_o, signed, v)
//! ```

use bytes::Bytes;

use crate::ballot::{MAX_CIPHERTEXT_BYTES, commitments};
use crate::card::{CardAuthorisation, CardError, MAX_AUTHORISATION_BYTES};
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{EnvelopeError, PublicKey, SignatureBytes, Signer};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, RegisterId, Role, UnixSeconds, VoterIndex};
use crate::layout::{Writer, tag};
use crate::manifest::{Manifest, Register};
use crate::reason::Reason;
use crate::receipt::{MAX_RECEIPT_BYTES, Receipt, ReceiptError};
use crate::shares::ShareContext;
use crate::wire;

/// Largest encoded record header in bytes.
pub const MAX_HEADER_BYTES: usize = 512;
/// Largest encoded record submission in bytes.
pub const MAX_SUBMISSION_BYTES: usize =
    MAX_HEADER_BYTES + MAX_CIPHERTEXT_BYTES + MAX_AUTHORISATION_BYTES + MAX_RECEIPT_BYTES + 256;

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
    /// A card record where an issued one belongs, or the other way round.
    #[error("this is {} record, {} one belongs here", if *.card { "a card" } else { "an issued" }, if *.card { "an issued" } else { "a card" })]
    OtherSource {
        /// It is a card record.
        card: bool,
    },
    /// Fields of an issued record beside those of a card record.
    #[error("a card record names no election, box, voter, half or registrar")]
    StrayFields,
    /// The certificate, the card's signature, or what they say.
    #[error(transparent)]
    Card(#[from] CardError),
    /// A record for an open roll where the roll is closed, or one for none where it is open.
    #[error("{}", if *.open { "this record is for an open roll, and the roll of this election is closed" } else { "the roll of this election is open: voters enrol for it by card, with a record that names the election" })]
    Roll {
        /// The record is for an open roll.
        open: bool,
    },
    /// A record for an open roll has no number where it needs one, or has one where P1 is to give it.
    #[error("a record for an open roll {}", if *.given { "is brought to P1 without a number and without a receipt for one: P1 gives it" } else { "needs the number that P1 gave, and P1's receipt for it" })]
    Number {
        /// It has one.
        given: bool,
    },
    /// P1's receipt.
    #[error("the receipt that should say who gave the number: {0}")]
    Numbered(#[from] ReceiptError),
    /// A receipt of another party, or for another record.
    #[error("the receipt that should say who gave the number is not P1's for this record")]
    OtherReceipt,
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
            Self::OtherSource { .. } => Reason::RecordSource,
            Self::StrayFields => Reason::MessageMalformed,
            Self::Card(error) => error.reason(),
            Self::Roll { .. } => Reason::RollKind,
            Self::Number { .. } | Self::Numbered(_) | Self::OtherReceipt => Reason::RollNumberGiver,
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

/// What an issued record says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issue {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// The voter.
    pub voter: VoterIndex,
    /// Which part of the credential.
    pub half: Half,
    /// Who issued it.
    pub registrar: PublicKey,
}

/// What a card record says of itself. Nobody's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardMark {
    /// The register.
    pub register: RegisterId,
    /// Commitment to the certificate: see [`crate::card::holder`].
    pub holder: Hash32,
    /// Of a record for an open roll.
    pub place: Option<OpenPlace>,
}

/// The open roll that a card record is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenPlace {
    /// The election, the only one that the record is for.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// The number that P1 gave the holder; `None` until then.
    pub voter: Option<VoterIndex>,
}

/// Where a credential comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A registrar generated it, for one election.
    Issued(Issue),
    /// The voter's device did, for every election of a register.
    Card(CardMark),
}

/// The parts of a [`RecordHeader`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordParts {
    /// Where the credential comes from.
    pub source: Source,
    /// Highest stands.
    pub serial: u32,
    /// When it was issued, or signed by the card.
    pub signed_at: UnixSeconds,
    /// c_1, c_2, c_3.
    pub commitments: [Hash32; 3],
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
        let source = match &wire.card {
            None => Source::Issued(Issue {
                election: ElectionId::new(&wire.election)?,
                of_box: BoxId(wire.r#box),
                voter: VoterIndex(wire.v),
                half: Half::new(wire.half, wire.halves)?,
                registrar: PublicKey::from_slice(&wire.registrar_key)?,
            }),
            Some(card) => {
                let numbers = [wire.r#box, wire.v, wire.half, wire.halves];
                if !wire.election.is_empty() || !wire.registrar_key.is_empty() || numbers != [0; 4] {
                    return Err(RecordError::StrayFields);
                }
                let place = |place: &wire::OpenPlace| {
                    Ok::<_, RecordError>(OpenPlace {
                        election: ElectionId::new(&place.election)?,
                        of_box: BoxId(place.r#box),
                        voter: place.v.map(VoterIndex),
                    })
                };
                Source::Card(CardMark {
                    register: RegisterId::new(&card.register)?,
                    holder: Hash32::from_slice(&card.holder)?,
                    place: card.place.as_ref().map(place).transpose()?,
                })
            }
        };
        Ok(Self(RecordParts {
            source,
            serial: wire.serial,
            signed_at: UnixSeconds(wire.signed_at_s),
            commitments: commitments(&wire.c1, &wire.c2, &wire.c3)?,
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
        let common = wire::RecordHeader {
            serial: self.serial,
            signed_at_s: self.signed_at.get(),
            c1,
            c2,
            c3,
            ..Default::default()
        };
        match &self.source {
            Source::Issued(issue) => wire::RecordHeader {
                election: issue.election.as_str().into(),
                r#box: issue.of_box.get(),
                v: issue.voter.get(),
                half: issue.half.number(),
                halves: issue.half.of(),
                registrar_key: issue.registrar.as_bytes().to_vec(),
                ..common
            },
            Source::Card(card) => wire::RecordHeader {
                card: Some(wire::CardMark {
                    register: card.register.as_str().into(),
                    holder: card.holder.0.to_vec(),
                    place: card.place.as_ref().map(|place| wire::OpenPlace {
                        election: place.election.as_str().into(),
                        r#box: place.of_box.get(),
                        v: place.voter.map(VoterIndex::get),
                    }),
                }),
                ..common
            },
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// SHA-256 of the fixed layout of its source: see the module. Of a record for an open roll that has no number yet it is
    /// [`RecordHeader::signed_digest`].
    pub fn digest(&self) -> Digest {
        let signed = self.signed_digest();
        match self.open_place().and_then(|place| place.voter) {
            None => signed,
            Some(v) => {
                let layout = Writer::new(tag::OPEN_RECORD).fixed(&signed.0).u32(v.get());
                Digest(layout.sha256().0)
            }
        }
    }

    /// What its authority signs, and what the ciphertexts of its shares are bound to: the digest, but of a record for an open roll without the
    /// number.
    pub fn signed_digest(&self) -> Digest {
        let common = |layout: Writer| {
            let [c1, c2, c3] = &self.commitments;
            layout
                .u32(self.serial)
                .u64(self.signed_at.get())
                .fixed(&c1.0)
                .fixed(&c2.0)
                .fixed(&c3.0)
        };
        let layout = match &self.source {
            Source::Issued(issue) => {
                let place = Writer::new(tag::RECORD)
                    .election(&issue.election)
                    .ballot_box(issue.of_box)
                    .u32(issue.voter.get());
                common(place)
                    .u32(issue.half.number())
                    .u32(issue.half.of())
                    .fixed(issue.registrar.as_bytes())
            }
            Source::Card(card) => {
                let begin = match &card.place {
                    None => Writer::new(tag::CARD_RECORD),
                    Some(open) => Writer::new(tag::OPEN_CARD_RECORD)
                        .election(&open.election)
                        .ballot_box(open.of_box),
                };
                common(begin.text(card.register.as_str()).fixed(&card.holder.0))
            }
        };
        Digest(layout.sha256().0)
    }

    /// Whether a card authorises it, not a registrar.
    pub const fn is_card(&self) -> bool {
        matches!(self.0.source, Source::Card(_))
    }

    /// Of an issued record, what it says of itself.
    pub const fn issue(&self) -> Option<&Issue> {
        match &self.0.source {
            Source::Issued(issue) => Some(issue),
            Source::Card(_) => None,
        }
    }

    /// Of a card record, what it says of itself.
    pub const fn card(&self) -> Option<&CardMark> {
        match &self.0.source {
            Source::Issued(_) => None,
            Source::Card(card) => Some(card),
        }
    }

    /// Of a card record for an open roll, which one and where on it.
    pub fn open_place(&self) -> Option<&OpenPlace> {
        self.card()?.place.as_ref()
    }

    /// The same record with the number `voter` on its open roll; itself where it is for none.
    #[must_use]
    pub fn numbered(&self, voter: VoterIndex) -> Self {
        let mut parts = self.0.clone();
        if let Source::Card(CardMark {
            place: Some(place), ..
        }) = &mut parts.source
        {
            place.voter = Some(voter);
        }
        Self(parts)
    }

    /// What the commitments of its shares are bound to.
    pub fn context(&self) -> ShareContext<'_> {
        match &self.source {
            Source::Issued(issue) => ShareContext::credential(&issue.election, issue.of_box),
            Source::Card(card) => ShareContext::card(&card.register),
        }
    }

    /// Checks that election, box, voter and registrar of an issued record are those of `manifest`.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn check_place(&self, manifest: &Manifest) -> Result<&Issue, RecordError> {
        let issue = self.issue().ok_or(RecordError::OtherSource { card: true })?;
        if issue.election != *manifest.election() {
            return Err(RecordError::OtherElection(issue.election.clone()));
        }
        let of_box = manifest
            .ballot_box(issue.of_box)
            .ok_or(RecordError::UnknownBox(issue.of_box))?;
        if of_box.open().is_some() {
            return Err(RecordError::Roll { open: false });
        }
        if issue.voter.get() >= of_box.voters() {
            let (of_box, voters) = (issue.of_box, of_box.voters());
            return Err(RecordError::UnknownVoter {
                of_box,
                voter: issue.voter,
                voters,
            });
        }
        let (expected, actual) = (manifest.halves(), issue.half.of());
        if expected != actual {
            return Err(RecordError::OtherHalves { expected, actual });
        }
        match manifest.registrars().get(issue.half.number() as usize) {
            Some(registrar) if registrar.signing_key() == issue.registrar => Ok(issue),
            _ => Err(RecordError::OtherRegistrar(issue.registrar)),
        }
    }

    /// Checks that a card record is of the register of `manifest`, that its serial and time are such as this register takes, and that it is for
    /// an open roll exactly where the election has one; a number is below the most that the roll can have.
    ///
    /// # Errors
    /// [`RecordError::OtherSource`], [`RecordError::Card`], [`RecordError::Roll`], [`RecordError::OtherElection`], [`RecordError::UnknownBox`],
    /// [`RecordError::UnknownVoter`].
    pub fn check_register<'m>(&self, manifest: &'m Manifest) -> Result<&'m Register, RecordError> {
        let card = self.card().ok_or(RecordError::OtherSource { card: false })?;
        let register = manifest.register().ok_or(CardError::NoRegister)?;
        if card.register != *register.id() {
            let (expected, actual) = (register.id().clone(), card.register.clone());
            return Err(CardError::OtherRegister { expected, actual }.into());
        }
        // A device that lost its memory still finds a higher serial, and nobody can use serials up.
        if u64::from(self.serial) != self.signed_at.get() {
            return Err(CardError::Serial.into());
        }
        match (manifest.open_box(), &card.place) {
            (None, None) => {}
            (None, Some(_)) => return Err(RecordError::Roll { open: true }),
            (Some(_), None) => return Err(RecordError::Roll { open: false }),
            (Some(of_box), Some(place)) => {
                if place.election != *manifest.election() {
                    return Err(RecordError::OtherElection(place.election.clone()));
                }
                if place.of_box != of_box.id() {
                    return Err(RecordError::UnknownBox(place.of_box));
                }
                if let Some(voter) = place.voter.filter(|v| v.get() >= of_box.voters()) {
                    let (of_box, voters) = (of_box.id(), of_box.voters());
                    return Err(RecordError::UnknownVoter {
                        of_box,
                        voter,
                        voters,
                    });
                }
            }
        }
        Ok(register)
    }

    /// Checks that `receipt` is P1's for this record, which has a number: that P1 gave it. Returns the receipt, whose signature is good.
    ///
    /// # Errors
    /// [`RecordError::Number`], [`RecordError::Numbered`], [`RecordError::OtherReceipt`].
    pub fn check_numbered<'r>(
        &self,
        receipt: Option<&'r Receipt>,
        keys: &[PublicKey; 3],
    ) -> Result<&'r Receipt, RecordError> {
        let place = self.open_place().ok_or(RecordError::Roll { open: false })?;
        let (Some(_), Some(receipt)) = (place.voter, receipt) else {
            return Err(RecordError::Number { given: false });
        };
        let stated = receipt.unverified();
        let own = (&place.election, place.of_box, self.digest(), Role::P1);
        if (&stated.election, stated.of_box, stated.digest, stated.party) != own {
            return Err(RecordError::OtherReceipt);
        }
        receipt.verify(keys)?;
        Ok(receipt)
    }

    /// Checks the registrar's signature over the digest of an issued record. That the key is the right registrar's is
    /// [`RecordHeader::check_place`]'s business.
    ///
    /// # Errors
    /// [`RecordError::OtherSource`], [`RecordError::BadAuthorisation`].
    pub fn check_authorisation(
        &self,
        digest: &Digest,
        authorisation: &SignatureBytes,
    ) -> Result<(), RecordError> {
        let issue = self.issue().ok_or(RecordError::OtherSource { card: true })?;
        let layout = Writer::new(tag::AUTHORISATION).fixed(&digest.0);
        if issue.registrar.verify(layout.as_bytes(), authorisation) {
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

/// What makes a record the voter's: a registrar's signature, or a card's with its certificates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Authorisation {
    /// Of an issued record.
    Registrar(SignatureBytes),
    /// Of a card record.
    Card(Box<CardAuthorisation>),
}

impl Authorisation {
    /// From the bytes that travel with `header`.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(header: &RecordHeader, bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(if header.is_card() {
            Self::Card(Box::new(CardAuthorisation::decode(bytes)?))
        } else {
            Self::Registrar(SignatureBytes::from_slice(bytes)?)
        })
    }

    /// Those bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Registrar(signature) => signature.0.to_vec(),
            Self::Card(card) => card.encode(),
        }
    }
}

/// What of a record's authorisation is public: who stands for it. Certificates are not: they name people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endorsement {
    /// The registrar, by its signature.
    Registrar(SignatureBytes),
    /// The three parties, who checked the card and found this voter on the roll.
    Card(VoterIndex),
}

/// A record as one party is sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordSubmission {
    header: RecordHeader,
    digest: Digest,
    authorisation: Authorisation,
    ciphertext: Bytes,
    election: Option<ElectionId>,
    numbered: Option<Receipt>,
}

impl RecordSubmission {
    /// An issued record from its parts.
    ///
    /// # Errors
    /// [`RecordError::Ciphertext`], [`RecordError::OtherSource`].
    pub fn new(
        header: RecordHeader,
        authorisation: SignatureBytes,
        ciphertext: impl Into<Bytes>,
    ) -> Result<Self, RecordError> {
        if header.is_card() {
            return Err(RecordError::OtherSource { card: true });
        }
        Self::of(
            header,
            Authorisation::Registrar(authorisation),
            ciphertext.into(),
            None,
        )
    }

    /// A card record from its parts, brought to `election`, one of those that it is for.
    ///
    /// # Errors
    /// [`RecordError::Ciphertext`], [`RecordError::OtherSource`].
    pub fn of_card(
        header: RecordHeader,
        authorisation: CardAuthorisation,
        ciphertext: impl Into<Bytes>,
        election: ElectionId,
    ) -> Result<Self, RecordError> {
        if !header.is_card() {
            return Err(RecordError::OtherSource { card: false });
        }
        let authorisation = Authorisation::Card(Box::new(authorisation));
        Self::of(header, authorisation, ciphertext.into(), Some(election))
    }

    fn of(
        header: RecordHeader,
        authorisation: Authorisation,
        ciphertext: Bytes,
        election: Option<ElectionId>,
    ) -> Result<Self, RecordError> {
        if ciphertext.len() > MAX_CIPHERTEXT_BYTES {
            return Err(RecordError::Ciphertext(ciphertext.len()));
        }
        Ok(Self {
            digest: header.digest(),
            header,
            authorisation,
            ciphertext,
            election,
            numbered: None,
        })
    }

    /// The same for P2 or P3: with the number that P1 gave, and P1's receipt.
    #[must_use]
    pub fn numbered_by(self, voter: VoterIndex, receipt: Receipt) -> Self {
        let header = self.header.numbered(voter);
        Self {
            digest: header.digest(),
            header,
            numbered: Some(receipt),
            ..self
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_wire(wire: wire::RecordSubmission) -> Result<Self, RecordError> {
        let header = RecordHeader::from_wire(wire.header.as_ref().ok_or(RecordError::NoHeader)?)?;
        let authorisation = Authorisation::decode(&header, &wire.authorisation)?;
        let election = match (header.is_card(), wire.election.as_str()) {
            (true, id) => Some(ElectionId::new(id)?),
            (false, "") => None,
            (false, _) => return Err(RecordError::StrayFields),
        };
        let numbered = wire.numbered.as_ref().map(Receipt::from_wire).transpose()?;
        if numbered.is_some() && header.open_place().is_none() {
            return Err(RecordError::StrayFields);
        }
        let submission = Self::of(header, authorisation, wire.ciphertext, election)?;
        Ok(Self {
            numbered,
            ..submission
        })
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
            authorisation: self.authorisation.encode(),
            ciphertext: self.ciphertext.clone(),
            election: self
                .election
                .as_ref()
                .map(|id| id.as_str().to_owned())
                .unwrap_or_default(),
            numbered: self.numbered.as_ref().map(Receipt::to_wire),
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
    /// Of a record for an open roll, P1's receipt for it.
    pub fn numbered(&self) -> Option<&Receipt> {
        self.numbered.as_ref()
    }
    /// The registrar's signature, of an issued record.
    pub fn registrar_signature(&self) -> Option<&SignatureBytes> {
        match &self.authorisation {
            Authorisation::Registrar(signature) => Some(signature),
            Authorisation::Card(_) => None,
        }
    }
    /// The registrar's signature, or the card's.
    pub fn authorisation(&self) -> &Authorisation {
        &self.authorisation
    }
    /// The election that it is brought to.
    pub fn election(&self) -> Option<&ElectionId> {
        match (&self.election, self.header.issue()) {
            (Some(election), _) => Some(election),
            (None, issue) => issue.map(|issue| &issue.election),
        }
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
