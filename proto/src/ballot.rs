//! Ballots: the public header, its digest, the station's signature, and a submission to one party.

use bytes::Bytes;

use crate::calendar::ChannelKind;
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{EnvelopeError, PublicKey, SignatureBytes, Signer};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, Role, RoleExt as _, StationId, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::manifest::{BallotBox, Manifest};
use crate::reason::Reason;
use crate::ticket::{Ticket, TicketError, TicketKey, Use};
use crate::wire;

/// Largest encoded ballot header in bytes.
pub const MAX_HEADER_BYTES: usize = 1024;
/// Largest ciphertext in bytes.
pub const MAX_CIPHERTEXT_BYTES: usize = 8 << 10;
/// Largest encoded submission in bytes.
pub const MAX_SUBMISSION_BYTES: usize = MAX_HEADER_BYTES + MAX_CIPHERTEXT_BYTES + 256;

/// Why a ballot header or a submission was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BallotError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An id or a commitment.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A signature's form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No header.
    #[error("the submission has no header")]
    NoHeader,
    /// Unknown channel kind.
    #[error("channel kind {0} is not known")]
    Channel(i32),
    /// A ticket's form.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// No ticket where one is needed.
    #[error("an online ballot of this election names a ticket, this names none")]
    TicketMissing,
    /// A ticket where none is asked for.
    #[error("the ballot names a ticket, and this election has no key to check it with")]
    TicketUnasked,
    /// Of another day.
    #[error("the ticket is of the day that begins at {ticket}, the ballot was cast at {cast_at}")]
    TicketDay {
        /// The ticket's day.
        ticket: UnixSeconds,
        /// The ballot's moment.
        cast_at: UnixSeconds,
    },
    /// Not the coordinator's.
    #[error("the ticket is not signed with the coordinator's key of its day")]
    TicketBad,
    /// Not its owner's.
    #[error("{0}: the ticket's own key signs the ballot with all three ciphertexts")]
    TicketOwner(&'static str),
    /// Authority and channel do not fit.
    #[error(
        "a station and sequence number are named by station and paper ballots and by no other; this is of the {0} channel"
    )]
    Authority(ChannelKind),
    /// A station's ballot without its signature, or an online ballot with one.
    #[error(
        "a station's signature is carried by station and paper ballots and by no other; this is of the {0} channel"
    )]
    AuthoritySignature(ChannelKind),
    /// Hashes without a ticket.
    #[error("hashes of ciphertexts come with a ticket only, here are {0} without one")]
    StrayHashes(usize),
    /// A station numbers its ballots from 1.
    #[error("station {0} numbers its ballots of a box from 1, this has number 0")]
    Sequence(StationId),
    /// Too large a ciphertext.
    #[error("a ciphertext has at most {MAX_CIPHERTEXT_BYTES} bytes, this has {0}")]
    Ciphertext(usize),
    /// Of another election.
    #[error("the ballot is for election {0}, not for this one")]
    OtherElection(ElectionId),
    /// No such box.
    #[error("the election has no box {0}")]
    UnknownBox(BoxId),
    /// No such channel.
    #[error("the election has no {0} channel")]
    UnknownChannel(ChannelKind),
    /// No such station, or not for this box.
    #[error("station {station} is not one of box {of_box}")]
    UnknownStation {
        /// The station.
        station: StationId,
        /// The box.
        of_box: BoxId,
    },
    /// Outside the station's own hours.
    #[error("cast at {cast_at}, but station {station} has hours of its own and {}", next_opening(*opens))]
    StationClosed {
        /// The station.
        station: StationId,
        /// The ballot's moment.
        cast_at: UnixSeconds,
        /// When it opens next.
        opens: Option<UnixSeconds>,
    },
    /// The signature does not verify.
    #[error("the signature of station {0} over the digest does not verify")]
    BadAuthority(StationId),
}

