//! The log of a session: everything from which this party's part can be run again, sealed at rest, one file a session.
//!
//! A party's part of a tally is a function of its input, the seeds of its two pairs and what it received. The log holds the Starts, the
//! contributions to the seeds, a fingerprint of the input (the rows themselves stay in the store), every message in the order in
//! which the engine took it, what the party stated and signed, and how the session ended. It is enough for a replay and for no more: what
//! was sent is not in it, because an honest party's messages follow from the rest.
//!
//! ```text
//! file    = header || chunk 0 || chunk 1 || ...
//! header  = u32 length || layout("tally/v1/session-log", version, party, election, box, session, salt of 32 bytes)
//! chunk   = u32 length of the ciphertext, its highest bit set on the last chunk || ciphertext
//! key     = HKDF-SHA256(salt, storage key, info = "tally/v1/session-log" || SHA-256(header))
//! nonce   = chunk number (8 bytes) || 0 0 0 || 1 on the last chunk, else 0          ChaCha20Poly1305, no associated data
//! ```
//!
//! The salt is fresh, so a key seals one file, whatever a restored backup does to session numbers. A chunk holds whole entries. It is
//! written when it is full and at every barrier; a party that dies leaves a readable prefix without a last chunk. Encryption and disk have
//! a thread of their own, which the engine waits for only when it is `writer::QUEUED` chunks behind. At the end the file is synced, before
//! the party signs a Result: a tally that cannot be audited has none. A log that cannot be written ends the session; there is no session
//! without a log.

pub(crate) mod channel;
mod entry;
mod reader;
mod sealing;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::CryptoRng;
use tally_proto::ids::{BoxId, ElectionId, Role, SessionNumber};
use tally_proto::reason::Reason;

use super::opening::Scene;
use crate::store::vault::StorageKey;

pub use entry::{Entry, EntryError, Fault, Way};
pub use reader::Reader;
use sealing::Header;
pub use writer::Recorder;

/// What goes wrong with a session's log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The file or its directory.
    #[error("the session log {}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The writer's thread cannot be started or ended by a panic.
    #[error("the session log {} has no thread to write it", path.display())]
    Thread {
        /// Where.
        path: PathBuf,
    },
    /// No session log, or of another session.
    #[error("{} is not the log of this session: {what}", path.display())]
    Other {
        /// Where.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// A chunk does not open.
    #[error(
        "{}: chunk {chunk} does not open: the file was altered, or the storage key is not the one that sealed it",
        path.display()
    )]
    Altered {
        /// Where.
        path: PathBuf,
        /// The chunk, from 0.
        chunk: u64,
    },
    /// An entry does not decode.
    #[error("{}: {source}", path.display())]
    Entry {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: EntryError,
    },
}

impl LogError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        Reason::StoreFailed
    }

    fn file(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File {
            path: path.clone(),
            source: Arc::new(source),
        }
    }
}

/// The session logs of one party.
#[derive(Clone, Debug)]
pub struct SessionLogs {
    directory: PathBuf,
    key: Arc<StorageKey>,
}

impl SessionLogs {
    /// In `directory`, which is made when the first session begins, sealed under `key`.
    pub fn new(directory: PathBuf, key: Arc<StorageKey>) -> Self {
        Self { directory, key }
    }

    /// Where the log of that session is.
    pub fn path(&self, election: &ElectionId, of_box: BoxId, number: SessionNumber) -> PathBuf {
        // An id is a slug: it holds no underscore, dot or slash.
        self.directory
            .join(format!("{election}_{of_box}_{number}.session"))
    }

    /// Begins the log of a session. Blocks.
    ///
    /// # Errors
    /// The file cannot be made, or there is one: a session has one log, and numbers only rise.
    pub fn begin(
        &self,
        own: Role,
        scene: &Scene,
        number: SessionNumber,
        rng: &mut impl CryptoRng,
    ) -> Result<Recorder, LogError> {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let header = Header {
            party: own,
            election: scene.election.clone(),
            of_box: scene.box_id,
            number,
            salt,
        };
        crate::store::private_directory(&self.directory).map_err(LogError::file(&self.directory))?;
        let path = self.path(&scene.election, scene.box_id, number);
        Recorder::create(path, &header, header.key(&self.key))
    }

    /// Opens the log of a session for reading. Blocks.
    ///
    /// # Errors
    /// The file cannot be read, or is another's.
    pub fn open(
        &self,
        own: Role,
        election: &ElectionId,
        of_box: BoxId,
        number: SessionNumber,
    ) -> Result<Reader, LogError> {
        let path = self.path(election, of_box, number);
        let reader = Reader::open(path.clone(), &self.key)?;
        let header = reader.header();
        let same = [
            ("the party", header.party == own),
            ("the election", header.election == *election),
            ("the box", header.of_box == of_box),
            ("the session", header.number == number),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(LogError::Other { path, what }),
            None => Ok(reader),
        }
    }

    /// The numbers of the sessions of a box that have a log, rising. Blocks.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn sessions(&self, election: &ElectionId, of_box: BoxId) -> Result<Vec<SessionNumber>, LogError> {
        let fail = LogError::file(&self.directory);
        let prefix = format!("{election}_{of_box}_");
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(&fail)? {
            let name = entry.map_err(&fail)?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".session")?.parse().ok());
            numbers.extend(number.map(SessionNumber));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests;
