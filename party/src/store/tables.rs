//! Table definitions and the opening transaction; the schema is told in the module above.

use redb::{ReadableTable, TableDefinition};
use tally_proto::log::ENTRY_BYTES;

use super::{StoreError, Tables, WriteTx};

/// Schema version written by this program.
pub const SCHEMA: u64 = 5;

/// Key of a row of a box: election number, box, digest.
pub type DigestKey = (u32, u32, &'static [u8; 32]);

/// An accepted object: header, authority signature or authorisation, ciphertext hash, received_at_s, receipt signature, shares at rest.
pub type AcceptedRow = (
    &'static [u8],
    &'static [u8],
    &'static [u8; 32],
    u64,
    &'static [u8],
    &'static [u8],
);

pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
pub(super) const ELECTIONS: TableDefinition<'static, &str, u32> = TableDefinition::new("elections");
pub(super) const MANIFESTS: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("manifests");
pub(super) const ROLLS: TableDefinition<'static, (u32, u32, u32), (bool, &str)> =
    TableDefinition::new("rolls");
pub(super) const ORDERS: TableDefinition<'static, (u32, u32), &[u8]> = TableDefinition::new("orders");
pub(super) const BOXES: TableDefinition<'static, (u32, u32), u8> = TableDefinition::new("boxes");
pub(super) const COUNTS: TableDefinition<'static, (u32, u32, u8), u64> = TableDefinition::new("counts");
pub(super) const BALLOTS: TableDefinition<'static, DigestKey, u64> = TableDefinition::new("ballots");
pub(super) const RECORDS: TableDefinition<'static, DigestKey, u64> = TableDefinition::new("records");
pub(super) const ACCEPTED: TableDefinition<'static, (u32, u64), AcceptedRow> =
    TableDefinition::new("accepted");
pub(super) const SERIALS: TableDefinition<'static, (u32, u32, u32, u8, u32), &[u8; 32]> =
    TableDefinition::new("serials");
pub(super) const SEQUENCES: TableDefinition<'static, (u32, u32, u32, u64), &[u8; 32]> =
    TableDefinition::new("sequences");
pub(super) const TICKETS: TableDefinition<'static, (u32, &[u8; 32]), &[u8; 32]> =
    TableDefinition::new("tickets");
pub(super) const RECEIPTS: TableDefinition<'static, (u32, u8, u64), &[u8]> = TableDefinition::new("receipts");
pub(super) const LOG_SIZE: TableDefinition<'static, u32, u64> = TableDefinition::new("log_size");
pub(super) const LOG_ENTRIES: TableDefinition<'static, (u32, u64), &[u8; ENTRY_BYTES]> =
    TableDefinition::new("log_entries");
/// Bytes that the publication of an election brought.
pub(super) const DRAFTS: TableDefinition<'static, u32, u64> = TableDefinition::new("drafts");
/// Election, kind, and which box, order or channel.
type EventKey = (u32, u8, u32, u8);

pub(super) const LOG_EVENTS: TableDefinition<'static, EventKey, (u64, &[u8; 32])> =
    TableDefinition::new("log_events");
pub(super) const LOG_LOST: TableDefinition<'static, (u32, u64), ()> = TableDefinition::new("log_lost");
pub(super) const RECEIPT_TOPS: TableDefinition<'static, (u32, u8), u64> =
    TableDefinition::new("receipt_tops");
pub(super) const LOG_NODES: TableDefinition<'static, (u32, u8, u64), &[u8; 32]> =
    TableDefinition::new("log_nodes");

/// Checks that the file is of this version and party.
pub(super) fn check(tx: &impl Tables, party: u8) -> Result<(), StoreError> {
    let meta = tx.table(META)?;
    let found = |name| Ok::<_, StoreError>(meta.get(name)?.map_or(0, |row| row.value()));
    let (schema, of_party, own) = (found("schema")?, found("party")?, u64::from(party));
    if schema != SCHEMA {
        return Err(StoreError::Schema {
            found: schema,
            known: SCHEMA,
        });
    }
    if of_party != own {
        return Err(StoreError::ForeignParty { found: of_party, own });
    }
    Ok(())
}

/// Makes every table and checks that the file is of this version and party.
pub(super) fn create(tx: &WriteTx, party: u8) -> Result<(), StoreError> {
    let mut meta = tx.table_mut(META)?;
    let own = u64::from(party);
    for (name, value) in [("schema", SCHEMA), ("party", own)] {
        let found = meta.get(name)?.map(|row| row.value());
        match found {
            Some(found) if found == value => {}
            Some(found) if name == "schema" => return Err(StoreError::Schema { found, known: SCHEMA }),
            Some(found) => return Err(StoreError::ForeignParty { found, own }),
            None => {
                meta.insert(name, value)?;
            }
        }
    }
    tx.table_mut(ELECTIONS)?;
    tx.table_mut(MANIFESTS)?;
    tx.table_mut(DRAFTS)?;
    tx.table_mut(ROLLS)?;
    tx.table_mut(ORDERS)?;
    tx.table_mut(BOXES)?;
    tx.table_mut(COUNTS)?;
    tx.table_mut(BALLOTS)?;
    tx.table_mut(RECORDS)?;
    tx.table_mut(ACCEPTED)?;
    tx.table_mut(SERIALS)?;
    tx.table_mut(SEQUENCES)?;
    tx.table_mut(TICKETS)?;
    tx.table_mut(RECEIPTS)?;
    tx.table_mut(LOG_SIZE)?;
    tx.table_mut(LOG_ENTRIES)?;
    tx.table_mut(LOG_NODES)?;
    crate::offsets::create_tables(tx)?;
    tx.table_mut(LOG_EVENTS)?;
    tx.table_mut(LOG_LOST)?;
    tx.table_mut(RECEIPT_TOPS)?;
    super::mirrors::create(tx)?;
    super::registers::create(tx)?;
    super::certificates::create(tx)?;
    crate::sealing::create_tables(tx)?;
    crate::session::create_tables(tx)?;
    Ok(())
}
