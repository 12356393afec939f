//! The demonstration on a small scale: it succeeds, and a fault of one vote makes it fail.

use std::path::Path;
use std::process::{Command, Output};

fn demo(directory: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally-tests"))
        .args(["demo", "--voters", "300", "--dir"])
        .arg(directory)
        .args(more)
        .output()
        .expect("the program of this package runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_election_is_counted_right_and_a_fault_of_one_vote_is_found() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let honest = demo(&directory.path().join("honest"), &[]);
    let said =
        String::from_utf8_lossy(&honest.stdout).into_owned() + &String::from_utf8_lossy(&honest.stderr);
    assert!(honest.status.success(), "{said}");
    assert!(said.contains("equals the recount in the clear"), "{said}");
    assert!(said.contains("Hal OSLER"), "{said}");
    let page = std::fs::read_to_string(directory.path().join("honest/result.html")).expect("a result page");
    assert!(
        page.contains("<svg") && page.contains("Inverleith"),
        "the page shows a chart of the ward"
    );

    let faulty = demo(&directory.path().join("faulty"), &["--fault"]);
    let said = String::from_utf8_lossy(&faulty.stderr);
    assert_eq!(faulty.status.code(), Some(1), "{said}");
    assert!(said.contains("but the recount from the script gives"), "{said}");
}
