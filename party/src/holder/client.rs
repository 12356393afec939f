//! Asking the key holder: a blocking request over its socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::message::{MAX_MESSAGE_BYTES, Reply, Request, State};
use crate::officials::{Public, Share, UnlockKey};

/// The socket's name in the holder's directory.
pub const SOCKET: &str = "holder.sock";
/// How long a message may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Why the key holder did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// Nobody listens.
    #[error("no key holder runs at {}; start `party hold-keys`", .0.display())]
    NotRunning(PathBuf),
    /// Another one does.
    #[error("a key holder runs at {} already", .0.display())]
    Running(PathBuf),
    /// Its directory is not private.
    #[error(
        "{} must be a directory of this user, open to nobody else (mode 700); it is not, so the key is not kept there",
        .0.display()
    )]
    Exposed(PathBuf),
    /// The socket's path is longer than the system allows.
    #[error("{} is too long for a socket (about 100 bytes): set keys.holder to a shorter path, as /run/tally-party-1", .0.display())]
    TooLong(PathBuf),
    /// Another user's process is at the other end.
    #[error("the process at the other end of {} is not this user's", .0.display())]
    OtherUser(PathBuf),
    /// Reading or writing.
    #[error("the key holder's socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something else than was asked.
    #[error("the key holder's answer is not one: it is of another version than this program")]
    Garbled,
    /// It refused, in its words.
    #[error("{0}")]
    Refused(String),
}

/// Checks that `directory` is this user's and nobody else's.
///
/// # Errors
/// [`HolderError::Exposed`]; [`HolderError::NotRunning`] when there is none.
pub(super) fn private(directory: &Path) -> Result<(), HolderError> {
    let found =
        std::fs::symlink_metadata(directory).map_err(|_| HolderError::NotRunning(directory.to_owned()))?;
    if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(HolderError::Exposed(directory.to_owned()))
    }
}

/// Asks the holder whose socket is in `directory`. Blocks, for some seconds at most.
///
/// # Errors
/// [`HolderError`].
pub fn ask(directory: &Path, request: &Request) -> Result<Reply, HolderError> {
    private(directory)?;
    let path = directory.join(SOCKET);
    let stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => HolderError::NotRunning(path.clone()),
        io::ErrorKind::InvalidInput => HolderError::TooLong(path.clone()),
        _ => HolderError::Io {
            path: path.clone(),
            source,
        },
    })?;
    let io = |source| HolderError::Io {
        path: path.clone(),
        source,
    };
    if peer_uid(&stream).map_err(io)? != geteuid().as_raw() {
        return Err(HolderError::OtherUser(path));
    }
    let message = exchange(stream, &request.encode()).map_err(io)?;
    match Reply::decode(&message).map_err(|_| HolderError::Garbled)? {
        Reply::Refused(words) => Err(HolderError::Refused(words)),
        reply => Ok(reply),
    }
}

fn exchange(mut stream: UnixStream, request: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_frame(&mut stream, request)?;
    read_frame(&mut stream)
}

/// Writes one message with its length.
pub(super) fn write_frame(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(message)
}

/// Reads one message.
pub(super) fn read_frame(stream: &mut UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_MESSAGE_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The user whose process is at the other end.
pub(super) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    #[cfg(target_os = "linux")]
    {
        Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// How the holder stands.
///
/// # Errors
/// [`HolderError`].
pub fn state(directory: &Path) -> Result<State, HolderError> {
    stated(ask(directory, &Request::State)?)
}

/// Gives a share.
///
/// # Errors
/// [`HolderError`]; [`HolderError::Refused`] says what is wrong with the share.
pub fn give(directory: &Path, share: Share) -> Result<State, HolderError> {
    stated(ask(directory, &Request::Share(share))?)
}

/// Has it forget key and shares.
///
/// # Errors
/// [`HolderError`].
pub fn lock(directory: &Path) -> Result<State, HolderError> {
    stated(ask(directory, &Request::Lock)?)
}

fn stated(reply: Reply) -> Result<State, HolderError> {
    match reply {
        Reply::State(state) => Ok(state),
        _ => Err(HolderError::Garbled),
    }
}

/// The key of that ceremony; `None` while it is locked.
///
/// # Errors
/// [`HolderError`].
pub fn key(directory: &Path, public: &Public) -> Result<Option<UnlockKey>, HolderError> {
    let request = Request::Key {
        party: public.party,
        ceremony: public.ceremony,
    };
    match ask(directory, &request)? {
        Reply::Key(bytes) => {
            let key = UnlockKey::new(bytes);
            if public.is_key(&key) {
                Ok(Some(key))
            } else {
                Err(HolderError::Garbled)
            }
        }
        Reply::State(_) => Ok(None),
        Reply::Refused(words) => Err(HolderError::Refused(words)),
    }
}
