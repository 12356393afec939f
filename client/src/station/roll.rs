//! The roll as a station looks voters up in it: the commission's CSV, of which the columns `box`, `reference`, `online`, `index` and `code` are
//! read. It must be the manifest's roll, voter by voter: two numbers exchanged would strike one voter's ballot for another's.
//!
//! An open roll has no root before the seal: its list is the one of [`tally_proto::open_roll`], of which every line bears the signatures of two parties.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tally_proto::ids::{BoxId, Hash32, Role, UnixSeconds, VoterIndex};
use tally_proto::open_roll::{OpenRollError, OpenRollList};
use tally_proto::roll::{Roll, RollEntry, RollError};
use thiserror::Error;

use crate::election::Election;

/// Why a roll cannot be used.
#[derive(Debug, Error)]
pub enum RollFileError {
    /// The file system refused.
    #[error("cannot read the roll {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A line that is none.
    #[error(
        "{path}, line {line}: this is no roll with the columns box, reference and online, each voter once"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Not the list of the open roll, or not as the parties have signed it.
    #[error(
        "{path} is not the list of this election's open roll with the signatures of two parties: {source}. Ask the commission for a new one (`coordinator \
         open-roll`)"
    )]
    OpenRoll {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: OpenRollError,
    },
    /// Another roll.
    #[error(
        "{path}, box {of_box}: {source}. Ask the commission for the roll of this election, the file `roll.csv` of its directory"
    )]
    OtherRoll {
        /// The file.
        path: PathBuf,
        /// The box.
        of_box: BoxId,
        /// What is different.
        source: RollError,
    },
}

/// A voter on the roll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnRoll {
    /// What the commission calls the voter.
    pub reference: String,
    /// The box.
    pub of_box: BoxId,
    /// The number in its roll.
    pub voter: VoterIndex,
    /// Whether the voter may vote online too.
    pub online: bool,
    /// On an open roll, the party that has signed its own without this voter, whom both others have: the enrolment may not be finished.
    pub missing_at: Option<Role>,
}

/// The voters whom a station serves, by reference.
#[derive(Debug)]
pub struct RollFile {
    voters: BTreeMap<String, OnRoll>,
    as_of: Option<UnixSeconds>,
    without: Option<Role>,
}

fn code(hexadecimal: &str) -> Option<Hash32> {
    let bytes = data_encoding::HEXLOWER.decode(hexadecimal.as_bytes()).ok()?;
    Hash32::from_slice(&bytes).ok()
}

impl RollFile {
    /// Reads a roll; keeps the boxes that `serves` takes.
    ///
    /// # Errors
    /// [`RollFileError`].
    pub fn read(
        path: &Path,
        election: &Election,
        serves: impl Fn(BoxId) -> bool,
    ) -> Result<Self, RollFileError> {
        let bytes = std::fs::read(path).map_err(|source| RollFileError::Io {
            path: path.to_owned(),
            source,
        })?;
        if let Some(of) = election.manifest().open_box() {
            return Self::open(path, election, of.id(), &bytes).map(|mut roll| {
                roll.voters.retain(|_, voter| serves(voter.of_box));
                roll
            });
        }
        let wrong = |line| RollFileError::Line {
            path: path.to_owned(),
            line,
        };
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let header = reader.headers().map_err(|_| wrong(1))?.clone();
        let column = |name: &str| header.iter().position(|field| field.trim() == name);
        let (Some(box_at), Some(reference_at), Some(online_at)) =
            (column("box"), column("reference"), column("online"))
        else {
            return Err(wrong(1));
        };
        let (index_at, code_at) = (column("index"), column("code"));
        let mut boxes: BTreeMap<BoxId, BTreeMap<VoterIndex, RollEntry>> = BTreeMap::new();
        let mut voters = BTreeMap::new();
        for (line, row) in (2..).zip(reader.records()) {
            let row = row.map_err(|_| wrong(line))?;
            let field = |at: usize| row.get(at).map(str::trim).ok_or_else(|| wrong(line));
            let number = |at: usize| field(at)?.parse::<u32>().map_err(|_| wrong(line));
            let of_box = BoxId(number(box_at)?);
            let entries = boxes.entry(of_box).or_default();
            let next = u32::try_from(entries.len()).map_err(|_| wrong(line))?;
            let voter = VoterIndex(index_at.map_or(Ok(next), number)?);
            let entry = RollEntry {
                reference: field(reference_at)?.to_owned(),
                online: match field(online_at)?.to_ascii_lowercase().as_str() {
                    "yes" | "true" | "1" => true,
                    "no" | "false" | "0" => false,
                    _ => return Err(wrong(line)),
                },
                persons: code_at
                    .map_or(Ok(""), field)?
                    .split_whitespace()
                    .map(code)
                    .collect::<Option<_>>()
                    .ok_or_else(|| wrong(line))?,
            };
            let on_roll = OnRoll {
                reference: entry.reference.clone(),
                of_box,
                voter,
                online: entry.online,
                missing_at: None,
            };
            if entries.insert(voter, entry).is_some()
                || (serves(of_box) && voters.insert(on_roll.reference.clone(), on_roll).is_some())
            {
                return Err(wrong(line));
            }
        }
        for of in election.manifest().boxes() {
            let entries = boxes.remove(&of.id()).unwrap_or_default();
            let fits = Roll::new(entries.into_values().collect()).and_then(|roll| roll.check_box(of));
            fits.map_err(|source| RollFileError::OtherRoll {
                path: path.to_owned(),
                of_box: of.id(),
                source,
            })?;
        }
        Ok(Self {
            voters,
            as_of: None,
            without: None,
        })
    }

    fn open(path: &Path, election: &Election, of_box: BoxId, bytes: &[u8]) -> Result<Self, RollFileError> {
        let refused = |source| RollFileError::OpenRoll {
            path: path.to_owned(),
            source,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| refused(OpenRollError::Line(1)))?;
        let list = OpenRollList::decode(text, election.manifest(), of_box).map_err(refused)?;
        let on_roll = |on: tally_proto::open_roll::OnOpenRoll<'_>| OnRoll {
            reference: on.name.to_owned(),
            of_box,
            voter: on.voter,
            online: true,
            missing_at: on.missing_at,
        };
        let voters = list.voters().map(on_roll);
        Ok(Self {
            voters: voters.map(|voter| (voter.reference.clone(), voter)).collect(),
            as_of: Some(list.as_of()),
            without: list.without(),
        })
    }

    /// Of the list of an open roll, up to when two parties have signed who enrolled.
    pub fn as_of(&self) -> Option<UnixSeconds> {
        self.as_of
    }

    /// The party that has not signed the list of an open roll: whom one of the two others leaves out is not on it.
    pub fn without(&self) -> Option<Role> {
        self.without
    }

    /// The voter with exactly this reference.
    pub fn of(&self, reference: &str) -> Option<&OnRoll> {
        self.voters.get(reference)
    }

    /// The voters whose reference begins so, capitals or not, at most `most`; and whether there are more. A whole reference comes alone.
    pub fn find(&self, beginning: &str, most: usize) -> (Vec<&OnRoll>, bool) {
        if let Some(whole) = self.voters.get(beginning) {
            return (vec![whole], false);
        }
        let wanted = beginning.to_lowercase();
        let mut found = self
            .voters
            .values()
            .filter(|voter| voter.reference.to_lowercase().starts_with(&wanted));
        let first: Vec<&OnRoll> = found.by_ref().take(most).collect();
        (first, found.next().is_some())
    }
}

#[cfg(test)]
mod tests;
