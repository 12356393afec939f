//! What a voter's device remembers: the second of its last cast; and, where an election asks for tickets, those (see [`crate::tickets`]).
//!
//! One number for the whole device, whatever the election or invitation, in a file of constant form and length: it tells that
//! something was cast and when, never with which invitation, so a true one and a decoy leave the same trace.
//!
//! It is needed until the parties' time is past it, so that the next ballot is the later one. Some seconds later it is overwritten with zeros: who looks
//! at the device then does not see when it cast last, nor whether it did so once or twice. `client vote` does that before it ends; what was killed
//! before, the next command that asks the parties for their time. The files' times of reading and writing say nothing (a file system may
//! keep others, which no program can set). Then this device is like another one: whether a ballot is later is told by the parties' clocks alone.
//!
//! A number far above the parties' time is left by an election whose clocks were wrong, or lied. Which election that was the device does not know, and in
//! the same one a ballot of now would not be the later one. So nothing is cast and nothing forgotten: the voter, who knows, is told what to do.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::OwnedMutexGuard;

use crate::clock::cast_second;
use crate::disk::{Disk, RealDisk, erase_timeless, make_private_dir, replace_timeless};
use crate::tickets::{Purse, PurseKey};

const FILE_NAME: &str = "device";
const LOCK_NAME: &str = "lock";
const PREFIX: &str = "tally-device 1 last-cast-at ";
const DIGITS: usize = 20;
/// So long after the second of the last ballot it is forgotten: two parties of which one lies make the agreed time jump by two seconds.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(5);
/// A ballot that is to be later than one further ahead of the parties' time than this is not cast at all.
const MOST_AHEAD_S: u64 = 10;

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
    /// The last ballot is of a time that is still far ahead.
    #[error(
        "this device's last ballot is dated {ahead_s} s after the time that the parties' clocks tell now, so no ballot was sent: one of now would not be \
         the later one. If that ballot was cast in another election, whose clocks were wrong, {} and vote again. If it was in this one, the clocks of its \
         parties were wrong, then or now: tell the election commission, and vote when so much time has passed, or at a polling station",
        .path.as_ref().map_or("use another device".to_owned(), |path| format!("remove {}", path.display()))
    )]
    Ahead {
        /// By how much.
        ahead_s: u64,
        /// The file that says so; none where the device forgets when the program ends.
        path: Option<PathBuf>,
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
        let disk = RealDisk;
        let io = |source| DeviceError::Io {
            path: path.clone(),
            source,
        };
        // A file half made by a program that was killed has a second in it, too.
        let half_made = path.with_file_name(format!("{FILE_NAME}.new"));
        if half_made.exists() {
            let _lock = Lock::take(&path).map_err(io)?;
            if half_made.exists() {
                erase_timeless(&disk, &half_made).map_err(io)?;
            }
        }
        // Where a program was killed, or one of before wrote the files.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == FILE_NAME || name == LOCK_NAME || name.starts_with("tickets-") {
                disk.blank_times(&entry.path());
            }
        }
        disk.blank_times(directory);
        Self::on(Arc::new(disk), path)
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
        let last_s = load(&*disk, &path)?.unwrap_or_default();
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
    /// Another process may have cast meanwhile: the file is read anew, and locked while it changes. Nothing is taken, and nothing changes, where the last
    /// one is more than [`MOST_AHEAD_S`] ahead of the agreed time.
    pub(crate) fn take_second(&self, agreed_ms: u64) -> Result<u64, DeviceError> {
        let mut memory = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { last_s, file } = &mut *memory;
        let Some((disk, path)) = file else {
            *last_s = next_second(agreed_ms, *last_s, None)?;
            return Ok(*last_s);
        };
        let io = |source| DeviceError::Io {
            path: path.clone(),
            source,
        };
        let _lock = Lock::take(path).map_err(io)?;
        // A file that is gone was removed by a person who wanted it so.
        let last = load(&**disk, path)?.map_or(0, |kept| kept.max(*last_s));
        *last_s = next_second(agreed_ms, last, Some(path))?;
        replace_timeless(&**disk, path, &form(*last_s)).map_err(io)?;
        Ok(*last_s)
    }

    /// Forgets the second of the last cast where the agreed time `agreed_ms` is past it by [`REMEMBERED`]; durably, on return. Else says how much time
    /// has to pass. Zero where nothing is remembered.
    pub(crate) fn forget(&self, agreed_ms: u64) -> Result<Duration, DeviceError> {
        let Some((disk, path)) = self.file() else {
            return Ok(Duration::ZERO);
        };
        if load(&*disk, &path)?.unwrap_or_default() == 0 {
            disk.blank_times(&path);
            return Ok(Duration::ZERO);
        }
        let io = |source| DeviceError::Io {
            path: path.clone(),
            source,
        };
        let _lock = Lock::take(&path).map_err(io)?;
        let Some(last_s) = load(&*disk, &path)? else {
            return Ok(Duration::ZERO);
        };
        let over_ms = (last_s.saturating_mul(1000)).saturating_add(REMEMBERED.as_millis() as u64);
        let wait = Duration::from_millis(over_ms.saturating_sub(agreed_ms));
        if wait.is_zero() {
            // Where it stands: what a new file replaces stays on the disk for a while.
            disk.overwrite(&path, &form(0)).map_err(io)?;
            disk.blank_times(&path);
            disk.sync(&path).map_err(io)?;
        }
        Ok(wait)
    }

    /// Whether there is something to forget.
    pub(crate) fn remembers(&self) -> Result<bool, DeviceError> {
        let Some((disk, path)) = self.file() else {
            return Ok(false);
        };
        Ok(load(&*disk, &path)?.unwrap_or_default() != 0)
    }

    fn file(&self) -> Option<(Arc<dyn Disk>, PathBuf)> {
        let memory = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        memory.file.clone()
    }
}

