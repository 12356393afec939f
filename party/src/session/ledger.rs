//! What a party must remember of its sessions: the highest number it signed, the Starts of others, aborts, the one result of a box.
//!
//! | table | key | value |
//! |---|---|---|
//! | `session_starts` | e, b | highest session number of a Start that this party signed |
//! | `session_aborts` | e, b, number | encoded Envelope: this party's signed Abort |
//! | `session_results` | e, b | encoded Envelope: the Result that this party signed, with all signatures known here |
//! | `session_seen` | e, b, party | encoded Envelope: the Start of that party of the highest number that a session began with |
//! | `session_begun` | e, b | sessions begun since a person gave leave |

use redb::{ReadableTable as _, TableDefinition};
use tally_proto::envelope::Envelope;
use tally_proto::ids::{Role, SessionNumber};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::MIN_SIGNATURES;
use tally_proto::session::Start;

use crate::store::{StoreError, Tables, WriteTx};

/// A number is at most this far above the last one: a slip or a trick of the coordinator does not use the numbers up.
pub(crate) const LONGEST_JUMP: u64 = 1 << 20;

const STARTS: TableDefinition<'static, (u32, u32), u64> = TableDefinition::new("session_starts");
const ABORTS: TableDefinition<'static, (u32, u32, u64), &[u8]> = TableDefinition::new("session_aborts");
/// Sessions of a box that may follow one another without a person.
pub(crate) const WITHOUT_A_PERSON: u32 = 3;

const SEEN: TableDefinition<'static, (u32, u32, u8), &[u8]> = TableDefinition::new("session_seen");
const BEGUN: TableDefinition<'static, (u32, u32), u32> = TableDefinition::new("session_begun");
const RESULTS: TableDefinition<'static, (u32, u32), &[u8]> = TableDefinition::new("session_results");

/// (election number, box).
pub(crate) type Key = (u32, u32);

/// Makes the tables of this module, in the store's opening transaction.
pub(crate) fn create_tables(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(STARTS)?;
    tx.table_mut(ABORTS)?;
    tx.table_mut(RESULTS)?;
    tx.table_mut(SEEN)?;
    tx.table_mut(BEGUN)?;
    Ok(())
}

/// Why a number cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RaiseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not above the last one, or too far above it.
    #[error(
        "session {asked} cannot be opened: this party's last one is {last}; propose a number from {} to {}",
        last.saturating_add(1), last.saturating_add(LONGEST_JUMP)
    )]
    Stale { asked: u64, last: u64 },
    /// The box is tallied.
    #[error("the box is tallied: two parties have signed its Result, which is what Tally returns")]
    Tallied,
    /// Too many sessions without a person.
    #[error(
        "{WITHOUT_A_PERSON} sessions of this box have begun here since a person gave leave, or this party was restored from a backup: find          out why they aborted, then let this party's operator run `party allow-sessions`"
    )]
    Limit,
    /// A Result of other content than the one signed before.
    #[error(
        "this session opened another Result than the one that this party signed before; it is not signed: keep both logs for the audit"
    )]
    OtherResult,
}

impl From<RaiseError> for Refusal {
    fn from(error: RaiseError) -> Self {
        let reason = match &error {
            RaiseError::Store(_) => Reason::StoreFailed,
            RaiseError::Stale { .. } => Reason::SessionStale,
            RaiseError::Tallied => Reason::TallyAlready,
            RaiseError::Limit => Reason::SessionLimit,
            RaiseError::OtherResult => Reason::Internal,
        };
        Self::new(reason, error)
    }
}

/// Takes `number` for a Start of this party, once and for all.
///
/// # Errors
/// The number is not above the last one or too far above it, the box is tallied, its sessions are used up, or the store failed.
pub(crate) fn raise(tx: &WriteTx, key: Key, number: SessionNumber) -> Result<(), RaiseError> {
    if concluded(tx, key)? {
        return Err(RaiseError::Tallied);
    }
    let last = last(tx, key)?.get();
    let asked = number.get();
    if asked <= last || asked - last > LONGEST_JUMP {
        return Err(RaiseError::Stale { asked, last });
    }
    if left(tx, key)? == 0 {
        return Err(RaiseError::Limit);
    }
    tx.table_mut(STARTS)?
        .insert(key, asked)
        .map_err(StoreError::from)?;
    Ok(())
}

