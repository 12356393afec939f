//! Counts of what a box received and of what is lost of it, and the mark that closes it for good.

use redb::ReadableTable;
use tally_proto::calendar::ChannelKind;
use tally_proto::log::{Accepted, Entry};

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

/// What a restored party accepted and has not got back whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Ballots of the box.
    pub ballots: u64,
    /// Credential records of the box.
    pub records: u64,
}

/// What is lost of a box.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn lost(tx: &impl Tables, election: u32, of_box: u32) -> Result<Lost, StoreError> {
    let counts = tx.table(COUNTS)?;
    let of = |kind: u8| -> Result<u64, StoreError> {
        Ok(counts.get((election, of_box, kind))?.map_or(0, |row| row.value()))
    };
    Ok(Lost {
        ballots: of(LOST_BALLOTS)?,
        records: of(LOST_RECORDS)?,
    })
}

/// Positions of an election's log whose content is lost, those among them of which not even the entry is known.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn lost_in_all(tx: &impl Tables, election: u32) -> Result<u64, StoreError> {
    let counts = tx.table(COUNTS)?;
    Ok(counts
        .get((election, NO_BOX, LOST_IN_ALL))?
        .map_or(0, |row| row.value()))
}

/// Kinds of counts beside those of what was received.
const LOST_BALLOTS: u8 = 4;
const LOST_RECORDS: u8 = 5;
/// Counted for the election.
const LOST_IN_ALL: u8 = 6;
const NO_BOX: u32 = 0;

/// A position of the log is lost (`by` 1) or is no longer (-1).
pub(super) fn count_lost(
    tx: &WriteTx,
    election: u32,
    entry: Option<&Entry>,
    by: i64,
) -> Result<(), StoreError> {
    change(tx, (election, NO_BOX, LOST_IN_ALL), by)?;
    count_lost_of(tx, election, entry.and_then(Entry::accepted), by)
}

/// The same of one acceptance in its box.
pub(super) fn count_lost_of(
    tx: &WriteTx,
    election: u32,
    of: Option<&Accepted>,
    by: i64,
) -> Result<(), StoreError> {
    let Some(of) = of else { return Ok(()) };
    let kind = if of.record { LOST_RECORDS } else { LOST_BALLOTS };
    change(tx, (election, of.of_box.get(), kind), by)
}

fn change(tx: &WriteTx, key: (u32, u32, u8), by: i64) -> Result<(), StoreError> {
    let mut counts = tx.table_mut(COUNTS)?;
    let now = counts.get(key)?.map_or(0, |row| row.value());
    let then = now
        .checked_add_signed(by)
        .ok_or(StoreError::Corrupt { table: "counts" })?;
    counts.insert(key, then)?;
    Ok(())
}

/// Adds to a count: 0 records, 1 online, 2 station, 3 paper.
pub(super) fn count(tx: &WriteTx, election: u32, of_box: u32, kind: u8, more: u64) -> Result<(), StoreError> {
    let mut counts = tx.table_mut(COUNTS)?;
    let key = (election, of_box, kind);
    let now = counts.get(key)?.map_or(0, |row| row.value());
    counts.insert(key, now + more)?;
    Ok(())
}
