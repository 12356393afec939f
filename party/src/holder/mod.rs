//! The key holder: a small process that keeps the unlock key in memory, so that a server that crashes comes back without its officials.
//!
//! It listens on a socket in a directory of mode 700 and answers processes of its own user only (the system tells whose they are). Shares
//! that officials give wait here until enough are there; then they are forgotten and the key is kept. It gives the key to a server that
//! names the party and ceremony of the key file. Nothing is ever written: after a reboot the officials come again.
//!
//! One thread, one connection at a time, each bounded in time and length: whoever can connect is this user already.

mod client;
pub mod memory;
pub mod message;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use zeroize::Zeroizing;

pub use client::{HolderError, SOCKET, ask, give, key, lock, state};
use message::{Reply, Request, State};

use crate::officials::{Collected, Public, Sealed, SealedError, UnlockKey, Use};

/// What is held.
#[derive(Debug)]
enum Held {
    /// Shares, not enough yet.
    Shares(Collected),
    /// The key.
    Key(Public, UnlockKey),
}

impl Held {
    fn public(&self) -> &Public {
        match self {
            Held::Shares(collected) => collected.public(),
            Held::Key(public, _) => public,
        }
    }
}

/// The holder's state, apart from its socket.
#[derive(Debug)]
pub struct Holder {
    sealed: PathBuf,
    held: Option<Held>,
}

impl Holder {
    /// For the sealed key file at `sealed`, which is read anew at each request: after a change of officials the old key is forgotten.
    pub fn new(sealed: PathBuf) -> Holder {
        Holder { sealed, held: None }
    }

    /// Answers one request.
    pub fn answer(&mut self, request: Request) -> Reply {
        self.try_answer(request).unwrap_or_else(Reply::Refused)
    }

    fn try_answer(&mut self, request: Request) -> Result<Reply, String> {
        let public = match Sealed::read(&self.sealed, Use::Keys) {
            Ok(sealed) => sealed.public().clone(),
            Err(error) => {
                self.held = None;
                return Err(error.to_string());
            }
        };
        if self.held.as_ref().is_some_and(|held| *held.public() != public) {
            tracing::warn!("the sealed key file changed: what was held is forgotten");
            self.held = None;
        }
        let held = self
            .held
            .get_or_insert_with(|| Held::Shares(Collected::new(public.clone())));
        match request {
            Request::State => {}
            Request::Lock => {
                *held = Held::Shares(Collected::new(public));
                tracing::info!("locked: key and shares are forgotten");
            }
            Request::Share(share) => {
                let number = share.number();
                match held {
                    Held::Shares(collected) => {
                        collected.add(share).map_err(|error| error.to_string())?;
                        tracing::info!(
                            share = number,
                            given = collected.numbers().len(),
                            "a share was given"
                        );
                        if collected.is_enough() {
                            let key = collected.combine().map_err(|error| error.to_string())?;
                            *held = Held::Key(public, key);
                            tracing::info!("unlocked; the shares are forgotten");
                        }
                    }
                    Held::Key(public, _) => public.judge(&share).map_err(|error| error.to_string())?,
                }
            }
            Request::Key { party, ceremony } => {
                if (party, ceremony) != (public.party, public.ceremony) {
                    return Err(format!(
                        "this holder keeps the key of {}, ceremony {}; that of {party}, ceremony {ceremony} was asked for",
                        public.party, public.ceremony
                    ));
                }
                if let Held::Key(_, key) = held {
                    return Ok(Reply::Key(Zeroizing::new(*key.bytes())));
                }
            }
        }
        Ok(Reply::State(state_of(held)))
    }
}

fn state_of(held: &Held) -> State {
    let public = held.public();
    let given = match held {
        Held::Shares(collected) => collected
            .numbers()
            .into_iter()
            .fold(0u16, |given, number| given | 1 << (number - 1)),
        Held::Key(..) => 0,
    };
    State {
        party: public.party,
        ceremony: public.ceremony,
        terms: public.terms,
        given,
        unlocked: matches!(held, Held::Key(..)),
    }
}

/// Why a holder did not start.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The sealed key file.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] HolderError),
}

/// Holds the key of the file at `sealed`, on a socket in `directory`, until `stop` completes. Then everything is wiped and the socket removed.
/// `ready` is called once it listens.
///
/// # Errors
/// [`HoldError`]: no sealed key file, a directory open to others, another holder, or the system refused.
pub async fn hold(
    sealed: &Path,
    directory: &Path,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<(), HoldError> {
    Sealed::read(sealed, Use::Keys)?;
    let path = directory.join(SOCKET);
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidInput => HolderError::TooLong(path.clone()),
        _ => HolderError::Io {
            path: path.clone(),
            source,
        },
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io)?;
    client::private(directory)?;
    // What a killed holder left behind; one that lives answers.
    match UnixStream::connect(&path) {
        Ok(_) => return Err(HolderError::Running(path).into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(&path).map_err(io)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(io)?;
    listener.set_nonblocking(true).map_err(io)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(io)?;
    let mut holder = Holder::new(sealed.to_owned());
    let serve = async {
        ready();
        loop {
            let heard = match listener.accept().await {
                Ok((stream, _)) => stream.into_std().and_then(|stream| converse(stream, &mut holder)),
                Err(error) => Err(error),
            };
            if let Err(error) = heard {
                tracing::debug!(%error, "a connection ended before its answer");
            }
        }
    };
    let ended: Result<(), HolderError> = tokio::select! {
        ended = serve => ended,
        () = stop => Ok(()),
    };
    // Gone already only when somebody removed it.
    let _ = std::fs::remove_file(&path);
    Ok(ended?)
}

/// One request and its answer.
fn converse(mut stream: UnixStream, holder: &mut Holder) -> io::Result<()> {
    if client::peer_uid(&stream)? != geteuid().as_raw() {
        tracing::warn!("a process of another user asked and was not answered");
        return Ok(());
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(client::PATIENCE))?;
    stream.set_write_timeout(Some(client::PATIENCE))?;
    let message = client::read_frame(&mut stream)?;
    let reply = match Request::decode(&message) {
        Ok(request) => holder.answer(request),
        Err(error) => Reply::Refused(error.to_string()),
    };
    client::write_frame(&mut stream, &reply.encode())
}

#[cfg(test)]
mod tests;
