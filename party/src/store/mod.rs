//! The durable store of a party: one redb file, opened behind [`redb::StorageBackend`] so that tests can make every write fail.
//!
//! # Rules
//!
//! - A [`Store::write`] that returned `Ok` is on disk. There is no other kind of write.
//! - One writer at a time; readers see the last commit and never wait. Both block: call them from a blocking thread.
//! - After an input/output error the store refuses everything until it is opened again ([`StoreError::Engine`]): what a failed commit left
//!   on disk is decided by reading it back, never by guessing.
//! - Shares are never stored open: see [`vault`].
//!
//! # Schema (version 5)
//!
//! Election ids are long, so tables are keyed by a small election number `e` given out in `elections`. `b` is the box, `d` a digest.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | `schema` version, `party` index: a store of another party or version is refused; `compared_<party>`: see [`compared`] |
//! | `elections` | election id | e |
//! | `manifests` | e | encoded Envelope: manifest with the signatures this party knows |
//! | `unseen` | e | rolls and persons under this number are on their way in, or out, in several transactions: nobody finds them |
//! | `rolls` | e, b, v | online flag, voter reference |
//! | `orders` | e, number | encoded Envelope: order with the signatures this party knows |
//! | `boxes` | e, b | 1 when the box is frozen: its List is made and nothing more is taken |
//! | `counts` | e, b, kind | ballots accepted of a channel kind (1 online, 2 station, 3 paper), credential records (0); lost with a disk: ballots (4), records (5), and under box 0 of the election all positions (6) |
//! | `ballots` | e, b, d | log position of the ballot |
//! | `records` | e, b, d | log position of the credential record |
//! | `accepted` | e, position | header, authority signature or authorisation, ciphertext hash, received_at_s, receipt signature, shares at rest |
//! | `serials` | e, b, v, half, serial | digest of the record that has this serial |
//! | `sequences` | e, b, station, number | digest of the ballot that has this number of the station |
//! | `tickets` | e, one-time key | digest of the ballot that was cast with this ticket |
//! | `receipts` | e, party, own position | another party's receipt for what stands at this position of this party's log, verified before it was stored: encoded Receipt |
//! | `receipt_tops` | e, party | one more than the highest position in that party's receipts here |
//! | `log_edges` | e | number of log entries, and the hashes of the tree's right edge |
//! | `log_entries` | e, position | the entry, see `tally_proto::log` |
//! | `log_events` | e, kind, of what | where it was last written, and its hash |
//! | `log_lost` | e, position | an acceptance whose content was lost with a disk |
//! | `log_nodes` | e, level, index | hash of the complete subtree of 2^level leaves that starts at leaf index * 2^level |
//!
//! A log node (of 16 leaves and more) is written once, when its subtree is complete, and never changes: every past tree head can be proven from it.
//!
//! What a ballot is kept with stands under its position in the log, so that new rows are neighbours and a transaction writes few pages of the
//! file; digests come in no order, and only they and the position stand under them.
//! The tables `mirror_*` stand in [`mirrors`]. The modules `sealing` and `session` add tables of their own, named `seal_*` and `session_*`, created in the same opening transaction.

pub mod accepted;
pub mod boxes;
pub mod certificates;
pub mod compared;
mod edge;
pub mod elections;
pub mod log;
pub mod marks;
pub mod mirrors;
pub mod receipts;
pub mod registers;
pub mod sequences;
pub mod serials;
pub mod sim;
pub mod tables;
pub mod tickets;
mod untouched;
pub mod vault;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{
    Database, DatabaseError, Key, ReadOnlyDatabase, ReadableDatabase, ReadableTable, StorageBackend, Table,
    TableDefinition, Value,
};

use tokio::sync::watch;

pub use accepted::{Accepted, Kind};
use marks::Marks;
use untouched::Untouched;

/// Where the store keeps its bytes.
pub enum Storage {
    /// A file, made when it does not exist, locked against a second process.
    File(PathBuf),
    /// Any other backend: tests hand in [`sim::SimDisk`].
    Backend(Box<dyn StorageBackend>),
    /// Any other backend on a volume that tells its free bytes.
    Volume(Box<dyn StorageBackend>, FreeBytes),
}

/// Tells the free bytes of a volume; `None` where they cannot be known.
pub type FreeBytes = Box<dyn Fn() -> Option<u64> + Send + Sync>;

impl Storage {
    /// The name of the store's file in `data_dir`.
    pub const FILE: &'static str = "party.redb";
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Storage::File(path) => f.debug_tuple("File").field(path).finish(),
            Storage::Backend(_) => f.write_str("Backend"),
            Storage::Volume(..) => f.write_str("Volume"),
        }
    }
}

/// A boxed backend is a backend: redb takes its backend by type.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write(offset, data)
    }
    fn close(&self) -> Result<(), std::io::Error> {
        self.0.close()
    }
}

