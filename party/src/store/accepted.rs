//! Accepted ballots and credential records: what this party gave a receipt for.

use std::collections::BTreeMap;

use redb::{ReadableTable, TableDefinition};
use tally_proto::calendar::ChannelKind;

use super::tables::{ACCEPTED, BALLOTS, DigestKey, RECORDS};
use super::{StoreError, Tables, WriteTx, boxes};

/// The two kinds of object that carry sealed shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A ballot: online, station or paper.
    Ballot,
    /// A credential record.
    Record,
}

impl Kind {
    /// One byte that names the kind in derivations.
    pub fn code(self) -> u8 {
        match self {
            Kind::Ballot => 1,
            Kind::Record => 2,
        }
    }

    /// The kind of that code.
    pub fn from_code(code: u8) -> Option<Kind> {
        [Kind::Ballot, Kind::Record]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    fn table(self) -> TableDefinition<'static, DigestKey, u64> {
        match self {
            Kind::Ballot => BALLOTS,
            Kind::Record => RECORDS,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Ballot => "ballot",
            Kind::Record => "credential record",
        })
    }
}

/// An accepted object as stored. The shares are sealed at rest: see [`super::vault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The public header, canonical protobuf bytes.
    pub header: Vec<u8>,
    /// Station's or ticket key's signature on a ballot (empty online), registrar's on a record.
    pub authority_signature: Vec<u8>,
    /// SHA-256 of the ciphertext this party took.
    pub ciphertext_hash: [u8; 32],
    /// When this party found it in time, Unix milliseconds.
    pub received_at_s: u64,
    /// Position in this party's log of the election.
    pub position: u64,
    /// This party's signature on the receipt, as the receipt carries it: of its batch, with its place there.
    pub receipt_signature: Vec<u8>,
    /// (nonce_i, share_i, nonce_{i+1}, share_{i+1}), sealed at rest.
    pub sealed_shares: Vec<u8>,
}

/// What an object adds to the counts of its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// A credential record.
    Record,
    /// A ballot of this channel.
    Ballot(ChannelKind),
}

impl Counted {
    /// Ballot or record.
    pub fn kind(self) -> Kind {
        match self {
            Counted::Record => Kind::Record,
            Counted::Ballot(_) => Kind::Ballot,
        }
    }

    fn number(self) -> u8 {
        match self {
            Counted::Record => 0,
            Counted::Ballot(channel) => channel.number(),
        }
    }
}

/// An object on its way into the store.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Number of the election.
    pub election: u32,
    /// The box.
    pub of_box: u32,
    /// Its public name.
    pub digest: &'a [u8; 32],
    /// What it counts as.
    pub counted: Counted,
    /// What is kept.
    pub row: &'a Accepted,
}

/// Stores an accepted object and counts it. The caller has checked that the digest is new, and has put its entry at `row.position` of the log.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn insert(
    tx: &WriteTx,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
    counted: Counted,
    row: &Accepted,
) -> Result<(), StoreError> {
    let new = New {
        election,
        of_box,
        digest,
        counted,
        row,
    };
    insert_all(tx, &[new])
}

/// As [`insert`], of several: every table is opened once.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn insert_all(tx: &WriteTx, all: &[New<'_>]) -> Result<(), StoreError> {
    let mut counts: BTreeMap<(u32, u32, u8), u64> = BTreeMap::new();
    for kind in [Kind::Ballot, Kind::Record] {
        let mut of_kind = all.iter().filter(|new| new.counted.kind() == kind).peekable();
        if of_kind.peek().is_none() {
            continue;
        }
        let mut places = tx.table_mut(kind.table())?;
        for new in of_kind {
            places.insert((new.election, new.of_box, new.digest), new.row.position)?;
            *counts
                .entry((new.election, new.of_box, new.counted.number()))
                .or_default() += 1;
        }
    }
    let mut rows = tx.table_mut(ACCEPTED)?;
    for New { election, row, .. } in all {
        rows.insert(
            (*election, row.position),
            (
                row.header.as_slice(),
                row.authority_signature.as_slice(),
                &row.ciphertext_hash,
                row.received_at_s,
                row.receipt_signature.as_slice(),
                row.sealed_shares.as_slice(),
            ),
        )?;
    }
    for ((election, of_box, number), more) in counts {
        boxes::count(tx, election, of_box, number, more)?;
    }
    Ok(())
}

