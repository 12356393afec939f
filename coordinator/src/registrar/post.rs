//! What goes out to voters: the file of invitations becomes sheets for the printer or texts for a gateway, once, and is erased.
//!
//! The new files are whole and on disk before the old one is overwritten and removed, so a crash leaves one of the two; after that there is
//! exactly one copy of each code outside the voter's hands, the one that is printed or sent.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use tally_proto::invitation::sheet::{self, Addressee, SheetError};
use tally_proto::invitation::{InvitationError, Part};
use tally_proto::manifest::Manifest;
use thiserror::Error;
use zeroize::Zeroizing;

use super::invitations::{Lines, owner_only, part_of};
use crate::error::Error;
use crate::files::{self, FileError};
use crate::roll::is_formula;

/// Longest file of contacts.
const MAX_CONTACTS_BYTES: u64 = 4 << 30;

/// What is wrong with a line of invitations or contacts.
#[derive(Debug, Error)]
pub enum PostProblem {
    /// Not the columns.
    #[error("this is no line of {0}")]
    Columns(&'static str),
    /// The code.
    #[error("{0}")]
    Code(#[from] InvitationError),
    /// Another election's.
    #[error("its code and its link differ")]
    TwoCodes,
    /// What goes on the sheet.
    #[error("{0}")]
    Sheet(#[from] SheetError),
    /// Nowhere to send it.
    #[error("the contacts have no telephone number for {0:?}")]
    NoPhone(String),
    /// What programs for tables would compute.
    #[error(
        "the contacts' telephone number {0:?} of {1:?} is none: programs for tables would take it for a formula, beside the voters' codes. Write digits, after a + \
         for another country"
    )]
    Phone(String, String),
    /// The same voter twice.
    #[error("{0:?} stands twice in the contacts")]
    Twice(String),
}

/// How to reach voters, by their references. Personal data, and no part of the election: nobody but the registrar has them.
#[derive(Default)]
pub struct Contacts {
    of: HashMap<String, Contact>,
    languages: Vec<String>,
}

#[derive(Default)]
struct Contact {
    language: String,
    phone: String,
    address: Vec<String>,
}

impl std::fmt::Debug for Contacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contacts({} voters)", self.of.len())
    }
}

impl Contacts {
    /// Reads a CSV with the column `reference` and any of `language`, `phone` and `address`; `languages` are for those without one.
    ///
    /// # Errors
    /// [`Error::Invitations`] with the line, and a file that cannot be read.
    pub fn read(path: Option<&Path>, languages: Vec<String>) -> Result<Self, Error> {
        let mut of = HashMap::new();
        let Some(path) = path else {
            return Ok(Self { of, languages });
        };
        let at = |line, problem| Error::Invitations {
            path: path.to_path_buf(),
            line,
            problem,
        };
        let columns = || PostProblem::Columns("contacts: reference, language, phone, address");
        let bytes = files::read(path, MAX_CONTACTS_BYTES)?;
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let header = reader.headers().map_err(|_| at(1, columns()))?.clone();
        let place = |name: &str| header.iter().position(|column| column.trim() == name);
        let known = ["reference", "language", "phone", "address"];
        let reference = place("reference").ok_or_else(|| at(1, columns()))?;
        if !header.iter().all(|column| known.contains(&column.trim())) {
            return Err(at(1, columns()));
        }
        for (line, row) in (2..).zip(reader.records()) {
            let row = row.map_err(|_| at(line, columns()))?;
            let field = |name: &str| place(name).and_then(|i| row.get(i)).unwrap_or("").trim();
            let contact = Contact {
                language: field("language").to_owned(),
                phone: field("phone").to_owned(),
                address: field("address")
                    .split('|')
                    .map(|line| line.trim().to_owned())
                    .filter(|line| !line.is_empty())
                    .collect(),
            };
            let voter = row.get(reference).unwrap_or("").to_owned();
            if of.insert(voter.clone(), contact).is_some() {
                return Err(at(line, PostProblem::Twice(voter)));
            }
        }
        Ok(Self { of, languages })
    }

    fn languages(&self, reference: &str) -> Vec<String> {
        let own = self.of.get(reference).map(|contact| contact.language.clone());
        let own = own.filter(|language| !language.is_empty());
        own.into_iter().chain(self.languages.iter().cloned()).collect()
    }
}

