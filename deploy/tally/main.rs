//! The multi-call executable of the tally service: one program that is a party, the coordinator, a registrar, a voter's client or the
//! demonstration, as its first argument says. The demonstration re-executes it for every process it needs.

use std::ffi::OsString;
use std::process::ExitCode;

const HELP: &str = "\
tally: a vote tally under multi-party computation, run by three agencies that do not trust each other

Usage: tally <command> [arguments]

  party        run and look after one party server (init, check-config, run, countersign, status)
  coordinator  define an election, publish it, seal, tally, publish and verify the result
  registrar    issue credentials and invitations for a roll
  client       vote, or run a polling station
  demo         run a whole election over real ballots on this machine

`tally <command> --help` says more.";

fn main() -> ExitCode {
    tally_proto::connect::install_tls_provider();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Each command reads its own name where a program's name stands.
    let rest = arguments.get(1..).unwrap_or_default().to_vec();
    let command = rest
        .first()
        .and_then(|argument| argument.to_str())
        .unwrap_or_default();
    match command {
        "party" => tally_party::cli::main_with(rest),
        "coordinator" => tally_coordinator::cli::main_with(rest),
        "registrar" => tally_coordinator::cli::registrar_main_with(rest),
        "client" => tally_client::cli::main_with(rest),
        "demo" => tally_tests::demo::main_with(rest),
        "--version" | "-V" => {
            println!("tally {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        "--help" | "-h" | "help" => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        "" => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
        other => {
            eprintln!("tally: there is no command '{other}'\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}
