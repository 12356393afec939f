//! The append-only log of an election: an RFC 6962 Merkle tree over what this party accepted, in the order it accepted it.
//!
//! The leaf of an acceptance is [`tally_proto::receipt::log_leaf`], so whoever holds a receipt can check its inclusion. Only hashes of
//! complete subtrees are stored; each is written once, when its last leaf is appended, and never changes. The head of the tree at any past
//! size, and any proof below it, follow from them.

use redb::ReadableTable;
use tally_proto::ids::{ElectionId, Hash32, Role};
use tally_proto::merkle::{Frontier, Node, Nodes, ProofError, consistency_proof, inclusion_proof, node_hash};
use tally_proto::note::Checkpoint;

use super::tables::{LOG_ENTRIES, LOG_NODES, LOG_SIZE};
use super::{Kind, StoreError, Tables, WriteTx};

/// What stands at a position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Ballot or credential record.
    pub kind: Kind,
    /// Its box.
    pub of_box: u32,
    /// Its digest.
    pub digest: [u8; 32],
}

/// Number of entries.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn size(tx: &impl Tables, election: u32) -> Result<u64, StoreError> {
    Ok(tx.table(LOG_SIZE)?.get(election)?.map_or(0, |row| row.value()))
}

/// Appends an entry with its leaf hash and returns its position.
///
/// # Errors
/// [`StoreError::Corrupt`] when a node below is missing, else the engine's failure.
pub fn append(tx: &WriteTx, election: u32, entry: &Entry, leaf: Hash32) -> Result<u64, StoreError> {
    let position = size(tx, election)?;
    tx.table_mut(LOG_SIZE)?.insert(election, position + 1)?;
    tx.table_mut(LOG_ENTRIES)?.insert(
        (election, position),
        (entry.kind.code(), entry.of_box, &entry.digest),
    )?;
    let mut nodes = tx.table_mut(LOG_NODES)?;
    let (mut level, mut index, mut hash) = (0u8, position, leaf);
    nodes.insert((election, level, index), &hash.0)?;
    while index & 1 == 1 {
        let left = nodes
            .get((election, level, index - 1))?
            .map(|row| Hash32(*row.value()))
            .ok_or(StoreError::Corrupt { table: "log_nodes" })?;
        hash = node_hash(&left, &hash);
        level += 1;
        index >>= 1;
        nodes.insert((election, level, index), &hash.0)?;
    }
    Ok(position)
}

/// The entry at `position`.
///
/// # Errors
/// [`StoreError`]: the engine failed, or the row does not decode.
pub fn entry(tx: &impl Tables, election: u32, position: u64) -> Result<Option<Entry>, StoreError> {
    let table = tx.table(LOG_ENTRIES)?;
    let Some(row) = table.get((election, position))? else {
        return Ok(None);
    };
    let (code, of_box, digest) = row.value();
    let kind = Kind::from_code(code).ok_or(StoreError::Corrupt { table: "log_entries" })?;
    Ok(Some(Entry {
        kind,
        of_box,
        digest: *digest,
    }))
}

/// The complete subtrees of one election's log.
struct Stored<'a, T> {
    tx: &'a T,
    election: u32,
}

impl<T: Tables> Nodes for Stored<'_, T> {
    type Error = StoreError;

    fn node(&self, node: Node) -> Result<Hash32, StoreError> {
        let table = self.tx.table(LOG_NODES)?;
        let row = table.get((self.election, node.level, node.index))?;
        row.map(|row| Hash32(*row.value()))
            .ok_or(StoreError::Corrupt { table: "log_nodes" })
    }
}

/// Root of the first `of_size` entries: SHA-256 of nothing when `of_size` is 0. `None` when the log is shorter.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn root(tx: &impl Tables, election: u32, of_size: u64) -> Result<Option<Hash32>, StoreError> {
    if of_size > size(tx, election)? {
        return Ok(None);
    }
    Ok(Some(Frontier::load(&Stored { tx, election }, of_size)?.root()))
}

/// Path from the entry at `position` to the root of the first `of_size` entries, RFC 6962 section 2.1.1, leaf's sibling first. `None` when
/// position >= of_size or the log is shorter than `of_size`.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn inclusion(
    tx: &impl Tables,
    election: u32,
    position: u64,
    of_size: u64,
) -> Result<Option<Vec<Hash32>>, StoreError> {
    if of_size > size(tx, election)? {
        return Ok(None);
    }
    match inclusion_proof(&Stored { tx, election }, position, of_size) {
        Ok(path) => Ok(Some(path)),
        Err(ProofError::Range { .. }) => Ok(None),
        Err(ProofError::Nodes(error)) => Err(error),
    }
}

/// The proof that the log of the first `old` entries is a prefix of that of the first `new`, RFC 6962 section 2.1.2. `None` when `old` is 0
/// or above `new`, or the log is shorter than `new`.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn consistency(
    tx: &impl Tables,
    election: u32,
    old: u64,
    new: u64,
) -> Result<Option<Vec<Hash32>>, StoreError> {
    if new > size(tx, election)? {
        return Ok(None);
    }
    match consistency_proof(&Stored { tx, election }, old, new) {
        Ok(path) => Ok(Some(path)),
        Err(ProofError::Range { .. }) => Ok(None),
        Err(ProofError::Nodes(error)) => Err(error),
    }
}

/// The head of `party`'s log of an election in this transaction, to be signed.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn checkpoint(
    tx: &impl Tables,
    number: u32,
    election: &ElectionId,
    party: Role,
) -> Result<Checkpoint, StoreError> {
    let size = size(tx, number)?;
    let root = root(tx, number, size)?.ok_or(StoreError::Corrupt { table: "log_size" })?;
    Ok(Checkpoint {
        election: election.clone(),
        party,
        size,
        root,
    })
}
