//! Parties killed at random moments under load, some fifty times: the soak in little.

use tally_tests::process::Program;
use tally_tests::soak::Soak;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_over_fifty_kills() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    tally_proto::connect::install_tls_provider();
    let directory = tempfile::tempdir().expect("a directory");
    let soak = Soak {
        kills: 50,
        seed: 7,
        voters: 24,
        json: false,
    };
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let report = soak
        .run(&directory.path().join("world"), program)
        .await
        .unwrap_or_else(|error| panic!("seed {}: {error}", soak.seed));
    println!("{report:?}");
    assert!(report.kills >= 50 && report.of_two > 0, "{report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(report.equals_recount, "{report:?}");
    // Every voter has cast in three rounds at least, most of them in the middle of it.
    assert!(
        report.acknowledged >= 3 * 24 && report.sealed >= report.acknowledged,
        "{report:?}"
    );
}
