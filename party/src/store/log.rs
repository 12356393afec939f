//! The append-only log of an election: an RFC 6962 Merkle tree over what this party accepted, in the order it accepted it.
//!
//! Leaf data are the signed bytes of the receipt, so whoever holds a receipt can check its inclusion. Only hashes of complete subtrees are
//! stored; each is written once. A tree head of any past size, and any inclusion path below it, follows from them:
//!
//! ```text
//! MTH(D[lo..hi)) = node(level, lo >> level)                    if hi - lo = 2^level and lo is a multiple of it
//!                = H(1 || MTH(D[lo..lo+k)) || MTH(D[lo+k..hi)))  else, k the largest power of two below hi - lo
//! ```

use redb::ReadableTable;
use sha2::{Digest as _, Sha256};

use super::tables::{LOG_ENTRIES, LOG_NODES, LOG_SIZE};
use super::{StoreError, Tables, WriteTx};

/// A node of the tree.
pub type NodeHash = [u8; 32];

fn leaf_hash(data: &[u8]) -> NodeHash {
    Sha256::new()
        .chain_update([0])
        .chain_update(data)
        .finalize()
        .into()
}

fn inner_hash(left: &NodeHash, right: &NodeHash) -> NodeHash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Number of entries.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn size(tx: &impl Tables, election: u32) -> Result<u64, StoreError> {
    Ok(tx.table(LOG_SIZE)?.get(election)?.map_or(0, |row| row.value()))
}

/// Appends `entry` and returns its position.
///
/// # Errors
/// [`StoreError::Corrupt`] when a node below is missing, else the engine's failure.
pub fn append(tx: &WriteTx, election: u32, entry: &[u8]) -> Result<u64, StoreError> {
    let position = size(tx, election)?;
    tx.table_mut(LOG_SIZE)?.insert(election, position + 1)?;
    tx.table_mut(LOG_ENTRIES)?.insert((election, position), entry)?;
    let mut nodes = tx.table_mut(LOG_NODES)?;
    let (mut level, mut index, mut hash) = (0u8, position, leaf_hash(entry));
    nodes.insert((election, level, index), &hash)?;
    while index & 1 == 1 {
        let left = *nodes
            .get((election, level, index - 1))?
            .ok_or(StoreError::Corrupt { table: "log_nodes" })?
            .value();
        hash = inner_hash(&left, &hash);
        level += 1;
        index >>= 1;
        nodes.insert((election, level, index), &hash)?;
    }
    Ok(position)
}

/// The entry at `position`.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn entry(tx: &impl Tables, election: u32, position: u64) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(LOG_ENTRIES)?
        .get((election, position))?
        .map(|row| row.value().to_vec()))
}

/// Root of the first `size` entries: SHA-256 of nothing when `size` is 0. `None` when the log is shorter.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn root(tx: &impl Tables, election: u32, of_size: u64) -> Result<Option<NodeHash>, StoreError> {
    if of_size > size(tx, election)? {
        return Ok(None);
    }
    if of_size == 0 {
        return Ok(Some(Sha256::digest([]).into()));
    }
    subtree(tx, election, 0, of_size).map(Some)
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
) -> Result<Option<Vec<NodeHash>>, StoreError> {
    if position >= of_size || of_size > size(tx, election)? {
        return Ok(None);
    }
    let (mut lo, mut hi) = (0, of_size);
    let mut path = Vec::new();
    while hi - lo > 1 {
        let middle = lo + split(hi - lo);
        if position < middle {
            path.push(subtree(tx, election, middle, hi)?);
            hi = middle;
        } else {
            path.push(subtree(tx, election, lo, middle)?);
            lo = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// The largest power of two below `n` (n >= 2).
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

fn subtree(tx: &impl Tables, election: u32, lo: u64, hi: u64) -> Result<NodeHash, StoreError> {
    let width = hi - lo;
    if width.is_power_of_two() && lo.is_multiple_of(width) {
        let level = width.trailing_zeros() as u8;
        let table = tx.table(LOG_NODES)?;
        let node = table.get((election, level, lo >> level))?;
        return node
            .map(|row| *row.value())
            .ok_or(StoreError::Corrupt { table: "log_nodes" });
    }
    let middle = lo + split(width);
    Ok(inner_hash(
        &subtree(tx, election, lo, middle)?,
        &subtree(tx, election, middle, hi)?,
    ))
}
