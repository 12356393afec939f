//! Enrolment by card: who the persons of a roll are, and the card records of a register in the order in which this party accepted them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `salts` | election | salt of the person codes of its rolls |
//! | `persons` | election, person code | box, v |
//! | `registered` | register, number | election, box and digest under which the record was accepted first |
//! | `numbers` | election, box, v | code of the person who has that number on an open roll; `persons` holds the same the other way round |
//! | `seen_persons` | election, person code | a person of whom another party accepted a record for an open roll, and no number is paired here |
//! | `paired` | election, box | how many people are in `persons` and `seen_persons` of an open roll |
//! | `taken_over` | election | the number up to which the records of its register were looked at |

use redb::{ReadableTable, TableDefinition};
use tally_proto::ids::Hash32;

use super::{StoreError, Tables, WriteTx};

type Place = (u32, u32);
type Registered = (u32, u32, &'static [u8; 32]);

const SALTS: TableDefinition<'static, u32, &[u8; 32]> = TableDefinition::new("salts");
const PERSONS: TableDefinition<'static, (u32, &[u8; 32]), Place> = TableDefinition::new("persons");
const REGISTERED: TableDefinition<'static, (&str, u64), Registered> = TableDefinition::new("registered");
const NUMBERS: TableDefinition<'static, (u32, u32, u32), &[u8; 32]> = TableDefinition::new("numbers");
const SEEN: TableDefinition<'static, (u32, &[u8; 32]), ()> = TableDefinition::new("seen_persons");
const PAIRED: TableDefinition<'static, (u32, u32), u32> = TableDefinition::new("paired");
const TAKEN_OVER: TableDefinition<'static, u32, u64> = TableDefinition::new("taken_over");

/// Makes the tables of this module, in the store's opening transaction.
pub(super) fn create(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(SALTS)?;
    tx.table_mut(PERSONS)?;
    tx.table_mut(REGISTERED)?;
    tx.table_mut(TAKEN_OVER)?;
    tx.table_mut(NUMBERS)?;
    tx.table_mut(SEEN)?;
    tx.table_mut(PAIRED)?;
    Ok(())
}

/// What became of a pairing of number and person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paired {
    /// It stands, from now on or from before.
    Stands,
    /// The number is another person's, or the person has another number.
    Other,
}

/// Pairs number `v` of an open roll with a person, for good. The first pairing of either stands.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn pair(tx: &WriteTx, election: u32, of_box: u32, v: u32, person: &Hash32) -> Result<Paired, StoreError> {
    let mut persons = tx.table_mut(PERSONS)?;
    let mut numbers = tx.table_mut(NUMBERS)?;
    let own = persons.get((election, &person.0))?.map(|row| row.value());
    let holder = numbers.get((election, of_box, v))?.map(|row| *row.value());
    Ok(match (own, holder) {
        (None, None) => {
            persons.insert((election, &person.0), (of_box, v))?;
            numbers.insert((election, of_box, v), &person.0)?;
            if tx.table_mut(SEEN)?.remove((election, &person.0))?.is_none() {
                one_more(tx, election, of_box)?;
            }
            Paired::Stands
        }
        (Some(place), Some(holder)) if place == (of_box, v) && holder == person.0 => Paired::Stands,
        _ => Paired::Other,
    })
}

/// Another party accepted a record of this person for an open roll, and its card's authorisation holds.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn saw(tx: &WriteTx, election: u32, of_box: u32, person: &Hash32) -> Result<(), StoreError> {
    if place(tx, election, person)?.is_none()
        && tx.table_mut(SEEN)?.insert((election, &person.0), ())?.is_none()
    {
        one_more(tx, election, of_box)?;
    }
    Ok(())
}

fn one_more(tx: &WriteTx, election: u32, of_box: u32) -> Result<(), StoreError> {
    let mut table = tx.table_mut(PAIRED)?;
    let before = table.get((election, of_box))?.map_or(0, |row| row.value());
    table.insert((election, of_box), before.saturating_add(1))?;
    Ok(())
}

/// How many people have authorised a record for an open roll with their cards, as far as this party has seen: each once, whatever numbers they
/// were given.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn people(tx: &impl Tables, election: u32, of_box: u32) -> Result<u32, StoreError> {
    Ok(tx
        .table(PAIRED)?
        .get((election, of_box))?
        .map_or(0, |row| row.value()))
}

/// One more than the highest number of an open roll that is paired here; 0 when none is.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn next_number(tx: &impl Tables, election: u32, of_box: u32) -> Result<u32, StoreError> {
    let table = tx.table(NUMBERS)?;
    let last = table
        .range((election, of_box, 0)..=(election, of_box, u32::MAX))?
        .next_back();
    Ok(match last {
        Some(row) => row?.0.value().2.saturating_add(1),
        None => 0,
    })
}

/// Puts the salt of an election's person codes.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_salt(tx: &WriteTx, election: u32, salt: &[u8; 32]) -> Result<(), StoreError> {
    tx.table_mut(SALTS)?.insert(election, salt)?;
    Ok(())
}

