//! The append-only log of an election: an RFC 6962 Merkle tree over what this party accepted and what happened, in that order.
//!
//! The leaf of an entry is [`tally_proto::log::Entry::leaf`]; that of an acceptance is [`tally_proto::receipt::log_leaf`], so whoever holds a
//! receipt can check its inclusion. Only hashes of complete subtrees are stored, leaves too; each is written once, when its last leaf is appended, and
//! never changes. The head of the tree at any past size, and any proof below it, follow from them and from nothing else: an entry that a broken
//! disk has changed is found by whoever follows the log, and never makes this party sign another history.
//!
//! Several threads append: the intake writer what it accepts, [`crate::mirror`] events and what a restored party gets back, sealing the close of a
//! box. Each does so in a write transaction and finds the size there; nothing outside the store may remember it.

use redb::ReadableTable;
use tally_proto::ids::{ElectionId, Hash32, Role, UnixSeconds};
use tally_proto::log::{Accepted, ENTRY_BYTES, Entry, Happening};
use tally_proto::merkle::{Frontier, Node, Nodes, ProofError, consistency_proof, inclusion_proof};
use tally_proto::note::Checkpoint;

use super::tables::{LOG_ENTRIES, LOG_EVENTS, LOG_LOST, LOG_NODES, LOG_SIZE};
use super::{StoreError, Tables, WriteTx, boxes};

/// Number of entries.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn size(tx: &impl Tables, election: u32) -> Result<u64, StoreError> {
    Ok(tx.table(LOG_SIZE)?.get(election)?.map_or(0, |row| row.value()))
}

/// Appends an entry and returns its position.
///
/// # Errors
/// As [`append_all`].
pub fn append(tx: &WriteTx, election: u32, entry: &Entry) -> Result<u64, StoreError> {
    append_all(tx, election, std::slice::from_ref(entry))
}

/// Appends entries and returns the position of the first.
///
/// # Errors
/// [`StoreError::Corrupt`] when a node below is missing, else the engine's failure.
pub fn append_all(tx: &WriteTx, election: u32, entries: &[Entry]) -> Result<u64, StoreError> {
    let first = size(tx, election)?;
    let mut tree = Frontier::load(&Stored { tx, election }, first)?;
    let mut rows = tx.table_mut(LOG_ENTRIES)?;
    let mut nodes = tx.table_mut(LOG_NODES)?;
    for (position, entry) in (first..).zip(entries) {
        rows.insert((election, position), &entry.to_bytes())?;
        if let Entry::Event(happening, _) = entry {
            let (kind, of, channel, hash) = happening.fields();
            tx.table_mut(LOG_EVENTS)?
                .insert((election, kind, of, channel), (position, &hash.0))?;
        }
        for (node, hash) in tree.push(entry.leaf()) {
            nodes.insert((election, node.level, node.index), &hash.0)?;
        }
    }
    tx.table_mut(LOG_SIZE)?.insert(election, tree.size())?;
    tx.grows(election, tree.size());
    Ok(first)
}

/// Where the last entry of this kind about the same thing stands, and its hash; whatever the hash of `like` is.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn last(tx: &impl Tables, election: u32, like: &Happening) -> Result<Option<(u64, Hash32)>, StoreError> {
    let (kind, of, channel, _) = like.fields();
    Ok(tx
        .table(LOG_EVENTS)?
        .get((election, kind, of, channel))?
        .map(|row| {
            let (position, hash) = row.value();
            (position, Hash32(*hash))
        }))
}

/// Appends what happened, unless it stands there already. Not for channels, which open and close again.
///
/// # Errors
/// As [`append`].
pub fn append_once(
    tx: &WriteTx,
    election: u32,
    happening: Happening,
    at: UnixSeconds,
) -> Result<(), StoreError> {
    let (.., hash) = happening.fields();
    if last(tx, election, &happening)?.is_none_or(|(_, logged)| logged != hash) {
        append(tx, election, &Entry::Event(happening, at))?;
    }
    Ok(())
}

fn corrupt() -> StoreError {
    StoreError::Corrupt { table: "log_entries" }
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
    Entry::from_bytes(row.value()).map(Some).map_err(|_| corrupt())
}

/// Up to `most` entries from position `from` on, as bytes, one after the other.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn entries(tx: &impl Tables, election: u32, from: u64, most: usize) -> Result<Vec<u8>, StoreError> {
    let table = tx.table(LOG_ENTRIES)?;
    let mut bytes = Vec::with_capacity(most.min(4096) * ENTRY_BYTES);
    for row in table.range((election, from)..=(election, u64::MAX))?.take(most) {
        bytes.extend_from_slice(row?.1.value());
    }
    Ok(bytes)
}

