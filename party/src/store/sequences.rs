//! Which numbers of a station are taken: one ballot for a box, station and number.

use redb::ReadableTable as _;

use super::tables::SEQUENCES;
use super::{StoreError, Tables, WriteTx};

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

/// The highest number taken of every station that has ballots in a box, by rising station.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn highest(tx: &impl Tables, election: u32, of_box: u32) -> Result<Vec<(u32, u64)>, StoreError> {
    let table = tx.table(SEQUENCES)?;
    let at = |station, sequence| (election, of_box, station, sequence);
    let mut found = Vec::new();
    let mut from = 0;
    // From one station to the next, whatever lies between.
    while let Some(first) = table.range(at(from, 0)..=at(u32::MAX, u64::MAX))?.next() {
        let station = first?.0.value().2;
        if let Some(last) = table.range(at(station, 0)..=at(station, u64::MAX))?.next_back() {
            found.push((station, last?.0.value().3));
        }
        match station.checked_add(1) {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(found)
}
