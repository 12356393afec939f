//! Elections known to this party: manifests, rolls and orders, as bytes. What they mean is checked before they come here.

use redb::ReadableTable;

use super::tables::{DRAFTS, ELECTIONS, MANIFESTS, META, ORDERS, ROLLS, UNSEEN};
use super::{StoreError, Tables, WriteTx};

/// In the table of facts: the highest number that was given for a publication.
const HIGHEST: &str = "highest-forgotten";

/// The number of an election, given out when it is first seen.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn number_of(tx: &impl Tables, election: &str) -> Result<Option<u32>, StoreError> {
    Ok(tx.table(ELECTIONS)?.get(election)?.map(|row| row.value()))
}

/// The number of an election, given out now when it has none.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn number_or_new(tx: &WriteTx, election: &str) -> Result<u32, StoreError> {
    if let Some(number) = number_of(tx, election)? {
        return Ok(number);
    }
    let next = next_number(tx)?;
    tx.table_mut(ELECTIONS)?.insert(election, next)?;
    Ok(next)
}

/// No number is given out twice, also when its election was forgotten or never seen.
fn next_number(tx: &WriteTx) -> Result<u32, StoreError> {
    let given = tx.table(META)?.get(HIGHEST)?.map_or(0, |row| row.value());
    let mut next = u32::try_from(given).unwrap_or(u32::MAX).saturating_add(1);
    for row in tx.table(ELECTIONS)?.iter()? {
        next = next.max(row?.1.value() + 1);
    }
    Ok(next)
}

/// Begins a publication: the number under which its rolls are written, and nobody finds them before [`publish`].
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn begin(tx: &WriteTx, id: &str) -> Result<u32, StoreError> {
    let number = match number_of(tx, id)? {
        Some(known) if manifest(tx, known)?.is_none() => known,
        _ => next_number(tx)?,
    };
    given(tx, number)?;
    tx.table_mut(UNSEEN)?.insert(number, ())?;
    Ok(number)
}

fn given(tx: &WriteTx, number: u32) -> Result<(), StoreError> {
    let mut meta = tx.table_mut(META)?;
    let highest = meta.get(HIGHEST)?.map_or(0, |row| row.value());
    meta.insert(HIGHEST, highest.max(number.into()))?;
    Ok(())
}

/// Ends a publication: from now on the election of that id is what was written under `number`, in place of what it was before.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn publish(tx: &WriteTx, id: &str, number: u32, envelope: &[u8], bytes: u64) -> Result<(), StoreError> {
    if let Some(before) = number_of(tx, id)?.filter(|before| *before != number) {
        forget(tx, id, before)?;
    }
    tx.table_mut(ELECTIONS)?.insert(id, number)?;
    tx.table_mut(DRAFTS)?.insert(number, bytes)?;
    tx.table_mut(UNSEEN)?.remove(number)?;
    put_manifest(tx, number, envelope)
}

/// Every known election: (id, number), by id.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn all(tx: &impl Tables) -> Result<Vec<(String, u32)>, StoreError> {
    let mut all = Vec::new();
    for row in tx.table(ELECTIONS)?.iter()? {
        let (id, number) = row?;
        all.push((id.value().to_owned(), number.value()));
    }
    Ok(all)
}

/// Stores the manifest envelope with the signatures known so far.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_manifest(tx: &WriteTx, election: u32, envelope: &[u8]) -> Result<(), StoreError> {
    tx.table_mut(MANIFESTS)?.insert(election, envelope)?;
    Ok(())
}

/// The stored manifest envelope.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn manifest(tx: &impl Tables, election: u32) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(MANIFESTS)?
        .get(election)?
        .map(|row| row.value().to_vec()))
}

/// How many bytes the publication of an election brought here; 0 where nobody noted it.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn bytes(tx: &impl Tables, election: u32) -> Result<u64, StoreError> {
    Ok(tx.table(DRAFTS)?.get(election)?.map_or(0, |row| row.value()))
}

/// Forgets an election that nothing was ever accepted for. What it leaves behind nobody finds, and [`sweep`] takes away.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn forget(tx: &WriteTx, id: &str, number: u32) -> Result<(), StoreError> {
    given(tx, number)?;
    tx.table_mut(ELECTIONS)?.remove(id)?;
    tx.table_mut(MANIFESTS)?.remove(number)?;
    tx.table_mut(DRAFTS)?.remove(number)?;
    tx.table_mut(UNSEEN)?.insert(number, ())?;
    Ok(())
}