/// Puts persons of an election: (code, box, v) of each, best in the order of the codes.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_persons(
    tx: &WriteTx,
    election: u32,
    persons: impl IntoIterator<Item = (Hash32, u32, u32)>,
) -> Result<(), StoreError> {
    let mut table = tx.table_mut(PERSONS)?;
    for (person, of_box, v) in persons {
        table.insert((election, &person.0), (of_box, v))?;
    }
    Ok(())
}

/// Takes away up to `most` persons of an election that is forgotten, and how many; with the last of them its salt.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub(super) fn sweep(tx: &WriteTx, election: u32, most: usize) -> Result<usize, StoreError> {
    let mut table = tx.table_mut(PERSONS)?;
    let all = (election, &[0; 32])..=(election, &[0xff; 32]);
    let mut swept = 0;
    for row in table.extract_from_if(all, |_, _| true)?.take(most) {
        row?;
        swept += 1;
    }
    if swept < most {
        tx.table_mut(SALTS)?.remove(election)?;
    }
    Ok(swept)
}

/// The salt of an election's person codes.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn salt(tx: &impl Tables, election: u32) -> Result<Option<[u8; 32]>, StoreError> {
    Ok(tx.table(SALTS)?.get(election)?.map(|row| *row.value()))
}

/// Where a person is on the roll: (box, v).
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn place(tx: &impl Tables, election: u32, person: &Hash32) -> Result<Option<(u32, u32)>, StoreError> {
    Ok(tx
        .table(PERSONS)?
        .get((election, &person.0))?
        .map(|row| row.value()))
}

/// The codes of the voters of a box, each with its v, ascending by both.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn persons_of_box(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
) -> Result<Vec<(u32, Hash32)>, StoreError> {
    let mut persons = Vec::new();
    let table = tx.table(PERSONS)?;
    for row in table.range((election, &[0; 32])..=(election, &[0xff; 32]))? {
        let (key, value) = row?;
        let (found, v) = value.value();
        if found == of_box {
            persons.push((v, Hash32(*key.value().1)));
        }
    }
    persons.sort_unstable();
    Ok(persons)
}

/// Those of voter `v` among [`persons_of_box`], ascending.
pub fn codes_of(persons: &[(u32, Hash32)], v: u32) -> impl Iterator<Item = &Hash32> {
    let first = persons.partition_point(|(of, _)| *of < v);
    let rest = persons.get(first..).unwrap_or_default();
    rest.iter()
        .take_while(move |(of, _)| *of == v)
        .map(|(_, code)| code)
}

/// Notes that a record of `register` was accepted for the first time.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn note(
    tx: &WriteTx,
    register: &str,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
) -> Result<(), StoreError> {
    let mut table = tx.table_mut(REGISTERED)?;
    let last = table
        .range((register, 0)..=(register, u64::MAX))?
        .next_back()
        .transpose()?
        .map(|(key, _)| key.value().1);
    let number = last.map_or(0, |last| last + 1);
    table.insert((register, number), (election, of_box, digest))?;
    Ok(())
}

/// A record of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Its number.
    pub number: u64,
    /// The election under which it was accepted.
    pub election: u32,
    /// The box.
    pub of_box: u32,
    /// The record.
    pub digest: [u8; 32],
}

/// At most `most` records of `register` that were not looked at for `election` yet.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn not_taken_over(
    tx: &impl Tables,
    register: &str,
    election: u32,
    most: usize,
) -> Result<Vec<Noted>, StoreError> {
    noted_from(tx, register, taken_over(tx, election)?, most)
}

/// The number of the first record of its register that was not looked at for `election` yet.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn taken_over(tx: &impl Tables, election: u32) -> Result<u64, StoreError> {
    Ok(tx.table(TAKEN_OVER)?.get(election)?.map_or(0, |row| row.value()))
}

/// At most `most` records of `register`, from number `from` on.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn noted_from(
    tx: &impl Tables,
    register: &str,
    from: u64,
    most: usize,
) -> Result<Vec<Noted>, StoreError> {
    let table = tx.table(REGISTERED)?;
    let mut found = Vec::new();
    for row in table.range((register, from)..=(register, u64::MAX))?.take(most) {
        let (key, value) = row?;
        let (election, of_box, digest) = value.value();
        found.push(Noted {
            number: key.value().1,
            election,
            of_box,
            digest: *digest,
        });
    }
    Ok(found)
}

/// Calls `each` with every record of `register`, in the order in which they were accepted.
///
/// # Errors
/// [`StoreError`]: the engine failed; or what `each` returns.
pub fn for_each<E: From<StoreError>>(
    tx: &impl Tables,
    register: &str,
    mut each: impl FnMut(Noted) -> Result<(), E>,
) -> Result<(), E> {
    let table = tx.table(REGISTERED)?;
    let all = (register, 0)..=(register, u64::MAX);
    for row in table.range(all).map_err(StoreError::from)? {
        let (key, value) = row.map_err(StoreError::from)?;
        let (election, of_box, digest) = value.value();
        each(Noted {
            number: key.value().1,
            election,
            of_box,
            digest: *digest,
        })?;
    }
    Ok(())
}

/// Notes that the records up to `number` were looked at for `election`.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn put_taken_over(tx: &WriteTx, election: u32, number: u64) -> Result<(), StoreError> {
    tx.table_mut(TAKEN_OVER)?.insert(election, number + 1)?;
    Ok(())
}
