//! The processes of an election, for tests: one program that is whatever its first argument says.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    tally_proto::connect::install_tls_provider();
    let rest: Vec<OsString> = std::env::args_os().skip(1).collect();
    match rest
        .first()
        .and_then(|argument| argument.to_str())
        .unwrap_or_default()
    {
        "party" => tally_party::cli::main_with(rest),
        "coordinator" => tally_coordinator::cli::main_with(rest),
        "registrar" => tally_coordinator::cli::registrar_main_with(rest),
        "client" => tally_client::cli::main_with(rest),
        "demo" => tally_tests::demo::main_with(rest),
        "elections" => tally_tests::many::main_with(rest),
        "soak" => tally_tests::soak::main_with(rest),
        other => {
            eprintln!("there is no part '{other}'");
            ExitCode::from(2)
        }
    }
}
