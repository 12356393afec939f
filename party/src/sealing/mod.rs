//! Sealing: Lists, Claims, fill, complaints and the Seal of a box.

use crate::store::{StoreError, WriteTx};

/// Makes the tables of this module, in the store's opening transaction.
pub(crate) fn create_tables(_tx: &WriteTx) -> Result<(), StoreError> {
    Ok(())
}
