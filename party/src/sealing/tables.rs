//! What sealing writes down, in tables of its own on the party's store.
//!
//! | table | key | value |
//! |---|---|---|
//! | `seal_signed` | e, b, object, party | encoded Envelope: the List (1), Claims (2) or Seal (3) of that party |
//! | `seal_bodies` | e, b, party, kind, part | body of that party's List: up to 32,768 sorted digests a part |
//! | `seal_claimed` | e, b, digest, party | a claimed receipt of that party holds |
//! | `seal_settled` | e, b | all three Claims are here and `seal_claimed` is complete |
//! | `seal_filled` | e, b, kind, digest | header, authority signature, shares at rest of a candidate this party did not accept |
//! | `seal_rows` | e, b, part | ordered digests of the sealed ballots, 32,768 a part |
//! | `seal_flags` | e, b, what | bitmap live (1) or enrolled (2), one bit a voter, LSB first |
//! | `seal_standing` | e, b, v, half | digest of the record that stands for voter v |
//! | `seal_whole` | e, b | the Seal's Envelope with three signatures: the box is sealed |
//! | `seal_adopted` | e, b | this party's List came back from another party: what it lists may not be held here |
//! | `seal_out` | e, b, digest | the reason for which the Seal excludes it |
//! | `seal_hashes` | e, b | SHA-256 of the Seal |
//! | `seal_proofs` | e, b, party, lie (in the first byte) | the first Abort that proves such a lie of that party |
//!
//! Every write is insert-once: [`sign`] and [`put_body`] refuse to replace, whoever calls them.

use redb::{ReadableTable, TableDefinition};
use tally_proto::ids;
use tally_proto::reason::Reason;
use tally_proto::sealing::Exclusion;

use crate::store::{Kind, StoreError, Tables, WriteTx};

/// Digests in one stored part of a body.
pub(super) const PART_DIGESTS: usize = 32_768;

/// A digest.
pub(super) type Digest = [u8; 32];

/// Election number, box, kind, digest.
type FilledKey = (u32, u32, u8, &'static [u8; 32]);

/// Header, authority signature, shares at rest.
type FilledRow = (&'static [u8], &'static [u8], &'static [u8]);

const SIGNED: TableDefinition<'static, (u32, u32, u8, u8), &[u8]> = TableDefinition::new("seal_signed");
const BODIES: TableDefinition<'static, (u32, u32, u8, u8, u32), &[u8]> = TableDefinition::new("seal_bodies");
const CLAIMED: TableDefinition<'static, (u32, u32, &[u8; 32], u8), ()> = TableDefinition::new("seal_claimed");
const SETTLED: TableDefinition<'static, (u32, u32), ()> = TableDefinition::new("seal_settled");
const FILLED: TableDefinition<'static, FilledKey, FilledRow> = TableDefinition::new("seal_filled");
const ROWS: TableDefinition<'static, (u32, u32, u32), &[u8]> = TableDefinition::new("seal_rows");
const FLAGS: TableDefinition<'static, (u32, u32, u8), &[u8]> = TableDefinition::new("seal_flags");
const STANDING: TableDefinition<'static, (u32, u32, u32, u8), &[u8; 32]> =
    TableDefinition::new("seal_standing");
const WHOLE: TableDefinition<'static, (u32, u32), &[u8]> = TableDefinition::new("seal_whole");
const OUT: TableDefinition<'static, (u32, u32, &[u8; 32]), &str> = TableDefinition::new("seal_out");
const HASHES: TableDefinition<'static, (u32, u32), &[u8; 32]> = TableDefinition::new("seal_hashes");
const ADOPTED: TableDefinition<'static, (u32, u32), ()> = TableDefinition::new("seal_adopted");
const PROOFS: TableDefinition<'static, (u32, u32, u8, &[u8; 32]), &[u8]> =
    TableDefinition::new("seal_proofs");

/// Makes the tables of this module, in the store's opening transaction.
pub(super) fn create(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(SIGNED)?;
    tx.table_mut(BODIES)?;
    tx.table_mut(CLAIMED)?;
    tx.table_mut(SETTLED)?;
    tx.table_mut(FILLED)?;
    tx.table_mut(ROWS)?;
    tx.table_mut(FLAGS)?;
    tx.table_mut(STANDING)?;
    tx.table_mut(WHOLE)?;
    tx.table_mut(OUT)?;
    tx.table_mut(HASHES)?;
    tx.table_mut(PROOFS)?;
    tx.table_mut(ADOPTED)?;
    Ok(())
}

/// A box as the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BoxKey {
    /// The election's number in this store.
    pub(super) election: u32,
    /// The box's id in its election.
    pub(super) of_box: u32,
}

/// The three objects that a party signs once per box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Once {
    /// What it accepted in time.
    List,
    /// What others hid.
    Claims,
    /// What will be tallied.
    Seal,
}