/// Calls `each` with every entry and its position, in order.
///
/// # Errors
/// [`StoreError`]: the engine failed, or a row does not decode; or what `each` returns.
pub fn for_each<E: From<StoreError>>(
    tx: &impl Tables,
    election: u32,
    mut each: impl FnMut(u64, Entry) -> Result<(), E>,
) -> Result<(), E> {
    let table = tx.table(LOG_ENTRIES)?;
    let range = table
        .range((election, 0)..=(election, u64::MAX))
        .map_err(StoreError::from)?;
    for row in range {
        let (key, value) = row.map_err(StoreError::from)?;
        let entry = Entry::from_bytes(value.value()).map_err(|_| corrupt())?;
        each(key.value().1, entry)?;
    }
    Ok(())
}

/// The right edge of the log as it is.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn frontier(tx: &impl Tables, election: u32) -> Result<Frontier, StoreError> {
    Frontier::load(&Stored { tx, election }, size(tx, election)?)
}

/// Writes down that the content behind a position is lost.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_lost(tx: &WriteTx, election: u32, position: u64) -> Result<(), StoreError> {
    let known = tx
        .table_mut(LOG_LOST)?
        .insert((election, position), ())?
        .is_some();
    if known {
        return Ok(());
    }
    boxes::count_lost(tx, election, entry(tx, election, position)?.as_ref(), 1)
}

/// The content behind a position is here again.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn take_lost(tx: &WriteTx, election: u32, position: u64) -> Result<(), StoreError> {
    let known = tx.table_mut(LOG_LOST)?.remove((election, position))?.is_some();
    if !known {
        return Ok(());
    }
    boxes::count_lost(tx, election, entry(tx, election, position)?.as_ref(), -1)
}

/// Corrects of which kind an acceptance is: its leaf does not tell a ballot from a record, its header does.
///
/// # Errors
/// [`StoreError`]: the engine failed, or another entry stands there.
pub fn put_kind(tx: &WriteTx, election: u32, position: u64, of: &Accepted) -> Result<(), StoreError> {
    let right = Entry::Accepted(*of);
    match entry(tx, election, position)? {
        Some(known) if known == right => Ok(()),
        Some(known) if known.leaf() == right.leaf() => {
            tx.table_mut(LOG_ENTRIES)?
                .insert((election, position), &right.to_bytes())?;
            if is_lost(tx, election, position)? {
                boxes::count_lost_of(tx, election, known.accepted(), -1)?;
                boxes::count_lost_of(tx, election, right.accepted(), 1)?;
            }
            Ok(())
        }
        _ => Err(corrupt()),
    }
}

/// The orders that the log names, in its order: position, number, hash.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn orders(tx: &impl Tables, election: u32) -> Result<Vec<(u64, u32, Hash32)>, StoreError> {
    let (kind, ..) = Happening::Order(0, Hash32([0; 32])).fields();
    let table = tx.table(LOG_EVENTS)?;
    let mut orders = Vec::new();
    for row in table.range((election, kind, 0, 0)..=(election, kind, u32::MAX, u8::MAX))? {
        let row = row?;
        let (position, hash) = row.1.value();
        orders.push((position, row.0.value().2, Hash32(*hash)));
    }
    orders.sort_unstable_by_key(|(position, ..)| *position);
    Ok(orders)
}

fn is_lost(tx: &impl Tables, election: u32, position: u64) -> Result<bool, StoreError> {
    Ok(tx.table(LOG_LOST)?.get((election, position))?.is_some())
}

/// Positions whose content is lost.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn lost(tx: &impl Tables, election: u32) -> Result<Vec<u64>, StoreError> {
    lost_from(tx, election, 0, usize::MAX)
}

/// The first `most` of them from position `from` on.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn lost_from(tx: &impl Tables, election: u32, from: u64, most: usize) -> Result<Vec<u64>, StoreError> {
    let table = tx.table(LOG_LOST)?;
    let mut lost = Vec::new();
    for row in table.range((election, from)..=(election, u64::MAX))?.take(most) {
        lost.push(row?.0.value().1);
    }
    Ok(lost)
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

/// The head of `party`'s log of an election when it had `size` entries, to be signed.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn checkpoint(
    tx: &impl Tables,
    number: u32,
    election: &ElectionId,
    party: Role,
    size: u64,
) -> Result<Checkpoint, StoreError> {
    let root = root(tx, number, size)?.ok_or(StoreError::Corrupt { table: "log_size" })?;
    Ok(Checkpoint {
        election: election.clone(),
        party,
        size,
        root,
    })
}
