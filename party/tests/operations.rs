//! What operators see of a running party: figures over HTTP, alarms, and the journal.

use std::collections::BTreeSet;

use serde_json::Value;
use tally_party::journal;
use tally_party::store::Storage;
use tally_party::store::sim::SimDisk;
use tally_proto::fixture::{CLOSES, DRAINED, Shape};
use tally_proto::ids::Role;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Party, World, reason};

/// A party with figures on a free port.
async fn observed(world: &World) -> Party {
    let mut config = world.config(Role::P1);
    config.telemetry.metrics = Some(([127, 0, 0, 1], 0).into());
    let disk = SimDisk::new();
    let storage = Storage::Backend(Box::new(disk.clone()));
    let party = world.start_with(config, storage, disk).await;
    world.put_in_force(&party).await;
    party
}

/// (Head, body) of the answer to a request of the operator's listener.
async fn http(party: &Party, request: &str) -> (String, String) {
    let address = party.running.metrics_address().expect("figures are on");
    assert!(address.ip().is_loopback());
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let text = format!("{request} HTTP/1.1\r\nhost: here\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read to its end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

async fn figure(party: &Party, name: &str) -> f64 {
    let (_, page) = http(party, "GET /metrics").await;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing in\n{page}"))
        .parse()
        .expect("a number")
}

fn events(world: &World) -> Vec<Value> {
    let directory = world.config(Role::P1).telemetry.journal;
    let files = journal::files(&directory).expect("a journal");
    let text: String = files
        .iter()
        .map(|(_, path)| std::fs::read_to_string(path).expect("a file"))
        .collect();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

fn of(events: &[Value], name: &str) -> Vec<Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .cloned()
        .collect()
}

async fn status(world: &World, party: &Party) -> wire::StatusReply {
    let operator = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let asked = party
        .control(&operator)
        .status(wire::StatusRequest::default())
        .await;
    asked.expect("status").into_inner()
}

#[tokio::test]
async fn figures_count_submissions_connections_and_failed_handshakes() {
    let mut world = World::new(Shape::default());
    let party = observed(&world).await;
    let mut intake = party.intake();
    for _ in 0..3 {
        let ballot = world.ballot();
        intake.submit(party.part(&ballot)).await.expect("accepted");
    }
    let late = world.ballot_at(world.clock_s() - 500);
    let refused = reason(intake.submit(party.part(&late)).await);
    let election = world.fixture.manifest.manifest().election().to_string();
    intake
        .checkpoint(wire::ElectionRef {
            election: election.clone(),
        })
        .await
        .expect("a checkpoint");

    assert_eq!(
        figure(&party, "tally_submissions_total{outcome=\"accepted\"}").await,
        3.0
    );
    let outcome = format!("tally_submissions_total{{outcome=\"{}\"}}", refused.code());
    assert_eq!(figure(&party, &outcome).await, 1.0);
    assert_eq!(figure(&party, "tally_commit_objects_sum").await, 3.0);
    let online = format!("tally_ballots_received{{election=\"{election}\",box=\"1\",channel=\"online\"}}");
    assert_eq!(figure(&party, &online).await, 3.0);
    assert_eq!(
        figure(&party, &format!("tally_log_entries{{election=\"{election}\"}}")).await,
        7.0,
        "the ballots; the manifest and what is open of three channels before them"
    );
    assert_eq!(figure(&party, "tally_checkpoint_age_seconds").await, 0.0);
    assert_eq!(figure(&party, "tally_alarm{code=\"log.rewritten\"}").await, 0.0);
    assert!(figure(&party, "tally_resident_bytes").await > 1e6);
    assert!(figure(&party, "tally_connections{listener=\"public\"}").await >= 1.0);
    assert_eq!(
        figure(&party, "tally_tls_failed_total{listener=\"public\"}").await,
        0.0
    );

    // Somebody who speaks no TLS.
    let mut stranger = TcpStream::connect(party.running.public_address())
        .await
        .expect("connected");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    // The party hangs up: an answer, an alert or a reset.
    let _ = stranger.read_to_end(&mut Vec::new()).await;
    drop(stranger);
    let mut failed = 0.0;
    for _ in 0..1000 {
        failed = figure(&party, "tally_tls_failed_total{listener=\"public\"}").await;
        if failed > 0.0 {
            break;
        }
    }
    assert_eq!(failed, 1.0);
}

#[tokio::test]
async fn the_operators_listener_serves_one_page_and_only_reading_it() {
    let world = World::new(Shape::default());
    let party = observed(&world).await;
    let (head, page) = http(&party, "GET /metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"),
        "{head}"
    );
    assert!(page.ends_with("# EOF\n"), "{page}");
    for (request, code) in [
        ("POST /metrics", "405"),
        ("GET /", "404"),
        ("GET /metrics/../keys", "404"),
    ] {
        let (head, _) = http(&party, request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code}")), "{request}: {head}");
    }
}

#[tokio::test]
async fn the_journal_tells_what_people_did_and_what_the_party_decided() {
    let world = World::new(Shape::default());
    let party = observed(&world).await;
    let operator = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    let coordinator = world.leaf_of(Role::P1, PeerRole::Coordinator);
    let manifest = world.fixture.manifest.hash();
    let election = world.fixture.manifest.manifest().election().to_string();
    let countersign = wire::CountersignRequest {
        object_hash: manifest.0.to_vec(),
        confirmation: election.clone(),
        changed: 0,
    };
    party
        .control(&operator)
        .countersign(countersign)
        .await
        .expect("countersigned");
    let refused = party.control(&coordinator).pending(wire::PendingRequest {}).await;
    assert_eq!(reason(refused), Reason::RoleRefused);
    // Again changes nothing, and is not told again.
    world.publish(&party).await.expect("published");
    let whole = world.fixture.manifest.envelope().to_wire();
    let again = party.control(&coordinator).complete(whole).await;
    assert!(again.expect("complete").into_inner().in_force);
    // Phases are seen by whoever asks for status.
    status(&world, &party).await;
    world.clock.set((CLOSES + 1) * 1000);
    status(&world, &party).await;
    party.running.stop().await;

    let events = events(&world);
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["n"].as_u64()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!(events[0]["event"], "party.started");
    assert_eq!(events.last().expect("the last")["event"], "party.stopped");
    for once in ["election.published", "object.in-force"] {
        assert_eq!(of(&events, once).len(), 1, "{once}");
    }
    let published = of(&events, "election.published");
    assert_eq!(
        (&published[0]["election"], &published[0]["manifest"]),
        (
            &Value::from(election.as_str()),
            &Value::from(manifest.to_string())
        )
    );
    assert_eq!(
        of(&events, "object.countersigned")[0]["object"],
        manifest.to_string()
    );
    assert_eq!(of(&events, "object.in-force")[0]["object"], manifest.to_string());
    let refused = of(&events, "role.refused");
    assert_eq!(
        (&refused[0]["caller"], &refused[0]["needs"]),
        (&Value::from("coordinator"), &Value::from("this party's operator"))
    );
    let phases = of(&events, "box.phase");
    assert!(
        phases
            .iter()
            .any(|event| event["from"] == "open" && event["to"] == "draining"),
        "{phases:?}"
    );
    let names: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| journal::Event::ALL.iter().any(|event| event.name() == *name))
    );
}