impl Once {
    fn code(self) -> u8 {
        match self {
            Once::List => 1,
            Once::Claims => 2,
            Once::Seal => 3,
        }
    }
}

/// The stored object of `party` (1..3).
pub(super) fn signed(
    tx: &impl Tables,
    key: BoxKey,
    what: Once,
    party: u8,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(SIGNED)?
        .get((key.election, key.of_box, what.code(), party))?
        .map(|row| row.value().to_vec()))
}

/// Writes the object of `party` down unless there is one; returns the one that stands.
pub(super) fn sign(
    tx: &WriteTx,
    key: BoxKey,
    what: Once,
    party: u8,
    envelope: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut table = tx.table_mut(SIGNED)?;
    let at = (key.election, key.of_box, what.code(), party);
    if let Some(row) = table.get(at)? {
        return Ok(row.value().to_vec());
    }
    table.insert(at, envelope)?;
    Ok(envelope.to_vec())
}

/// Writes the body of the List of `party`; the caller has found that there is no List yet.
pub(super) fn put_body(
    tx: &WriteTx,
    key: BoxKey,
    party: u8,
    kind: Kind,
    digests: &[Digest],
) -> Result<(), StoreError> {
    let mut table = tx.table_mut(BODIES)?;
    for (part, digests) in (0u32..).zip(digests.chunks(PART_DIGESTS)) {
        table.insert(
            (key.election, key.of_box, party, kind.code(), part),
            digests.as_flattened(),
        )?;
    }
    Ok(())
}

/// The digests of one kind in the List of `party`, sorted.
pub(super) fn body(tx: &impl Tables, key: BoxKey, party: u8, kind: Kind) -> Result<Vec<Digest>, StoreError> {
    let mut digests = Vec::new();
    let table = tx.table(BODIES)?;
    let at = |part| (key.election, key.of_box, party, kind.code(), part);
    for row in table.range(at(0)..=at(u32::MAX))? {
        digests.extend_from_slice(split(row?.1.value(), "seal_bodies")?);
    }
    Ok(digests)
}

/// Part `part` of that body, as stored; `None` past the end.
pub(super) fn body_part(
    tx: &impl Tables,
    key: BoxKey,
    party: u8,
    kind: Kind,
    part: u32,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(BODIES)?
        .get((key.election, key.of_box, party, kind.code(), part))?
        .map(|row| row.value().to_vec()))
}

/// Whether `digest` is in the List of `party`: a search among the parts, without reading the others.
pub(super) fn lists(
    tx: &impl Tables,
    key: BoxKey,
    party: u8,
    kind: Kind,
    digest: &Digest,
) -> Result<bool, StoreError> {
    let table = tx.table(BODIES)?;
    let at = |part| (key.election, key.of_box, party, kind.code(), part);
    let Some(last) = table.range(at(0)..=at(u32::MAX))?.next_back() else {
        return Ok(false);
    };
    let (mut low, mut high) = (0, last?.0.value().4);
    loop {
        let middle = low + (high - low) / 2;
        let row = table
            .get(at(middle))?
            .ok_or(StoreError::Corrupt { table: "seal_bodies" })?;
        let digests = split(row.value(), "seal_bodies")?;
        match (digests.first(), digests.last()) {
            (Some(first), _) if digest < first && middle > low => high = middle - 1,
            (_, Some(last)) if digest > last && middle < high => low = middle + 1,
            _ => return Ok(digests.binary_search(digest).is_ok()),
        }
    }
}