impl BallotError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Id(_)
            | Self::Envelope(_)
            | Self::NoHeader
            | Self::Channel(_)
            | Self::Sequence(_)
            | Self::StrayHashes(_) => Reason::MessageMalformed,
            Self::Ticket(error) => error.reason(),
            Self::TicketMissing => Reason::TicketMissing,
            Self::TicketUnasked | Self::TicketBad => Reason::TicketBad,
            Self::TicketDay { .. } => Reason::TicketOtherDay,
            Self::TicketOwner(_) => Reason::TicketOwner,
            Self::Authority(_) | Self::AuthoritySignature(_) => Reason::BallotAuthorityMissing,
            Self::Ciphertext(_) => Reason::MessageTooLarge,
            Self::OtherElection(_) => Reason::ElectionOther,
            Self::UnknownBox(_) => Reason::BoxUnknown,
            Self::UnknownChannel(_) => Reason::ChannelUnknown,
            Self::UnknownStation { .. } => Reason::BallotStationUnknown,
            Self::StationClosed { .. } => Reason::BallotStationClosed,
            Self::BadAuthority(_) => Reason::BallotStationSignature,
        }
    }
}

fn next_opening(opens: Option<UnixSeconds>) -> String {
    opens.map_or_else(
        || "has closed for good".to_owned(),
        |opens| format!("opens at {opens}"),
    )
}

/// The place of a station's ballot in its own sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct StationMark {
    /// The station.
    pub station: StationId,
    /// The station's own number within this box: 1, 2, 3 ...
    pub sequence: u64,
}

/// The public part of a ballot. Says nothing of voter or choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BallotHeader {
    election: ElectionId,
    of_box: BoxId,
    channel: ChannelKind,
    cast_at: UnixSeconds,
    commitments: [Hash32; 3],
    authority: Option<Authority>,
}

/// Who stands for a ballot besides the voter.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Authority {
    Station(StationMark),
    Ticket(Box<Ticket>),
}

impl BallotHeader {
    /// Of an online ballot.
    pub fn online(
        election: ElectionId,
        of_box: BoxId,
        cast_at: UnixSeconds,
        commitments: [Hash32; 3],
    ) -> Self {
        Self {
            election,
            of_box,
            channel: ChannelKind::Online,
            cast_at,
            commitments,
            authority: None,
        }
    }

    /// The same online ballot with a ticket.
    #[must_use]
    pub fn with_ticket(self, ticket: Ticket) -> Self {
        Self {
            authority: Some(Authority::Ticket(Box::new(ticket))),
            ..self
        }
    }