/// Whether there is anything to [`sweep`].
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn is_swept(tx: &impl Tables) -> Result<bool, StoreError> {
    Ok(tx.table(UNSEEN)?.first()?.is_none())
}

/// Takes away up to `most` rows that nobody finds: of forgotten elections, and of publications that never ended.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn sweep(tx: &WriteTx, most: usize) -> Result<(), StoreError> {
    let Some(number) = tx.table(UNSEEN)?.first()?.map(|(key, _)| key.value()) else {
        return Ok(());
    };
    let mut left = most;
    let mut rolls = tx.table_mut(ROLLS)?;
    let all = (number, 0, 0)..=(number, u32::MAX, u32::MAX);
    for row in rolls.extract_from_if(all, |_, _| true)?.take(most) {
        row?;
        left -= 1;
    }
    left -= super::registers::sweep(tx, number, left)?;
    if left == 0 {
        return Ok(());
    }
    let orders = (number, 0)..=(number, u32::MAX);
    tx.table_mut(ORDERS)?.retain_in(orders, |_, _| false)?;
    tx.table_mut(UNSEEN)?.remove(number)?;
    Ok(())
}

/// Stores an order envelope with the signatures known so far.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_order(tx: &WriteTx, election: u32, number: u32, envelope: &[u8]) -> Result<(), StoreError> {
    tx.table_mut(ORDERS)?.insert((election, number), envelope)?;
    Ok(())
}

/// Forgets an order that was given up.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn remove_order(tx: &WriteTx, election: u32, number: u32) -> Result<(), StoreError> {
    tx.table_mut(ORDERS)?.remove((election, number))?;
    Ok(())
}

/// The stored orders of an election, by number.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn orders(tx: &impl Tables, election: u32) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
    let mut orders = Vec::new();
    for row in tx.table(ORDERS)?.range((election, 0)..=(election, u32::MAX))? {
        let (key, value) = row?;
        orders.push((key.value().1, value.value().to_vec()));
    }
    Ok(orders)
}

/// Puts entries of a box's roll, from number `from` on: each is (online, reference).
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_roll<'a>(
    tx: &WriteTx,
    election: u32,
    of_box: u32,
    from: u32,
    entries: impl IntoIterator<Item = (bool, &'a str)>,
) -> Result<(), StoreError> {
    let mut table = tx.table_mut(ROLLS)?;
    for (v, entry) in (from..).zip(entries) {
        table.insert((election, of_box, v), entry)?;
    }
    Ok(())
}

/// One roll entry: (online, reference).
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn roll_entry(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    v: u32,
) -> Result<Option<(bool, String)>, StoreError> {
    Ok(tx.table(ROLLS)?.get((election, of_box, v))?.map(|row| {
        let (online, reference) = row.value();
        (online, reference.to_owned())
    }))
}

/// (v, online, reference) of up to `most` entries of a box's roll, from number `from` on.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn roll_part(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    from: u32,
    most: usize,
) -> Result<Vec<(u32, bool, String)>, StoreError> {
    tx.table(ROLLS)?
        .range((election, of_box, from)..=(election, of_box, u32::MAX))?
        .take(most)
        .map(|row| {
            let (key, value) = row?;
            let (online, reference) = value.value();
            Ok((key.value().2, online, reference.to_owned()))
        })
        .collect()
}

/// Calls `each` with (v, online, reference) of every entry of a box's roll, in order.
///
/// # Errors
/// [`StoreError`]: the engine failed; or what `each` returns.
pub fn for_each_roll_entry<E: From<StoreError>>(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    mut each: impl FnMut(u32, bool, &str) -> Result<(), E>,
) -> Result<(), E> {
    let table = tx.table(ROLLS)?;
    let range = table
        .range((election, of_box, 0)..=(election, of_box, u32::MAX))
        .map_err(StoreError::from)?;
    for row in range {
        let (key, value) = row.map_err(StoreError::from)?;
        let (online, reference) = value.value();
        each(key.value().2, online, reference)?;
    }
    Ok(())
}