fn next_second(agreed_ms: u64, last_s: u64, path: Option<&PathBuf>) -> Result<u64, DeviceError> {
    let ahead_s = last_s.saturating_sub(agreed_ms / 1000);
    if ahead_s > MOST_AHEAD_S {
        return Err(DeviceError::Ahead {
            ahead_s,
            path: path.cloned(),
        });
    }
    Ok(cast_second(agreed_ms, last_s))
}

fn form(last_s: u64) -> Vec<u8> {
    format!("{PREFIX}{last_s:0DIGITS$}\n").into_bytes()
}

/// `None` where there is no file.
fn load(disk: &dyn Disk, path: &Path) -> Result<Option<u64>, DeviceError> {
    let read = disk.read(path).map_err(|source| DeviceError::Io {
        path: path.to_owned(),
        source,
    })?;
    let Some(content) = read else { return Ok(None) };
    let number = std::str::from_utf8(&content)
        .ok()
        .and_then(|text| text.strip_prefix(PREFIX)?.strip_suffix('\n'));
    number
        .filter(|digits| digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map(Some)
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
        RealDisk.blank_times(&directory.join(LOCK_NAME));
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
    options.open(directory.join(LOCK_NAME))
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
    fn the_second_is_forgotten_some_seconds_later_and_what_is_left_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let state = |name: &str| {
            let path = directory.path().join(name);
            let read = |file: &str| {
                let meta = std::fs::metadata(path.join(file)).unwrap();
                (std::fs::read(path.join(file)).unwrap(), meta.modified().unwrap())
            };
            let of_directory = std::fs::metadata(&path).unwrap().modified().unwrap();
            (read(FILE_NAME), read(LOCK_NAME), of_directory)
        };
        let cast = |name: &str, moments: &[u64]| {
            let device = Device::open(&directory.path().join(name)).unwrap();
            for moment in moments {
                device.take_second(*moment).unwrap();
            }
            device
        };
        std::fs::create_dir(directory.path().join("once")).unwrap();
        std::fs::write(directory.path().join("once/device.new"), form(6)).unwrap();
        let once = cast("once", &[7_000]);
        assert!(!directory.path().join("once/device.new").exists());
        let twice = cast("twice", &[7_000, 9_400]);
        assert_ne!(state("once"), state("twice"));
        assert_eq!(once.forget(11_999).unwrap(), Duration::from_millis(1));
        assert_eq!(twice.forget(12_500).unwrap(), Duration::from_millis(1_500));
        assert_eq!(
            load(&RealDisk, &directory.path().join("twice/device")).unwrap(),
            Some(9)
        );
        assert_eq!(
            (once.remembers().unwrap(), twice.remembers().unwrap()),
            (true, true)
        );
        for device in [&once, &twice] {
            assert_eq!(device.forget(14_000).unwrap(), Duration::ZERO);
        }
        assert_eq!(state("once"), state("twice"));
        let ((content, moment), ..) = state("once");
        assert_eq!(content, form(0));
        assert_eq!(moment, std::time::SystemTime::UNIX_EPOCH + crate::disk::NO_MOMENT);
        // What is forgotten says nothing of the next second; and the program that cast has not forgotten.
        assert_eq!(cast("once", &[]).take_second(3_000).unwrap(), 3);
        assert_eq!(twice.take_second(9_000).unwrap(), 10);
    }

    #[test]
    fn a_ballot_dated_far_ahead_stops_no_device_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let device = Device::open(directory.path()).unwrap();
        let year_2200 = 7_258_118_400;
        device.take_second(year_2200 * 1000).unwrap();
        let before = std::fs::read(&path).unwrap();
        let now = 1_800_000_000;
        for device in [&device, &Device::open(directory.path()).unwrap()] {
            let error = device.take_second(now * 1000).unwrap_err();
            assert!(
                matches!(error, DeviceError::Ahead { ahead_s, .. } if ahead_s == year_2200 - now),
                "{error}"
            );
            assert!(
                error.to_string().contains(&format!("remove {}", path.display())),
                "{error}"
            );
            device.forget(now * 1000).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), before, "nothing is forgotten");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(device.take_second(now * 1000).unwrap(), now);
        // Up to ten seconds are waited for.
        assert_eq!(device.take_second((now - 10) * 1000).unwrap(), now + 1);
        let behind = device.take_second((now - 10) * 1000);
        assert!(
            matches!(behind, Err(DeviceError::Ahead { ahead_s: 11, .. })),
            "{behind:?}"
        );
        let in_memory = Device::in_memory();
        in_memory.take_second(now * 1000).unwrap();
        let error = in_memory.take_second((now - 11) * 1000).unwrap_err();
        assert!(error.to_string().contains("use another device"), "{error}");
    }

    #[test]
    fn no_crash_while_forgetting_damages_the_memory() {
        let path = PathBuf::from("/device/state/device");
        for operations in 0..=3 {
            for seed in 0..20 {
                let disk = Arc::new(SimDisk::default());
                let device = Device::on(disk.clone(), path.clone()).unwrap();
                device.take_second(9_000).unwrap();
                disk.die_before(operations);
                let forgotten = device.forget(14_000);
                assert_eq!(forgotten.is_ok(), operations >= 2);
                let after = load(&disk.reboot(Death::PowerCut, seed), &path).unwrap().unwrap();
                assert!(after == 0 || operations < 2 && after == 9, "{after}");
            }
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
