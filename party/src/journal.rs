//! The journal: what people did and what this party decided, one JSON object a line, in files that are only ever appended to.
//!
//! A line is `{"n":7,"at":"2027-01-15 08:00:00.000 UTC","party":1,"event":"box.sealed",...}`. `n` counts from 1 without gaps over all files, so a missing
//! line shows. A file is named by its first `n`; when it is full the next one begins, and none is renamed or removed. The names of events are
//! stable: `deploy/events.md` has them all. Nothing in it is secret, and no line names a voter or a ballot.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};
use tally_proto::ids::{Role, UnixMillis};

macro_rules! events {
    ($($name:ident, $code:literal, $doc:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $(#[doc = $doc] $name,)*
        }

        impl Event {
            /// All of them.
            pub const ALL: &[Event] = &[$(Event::$name),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Event::$name => $code),* }
            }
        }
    };
}

events! {
    Started, "party.started", "The server started.";
    Stopped, "party.stopped", "The server stopped in order.";
    Unlocked, "party.unlocked", "The keys that officials hold were given, by them or by the key holder they had unlocked.";
    Published, "election.published", "The coordinator handed over a manifest.";
    Countersigned, "object.countersigned", "The operator countersigned a manifest or an order.";
    InForce, "object.in-force", "A manifest or an order has all signatures.";
    Lists, "lists.changed", "Other revocation lists hold here than the log named last.";
    Phase, "box.phase", "A box came into another phase.";
    Sealed, "box.sealed", "A box is sealed, with three signatures.";
    SealAborted, "box.seal-aborted", "Sealing stopped with an Abort.";
    SessionBegun, "session.begun", "A tally session began.";
    SessionResult, "session.result", "A tally session ended with a Result.";
    SessionAborted, "session.aborted", "A tally session ended with an Abort.";
    SessionsAllowed, "sessions.allowed", "The operator gave leave for more tally sessions.";
    RoleRefused, "role.refused", "A caller with a certificate asked for what its role may not.";
    AlarmRaised, "alarm.raised", "An alarm stands.";
    AlarmCleared, "alarm.cleared", "An alarm stands no longer.";
}

impl Event {
    /// On disk before anything follows: what a person did and what this party decided. The others anybody can provoke, or they come in swarms.
    const fn is_decision(self) -> bool {
        !matches!(
            self,
            Event::Phase | Event::RoleRefused | Event::AlarmRaised | Event::AlarmCleared
        )
    }
}

/// Refused roles a minute with a line of their own.
const REFUSALS_A_MINUTE: u32 = 60;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
#[error("the journal {}: {source}", path.display())]
pub struct JournalError {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The journal of a party.
#[derive(Debug)]
pub struct Journal {
    party: Role,
    /// None: written nowhere, for tests of other parts.
    open: Option<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    directory: PathBuf,
    file: File,
    bytes: u64,
    most_bytes: u64,
    next: u64,
    /// The minute in which refused roles are counted, how many, and how many had no line.
    minute: (u64, u32, u64),
}

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".jsonl";

fn file_name(first: u64) -> String {
    format!("{PREFIX}{first:012}{SUFFIX}")
}

/// The files of a journal, in order, each with the number of its first line.
///
/// # Errors
/// The directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let first = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        if let Some(first) = first {
            found.push((first, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

impl Journal {
    /// Goes on with the journal in `directory`, or begins it. A file gets no new line once it has `most_bytes`.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(party: Role, directory: &Path, most_bytes: u64) -> Result<Journal, JournalError> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError { path, source }
        };
        crate::store::private_directory(directory).map_err(refused(directory))?;
        let last = files(directory).map_err(refused(directory))?.pop();
        let (path, next, torn) = match last {
            None => (directory.join(file_name(1)), 1, false),
            Some((first, path)) => {
                let bytes = std::fs::read(&path).map_err(refused(&path))?;
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                // The line that a crash cut off is ended, and its number is not used again.
                let torn = bytes.last().is_some_and(|byte| *byte != b'\n');
                (path, first + lines + u64::from(torn), torn)
            }
        };
        let mut file = append(&path).map_err(refused(&path))?;
        if torn {
            file.write_all(b"\n").map_err(refused(&path))?;
        }
        let bytes = file.metadata().map_err(refused(&path))?.len();
        Ok(Journal {
            party,
            open: Some(Mutex::new(Open {
                directory: directory.to_owned(),
                file,
                bytes,
                most_bytes,
                next,
                minute: (0, 0, 0),
            })),
        })
    }

    /// One that writes nothing.
    pub fn nowhere(party: Role) -> Journal {
        Journal { party, open: None }
    }

    /// Adds a line. `facts` is a JSON object of ids, phases, counts and words. A journal that cannot be written is said in the log: the party
    /// goes on, for voters do not wait for it.
    pub fn record(&self, event: Event, now: UnixMillis, facts: Value) {
        let Some(open) = &self.open else { return };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if event == Event::RoleRefused && !open.has_room_for_refusal(now) {
            return;
        }
        let written = open.write(self.party, event, now, facts);
        if let Err(error) = written {
            tracing::error!(%error, event = event.name(), "the journal cannot be written");
        }
    }
}

impl Open {
    /// Whoever is refused may come a thousand times a second: so many lines a minute, the others are counted in the next one.
    fn has_room_for_refusal(&mut self, now: UnixMillis) -> bool {
        let minute = now.get() / 60_000;
        if self.minute.0 != minute {
            self.minute = (minute, 0, self.minute.2);
        }
        if self.minute.1 < REFUSALS_A_MINUTE {
            self.minute.1 += 1;
            return true;
        }
        self.minute.2 += 1;
        false
    }

