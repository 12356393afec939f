//! The command line as a person or a script uses it, against three parties over real TLS.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Cursor;
use std::path::PathBuf;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::cli::{Console, run};
use tally_client::station::StationKeys;
use tally_proto::ids::{BoxId, Role, StationId, VoterIndex};
use tally_proto::invitation::{Credential, Invitation};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::record::Half;

#[allow(dead_code, unreachable_pub, reason = "shared between test programs")]
mod fake;
#[allow(dead_code, unreachable_pub, reason = "shared between test programs")]
mod world;

use fake::{Manner, Plain, Town};
use world::Agencies;

/// A town on a runtime of its own, and a desk with the files of a voter and a station.
struct Desk {
    town: Town,
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// What a command left.
struct Left {
    code: u8,
    out: String,
    err: String,
}

impl Desk {
    fn new(away: &[Role]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let agencies = Agencies::new(1);
        let mut rng = StdRng::seed_from_u64(100);
        let at = directory.path().join("station");
        let keys = StationKeys::create(&at, StationId(3), "Town hall", vec![], &mut rng).unwrap();
        let certificate =
            agencies
                .commission
                .sign_request(&keys.request().unwrap(), &PeerRole::Station(StationId(3)), &[]);
        keys.install_certificate(&certificate.unwrap()).unwrap();
        let town = runtime.block_on(Town::open_with(&agencies, &[keys.identity().clone()], away));
        let desk = Self {
            town,
            directory,
            _runtime: runtime,
        };
        std::fs::write(desk.path("manifest"), desk.town.signed.envelope().encode()).unwrap();
        std::fs::write(
            desk.path("invitation"),
            &**desk.town.invitation(42, 0xabcd).to_link(),
        )
        .unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command line; `@name` stands for a file of the desk. `typed`: what a person types, if there is one.
    fn run(&self, line: &str, typed: Option<&str>) -> Left {
        let expand = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.replace('_', " ").into(),
        };
        let args = std::iter::once("client".into()).chain(line.split_whitespace().map(expand));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = Cursor::new(typed.unwrap_or_default().as_bytes().to_vec());
        let mut console = Console {
            input: &mut input,
            interactive: typed.is_some(),
            out: &mut out,
            err: &mut err,
        };
        let code = run(args, &mut console);
        Left {
            code,
            out: String::from_utf8(out).unwrap(),
            err: String::from_utf8(err).unwrap(),
        }
    }
}

const VOTER: &str = "--manifest @manifest --invitation @invitation";

#[test]
fn a_voter_looks_votes_and_erases() {
    let desk = Desk::new(&[]);
    let shown = desk.run(&format!("show {VOTER} --language de"), None);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(
        shown
            .out
            .starts_with("Ratswahl\nNorth\n\n1. Bürgermeister (choose one)\n     1  Maria Schmidt\n"),
        "{}",
        shown.out
    );
    let json: serde_json::Value =
        serde_json::from_str(&desk.run(&format!("show {VOTER} --json"), None).out).unwrap();
    assert_eq!(json["contests"][1]["choose_at_most"], 2);

    let vote = format!("vote {VOTER} --state @state --choice Mayor=jan_novak --choice 2=1 --keep-receipt");
    let asked = desk.run(&format!("{vote} --language en"), Some("yes\n"));
    assert_eq!(asked.code, 0, "{}", asked.err);
    assert!(
        asked
            .err
            .contains("   Mayor: Jan Novak\n   Council: Maria Schmidt\n"),
        "{}",
        asked.err
    );
    assert_eq!(
        asked.out,
        "Your ballot was accepted by Court, University and Statistics.\n"
    );
    let cast = desk.run(&format!("{vote} --yes --json"), None);
    let json: serde_json::Value = serde_json::from_str(&cast.out).unwrap();
    assert_eq!(json["accepted"], serde_json::json!([1, 2, 3]));
    let digest = json["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        desk.town.plain(digest),
        Plain {
            index: 42,
            credential: 0xabcd,
            payload: 2 | (0b001 << 2)
        }
    );

    let listed = desk.run("receipts --state @state --manifest @manifest", None);
    assert_eq!(
        listed.out.matches("signature verified").count(),
        6,
        "{}",
        listed.out
    );
    assert!(listed.out.contains(&digest.to_string()));
    assert_eq!(
        desk.run("erase --state @state", None).out,
        "All kept receipts were erased.\n"
    );
    assert_eq!(
        desk.run("receipts --state @state", None).out,
        "No receipts are kept on this device.\n"
    );
}

#[test]
fn a_voter_is_asked_for_what_is_missing() {
    let desk = Desk::new(&[]);
    let manifest = desk.town.signed.hash();
    let half = |half, credential| {
        let half = Half::new(half, 2).unwrap();
        Invitation::new(
            &manifest,
            BoxId(1),
            VoterIndex(7),
            half,
            Credential::new(credential),
        )
        .to_code()
        .to_string()
    };
    let typed = format!(
        "{}\n{}\n3\nmaria schmidt, 2\nyes\n",
        half(0, 0xff00),
        half(1, 0x00ff)
    );
    let cast = desk.run(
        "vote --manifest @manifest --state @state --language en --json",
        Some(&typed),
    );
    assert_eq!(cast.code, 0, "{}", cast.err);
    let json: serde_json::Value = serde_json::from_str(&cast.out).unwrap();
    let digest = json["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        desk.town.plain(digest),
        Plain {
            index: 7,
            credential: 0xffff,
            payload: 3 | (0b011 << 2)
        }
    );

    let refused = desk.run(&format!("vote {VOTER} --state @state --choice 1=1"), Some("no\n"));
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(
        refused
            .err
            .ends_with("nothing was cast: the ballot was not confirmed\n")
    );
    let nobody = desk.run(&format!("vote {VOTER} --state @state --choice 1=1"), None);
    assert!(
        nobody.code == 2 && nobody.err.contains("give --yes"),
        "{}",
        nobody.err
    );
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    let desk = Desk::new(&[]);
    std::fs::write(desk.path("typo"), "tally:v1:0000-0000").unwrap();
    std::fs::write(desk.path("junk"), "junk").unwrap();
    let vote = |rest: &str| format!("vote --state @state --yes {rest}");
    let table = [
        (
            vote(&format!("{VOTER} --choice Mayor=Maria_Schmitt")),
            3,
            "did you mean \"Maria Schmidt\"?",
        ),
        (
            vote(&format!("{VOTER} --choice 1=1 --choice 1=2")),
            3,
            "at most 1, but 2 were chosen",
        ),
        (
            vote(&format!("{VOTER} --choice 2=1 --choice 2=2 --choice 2=3")),
            3,
            "at most 2, but 3 were chosen",
        ),
        (
            vote("--manifest @manifest --invitation @typo --choice 1=1"),
            3,
            "12 groups of 4",
        ),
        (
            vote("--manifest @junk --invitation @invitation --choice 1=1"),
            3,
            "not a signed manifest",
        ),
        (
            vote("--manifest @nothing --invitation @invitation --choice 1=1"),
            1,
            "cannot read",
        ),
        (vote(&format!("{VOTER} --choise 1=1")), 2, "--choise"),
        ("vote".to_owned(), 2, "--manifest"),
    ];
    for (line, code, words) in table {
        let left = desk.run(&line, None);
        assert_eq!(left.code, code, "{line}: {}", left.err);
        assert!(left.err.contains(words), "{line}: {}", left.err);
        assert_eq!(left.out, "");
    }
    for party in Role::ALL {
        assert_eq!(desk.town.party(party).seen(|seen| seen.calls.len()), 0);
    }
}

#[test]
fn refusals_and_absences_have_their_own_exit_codes() {
    let vote = format!("vote {VOTER} --state @state --yes --choice 1=1 --give-up-after 0 --wait-for-third 1");
    let desk = Desk::new(&[Role::P2]);
    let one_away = desk.run(&vote, None);
    assert_eq!(one_away.code, 0, "{}", one_away.err);
    assert!(one_away.out.starts_with("Your ballot was accepted by Court and Statistics.\nThe ballot is safe without it, but: University (P2) could not be reached"), "{}", one_away.out);
    for party in [Role::P1, Role::P3] {
        desk.town
            .party(party)
            .behave(Manner::Refusing(Reason::BallotBeforeOpening));
    }
    let refused = desk.run(&vote, None);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("ballot.before-opening"));
    let desk = Desk::new(&[Role::P1, Role::P2]);
    let alone = desk.run(&vote, None);
    assert_eq!(alone.code, 5, "{}", alone.err);
    assert!(alone.err.contains("Court (P1) could not be reached"));
}

