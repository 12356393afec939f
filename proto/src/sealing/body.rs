//! The public evidence of a box: every listed digest with who listed it, and the headers of the candidates.

use super::list::MAX_DIGESTS;
use crate::ballot::{BallotError, BallotHeader, optional_signature};
use crate::bitmap::{Bitmap, BitmapError};
use crate::decode::{DecodeError, decode_of};
use crate::envelope::{EnvelopeError, SignatureBytes};
use crate::ids::{Digest, IdError, Role, RoleExt as _, VoterIndex};
use crate::record::{Endorsement, RecordError, RecordHeader};
use crate::wire;

/// Largest encoded body in bytes. What a box takes is bounded by the manifest, so that its body is no longer.
pub const MAX_BODY_BYTES: usize = 3 << 30;

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A digest.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A signature's form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A ballot header.
    #[error(transparent)]
    Ballot(#[from] BallotError),
    /// A record header.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The online column.
    #[error("online column: {0}")]
    Online(#[from] BitmapError),
    /// A digest beside a header, or neither.
    #[error("evidence carries either a header or a bare digest")]
    HeaderOrDigest,
    /// A signature without a header.
    #[error("evidence without a header carries no signature")]
    StraySignature,
    /// A card record without its voter, or an issued one without the registrar's signature.
    #[error("evidence of {} carries a registrar's signature, or of a card record the voter, and never both", .0.short())]
    Endorsement(Digest),
    /// Listed by nobody, or by a party that does not exist.
    #[error("evidence of {} is listed by {listed:#b}: bits 0 to 2, at least one", .digest.short())]
    Listed {
        /// The digest.
        digest: Digest,
        /// The bits.
        listed: u32,
    },
    /// Not strictly ascending.
    #[error("evidence of {} stands twice or out of order: digests are strictly ascending", .0.short())]
    Order(Digest),
    /// Too much.
    #[error("a body holds at most three Lists of {MAX_DIGESTS} digests of a kind, this has {0}")]
    TooMany(usize),
}

/// A listed ballot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BallotEvidence {
    digest: Digest,
    listed: [bool; 3],
    public: Option<(BallotHeader, Option<SignatureBytes>)>,
}

impl BallotEvidence {
    /// A candidate, with its header and authority signature.
    pub fn candidate(header: BallotHeader, signature: Option<SignatureBytes>, listed: [bool; 3]) -> Self {
        Self {
            digest: header.digest(),
            listed,
            public: Some((header, signature)),
        }
    }

    /// A digest that is no candidate.
    pub const fn bare(digest: Digest, listed: [bool; 3]) -> Self {
        Self {
            digest,
            listed,
            public: None,
        }
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::BallotEvidence {
        let digest = self.public.is_none().then(|| self.digest.0.to_vec());
        wire::BallotEvidence {
            digest: digest.unwrap_or_default(),
            header: self.public.as_ref().map(|(header, _)| header.to_wire()),
            authority_signature: self
                .public
                .as_ref()
                .and_then(|(_, s)| *s)
                .map(|s| s.0.to_vec())
                .unwrap_or_default(),
            listed: listed_number(self.listed),
        }
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
    /// Which parties list it, in party order.
    pub fn listed(&self) -> [bool; 3] {
        self.listed
    }
    /// Header and authority signature of a candidate.
    pub fn public(&self) -> Option<(&BallotHeader, Option<&SignatureBytes>)> {
        self.public
            .as_ref()
            .map(|(header, signature)| (header, signature.as_ref()))
    }
}

/// A listed record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordEvidence {
    digest: Digest,
    listed: [bool; 3],
    public: Option<(RecordHeader, Endorsement)>,
}

impl RecordEvidence {
    /// A candidate, with its header and who stands for it: a registrar for an issued record, the parties for a card's.
    pub fn candidate(header: RecordHeader, endorsement: Endorsement, listed: [bool; 3]) -> Self {
        Self {
            digest: header.digest(),
            listed,
            public: Some((header, endorsement)),
        }
    }

    /// A digest that is no candidate.
    pub const fn bare(digest: Digest, listed: [bool; 3]) -> Self {
        Self {
            digest,
            listed,
            public: None,
        }
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::RecordEvidence {
        let digest = self.public.is_none().then(|| self.digest.0.to_vec());
        let (authorisation, card_voter) = match self.public.as_ref().map(|(_, endorsement)| endorsement) {
            None => (Vec::new(), None),
            Some(Endorsement::Registrar(signature)) => (signature.0.to_vec(), None),
            Some(Endorsement::Card(voter)) => (Vec::new(), Some(voter.get())),
        };
        wire::RecordEvidence {
            digest: digest.unwrap_or_default(),
            header: self.public.as_ref().map(|(header, _)| header.to_wire()),
            authorisation,
            listed: listed_number(self.listed),
            card_voter,
        }
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
    /// Which parties list it, in party order.
    pub fn listed(&self) -> [bool; 3] {
        self.listed
    }
    /// Header of a candidate, and who stands for it.
    pub fn public(&self) -> Option<(&RecordHeader, Endorsement)> {
        self.public
            .as_ref()
            .map(|(header, endorsement)| (header, *endorsement))
    }
}

/// Everything a Seal is recomputed from besides manifest, orders, Lists and Claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoxBody {
    ballots: Vec<BallotEvidence>,
    records: Vec<RecordEvidence>,
    online: Bitmap,
}

fn ascending(digests: impl ExactSizeIterator<Item = Digest>) -> Result<(), BodyError> {
    if digests.len() as u64 > 3 * MAX_DIGESTS {
        return Err(BodyError::TooMany(digests.len()));
    }
    let mut last = None;
    for digest in digests {
        if last.is_some_and(|last| last >= digest) {
            return Err(BodyError::Order(digest));
        }
        last = Some(digest);
    }
    Ok(())
}

fn listed_bits(digest: Digest, listed: u32) -> Result<[bool; 3], BodyError> {
    if (1..8).contains(&listed) {
        Ok(std::array::from_fn(|i| listed >> i & 1 == 1))
    } else {
        Err(BodyError::Listed { digest, listed })
    }
}

fn listed_number(listed: [bool; 3]) -> u32 {
    (0..).zip(listed).map(|(i, bit)| u32::from(bit) << i).sum()
}

impl BoxBody {
    /// From its parts; `online` is the roll's online column.
    ///
    /// # Errors
    /// [`BodyError::Order`], [`BodyError::Listed`], [`BodyError::TooMany`].
    pub fn new(
        ballots: Vec<BallotEvidence>,
        records: Vec<RecordEvidence>,
        online: Bitmap,
    ) -> Result<Self, BodyError> {
        ascending(ballots.iter().map(|e| e.digest))?;
        ascending(records.iter().map(|e| e.digest))?;
        let listed = ballots
            .iter()
            .map(|e| (e.digest, e.listed))
            .chain(records.iter().map(|e| (e.digest, e.listed)));
        for (digest, listed) in listed {
            listed_bits(digest, listed_number(listed))?;
        }
        Ok(Self {
            ballots,
            records,
            online,
        })
    }

