//! Files that commands write codes to and read them from. All of them are alike, whichever command wrote them and whatever the code is worth: the code
//! and nothing else, for this user only, and no moment in their times.
//!
//! The parties know when a voter enrolled, and it is published: the time of a file would tell the code of that moment from its decoys, and the time of
//! its last reading, which code a decoy was made of. (A file system may keep others, which no program can set.)

use std::io;
use std::path::Path;
use std::time::SystemTime;

use tally_proto::unseen::Place;
use zeroize::Zeroizing;

use super::{Console, Failure};
use crate::disk::{Disk as _, NO_MOMENT, RealDisk, replace_timeless_file};

/// A new file that holds the code.
pub(super) fn create(path: &Path, code: &str) -> Result<(), Failure> {
    fill(&Place::make(path)?, code).map_err(|source| Failure::NotWritten {
        path: path.to_owned(),
        source,
    })
}

fn fill(place: &Place, code: &str) -> io::Result<()> {
    place.fill(|path| replace_timeless_file(&RealDisk, path, code.as_bytes()))
}

/// Puts a code into the place that was made for it, or shows it.
pub(super) fn fill_or_say(console: &mut Console<'_>, out: Option<Place>, code: &str) {
    let Some(place) = out else {
        return console.say(code);
    };
    if let Err(source) = fill(&place, code) {
        // It is told once only: rather on the screen than nowhere.
        console.tell(&format!(
            "{} cannot be written ({source}); write the code down:",
            place.path().display()
        ));
        console.say(code);
    }
}

/// What is in the file. One without a moment in its times stays so.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let written = std::fs::metadata(path).and_then(|about| about.modified());
    if written.is_ok_and(|at| at == SystemTime::UNIX_EPOCH + NO_MOMENT) {
        RealDisk.blank_times(path);
    }
    Ok(text)
}
