//! Secrets that are typed unseen at the terminal, and the end of a program meanwhile.
//!
//! While a secret is typed the terminal shows nothing. A program that ends just then, by Ctrl-C, SIGTERM or a hangup, would leave behind a terminal that
//! stays silent, and an empty file where something was to be written. So once it has asked for a secret or has made such a file, these signals end it
//! here: the terminal is put as it was, files that are still empty are removed, and the exit code is 128 and the signal's number, as a shell
//! has it. A signal that was ignored when the program began, as by `nohup`, is ignored all along.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::secret_file::{self, SecretFileError};

const TERMINAL: &str = "/dev/tty";
/// What is asked for turns the echo off within this, in so many looks.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(5);
/// The end of the program takes no longer than this.
const MOST_END: Duration = Duration::from_secs(3);

/// What the end of the program puts right.
struct Kept {
    /// The terminal at which a secret is being typed, and as it was before.
    terminal: Option<(File, Termios)>,
    /// Files that nothing was written to yet.
    places: Vec<PathBuf>,
    /// Whether signals are looked out for.
    attended: bool,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept {
    terminal: None,
    places: Vec::new(),
    attended: false,
});

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks at the terminal of this process for a line that is not shown; `mask` stands for each letter, where that helps who types. Ctrl-C ends the
/// program.
///
/// # Errors
/// There is no terminal, or it has gone: what was typed until then is no answer. [`io::ErrorKind::UnexpectedEof`] is Ctrl-D.
pub fn ask(prompt: &str, mask: Option<char>) -> io::Result<Zeroizing<String>> {
    attend()?;
    let terminal = File::open(TERMINAL)?;
    let before = tcgetattr(&terminal)?;
    kept().terminal = Some((terminal.try_clone()?, before));
    let config = rpassword::ConfigBuilder::new();
    let config = match mask {
        Some(mask) => config.password_feedback_mask(mask),
        None => config,
    };
    let typed = rpassword::prompt_password_with_config(prompt, config.build()).map(Zeroizing::new);
    kept().terminal = None;
    match typed {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => end(SignalKind::interrupt()),
        // At a terminal that has gone the beginning of a line is read as a line: a PIN with it would be a wrong one.
        Ok(line) => tcgetattr(&terminal).map(|_| line).map_err(io::Error::from),
        Err(error) => Err(error),
    }
}

/// A new file of this user's only, made before there is anything for it so that what is told once has its place. Dropped, or at the program's end, it is
/// removed if nothing was written.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// Makes the file. Never overwrites.
    ///
    /// # Errors
    /// [`SecretFileError::Io`], also when the file exists.
    pub fn make(path: &Path) -> Result<Self, SecretFileError> {
        attend().map_err(|source| SecretFileError::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut kept = kept();
        if let Err(error) = secret_file::create(path, &[]) {
            let exists = matches!(&error, SecretFileError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists);
            // Made, but not made sure of: the same command would be refused because of it.
            if !exists {
                remove_empty(path);
            }
            return Err(error);
        }
        kept.places.push(path.to_owned());
        Ok(Self(path.to_owned()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Has `write` fill the file; a signal meanwhile ends the program afterwards.
    ///
    /// # Errors
    /// What `write` says.
    pub fn fill(&self, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut kept = kept();
        write(&self.0)?;
        kept.places.retain(|path| *path != self.0);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut kept = kept();
        if kept.places.contains(&self.0) {
            kept.places.retain(|path| *path != self.0);
            remove_empty(&self.0);
        }
    }
}

/// What somebody else has put there meanwhile stays.
fn remove_empty(path: &Path) {
    if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        let _ = fs::remove_file(path);
    }
}

/// Ends the program at a signal.
fn end(signal: SignalKind) -> ! {
    // What runs just now may hold up what is done at an exit: a card's module, or a file system that has gone. Nobody is kept here by that.
    let _ = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(MOST_END);
        let _ = kill_process(getpid(), Signal::KILL);
    });
    // Held until the process is gone: from now on nothing is asked for, and nothing is written to a place.
    let kept = kept();
    if let Some((terminal, before)) = &kept.terminal {
        // The signal may have come just before the echo is turned off.
        for _ in 0..LOOKS {
            match tcgetattr(terminal) {
                Ok(now) if now.local_modes.contains(LocalModes::ECHO) => std::thread::sleep(LOOK),
                _ => break,
            }
        }
        let _ = tcsetattr(terminal, OptionalActions::Now, before);
    }
    kept.places.iter().for_each(|path| remove_empty(path));
    std::process::exit(128 + signal.as_raw_value())
}

/// Looks out for the signals that end a program, from the first time on for good.
fn attend() -> io::Result<()> {
    let mut kept = kept();
    if kept.attended {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let ignored = ignored();
    let ending = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
    ];
    let looked_out_for = || {
        let _context = runtime.enter();
        let ending = ending.into_iter();
        let ending = ending.filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
        ending
            .map(|kind| Ok((kind, signal(kind)?)))
            .collect::<io::Result<Vec<_>>>()
    };
    let mut signals = match looked_out_for() {
        Ok(signals) if !signals.is_empty() => signals,
        none => {
            // This may be a task of another runtime, in which none is waited for.
            runtime.shutdown_background();
            kept.attended = none.is_ok();
            return none.map(|_| ());
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let first = signals.iter_mut().map(|(kind, signal)| {
                Box::pin(async move {
                    signal.recv().await;
                    *kind
                })
            });
            let (kind, ..) = runtime.block_on(select_all(first));
            end(kind)
        })?;
    kept.attended = true;
    Ok(())
}

/// The signals that this process ignores, the first as the lowest bit; none where the system does not say.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
