//! Files that commands write codes to and read them from. All of them are alike, whichever command wrote them and whatever the code is worth: the code
//! and nothing else, for this user only, and no moment in their times. What stands for a file of the voter's own is like that one.
//!
//! The parties know when a voter enrolled, and it is published: the time of a file would tell the code of that moment from its decoys, and the time of
//! its last reading, which code was voted with and which code a decoy was made of. (A file system may keep others, as of a file's making, which no
//! program can set.)

use std::fs::{File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::SystemTime;

use tally_proto::unseen::Place;
use zeroize::Zeroizing;

use super::{Console, Failure};
use crate::disk::NO_MOMENT;

/// What is seen of a file beside the code in it.
pub(super) struct Look {
    /// Who may read it, where it is not this user only.
    permissions: Option<Permissions>,
    /// What stands after the code.
    tail: String,
    /// Its times say nothing.
    timeless: bool,
}

impl Look {
    /// As these commands leave files.
    pub(super) fn own() -> Self {
        Self {
            permissions: None,
            tail: String::new(),
            timeless: true,
        }
    }

    /// As this file with that text in it.
    pub(super) fn of(path: &Path, text: &str) -> io::Result<Self> {
        let about = std::fs::metadata(path)?;
        Ok(Self {
            permissions: Some(about.permissions()),
            tail: text[text.trim_end().len()..].to_owned(),
            timeless: is_timeless(&about),
        })
    }
}

fn no_moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + NO_MOMENT
}

fn is_timeless(about: &Metadata) -> bool {
    about.modified().is_ok_and(|at| at == no_moment())
}

/// A new file that holds the code.
pub(super) fn create(path: &Path, code: &str) -> Result<(), Failure> {
    put(&Place::make(path)?, code, &Look::own())
}

/// Puts a code into the place that was made for it.
pub(super) fn put(place: &Place, code: &str, look: &Look) -> Result<(), Failure> {
    fill(place, code, look).map_err(|source| Failure::NotWritten {
        path: place.path().to_owned(),
        source,
    })
}

/// Into the very file that was made: nothing else that lies there is touched.
fn fill(place: &Place, code: &str, look: &Look) -> io::Result<()> {
    place.fill(|path| {
        let mut options = OpenOptions::new();
        options.write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NOFOLLOW.bits().cast_signed(),
        );
        let mut file = options.open(path)?;
        let written = write(&mut file, code, look);
        if written.is_err() {
            // Empty it is removed.
            let _ = file.set_len(0);
        }
        written
    })
}

fn write(file: &mut File, code: &str, look: &Look) -> io::Result<()> {
    file.write_all(code.as_bytes())?;
    file.write_all(look.tail.as_bytes())?;
    if let Some(permissions) = &look.permissions {
        file.set_permissions(permissions.clone())?;
    }
    if look.timeless {
        let times = FileTimes::new()
            .set_accessed(no_moment())
            .set_modified(no_moment());
        // A file system without times to set tells none.
        let _ = file.set_times(times);
    }
    file.sync_all()
}

/// Puts a code into the place that was made for it, or shows it.
pub(super) fn fill_or_say(console: &mut Console<'_>, out: Option<Place>, code: &str) {
    let Some(place) = out else {
        return console.say(code);
    };
    if let Err(source) = fill(&place, code, &Look::own()) {
        // It is told once only: rather on the screen than nowhere.
        console.tell(&format!(
            "{} cannot be written ({source}); write the code down:",
            place.path().display()
        ));
        console.say(code);
    }
}

/// What is in the file, which does not say afterwards that it was read.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    open_unmarked(path)?.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(target_os = "linux")]
fn open_unmarked(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flag = rustix::fs::OFlags::NOATIME.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flag).open(path) {
        // Another user's: the system keeps its own account of those.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_unmarked(path: &Path) -> io::Result<File> {
    File::open(path)
}
