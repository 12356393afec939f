//! Which serials of credential records are taken: one record for a voter, half and serial.

use redb::ReadableTable;

use super::tables::SERIALS;
use super::{StoreError, Tables, WriteTx};

/// The place of a record: one record may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Number in the roll.
    pub voter: u32,
    /// Half of a split issue, from 0.
    pub half: u8,
    /// The record's serial.
    pub serial: u32,
}

/// Gives `serial` to the record of `digest`. False when another record has it.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn take(
    tx: &WriteTx,
    election: u32,
    of_box: u32,
    serial: Serial,
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    let mut table = tx.table_mut(SERIALS)?;
    let key = (election, of_box, serial.voter, serial.half, serial.serial);
    if let Some(taken) = table.get(key)?.map(|row| *row.value()) {
        return Ok(taken == *digest);
    }
    table.insert(key, digest)?;
    Ok(true)
}

/// How many records of the voter and half are here, up to `most`.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn taken(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    (voter, half): (u32, u8),
    most: usize,
) -> Result<usize, StoreError> {
    let table = tx.table(SERIALS)?;
    let of = |serial| (election, of_box, voter, half, serial);
    let mut taken = 0;
    for row in table.range(of(0)..=of(u32::MAX))?.take(most) {
        row?;
        taken += 1;
    }
    Ok(taken)
}