/// Writes the sheets of a file of invitations into the new directory `out`, `sheets-0001.html` and so on, and erases the file; answers how
/// many.
///
/// # Errors
/// A line that is no invitation of a letter in this election; a directory that is there already; failures to write. Then the file of
/// invitations is as it was.
pub fn sheets(
    manifest: &Manifest,
    invitations: &Path,
    contacts: &Contacts,
    a_file: u32,
    out: &Path,
) -> Result<u64, Error> {
    refuse_existing(out)?;
    let aside = part_of(out);
    discard(&aside)?;
    private_directory(&aside)?;
    let (mut count, mut page) = (0u64, None::<Page>);
    each(invitations, |reference, part| {
        let contact = contacts.of.get(reference);
        let addressee = Addressee {
            reference: reference.to_owned(),
            address: contact.map(|contact| contact.address.clone()).unwrap_or_default(),
            languages: contacts.languages(reference),
        };
        let sheet = sheet::sheet(manifest, &addressee, part)?;
        if count.is_multiple_of(u64::from(a_file)) {
            if let Some(full) = page.take() {
                full.finish()?;
            }
            let number = count / u64::from(a_file) + 1;
            page = Some(Page::begin(
                &aside.join(format!("sheets-{number:04}.html")),
                manifest,
            )?);
        }
        if let Some(page) = &mut page {
            page.write(&sheet)?;
        }
        count += 1;
        Ok(())
    })?;
    if let Some(last) = page {
        last.finish()?;
    }
    files::sync_parent(&aside.join("x"))?;
    fs::rename(&aside, out).map_err(FileError::of(out, "put in place"))?;
    files::sync_parent(out)?;
    erase(invitations)?;
    Ok(count)
}

/// Writes the text messages of a file of invitations as `phone,text` to the new file `out`, and erases the file; answers how many.
///
/// # Errors
/// A line that is no invitation of a text message, a voter without a telephone number; a file that is there already; failures to write. Then
/// the file of invitations is as it was.
pub fn messages(
    manifest: &Manifest,
    invitations: &Path,
    contacts: &Contacts,
    out: &Path,
) -> Result<u64, Error> {
    refuse_existing(out)?;
    let aside = part_of(out);
    discard(&aside)?;
    let mut file = new_file(&aside)?;
    let wrote = |result: io::Result<()>| result.map_err(FileError::of(&aside, "write"));
    wrote(file.write_all(b"phone,text\n"))?;
    let mut count = 0;
    each(invitations, |reference, part| {
        let text = sheet::message(manifest, &contacts.languages(reference), part)?;
        let phone = contacts.of.get(reference).map(|contact| contact.phone.as_str());
        let phone = phone
            .filter(|phone| !phone.is_empty())
            .ok_or_else(|| PostProblem::NoPhone(reference.to_owned()))?;
        if !is_phone(phone) {
            return Err(PostProblem::Phone(phone.to_owned(), reference.to_owned()).into());
        }
        let mut lines = Lines::default();
        lines.push_fields(&[phone, &as_text(text)]);
        wrote(file.write_all(lines.as_bytes()))?;
        count += 1;
        Ok(())
    })?;
    wrote(file.sync_all())?;
    fs::rename(&aside, out).map_err(FileError::of(out, "put in place"))?;
    files::sync_parent(out)?;
    erase(invitations)?;
    Ok(count)
}

/// The text of a cell that no program for tables computes: the election's title stands first in a message, and whoever wrote the manifest would have it
/// computed beside all voters' codes. An apostrophe goes before such a one; a definition with it is refused already.
fn as_text(text: Zeroizing<String>) -> Zeroizing<String> {
    if !is_formula(&text) {
        return text;
    }
    let mut shown = Zeroizing::new(String::with_capacity(text.len() + 1));
    shown.push('\'');
    shown.push_str(&text);
    shown
}

/// Whether a telephone number is computed by no program for tables, or comes to a number only: those of other countries begin with +.
fn is_phone(phone: &str) -> bool {
    let number = phone.strip_prefix('+').unwrap_or(phone);
    number.starts_with(|c: char| c.is_ascii_digit() || c == '(' || c == ' ')
        && number.chars().all(|c| c.is_ascii_digit() || " ()./-".contains(c))
}

