//! The command: what it makes, what it refuses, and what an operator sees before signing.

use std::ffi::OsString;
use std::process::ExitCode;

use tally_party::cli::{allow_sessions, countersign, main_with};
use tally_party::operator::Operator;
use tally_proto::calendar::ChannelKind;
use tally_proto::envelope::Kind;
use tally_proto::fixture::Shape;
use tally_proto::ids::Role;
use tally_proto::order::{Change, Order};
use tally_proto::pki::PeerRole;

use crate::world::{self, World};

fn party(arguments: &[&str]) -> ExitCode {
    main_with(["party"].iter().chain(arguments).map(OsString::from))
}

#[test]
fn init_makes_what_check_config_then_judges() {
    let directory = tempfile::tempdir().expect("directory");
    let at = directory.path().join("p1");
    let path = at.to_str().expect("utf-8").to_owned();
    let init = [
        "init",
        "--dir",
        &path,
        "--party",
        "1",
        "--agency",
        "Agency",
        "--public-address",
        "https://localhost:7101",
        "--peer-address",
        "https://localhost:7102",
    ];
    assert_eq!(party(&init), ExitCode::SUCCESS);
    assert_eq!(party(&init), ExitCode::FAILURE, "never twice");
    let config = at.join("party.toml").to_str().expect("utf-8").to_owned();
    // The others' identities are not there yet.
    assert_eq!(party(&["check-config", "--config", &config]), ExitCode::FAILURE);
    assert_eq!(party(&["run", "--config", &config]), ExitCode::FAILURE);
    assert_eq!(party(&["check-config", "--colour"]), ExitCode::from(2));
    assert_eq!(party(&["init", "--party", "4"]), ExitCode::from(2));
    assert_eq!(party(&["--help"]), ExitCode::SUCCESS);
}

async fn ask(world: &World, party: &world::Party, typed: &str) -> String {
    let leaf = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let mut operator = Operator::over(party.peer_channel(Some(&leaf)));
    let mut output = Vec::new();
    countersign(&mut operator, &mut typed.as_bytes(), &mut output, false)
        .await
        .expect("asked");
    String::from_utf8(output).expect("text")
}

#[tokio::test]
async fn countersign_shows_who_and_what_and_takes_only_the_id() {
    let world = World::new(Shape::default());
    let party = world.start(Role::P1).await;
    assert!(ask(&world, &party, "").await.contains("Nothing waits"));
    world.publish(&party).await.expect("published");
    let manifest = world.fixture.manifest.manifest();
    for wrong in ["", "yes\n", "ward-70\n"] {
        let shown = ask(&world, &party, wrong).await;
        for role in Role::ALL {
            assert!(shown.contains(manifest.party(role).agency()), "{shown}");
            assert!(
                shown.contains(manifest.party(role).fingerprint().as_str()),
                "{shown}"
            );
        }
        assert!(
            shown.contains(manifest.coordinator().fingerprint().as_str()),
            "{shown}"
        );
        for text in [
            "Mayor",
            "Cleo",
            "Board",
            "up to 2 options",
            "District 2",
            "3 voters",
            "Station 1",
            "letters",
        ] {
            assert!(shown.contains(text), "{text} in {shown}");
        }
        assert!(shown.contains("2027-01-15 08:00 to 2027-01-15 18:00"), "{shown}");
        assert!(shown.contains("Left as it is"), "{shown}");
        let election = party.running.party().elections.get("ward-7").expect("known");
        assert!(!election.signed_manifest().is_countersigned_by(Role::P1));
    }
    assert!(ask(&world, &party, "ward-7\n").await.contains("Countersigned."));
    let election = party.running.party().elections.get("ward-7").expect("known");
    assert!(election.signed_manifest().is_countersigned_by(Role::P1));
    assert!(ask(&world, &party, "ward-7\n").await.contains("Nothing waits"));
}

#[tokio::test]
async fn countersign_shows_orders_too() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let channel = world
        .fixture
        .manifest
        .manifest()
        .channel(ChannelKind::Online)
        .expect("online")
        .clone();
    let order = Order {
        election: world.fixture.manifest.manifest().election().clone(),
        manifest_hash: world.fixture.manifest.hash(),
        number: 1,
        after: None,
        reason: "a flood in district 2".into(),
        change: Change::Calendar(channel),
    };
    let envelope = world
        .fixture
        .coordinator
        .seal_envelope(Kind::Order, order.encode())
        .to_wire();
    let coordinator = world.leaf_of(Role::P1, PeerRole::Coordinator);
    party
        .control(&coordinator)
        .propose_order(envelope)
        .await
        .expect("proposed");
    let shown = ask(&world, &party, "ward-7\n").await;
    assert!(
        shown.contains("a flood in district 2") && shown.contains("Countersigned."),
        "{shown}"
    );
}

#[tokio::test]
async fn allow_sessions_shows_how_they_stand_and_takes_only_the_id() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let leaf = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let mut operator = Operator::over(party.peer_channel(Some(&leaf)));
    let mut ask = async |of_box: u32, typed: &str| {
        let (mut output, mut input) = (Vec::new(), typed.as_bytes());
        let asked = allow_sessions(&mut operator, ("ward-7", of_box), &mut input, &mut output, false).await;
        (asked, String::from_utf8(output).expect("text"))
    };
    let (asked, shown) = ask(1, "yes\n").await;
    assert!(asked.is_ok());
    assert!(shown.contains("3 more may begin without your leave"), "{shown}");
    assert!(
        shown.contains("Left as it is: \"yes\" is not \"ward-7\""),
        "{shown}"
    );
    // Leave is given for sessions of a sealed box.
    let (asked, _) = ask(1, "ward-7\n").await;
    let refused = asked.expect_err("not sealed").to_string();
    assert!(refused.contains("seal.pending"), "{refused}");
    let (asked, _) = ask(9, "ward-7\n").await;
    let refused = asked.expect_err("no such box").to_string();
    assert!(refused.contains("has no box 9"), "{refused}");
}