    fn write(&mut self, party: Role, event: Event, now: UnixMillis, facts: Value) -> io::Result<()> {
        if self.bytes >= self.most_bytes {
            self.file.sync_data()?;
            self.file = append(&self.directory.join(file_name(self.next)))?;
            self.bytes = 0;
        }
        let mut object = Map::new();
        object.insert("n".to_owned(), json!(self.next));
        object.insert("at".to_owned(), json!(now.to_string()));
        object.insert("party".to_owned(), json!(party.index()));
        object.insert("event".to_owned(), json!(event.name()));
        if event == Event::RoleRefused && self.minute.2 > 0 {
            object.insert("more".to_owned(), json!(std::mem::take(&mut self.minute.2)));
        }
        if let Value::Object(facts) = facts {
            object.extend(facts);
        }
        let mut line = Value::Object(object).to_string();
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        self.next += 1;
        if event.is_decision() {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(directory: &Path) -> Vec<Value> {
        let mut lines = Vec::new();
        for (first, path) in files(directory).expect("files") {
            let text = std::fs::read_to_string(path).expect("a file");
            let begin = lines.len();
            lines.extend(
                text.lines()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap_or(Value::Null)),
            );
            let numbered = lines.get(begin).and_then(|line| line["n"].as_u64());
            assert!(
                numbered.is_none_or(|n| n == first),
                "a file is named by its first line"
            );
        }
        lines
    }

    #[test]
    fn files_follow_one_another_and_no_line_is_lost() {
        let directory = tempfile::tempdir().expect("a directory");
        for _ in 0..3 {
            let journal = Journal::open(Role::P2, directory.path(), 400).expect("a journal");
            for i in 0..20 {
                journal.record(Event::Phase, UnixMillis(1000), json!({ "box": i }));
            }
        }
        let lines = lines(directory.path());
        let numbers: Vec<u64> = lines.iter().filter_map(|line| line["n"].as_u64()).collect();
        assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
        assert_eq!(lines[0]["event"], "box.phase");
        assert_eq!(lines[0]["at"], "1970-01-01 00:00:01.000 UTC");
        assert_eq!((&lines[0]["party"], &lines[19]["box"]), (&json!(2), &json!(19)));
        assert!(files(directory.path()).expect("files").len() > 5);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_leaves_a_gap_that_shows() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(Role::P1, directory.path(), 1 << 20).expect("a journal");
        journal.record(Event::Started, UnixMillis(1), json!({}));
        drop(journal);
        let path = directory.path().join(file_name(1));
        append(&path)
            .and_then(|mut file| file.write_all(b"{\"n\":2,\"at"))
            .expect("torn");
        let journal = Journal::open(Role::P1, directory.path(), 1 << 20).expect("a journal");
        journal.record(Event::Started, UnixMillis(2), json!({}));
        let lines = lines(directory.path());
        assert_eq!(
            (&lines[0]["n"], &lines[1], &lines[2]["n"]),
            (&json!(1), &Value::Null, &json!(3))
        );
    }

    #[test]
    fn refused_callers_cannot_fill_the_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(Role::P1, directory.path(), 1 << 20).expect("a journal");
        for _ in 0..1000 {
            journal.record(Event::RoleRefused, UnixMillis(1), json!({}));
        }
        journal.record(Event::RoleRefused, UnixMillis(60_001), json!({}));
        let lines = lines(directory.path());
        assert_eq!(lines.len(), REFUSALS_A_MINUTE as usize + 1);
        assert_eq!(lines.last().expect("the last")["more"], 940);
    }

    #[test]
    fn the_page_of_events_has_every_event_and_no_other() {
        let page = include_str!("../../deploy/events.md");
        let named: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        let events: Vec<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(named, events);
    }
}
