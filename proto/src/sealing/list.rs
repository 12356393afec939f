//! A party's one List of a box: what it accepted in time.

use sha2::{Digest as _, Sha256};

use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey};
use crate::ids::{BoxId, Digest, ElectionId, Hash32, IdError, Role, RoleExt as _};
use crate::note::MAX_NOTE_BYTES;
use crate::order::MAX_ORDERS;
use crate::wire;

/// Most digests of one kind in a List: bounds what a party can make another hold in memory to 512 MiB.
pub const MAX_DIGESTS: u64 = 1 << 24;
/// Largest List in bytes (the digests travel beside it).
const MAX_LIST_BYTES: usize = MAX_NOTE_BYTES + MAX_ORDERS * 34 + 1024;

/// Why a List was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or a hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Too many digests.
    #[error("a List holds at most {MAX_DIGESTS} digests of a kind, this states {0}")]
    TooMany(u64),
    /// Too many orders.
    #[error("a List names at most {MAX_ORDERS} orders, this names {0}")]
    TooManyOrders(usize),
    /// Too long a checkpoint.
    #[error("a checkpoint has at most {MAX_NOTE_BYTES} bytes, this has {0}")]
    Checkpoint(usize),
    /// Not whole digests.
    #[error("{0} bytes are not whole digests of 32 bytes")]
    Ragged(usize),
    /// Not strictly ascending.
    #[error("digest {} stands twice or out of order: digests are strictly ascending", .0.short())]
    Order(Digest),
}

/// The signed part of a List.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Whose.
    pub party: Role,
    /// The manifest.
    pub manifest_hash: Hash32,
    /// How many ballots, and the SHA-256 of their digests in a row.
    pub ballots: (u64, Hash32),
    /// How many records, and the SHA-256 of their digests in a row.
    pub records: (u64, Hash32),
    /// The signed note of the party's log when the List was made.
    pub checkpoint: Vec<u8>,
    /// Payload hashes of the orders in force, in number order.
    pub orders: Vec<Hash32>,
}

impl List {
    /// From the wire.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn from_wire(wire: &wire::List) -> Result<Self, ListError> {
        if wire.ballots.max(wire.records) > MAX_DIGESTS {
            return Err(ListError::TooMany(wire.ballots.max(wire.records)));
        }
        if wire.order_hashes.len() > MAX_ORDERS {
            return Err(ListError::TooManyOrders(wire.order_hashes.len()));
        }
        if wire.checkpoint.len() > MAX_NOTE_BYTES {
            return Err(ListError::Checkpoint(wire.checkpoint.len()));
        }
        Ok(Self {
            election: ElectionId::new(&wire.election)?,
            of_box: BoxId(wire.r#box),
            party: Role::from_number(wire.party)?,
            manifest_hash: Hash32::from_slice(&wire.manifest_hash)?,
            ballots: (wire.ballots, Hash32::from_slice(&wire.ballots_hash)?),
            records: (wire.records, Hash32::from_slice(&wire.records_hash)?),
            checkpoint: wire.checkpoint.clone(),
            orders: wire
                .order_hashes
                .iter()
                .map(|h| Hash32::from_slice(h))
                .collect::<Result<_, _>>()?,
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ListError> {
        Self::from_wire(&decode_canonical("List", bytes, MAX_LIST_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::List {
        wire::List {
            election: self.election.as_str().into(),
            r#box: self.of_box.get(),
            party: self.party.number(),
            manifest_hash: self.manifest_hash.0.to_vec(),
            ballots: self.ballots.0,
            ballots_hash: self.ballots.1.0.to_vec(),
            records: self.records.0,
            records_hash: self.records.1.0.to_vec(),
            checkpoint: self.checkpoint.clone(),
            order_hashes: self.orders.iter().map(|h| h.0.to_vec()).collect(),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }
}

/// A List with its party's verified signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedList {
    list: List,
    envelope: Envelope,
    hash: Hash32,
}

impl SignedList {
    /// Checks form, and that exactly the party it names has signed (`keys` in party order).
    ///
    /// # Errors
    /// [`ListError`].
    pub fn open(envelope: Envelope, keys: &[PublicKey; 3]) -> Result<Self, ListError> {
        let list = List::decode(envelope.payload())?;
        envelope.verify_all(Kind::List, &[keys[list.party.slot()]])?;
        Ok(Self {
            list,
            hash: envelope.hash(),
            envelope,
        })
    }

    /// The List.
    pub fn list(&self) -> &List {
        &self.list
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

/// Digests, strictly ascending: the body of a List.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DigestList(Vec<Digest>);

impl DigestList {
    /// Checks order.
    ///
    /// # Errors
    /// [`ListError::TooMany`], [`ListError::Order`].
    pub fn new(digests: Vec<Digest>) -> Result<Self, ListError> {
        if digests.len() as u64 > MAX_DIGESTS {
            return Err(ListError::TooMany(digests.len() as u64));
        }
        match digests.windows(2).find(|pair| matches!(pair, [a, b] if a >= b)) {
            Some(pair) => Err(ListError::Order(pair.last().copied().unwrap_or(Digest([0; 32])))),
            None => Ok(Self(digests)),
        }
    }

    /// From the bytes of the digests in a row.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ListError> {
        let (digests, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(ListError::Ragged(bytes.len()));
        }
        if digests.len() as u64 > MAX_DIGESTS {
            return Err(ListError::TooMany(digests.len() as u64));
        }
        Self::new(digests.iter().map(|d| Digest(*d)).collect())
    }

    /// The digests.
    pub fn as_slice(&self) -> &[Digest] {
        &self.0
    }

    /// Whether `digest` is in it.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.binary_search(digest).is_ok()
    }

    /// What the signed part states of it: number and hash.
    pub fn statement(&self) -> (u64, Hash32) {
        (self.0.len() as u64, hash_digests(&self.0))
    }
}

/// SHA-256 of digests in a row.
pub(super) fn hash_digests(digests: &[Digest]) -> Hash32 {
    let mut hash = Sha256::new();
    digests.iter().for_each(|digest| hash.update(digest.0));
    Hash32(hash.finalize().into())
}
