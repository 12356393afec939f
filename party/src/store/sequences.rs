//! Which numbers of a station are taken: one ballot for a box, station and number.

use redb::ReadableTable;

use super::tables::SEQUENCES;
use super::{StoreError, WriteTx};

/// Gives `sequence` of `station` to the ballot of `digest`. False when another ballot has it.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn take(
    tx: &WriteTx,
    election: u32,
    of_box: u32,
    (station, sequence): (u32, u64),
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    let mut table = tx.table_mut(SEQUENCES)?;
    let key = (election, of_box, station, sequence);
    if let Some(taken) = table.get(key)?.map(|row| *row.value()) {
        return Ok(taken == *digest);
    }
    table.insert(key, digest)?;
    Ok(true)
}