/// Writes down that a claimed receipt of `party` for `digest` holds.
pub(super) fn put_claimed(tx: &WriteTx, key: BoxKey, digest: &Digest, party: u8) -> Result<(), StoreError> {
    tx.table_mut(CLAIMED)?
        .insert((key.election, key.of_box, digest, party), ())?;
    Ok(())
}

/// Whether a claimed receipt of `party` for `digest` holds.
pub(super) fn is_claimed(
    tx: &impl Tables,
    key: BoxKey,
    digest: &Digest,
    party: u8,
) -> Result<bool, StoreError> {
    Ok(tx
        .table(CLAIMED)?
        .get((key.election, key.of_box, digest, party))?
        .is_some())
}

/// The claimed receipts that hold: (digest, party), by digest.
pub(super) fn claimed(tx: &impl Tables, key: BoxKey) -> Result<Vec<(Digest, u8)>, StoreError> {
    let table = tx.table(CLAIMED)?;
    let (election, of_box) = (key.election, key.of_box);
    let mut claimed = Vec::new();
    for row in table.range((election, of_box, &[0; 32], 0)..=(election, of_box, &[0xff; 32], u8::MAX))? {
        let row = row?;
        let (_, _, digest, party) = row.0.value();
        claimed.push((*digest, party));
    }
    Ok(claimed)
}

/// Marks that all claimed receipts are judged.
pub(super) fn put_settled(tx: &WriteTx, key: BoxKey) -> Result<(), StoreError> {
    tx.table_mut(SETTLED)?.insert((key.election, key.of_box), ())?;
    Ok(())
}

/// Whether all claimed receipts are judged.
pub(super) fn is_settled(tx: &impl Tables, key: BoxKey) -> Result<bool, StoreError> {
    Ok(tx.table(SETTLED)?.get((key.election, key.of_box))?.is_some())
}

/// Marks that this party's List came back from another party.
pub(super) fn put_adopted(tx: &WriteTx, key: BoxKey) -> Result<(), StoreError> {
    tx.table_mut(ADOPTED)?.insert((key.election, key.of_box), ())?;
    Ok(())
}

/// Whether this party's List came back from another party.
pub(super) fn is_adopted(tx: &impl Tables, key: BoxKey) -> Result<bool, StoreError> {
    Ok(tx.table(ADOPTED)?.get((key.election, key.of_box))?.is_some())
}

/// A candidate that this party did not accept, completed by the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    /// The public header, canonical protobuf bytes.
    pub(super) header: Vec<u8>,
    /// Station's signature on a ballot, registrar's on a record.
    pub(super) authority_signature: Vec<u8>,
    /// (nonce_i, share_i, nonce_{i+1}, share_{i+1}), sealed at rest.
    pub(super) sealed_shares: Vec<u8>,
}

/// Rows of what was filled of an election, counted up to `most`.
pub(super) fn count_filled(tx: &impl Tables, election: u32, most: usize) -> Result<usize, StoreError> {
    let all = (election, 0, 0, &[0; 32])..=(election, u32::MAX, u8::MAX, &[0xff; 32]);
    Ok(tx.table(FILLED)?.range(all)?.take(most).count())
}

/// Stores a filled candidate.
pub(super) fn put_filled(
    tx: &WriteTx,
    key: BoxKey,
    kind: Kind,
    digest: &Digest,
    row: &Filled,
) -> Result<(), StoreError> {
    tx.table_mut(FILLED)?.insert(
        (key.election, key.of_box, kind.code(), digest),
        (
            row.header.as_slice(),
            row.authority_signature.as_slice(),
            row.sealed_shares.as_slice(),
        ),
    )?;
    Ok(())
}

