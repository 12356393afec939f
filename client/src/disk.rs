//! The few file operations of a client, behind a seam so that tests can kill it between any two of them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

#[cfg(test)]
pub(crate) mod sim;

/// File operations as the operating system offers them: nothing is durable until it is synced, and a name is durable only
/// when its directory is.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// The whole file, or `None` when there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Writes a new file readable by its owner only, over any leftover of the same name.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Appends to an existing file.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to `length`.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
    /// Writes over a file's first bytes, where they are.
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file or a directory say of the times of its last reading and writing [`NO_MOMENT`]; where the file system cannot, nothing.
    fn blank_times(&self, _path: &Path) {}
}

/// The second that stands for no moment in the times of files: the beginning of 2000, which every file system can say.
pub(crate) const NO_MOMENT: Duration = Duration::from_secs(946_684_800);

/// Puts `bytes` at `path` so that after a crash either the old content is there or the new, durable on return.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    exchange(disk, path, bytes, false)?;
    disk.sync_dir(&parent(path))
}

/// [`replace`], with no moment in the times of the file and of its directory.
pub(crate) fn replace_timeless(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    exchange(disk, path, bytes, true)?;
    disk.blank_times(&parent(path));
    disk.sync_dir(&parent(path))
}

/// The new file is durable, its name is not yet.
fn exchange(disk: &dyn Disk, path: &Path, bytes: &[u8], timeless: bool) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    disk.write_new(&temporary, bytes)?;
    if timeless {
        disk.blank_times(&temporary);
    }
    disk.sync(&temporary)?;
    disk.rename(&temporary, path)
}

/// Removes a file for good.
pub(crate) fn erase(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.remove(path)?;
    disk.sync_dir(&parent(path))
}

/// [`erase`], with no moment in the times of its directory.
pub(crate) fn erase_timeless(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.remove(path)?;
    disk.blank_times(&parent(path));
    disk.sync_dir(&parent(path))
}

/// Makes a directory, and those above it, for its owner only.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The operating system's files.
#[derive(Debug, Default)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)?.write_all(bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).open(path)?.write_all(bytes)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(length)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all(bytes)
    }

    fn blank_times(&self, path: &Path) {
        let at = SystemTime::UNIX_EPOCH + NO_MOMENT;
        let times = fs::FileTimes::new().set_accessed(at).set_modified(at);
        // Nobody is kept from voting by a file system that has no times to set.
        let _ = File::open(path).and_then(|file| file.set_times(times));
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        if cfg!(unix) {
            File::open(directory)?.sync_all()
        } else {
            Ok(())
        }
    }
}
