//! Operating-system processes of an election: started by re-executing this program, logged to files, killed without mercy.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

/// Below those that operating systems give to outgoing connections: one of these would hold the port against the server that comes to listen there.
const PORTS: Range<u16> = 15_000..32_000;
/// How long a process may take until it listens.
const START: Duration = Duration::from_secs(60);

/// What goes wrong with a process.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// A command ended with a failure.
    #[error("`{command}` ended with {status}:\n{output}")]
    Failed {
        /// The command's words.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed, both streams.
        output: String,
    },
    /// A server ended by itself.
    #[error("{name} ended by itself with {status}; the end of its log:\n{tail}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        tail: String,
    },
    /// A server did not come up.
    #[error("{name} does not listen on {address} after {} s; the end of its log {}:\n{tail}", START.as_secs(), log.display())]
    Silent {
        /// The process.
        name: String,
        /// Where it should listen.
        address: SocketAddr,
        /// Its log file.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
}

/// How a command ended and what it printed.
#[derive(Debug, Clone)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

fn os(what: impl Into<String>) -> impl FnOnce(io::Error) -> ProcessError {
    move |source| ProcessError::Os {
        what: what.into(),
        source,
    }
}

/// The program that plays every part: a path to a multi-call executable.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    transcript: Option<PathBuf>,
    user: Option<(u32, u32)>,
}

impl Program {
    /// The multi-call executable at `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            transcript: None,
            user: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has everything that commands print from now on added to a file, and has them log all they have to say.
    #[must_use]
    pub fn recorded(self, transcript: impl Into<PathBuf>) -> Self {
        Self {
            transcript: Some(transcript.into()),
            ..self
        }
    }

    /// Runs commands as the user and group of these numbers; `None`: as whoever runs this. Servers are always started as whoever runs this.
    #[must_use]
    pub fn as_user(self, user: Option<(u32, u32)>) -> Self {
        Self { user, ..self }
    }

    /// This very program.
    ///
    /// # Errors
    /// The operating system does not say where it is.
    pub fn this() -> Result<Self, ProcessError> {
        std::env::current_exe()
            .map(Self::at)
            .map_err(os("finding this program"))
    }

    /// Runs a command to its end with `typed` on its standard input, and gives what it printed on standard output.
    ///
    /// # Errors
    /// [`ProcessError::Failed`] with all that it printed.
    pub fn run(&self, directory: &Path, words: &[&str], typed: &str) -> Result<String, ProcessError> {
        let said = self.attempt(directory, words, typed)?;
        if said.status.success() {
            return Ok(said.out);
        }
        Err(ProcessError::Failed {
            command: words.join(" "),
            status: said.status,
            output: said.out + &said.err,
        })
    }

    /// Runs a command that must be refused, and gives what it printed, both streams. `None`: it was not refused.
    ///
    /// # Errors
    /// The command cannot be run.
    pub fn refused(
        &self,
        directory: &Path,
        words: &[&str],
        typed: &str,
    ) -> Result<Option<String>, ProcessError> {
        let said = self.attempt(directory, words, typed)?;
        Ok((!said.status.success()).then(|| said.out + &said.err))
    }

