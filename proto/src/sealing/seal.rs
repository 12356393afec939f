//! The Seal: what exactly will be tallied.

use super::MAX_STATEMENT_BYTES;
use crate::ballot::BallotError;
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey, Signer};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, StationId};
use crate::reason::{Reason, UnknownReason};
use crate::wire;

/// Why a Seal was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealPayloadError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or a hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A header.
    #[error(transparent)]
    Ballot(#[from] BallotError),
    /// An unknown reason of exclusion.
    #[error(transparent)]
    Reason(#[from] UnknownReason),
    /// Not three.
    #[error("a Seal names three {what}, this names {count}")]
    Three {
        /// Lists or Claims.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// Not strictly ascending.
    #[error("{0} of a Seal are strictly ascending")]
    Order(&'static str),
}

/// A ballot or record that is out, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exclusion {
    /// Of a ballot or a record.
    pub digest: Digest,
    /// Why.
    pub reason: Reason,
}

/// What is published of one station in one box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StationCount {
    /// Which.
    pub station: StationId,
    /// Electronic ballots among the rows.
    pub electronic: u64,
    /// Paper ballots among the rows.
    pub paper: u64,
    /// Numbers missing below the highest.
    pub gaps: u64,
    /// Ballots left out because another with a lower digest has their number.
    pub repeated_numbers: u64,
    /// Ballots cast before the one with the next lower number.
    pub falling_times: u64,
}

impl StationCount {
    pub(super) const fn none(station: StationId) -> Self {
        Self {
            station,
            electronic: 0,
            paper: 0,
            gaps: 0,
            repeated_numbers: 0,
            falling_times: 0,
        }
    }
}

/// Rows of each channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Online ballots.
    pub online: u64,
    /// Electronic station ballots.
    pub station: u64,
    /// Paper ballots.
    pub paper: u64,
}

impl Counts {
    /// All rows that are ballots.
    pub const fn total(&self) -> u64 {
        self.online
            .saturating_add(self.station)
            .saturating_add(self.paper)
    }
}

/// The payload of a Seal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seal {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// The manifest.
    pub manifest_hash: Hash32,
    /// Orders in force, in number order.
    pub orders: Vec<Hash32>,
    /// Root of the roll.
    pub roll_root: Hash32,
    /// N.
    pub voters: u32,
    /// Rows of each channel.
    pub counts: Counts,
    /// SHA-256 of the ordered digests.
    pub rows_hash: Hash32,
    /// Hash of the standing records.
    pub records_hash: Hash32,
    /// SHA-256 of the live column.
    pub live_hash: Hash32,
    /// SHA-256 of the enrolled column.
    pub enrolled_hash: Hash32,
    /// Ascending by digest.
    pub exclusions: Vec<Exclusion>,
    /// Ascending by station.
    pub stations: Vec<StationCount>,
    /// In party order.
    pub list_hashes: [Hash32; 3],
    /// In party order.
    pub claims_hashes: [Hash32; 3],
    /// SHA-256 of the roll's online column.
    pub online_hash: Hash32,
}

fn three(what: &'static str, hashes: &[Vec<u8>]) -> Result<[Hash32; 3], SealPayloadError> {
    match hashes {
        [a, b, c] => Ok([
            Hash32::from_slice(a)?,
            Hash32::from_slice(b)?,
            Hash32::from_slice(c)?,
        ]),
        other => Err(SealPayloadError::Three {
            what,
            count: other.len(),
        }),
    }
}

