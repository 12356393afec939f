//! A station's sign-in book of one election: the officer, when it opened and closed, and who has signed in.
//!
//! # Security
//! Who came to a station is known there and stands on its paper sheet; the book says no more: voters stand in the order of the roll, not in
//! that of their coming, and without the numbers of their ballots. It is rewritten whole, and it does not leave the station: the closing
//! statement holds counts only. Nothing of it goes to the parties.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tally_proto::ids::{BoxId, VoterIndex};
use thiserror::Error;

use crate::disk::{Disk as _, RealDisk, replace};

/// Why a book cannot be used.
#[derive(Debug, Error)]
pub enum BookError {
    /// The file system refused.
    #[error("cannot use the sign-in book {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Not a book, or another election's.
    #[error(
        "{path} is no sign-in book of this election: put the right one back, or move it away to begin a new one"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    manifest: String,
    officer: String,
    opened_at_s: u64,
    closed_at_s: Option<u64>,
    /// By box, the numbers of those who signed in.
    signed_in: BTreeMap<u32, BTreeSet<u32>>,
}

/// The book of one election at one station.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    page: Page,
}

impl Book {
    /// The book in a station's directory; `None` before the station has opened.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn open(directory: &Path, election: &str, manifest: &str) -> Result<Option<Self>, BookError> {
        let path = directory.join(format!("{election}.book"));
        let bytes = RealDisk.read(&path).map_err(|source| BookError::Io {
            path: path.clone(),
            source,
        })?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        match serde_json::from_slice::<Page>(&bytes) {
            Ok(page) if page.manifest == manifest => Ok(Some(Self { path, page })),
            _ => Err(BookError::Foreign { path }),
        }
    }

    /// Begins the book: the station opens. On disk on return.
    ///
    /// # Errors
    /// [`BookError::Io`].
    pub fn begin(
        directory: &Path,
        election: &str,
        manifest: &str,
        officer: &str,
        opened_at_s: u64,
    ) -> Result<Self, BookError> {
        let book = Self {
            path: directory.join(format!("{election}.book")),
            page: Page {
                manifest: manifest.to_owned(),
                officer: officer.to_owned(),
                opened_at_s,
                ..Page::default()
            },
        };
        book.write()?;
        Ok(book)
    }

    /// Notes that a voter has signed in; `false` where the voter had before. On disk on return.
    ///
    /// # Errors
    /// [`BookError::Io`].
    pub fn sign_in(&mut self, of_box: BoxId, voter: VoterIndex) -> Result<bool, BookError> {
        let new = self.page.signed_in.entry(of_box.0).or_default().insert(voter.0);
        if new {
            self.write()?;
        }
        Ok(new)
    }

    /// Whether a voter has signed in here.
    pub fn has_signed_in(&self, of_box: BoxId, voter: VoterIndex) -> bool {
        let of = self.page.signed_in.get(&of_box.0);
        of.is_some_and(|voters| voters.contains(&voter.0))
    }

    /// How many have signed in for a box.
    pub fn count(&self, of_box: BoxId) -> u64 {
        self.page
            .signed_in
            .get(&of_box.0)
            .map_or(0, |voters| voters.len() as u64)
    }

    /// Closes the station, or opens it again. On disk on return.
    ///
    /// # Errors
    /// [`BookError::Io`].
    pub fn set_closed(&mut self, at_s: Option<u64>) -> Result<(), BookError> {
        self.page.closed_at_s = at_s;
        self.write()
    }

    /// The officer who opened.
    pub fn officer(&self) -> &str {
        &self.page.officer
    }
    /// When the station opened, seconds since 1970.
    pub fn opened_at_s(&self) -> u64 {
        self.page.opened_at_s
    }
    /// When it closed, if it has.
    pub fn closed_at_s(&self) -> Option<u64> {
        self.page.closed_at_s
    }

    fn write(&self) -> Result<(), BookError> {
        let io = |source| BookError::Io {
            path: self.path.clone(),
            source,
        };
        let bytes = serde_json::to_vec_pretty(&self.page).map_err(|error| io(error.into()))?;
        replace(&RealDisk, &self.path, &bytes).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_keeps_who_signed_in_and_not_in_which_order() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Book::open(dir.path(), "e", "m").unwrap().is_none());
        let mut texts = Vec::new();
        for order in [[7, 3, 5], [5, 7, 3]] {
            let mut book = Book::begin(dir.path(), "e", "m", "A. Berg", 9).unwrap();
            for v in order {
                assert!(book.sign_in(BoxId(1), VoterIndex(v)).unwrap());
                assert!(!book.sign_in(BoxId(1), VoterIndex(v)).unwrap());
            }
            texts.push(std::fs::read_to_string(dir.path().join("e.book")).unwrap());
        }
        assert_eq!(texts[0], texts[1]);
        let mut book = Book::open(dir.path(), "e", "m").unwrap().unwrap();
        assert_eq!(
            (book.count(BoxId(1)), book.count(BoxId(2)), book.officer()),
            (3, 0, "A. Berg")
        );
        assert!(book.has_signed_in(BoxId(1), VoterIndex(5)) && !book.has_signed_in(BoxId(2), VoterIndex(5)));
        book.set_closed(Some(20)).unwrap();
        assert_eq!(
            Book::open(dir.path(), "e", "m").unwrap().unwrap().closed_at_s(),
            Some(20)
        );
        for other in ["n", ""] {
            assert!(matches!(
                Book::open(dir.path(), "e", other),
                Err(BookError::Foreign { .. })
            ));
        }
    }
}