    /// From the wire; `voters` is the length of the box's online column: N, or 0 of an open roll.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn from_wire(wire: &wire::BoxBody, voters: u32) -> Result<Self, BodyError> {
        let ballot = |e: &wire::BallotEvidence| {
            let public = match &e.header {
                Some(header) if e.digest.is_empty() => Some((
                    BallotHeader::from_wire(header)?,
                    optional_signature(&e.authority_signature)?,
                )),
                None if !e.authority_signature.is_empty() => return Err(BodyError::StraySignature),
                None => None,
                Some(_) => return Err(BodyError::HeaderOrDigest),
            };
            let digest = match &public {
                Some((header, _)) => header.digest(),
                None => Digest::from_slice(&e.digest)?,
            };
            Ok(BallotEvidence {
                digest,
                listed: listed_bits(digest, e.listed)?,
                public,
            })
        };
        let record = |e: &wire::RecordEvidence| {
            let public = match &e.header {
                Some(header) if e.digest.is_empty() => {
                    let header = RecordHeader::from_wire(header)?;
                    let endorsement = match (header.is_card(), e.card_voter) {
                        (true, Some(v)) if e.authorisation.is_empty() => Endorsement::Card(VoterIndex(v)),
                        (false, None) => {
                            Endorsement::Registrar(SignatureBytes::from_slice(&e.authorisation)?)
                        }
                        _ => return Err(BodyError::Endorsement(header.digest())),
                    };
                    Some((header, endorsement))
                }
                None if !e.authorisation.is_empty() || e.card_voter.is_some() => {
                    return Err(BodyError::StraySignature);
                }
                None => None,
                Some(_) => return Err(BodyError::HeaderOrDigest),
            };
            let digest = match &public {
                Some((header, _)) => header.digest(),
                None => Digest::from_slice(&e.digest)?,
            };
            Ok(RecordEvidence {
                digest,
                listed: listed_bits(digest, e.listed)?,
                public,
            })
        };
        Self::new(
            wire.ballots
                .iter()
                .map(ballot)
                .collect::<Result<_, BodyError>>()?,
            wire.records
                .iter()
                .map(record)
                .collect::<Result<_, BodyError>>()?,
            Bitmap::from_bytes(voters as usize, &wire.online)?,
        )
    }

    /// From its canonical bytes; `voters` is N of the box.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(bytes: &[u8], voters: u32) -> Result<Self, BodyError> {
        // Each ballot and record has its digest at least.
        let most = 1 + bytes.len() / 32;
        Self::from_wire(&decode_of("box body", bytes, MAX_BODY_BYTES, most)?, voters)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::BoxBody {
        wire::BoxBody {
            ballots: self.ballots.iter().map(BallotEvidence::to_wire).collect(),
            records: self.records.iter().map(RecordEvidence::to_wire).collect(),
            online: self.online.as_bytes().to_vec(),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// The ballots, ascending by digest.
    pub fn ballots(&self) -> &[BallotEvidence] {
        &self.ballots
    }
    /// The records, ascending by digest.
    pub fn records(&self) -> &[RecordEvidence] {
        &self.records
    }
    /// The roll's online column.
    pub fn online(&self) -> &Bitmap {
        &self.online
    }

    /// Whether `party` lists `digest`, as a ballot or as a record.
    pub fn is_listed(&self, digest: &Digest, party: Role) -> bool {
        let ballot = self
            .ballots
            .binary_search_by_key(digest, |e| e.digest)
            .ok()
            .and_then(|i| self.ballots.get(i));
        let record = self
            .records
            .binary_search_by_key(digest, |e| e.digest)
            .ok()
            .and_then(|i| self.records.get(i));
        ballot.is_some_and(|e| e.listed[party.slot()]) || record.is_some_and(|e| e.listed[party.slot()])
    }

    /// The body of `party`'s List: ballots, then records.
    pub fn lists_of(&self, party: Role) -> (Vec<Digest>, Vec<Digest>) {
        let ballots = self
            .ballots
            .iter()
            .filter(|e| e.listed[party.slot()])
            .map(|e| e.digest)
            .collect();
        let records = self
            .records
            .iter()
            .filter(|e| e.listed[party.slot()])
            .map(|e| e.digest)
            .collect();
        (ballots, records)
    }
}
