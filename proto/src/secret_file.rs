//! Files that hold secrets: created once, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Largest secret file in bytes; keys and certificates are far smaller.
pub const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Why a secret file was refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Other users may read it.
    #[error(
        "{} may be read by others (mode {mode:o}): make it readable by its owner only, chmod 600",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Wrong size.
    #[error("{} has {actual} bytes, {expected} are expected", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its size.
        actual: u64,
        /// The right size, or the largest.
        expected: u64,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SecretFileError {
    move |source| SecretFileError::Io {
        path: path.into(),
        source,
    }
}

/// Writes a new secret file with mode 600 and syncs it. Never overwrites.
///
/// # Errors
/// [`SecretFileError::Io`], also when the file exists.
pub fn create(path: &Path, secret: &[u8]) -> Result<(), SecretFileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(io_error(path))?;
    file.write_all(secret)
        .and_then(|()| file.sync_all())
        .map_err(io_error(path))?;
    // The name is durable only with its directory.
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        File::open(parent)
            .and_then(|d| d.sync_all())
            .map_err(io_error(parent))?;
    }
    Ok(())
}

/// Puts a secret file with mode 600 in the place of what is there, if anything: after a crash it is the old one or the new one.
///
/// # Errors
/// [`SecretFileError::Io`].
pub fn replace(path: &Path, secret: &[u8]) -> Result<(), SecretFileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // What a crash left there was never in use.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&beside)(error)),
        _ => {}
    }
    create(&beside, secret)?;
    fs::rename(&beside, path).map_err(io_error(path))?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(io_error(parent)),
        None => Ok(()),
    }
}

/// Reads a secret file whole; refuses one that other users may read.
///
/// # Errors
/// [`SecretFileError`].
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let mut file = File::open(path).map_err(io_error(path))?;
    let metadata = file.metadata().map_err(io_error(path))?;
    check_mode(path, &metadata)?;
    let length = metadata.len();
    if length > MAX_SECRET_BYTES {
        return Err(SecretFileError::Length {
            path: path.into(),
            actual: length,
            expected: MAX_SECRET_BYTES,
        });
    }
    // One allocation of the right size: a growing buffer would leave copies behind.
    let mut secret = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or(0)]);
    file.read_exact(&mut secret).map_err(io_error(path))?;
    Ok(secret)
}

/// Reads a secret of exactly `N` bytes.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_exact<const N: usize>(path: &Path) -> Result<Zeroizing<[u8; N]>, SecretFileError> {
    let secret = read(path)?;
    let mut exact = Zeroizing::new([0; N]);
    if secret.len() != N {
        return Err(SecretFileError::Length {
            path: path.into(),
            actual: secret.len() as u64,
            expected: N as u64,
        });
    }
    exact.copy_from_slice(&secret);
    Ok(exact)
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), SecretFileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(SecretFileError::Exposed {
            path: path.into(),
            mode,
        })
    }
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &fs::Metadata) -> Result<(), SecretFileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_created_once_and_read_by_their_owner() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("signing.key");
        create(&path, &[7; 32]).expect("created");
        assert_eq!(*read_exact::<32>(&path).expect("read"), [7; 32]);
        assert!(matches!(create(&path, &[8; 32]), Err(SecretFileError::Io { .. })));
        assert!(matches!(
            read_exact::<33>(&path),
            Err(SecretFileError::Length {
                actual: 32,
                expected: 33,
                ..
            })
        ));
        assert!(matches!(
            read(&dir.path().join("absent")),
            Err(SecretFileError::Io { .. })
        ));
    }

    #[test]
    fn a_secret_is_replaced_whole_over_what_a_crash_left() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("party.key");
        replace(&path, &[1; 32]).expect("made");
        fs::write(dir.path().join("party.key.new"), b"half of").expect("left by a crash");
        replace(&path, &[2; 32]).expect("replaced");
        assert_eq!(*read_exact::<32>(&path).expect("read"), [2; 32]);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("signing.key");
        create(&path, &[7; 32]).expect("created");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(
            read(&path),
            Err(SecretFileError::Exposed { mode: 0o644, .. })
        ));
    }

    #[test]
    fn a_huge_file_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("huge");
        create(&path, &vec![0; MAX_SECRET_BYTES as usize + 1]).expect("created");
        assert!(matches!(read(&path), Err(SecretFileError::Length { .. })));
    }
}