/// What goes wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database engine or the disk below it failed.
    #[error("the store failed: {0}; check the disk, then restart the party: nothing acknowledged is lost")]
    Engine(#[source] Box<redb::Error>),
    /// The file was written by another version of this program.
    #[error(
        "the store has schema version {found}, this program knows {known}; run the version that wrote it"
    )]
    Schema {
        /// Version in the file.
        found: u64,
        /// Version of this program.
        known: u64,
    },
    /// The file belongs to another party.
    #[error(
        "the store belongs to party {found}, this is party {own}; point data_dir at this party's own directory"
    )]
    ForeignParty {
        /// Index in the file.
        found: u64,
        /// Index in the configuration.
        own: u64,
    },
    /// Another process has the file open.
    #[error("the store is open in another process: stop the party's server first")]
    InUse,
    /// A write to a store that was opened for reading.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// A stored row does not decode.
    #[error("the store's table {table} holds a row that does not decode; restore it from a backup")]
    Corrupt {
        /// Name of the table.
        table: &'static str,
    },
}

macro_rules! from_engine {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                StoreError::Engine(Box::new(error.into()))
            }
        }
    )*};
}
from_engine!(
    redb::StorageError,
    redb::TableError,
    redb::DatabaseError,
    redb::TransactionError,
    redb::CommitError,
    std::io::Error
);

/// A read transaction: the state at the last commit before it began.
pub struct ReadTx(redb::ReadTransaction);

/// A write transaction: durable as a whole once [`Store::write`] returns `Ok`, else without any trace.
pub struct WriteTx(redb::WriteTransaction, RefCell<BTreeMap<u32, u64>>);

/// Reading a table, in either kind of transaction.
pub trait Tables {
    /// Opens `table` for reading.
    ///
    /// # Errors
    /// [`StoreError::Engine`]: the engine failed.
    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
    ) -> Result<impl ReadableTable<K, V>, StoreError>;
}

impl Tables for ReadTx {
    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
    ) -> Result<impl ReadableTable<K, V>, StoreError> {
        Ok(self.0.open_table(table)?)
    }
}

impl Tables for WriteTx {
    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
    ) -> Result<impl ReadableTable<K, V>, StoreError> {
        Ok(self.0.open_table(table)?)
    }
}

impl WriteTx {
    /// Once this is on disk, the log of that election has so many entries.
    fn grows(&self, election: u32, entries: u64) {
        self.1.borrow_mut().insert(election, entries);
    }

    /// Opens `table` for writing; made when missing. A table can be open once at a time in a transaction.
    ///
    /// # Errors
    /// [`StoreError::Engine`]: the engine failed.
    pub fn table_mut<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
    ) -> Result<Table<'_, K, V>, StoreError> {
        Ok(self.0.open_table(table)?)
    }
}

/// The store. Shared by reference; all methods block.
pub struct Store {
    database: Opened,
    free: Option<FreeBytes>,
    marks: Option<Marks>,
    failed: watch::Sender<bool>,
}

/// How the file is open.
enum Opened {
    Writing(Database),
    /// For reading, after a repair in memory.
    Repaired(Database),
    Reading(ReadOnlyDatabase),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// Page cache where nothing else is said, bytes. Rows are read back once or twice; the operating system caches the file besides.
const CACHE_BYTES: usize = 64 << 20;

impl Store {
    /// Opens the store of `party` (1..3), makes it when it does not exist, repairs it after a crash.
    ///
    /// # Errors
    /// [`StoreError::Engine`] when the file cannot be opened or is in use, [`StoreError::Schema`] and [`StoreError::ForeignParty`] when
    /// it is not this party's.
    pub fn open(storage: Storage, party: u8) -> Result<Store, StoreError> {
        Self::open_with_cache(storage, party, CACHE_BYTES)
    }

