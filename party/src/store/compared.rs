//! When each of the two others last had in force just what was in force here: what a store that was made anew, or put back from a backup, cannot say.
//! Who lacks something may have lost its own store, and is no witness. Rows `compared_<party>` of `meta`, in milliseconds.

use redb::ReadableTable as _;
use tally_proto::ids::{Role, UnixMillis};

use super::tables::META;
use super::{StoreError, Tables, WriteTx};

const fn name(peer: Role) -> &'static str {
    match peer {
        Role::P1 => "compared_1",
        Role::P2 => "compared_2",
        Role::P3 => "compared_3",
    }
}

/// Notes that at that moment the elections in force at `peer` were those in force here.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn note(tx: &WriteTx, peer: Role, at: UnixMillis) -> Result<(), StoreError> {
    tx.table_mut(META)?.insert(name(peer), at.get())?;
    Ok(())
}

/// When that was noted last; `None`: never, since this store was made.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn at(tx: &impl Tables, peer: Role) -> Result<Option<UnixMillis>, StoreError> {
    let noted = tx
        .table(META)?
        .get(name(peer))?
        .map(|row| UnixMillis(row.value()));
    Ok(noted)
}

/// Which of the two others this store was not compared with between those moments.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn missing(
    tx: &impl Tables,
    own: Role,
    between: std::ops::RangeInclusive<UnixMillis>,
) -> Result<Vec<Role>, StoreError> {
    let mut missing = Vec::new();
    for peer in [own.next(), own.prev()] {
        if !at(tx, peer)?.is_some_and(|at| between.contains(&at)) {
            missing.push(peer);
        }
    }
    missing.sort();
    Ok(missing)
}