/// A filled candidate.
pub(super) fn filled(
    tx: &impl Tables,
    key: BoxKey,
    kind: Kind,
    digest: &Digest,
) -> Result<Option<Filled>, StoreError> {
    Ok(tx
        .table(FILLED)?
        .get((key.election, key.of_box, kind.code(), digest))?
        .map(|row| {
            let (header, authority_signature, sealed_shares) = row.value();
            Filled {
                header: header.to_vec(),
                authority_signature: authority_signature.to_vec(),
                sealed_shares: sealed_shares.to_vec(),
            }
        }))
}

/// Writes the ordered digests of the sealed ballots.
pub(super) fn put_rows(tx: &WriteTx, key: BoxKey, digests: &[ids::Digest]) -> Result<(), StoreError> {
    let mut table = tx.table_mut(ROWS)?;
    let mut bytes = Vec::with_capacity(32 * PART_DIGESTS);
    for (part, digests) in (0u32..).zip(digests.chunks(PART_DIGESTS)) {
        bytes.clear();
        digests
            .iter()
            .for_each(|digest| bytes.extend_from_slice(&digest.0));
        table.insert((key.election, key.of_box, part), bytes.as_slice())?;
    }
    Ok(())
}

/// The ordered digests of the sealed ballots.
pub(super) fn rows(tx: &impl Tables, key: BoxKey) -> Result<Vec<Digest>, StoreError> {
    let mut digests = Vec::new();
    let table = tx.table(ROWS)?;
    for row in table.range((key.election, key.of_box, 0)..=(key.election, key.of_box, u32::MAX))? {
        digests.extend_from_slice(split(row?.1.value(), "seal_rows")?);
    }
    Ok(digests)
}

/// A public one-bit column of the voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    /// May be counted at all.
    Live,
    /// Has a credential that stands.
    Enrolled,
}

impl Flag {
    fn code(self) -> u8 {
        match self {
            Flag::Live => 1,
            Flag::Enrolled => 2,
        }
    }
}

/// Writes a bitmap.
pub(super) fn put_flags(tx: &WriteTx, key: BoxKey, flag: Flag, bitmap: &[u8]) -> Result<(), StoreError> {
    tx.table_mut(FLAGS)?
        .insert((key.election, key.of_box, flag.code()), bitmap)?;
    Ok(())
}

/// A bitmap.
pub(super) fn flags(tx: &impl Tables, key: BoxKey, flag: Flag) -> Result<Vec<u8>, StoreError> {
    tx.table(FLAGS)?
        .get((key.election, key.of_box, flag.code()))?
        .map(|row| row.value().to_vec())
        .ok_or(StoreError::Corrupt { table: "seal_flags" })
}

/// Writes which record stands for voter `v`; one a half.
pub(super) fn put_standing(
    tx: &WriteTx,
    key: BoxKey,
    v: u32,
    half: u8,
    digest: &Digest,
) -> Result<(), StoreError> {
    tx.table_mut(STANDING)?
        .insert((key.election, key.of_box, v, half), digest)?;
    Ok(())
}

/// The record that stands for voter `v`.
pub(super) fn standing(
    tx: &impl Tables,
    key: BoxKey,
    v: u32,
    half: u8,
) -> Result<Option<Digest>, StoreError> {
    Ok(tx
        .table(STANDING)?
        .get((key.election, key.of_box, v, half))?
        .map(|row| *row.value()))
}

/// Calls `each` with (v, digest) of every standing record, by voter.
pub(super) fn for_each_standing<E: From<StoreError>>(
    tx: &impl Tables,
    key: BoxKey,
    mut each: impl FnMut(u32, &Digest) -> Result<(), E>,
) -> Result<(), E> {
    let table = tx.table(STANDING)?;
    let range = table
        .range((key.election, key.of_box, 0, 0)..=(key.election, key.of_box, u32::MAX, u8::MAX))
        .map_err(StoreError::from)?;
    for row in range {
        let (at, digest) = row.map_err(StoreError::from)?;
        each(at.value().2, digest.value())?;
    }
    Ok(())
}

