//! The roll as a station looks voters up in it: the commission's CSV, of which the columns `box`, `reference`, `online` and `index` are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tally_proto::ids::{BoxId, VoterIndex};
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
    #[error("{path}, line {line}: this is no roll with the columns box, reference and online")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Another roll.
    #[error(
        "{path} has {found} voters of box {of_box}, the election has {voters}: ask the commission for its roll"
    )]
    OtherRoll {
        /// The file.
        path: PathBuf,
        /// The box.
        of_box: BoxId,
        /// Lines of it.
        found: u32,
        /// Voters of it.
        voters: u32,
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
}

/// The voters whom a station serves, by reference.
#[derive(Debug)]
pub struct RollFile {
    voters: BTreeMap<String, OnRoll>,
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
        let index_at = column("index");
        let mut counts: BTreeMap<BoxId, u32> = BTreeMap::new();
        let mut voters = BTreeMap::new();
        for (line, row) in (2..).zip(reader.records()) {
            let row = row.map_err(|_| wrong(line))?;
            let field = |at: usize| row.get(at).map(str::trim).ok_or_else(|| wrong(line));
            let number = |at: usize| field(at)?.parse::<u32>().map_err(|_| wrong(line));
            let of_box = BoxId(number(box_at)?);
            let count = counts.entry(of_box).or_default();
            let voter = VoterIndex(index_at.map_or(Ok(*count), number)?);
            *count += 1;
            let reference = field(reference_at)?.to_owned();
            let on_roll = OnRoll {
                reference: reference.clone(),
                of_box,
                voter,
                online: field(online_at)? == "yes",
            };
            if serves(of_box) && voters.insert(reference, on_roll).is_some() {
                return Err(wrong(line));
            }
        }
        for of in election.manifest().boxes() {
            let found = counts.get(&of.id()).copied().unwrap_or_default();
            if found != of.voters() {
                return Err(RollFileError::OtherRoll {
                    path: path.to_owned(),
                    of_box: of.id(),
                    found,
                    voters: of.voters(),
                });
            }
        }
        Ok(Self { voters })
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
