//! Other parties' logs as this party has followed them, and what it proved on the way.
//!
//! | table | key | value |
//! |---|---|---|
//! | `mirror_pages` | e, party, first position | hashes of the complete subtrees before the page; its entries; the signed note that covers it |
//! | `mirror_state` | e, party | entries mirrored; entries whose content was looked at; hashes of the complete subtrees |
//! | `mirror_proofs` | e, party, hash of both | two signed notes that no one log has: kept for ever |
//!
//! A page is written with the note that it was checked under, in one transaction: what stands here adds up to signed checkpoints. A short page is
//! continued by the next entries and stands under their note then.

use redb::{ReadableTable, TableDefinition};
use sha2::{Digest as _, Sha256};
use tally_proto::ids::{Hash32, Role};
use tally_proto::log::{ENTRY_BYTES, Entry};
use tally_proto::merkle::Frontier;

use super::{StoreError, Tables, WriteTx, edge};

type Key = (u32, u8);

/// Hashes before the page, entries, signed note.
type PageRow = (&'static [u8], &'static [u8], &'static str);

const PAGES: TableDefinition<'static, (u32, u8, u64), PageRow> = TableDefinition::new("mirror_pages");
const STATE: TableDefinition<'static, Key, (u64, u64, &[u8])> = TableDefinition::new("mirror_state");
const PROOFS: TableDefinition<'static, (u32, u8, &[u8; 32]), (&str, &str)> =
    TableDefinition::new("mirror_proofs");

/// Entries up to which a page is continued by what comes next.
const CONTINUED: usize = 256;

/// Makes the tables.
pub(super) fn create(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(PAGES)?;
    tx.table_mut(STATE)?;
    tx.table_mut(PROOFS)?;
    Ok(())
}

fn corrupt() -> StoreError {
    StoreError::Corrupt {
        table: "mirror_pages",
    }
}

/// How far a mirror is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// The tree so far.
    pub frontier: Frontier,
    /// Entries whose ballot or record this party has looked at.
    pub looked_at: u64,
}

impl Mirror {
    /// Entries mirrored.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }
}

/// The mirror of a party's log.
///
/// # Errors
/// [`StoreError`].
pub fn state(tx: &impl Tables, election: u32, party: Role) -> Result<Mirror, StoreError> {
    match tx.table(STATE)?.get((election, party.index()))? {
        None => Ok(Mirror::default()),
        Some(row) => {
            let (size, looked_at, peaks) = row.value();
            Ok(Mirror {
                frontier: edge::of_bytes(size, peaks).ok_or_else(corrupt)?,
                looked_at,
            })
        }
    }
}

/// Appends a checked page: `after` is the tree with it, `note` the signed checkpoint of that tree. Returns false, and writes nothing, when the
/// mirror does not end where the page begins.
///
/// # Errors
/// [`StoreError`].
pub fn append(
    tx: &WriteTx,
    election: u32,
    party: Role,
    entries: &[u8],
    after: &Frontier,
    note: &str,
) -> Result<bool, StoreError> {
    let before = state(tx, election, party)?;
    let count = (entries.len() / ENTRY_BYTES) as u64;
    if before.size() + count != after.size() {
        return Ok(false);
    }
    // A page of a few entries is continued: a note and the tree's edge take ten times the room of an entry.
    let mut pages = tx.table_mut(PAGES)?;
    let at = |position| (election, party.index(), position);
    let last = match pages.range(at(0)..=at(u64::MAX))?.next_back() {
        None => None,
        Some(row) => {
            let (key, value) = row?;
            let (edge, old, _) = value.value();
            let short = old.len() + entries.len() <= CONTINUED * ENTRY_BYTES;
            short.then(|| (key.value().2, edge.to_vec(), [old, entries].concat()))
        }
    };
    match last {
        Some((first, edge, all)) => pages.insert(at(first), (edge.as_slice(), all.as_slice(), note))?,
        None => pages.insert(
            at(before.size()),
            (edge::to_bytes(&before.frontier).as_slice(), entries, note),
        )?,
    };
    drop(pages);
    tx.table_mut(STATE)?.insert(
        (election, party.index()),
        (after.size(), before.looked_at, edge::to_bytes(after).as_slice()),
    )?;
    Ok(true)
}

