//! Command lines that need no party: each exit code, and the files they leave. One process, so one test.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use tally_coordinator::cli::{main_with, registrar_main_with};
use tally_proto::envelope::Signer;
use tally_proto::identity::{PartyIdentity, PartyParts};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::Authority;
use tally_proto::suite::OpeningKey;

const ELECTION: &str = r#"
election = "small-1"
language = "en"
title = "Small election"
parties = ["party-1.identity.toml", "party-2.identity.toml", "party-3.identity.toml"]
registrars = ["registrar/registrar.identity.toml"]
roll = { file = "roll.csv", kind = "closed" }
result = { counted_per_channel = false, min_voters = 3, min_submissions = 3 }
contest = [{ id = 1, title = "Question", rule = "single", options = ["Yes", "No"] }]
box = [{ id = 1, name = "All", contests = [1] }]

[[channel]]
kind = "online"
name = "Internet"
time_zone = "Europe/Vienna"
openings = [{ days = "2027-05-04 to 2027-05-06", hours = "08:00 to 20:00" }]
"#;

fn succeeded(code: ExitCode) -> bool {
    // An exit code says no more of itself than this.
    format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
}

fn write_parties(root: &Path) {
    let mut rng = tally_coordinator::setup::os_rng();
    for role in Role::ALL {
        let party = PartyIdentity::new(PartyParts {
            role,
            agency: format!("Agency {role}"),
            public_address: "https://party.example:7001".into(),
            peer_address: "https://party.example:7002".into(),
            tls_ca_pem: Authority::generate("test")
                .expect("authority")
                .cert_pem()
                .to_owned(),
            signing_key: Signer::generate(&mut rng).public_key(),
            sealing_key: OpeningKey::generate(&mut rng).sealing_key(),
        });
        let path = root.join(format!("party-{}.identity.toml", role.number()));
        fs::write(path, party.expect("identity").to_toml()).expect("written");
    }
}

#[test]
fn commands_leave_their_files_and_say_whether_they_succeeded() {
    let root = tempfile::tempdir().expect("root");
    let path = |name: &str| root.path().join(name).display().to_string();
    let coordinator = |arguments: &[&str]| {
        let dir = path("coordinator");
        succeeded(main_with(["coordinator", "--dir", &dir].iter().chain(arguments)))
    };
    let registrar = |arguments: &[&str]| {
        let dir = path("registrar");
        succeeded(registrar_main_with(
            ["registrar", "--dir", &dir].iter().chain(arguments),
        ))
    };

    assert!(!coordinator(&["status"]), "before init");
    let init = [
        "init",
        "--name",
        "Commission",
        "--address",
        "https://board.example:7400",
        "--host",
        "10.0.0.7",
    ];
    assert!(coordinator(&init));
    assert!(!coordinator(&init), "keys are never overwritten");
    assert!(
        !coordinator(&["init", "--name", "Commission"]),
        "a missing option"
    );
    #[cfg(unix)]
    for secret in ["signing.key", "ca.key", "tls.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(root.path().join("coordinator").join(secret))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }

    assert!(registrar(&["init", "--name", "post"]));
    assert!(!registrar(&["init", "--name", "post"]));
    let (request, certificate) = (path("registrar/request.pem"), path("registrar/tls.pem"));
    assert!(!coordinator(&[
        "certify",
        &request,
        "--role",
        "coordinator",
        "--out",
        &certificate
    ]));
    assert!(!coordinator(&[
        "certify",
        &request,
        "--role",
        "party:1",
        "--out",
        &certificate
    ]));
    assert!(!coordinator(&[
        "certify",
        &request,
        "--role",
        "nonsense",
        "--out",
        &certificate
    ]));
    assert!(!Path::new(&certificate).exists());
    assert!(coordinator(&[
        "certify",
        &request,
        "--role",
        "registrar:post",
        "--out",
        &certificate
    ]));
    let pem = fs::read_to_string(&certificate).expect("certificate");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));

    write_parties(root.path());
    fs::write(path("election.toml"), ELECTION).expect("written");
    fs::write(path("roll.csv"), "box,reference,online\n1,a,yes\n1,b,no\n").expect("written");
    assert!(
        !coordinator(&["define", &path("election.toml")]),
        "two voters are too few"
    );
    fs::write(
        path("roll.csv"),
        "box,reference,online\n1,a,yes\n1,b,no\n1,c,yes\n",
    )
    .expect("written");
    assert!(coordinator(&["define", &path("election.toml")]));
    assert!(
        !coordinator(&["define", &path("election.toml")]),
        "an election is defined once"
    );
    let election = root.path().join("coordinator/elections/small-1");
    assert_eq!(
        fs::read_to_string(election.join("roll.csv")).expect("roll"),
        "box,reference,online,index\n1,a,yes,0\n1,b,no,1\n1,c,yes,2\n"
    );
    let manifest = election.join("manifest").display().to_string();
    assert!(!coordinator(&["bundle", "small-1"]), "nothing is tallied");
    assert!(!coordinator(&["bundle", "small-2"]), "not defined");
    assert!(
        !coordinator(&["verify-result", &path("roll.csv"), "--manifest", &manifest]),
        "not a bundle"
    );
    assert!(!coordinator(&["publish", "Small 1"]), "not an election id");
}
