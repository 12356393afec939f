//! What a voter's device remembers: the second of its last cast; and, where an election asks for tickets, those (see [`crate::tickets`]).
//!
//! One number for the whole device, whatever the election or invitation, in a file of constant form and length: it tells that
//! something was cast and when, never with which invitation, so a true one and a decoy leave the same trace.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::OwnedMutexGuard;

use crate::clock::cast_second;
use crate::disk::{Disk, RealDisk, make_private_dir, replace};
use crate::tickets::{Purse, PurseKey};

const FILE_NAME: &str = "device";
const PREFIX: &str = "tally-device 1 last-cast-at ";
const DIGITS: usize = 20;

/// Why a device's memory cannot be used.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The file system refused.
    #[error("cannot use the device's state file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The content is not what this program writes.
    #[error(
        "the device's state file {path} is damaged; remove it if no ballot was cast on this device in the last minute"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// By their keys' names.
type Purses = HashMap<[u8; 10], Arc<tokio::sync::Mutex<Purse>>>;

/// A device that casts ballots. Clones share one memory.
#[derive(Clone)]
pub struct Device {
    shared: Arc<Mutex<Memory>>,
    purses: Arc<Mutex<Purses>>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Device")
    }
}

struct Memory {
    last_s: u64,
    file: Option<(Arc<dyn Disk>, PathBuf)>,
}

impl Device {
    /// The device whose memory is the file `device` in `directory` (made if need be, for its owner only).
    ///
    /// # Errors
    /// [`DeviceError`] when the file cannot be read or is damaged.
    pub fn open(directory: &Path) -> Result<Self, DeviceError> {
        let path = directory.join(FILE_NAME);
        make_private_dir(directory).map_err(|source| DeviceError::Io {
            path: path.clone(),
            source,
        })?;
        Self::on(Arc::new(RealDisk), path)
    }

    /// A device that forgets when the program ends: for tests and load, where many devices live in one process.
    pub fn in_memory() -> Self {
        Self {
            shared: Arc::new(Mutex::new(Memory {
                last_s: 0,
                file: None,
            })),
            purses: Arc::default(),
        }
    }

    /// Where the tickets of that key are kept. One of this process uses them at a time.
    pub(crate) async fn purse(&self, key: PurseKey) -> OwnedMutexGuard<Purse> {
        let purse = {
            let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(purses.entry(key.name()).or_insert_with(|| {
                let memory = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                let purse = match &memory.file {
                    None => Purse::in_memory(key),
                    Some((disk, path)) => {
                        let directory = path.parent().unwrap_or(Path::new("."));
                        Purse::file(Arc::clone(disk), directory, key)
                    }
                };
                Arc::new(tokio::sync::Mutex::new(purse))
            }))
        };
        purse.lock_owned().await
    }

