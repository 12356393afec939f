//! Which serials of credential records are taken: one record for a voter, half and serial.

use redb::ReadableTable;

use super::tables::SERIALS;
use super::{StoreError, WriteTx};

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