/// What stops the reading of invitations.
enum Stop {
    Line(PostProblem),
    File(FileError),
}

impl From<PostProblem> for Stop {
    fn from(problem: PostProblem) -> Self {
        Self::Line(problem)
    }
}
impl From<SheetError> for Stop {
    fn from(error: SheetError) -> Self {
        Self::Line(error.into())
    }
}
impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Gives each line of a file of invitations, checked, one at a time.
fn each(path: &Path, mut take: impl FnMut(&str, &Part) -> Result<(), Stop>) -> Result<(), Error> {
    let file = File::open(path).map_err(FileError::of(path, "read"))?;
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let columns = || PostProblem::Columns("invitations as `registrar issue` writes them");
    let at = |line, stop: Stop| match stop {
        Stop::File(error) => Error::from(error),
        Stop::Line(problem) => Error::Invitations {
            path: path.to_path_buf(),
            line,
            problem,
        },
    };
    let whole = reader
        .headers()
        .is_ok_and(|header| *header == ["reference", "code", "link"][..]);
    if !whole {
        return Err(at(1, columns().into()));
    }
    for (line, row) in (2..).zip(reader.records()) {
        let mut one = || -> Result<(), Stop> {
            let row = row.as_ref().map_err(|_| columns())?;
            let (Some(reference), Some(code), Some(link)) = (row.get(0), row.get(1), row.get(2)) else {
                return Err(columns().into());
            };
            let part = Part::parse(link).map_err(PostProblem::Code)?;
            if *part.to_code() != *code {
                return Err(PostProblem::TwoCodes.into());
            }
            take(reference, &part)
        };
        one().map_err(|stop| at(line, stop))?;
    }
    Ok(())
}

/// A page of sheets that is being written.
struct Page {
    file: File,
    path: PathBuf,
}

impl Page {
    fn begin(path: &Path, manifest: &Manifest) -> Result<Self, FileError> {
        let mut page = Self {
            file: new_file(path)?,
            path: path.to_path_buf(),
        };
        page.write(&sheet::head(manifest))?;
        Ok(page)
    }

    fn write(&mut self, text: &str) -> Result<(), FileError> {
        self.file
            .write_all(text.as_bytes())
            .map_err(FileError::of(&self.path, "write"))
    }

    fn finish(mut self) -> Result<(), FileError> {
        self.write(sheet::FOOT)?;
        self.file.sync_all().map_err(FileError::of(&self.path, "write"))
    }
}

fn new_file(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    owner_only(&mut options);
    options.open(path).map_err(FileError::of(path, "create"))
}

fn private_directory(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(FileError::of(path, "create"))
}

fn refuse_existing(out: &Path) -> Result<(), FileError> {
    if !out.try_exists().map_err(FileError::of(out, "look for"))? {
        return Ok(());
    }
    let source = io::Error::new(
        io::ErrorKind::AlreadyExists,
        "it is there already, and what goes out to voters is written once",
    );
    Err(FileError {
        path: out.to_path_buf(),
        what: "write",
        source,
    })
}

/// Removes what an interrupted run left; the invitations are still in their file.
fn discard(aside: &Path) -> Result<(), FileError> {
    let Ok(found) = fs::symlink_metadata(aside) else {
        return Ok(());
    };
    if !found.is_dir() {
        return erase(aside);
    }
    for entry in fs::read_dir(aside).map_err(FileError::of(aside, "read"))? {
        erase(&entry.map_err(FileError::of(aside, "read"))?.path())?;
    }
    fs::remove_dir(aside).map_err(FileError::of(aside, "remove"))
}

/// Overwrites a file and removes it. (What a disk keeps of overwritten blocks is beyond a program: erase the disk afterwards.)
fn erase(path: &Path) -> Result<(), FileError> {
    let overwritten = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(0))?;
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
        file.sync_all()
    });
    overwritten.map_err(FileError::of(path, "erase"))?;
    fs::remove_file(path).map_err(FileError::of(path, "erase"))?;
    files::sync_parent(path)
}

#[cfg(test)]
mod tests;
