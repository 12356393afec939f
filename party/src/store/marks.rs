//! How long each log has been, noted outside of the store: what tells a mere kill from a backup put back.
//!
//! A store that was killed and one that was restored look alike from within. So after every commit that lets a log grow, and before anything
//! that the commit promises leaves this party, the length is written into a small file in memory (`mirror.marks`; by itself the service's
//! `RUNTIME_DIRECTORY`, else `/dev/shm`), which no backup of the store holds and no boot outlives. A store whose log is at least as long as
//! its mark of this boot is the newest there was; one that is shorter was put back. Nothing is noted before the party knows that
//! ([`Marks::begin`]): what a restored party gets back bit by bit vouches for nothing.
//!
//! A machine that is itself put back with its memory would bring the mark along. Then its boot lies elsewhere on the wall clock than the mark
//! says, by the time it lost, and the mark counts for nothing; as it does wherever it cannot be read, or another user could have written it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tally_proto::ids::Hash32;

/// How far apart two readings of when the machine was booted may be.
const SAME_BOOT_MS: u64 = 5_000;

/// One boot of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Boot {
    /// The kernel's word.
    id: String,
    /// When it was, on the wall clock.
    at_ms: u64,
}

impl Boot {
    fn now() -> Option<Boot> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let up = fs::read_to_string("/proc/uptime").ok()?;
        let up: f64 = up.split_whitespace().next()?.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(Boot {
            id: id.trim().to_owned(),
            at_ms: u64::try_from(now.as_millis())
                .ok()?
                .saturating_sub((up * 1000.0) as u64),
        })
    }

    fn is(&self, other: &Boot) -> bool {
        self.id == other.id && self.at_ms.abs_diff(other.at_ms) <= SAME_BOOT_MS
    }
}

/// A mark's text: boot id, its time, entries.
fn to_text(boot: &Boot, size: u64) -> String {
    format!("{} {} {size}\n", boot.id, boot.at_ms)
}

fn of_text(text: &str) -> Option<(Boot, u64)> {
    let mut words = text.strip_suffix('\n')?.split(' ');
    let mut next = || words.next();
    let (id, at_ms, size) = (next()?.to_owned(), next()?.parse().ok()?, next()?.parse().ok()?);
    words.next().is_none().then_some((Boot { id, at_ms }, size))
}

/// The marks of one store.
#[derive(Debug)]
pub struct Marks {
    directory: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of this boot, by election; `None`: there is no such mark.
    sizes: BTreeMap<String, Option<u64>>,
    /// Elections whose store is known to be the newest there was.
    begun: BTreeSet<String>,
}

impl Marks {
    /// The marks of the store in `data_dir`, in a directory of their own below `place`.
    ///
    /// # Errors
    /// It cannot be made, or is not the store's owner's alone: then nothing in it could be believed.
    pub fn open(place: &Path, data_dir: &Path) -> io::Result<Marks> {
        let whose = fs::canonicalize(data_dir)?;
        let name = Hash32::of(whose.as_os_str().as_encoded_bytes());
        let directory = place.join(format!("tally-party-{}", &name.to_string()[..16]));
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let (about, owner) = (fs::symlink_metadata(&directory)?, fs::metadata(&whose)?.uid());
        if !about.is_dir() || about.uid() != owner || about.mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not a directory of data_dir's owner alone",
            ));
        }
        Ok(Marks {
            directory,
            known: Mutex::default(),
        })
    }

    fn path(&self, election: &str) -> PathBuf {
        self.directory.join(Hash32::of(election.as_bytes()).to_string())
    }

    /// Entries that the log of that election has had in this boot; `None`: nobody noted it.
    pub fn size(&self, election: &str) -> Option<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut known, election)
    }

    fn look(&self, known: &mut Known, election: &str) -> Option<u64> {
        if let Some(size) = known.sizes.get(election) {
            return *size;
        }
        let read = fs::read_to_string(self.path(election)).ok();
        let size = read
            .as_deref()
            .and_then(of_text)
            .zip(Boot::now())
            .and_then(|((boot, size), now)| boot.is(&now).then_some(size));
        known.sizes.insert(election.to_owned(), size);
        size
    }

    /// The log of that election has `size` entries on disk. A lower number than before changes nothing, nor does any before [`Marks::begin`].
    pub(super) fn grow(&self, election: &str, size: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.begun.contains(election)
            && self.look(&mut known, election).is_none_or(|before| before < size)
        {
            self.put(&mut known, election, size);
        }
    }

    /// The store is the newest there was, and the log has `size` entries: notes that, and what follows.
    pub fn begin(&self, election: &str, size: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.begun.insert(election.to_owned());
        self.put(&mut known, election, size);
    }

    fn put(&self, known: &mut Known, election: &str, size: u64) {
        let written = Boot::now()
            .ok_or_else(|| io::Error::other("this system does not tell its boot"))
            .and_then(|boot| {
                let (path, new) = (self.path(election), self.directory.join("new"));
                fs::write(&new, to_text(&boot, size))?;
                fs::rename(&new, path)
            });
        match written {
            Ok(()) => {
                known.sizes.insert(election.to_owned(), Some(size));
            }
            Err(error) => {
                // One that is too short would vouch for a store that is too old.
                let removed = fs::remove_file(self.path(election));
                if known.sizes.insert(election.to_owned(), None) != Some(None) {
                    tracing::warn!(election, %error, removed = removed.is_ok(), "mirror.marks cannot be written: after a start this party needs the word of others");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_boot_and_never_falls() {
        let root = tempfile::tempdir().expect("a directory");
        let (place, data) = (root.path(), root.path().join("data"));
        fs::create_dir(&data).expect("made");
        let marks = Marks::open(place, &data).expect("opens");
        assert_eq!(marks.size("ward-7"), None);
        // What comes back bit by bit is no mark.
        marks.grow("ward-7", 5);
        assert_eq!(marks.size("ward-7"), None);
        marks.begin("ward-7", 4);
        marks.begin("ward-8", 0);
        marks.grow("ward-7", 5);
        marks.grow("ward-7", 3);
        marks.grow("ward-8", 1);
        let again = || Marks::open(place, &data).expect("opens");
        assert_eq!(
            (again().size("ward-7"), again().size("ward-8")),
            (Some(5), Some(1))
        );
        // Another store has others.
        assert_eq!(Marks::open(place, place).expect("opens").size("ward-7"), None);
        marks.begin("ward-7", 2);
        assert_eq!(again().size("ward-7"), Some(2));

        let path = marks.path("ward-7");
        let boot = Boot::now().expect("Linux");
        let elsewhere = Boot {
            id: "another".to_owned(),
            ..boot.clone()
        };
        // A machine that was put back with its memory has its boot's id and another time for it.
        let moved = Boot {
            at_ms: boot.at_ms - 60_000,
            ..boot.clone()
        };
        for text in [
            to_text(&elsewhere, 2),
            to_text(&moved, 2),
            to_text(&boot, 2).replace('\n', " 3\n"),
            to_text(&boot, 2).trim_end().to_owned(),
            String::new(),
        ] {
            fs::write(&path, text).expect("written");
            assert_eq!(again().size("ward-7"), None);
        }
        fs::write(&path, to_text(&boot, 2)).expect("written");
        assert_eq!(again().size("ward-7"), Some(2));

        // What others can write into is not believed.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o770);
        fs::set_permissions(&marks.directory, mode).expect("changed");
        assert!(Marks::open(place, &data).is_err());
    }
}