/// The highest number that this party signed; 0: none.
pub(crate) fn last(tx: &impl Tables, key: Key) -> Result<SessionNumber, StoreError> {
    Ok(SessionNumber(
        tx.table(STARTS)?.get(key)?.map_or(0, |row| row.value()),
    ))
}

/// Others hold a Start of this party with `number`. One above what is written here means that this store was restored from an older copy:
/// no number up to it is signed again, and the next session needs a person.
///
/// # Errors
/// The store failed.
pub(crate) fn shown(tx: &WriteTx, key: Key, number: u64) -> Result<bool, StoreError> {
    if number <= last(tx, key)?.get() {
        return Ok(false);
    }
    tx.table_mut(STARTS)?.insert(key, number)?;
    tx.table_mut(BEGUN)?.insert(key, WITHOUT_A_PERSON)?;
    Ok(true)
}

/// Sessions that may begin without a person.
pub(crate) fn left(tx: &impl Tables, key: Key) -> Result<u32, StoreError> {
    let begun = tx.table(BEGUN)?.get(key)?.map_or(0, |row| row.value());
    Ok(WITHOUT_A_PERSON.saturating_sub(begun))
}

/// A person gives leave for [`WITHOUT_A_PERSON`] more sessions.
pub(crate) fn allow(tx: &WriteTx, key: Key) -> Result<(), StoreError> {
    tx.table_mut(BEGUN)?.insert(key, 0)?;
    Ok(())
}

/// A session begins with these Starts of others: written down before the first frame, so that this party can always show them.
///
/// # Errors
/// The box is tallied, its sessions are used up, or the store failed.
pub(crate) fn begin(
    tx: &WriteTx,
    key: Key,
    starts: &[(Role, SessionNumber, &Envelope)],
) -> Result<(), RaiseError> {
    if concluded(tx, key)? {
        return Err(RaiseError::Tallied);
    }
    let begun = WITHOUT_A_PERSON - left(tx, key)?;
    if begun >= WITHOUT_A_PERSON {
        return Err(RaiseError::Limit);
    }
    tx.table_mut(BEGUN)?
        .insert(key, begun + 1)
        .map_err(StoreError::from)?;
    for (party, number, start) in starts {
        let newest = match seen(tx, key, *party)? {
            Some(other) => {
                Start::decode(Envelope::decode(&other).map_err(|_| corrupt())?.payload())
                    .map_err(|_| corrupt())?
                    .number
            }
            None => SessionNumber(0),
        };
        if *number > newest {
            tx.table_mut(SEEN)?
                .insert((key.0, key.1, party.index()), start.encode().as_slice())
                .map_err(StoreError::from)?;
        }
    }
    Ok(())
}

fn corrupt() -> StoreError {
    StoreError::Corrupt {
        table: "session_seen",
    }
}

/// The Start of `party` of the highest number that a session began with here.
pub(crate) fn seen(tx: &impl Tables, key: Key, party: Role) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(SEEN)?
        .get((key.0, key.1, party.index()))?
        .map(|row| row.value().to_vec()))
}

/// Stores this party's Abort of a session.
pub(crate) fn put_abort(
    tx: &WriteTx,
    key: Key,
    number: SessionNumber,
    envelope: &[u8],
) -> Result<(), StoreError> {
    tx.table_mut(ABORTS)?
        .insert((key.0, key.1, number.get()), envelope)?;
    Ok(())
}

/// This party's Abort of a session.
pub(crate) fn abort(
    tx: &impl Tables,
    key: Key,
    number: SessionNumber,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(ABORTS)?
        .get((key.0, key.1, number.get()))?
        .map(|row| row.value().to_vec()))
}