/// Where the entry of an accepted object stands in this party's log; `None` where it was not accepted.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn position(
    tx: &impl Tables,
    kind: Kind,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
) -> Result<Option<u64>, StoreError> {
    let table = tx.table(kind.table())?;
    let row = table.get((election, of_box, digest))?;
    Ok(row.map(|row| row.value()))
}

/// Election, box and digest of what may have been accepted, and its position.
pub type Known = ((u32, u32, [u8; 32]), u64);

/// Which of these (election, box, digest) were accepted: the table is opened once.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn known<'d>(
    tx: &impl Tables,
    kind: Kind,
    keys: impl Iterator<Item = (u32, u32, &'d [u8; 32])>,
) -> Result<Vec<Known>, StoreError> {
    let mut keys = keys.peekable();
    let mut known = Vec::new();
    if keys.peek().is_none() {
        return Ok(known);
    }
    let table = tx.table(kind.table())?;
    for (election, of_box, digest) in keys {
        if let Some(row) = table.get((election, of_box, digest))? {
            known.push(((election, of_box, *digest), row.value()));
        }
    }
    Ok(known)
}

/// The position of a ballot or else record of that digest.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn position_of_any(
    tx: &impl Tables,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
) -> Result<Option<u64>, StoreError> {
    match position(tx, Kind::Ballot, election, of_box, digest)? {
        None => position(tx, Kind::Record, election, of_box, digest),
        found => Ok(found),
    }
}

/// The stored object of a digest.
///
/// # Errors
/// [`StoreError`]: the engine failed, or a digest has no row.
pub fn get(
    tx: &impl Tables,
    kind: Kind,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
) -> Result<Option<Accepted>, StoreError> {
    match position(tx, kind, election, of_box, digest)? {
        Some(position) => at(tx, election, position).map(Some),
        None => Ok(None),
    }
}

/// The stored object of a position that a digest names.
///
/// # Errors
/// [`StoreError`]: the engine failed, or there is no row.
pub fn at(tx: &impl Tables, election: u32, position: u64) -> Result<Accepted, StoreError> {
    let rows = tx.table(ACCEPTED)?;
    let row = rows.get((election, position))?.ok_or_else(corrupt)?;
    Ok(accepted(position, row.value()))
}

fn corrupt() -> StoreError {
    StoreError::Corrupt { table: "accepted" }
}

/// Calls `each` with every accepted object of a box, in the order of their digests.
///
/// # Errors
/// [`StoreError`]: the engine failed; or what `each` returns.
pub fn for_each<E: From<StoreError>>(
    tx: &impl Tables,
    kind: Kind,
    election: u32,
    of_box: u32,
    mut each: impl FnMut(&[u8; 32], Accepted) -> Result<(), E>,
) -> Result<(), E> {
    let table = tx.table(kind.table())?;
    let range = table
        .range((election, of_box, &[0; 32])..=(election, of_box, &[0xff; 32]))
        .map_err(StoreError::from)?;
    let rows = tx.table(ACCEPTED)?;
    for place in range {
        let (key, position) = place.map_err(StoreError::from)?;
        let position = position.value();
        let row = rows.get((election, position)).map_err(StoreError::from)?;
        let row = row.ok_or_else(corrupt)?;
        each(key.value().2, accepted(position, row.value()))?;
    }
    Ok(())
}

/// The sorted digests of a box: the body of this party's List.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn digests(
    tx: &impl Tables,
    kind: Kind,
    election: u32,
    of_box: u32,
) -> Result<Vec<[u8; 32]>, StoreError> {
    let table = tx.table(kind.table())?;
    let mut digests = Vec::new();
    for row in table.range((election, of_box, &[0; 32])..=(election, of_box, &[0xff; 32]))? {
        digests.push(*row?.0.value().2);
    }
    Ok(digests)
}

type RowValue<'a> = (&'a [u8], &'a [u8], &'a [u8; 32], u64, &'a [u8], &'a [u8]);

fn accepted(position: u64, row: RowValue<'_>) -> Accepted {
    let (header, authority_signature, ciphertext_hash, received_at_s, receipt_signature, shares) = row;
    Accepted {
        header: header.to_vec(),
        authority_signature: authority_signature.to_vec(),
        ciphertext_hash: *ciphertext_hash,
        received_at_s,
        position,
        receipt_signature: receipt_signature.to_vec(),
        sealed_shares: shares.to_vec(),
    }
}
