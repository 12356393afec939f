//! The append-only log of an election: an RFC 6962 Merkle tree over what this party accepted and what happened, in that order.
//!
//! The leaf of an entry is [`tally_proto::log::Entry::leaf`]; that of an acceptance is [`tally_proto::receipt::log_leaf`], so whoever holds a
//! receipt can check its inclusion. Stored are the hashes of complete subtrees of 16 leaves and more, each written once, when its last leaf is
//! appended, and the right edge of the tree as it is. Smaller subtrees are computed from the entries below them, and only after these were found to
//! add up to the stored hash above, or to the edge where that is not complete yet. So the head of the tree at any past size, and any proof below it,
//! follow from what was hashed when it was appended: an entry that a broken disk has changed is found and never makes this party sign another
//! history.
//!
//! Several threads append: the intake writer what it accepts, [`crate::mirror`] events and what a restored party gets back, sealing the close of a
//! box. Each does so in a write transaction and finds the size there; nothing outside the store may remember it.

use std::cell::RefCell;

use redb::ReadableTable;
use tally_proto::ids::{ElectionId, Hash32, Role, UnixSeconds};
use tally_proto::log::{Accepted, ENTRY_BYTES, Entry, Happening};
use tally_proto::merkle::{
    Frontier, Node, Nodes, ProofError, consistency_proof, inclusion_proof, subtree_root,
};
use tally_proto::note::Checkpoint;

use super::tables::{LOG_EDGES, LOG_ENTRIES, LOG_EVENTS, LOG_LOST, LOG_NODES};
use super::{StoreError, Tables, WriteTx, boxes, edge};

/// Height of the smallest subtrees whose hashes are stored.
const LOWEST: u8 = 4;
/// Leaves of one of them.
const BLOCK: u64 = 1 << LOWEST;

/// Number of entries.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn size(tx: &impl Tables, election: u32) -> Result<u64, StoreError> {
    Ok(tx.table(LOG_EDGES)?.get(election)?.map_or(0, |row| row.value().0))
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
/// [`StoreError::Corrupt`] when the stored edge is none, else the engine's failure.
pub fn append_all(tx: &WriteTx, election: u32, entries: &[Entry]) -> Result<u64, StoreError> {
    let mut tree = frontier(tx, election)?;
    let first = tree.size();
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
            if node.level < LOWEST {
                continue;
            }
            nodes.insert((election, node.level, node.index), &hash.0)?;
        }
    }
    tx.table_mut(LOG_EDGES)?
        .insert(election, (tree.size(), edge::to_bytes(&tree).as_slice()))?;
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
    match tx.table(LOG_EDGES)?.get(election)? {
        None => Ok(Frontier::new()),
        Some(row) => {
            let (size, peaks) = row.value();
            edge::of_bytes(size, peaks).ok_or(StoreError::Corrupt { table: "log_edges" })
        }
    }
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

/// The last change of the revocation lists that the log names: its number, its position, and the hash of the lists.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn lists(tx: &impl Tables, election: u32) -> Result<Option<(u32, u64, Hash32)>, StoreError> {
    let (kind, ..) = Happening::Lists(0, Hash32([0; 32])).fields();
    let table = tx.table(LOG_EVENTS)?;
    let mut changes = table.range((election, kind, 0, 0)..=(election, kind, u32::MAX, u8::MAX))?;
    let Some(row) = changes.next_back().transpose()? else {
        return Ok(None);
    };
    let (position, hash) = row.1.value();
    Ok(Some((row.0.value().2, position, Hash32(*hash))))
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
    edge: Frontier,
    /// The block of leaves that was read last: its number and their hashes, found to be those that were appended.
    block: RefCell<Option<(u64, Vec<Hash32>)>>,
}

impl<'a, T: Tables> Stored<'a, T> {
    fn open(tx: &'a T, election: u32) -> Result<Self, StoreError> {
        Ok(Self {
            tx,
            election,
            edge: frontier(tx, election)?,
            block: RefCell::default(),
        })
    }

    /// The right edge of the tree when it had `size` leaves; `None` when it has fewer.
    fn at(&self, size: u64) -> Result<Option<Frontier>, StoreError> {
        match size.cmp(&self.edge.size()) {
            std::cmp::Ordering::Less => Frontier::load(self, size).map(Some),
            std::cmp::Ordering::Equal => Ok(Some(self.edge.clone())),
            std::cmp::Ordering::Greater => Ok(None),
        }
    }

    fn stored(&self, node: Node) -> Result<Hash32, StoreError> {
        let table = self.tx.table(LOG_NODES)?;
        let row = table.get((self.election, node.level, node.index))?;
        row.map(|row| Hash32(*row.value()))
            .ok_or(StoreError::Corrupt { table: "log_nodes" })
    }

    /// The leaves of a block, from the entries there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: they are not those that were appended.
    fn leaves(&self, block: u64) -> Result<Vec<Hash32>, StoreError> {
        let (first, size) = (block * BLOCK, self.edge.size());
        let table = self.tx.table(LOG_ENTRIES)?;
        let mut leaves = Vec::with_capacity(BLOCK as usize);
        for row in table.range((self.election, first)..(self.election, size.min(first + BLOCK)))? {
            let entry = Entry::from_bytes(row?.1.value()).map_err(|_| corrupt())?;
            leaves.push(entry.leaf());
        }
        let is_right = if first + BLOCK <= size {
            let above = Node {
                level: LOWEST,
                index: block,
            };
            leaves.len() as u64 == BLOCK && subtree_root(&leaves) == self.stored(above)?
        } else {
            let mut tree = Frontier::new();
            leaves.iter().for_each(|leaf| drop(tree.push(*leaf)));
            first + tree.size() == size && self.edge.peaks().ends_with(tree.peaks())
        };
        if is_right { Ok(leaves) } else { Err(corrupt()) }
    }
}

impl<T: Tables> Nodes for Stored<'_, T> {
    type Error = StoreError;

    fn node(&self, node: Node) -> Result<Hash32, StoreError> {
        if node.level >= LOWEST {
            return self.stored(node);
        }
        let (first, count) = (node.index << node.level, 1usize << node.level);
        let (block, within) = (first / BLOCK, (first % BLOCK) as usize);
        let mut known = self.block.borrow_mut();
        let leaves = match &mut *known {
            Some((of, leaves)) if *of == block => leaves,
            other => &other.insert((block, self.leaves(block)?)).1,
        };
        let below = leaves.get(within..within + count).ok_or_else(corrupt)?;
        Ok(subtree_root(below))
    }
}

/// Root of the first `of_size` entries: SHA-256 of nothing when `of_size` is 0. `None` when the log is shorter.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn root(tx: &impl Tables, election: u32, of_size: u64) -> Result<Option<Hash32>, StoreError> {
    let tree = Stored::open(tx, election)?.at(of_size)?;
    Ok(tree.map(|tree| tree.root()))
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
    let stored = Stored::open(tx, election)?;
    if of_size > stored.edge.size() {
        return Ok(None);
    }
    match inclusion_proof(&stored, position, of_size) {
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
    let stored = Stored::open(tx, election)?;
    if new > stored.edge.size() {
        return Ok(None);
    }
    match consistency_proof(&stored, old, new) {
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
    let root = root(tx, number, size)?.ok_or(StoreError::Corrupt { table: "log_edges" })?;
    Ok(Checkpoint {
        election: election.clone(),
        party,
        size,
        root,
    })
}