    /// Runs a command to its end with `typed` on its standard input, however it ends.
    ///
    /// # Errors
    /// The command cannot be run.
    pub fn attempt(&self, directory: &Path, words: &[&str], typed: &str) -> Result<Said, ProcessError> {
        let what = || format!("running `{}`", words.join(" "));
        let mut command = Command::new(&self.path);
        if self.transcript.is_some() {
            command.env("RUST_LOG", "debug");
        }
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let mut child = command
            .args(words)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(os(what()))?;
        if let Some(mut input) = child.stdin.take() {
            // A command that does not ask closes its input; that is no failure.
            let _ = input.write_all(typed.as_bytes());
        }
        let output = child.wait_with_output().map_err(os(what()))?;
        if let Some(transcript) = &self.transcript {
            let mut file = open_log(transcript)?;
            let all = [output.stdout.as_slice(), &output.stderr].concat();
            file.write_all(&all).map_err(os("writing a transcript"))?;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            status: output.status,
            out: text(&output.stdout),
            err: text(&output.stderr),
        })
    }

    /// Starts a server and waits until it listens on all `addresses`. As a service does it has a runtime directory of its own, [`run_dir`]:
    /// nothing stays behind in the machine's memory.
    ///
    /// # Errors
    /// [`ProcessError::Silent`] with the end of its log.
    pub fn serve(
        &self,
        name: &str,
        directory: &Path,
        words: &[&str],
        addresses: &[SocketAddr],
    ) -> Result<Server, ProcessError> {
        let log = directory.join(format!("{name}.log"));
        let run = run_dir(directory, name);
        std::fs::create_dir_all(&run).map_err(os("making a runtime directory"))?;
        let file = open_log(&log)?;
        let errors = file.try_clone().map_err(os("sharing a log file"))?;
        let child = Command::new(&self.path)
            .args(words)
            .current_dir(directory)
            .env("RUNTIME_DIRECTORY", run)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(os(format!("starting {name}")))?;
        let mut server = Server {
            name: name.to_owned(),
            child,
            log,
        };
        for &address in addresses {
            server.await_listening(address)?;
        }
        Ok(server)
    }
}

/// The runtime directory of the server of that name started in `directory`: what stands there lives until the machine is booted.
pub fn run_dir(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.run"))
}

fn open_log(path: &Path) -> Result<File, ProcessError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(os(format!("opening {}", path.display())))
}

/// A running server process. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Pulls its plug (SIGKILL), and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Tells it to stop (SIGTERM) and waits until it has; pulls its plug when it does not within half a minute.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn stop(mut self) -> Result<(), ProcessError> {
        Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .map_err(os(format!("stopping {}", self.name)))?;
        let since = Instant::now();
        while since.elapsed() < START && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.end();
        Ok(())
    }

    /// Tells it to stop (SIGTERM) and does not wait.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn tell_to_stop(&self) -> Result<(), ProcessError> {
        Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .map(drop)
            .map_err(os(format!("stopping {}", self.name)))
    }

    /// Waits until it has ended by itself; how. `None`: it has not within `patience`, and its plug is pulled.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn ended_within(mut self, patience: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        let since = Instant::now();
        loop {
            let ended = self
                .child
                .try_wait()
                .map_err(os(format!("waiting for {}", self.name)))?;
            if ended.is_some() || since.elapsed() >= patience {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn end(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Fails when it has ended by itself.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] with the end of its log.
    pub fn check_runs(&mut self) -> Result<(), ProcessError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(ProcessError::Ended {
                name: self.name.clone(),
                status,
                tail: self.tail(),
            }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Waits until it listens on `address`.
    ///
    /// # Errors
    /// [`ProcessError::Silent`] with the end of its log.
    pub fn await_listening(&mut self, address: SocketAddr) -> Result<(), ProcessError> {
        let since = Instant::now();
        while since.elapsed() < START {
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(ProcessError::Silent {
            name: self.name.clone(),
            address,
            log: self.log.clone(),
            tail: self.tail(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Two addresses at `ip` that nobody listens on just now.
///
/// # Errors
/// The operating system has no port to give.
pub fn free_addresses_at(ip: Ipv4Addr) -> Result<[SocketAddr; 2], ProcessError> {
    // Not given twice by this process, nor, likely, by one beside it.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let begin = (std::process::id().wrapping_mul(61) % u32::from(count)) as u16;
    let free = || {
        (0..count)
            .map(|_| PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(begin) % count)
            .map(|port| SocketAddr::from((ip, port)))
            .find(|&address| TcpListener::bind(address).is_ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
            .map_err(os(format!("finding a free port at {ip}")))
    };
    Ok([free()?, free()?])
}