/// Stores the one Result of a box, or adds signatures, which are verified, to the one there is.
///
/// # Errors
/// There is one of other content.
pub(crate) fn put_result(tx: &WriteTx, key: Key, envelope: &Envelope) -> Result<(), RaiseError> {
    let mut whole = match result(tx, key)? {
        Some(bytes) => Envelope::decode(&bytes).map_err(|_| StoreError::Corrupt {
            table: "session_results",
        })?,
        None => envelope.clone(),
    };
    if whole.payload() != envelope.payload() {
        return Err(RaiseError::OtherResult);
    }
    envelope
        .signatures()
        .iter()
        .for_each(|signature| whole.add_signature(*signature));
    tx.table_mut(RESULTS)?
        .insert(key, whole.encode().as_slice())
        .map_err(StoreError::from)?;
    Ok(())
}

/// Whether two parties have signed the box's Result: no session follows it.
pub(crate) fn concluded(tx: &impl Tables, key: Key) -> Result<bool, StoreError> {
    let Some(bytes) = result(tx, key)? else {
        return Ok(false);
    };
    let whole = Envelope::decode(&bytes).map_err(|_| StoreError::Corrupt {
        table: "session_results",
    })?;
    Ok(whole.signatures().len() >= MIN_SIGNATURES)
}

/// The Result of a box, with the signatures known here.
pub(crate) fn result(tx: &impl Tables, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx.table(RESULTS)?.get(key)?.map(|row| row.value().to_vec()))
}

