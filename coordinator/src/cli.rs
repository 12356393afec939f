//! The commands of a coordinator and of a registrar.
//!
//! The TLS provider must be installed before (by the executable's main). What cannot be undone is said first and asked for: the
//! election id has to be typed.

mod arguments;
mod coordinator;
mod phases;
mod registrar;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::confirm::{ConfirmError, confirm};
use crate::error::Error;
use crate::parties::Patience;
use crate::progress::{self, Progress};

/// Runs a coordinator's command line (the first argument is the program's name).
pub fn main_with<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    // What is generic is compiled where it is called, with all that it calls: no more than this is.
    match arguments::Coordinator::try_parse_from(arguments) {
        Ok(parsed) => coordinator(parsed),
        Err(usage) => explain(&usage),
    }
}

fn coordinator(parsed: arguments::Coordinator) -> ExitCode {
    run(coordinator::run(parsed))
}

/// Runs a registrar's command line (the first argument is the program's name).
pub fn registrar_main_with<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    match arguments::Registrar::try_parse_from(arguments) {
        Ok(parsed) => registrar(parsed),
        Err(usage) => explain(&usage),
    }
}

fn registrar(parsed: arguments::Registrar) -> ExitCode {
    run(async { registrar::run(parsed).await.map(|()| ExitCode::SUCCESS) })
}

fn explain(usage: &clap::Error) -> ExitCode {
    // A closed terminal is no reason to fail differently.
    let _ = usage.print();
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

fn run(command: impl Future<Output = Result<ExitCode, Error>>) -> ExitCode {
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Log lines on standard error; `RUST_LOG` chooses. A subscriber that the executable has set stays.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}

/// What commands share: how to show progress, how long to try, how to ask.
struct Console {
    progress: Box<dyn Progress>,
    patience: Patience,
}

impl Console {
    fn new(patience_s: u64) -> Self {
        Self {
            progress: progress::for_stderr(),
            patience: Patience(Duration::from_secs(patience_s)),
        }
    }

    /// Asks on standard error, reads from standard input.
    fn confirm(&self, what: &str, election: &str) -> Result<(), ConfirmError> {
        confirm(
            what,
            election,
            &mut std::io::stdin().lock(),
            &mut std::io::stderr(),
        )
    }
}

/// Columns of the terminal, for tables; wide where there is none.
fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns
        .filter(|c| (40..=400).contains(c))
        .unwrap_or(if styled() { 80 } else { 140 })
}

/// Whether standard output is a terminal.
fn styled() -> bool {
    std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::arguments;
    use clap::CommandFactory;

    #[test]
    fn every_command_and_option_is_explained() {
        fn check(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} says what it does",
                command.get_name()
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command
                .get_subcommands()
                .filter(|c| c.get_name() != "help")
                .for_each(check);
        }
        for mut command in [arguments::Coordinator::command(), arguments::Registrar::command()] {
            command.build();
            check(&command);
            command.debug_assert();
        }
    }
}
