//! Counts of what a box received, and the mark that closes it for good.

use redb::ReadableTable;
use tally_proto::calendar::ChannelKind;

use super::accepted::Counted;
use super::tables::{BOXES, COUNTS};
use super::{StoreError, Tables, WriteTx};

const FROZEN: u8 = 1;

/// Closes a box for good: nothing is accepted for it afterwards. Call it in the transaction that makes this party's List, so that the List is all
/// that the box will ever hold.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn freeze(tx: &WriteTx, election: u32, of_box: u32) -> Result<(), StoreError> {
    tx.table_mut(BOXES)?.insert((election, of_box), FROZEN)?;
    Ok(())
}

/// Whether the box was closed by [`freeze`].
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn is_frozen(tx: &impl Tables, election: u32, of_box: u32) -> Result<bool, StoreError> {
    Ok(tx
        .table(BOXES)?
        .get((election, of_box))?
        .is_some_and(|row| row.value() == FROZEN))
}

/// What a box holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Credential records.
    pub records: u64,
    /// Online ballots.
    pub online: u64,
    /// Electronic station ballots.
    pub station: u64,
    /// Paper rows.
    pub paper: u64,
}

impl Received {
    /// The count of its kind and channel.
    pub fn of(&mut self, counted: Counted) -> &mut u64 {
        match counted {
            Counted::Record => &mut self.records,
            Counted::Ballot(ChannelKind::Online) => &mut self.online,
            Counted::Ballot(ChannelKind::Station) => &mut self.station,
            Counted::Ballot(ChannelKind::Paper) => &mut self.paper,
        }
    }
}

/// Ballots and records accepted for a box.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn received(tx: &impl Tables, election: u32, of_box: u32) -> Result<Received, StoreError> {
    let counts = tx.table(COUNTS)?;
    let of = |kind: u8| -> Result<u64, StoreError> {
        Ok(counts.get((election, of_box, kind))?.map_or(0, |row| row.value()))
    };
    Ok(Received {
        records: of(0)?,
        online: of(1)?,
        station: of(2)?,
        paper: of(3)?,
    })
}

/// Adds to a count: 0 records, 1 online, 2 station, 3 paper.
pub(super) fn count(tx: &WriteTx, election: u32, of_box: u32, kind: u8, more: u64) -> Result<(), StoreError> {
    let mut counts = tx.table_mut(COUNTS)?;
    let key = (election, of_box, kind);
    let now = counts.get(key)?.map_or(0, |row| row.value());
    counts.insert(key, now + more)?;
    Ok(())
}
