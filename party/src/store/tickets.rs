//! Which tickets are spent: a party accepts one ballot with a ticket, in whatever box.

use redb::ReadableTable;

use super::tables::TICKETS;
use super::{StoreError, Tables, WriteTx};

/// A ticket's one-time key.
pub type TicketKey = [u8; 32];

/// The digest of the ballot that was accepted with a ticket.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn spent_on(tx: &impl Tables, election: u32, key: &TicketKey) -> Result<Option<[u8; 32]>, StoreError> {
    Ok(tx.table(TICKETS)?.get((election, key))?.map(|row| *row.value()))
}

/// Spends a ticket on the ballot of `digest`. False when it is spent on another.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn spend(tx: &WriteTx, election: u32, key: &TicketKey, digest: &[u8; 32]) -> Result<bool, StoreError> {
    let mut table = tx.table_mut(TICKETS)?;
    if let Some(spent) = table.get((election, key))?.map(|row| *row.value()) {
        return Ok(spent == *digest);
    }
    table.insert((election, key), digest)?;
    Ok(true)
}
