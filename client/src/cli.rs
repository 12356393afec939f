//! The command line: `client show | draw | enrol | draw-code | carry-over | vote | inspect | check | receipts | erase | decoy` and `client station init | desk | vote |
//! paper | drain | status`.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod carry;
mod check;
mod code_file;
mod console;
mod desk;
mod draw_code;
mod enrol;
mod failure;
mod inspect;
mod printer;
mod station;
mod voter;

pub use console::Console;
pub use failure::Failure;

/// What ends a command: see the list in `client --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// A station's queue still holds ballots that some party lacks.
    Left,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something on this machine failed (a file, a directory)
  2  the command line is wrong
  3  the manifest, invitation, choice or roll number is wrong; nothing was sent
  4  the parties refused the ballot
  5  too few parties could be reached, or `check` is open without one that was not; try again
  6  `station drain` ended, and some party still lacks some ballots
  7  what was checked is false: a check code that does not open the ballot, a log that was rewritten, contradicting parties
  8  `check`: the ballot is not where it should be, or is left out of what is tallied, or no other party has seen it there";

/// Casts ballots, for voters and polling stations.
#[derive(Parser)]
#[command(name = "client", version, after_help = EXIT_CODES)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Shows the ballot paper of an invitation.
    Show(voter::Show),
    /// Draws this device's tickets, where the election asks for them: once, best long before the vote.
    Draw(voter::Draw),
    /// Enrols with an identity card, and shows the invitation that this makes.
    Enrol(enrol::Enrol),
    /// Lets your identity card stand for the draw code of an invitation, where the election asks for tickets. `enrol` does this by itself; after `carry-over`,
    /// and where the commission could not be reached, this does.
    DrawCode(draw_code::RegisterDrawCode),
    /// Makes of the code that you got by enrolling with your card the code for a later election of the same register, without the card.
    CarryOver(carry::CarryOver),
    /// Casts a ballot. Casting again revotes: the last ballot counts.
    Vote(voter::Vote),
    /// Shows, on another device, what a ballot holds that was cast with `vote --second-device`.
    Inspect(inspect::Inspect),
    /// Checks that a ballot is in the parties' logs and, after sealing, on the list of what is tallied.
    Check(check::Check),
    /// Lists the receipts that were kept on this device.
    Receipts(voter::Receipts),
    /// Erases all kept receipts from this device.
    Erase(voter::Erase),
    /// Makes invitations that look like yours and whose ballots never count.
    Decoy(voter::Decoy),
    /// The work of a polling station.
    #[command(subcommand)]
    Station(station::Station),
}

/// Which election.
#[derive(Args)]
struct ManifestArg {
    /// The election's signed manifest, as the commission publishes it.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
}

/// In which language.
#[derive(Args)]
struct LanguageArg {
    /// Language of the ballot paper (repeat for second best); default: the one of this machine.
    #[arg(long = "language", value_name = "TAG")]
    languages: Vec<String>,
}

impl LanguageArg {
    fn list(&self) -> Vec<String> {
        if !self.languages.is_empty() {
            return self.languages.clone();
        }
        // LANG is like de_AT.UTF-8.
        let machine = std::env::var("LC_ALL")
            .or_else(|_| std::env::var("LC_MESSAGES"))
            .or_else(|_| std::env::var("LANG"));
        let tag = machine
            .ok()
            .and_then(|value| value.split(['.', '@']).next().map(str::to_owned));
        tag.filter(|tag| !tag.is_empty() && tag != "C" && tag != "POSIX")
            .into_iter()
            .collect()
    }
}

/// Where this device keeps what it must remember.
#[derive(Args)]
struct StateArg {
    /// Directory of this device's memory (the second of its last cast for some seconds, tickets, and kept receipts). Default: the environment's
    /// TALLY_CLIENT_STATE, else tally-client in this user's state directory.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl StateArg {
    fn directory(&self) -> PathBuf {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let given = self.state.clone().or_else(|| variable("TALLY_CLIENT_STATE"));
        let home = || variable("HOME").map(|home| home.join(".local/state"));
        given.unwrap_or_else(|| {
            variable("XDG_STATE_HOME")
                .or_else(home)
                .unwrap_or_default()
                .join("tally-client")
        })
    }
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

/// Runs the command with the arguments of a process, the program's name first. The caller has installed the TLS provider.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let stdin = std::io::stdin();
    let interactive = stdin.is_terminal();
    let mut console = Console {
        input: &mut stdin.lock(),
        interactive,
        out: &mut std::io::stdout(),
        err: &mut std::io::stderr(),
    };
    ExitCode::from(run(args, &mut console))
}

/// [`main_with`] on any console; returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> u8 {
    // What is generic is compiled where it is called, with all that it calls: only this line is.
    run_on(args.into_iter().collect(), console)
}

fn run_on(args: Vec<OsString>, console: &mut Console<'_>) -> u8 {
    let command = match Command::try_parse_from(args) {
        Ok(command) => command,
        Err(error) => {
            let text = error.render().to_string();
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            if error.use_stderr() {
                console.complain(text.trim_end());
            } else {
                console.say(text.trim_end());
            }
            return code;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.complain(&format!("cannot start: {error}"));
            return 1;
        }
    };
    let outcome = runtime.block_on(command.run(console));
    // Nothing may hold the process up: what goes on in the background has been waited for where that was promised.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Left) => 6,
        Err(failure) => {
            let code = failure.reason().map(|reason| format!(" ({reason})"));
            console.complain(&format!("{failure}{}", code.unwrap_or_default()));
            failure.exit_code()
        }
    }
}

impl Command {
    async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        match self.verb {
            Verb::Show(show) => show.run(console),
            Verb::Draw(draw) => draw.run(console).await,
            Verb::Enrol(enrol) => enrol.run(console).await,
            Verb::DrawCode(draw_code) => draw_code.run(console).await,
            Verb::CarryOver(carry) => carry.run(console),
            Verb::Vote(vote) => vote.run(console).await,
            Verb::Inspect(inspect) => inspect.run(console).await,
            Verb::Check(check) => check.run(console).await,
            Verb::Receipts(receipts) => receipts.run(console),
            Verb::Erase(erase) => erase.run(console),
            Verb::Decoy(decoy) => decoy.run(console),
            Verb::Station(station) => station.run(console).await,
        }
    }
}
