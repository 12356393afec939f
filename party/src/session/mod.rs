//! Tally sessions: Starts, the transport between two parties, the engine's run and its result.

use crate::store::{StoreError, WriteTx};

/// Makes the tables of this module, in the store's opening transaction.
pub(crate) fn create_tables(_tx: &WriteTx) -> Result<(), StoreError> {
    Ok(())
}