#[test]
fn decoys_are_printed_and_nothing_is_kept() {
    let desk = Desk::new(&[]);
    let before = std::fs::read_dir(desk.directory.path()).unwrap().count();
    let made = desk.run("decoy --invitation @invitation --count 3", None);
    assert_eq!(made.code, 0);
    let lines: Vec<&str> = made.out.lines().collect();
    let real = desk.town.invitation(42, 0xabcd).to_link();
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert_eq!(line.len(), real.len());
        assert_ne!(line, real.as_str());
        assert!(Invitation::parse(line).is_ok());
    }
    assert_eq!(made.err, "");
    assert_eq!(std::fs::read_dir(desk.directory.path()).unwrap().count(), before);
}

#[test]
fn a_station_votes_queues_and_drains() {
    let desk = Desk::new(&[]);
    let made = desk.run(
        "station init --dir @new --id 9 --name School --box 2 --box 1",
        None,
    );
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("fingerprint"));
    let again = desk.run("station init --dir @new --id 9 --name School", None);
    assert_eq!(again.code, 1, "{}", again.err);

    let at = "--dir @station --manifest @manifest";
    let vote = desk.run(
        &format!("station vote {at} --box 1 --index 5 --choice 1=2 --deliver-for 0 --json"),
        None,
    );
    assert_eq!(vote.code, 0, "{}", vote.err);
    let vote: serde_json::Value = serde_json::from_str(&vote.out).unwrap();
    assert_eq!(
        (vote["sequence"].as_u64(), &vote["left"]),
        (Some(1), &serde_json::Value::Null)
    );
    let typed = desk.run(&format!("station paper {at} --box 2"), Some("6\n"));
    assert_eq!(typed.code, 0, "{}", typed.err);
    assert!(
        typed
            .out
            .starts_with("The paper vote is queued as number 2, cast at "),
        "{}",
        typed.out
    );
    let digest = vote["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        desk.town.plain(digest),
        Plain {
            index: 5,
            credential: 0,
            payload: 2
        }
    );

    desk.town
        .party(Role::P3)
        .behave(Manner::Refusing(Reason::PartyBusy));
    let third = desk.run(
        &format!("station vote {at} --box 1 --index 7 --blank --deliver-for 1"),
        None,
    );
    assert_eq!(third.code, 0, "{}", third.err);
    assert!(
        third.err.contains("Statistics (P3) could not be reached") && third.err.contains("safe on this disk")
    );
    let left = desk.run(&format!("station drain {at} --give-up-after 0"), None);
    assert_eq!(
        (left.code, left.out.as_str()),
        (6, "0 delivered to all three parties, 1 left.\n")
    );
    let status: serde_json::Value =
        serde_json::from_str(&desk.run(&format!("station status {at} --json"), None).out).unwrap();
    assert_eq!(status["lacking"], serde_json::json!([0, 0, 1]));
    assert_eq!(
        (status["pending"].as_u64(), status["safe"].as_u64()),
        (Some(1), Some(1))
    );
    desk.town.party(Role::P3).behave(Manner::Honest);
    let done = desk.run(&format!("station drain {at}"), None);
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "1 delivered to all three parties, 0 left.\n")
    );
    let shown = desk.run(&format!("station status {at}"), None);
    assert!(
        shown.out.contains("box 1: 2 electronic, 0 paper")
            && shown.out.contains("box 2: 0 electronic, 1 paper"),
        "{}",
        shown.out
    );

    let nobody = desk.run(
        &format!("station vote {at} --box 1 --index 500 --choice 1=1"),
        None,
    );
    assert!(
        nobody.code == 3 && nobody.err.contains("not in box 1"),
        "{}",
        nobody.err
    );
    let word = desk.run(&format!("station paper {at} --box 1"), Some("six\n"));
    assert!(
        word.code == 3 && word.err.contains("\"six\" is not a number"),
        "{}",
        word.err
    );
}
