//! An append-only file of frames, durable frame by frame, that survives being cut off anywhere.
//!
//! The file begins with a random salt (16); a frame is `magic (4) | length (4, big endian) | first 16 bytes of SHA-256(salt, payload) | payload`.
//! `Journal::append` returns when the frame is durable, and nothing is appended before the frame before it is; so after a crash only the last
//! frame can be incomplete, nobody has been told that it is there, and it is cut off. A broken frame with a whole one after it is not a
//! crash but damage, and is refused. Payloads hold bytes that parties have chosen: the salt, which leaves the station with nobody, keeps them from
//! looking like a frame.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::disk::{Disk, replace};

const MAGIC: [u8; 4] = *b"tjf2";
const HEAD_BYTES: usize = 4 + 4 + 16;
/// What the checks of a file's frames are salted with.
pub(crate) type Salt = [u8; 16];
/// No frame is longer than this (a batch of many thousand ballots).
const MAX_PAYLOAD_BYTES: usize = 1 << 28;

/// Why a journal cannot be read or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A frame in the middle is broken.
    #[error(
        "{path} is damaged at byte {offset} (not a torn end, which would be repaired): keep the file, restore the disk, and tell the \
         election commission which sequence numbers may be missing"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first broken frame begins.
        offset: usize,
    },
    /// The file is not there.
    #[error(
        "{path} is missing: a station without its queue does not know which sequence numbers it has used; set the station up anew"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A frame would be longer than allowed.
    #[error(
        "a batch of {bytes} bytes is too long for the queue (at most {MAX_PAYLOAD_BYTES}); use smaller batches"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// An earlier write failed half-way; what is on disk is known again only after opening anew.
    #[error("the queue {path} is closed after a failed write; start the station program again")]
    Broken {
        /// The file.
        path: PathBuf,
    },
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    salt: Salt,
    bytes: usize,
    broken: bool,
}

impl Journal {
    /// Makes a new journal holding one frame, durable on return. The salt is random.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        salt: Salt,
        first: &[u8],
    ) -> Result<Self, JournalError> {
        let mut journal = Self {
            disk,
            path: path.to_owned(),
            salt,
            bytes: 0,
            broken: false,
        };
        journal.rewrite(first)?;
        Ok(journal)
    }

    /// Opens a journal and returns the payloads of its frames in order; a torn end is cut off.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<(Self, Vec<Vec<u8>>), JournalError> {
        let read = disk.read(path).map_err(io_error("read", path))?;
        let content = read.ok_or_else(|| JournalError::Missing {
            path: path.to_owned(),
        })?;
        let damaged = |offset| JournalError::Damaged {
            path: path.to_owned(),
            offset,
        };
        let salt = *content.first_chunk::<16>().ok_or_else(|| damaged(0))?;
        let mut frames = Vec::new();
        let mut offset = salt.len();
        while let Some((payload, next)) = frame_at(&salt, &content, offset) {
            frames.push(payload.to_vec());
            offset = next;
        }
        if frames.is_empty() {
            return Err(damaged(0));
        }
        if offset < content.len() {
            if (offset + 1..content.len()).any(|at| frame_at(&salt, &content, at).is_some()) {
                return Err(damaged(offset));
            }
            disk.truncate(path, offset as u64)
                .map_err(io_error("repair", path))?;
            disk.sync(path).map_err(io_error("repair", path))?;
        }
        Ok((
            Self {
                disk,
                path: path.to_owned(),
                salt,
                bytes: offset,
                broken: false,
            },
            frames,
        ))
    }

    /// Appends a frame; durable on return. After an error the journal takes nothing more: what is on disk is unknown.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<(), JournalError> {
        let frame = self.frame(payload)?;
        self.broken = true;
        self.disk
            .append(&self.path, &frame)
            .map_err(io_error("append to", &self.path))?;
        self.disk.sync(&self.path).map_err(io_error("sync", &self.path))?;
        self.broken = false;
        self.bytes += frame.len();
        Ok(())
    }

    /// Replaces all frames by one; durable on return, and after a crash either the old content is there or the new.
    pub(crate) fn rewrite(&mut self, payload: &[u8]) -> Result<(), JournalError> {
        let content = [&self.salt[..], &self.frame(payload)?].concat();
        self.broken = true;
        replace(&*self.disk, &self.path, &content).map_err(io_error("rewrite", &self.path))?;
        self.broken = false;
        self.bytes = content.len();
        Ok(())
    }

    /// Length of the file.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn frame(&self, payload: &[u8]) -> Result<Vec<u8>, JournalError> {
        if self.broken {
            return Err(JournalError::Broken {
                path: self.path.clone(),
            });
        }
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|_| payload.len() <= MAX_PAYLOAD_BYTES);
        let length = length.ok_or(JournalError::TooLong { bytes: payload.len() })?;
        let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len());
        frame.extend_from_slice(&MAGIC);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&check(&self.salt, payload));
        frame.extend_from_slice(payload);
        Ok(frame)
    }
}

fn check(salt: &Salt, payload: &[u8]) -> [u8; 16] {
    let hash = Sha256::new_with_prefix(salt).chain_update(payload).finalize();
    std::array::from_fn(|i| hash[i])
}

