//! The file of invitations: one CSV line a voter (reference, code, link), written once, readable by its owner only.
//!
//! While issuing runs it is called `<name>.part`; the whole file appears under its name when every record is accepted. Nothing
//! else on the registrar's disk holds a credential, and there is no command that makes a line again: what is lost must be
//! issued anew by an order. So a file that is already there is never touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use crate::files::{self, FileError};

const HEADER: &[u8] = b"reference,code,link\n";

/// An invitation file that is being written.
#[derive(Debug)]
pub struct Invitations {
    file: File,
    path: PathBuf,
    part: PathBuf,
    length: u64,
}

impl Invitations {
    /// The length of a file without any line.
    pub const EMPTY: u64 = HEADER.len() as u64;

    /// Begins a new file; refuses where it, or an unfinished one, is already there.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create(path: &Path) -> Result<Self, FileError> {
        refuse_existing(path)?;
        let part = part_of(path);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        owner_only(&mut options);
        let mut file = options.open(&part).map_err(FileError::of(&part, "create"))?;
        file.write_all(HEADER)
            .and_then(|()| file.sync_all())
            .map_err(FileError::of(&part, "write"))?;
        files::sync_parent(&part)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            part,
            length: HEADER.len() as u64,
        })
    }

    /// Goes on with an unfinished file that holds `length` good bytes: lines beyond, whose records were never handed to a
    /// party, are overwritten and cut off.
    ///
    /// # Errors
    /// [`FileError`], also when the file is shorter than `length`: then somebody took lines out of it.
    pub fn resume(path: &Path, length: u64) -> Result<Self, FileError> {
        let part = part_of(path);
        if is_one_file(path, &part) {
            // Killed in `finish`, between the file's two names.
            fs::remove_file(path).map_err(FileError::of(path, "take back"))?;
        }
        refuse_existing(path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&part)
            .map_err(FileError::of(&part, "open"))?;
        let actual = file.metadata().map_err(FileError::of(&part, "open"))?.len();
        if actual < length {
            let source = io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "it has {actual} bytes, and {length} were written: bring it back from where it was moved"
                ),
            );
            return Err(FileError {
                path: part,
                what: "go on with the unfinished file",
                source,
            });
        }
        let cut = (|| {
            file.seek(SeekFrom::Start(length))?;
            io::copy(&mut io::Read::take(io::repeat(0), actual - length), &mut file)?;
            file.sync_all()?;
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length))?;
            file.sync_all()
        })();
        cut.map_err(FileError::of(&part, "go on with the unfinished file"))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            part,
            length,
        })
    }

    /// Appends lines and syncs them; answers the length of the file then.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn append(&mut self, lines: &Lines) -> Result<u64, FileError> {
        self.file
            .write_all(&lines.bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(FileError::of(&self.part, "write"))?;
        self.length += lines.bytes.len() as u64;
        Ok(self.length)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`FileError`], also when a file of that name has appeared.
    pub fn finish(self) -> Result<PathBuf, FileError> {
        // A link refuses a name that is taken; a rename would overwrite it.
        fs::hard_link(&self.part, &self.path).map_err(FileError::of(&self.path, "put in place"))?;
        fs::remove_file(&self.part).map_err(FileError::of(&self.part, "remove"))?;
        files::sync_parent(&self.path)?;
        Ok(self.path)
    }
}

/// Lines to append; zeroised on drop.
#[derive(Default)]
pub struct Lines {
    bytes: Zeroizing<Vec<u8>>,
}

impl Lines {
    /// Adds one voter's line.
    pub fn push(&mut self, reference: &str, code: &str, link: &str) {
        self.push_fields(&[reference, code, link]);
    }

    /// Adds a line of any fields.
    pub(super) fn push_fields(&mut self, fields: &[&str]) {
        let needed = fields.iter().map(|field| field.len() * 2 + 3).sum::<usize>();
        if self.bytes.capacity() - self.bytes.len() < needed {
            // Grown by hand: a vector that grows by itself leaves its old content behind.
            let mut larger = Vec::with_capacity(
                (self.bytes.capacity() * 2)
                    .max(self.bytes.len() + needed)
                    .max(4096),
            );
            larger.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = Zeroizing::new(larger);
        }
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                self.bytes.push(b',');
            }
            quoted(&mut self.bytes, field);
        }
        self.bytes.push(b'\n');
    }

    /// The lines.
    ///
    /// # Security
    /// They hold codes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lines({} bytes, secret)", self.bytes.len())
    }
}