/// Writes down that the content of all entries before `position` has been looked at.
///
/// # Errors
/// [`StoreError`].
pub fn look(tx: &WriteTx, election: u32, party: Role, position: u64) -> Result<(), StoreError> {
    let mirror = state(tx, election, party)?;
    tx.table_mut(STATE)?.insert(
        (election, party.index()),
        (
            mirror.size(),
            position,
            edge::to_bytes(&mirror.frontier).as_slice(),
        ),
    )?;
    Ok(())
}

/// A part of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries from the position asked for to the end of the stored page, as bytes.
    pub entries: Vec<u8>,
    /// The signed note whose last entry is the last of these.
    pub note: String,
}

/// What is stored from `from` on to the end of the page that holds it; `None` at the end of the mirror and beyond.
///
/// # Errors
/// [`StoreError`].
pub fn page(tx: &impl Tables, election: u32, party: Role, from: u64) -> Result<Option<Page>, StoreError> {
    let table = tx.table(PAGES)?;
    let at = |position| (election, party.index(), position);
    let Some(row) = table.range(at(0)..=at(from))?.next_back() else {
        return Ok(None);
    };
    let (key, value) = row?;
    let (_, entries, note) = value.value();
    let skip = usize::try_from(from - key.value().2)
        .ok()
        .and_then(|skip| skip.checked_mul(ENTRY_BYTES));
    Ok(skip
        .and_then(|skip| entries.get(skip..))
        .filter(|rest| !rest.is_empty())
        .map(|rest| Page {
            entries: rest.to_vec(),
            note: note.to_owned(),
        }))
}

/// The root of the first `of_size` mirrored entries. `None` when the mirror is shorter.
///
/// # Errors
/// [`StoreError`].
pub fn root(
    tx: &impl Tables,
    election: u32,
    party: Role,
    of_size: u64,
) -> Result<Option<Hash32>, StoreError> {
    let mirror = state(tx, election, party)?;
    if of_size >= mirror.size() {
        return Ok((of_size == mirror.size()).then(|| mirror.frontier.root()));
    }
    let table = tx.table(PAGES)?;
    let at = |position| (election, party.index(), position);
    let row = table
        .range(at(0)..=at(of_size))?
        .next_back()
        .ok_or_else(corrupt)??;
    let (first, (peaks, entries, _)) = (row.0.value().2, row.1.value());
    let mut tree = edge::of_bytes(first, peaks).ok_or_else(corrupt)?;
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    for entry in entries
        .iter()
        .take(usize::try_from(of_size - first).map_err(|_| corrupt())?)
    {
        tree.push(Entry::from_bytes(entry).map_err(|_| corrupt())?.leaf());
    }
    Ok((tree.size() == of_size).then(|| tree.root()))
}

/// The newest signed note under which the mirror stands; `None` while it is empty.
///
/// # Errors
/// [`StoreError`].
pub fn note(tx: &impl Tables, election: u32, party: Role) -> Result<Option<String>, StoreError> {
    let table = tx.table(PAGES)?;
    let at = |position| (election, party.index(), position);
    match table.range(at(0)..=at(u64::MAX))?.next_back() {
        None => Ok(None),
        Some(row) => Ok(Some(row?.1.value().2.to_owned())),
    }
}

/// Keeps two signed notes of one party that no one log has.
///
/// # Errors
/// [`StoreError`].
pub fn put_proof(tx: &WriteTx, election: u32, party: Role, notes: [&str; 2]) -> Result<(), StoreError> {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(notes[0])
        .chain_update(notes[1])
        .finalize()
        .into();
    tx.table_mut(PROOFS)?
        .insert((election, party.index(), &hash), (notes[0], notes[1]))?;
    Ok(())
}

/// The kept pairs.
///
/// # Errors
/// [`StoreError`].
pub fn proofs(tx: &impl Tables, election: u32, party: Role) -> Result<Vec<[String; 2]>, StoreError> {
    let table = tx.table(PROOFS)?;
    let at = |hash| (election, party.index(), hash);
    let mut proofs = Vec::new();
    for row in table.range(at(&[0; 32])..=at(&[0xff; 32]))? {
        let row = row?;
        let (one, other) = row.1.value();
        proofs.push([one.to_owned(), other.to_owned()]);
    }
    Ok(proofs)
}