impl Seal {
    /// From the wire.
    ///
    /// # Errors
    /// [`SealPayloadError`].
    pub fn from_wire(wire: &wire::Seal) -> Result<Self, SealPayloadError> {
        let exclusion = |e: &wire::Exclusion| {
            Ok(Exclusion {
                digest: Digest::from_slice(&e.digest)?,
                reason: e.reason.parse()?,
            })
        };
        let exclusions = wire
            .exclusions
            .iter()
            .map(exclusion)
            .collect::<Result<Vec<_>, SealPayloadError>>()?;
        if !exclusions.is_sorted_by(|a, b| a.digest < b.digest) {
            return Err(SealPayloadError::Order("exclusions"));
        }
        let station = |s: &wire::StationCount| StationCount {
            station: StationId(s.station),
            electronic: s.electronic,
            paper: s.paper,
            gaps: s.gaps,
            repeated_numbers: s.repeated_numbers,
            falling_times: s.falling_times,
        };
        let stations: Vec<_> = wire.stations.iter().map(station).collect();
        if !stations.is_sorted_by(|a, b| a.station < b.station) {
            return Err(SealPayloadError::Order("stations"));
        }
        Ok(Self {
            election: ElectionId::new(&wire.election)?,
            of_box: BoxId(wire.r#box),
            manifest_hash: Hash32::from_slice(&wire.manifest_hash)?,
            orders: wire
                .order_hashes
                .iter()
                .map(|h| Hash32::from_slice(h))
                .collect::<Result<_, _>>()?,
            roll_root: Hash32::from_slice(&wire.roll_root)?,
            voters: wire.voters,
            counts: Counts {
                online: wire.online,
                station: wire.station,
                paper: wire.paper,
            },
            rows_hash: Hash32::from_slice(&wire.rows_hash)?,
            records_hash: Hash32::from_slice(&wire.records_hash)?,
            live_hash: Hash32::from_slice(&wire.live_hash)?,
            enrolled_hash: Hash32::from_slice(&wire.enrolled_hash)?,
            exclusions,
            stations,
            list_hashes: three("Lists", &wire.list_hashes)?,
            claims_hashes: three("Claims", &wire.claims_hashes)?,
            online_hash: Hash32::from_slice(&wire.online_hash)?,
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`SealPayloadError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SealPayloadError> {
        Self::from_wire(&decode_canonical("Seal", bytes, MAX_STATEMENT_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Seal {
        let exclusion = |e: &Exclusion| wire::Exclusion {
            digest: e.digest.0.to_vec(),
            reason: e.reason.code().into(),
        };
        let station = |s: &StationCount| wire::StationCount {
            station: s.station.get(),
            electronic: s.electronic,
            paper: s.paper,
            gaps: s.gaps,
            repeated_numbers: s.repeated_numbers,
            falling_times: s.falling_times,
        };
        let hashes = |hashes: &[Hash32]| hashes.iter().map(|h| h.0.to_vec()).collect();
        wire::Seal {
            election: self.election.as_str().into(),
            r#box: self.of_box.get(),
            manifest_hash: self.manifest_hash.0.to_vec(),
            order_hashes: hashes(&self.orders),
            roll_root: self.roll_root.0.to_vec(),
            voters: self.voters,
            online: self.counts.online,
            station: self.counts.station,
            paper: self.counts.paper,
            rows_hash: self.rows_hash.0.to_vec(),
            records_hash: self.records_hash.0.to_vec(),
            live_hash: self.live_hash.0.to_vec(),
            enrolled_hash: self.enrolled_hash.0.to_vec(),
            exclusions: self.exclusions.iter().map(exclusion).collect(),
            stations: self.stations.iter().map(station).collect(),
            list_hashes: hashes(&self.list_hashes),
            claims_hashes: hashes(&self.claims_hashes),
            online_hash: self.online_hash.0.to_vec(),
        }
    }

    /// Its canonical bytes: the same for all three parties.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// SHA-256 of its bytes: what Starts and Results name.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(&self.encode())
    }

    /// An envelope with one party's signature.
    pub fn sign(&self, signer: &Signer) -> Envelope {
        signer.seal_envelope(Kind::Seal, self.encode())
    }
}

/// A Seal with the signatures of all three parties.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedSeal {
    seal: Seal,
    envelope: Envelope,
    hash: Hash32,
}

impl SignedSeal {
    /// Checks form and that all three parties have signed.
    ///
    /// # Errors
    /// [`SealPayloadError`].
    pub fn open(envelope: Envelope, keys: &[PublicKey; 3]) -> Result<Self, SealPayloadError> {
        let seal = Seal::decode(envelope.payload())?;
        envelope.verify_all(Kind::Seal, keys)?;
        Ok(Self {
            seal,
            hash: envelope.hash(),
            envelope,
        })
    }

    /// The Seal.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }
    /// SHA-256 of its bytes.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }
    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}