#[tokio::test]
async fn alarms_are_raised_shown_written_down_and_cleared() {
    let world = World::new(Shape::default());
    let party = observed(&world).await;
    let codes = async || -> Vec<String> {
        let status = status(&world, &party).await;
        status
            .alarms
            .into_iter()
            .map(|alarm| format!("{} {}", alarm.code, alarm.about))
            .collect()
    };
    assert!(!codes().await.contains(&"party.lost P2".to_owned()));
    // Nobody has answered for longer than the limit, and the box should have been sealed.
    world.clock.set((DRAINED + 3700) * 1000);
    let standing = codes().await;
    let election = world.fixture.manifest.manifest().election();
    for expected in [
        "party.lost P2".to_owned(),
        "party.lost P3".to_owned(),
        format!("seal.pending {election}, box 1"),
    ] {
        assert!(
            standing.contains(&expected),
            "{expected} is not among {standing:?}"
        );
    }
    assert_eq!(figure(&party, "tally_alarm{code=\"party.lost\"}").await, 2.0);
    party
        .running
        .party()
        .sight
        .answered(Role::P2, party.running.party().now(), 0);
    let standing = codes().await;
    assert!(
        !standing.contains(&"party.lost P2".to_owned()) && standing.contains(&"party.lost P3".to_owned())
    );
    let events = events(&world);
    let about = |name: &str| -> Vec<String> {
        let found = of(&events, name).into_iter();
        found
            .filter_map(|event| Some(event["about"].as_str()?.to_owned()))
            .collect()
    };
    assert!(about("alarm.raised").contains(&"P2".to_owned()));
    assert_eq!(about("alarm.cleared"), ["P2"]);
}

#[tokio::test]
async fn a_store_that_fails_is_an_alarm_that_is_written_down() {
    let mut world = World::new(Shape::default());
    let mut party = world.start_in_force(Role::P1).await;
    let ballot = world.ballot();
    party.disk.fail_from(0);
    let refused = reason(party.intake().submit(party.part(&ballot)).await);
    assert_eq!(refused, Reason::StoreFailed);
    party.running.failed().await;
    let standing = party.running.party().alarms.standing();
    assert!(
        standing
            .iter()
            .any(|standing| standing.alarm.code() == "store.failed"),
        "{standing:?}"
    );
    let raised = of(&events(&world), "alarm.raised");
    assert!(
        raised.iter().any(|event| event["alarm"] == "store.failed"),
        "{raised:?}"
    );
}

#[tokio::test]
async fn a_box_that_fills_is_an_alarm_at_half_and_at_nine_tenths_and_none_once_it_is_closed() {
    // Of forty ballots twenty are online.
    let mut world = World::new(Shape {
        max_ballots: 40,
        ..Shape::default()
    });
    let party = observed(&world).await;
    let mut intake = party.intake();
    let mut standing = Vec::new();
    for count in 1..=20 {
        let part = party.part(&world.ballot());
        intake.submit(part).await.expect("accepted");
        let told: Vec<wire::Alarm> = (status(&world, &party).await.alarms.into_iter())
            .filter(|alarm| alarm.code == "box.filling")
            .collect();
        for alarm in &told {
            assert!(alarm.about.contains("ward-7, box 1"), "{alarm:?}");
            assert!(alarm.detail.contains("of 20 that the box takes"), "{alarm:?}");
        }
        standing.push((count, told.len()));
    }
    let due = |count| usize::from(count >= 10) + usize::from(count >= 18);
    assert!(
        standing.iter().all(|(count, told)| *told == due(*count)),
        "{standing:?}"
    );
    assert_eq!(figure(&party, "tally_alarm{code=\"box.filling\"}").await, 2.0);
    world.clock.set((DRAINED + 1) * 1000);
    let told = status(&world, &party).await.alarms;
    assert!(told.iter().all(|alarm| alarm.code != "box.filling"), "{told:?}");
    let names = |event: &str| {
        let of_event = of(&events(&world), event);
        of_event
            .iter()
            .filter(|event| event["alarm"] == "box.filling")
            .count()
    };
    assert_eq!((names("alarm.raised"), names("alarm.cleared")), (2, 2));
}