    /// The same, with at most so many bytes of the store kept in memory.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_cache(storage: Storage, party: u8, cache_bytes: usize) -> Result<Store, StoreError> {
        let builder = || Self::builder(cache_bytes);
        match storage {
            Storage::File(path) => {
                if !path.exists() {
                    // The engine cannot open a file whose making was cut short: make it under another name, then give it its own.
                    let unfinished = path.with_extension("new");
                    match std::fs::remove_file(&unfinished) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(error.into());
                        }
                        _ => {}
                    }
                    drop(Self::with_tables(builder().create(&unfinished)?, party)?);
                    std::fs::rename(&unfinished, &path)?;
                    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                        std::fs::File::open(directory)?.sync_all()?;
                    }
                }
                let mut store = Self::with_tables(builder().create(&path)?, party)?;
                store.free = Some(Box::new(move || {
                    let volume = rustix::fs::statvfs(&path).ok()?;
                    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
                }));
                Ok(store)
            }
            Storage::Backend(backend) => {
                Self::with_tables(builder().create_with_backend(Boxed(backend))?, party)
            }
            Storage::Volume(backend, free) => {
                let database = builder().create_with_backend(Boxed(backend))?;
                let mut store = Self::with_tables(database, party)?;
                store.free = Some(free);
                Ok(store)
            }
        }
    }

    /// Opens the store of `party` in a file for reading only: nothing in the file changes. No server may have it open. What the server was
    /// killed over is repaired in memory, which reads the whole file once.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a server has it open, [`StoreError::Engine`] when the file cannot be opened, [`StoreError::Schema`] and
    /// [`StoreError::ForeignParty`] when it is not this party's.
    pub fn open_to_read(path: &Path, party: u8) -> Result<Store, StoreError> {
        let database = match Self::builder(CACHE_BYTES).open_read_only(path) {
            Ok(database) => Opened::Reading(database),
            // It was not closed in order.
            Err(DatabaseError::RepairAborted) => {
                let untouched = Untouched::open(path)?;
                match Self::builder(CACHE_BYTES).create_with_backend(untouched) {
                    Ok(database) => Opened::Repaired(database),
                    Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::InUse),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::InUse),
            Err(error) => return Err(error.into()),
        };
        let store = Store {
            database,
            free: None,
            marks: None,
            failed: watch::Sender::new(false),
        };
        store.read(|tx| tables::check(tx, party))?;
        Ok(store)
    }

    /// Free bytes on the store's volume now; `None` where they cannot be known.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        self.free.as_ref().and_then(|free| free())
    }

    fn builder(cache_bytes: usize) -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        // After a kill: the whole file is read.
        let told = AtomicU64::new(u64::MAX);
        builder.set_repair_callback(move |repair| {
            let tenths = (repair.progress() * 10.0) as u64;
            if told.swap(tenths, Ordering::Relaxed) != tenths {
                tracing::info!(
                    percent = tenths * 10,
                    "the store was not closed in order and is read once; nothing is lost"
                );
            }
        });
        builder
    }

    fn with_tables(database: Database, party: u8) -> Result<Store, StoreError> {
        let store = Store {
            database: Opened::Writing(database),
            free: None,
            marks: None,
            failed: watch::Sender::new(false),
        };
        store.write(|tx| tables::create(tx, party))?;
        Ok(store)
    }

    /// Runs `body` on the last committed state.
    ///
    /// # Errors
    /// What `body` returns, or the engine's failure.
    pub fn read<T, E: From<StoreError>>(&self, body: impl FnOnce(&ReadTx) -> Result<T, E>) -> Result<T, E> {
        let tx = match &self.database {
            Opened::Writing(database) | Opened::Repaired(database) => database.begin_read(),
            Opened::Reading(database) => database.begin_read(),
        };
        let tx = tx.map_err(StoreError::from)?;
        body(&ReadTx(tx))
    }

    /// Runs `body` in a write transaction: when it returns `Ok` the transaction is committed and **on disk** before this returns; when it
    /// returns `Err` nothing of it remains. Waits for the writer before it.
    ///
    /// # Errors
    /// What `body` returns, or the engine's failure; after a failed commit the state on disk is either of the two, and is known again
    /// when the store is reopened.
    pub fn write<T, E: From<StoreError>>(&self, body: impl FnOnce(&WriteTx) -> Result<T, E>) -> Result<T, E> {
        let Opened::Writing(database) = &self.database else {
            return Err(StoreError::ReadOnly.into());
        };
        let begun = database.begin_write().map_err(|error| self.fail(error.into()))?;
        let tx = WriteTx(begun, RefCell::default());
        let body = body(&tx);
        let WriteTx(tx, grown) = tx;
        match body {
            Ok(value) => {
                tx.commit().map_err(|error| self.fail(error.into()))?;
                self.mark(&grown.into_inner())?;
                Ok(value)
            }
            Err(error) => {
                tx.abort().map_err(|error| self.fail(error.into()))?;
                Err(error)
            }
        }
    }

    /// The engine takes nothing more, whoever wrote: the process is to be started again.
    fn fail(&self, error: StoreError) -> StoreError {
        self.failed.send_replace(true);
        error
    }

    /// Turns true when a transaction could not be begun or ended.
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.failed.subscribe()
    }

    /// From now on the lengths of logs are noted there.
    #[must_use]
    pub fn with_marks(self, marks: Option<Marks>) -> Store {
        Store { marks, ..self }
    }

    /// Where the lengths of logs are noted besides.
    pub fn marks(&self) -> Option<&Marks> {
        self.marks.as_ref()
    }

    /// Notes how long logs are now on disk: before whoever wrote can tell anybody.
    fn mark(&self, grown: &BTreeMap<u32, u64>) -> Result<(), StoreError> {
        let Some(marks) = self.marks.as_ref().filter(|_| !grown.is_empty()) else {
            return Ok(());
        };
        let elections = self.read(elections::all)?;
        for (election, number) in elections {
            if let Some(entries) = grown.get(&number) {
                marks.grow(&election, *entries);
            }
        }
        Ok(())
    }
}

/// Makes a directory, and those above it, that only this user can enter. One that is there stays as it is.
pub(crate) fn private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests;