fn quoted(out: &mut Vec<u8>, field: &str) {
    if !field.contains([',', '"', '\n', '\r']) {
        out.extend_from_slice(field.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in field.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(unix)]
fn is_one_file(path: &Path, part: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |path: &Path| {
        fs::symlink_metadata(path)
            .ok()
            .map(|meta| (meta.dev(), meta.ino()))
    };
    place(path).is_some_and(|of| place(part) == Some(of))
}

#[cfg(not(unix))]
fn is_one_file(_: &Path, _: &Path) -> bool {
    false
}

fn refuse_existing(path: &Path) -> Result<(), FileError> {
    if path.try_exists().map_err(FileError::of(path, "look for"))? {
        let source = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the invitations are already written, and are written once; choose another file for another election",
        );
        return Err(FileError {
            path: path.to_path_buf(),
            what: "write invitations",
            source,
        });
    }
    Ok(())
}

pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

pub(super) fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = options;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(references: &[&str]) -> Lines {
        let mut lines = Lines::default();
        for reference in references {
            lines.push(reference, "CODE-1", "tally:v1:x");
        }
        lines
    }

    #[test]
    fn a_file_is_written_once_whole_and_private() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("invitations.csv");
        let mut file = Invitations::create(&path).expect("new");
        assert!(Invitations::create(&path).is_err(), "an unfinished one is there");
        file.append(&lines(&["A", "O'Hara, \"Scarlett\""]))
            .expect("written");
        assert!(!path.exists(), "not before it is whole");
        file.finish().expect("finished");
        assert_eq!(
            fs::read_to_string(&path).expect("text"),
            "reference,code,link\nA,CODE-1,tally:v1:x\n\"O'Hara, \"\"Scarlett\"\"\",CODE-1,tally:v1:x\n"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                fs::metadata(&path).expect("there").permissions().mode() & 0o777,
                0o600
            );
        }
        let again = Invitations::create(&path).expect_err("written once").to_string();
        assert!(again.contains("already written, and are written once"), "{again}");
        assert!(Invitations::resume(&path, 0).is_err());
        assert!(!part_of(&path).exists());
    }

    #[test]
    fn lines_without_a_record_are_cut_off() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("invitations.csv");
        let mut file = Invitations::create(&path).expect("new");
        let good = file.append(&lines(&["A"])).expect("written");
        file.append(&lines(&["LOST"])).expect("written");
        drop(file);
        let mut file = Invitations::resume(&path, good).expect("goes on");
        file.append(&lines(&["B"])).expect("written");
        file.finish().expect("finished");
        let text = fs::read_to_string(&path).expect("text");
        assert_eq!(
            text,
            "reference,code,link\nA,CODE-1,tally:v1:x\nB,CODE-1,tally:v1:x\n"
        );
    }

    #[test]
    fn a_file_with_both_names_is_gone_on_with() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("invitations.csv");
        let mut file = Invitations::create(&path).expect("new");
        let good = file.append(&lines(&["A"])).expect("written");
        // Killed in the middle of `finish`.
        fs::hard_link(part_of(&path), &path).expect("linked");
        drop(file);
        let file = Invitations::resume(&path, good).expect("goes on");
        file.finish().expect("finished");
        assert!(fs::read_to_string(&path).expect("text").contains("\nA,CODE-1"));
        assert!(!part_of(&path).exists());
        // Another file of that name is nobody's to take away.
        fs::write(part_of(&path), "reference").expect("written");
        assert!(Invitations::resume(&path, 0).is_err());
        assert!(path.exists());
    }

    #[test]
    fn a_shortened_file_is_not_gone_on_with() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("invitations.csv");
        let length = Invitations::create(&path)
            .expect("new")
            .append(&lines(&["A"]))
            .expect("written");
        fs::write(part_of(&path), "reference").expect("shortened");
        let error = Invitations::resume(&path, length)
            .expect_err("shortened")
            .to_string();
        assert!(error.contains("it has 9 bytes, and 40 were written"), "{error}");
    }
}