    fn on(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, DeviceError> {
        let last_s = load(&*disk, &path)?;
        Ok(Self {
            shared: Arc::new(Mutex::new(Memory {
                last_s,
                file: Some((disk, path)),
            })),
            purses: Arc::default(),
        })
    }

    /// The second to cast at when the agreed time is `agreed_ms`; durably taken on return, and never given again.
    ///
    /// Another process may have cast meanwhile: the file is read anew, and locked while it changes.
    pub(crate) fn take_second(&self, agreed_ms: u64) -> Result<u64, DeviceError> {
        let mut memory = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { last_s, file } = &mut *memory;
        match file {
            None => {
                *last_s = cast_second(agreed_ms, *last_s);
            }
            Some((disk, path)) => {
                let io = |source| DeviceError::Io {
                    path: path.clone(),
                    source,
                };
                let _lock = Lock::take(path).map_err(io)?;
                *last_s = cast_second(agreed_ms, (*last_s).max(load(&**disk, path)?));
                replace(&**disk, path, format!("{PREFIX}{last_s:0DIGITS$}\n").as_bytes()).map_err(io)?;
            }
        }
        Ok(*last_s)
    }
}

fn load(disk: &dyn Disk, path: &Path) -> Result<u64, DeviceError> {
    let read = disk.read(path).map_err(|source| DeviceError::Io {
        path: path.to_owned(),
        source,
    })?;
    let Some(content) = read else { return Ok(0) };
    let number = std::str::from_utf8(&content)
        .ok()
        .and_then(|text| text.strip_prefix(PREFIX)?.strip_suffix('\n'));
    number
        .filter(|digits| digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| DeviceError::Damaged {
            path: path.to_owned(),
        })
}

/// Held by one process at a time; released when dropped or when the process dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "holds the lock until dropped")] Option<std::fs::File>);

impl Lock {
    /// Waits for the lock beside `path`. A path whose directory is not on a real disk needs none.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let Some(directory) = path.parent().filter(|directory| directory.is_dir()) else {
            return Ok(Self(None));
        };
        let file = open_lock(directory)?;
        file.lock()?;
        Ok(Self(Some(file)))
    }

    /// Takes the lock of `directory`, or says at once that another process has it.
    pub(crate) fn try_take(directory: &Path) -> Result<Self, std::fs::TryLockError> {
        let file = open_lock(directory).map_err(std::fs::TryLockError::Error)?;
        file.try_lock()?;
        Ok(Self(Some(file)))
    }
}

fn open_lock(directory: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(directory.join("lock"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Death, SimDisk};

    #[test]
    fn seconds_only_rise_over_restarts_and_between_processes() {
        let directory = tempfile::tempdir().unwrap();
        let first = Device::open(directory.path()).unwrap();
        let second = Device::open(directory.path()).unwrap();
        assert_eq!(first.take_second(5_000).unwrap(), 5);
        assert_eq!(second.take_second(5_900).unwrap(), 6);
        assert_eq!(first.take_second(5_900).unwrap(), 7);
        assert_eq!(
            Device::open(directory.path())
                .unwrap()
                .take_second(1_000)
                .unwrap(),
            8
        );
        assert_eq!(Device::in_memory().take_second(5_000).unwrap(), 5);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_the_owners_and_of_constant_form() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state").join(FILE_NAME);
        let device = Device::open(path.parent().unwrap()).unwrap();
        let mut lengths = Vec::new();
        for agreed_ms in [1_000, 1_700_000_000_000, u64::MAX] {
            device.take_second(agreed_ms).unwrap();
            let meta = std::fs::metadata(&path).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
            lengths.push(meta.len());
        }
        assert_eq!(lengths, [lengths[0]; 3]);
        assert_eq!(
            std::fs::metadata(path.parent().unwrap())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
    }

    #[test]
    fn a_damaged_file_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for content in [
            "",
            "tally-device 1 last-cast-at 5\n",
            "tally-device 1 last-cast-at +0000000000000000005\n",
        ] {
            std::fs::write(directory.path().join(FILE_NAME), content).unwrap();
            let error = Device::open(directory.path()).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{content:?}: {error}");
        }
    }

    #[test]
    fn no_crash_gives_a_second_twice() {
        let path = PathBuf::from("/device/state/device");
        for operations in 0..=12 {
            for seed in 0..20 {
                let death = if seed % 2 == 0 {
                    Death::Killed
                } else {
                    Death::PowerCut
                };
                let disk = Arc::new(SimDisk::default());
                let device = Device::on(disk.clone(), path.clone()).unwrap();
                disk.die_before(operations);
                let mut taken = Vec::new();
                while let Ok(second) = device.take_second(9_000) {
                    taken.push(second);
                }
                assert_eq!(taken.len(), operations / 4);
                let after = Device::on(Arc::new(disk.reboot(death, seed)), path.clone()).unwrap();
                let next = after.take_second(9_000).unwrap();
                assert!(taken.iter().all(|second| *second < next), "{taken:?} then {next}");
            }
        }
    }
}
