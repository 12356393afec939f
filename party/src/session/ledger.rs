//! What a party must remember of its sessions: the highest number it signed, aborts, the one result of a box.
//!
//! | table | key | value |
//! |---|---|---|
//! | `session_starts` | e, b | highest session number of a Start that this party signed |
//! | `session_aborts` | e, b, number | encoded Envelope: this party's signed Abort |
//! | `session_results` | e, b | encoded Envelope: this party's signed Result |

use redb::{ReadableTable as _, TableDefinition};
use tally_proto::ids::SessionNumber;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;

use crate::store::{StoreError, Tables, WriteTx};

/// A number is at most this far above the last one: a slip or a trick of the coordinator does not use the numbers up.
pub(crate) const LONGEST_JUMP: u64 = 1 << 20;

const STARTS: TableDefinition<'static, (u32, u32), u64> = TableDefinition::new("session_starts");
const ABORTS: TableDefinition<'static, (u32, u32, u64), &[u8]> = TableDefinition::new("session_aborts");
const RESULTS: TableDefinition<'static, (u32, u32), &[u8]> = TableDefinition::new("session_results");

/// (election number, box).
pub(crate) type Key = (u32, u32);

/// Makes the tables of this module, in the store's opening transaction.
pub(crate) fn create_tables(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(STARTS)?;
    tx.table_mut(ABORTS)?;
    tx.table_mut(RESULTS)?;
    Ok(())
}

/// Why a number cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RaiseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not above the last one, or too far above it.
    #[error(
        "session {asked} cannot be opened: this party's last one is {last}; propose a number from {} to {}",
        last.saturating_add(1), last.saturating_add(LONGEST_JUMP)
    )]
    Stale { asked: u64, last: u64 },
    /// The box is tallied.
    #[error("the box is tallied; its signed Result is what Tally returns")]
    Tallied,
}

impl From<RaiseError> for Refusal {
    fn from(error: RaiseError) -> Self {
        let reason = match &error {
            RaiseError::Store(_) => Reason::StoreFailed,
            RaiseError::Stale { .. } => Reason::SessionStale,
            RaiseError::Tallied => Reason::TallyAlready,
        };
        Self::new(reason, error)
    }
}

/// Takes `number` for a Start of this party, once and for all.
///
/// # Errors
/// The number is not above the last one or too far above it, the box is tallied, or the store failed.
pub(crate) fn raise(tx: &WriteTx, key: Key, number: SessionNumber) -> Result<(), RaiseError> {
    if result(tx, key)?.is_some() {
        return Err(RaiseError::Tallied);
    }
    let last = last(tx, key)?.get();
    let asked = number.get();
    if asked <= last || asked - last > LONGEST_JUMP {
        return Err(RaiseError::Stale { asked, last });
    }
    tx.table_mut(STARTS)?
        .insert(key, asked)
        .map_err(StoreError::from)?;
    Ok(())
}

/// The highest number that this party signed; 0: none.
pub(crate) fn last(tx: &impl Tables, key: Key) -> Result<SessionNumber, StoreError> {
    Ok(SessionNumber(
        tx.table(STARTS)?.get(key)?.map_or(0, |row| row.value()),
    ))
}

/// Stores this party's Abort of a session.
pub(crate) fn put_abort(
    tx: &WriteTx,
    key: Key,
    number: SessionNumber,
    envelope: &[u8],
) -> Result<(), StoreError> {
    tx.table_mut(ABORTS)?
        .insert((key.0, key.1, number.get()), envelope)?;
    Ok(())
}

/// This party's Abort of a session.
pub(crate) fn abort(
    tx: &impl Tables,
    key: Key,
    number: SessionNumber,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(ABORTS)?
        .get((key.0, key.1, number.get()))?
        .map(|row| row.value().to_vec()))
}

/// Stores the one Result of a box; keeps the first, should there be one.
pub(crate) fn put_result(tx: &WriteTx, key: Key, envelope: &[u8]) -> Result<(), StoreError> {
    let mut table = tx.table_mut(RESULTS)?;
    if table.get(key)?.is_none() {
        table.insert(key, envelope)?;
    }
    Ok(())
}

/// The Result of a box, as this party signed it.
pub(crate) fn result(tx: &impl Tables, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx.table(RESULTS)?.get(key)?.map(|row| row.value().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sim::SimDisk;
    use crate::store::{Storage, Store};

    const KEY: Key = (1, 2);

    fn open(disk: &SimDisk) -> Store {
        Store::open(Storage::Backend(Box::new(disk.clone())), 1).expect("a store")
    }

    fn take(store: &Store, key: Key, number: u64) -> Result<(), RaiseError> {
        store.write(|tx| raise(tx, key, SessionNumber(number)))
    }

    fn last_of(store: &Store) -> u64 {
        store.read(|tx| last(tx, KEY)).expect("readable").get()
    }

    #[test]
    fn numbers_only_rise_also_across_restarts_and_losses_of_power() {
        let mut disk = SimDisk::new();
        let mut highest = 0;
        for round in 0..8u64 {
            let store = open(&disk);
            assert_eq!(last_of(&store), highest, "round {round}");
            for stale in [0, 1, highest] {
                if stale <= highest {
                    assert!(
                        matches!(take(&store, KEY, stale), Err(RaiseError::Stale { last, .. }) if last == highest)
                    );
                }
            }
            let far = highest + LONGEST_JUMP + 1;
            assert!(matches!(take(&store, KEY, far), Err(RaiseError::Stale { .. })));
            highest += if round % 2 == 0 { 1 } else { LONGEST_JUMP };
            take(&store, KEY, highest).expect("above the last, within the jump");
            // The machine loses power: what was acknowledged is still there.
            let after = disk.after_crash(round);
            drop(store);
            disk = after;
        }
    }

    #[test]
    fn boxes_have_numbers_of_their_own() {
        let store = open(&SimDisk::new());
        take(&store, KEY, 7).expect("fresh");
        take(&store, (1, 3), 1).expect("another box");
        take(&store, (2, 2), 1).expect("another election");
        assert!(take(&store, KEY, 7).is_err());
    }

    #[test]
    fn a_failing_disk_signs_no_number() {
        let disk = SimDisk::new();
        let store = open(&disk);
        take(&store, KEY, 1).expect("fresh");
        disk.fail_from(disk.operations());
        assert!(matches!(take(&store, KEY, 2), Err(RaiseError::Store(_))));
        let after = open(&disk.after_crash(1));
        assert!(last_of(&after) <= 2);
        take(&after, KEY, 3).expect("a number that was never shown is skipped or free");
    }

    #[test]
    fn a_result_ends_the_numbers_and_is_kept() {
        let store = open(&SimDisk::new());
        store
            .write(|tx| put_abort(tx, KEY, SessionNumber(1), b"abort"))
            .expect("stored");
        take(&store, KEY, 2).expect("an aborted session is followed by another");
        store.write(|tx| put_result(tx, KEY, b"first")).expect("stored");
        store.write(|tx| put_result(tx, KEY, b"second")).expect("ignored");
        assert!(matches!(take(&store, KEY, 3), Err(RaiseError::Tallied)));
        let kept = store.read(|tx| result(tx, KEY)).expect("readable");
        assert_eq!(kept.as_deref(), Some(&b"first"[..]));
        let abort = store
            .read(|tx| abort(tx, KEY, SessionNumber(1)))
            .expect("readable");
        assert_eq!(abort.as_deref(), Some(&b"abort"[..]));
    }
}
