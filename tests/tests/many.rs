//! Elections of different sizes, open at once over the same three parties; none is mixed up with another.

use tally_tests::many::Many;
use tally_tests::process::Program;

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_elections_equals_its_own_recount() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    tally_proto::connect::install_tls_provider();
    let directory = tempfile::tempdir().expect("a directory");
    let many = Many {
        elections: 5,
        fewest: 11,
        most: 60,
        one_in: 2,
        seed: 3,
        json: false,
    };
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let report = many
        .run(&directory.path().join("world"), program)
        .await
        .unwrap_or_else(|error| panic!("seed {}: {error}", many.seed));
    println!("{report:?}");
    assert_eq!(report.elections, 5, "{report:?}");
    assert!(
        report.ballots >= 5 * 11 && report.voters >= report.ballots / 2,
        "{report:?}"
    );
    assert!(report.party_peak_mib.iter().all(|mib| *mib > 1.0), "{report:?}");
}
