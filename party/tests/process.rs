//! The command as a process of its own: runs, answers its operator, stops on a signal, and is killed without losing its store.
//!
//! Without the test harness, because the test re-executes itself as the party.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tally_party::config::Config;
use tally_party::init::{Init, init};
use tally_party::operator::Operator;
use tally_proto::envelope::Signer;
use tally_proto::fixture::ports;
use tally_proto::identity::CoordinatorIdentity;
use tally_proto::ids::Role;
use tally_proto::pki::Authority;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args_os();
    arguments.next();
    match arguments.next() {
        Some(word) if word == "as-party" => {
            tally_party::cli::main_with([OsString::from("party")].into_iter().chain(arguments))
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(a_party_runs_answers_stops_and_survives_a_kill());
            println!("test a_party_runs_answers_stops_and_survives_a_kill ... ok");
            ExitCode::SUCCESS
        }
    }
}

fn party(arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test's own path"));
    command
        .arg("as-party")
        .args(arguments)
        .arg("--config")
        .arg(config);
    command
}

fn set_up(root: &Path) -> PathBuf {
    let mut rng = StdRng::seed_from_u64(1);
    let made = Role::ALL.map(|role| {
        let [public, peer] = ports::free();
        let asked = Init {
            role,
            agency: format!("Agency {role}"),
            public_address: format!("https://127.0.0.1:{public}"),
            peer_address: format!("https://127.0.0.1:{peer}"),
            public_listen: None,
            peer_listen: None,
        };
        init(&root.join(role.to_string()), &asked, &mut rng).expect("initialised")
    });
    let others = root.join("P1/others");
    for (number, identity) in [(2, &made[1].identity), (3, &made[2].identity)] {
        std::fs::copy(identity, others.join(format!("party-{number}.identity.toml"))).expect("copied");
    }
    let ca = Authority::generate("commission").expect("made");
    let key = Signer::generate(&mut rng).public_key();
    let coordinator =
        CoordinatorIdentity::new("Commission", "https://127.0.0.1:1", ca.cert_pem(), key).expect("identity");
    std::fs::write(others.join("coordinator.identity.toml"), coordinator.to_toml()).expect("written");
    made[0].config.clone()
}

async fn start(config: &Path) -> Child {
    let child = party(&["run"], config)
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut operator = Operator::new(&Config::load(config).expect("config")).expect("operator");
    tokio::time::timeout(Duration::from_secs(60), async {
        // The process gives no other sign of being ready than to answer.
        while operator.status("").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the party answers");
    child
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("ended")
}

async fn a_party_runs_answers_stops_and_survives_a_kill() {
    let root = tempfile::tempdir().expect("directory");
    let config = set_up(root.path());
    let checked = party(&["check-config"], &config).output().expect("ran");
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        String::from_utf8_lossy(&checked.stdout).contains("is sound"),
        "{checked:?}"
    );

    let mut child = start(&config).await;
    let status = party(&["status"], &config).output().expect("ran");
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("No election is published here."),
        "{status:?}"
    );
    let nothing = party(&["countersign"], &config)
        .stdin(Stdio::null())
        .output()
        .expect("ran");
    assert!(
        String::from_utf8_lossy(&nothing.stdout).contains("Nothing waits"),
        "{nothing:?}"
    );
    // One process a store.
    let second = party(&["run"], &config).output().expect("ran");
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("Database already open"),
        "{second:?}"
    );
    child.kill().expect("killed");
    end(child);

    let child = start(&config).await;
    let told = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .expect("kill");
    assert!(told.success());
    let output = end(child);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    for line in ["serving", "told to stop", "stopped"] {
        assert!(log.contains(line), "{line} in {log}");
    }
}