/// The Result of a box, once it stands.
pub(crate) fn result_of(tx: &impl Tables, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
    if concluded(tx, key)? {
        result(tx, key)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tally_proto::envelope::{Kind, Signer};
    use tally_proto::ids::RoleExt as _;
    use tally_proto::wire;

    use super::*;
    use crate::store::sim::SimDisk;
    use crate::store::{Storage, Store};

    const KEY: Key = (1, 2);

    fn open(disk: &SimDisk) -> Store {
        Store::open(Storage::Backend(Box::new(disk.clone())), 1).expect("a store")
    }

    fn take(store: &Store, key: Key, number: u64) -> Result<(), RaiseError> {
        store.write(|tx| raise(tx, key, SessionNumber(number)))
    }

    fn last_of(store: &Store) -> u64 {
        store.read(|tx| last(tx, KEY)).expect("readable").get()
    }

    #[test]
    fn numbers_only_rise_also_across_restarts_and_losses_of_power() {
        let mut disk = SimDisk::new();
        let mut highest = 0;
        for round in 0..8u64 {
            let store = open(&disk);
            assert_eq!(last_of(&store), highest, "round {round}");
            for stale in [0, 1, highest] {
                if stale <= highest {
                    assert!(
                        matches!(take(&store, KEY, stale), Err(RaiseError::Stale { last, .. }) if last == highest)
                    );
                }
            }
            let far = highest + LONGEST_JUMP + 1;
            assert!(matches!(take(&store, KEY, far), Err(RaiseError::Stale { .. })));
            highest += if round % 2 == 0 { 1 } else { LONGEST_JUMP };
            take(&store, KEY, highest).expect("above the last, within the jump");
            // The machine loses power: what was acknowledged is still there.
            let after = disk.after_crash(round);
            drop(store);
            disk = after;
        }
    }

    #[test]
    fn boxes_have_numbers_of_their_own() {
        let store = open(&SimDisk::new());
        take(&store, KEY, 7).expect("fresh");
        take(&store, (1, 3), 1).expect("another box");
        take(&store, (2, 2), 1).expect("another election");
        assert!(take(&store, KEY, 7).is_err());
    }

    #[test]
    fn a_failing_disk_signs_no_number() {
        let disk = SimDisk::new();
        let store = open(&disk);
        take(&store, KEY, 1).expect("fresh");
        disk.fail_from(disk.operations());
        assert!(matches!(take(&store, KEY, 2), Err(RaiseError::Store(_))));
        let after = open(&disk.after_crash(1));
        assert!(last_of(&after) <= 2);
        take(&after, KEY, 3).expect("a number that was never shown is skipped or free");
    }

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32]).expect("32 bytes")
    }

    fn put(store: &Store, envelope: &Envelope) -> Result<(), RaiseError> {
        store.write(|tx| put_result(tx, KEY, envelope))
    }

    #[test]
    fn two_signatures_end_the_numbers_and_one_does_not() {
        let store = open(&SimDisk::new());
        store
            .write(|tx| put_abort(tx, KEY, SessionNumber(1), b"abort"))
            .expect("stored");
        take(&store, KEY, 2).expect("an aborted session is followed by another");
        let first = signer(1).seal_envelope(Kind::Result, b"totals".to_vec());
        put(&store, &first).expect("stored");
        put(&store, &first).expect("again, the same");
        take(&store, KEY, 3).expect("one signature makes no Result");
        let other = signer(2).seal_envelope(Kind::Result, b"other totals".to_vec());
        assert!(matches!(put(&store, &other), Err(RaiseError::OtherResult)));
        let second = signer(2).seal_envelope(Kind::Result, b"totals".to_vec());
        put(&store, &second).expect("stored");
        assert!(matches!(take(&store, KEY, 4), Err(RaiseError::Tallied)));
        let kept = store
            .read(|tx| result(tx, KEY))
            .expect("readable")
            .expect("there");
        let kept = Envelope::decode(&kept).expect("an envelope");
        assert_eq!(
            (kept.payload().as_ref(), kept.signatures().len()),
            (&b"totals"[..], 2)
        );
        let abort = store
            .read(|tx| abort(tx, KEY, SessionNumber(1)))
            .expect("readable");
        assert_eq!(abort.as_deref(), Some(&b"abort"[..]));
    }

    fn start(party: Role, number: u64) -> Envelope {
        let start = wire::Start {
            seal_hash: vec![7; 32],
            election: "ward-7".into(),
            r#box: 2,
            party: party.number(),
            session: number,
            commitment_next: vec![1; 32],
            commitment_prev: vec![2; 32],
        };
        signer(9).seal_envelope(Kind::Start, start.encode_to_vec())
    }

    fn begin_with(store: &Store, number: u64) -> Result<(), RaiseError> {
        let start = start(Role::P2, number);
        store.write(|tx| begin(tx, KEY, &[(Role::P2, SessionNumber(number), &start)]))
    }

    #[test]
    fn three_sessions_then_a_person() {
        let mut disk = SimDisk::new();
        for number in 1..=3 {
            let store = open(&disk);
            take(&store, KEY, number).expect("free");
            begin_with(&store, number).expect("within the three");
            let after = disk.after_crash(number);
            drop(store);
            disk = after;
        }
        let store = open(&disk);
        assert_eq!(store.read(|tx| left(tx, KEY)).expect("readable"), 0);
        assert!(matches!(take(&store, KEY, 4), Err(RaiseError::Limit)));
        assert!(matches!(begin_with(&store, 4), Err(RaiseError::Limit)));
        take(&store, (1, 3), 1).expect("another box");
        store.write(|tx| allow(tx, KEY)).expect("stored");
        take(&store, KEY, 4).expect("a person gave leave");
        assert_eq!(store.read(|tx| left(tx, KEY)).expect("readable"), 3);
    }

    #[test]
    fn the_newest_start_of_another_is_kept() {
        let store = open(&SimDisk::new());
        for number in [5, 3] {
            begin_with(&store, number).expect("within the three");
        }
        let kept = store.read(|tx| seen(tx, KEY, Role::P2)).expect("readable");
        assert_eq!(kept, Some(start(Role::P2, 5).encode()));
        assert_eq!(store.read(|tx| seen(tx, KEY, Role::P3)).expect("readable"), None);
    }

    #[test]
    fn what_others_show_lifts_the_number_and_needs_a_person() {
        let store = open(&SimDisk::new());
        take(&store, KEY, 4).expect("fresh");
        assert!(
            !store.write(|tx| shown(tx, KEY, 4)).expect("stored"),
            "nothing new"
        );
        assert!(store.write(|tx| shown(tx, KEY, 9)).expect("stored"));
        for stale in [5, 9] {
            assert!(matches!(
                take(&store, KEY, stale),
                Err(RaiseError::Stale { last: 9, .. })
            ));
        }
        assert!(matches!(take(&store, KEY, 10), Err(RaiseError::Limit)));
        store.write(|tx| allow(tx, KEY)).expect("stored");
        take(&store, KEY, 10).expect("with a person's leave");
    }
}
