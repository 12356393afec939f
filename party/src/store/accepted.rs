//! Accepted ballots and credential records: what this party gave a receipt for.

use redb::{ReadableTable, TableDefinition};
use tally_proto::calendar::ChannelKind;

use super::tables::{AcceptedRow, BALLOTS, DigestKey, RECORDS};
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

    fn table(self) -> TableDefinition<'static, DigestKey, AcceptedRow> {
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
    pub received_at_ms: u64,
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
}

/// Stores an accepted object and counts it. The caller has checked that the digest is new.
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
    let number = match counted {
        Counted::Record => 0,
        Counted::Ballot(channel) => channel.number(),
    };
    tx.table_mut(counted.kind().table())?.insert(
        (election, of_box, digest),
        (
            row.header.as_slice(),
            row.authority_signature.as_slice(),
            &row.ciphertext_hash,
            row.received_at_ms,
            row.position,
            row.receipt_signature.as_slice(),
            row.sealed_shares.as_slice(),
        ),
    )?;
    boxes::count_one(tx, election, of_box, number)
}

/// Whether an object of that digest was accepted.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn is_there(
    tx: &impl Tables,
    kind: Kind,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    Ok(tx.table(kind.table())?.get((election, of_box, digest))?.is_some())
}

/// The stored object of a digest.
///
/// # Errors
/// [`StoreError`]: the engine failed.
pub fn get(
    tx: &impl Tables,
    kind: Kind,
    election: u32,
    of_box: u32,
    digest: &[u8; 32],
) -> Result<Option<Accepted>, StoreError> {
    Ok(tx
        .table(kind.table())?
        .get((election, of_box, digest))?
        .map(|row| accepted(row.value())))
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
    for row in range {
        let (key, value) = row.map_err(StoreError::from)?;
        each(key.value().2, accepted(value.value()))?;
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

type RowValue<'a> = (&'a [u8], &'a [u8], &'a [u8; 32], u64, u64, &'a [u8], &'a [u8]);

fn accepted(row: RowValue<'_>) -> Accepted {
    let (header, authority_signature, ciphertext_hash, received_at_ms, position, receipt_signature, shares) =
        row;
    Accepted {
        header: header.to_vec(),
        authority_signature: authority_signature.to_vec(),
        ciphertext_hash: *ciphertext_hash,
        received_at_ms,
        position,
        receipt_signature: receipt_signature.to_vec(),
        sealed_shares: shares.to_vec(),
    }
}
