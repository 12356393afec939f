//! The servers of an election as units of systemd, on a machine that is given over to it: users of their own, files of their own, the hardening of
//! `deploy/systemd`. What an operator does by hand on the first day ([`deploy/systemd/README.md`](../../deploy/systemd/README.md)) is done here line by line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

use crate::process::Program;

/// Where the units look for the parties' files.
pub const ROOT: &str = "/etc/tally";
/// Where the units keep what they write.
const STATE: &str = "/var/lib/tally";
/// What the units start.
const PROGRAM: &str = "/usr/local/bin/tally";
/// Whoever keeps the board, and runs the commission's commands.
const COMMISSION: &str = "tally-coordinator";
/// What is installed, and where.
const FILES: [(&str, &str); 4] = [
    (
        "/etc/systemd/system/tally-party@.service",
        include_str!("../../deploy/systemd/tally-party@.service"),
    ),
    (
        "/etc/systemd/system/tally-keys@.service",
        include_str!("../../deploy/systemd/tally-keys@.service"),
    ),
    (
        "/etc/systemd/system/tally-board.service",
        include_str!("../../deploy/systemd/tally-board.service"),
    ),
    (
        "/etc/sysusers.d/tally.conf",
        include_str!("../../deploy/systemd/tally.sysusers"),
    ),
];

/// Why the units cannot be had.
#[derive(Debug, Error)]
pub enum UnitsError {
    /// Something is there already.
    #[error("{path} is there already: the units are tried on a machine that has nothing of the tally yet")]
    There {
        /// What.
        path: String,
    },
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A command of the system failed.
    #[error("`{command}` failed; it needs root on a machine that systemd runs:\n{said}")]
    Failed {
        /// Its words.
        command: String,
        /// What it printed.
        said: String,
    },
    /// One party's user can read what is another's.
    #[error("{user} can read {path}")]
    Open {
        /// Who.
        user: String,
        /// What.
        path: String,
    },
}

fn file(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> UnitsError {
    let path = path.as_ref().display().to_string();
    move |source| UnitsError::File { path, source }
}

/// Runs a command of the system; what it printed.
fn system(words: &[&str]) -> Result<String, UnitsError> {
    let failed = |said: String| UnitsError::Failed {
        command: words.join(" "),
        said,
    };
    let (name, rest) = words.split_first().ok_or_else(|| failed(String::new()))?;
    let output = Command::new(name).args(rest).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(failed(said))
    }
}

/// The installed units.
#[derive(Debug)]
pub struct Units(());

impl Units {
    /// Installs the program, the units and their users.
    ///
    /// # Errors
    /// Something of it is there already, or the machine is not run by systemd, or not root's to change.
    pub fn install(program: &Program) -> Result<(Self, Program), UnitsError> {
        system(&["systemctl", "list-units", "--no-pager"])?;
        for path in [ROOT, STATE, PROGRAM]
            .into_iter()
            .chain(FILES.map(|(path, _)| path))
        {
            if fs::symlink_metadata(path).is_ok() {
                return Err(UnitsError::There {
                    path: path.to_owned(),
                });
            }
        }
        fs::copy(program.path(), PROGRAM).map_err(file(PROGRAM))?;
        for (path, text) in FILES {
            if let Some(directory) = Path::new(path).parent() {
                fs::create_dir_all(directory).map_err(file(directory))?;
            }
            fs::write(path, text).map_err(file(path))?;
        }
        system(&["systemd-sysusers"])?;
        system(&["systemctl", "daemon-reload"])?;
        for path in [ROOT, STATE] {
            fs::create_dir(path).map_err(file(path))?;
        }
        // The commission works beside the parties' files, in a directory of its own for the board.
        let board = format!("{STATE}/coordinator");
        fs::create_dir(&board).map_err(file(&board))?;
        system(&["chown", COMMISSION, ROOT, &board])?;
        system(&["chmod", "700", &board])?;
        let link = format!("{ROOT}/coordinator");
        std::os::unix::fs::symlink(&board, &link).map_err(file(link))?;
        Ok((Self(()), Program::at(PROGRAM)))
    }

    /// The user as whom the commission, the registrar and the stations run their commands.
    ///
    /// # Errors
    /// There is no such user.
    pub fn commission() -> Result<(u32, u32), UnitsError> {
        let number = |flag| -> Result<u32, UnitsError> {
            let said = system(&["id", flag, COMMISSION])?;
            said.trim().parse().map_err(|_| UnitsError::Failed {
                command: format!("id {flag} {COMMISSION}"),
                said,
            })
        };
        Ok((number("-u")?, number("-g")?))
    }