/// The payload of the whole and unbroken frame at `offset`, and where the next begins.
fn frame_at<'c>(salt: &Salt, content: &'c [u8], offset: usize) -> Option<(&'c [u8], usize)> {
    let rest = content.get(offset..)?.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (stated, rest) = rest.split_first_chunk::<16>()?;
    let payload = rest.get(..u32::from_be_bytes(*length) as usize)?;
    (check(salt, payload) == *stated).then_some((payload, offset + HEAD_BYTES + payload.len()))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Death, SimDisk};

    const SALT: Salt = [9; 16];

    fn path() -> PathBuf {
        PathBuf::from("/station/queue.journal")
    }

    #[test]
    fn frames_come_back_in_order() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
        let mut journal = Journal::create(disk.clone(), &path(), SALT, b"first").unwrap();
        journal.append(b"").unwrap();
        journal.append(&[7; 1000]).unwrap();
        let (reopened, frames) = Journal::open(disk.clone(), &path()).unwrap();
        assert_eq!(frames, [b"first".to_vec(), vec![], vec![7; 1000]]);
        assert_eq!(reopened.bytes(), journal.bytes());
        journal.rewrite(b"only").unwrap();
        assert_eq!(Journal::open(disk, &path()).unwrap().1, [b"only".to_vec()]);
    }

    #[test]
    fn every_torn_end_is_cut_and_every_damage_inside_is_refused() {
        let disk = Arc::new(SimDisk::default());
        let mut journal = Journal::create(disk.clone(), &path(), SALT, b"first").unwrap();
        let one = journal.bytes();
        journal.append(b"second").unwrap();
        let two = journal.bytes();
        let whole = disk.read(&path()).unwrap().unwrap();
        for cut in one..two {
            let torn = Arc::new(SimDisk::default());
            torn.write_new(&path(), &whole[..cut]).unwrap();
            let (mut reopened, frames) = Journal::open(torn.clone(), &path()).unwrap();
            assert_eq!(frames, [b"first".to_vec()], "cut at {cut}");
            reopened.append(b"third").unwrap();
            assert_eq!(
                Journal::open(torn, &path()).unwrap().1,
                [b"first".to_vec(), b"third".to_vec()]
            );
        }
        for at in 0..one {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            let broken = Arc::new(SimDisk::default());
            broken.write_new(&path(), &bad).unwrap();
            let error = Journal::open(broken, &path()).unwrap_err();
            assert!(
                matches!(error, JournalError::Damaged { offset: 0, .. }),
                "byte {at}: {error}"
            );
        }
    }

    #[test]
    fn what_others_have_chosen_is_no_frame() {
        // A party has put whole frames into what the station keeps of it, as far as it can without the salt.
        let whole_of = |salt: Salt| {
            let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
            Journal::create(disk.clone(), &path(), salt, b"").unwrap();
            disk.read(&path()).unwrap().unwrap()[16..].to_vec()
        };
        assert_ne!(whole_of([0; 16]), whole_of(SALT));
        let unsalted = [
            &MAGIC[..],
            &[0; 4],
            &Sha256::digest(b"")[..16],
            &whole_of([0; 16]),
        ]
        .concat();
        let disk = Arc::new(SimDisk::default());
        let mut journal = Journal::create(disk.clone(), &path(), SALT, b"first").unwrap();
        let one = journal.bytes();
        journal.append(&unsalted).unwrap();
        let whole = disk.read(&path()).unwrap().unwrap();
        for cut in one..whole.len() {
            let torn = Arc::new(SimDisk::default());
            torn.write_new(&path(), &whole[..cut]).unwrap();
            let (_, frames) = Journal::open(torn.clone(), &path()).unwrap();
            assert_eq!(frames, [b"first".to_vec()], "cut at {cut}");
        }
        // Nor is the file's own damage taken for a torn end.
        journal.append(b"third").unwrap();
        let mut bad = disk.read(&path()).unwrap().unwrap();
        bad[one + 7] ^= 0x80;
        let broken = Arc::new(SimDisk::default());
        broken.write_new(&path(), &bad).unwrap();
        let error = Journal::open(broken, &path()).unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { offset, .. } if offset == one),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_not_an_empty_one() {
        let disk = Arc::new(SimDisk::default());
        assert!(matches!(
            Journal::open(disk.clone(), &path()),
            Err(JournalError::Missing { .. })
        ));
        disk.write_new(&path(), b"").unwrap();
        assert!(matches!(
            Journal::open(disk, &path()),
            Err(JournalError::Damaged { .. })
        ));
    }

    #[test]
    fn after_a_failed_write_nothing_more_is_taken() {
        let disk = Arc::new(SimDisk::default());
        let mut journal = Journal::create(disk.clone(), &path(), SALT, b"first").unwrap();
        disk.die_before(1); // the append is done, the sync is not
        assert!(matches!(
            journal.append(b"second"),
            Err(JournalError::Io { action: "sync", .. })
        ));
        assert!(matches!(
            journal.append(b"third"),
            Err(JournalError::Broken { .. })
        ));
        assert_eq!(
            Journal::open(Arc::new(disk.reboot(Death::Killed, 1)), &path())
                .unwrap()
                .1
                .len(),
            2
        );
    }

    #[test]
    fn too_long_a_batch_is_refused_and_harms_nothing() {
        let mut journal = Journal::create(Arc::new(SimDisk::default()), &path(), SALT, b"first").unwrap();
        let long = vec![0; MAX_PAYLOAD_BYTES + 1];
        assert!(matches!(journal.append(&long), Err(JournalError::TooLong { .. })));
        journal.append(b"second").unwrap();
    }
}
