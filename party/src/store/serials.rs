//! Which serials of credential records are taken: one record for a voter, half and serial.

use redb::ReadableTable;

use super::tables::SERIALS;
use super::{StoreError, Tables, WriteTx};

/// The place of a record: one record may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Number in the roll.
    pub voter: u32,
    /// Half of a split issue, from 0.
    pub half: u8,
    /// The record's serial.
    pub serial: u32,
    /// Records up to this serial are out by an order, and use nothing up.
    pub after: u32,
}

/// Serials of so many records of a voter are given without waiting.
const AT_WILL: usize = 8;
/// Seconds between the records after these: doubled with each.
const PAUSE_S: u32 = 60;
/// Most doublings: some eleven days.
const DOUBLINGS: usize = 14;

/// Whether a voter's own device may bring a record now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It may.
    Good,
    /// A record with a higher serial is here.
    Later,
    /// There are too many; so many seconds after the newest the next is taken.
    Wait(u32),
}

/// Whether the record of a voter's card, whose serial is the second of signing, may follow those that are here. Keeps a voter from filling
/// the disks, and from being told of an enrolment that a record dated ahead has overtaken.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn pace(tx: &WriteTx, election: u32, of_box: u32, serial: Serial) -> Result<Pace, StoreError> {
    let table = tx.table_mut(SERIALS)?;
    let at = |number| (election, of_box, serial.voter, serial.half, number);
    let (mut count, mut newest) = (0usize, 0);
    for row in table.range(at(0)..=at(u32::MAX))? {
        newest = row?.0.value().4;
        count += usize::from(newest > serial.after);
    }
    if count > 0 && serial.serial < newest {
        return Ok(Pace::Later);
    }
    let Some(over) = count.checked_sub(AT_WILL) else {
        return Ok(Pace::Good);
    };
    let pause = PAUSE_S << over.min(DOUBLINGS);
    Ok(if serial.serial - newest >= pause {
        Pace::Good
    } else {
        Pace::Wait(pause)
    })
}

/// Gives `serial` to the record of `digest`. False when another record has it.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn take(
    tx: &WriteTx,
    election: u32,
    of_box: u32,
    serial: Serial,
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    let mut table = tx.table_mut(SERIALS)?;
    let key = (election, of_box, serial.voter, serial.half, serial.serial);
    if let Some(taken) = table.get(key)?.map(|row| *row.value()) {
        return Ok(taken == *digest);
    }
    table.insert(key, digest)?;
    Ok(true)
}

/// How many records of the voter and half are here with serials above `after`, up to `most`.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn taken(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    (voter, half, after): (u32, u8, u32),
    most: usize,
) -> Result<usize, StoreError> {
    let table = tx.table(SERIALS)?;
    let of = |serial| (election, of_box, voter, half, serial);
    let mut taken = 0;
    for row in table.range(of(0)..=of(u32::MAX))? {
        taken += usize::from(row?.0.value().4 > after || after == 0);
        if taken >= most {
            break;
        }
    }
    Ok(taken)
}
