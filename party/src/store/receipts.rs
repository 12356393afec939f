//! Receipts of the other parties, delivered by voters and parties and verified before they come here.

use redb::ReadableTable;

use super::tables::{RECEIPT_TOPS, RECEIPTS};
use super::{StoreError, Tables, WriteTx};

/// Stores the encoded receipt of `party` (1..3) for `digest`. The first one stays: a party gives one receipt for a digest.
/// Returns whether it was new.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put(
    tx: &WriteTx,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
    party: u8,
    receipt: &[u8],
) -> Result<bool, StoreError> {
    let mut table = tx.table_mut(RECEIPTS)?;
    let key = (election, of_box, digest, party);
    if table.get(key)?.is_some() {
        return Ok(false);
    }
    table.insert(key, receipt)?;
    Ok(true)
}

/// Notes that a receipt of `party` names this position of its log.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn reach(tx: &WriteTx, election: u32, party: u8, position: u64) -> Result<(), StoreError> {
    if top(tx, election, party)? <= position {
        tx.table_mut(RECEIPT_TOPS)?
            .insert((election, party), position.saturating_add(1))?;
    }
    Ok(())
}

/// One more than the highest position that a receipt of `party` names; 0 when none is here.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn top(tx: &impl Tables, election: u32, party: u8) -> Result<u64, StoreError> {
    Ok(tx
        .table(RECEIPT_TOPS)?
        .get((election, party))?
        .map_or(0, |row| row.value()))
}

/// The encoded receipt of `party` for `digest`.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn get(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
    party: u8,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(RECEIPTS)?
        .get((election, of_box, digest, party))?
        .map(|row| row.value().to_vec()))
}

/// Every stored receipt of a box, by (digest, party): what Claims are made from.
///
/// # Errors
/// [`StoreError`]: the engine failed; or what `each` returns.
pub fn for_each<E: From<StoreError>>(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    mut each: impl FnMut(&[u8; 32], u8, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let table = tx.table(RECEIPTS)?;
    let range = table
        .range((election, of_box, &[0; 32], 0)..=(election, of_box, &[0xff; 32], u8::MAX))
        .map_err(StoreError::from)?;
    for row in range {
        let (key, value) = row.map_err(StoreError::from)?;
        let (_, _, digest, party) = key.value();
        each(digest, party, value.value())?;
    }
    Ok(())
}
