//! Since when the newest certificate of each role is believed, and when it was first shown here: older ones end by it.

use redb::{ReadableTable as _, TableDefinition};
use tally_proto::ids::UnixSeconds;

use super::{StoreError, Tables, WriteTx};

/// By role and authority: the moment from which it is believed, and when it was first shown, both in seconds.
const CERTIFICATES: TableDefinition<'static, &str, (u64, u64)> = TableDefinition::new("certificates");

pub(super) fn create(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(CERTIFICATES)?;
    Ok(())
}

/// The newest certificate of one role, under one authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// From when on it is believed.
    pub from: UnixSeconds,
    /// When it was first shown here.
    pub shown: UnixSeconds,
}

/// All that is remembered.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn all(tx: &impl Tables) -> Result<Vec<(String, Newest)>, StoreError> {
    let mut all = Vec::new();
    for row in tx.table(CERTIFICATES)?.iter()? {
        let (of, row) = row?;
        let (from, shown) = row.value();
        let newest = Newest {
            from: UnixSeconds(from),
            shown: UnixSeconds(shown),
        };
        all.push((of.value().to_owned(), newest));
    }
    Ok(all)
}

/// Remembers these, each unless a newer one is remembered already.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put(tx: &WriteTx, newest: &[(String, Newest)]) -> Result<(), StoreError> {
    let mut table = tx.table_mut(CERTIFICATES)?;
    for (of, newest) in newest {
        let known = table.get(of.as_str())?.map(|row| row.value());
        if known.is_none_or(|(from, _)| from < newest.from.get()) {
            table.insert(of.as_str(), (newest.from.get(), newest.shown.get()))?;
        }
    }
    Ok(())
}