/// Writes the Seal with its three signatures: the box is sealed. Its exclusions are written by digest as well: whoever looks a ballot up makes this
/// party read a page or two, however many there are.
pub(super) fn put_whole(
    tx: &WriteTx,
    key: BoxKey,
    envelope: &[u8],
    (hash, exclusions): (&Digest, &[Exclusion]),
) -> Result<(), StoreError> {
    tx.table_mut(WHOLE)?
        .insert((key.election, key.of_box), envelope)?;
    tx.table_mut(HASHES)?.insert((key.election, key.of_box), hash)?;
    let mut out = tx.table_mut(OUT)?;
    for Exclusion { digest, reason } in exclusions {
        out.insert((key.election, key.of_box, &digest.0), reason.code())?;
    }
    Ok(())
}

/// SHA-256 of the Seal with three signatures, once the box is sealed.
pub(super) fn whole_hash(tx: &impl Tables, key: BoxKey) -> Result<Option<Digest>, StoreError> {
    Ok(tx
        .table(HASHES)?
        .get((key.election, key.of_box))?
        .map(|row| *row.value()))
}

/// Why the Seal excludes `digest`, if it does.
pub(super) fn excluded(tx: &impl Tables, key: BoxKey, digest: &Digest) -> Result<Option<Reason>, StoreError> {
    let table = tx.table(OUT)?;
    let Some(row) = table.get((key.election, key.of_box, digest))? else {
        return Ok(None);
    };
    let reason = row.value().parse();
    Ok(Some(
        reason.map_err(|_| StoreError::Corrupt { table: "seal_out" })?,
    ))
}

/// The Seal with three signatures, once the box is sealed.
pub(super) fn whole(tx: &impl Tables, key: BoxKey) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tx
        .table(WHOLE)?
        .get((key.election, key.of_box))?
        .map(|row| row.value().to_vec()))
}

/// The place of the proof of a lie, by its code.
fn place_of(lie: u8) -> Digest {
    let mut place = [0; 32];
    place[0] = lie;
    place
}

/// Keeps the proof of a lie of `party`, unless one of the same lie is kept: a second one says nothing more, and a liar can make any number.
pub(super) fn put_proof(
    tx: &WriteTx,
    key: BoxKey,
    (party, lie): (u8, u8),
    abort: &[u8],
) -> Result<(), StoreError> {
    let mut table = tx.table_mut(PROOFS)?;
    let place = place_of(lie);
    let at = (key.election, key.of_box, party, &place);
    if table.get(at)?.is_none() {
        table.insert(at, abort)?;
    }
    Ok(())
}

/// Whether a proof of that lie of `party` is kept.
pub(super) fn is_proved(tx: &impl Tables, key: BoxKey, (party, lie): (u8, u8)) -> Result<bool, StoreError> {
    let at = (key.election, key.of_box, party, &place_of(lie));
    Ok(tx.table(PROOFS)?.get(at)?.is_some())
}

/// Every kept proof.
pub(super) fn proofs(tx: &impl Tables, key: BoxKey) -> Result<Vec<Vec<u8>>, StoreError> {
    let table = tx.table(PROOFS)?;
    let mut proofs = Vec::new();
    for row in table
        .range((key.election, key.of_box, 0, &[0; 32])..=(key.election, key.of_box, u8::MAX, &[0xff; 32]))?
    {
        proofs.push(row?.1.value().to_vec());
    }
    Ok(proofs)
}

/// A stored part as digests.
fn split<'a>(bytes: &'a [u8], table: &'static str) -> Result<&'a [Digest], StoreError> {
    let (digests, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() {
        Ok(digests)
    } else {
        Err(StoreError::Corrupt { table })
    }
}
