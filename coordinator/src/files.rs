//! Files that are whole or absent: written beside their name, synced, then moved there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// A file operation that failed, and on which file.
#[derive(Debug, Error)]
#[error("{}: cannot {what}: {source}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What was tried.
    pub what: &'static str,
    /// Why it failed.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub fn of(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            path: path.to_path_buf(),
            what,
            source,
        }
    }
}

/// Writes `bytes` so that after a crash either the old file or the new one is there, whole.
///
/// # Errors
/// [`FileError`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let aside = aside(path);
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let placed = written.map_err(FileError::of(&aside, "write"));
    let placed = placed.and_then(|()| fs::rename(&aside, path).map_err(FileError::of(path, "put in place")));
    if placed.is_err() {
        // What could not be written takes no room; were it to stay, nothing reads it.
        let _ = fs::remove_file(&aside);
    }
    placed?;
    sync_parent(path)
}

/// As [`replace`], but refuses a file that is already there.
///
/// # Errors
/// [`FileError`], also when the file exists.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(FileError::of(path, "create"))?;
    sync_parent(path)
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// [`FileError`], also for a larger file.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let length = fs::metadata(path).map_err(FileError::of(path, "read"))?.len();
    if length > limit {
        let source = io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes, at most {limit}"),
        );
        return Err(FileError {
            path: path.to_path_buf(),
            what: "read",
            source,
        });
    }
    fs::read(path).map_err(FileError::of(path, "read"))
}

/// Reads a whole text file of at most 1 MiB.
///
/// # Errors
/// [`FileError`], also for a file that is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path, 1 << 20)?)
        .map_err(|e| FileError::of(path, "read")(io::Error::new(io::ErrorKind::InvalidData, e)))
}

/// Makes a directory and its parents.
///
/// # Errors
/// [`FileError`].
pub fn directory(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::of(path, "make the directory"))
}

/// A name is durable only with its directory.
pub(crate) fn sync_parent(path: &Path) -> Result<(), FileError> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)
            .and_then(|d| d.sync_all())
            .map_err(FileError::of(parent, "sync the directory")),
        None => Ok(()),
    }
}

/// Another name beside it, which no other writer has: two commands may be at the same file at once.
fn aside(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".new-{}-{write}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_created_once_and_read_within_a_limit() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a.bin");
        replace(&path, b"one").expect("written");
        replace(&path, b"other").expect("replaced");
        assert_eq!(read(&path, 5).expect("read"), b"other");
        assert!(
            read(&path, 4)
                .expect_err("too large")
                .to_string()
                .contains("5 bytes, at most 4")
        );
        assert!(
            create(&path, b"x")
                .expect_err("exists")
                .to_string()
                .contains("cannot create")
        );
        create(&dir.path().join("b.bin"), b"x").expect("created");
        replace(&path, b"\xff").expect("written");
        assert!(read_text(&path).is_err());
        assert_eq!(
            fs::read_dir(dir.path()).expect("dir").count(),
            2,
            "nothing is left aside"
        );
    }

    #[test]
    fn several_writers_of_one_file_do_not_meet() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a.bin");
        let whole = |of: u8| vec![of; 20_000 + usize::from(of)];
        std::thread::scope(|scope| {
            for of in 0..8 {
                let (path, bytes) = (&path, whole(of));
                scope.spawn(move || (0..20).for_each(|_| replace(path, &bytes).expect("written")));
            }
        });
        let left = read(&path, 1 << 20).expect("read");
        assert_eq!(left, whole(left[0]), "one of them, whole");
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 1);
    }
}
