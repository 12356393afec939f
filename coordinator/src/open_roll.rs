//! Who is on an open roll, as the three parties have it: for stations, which look voters up, and for orders that name one.
//!
//! Each party says number and name of everybody whose record it accepted. Who is in what all three say is on the roll, as a record stands with three
//! receipts; names are what the cards say. A number under which not all three have the same name is left out and said.
//!
//! ```text
//! elections/<id>/open-roll.csv      box,reference,online,index      as stations read a roll; replaced each time
//! ```
//!
//! The file holds what personal codes or names the cards have. It is for the commission and its stations, and only its owner can read it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tally_proto::ids::{BoxId, VoterIndex};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::{secret_file, wire};

use crate::directory::{Directory, Election};
use crate::error::{Error, StoredProblem};
use crate::files::{self, FileError};
use crate::parties::{Party, PartyError, Patience};
use crate::progress::Progress;

/// Largest file in bytes.
const MAX_FILE: u64 = 1 << 33;

/// An open roll as it is now.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    /// By number, what the cards call the voters whom all three parties have.
    pub voters: BTreeMap<u32, String>,
    /// Numbers that one or two parties have: enrolments that were not finished.
    pub unfinished: usize,
    /// Numbers under which the parties have different names.
    pub differing: Vec<u32>,
}

/// Fetches the roll from all three parties and keeps it.
///
/// # Errors
/// [`Error::NoOpenRoll`], [`Error::Parties`], failures to write.
pub async fn fetch(
    directory: &Directory,
    election: &Election,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Fetched, Error> {
    let of_box = open_box(election)?;
    let parties = election.parties(directory)?;
    let id = election.signed().manifest().election().as_str();
    let ask = async |party: &Party| of_party(party, id, of_box, patience, progress).await;
    let told = parties.all(ask).await.map_err(Error::Parties)?;
    let fetched = join(&told);
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut write = |row: [&str; 4]| csv.write_record(row).expect("a vector takes any row");
    write(["box", "reference", "online", "index"]);
    for (v, name) in &fetched.voters {
        write([&of_box.to_string(), name, "yes", &v.to_string()]);
    }
    let bytes = csv.into_inner().expect("a vector is flushed");
    let path = file(election);
    let new = path.with_extension("new");
    if new.exists() {
        std::fs::remove_file(&new).map_err(FileError::of(&new, "remove"))?;
    }
    secret_file::create(&new, &bytes)?;
    std::fs::rename(&new, &path).map_err(FileError::of(&path, "replace"))?;
    files::sync_parent(&path)?;
    Ok(fetched)
}

async fn of_party(
    party: &Party,
    election: &str,
    of_box: BoxId,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<BTreeMap<u32, String>, PartyError> {
    let told = party.call(patience, progress, async || {
        let of = wire::BoxRef {
            election: election.to_owned(),
            r#box: of_box.get(),
        };
        let mut parts = party.control().open_roll(of).await?.into_inner();
        let mut names = BTreeMap::new();
        while let Some(part) = parts.message().await? {
            for entry in part.entries {
                if entry.reference.chars().any(char::is_control) {
                    return Err(
                        Refusal::new(Reason::MessageMalformed, "a name has control characters").into(),
                    );
                }
                names.insert(entry.v, entry.reference);
            }
        }
        Ok(names)
    });
    told.await
}

fn join(told: &[BTreeMap<u32, String>; 3]) -> Fetched {
    let mut fetched = Fetched {
        voters: BTreeMap::new(),
        unfinished: 0,
        differing: Vec::new(),
    };
    let mut names: BTreeMap<u32, Vec<&String>> = BTreeMap::new();
    for (v, name) in told.iter().flatten() {
        names.entry(*v).or_default().push(name);
    }
    for (v, names) in names {
        match names.as_slice() {
            [one, rest @ ..] if rest.iter().any(|other| other != one) => fetched.differing.push(v),
            [name, _, _] => drop(fetched.voters.insert(v, (*name).clone())),
            _ => fetched.unfinished += 1,
        }
    }
    fetched
}

/// The voters of the newest roll that was fetched, by name.
///
/// # Errors
/// [`Error::NoOpenRoll`]: the roll is closed, or was not fetched yet; [`Error::Stored`]: the file was changed.
pub fn read(election: &Election) -> Result<BTreeMap<String, VoterIndex>, Error> {
    let of_box = open_box(election)?;
    let path = file(election);
    if !path.exists() {
        return Err(no_open_roll(election, true));
    }
    let bytes = files::read(&path, MAX_FILE)?;
    let damaged = || Error::Stored {
        path: path.clone(),
        problem: StoredProblem::Damaged,
    };
    let mut voters = BTreeMap::new();
    for row in csv::Reader::from_reader(bytes.as_slice()).records() {
        let row = row.map_err(|_| damaged())?;
        let (id, v) = (row.get(0), row.get(3).and_then(|v| v.parse().ok()));
        match (id, row.get(1), v) {
            (Some(id), Some(name), Some(v)) if id == of_box.to_string() => {
                voters.insert(name.to_owned(), VoterIndex(v));
            }
            _ => return Err(damaged()),
        }
    }
    Ok(voters)
}

/// Where the roll that was fetched lies.
pub fn file(election: &Election) -> PathBuf {
    election.path().join("open-roll.csv")
}

fn open_box(election: &Election) -> Result<BoxId, Error> {
    let of_box = election.signed().manifest().open_box();
    Ok(of_box.ok_or_else(|| no_open_roll(election, false))?.id())
}

fn no_open_roll(election: &Election, open: bool) -> Error {
    Error::NoOpenRoll {
        election: election.signed().manifest().election().clone(),
        open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_roll_is_whom_all_three_name_alike() {
        let said = |names: &[(u32, &str)]| names.iter().map(|(v, name)| (*v, (*name).to_owned())).collect();
        let told = [
            said(&[(0, "a"), (1, "b"), (2, "c"), (5, "f"), (6, "g")]),
            said(&[(0, "a"), (1, "b"), (2, "x"), (5, "f")]),
            said(&[(0, "a"), (2, "c"), (5, "f"), (7, "h")]),
        ];
        let fetched = join(&told);
        assert_eq!(fetched.voters, said(&[(0, "a"), (5, "f")]));
        assert_eq!((fetched.unfinished, fetched.differing), (3, vec![2]));
    }
}