    /// Gives each party's files to its user, who looks through the configuration.
    ///
    /// # Errors
    /// The operating system refuses, or the configuration has a fault.
    pub fn give(&self) -> Result<(), UnitsError> {
        for i in 0..3 {
            let (user, directory) = (user(i), format!("{ROOT}/party-{}", i + 1));
            system(&["chown", "-R", &format!("{user}:{user}"), &directory])?;
            let store = format!("{STATE}/party-{}", i + 1);
            system(&["install", "-d", "-m", "700", "-o", &user, "-g", &user, &store])?;
            let config = format!("{directory}/party.toml");
            let check = ["tally", "party", "check-config", "--config", &config];
            system(&[&["runuser", "-u", &user, "--"], &check[..]].concat())?;
        }
        Ok(())
    }

    /// Gives files to the commission.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn give_to_commission(&self, path: &Path) -> Result<(), UnitsError> {
        let path = path.display().to_string();
        system(&["chown", "-R", &format!("{COMMISSION}:{COMMISSION}"), &path]).map(drop)
    }

    /// Starts party `i` (0 based) and waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not come up: with what it logged.
    pub fn start(&self, i: usize) -> Result<(), UnitsError> {
        start(&unit(i))
    }

    /// Starts the board.
    ///
    /// # Errors
    /// It does not come up: with what it logged.
    pub fn start_board(&self) -> Result<(), UnitsError> {
        start("tally-board")
    }

    /// Stops party `i` (0 based).
    ///
    /// # Errors
    /// The machine refuses.
    pub fn stop(&self, i: usize) -> Result<(), UnitsError> {
        system(&["systemctl", "stop", &unit(i)]).map(drop)
    }

    /// Pulls the plug of party `i` (0 based), and keeps systemd from starting it again.
    ///
    /// # Errors
    /// The machine refuses.
    pub fn kill(&self, i: usize) -> Result<(), UnitsError> {
        system(&["systemctl", "kill", "--signal=KILL", &unit(i)])?;
        self.stop(i)
    }

    /// Tries, as each party's user, to read what the two others keep: keys, stores and what is noted in memory.
    ///
    /// # Errors
    /// It can be read.
    pub fn check_apart(&self) -> Result<(), UnitsError> {
        let of = |i: usize| -> Result<Vec<PathBuf>, UnitsError> {
            let number = i + 1;
            let mut found = Vec::new();
            for directory in [ROOT, STATE, "/run/tally"] {
                let directory = PathBuf::from(format!("{directory}/party-{number}"));
                found.extend(below(&directory)?);
                found.push(directory);
            }
            Ok(found)
        };
        for i in 0..3 {
            let user = user(i);
            for path in of((i + 1) % 3)?.into_iter().chain(of((i + 2) % 3)?) {
                let path = path.display().to_string();
                // `test -r` as that user, by the kernel's own judgement.
                let read = ["runuser", "-u", &user, "--", "test", "-r", &path];
                if system(&read).is_ok() {
                    return Err(UnitsError::Open { user, path });
                }
            }
            // And what is its own it can: else nothing was tried.
            for path in of(i)? {
                let path = path.display().to_string();
                system(&["runuser", "-u", &user, "--", "test", "-r", &path])?;
            }
        }
        Ok(())
    }
}

fn user(i: usize) -> String {
    format!("tally-party-{}", i + 1)
}

fn unit(i: usize) -> String {
    format!("tally-party@{}", i + 1)
}

fn start(unit: &str) -> Result<(), UnitsError> {
    match system(&["systemctl", "start", unit]) {
        Ok(_) => Ok(()),
        Err(UnitsError::Failed { command, said }) => {
            // It fails for a unit that is not active, and says all the same what there is to say.
            let told = match system(&["systemctl", "status", "--no-pager", "--lines=20", unit]) {
                Ok(told) | Err(UnitsError::Failed { said: told, .. }) => told,
                Err(other) => other.to_string(),
            };
            Err(UnitsError::Failed {
                command,
                said: said + &told,
            })
        }
        Err(other) => Err(other),
    }
}

/// Every file and directory below one.
fn below(directory: &Path) -> Result<Vec<PathBuf>, UnitsError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(file(directory))? {
        let path = entry.map_err(file(directory))?.path();
        if path.is_dir() {
            found.extend(below(&path)?);
        }
        found.push(path);
    }
    Ok(found)
}
