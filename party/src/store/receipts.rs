//! Receipts of the other parties, delivered by voters and parties and verified before they come here. Each stands beside the position that this
//! party gave to the same ballot or record in its own log: what it has not accepted has none.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::tables::{BALLOTS, RECEIPT_TOPS, RECEIPTS, RECORDS};
use super::{StoreError, Tables, WriteTx, accepted};

/// Another party's receipt on its way into the store.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Number of the election.
    pub election: u32,
    /// Whose receipt, 1 to 3.
    pub party: u8,
    /// Position in this party's log of what it is for.
    pub own_position: u64,
    /// Position in that party's log that it names.
    pub position: u64,
    /// The encoded receipt.
    pub receipt: &'a [u8],
}

/// Stores receipts. Of two for the same, the first stays: a party gives one. Tells of each whether it was the first.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_all(tx: &WriteTx, all: &[New<'_>]) -> Result<Vec<bool>, StoreError> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let mut firsts = Vec::with_capacity(all.len());
    let mut tops: BTreeMap<(u32, u8), u64> = BTreeMap::new();
    let mut table = tx.table_mut(RECEIPTS)?;
    for new in all {
        let key = (new.election, new.party, new.own_position);
        // Nearly always it is the first: one walk down the tree instead of two.
        let older = table.insert(key, new.receipt)?.map(|row| row.value().to_vec());
        if let Some(older) = &older {
            table.insert(key, older.as_slice())?;
        }
        firsts.push(older.is_none());
        let top = tops.entry((new.election, new.party)).or_default();
        *top = (*top).max(new.position.saturating_add(1));
    }
    let mut table = tx.table_mut(RECEIPT_TOPS)?;
    for (key, top) in tops {
        let known = table.get(key)?.map_or(0, |row| row.value());
        if known < top {
            table.insert(key, top)?;
        }
    }
    Ok(firsts)
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
    let Some(own_position) = accepted::position_of_any(tx, election, of_box, digest)? else {
        return Ok(None);
    };
    Ok(tx
        .table(RECEIPTS)?
        .get((election, party, own_position))?
        .map(|row| row.value().to_vec()))
}

/// Up to `most` encoded receipts of `party` for what stands at `from` and behind it in this party's own log, each with that position.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn of_party(
    tx: &impl Tables,
    election: u32,
    party: u8,
    from: u64,
    most: usize,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    tx.table(RECEIPTS)?
        .range((election, party, from)..=(election, party, u64::MAX))?
        .take(most)
        .map(|row| {
            let (key, value) = row?;
            Ok((key.value().2, value.value().to_vec()))
        })
        .collect()
}

/// Whether the receipt of `party` for what stands at `own_position` is here.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn is_there(tx: &impl Tables, election: u32, party: u8, own_position: u64) -> Result<bool, StoreError> {
    Ok(tx
        .table(RECEIPTS)?
        .get((election, party, own_position))?
        .is_some())
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
    let (ballots, records) = (tx.table(BALLOTS)?, tx.table(RECORDS)?);
    let all = (election, of_box, &[0; 32])..=(election, of_box, &[0xff; 32]);
    let mut ballots = ballots.range(all.clone()).map_err(StoreError::from)?.peekable();
    let mut records = records.range(all).map_err(StoreError::from)?.peekable();
    let receipts = tx.table(RECEIPTS)?;
    loop {
        // Both in the order of their digests. An error comes first, whichever it is.
        let ballot_first = match (ballots.peek(), records.peek()) {
            (None, None) => return Ok(()),
            (Some(Ok(ballot)), Some(Ok(record))) => ballot.0.value().2 <= record.0.value().2,
            (ballot, record) => matches!(ballot, Some(Err(_))) || record.is_none(),
        };
        let next = if ballot_first {
            ballots.next()
        } else {
            records.next()
        };
        let Some(next) = next else { return Ok(()) };
        let (key, position) = next.map_err(StoreError::from)?;
        for party in 1..=3 {
            let receipt = receipts
                .get((election, party, position.value()))
                .map_err(StoreError::from)?;
            if let Some(receipt) = receipt {
                each(key.value().2, party, receipt.value())?;
            }
        }
    }
}