    /// Of an electronic or (`paper`) a paper vote at a station.
    pub fn station(
        election: ElectionId,
        of_box: BoxId,
        paper: bool,
        cast_at: UnixSeconds,
        commitments: [Hash32; 3],
        mark: StationMark,
    ) -> Self {
        let channel = if paper {
            ChannelKind::Paper
        } else {
            ChannelKind::Station
        };
        Self {
            election,
            of_box,
            channel,
            cast_at,
            commitments,
            authority: Some(Authority::Station(mark)),
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`BallotError`].
    pub fn from_wire(wire: &wire::BallotHeader) -> Result<Self, BallotError> {
        let channel = ChannelKind::from_wire(wire.channel).ok_or(BallotError::Channel(wire.channel))?;
        let authority = match &wire.authority {
            None => None,
            Some(wire::ballot_header::Authority::Ticket(ticket)) => {
                Some(Authority::Ticket(Box::new(Ticket::from_wire(ticket)?)))
            }
            Some(wire::ballot_header::Authority::Station(s)) => Some(Authority::Station(StationMark {
                station: StationId(s.station),
                sequence: s.sequence,
            })),
        };
        if matches!(authority, Some(Authority::Station(_))) != channel.at_station() {
            return Err(BallotError::Authority(channel));
        }
        Ok(Self {
            election: ElectionId::new(&wire.election)?,
            of_box: BoxId(wire.r#box),
            channel,
            cast_at: UnixSeconds(wire.cast_at_s),
            commitments: commitments(&wire.c1, &wire.c2, &wire.c3)?,
            authority,
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`BallotError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BallotError> {
        Self::from_wire(&decode_canonical("ballot header", bytes, MAX_HEADER_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::BallotHeader {
        let [c1, c2, c3] = self.commitments.map(|c| c.0.to_vec());
        wire::BallotHeader {
            election: self.election.as_str().into(),
            r#box: self.of_box.get(),
            channel: self.channel.to_wire().into(),
            cast_at_s: self.cast_at.get(),
            c1,
            c2,
            c3,
            authority: self.authority.as_ref().map(|authority| match authority {
                Authority::Station(StationMark { station, sequence }) => {
                    let (station, sequence) = (station.get(), *sequence);
                    wire::ballot_header::Authority::Station(wire::StationAuthority { station, sequence })
                }
                Authority::Ticket(ticket) => wire::ballot_header::Authority::Ticket(ticket.to_wire()),
            }),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// SHA-256 of (tag, election, box, channel, cast_at, c_1, c_2, c_3, and 0, or 1 with station and sequence, or 2 with the ticket's key,
    /// day, randomizer and signature).
    pub fn digest(&self) -> Digest {
        let [c1, c2, c3] = &self.commitments;
        let layout = Writer::new(tag::BALLOT)
            .election(&self.election)
            .ballot_box(self.of_box)
            .u8(self.channel.number())
            .u64(self.cast_at.get())
            .fixed(&c1.0)
            .fixed(&c2.0)
            .fixed(&c3.0);
        let layout = match &self.authority {
            None => layout.u8(0),
            Some(Authority::Station(mark)) => layout.u8(1).u32(mark.station.get()).u64(mark.sequence),
            Some(Authority::Ticket(ticket)) => ticket.write(layout.u8(2)),
        };
        Digest(layout.sha256().0)
    }

    /// Checks that election, box, channel and station exist in `manifest`, and that there is a ticket of the day exactly where one is needed;
    /// checks no signature. Returns the box. Times are [`Channel::check`]'s business.
    ///
    /// # Errors
    /// [`BallotError`].
    ///
    /// [`Channel::check`]: crate::calendar::Channel::check
    pub fn check_place<'a>(&self, manifest: &'a Manifest) -> Result<&'a BallotBox, BallotError> {
        if self.election != *manifest.election() {
            return Err(BallotError::OtherElection(self.election.clone()));
        }
        let of_box = manifest
            .ballot_box(self.of_box)
            .ok_or(BallotError::UnknownBox(self.of_box))?;
        if manifest.channel(self.channel).is_none() {
            return Err(BallotError::UnknownChannel(self.channel));
        }
        if let Some(StationMark { station, .. }) = self.station_mark() {
            let identity = manifest
                .station(station)
                .filter(|identity| identity.serves(self.of_box))
                .ok_or(BallotError::UnknownStation {
                    station,
                    of_box: self.of_box,
                })?;
            if !identity.is_open(self.cast_at) {
                return Err(BallotError::StationClosed {
                    station,
                    cast_at: self.cast_at,
                    opens: identity.opens_after(self.cast_at),
                });
            }
        }
        self.check_ticket_day(manifest)?;
        Ok(of_box)
    }

    fn check_ticket_day(&self, manifest: &Manifest) -> Result<(), BallotError> {
        if self.channel.at_station() {
            return Ok(());
        }
        match (manifest.ticketing(), self.ticket()) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(BallotError::TicketUnasked),
            (Some(_), None) => Err(BallotError::TicketMissing),
            (Some(ticketing), Some(ticket)) => {
                let due = ticketing.key_at(self.cast_at).map(TicketKey::day);
                if due == Some(ticket.day()) {
                    Ok(())
                } else {
                    Err(BallotError::TicketDay {
                        ticket: ticket.day(),
                        cast_at: self.cast_at,
                    })
                }
            }
        }
    }

    /// Checks the authority: a station's ballot carries that station's signature over the digest, an online ballot carries none; its ticket,
    /// where the election asks for one, is signed with the coordinator's key of the day. Whether the ticket's owner cast the ballot is asked at
    /// intake: see [`Submission::check_owner`].
    ///
    /// # Errors
    /// [`BallotError::AuthoritySignature`], [`BallotError::UnknownStation`], [`BallotError::BadAuthority`], [`BallotError::TicketMissing`],
    /// [`BallotError::TicketUnasked`], [`BallotError::TicketDay`], [`BallotError::TicketBad`].
    pub fn check_authority(
        &self,
        digest: &Digest,
        signature: Option<&SignatureBytes>,
        manifest: &Manifest,
    ) -> Result<(), BallotError> {
        match (self.station_mark(), signature) {
            (None, None) => self.check_ticket(manifest),
            (Some(StationMark { station, .. }), Some(signature)) => {
                let unknown = BallotError::UnknownStation {
                    station,
                    of_box: self.of_box,
                };
                let key = manifest.station(station).ok_or(unknown)?.signing_key();
                if verify_authority(&key, digest, signature) {
                    Ok(())
                } else {
                    Err(BallotError::BadAuthority(station))
                }
            }
            _ => Err(BallotError::AuthoritySignature(self.channel)),
        }
    }

    fn check_ticket(&self, manifest: &Manifest) -> Result<(), BallotError> {
        self.check_ticket_day(manifest)?;
        let Some((ticketing, ticket)) = manifest.ticketing().zip(self.ticket()) else {
            return Ok(());
        };
        let signed = ticketing
            .key_at(self.cast_at)
            .is_some_and(|key| key.signed(&self.election, ticket));
        if signed {
            Ok(())
        } else {
            Err(BallotError::TicketBad)
        }
    }

    /// Its election.
    pub fn election(&self) -> &ElectionId {
        &self.election
    }
    /// Its box.
    pub fn of_box(&self) -> BoxId {
        self.of_box
    }
    /// Its channel.
    pub fn channel(&self) -> ChannelKind {
        self.channel
    }
    /// When it was cast.
    pub fn cast_at(&self) -> UnixSeconds {
        self.cast_at
    }
    /// c_1, c_2, c_3.
    pub fn commitments(&self) -> &[Hash32; 3] {
        &self.commitments
    }
    /// Where it stands in its station's sequence, if a station cast it.
    pub fn station_mark(&self) -> Option<StationMark> {
        match &self.authority {
            Some(Authority::Station(mark)) => Some(*mark),
            Some(Authority::Ticket(_)) | None => None,
        }
    }
    /// The ticket it names.
    pub fn ticket(&self) -> Option<&Ticket> {
        match &self.authority {
            Some(Authority::Ticket(ticket)) => Some(ticket),
            Some(Authority::Station(_)) | None => None,
        }
    }
}

pub(crate) fn commitments(c1: &[u8], c2: &[u8], c3: &[u8]) -> Result<[Hash32; 3], IdError> {
    Ok([
        Hash32::from_slice(c1)?,
        Hash32::from_slice(c2)?,
        Hash32::from_slice(c3)?,
    ])
}

/// A station's signature over a ballot's digest.
pub fn sign_authority(signer: &Signer, digest: &Digest) -> SignatureBytes {
    signer.sign_layout(&Writer::new(tag::AUTHORITY).fixed(&digest.0))
}

fn verify_authority(key: &PublicKey, digest: &Digest, signature: &SignatureBytes) -> bool {
    key.verify(Writer::new(tag::AUTHORITY).fixed(&digest.0).as_bytes(), signature)
}

pub(crate) fn optional_signature(bytes: &[u8]) -> Result<Option<SignatureBytes>, EnvelopeError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        SignatureBytes::from_slice(bytes).map(Some)
    }
}

/// A ballot as one party is sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    header: BallotHeader,
    digest: Digest,
    ciphertext: Bytes,
    authority_signature: Option<SignatureBytes>,
    ticket_use: Option<Use>,
}

impl Submission {
    /// From its parts.
    ///
    /// # Errors
    /// [`BallotError::Ciphertext`], [`BallotError::AuthoritySignature`].
    pub fn new(
        header: BallotHeader,
        ciphertext: impl Into<Bytes>,
        authority_signature: Option<SignatureBytes>,
    ) -> Result<Self, BallotError> {
        let ciphertext = ciphertext.into();
        if ciphertext.len() > MAX_CIPHERTEXT_BYTES {
            return Err(BallotError::Ciphertext(ciphertext.len()));
        }
        if authority_signature.is_some() != header.channel.at_station() {
            return Err(BallotError::AuthoritySignature(header.channel));
        }
        Ok(Self {
            digest: header.digest(),
            header,
            ciphertext,
            authority_signature,
            ticket_use: None,
        })
    }

    /// The same online ballot with the use of the ticket that its header names.
    #[must_use]
    pub fn with_use(self, ticket_use: Use) -> Self {
        Self {
            ticket_use: Some(ticket_use),
            ..self
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`BallotError`].
    pub fn from_wire(wire: wire::Submission) -> Result<Self, BallotError> {
        let header = BallotHeader::from_wire(wire.header.as_ref().ok_or(BallotError::NoHeader)?)?;
        let signature = optional_signature(&wire.authority_signature)?;
        let Some(_) = header.ticket() else {
            if !wire.ciphertext_hashes.is_empty() {
                return Err(BallotError::StrayHashes(wire.ciphertext_hashes.len()));
            }
            return Self::new(header, wire.ciphertext, signature);
        };
        let signature = signature.ok_or(BallotError::TicketOwner("it is not signed"))?;
        let [c1, c2, c3] = wire.ciphertext_hashes.as_slice() else {
            return Err(BallotError::TicketOwner(
                "the hashes of three ciphertexts are missing",
            ));
        };
        let ticket_use = Use {
            ciphertexts: commitments(c1, c2, c3)?,
            signature,
        };
        Ok(Self::new(header, wire.ciphertext, None)?.with_use(ticket_use))
    }

    /// Checks that the use of the ticket in the header names this very ciphertext to `party`. Costs one hash and no signature: to be asked first.
    /// Nothing to check without a ticket.
    ///
    /// # Errors
    /// [`BallotError::TicketOwner`].
    pub fn check_ciphertext(&self, party: Role) -> Result<(), BallotError> {
        if self.header.ticket().is_none() {
            return Ok(());
        }
        let Some(ticket_use) = &self.ticket_use else {
            return Err(BallotError::TicketOwner("it is not signed"));
        };
        if ticket_use.ciphertexts[party.slot()] != self.ciphertext_hash() {
            return Err(BallotError::TicketOwner("it was signed with another ciphertext"));
        }
        Ok(())
    }

    /// Checks that the owner of the ticket in the header cast this ballot to `party`, with this very ciphertext. Nothing to check without a
    /// ticket.
    ///
    /// # Errors
    /// [`BallotError::TicketOwner`].
    pub fn check_owner(&self, party: Role) -> Result<(), BallotError> {
        self.check_ciphertext(party)?;
        let (Some(ticket), Some(ticket_use)) = (self.header.ticket(), &self.ticket_use) else {
            return Ok(());
        };
        if !ticket_use.is_by(ticket, &self.digest) {
            return Err(BallotError::TicketOwner("the signature does not verify"));
        }
        Ok(())
    }

    /// From its canonical bytes (a station's queue).
    ///
    /// # Errors
    /// [`BallotError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BallotError> {
        Self::from_wire(decode_canonical("submission", bytes, MAX_SUBMISSION_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Submission {
        let signature = self.authority_signature.or(self.ticket_use.map(|u| u.signature));
        let hashes = self.ticket_use.map(|u| u.ciphertexts.map(|hash| hash.0.to_vec()));
        wire::Submission {
            header: Some(self.header.to_wire()),
            ciphertext: self.ciphertext.clone(),
            authority_signature: signature.map(|s| s.0.to_vec()).unwrap_or_default(),
            ciphertext_hashes: hashes.map(Vec::from).unwrap_or_default(),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// The header.
    pub fn header(&self) -> &BallotHeader {
        &self.header
    }
    /// The header's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
    /// What only one party can open.
    pub fn ciphertext(&self) -> &Bytes {
        &self.ciphertext
    }
    /// SHA-256 of the ciphertext, as receipts name it.
    pub fn ciphertext_hash(&self) -> Hash32 {
        Hash32::of(&self.ciphertext)
    }
    /// The use of the ticket.
    pub fn ticket_use(&self) -> Option<&Use> {
        self.ticket_use.as_ref()
    }
    /// The station's signature.
    pub fn authority_signature(&self) -> Option<&SignatureBytes> {
        self.authority_signature.as_ref()
    }
}

#[cfg(test)]
mod tests;
