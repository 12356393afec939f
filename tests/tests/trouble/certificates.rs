//! Certificates that have really ended: each who meets one is told whose it is, when it ended and what to do; a new one under the same authority
//! mends it.

use std::path::Path;
use std::time::Duration;

use tally_party::config::Config;
use tally_party::keys;
use tally_proto::connect::{self, Dial};
use tally_proto::ids::{Role, StationId, UnixSeconds};
use tally_proto::pki::{Authority, LEAF_DAYS, Leaf, Life, PeerRole, Shown, system_now};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::{secret_file, wire};
use tally_tests::world::World;

use crate::scene::{ELECTION, Scene, await_that, beside_others, read, says};

const DAY_S: u64 = 24 * 3600;

/// The last second of the year 2025.
const ENDED: UnixSeconds = UnixSeconds(1_767_225_599);
const ENDED_TEXT: &str = "ended at 2025-12-31 23:59:59 UTC";

fn past() -> Life {
    Life::between(UnixSeconds(ENDED.get() - 398 * DAY_S), ENDED)
}

fn authority(directory: &Path) -> Authority {
    let key = secret_file::read(&directory.join("ca.key")).expect("a key");
    let key = String::from_utf8(key.to_vec()).expect("PEM");
    Authority::from_pem(&read(&directory.join("ca.pem")), &key).expect("an authority")
}

fn put(leaf: &Leaf, certificate: &Path, key: &Path) {
    std::fs::write(certificate, &leaf.cert_pem).expect("written");
    secret_file::replace(key, leaf.key_pem.as_bytes()).expect("written");
}

/// Gives a party certificates of that life, as its own authority issues them.
fn certify_party(world: &World, i: usize, life: Life) {
    let directory = world.root.join(format!("party-{}", i + 1));
    let authority = authority(&directory.join("ca"));
    let (role, host) = (Role::ALL[i], format!("127.0.0.{}", i + 1));
    let hosts = [host.as_str(), "127.0.0.1"];
    let party = authority
        .issue_for(&PeerRole::Party(role), &hosts, life)
        .expect("issued");
    let operator = authority
        .issue_for(&PeerRole::Operator(role), &[], life)
        .expect("issued");
    let tls = directory.join("tls");
    put(&party, &tls.join("party.pem"), &tls.join("party.key"));
    put(&operator, &tls.join("operator.pem"), &tls.join("operator.key"));
}

fn certificate_days(path: &Path) -> u64 {
    let ends = Shown::of(&read(path)).expect("a certificate").ends();
    (ends.get() + DAY_S / 2 - system_now().get()) / DAY_S
}

/// Of a party: voters, the other parties, the commission and its own operator each hear whose certificate ended and when; voting goes on
/// with two; after `renew-certificates` and a start it catches up.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_whose_certificate_has_ended_is_named_and_mended_without_touching_the_manifest() {
    let _place = beside_others().await;
    let mut scene = Scene::behind(
        0,
        |_, listens| Ok(listens),
        |world| {
            for i in 0..3 {
                world.configure(i, "party_lost_s", "1").expect("set");
                world.configure(i, "disk_mib", "0").expect("set");
            }
        },
    );
    let tls = scene.world.root.join("party-3/tls");
    for name in ["party.pem", "operator.pem"] {
        assert_eq!(certificate_days(&tls.join(name)), u64::from(LEAF_DAYS));
    }
    for path in ["coordinator/tls.pem", "registrar/tls.pem"] {
        assert_eq!(
            certificate_days(&scene.world.root.join(path)),
            u64::from(LEAF_DAYS)
        );
    }
    assert!(certificate_days(&scene.world.root.join("party-3/ca/ca.pem")) > 20 * 365);
    scene.vote(0..1).await;

    // It will end: an alarm, in time.
    scene.world.stop_party(2).expect("stopped");
    certify_party(&scene.world, 2, Life::of_days(5));
    scene.world.start_party(2).expect("started");
    scene
        .await_alarm(2, ("certificate.expires", ""), "the certificate ends at")
        .await;

    // It has ended.
    scene.world.stop_party(2).expect("stopped");
    certify_party(&scene.world, 2, past());
    scene
        .world
        .start_party(2)
        .expect("it runs, for its figures and its log");
    let log = scene.world.party_log(2);
    await_that("its own log says so", async || read(&log).contains(ENDED_TEXT)).await;
    says(&read(&log), &["alarm=\"certificate.expires\""]);
    let cast = scene.vote_by_command(3, "Ben");
    assert!(cast.status.success(), "two are enough: {cast:?}");
    says(
        &(cast.out.clone() + &cast.err),
        &[
            "Data Protection Authority (P3)",
            "the certificate of the server that answers",
            ENDED_TEXT,
            "certificate.expired",
        ],
    );
    scene.await_alarm(0, ("party.lost", "P3"), ENDED_TEXT).await;
    let (_, status) = scene.status(0);
    says(
        &status["peers"].to_string(),
        &["the certificate of the server that answers", ENDED_TEXT],
    );
    let own = scene.status(2).0;
    assert_eq!(own.status.code(), Some(1), "{own:?}");
    says(
        &own.err,
        &["the certificate of operator:3", ENDED_TEXT, "renew-certificates"],
    );
    let config = "party-3/party.toml";
    let check = scene.world.program.refused(
        &scene.world.root,
        &["party", "check-config", "--config", config],
        "",
    );
    says(
        &check.expect("it runs").expect("refused"),
        &["certificate of party:3", ENDED_TEXT, "renew-certificates"],
    );
    let all = scene.world.attempt(&["status", ELECTION], "").expect("it runs");
    assert_eq!(all.status.code(), Some(2), "{all:?}");
    let json = scene
        .world
        .attempt(&["status", ELECTION, "--json"], "")
        .expect("it runs");
    says(
        &json.out,
        &["the certificate of the server that answers", ENDED_TEXT],
    );

    // New ones under the same authority; with the wrong one, nothing changes.
    let ended = read(&tls.join("party.pem"));
    let renew = ["party", "renew-certificates", "--config", config];
    let wrong = [&renew[..], &["--ca-key", "party-1/ca/ca.key"]].concat();
    let refused = scene
        .world
        .program
        .refused(&scene.world.root, &wrong, "")
        .expect("it runs");
    says(&refused.expect("refused"), &["not the key of the authority"]);
    assert_eq!(read(&tls.join("party.pem")), ended);
    let identity = read(&scene.world.root.join("party-3/party-3.identity.toml"));
    let said = scene.world.run(&renew, "").expect("renewed");
    says(&said, &["The certificates of party 3 are new", "next start"]);
    assert_eq!(certificate_days(&tls.join("party.pem")), u64::from(LEAF_DAYS));
    assert_eq!(
        read(&scene.world.root.join("party-3/party-3.identity.toml")),
        identity
    );
    // The operator's is taken at once, the server's at its next start.
    let still = scene.status(2).0;
    says(
        &still.err,
        &["the certificate of the server that answers", ENDED_TEXT],
    );
    scene.world.stop_party(2).expect("stopped");
    scene.world.start_party(2).expect("started");
    scene.await_accepting(2).await;
    scene.await_no_alarm(2, "certificate.expires", "").await;
    for i in 0..2 {
        scene.await_followed(2, i).await;
        scene.await_no_alarm(i, "party.lost", "P3").await;
    }
    scene.vote(1..2).await;
}

/// A station and the commission: each is told that it is its own that ended; what the station took stays on its disk and is delivered after.
#[tokio::test(flavor = "multi_thread")]
async fn a_station_and_a_commission_whose_certificates_have_ended_are_told_so_and_lose_nothing() {
    let _place = beside_others().await;
    let scene = Scene::new(1);
    let (root, manifest) = (scene.world.root.clone(), scene.manifest());
    let commission = authority(&root.join("coordinator"));
    let station = root.join("station-1");
    let (role, request) = (
        PeerRole::Station(StationId(1)),
        read(&station.join("tls.request.pem")),
    );
    let certificate = station.join("tls.certificate.pem");
    let ended = commission
        .sign_request(&request, &role, &[], past())
        .expect("issued");
    std::fs::write(&certificate, ended).expect("written");
    let vote = [
        "client",
        "station",
        "vote",
        "--dir",
        "station-1",
        "--manifest",
        &manifest,
        "--box",
        "1",
        "--index",
        "4",
        "--choice",
        "Ben",
        "--deliver-for",
        "2",
    ];
    let said = scene.world.program.attempt(&root, &vote, "").expect("it runs");
    assert!(said.status.success(), "it is safe on the disk: {said:?}");
    says(
        &(said.out.clone() + &said.err),
        &[
            "the certificate of station:1",
            ENDED_TEXT,
            "certificate.expired",
            "safe on this disk",
        ],
    );
    for i in 0..3 {
        let status = scene.asked(i).await.expect("status");
        assert_eq!(status.boxes[0].received_station, 0);
    }
    // The commission's own: its commands say so.
    let tls = [root.join("coordinator/tls.pem"), root.join("coordinator/tls.key")];
    let ended = commission
        .issue_for(&PeerRole::Coordinator, &["127.0.0.1"], past())
        .expect("issued");
    put(&ended, &tls[0], &tls[1]);
    let status = ["status", ELECTION, "--json"];
    let refused = scene.world.attempt(&status, "").expect("it runs");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    says(
        &refused.out,
        &[
            "the certificate of coordinator",
            ENDED_TEXT,
            "certificate.expired",
        ],
    );
    let said = scene
        .world
        .coordinator(&["renew-certificate"], "")
        .expect("renewed");
    says(
        &said,
        &["The coordinator's certificate is new", "identity are as before"],
    );
    let believed = scene.world.attempt(&status, "").expect("it runs");
    assert!(!believed.out.contains("certificate.expired"), "{believed:?}");

    let out = station.join("new.pem").to_string_lossy().into_owned();
    let certify = [
        "certify",
        "station-1/tls.request.pem",
        "--role",
        "station:1",
        "--out",
        &out,
    ];
    let said = scene.world.coordinator(&certify, "").expect("certified again");
    says(&said, &["it ends at"]);
    std::fs::rename(&out, &certificate).expect("in place");
    let drain = [
        "client",
        "station",
        "drain",
        "--dir",
        "station-1",
        "--manifest",
        &manifest,
    ];
    let said = scene.world.program.attempt(&root, &drain, "").expect("it runs");
    assert!(said.status.success(), "{said:?}");
    for i in 0..3 {
        let status = scene.asked(i).await.expect("status");
        assert_eq!(status.boxes[0].received_station, 1, "P{}", i + 1);
    }
}

/// A connection that was made in time outlives no certificate: the next request on it is refused with the reason. And by TLS itself, where a
/// caller's own program does not look.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_while_its_connection_stands_is_refused_with_its_reason() {
    let _place = beside_others().await;
    let scene = Scene::new(1);
    let commission = authority(&scene.world.root.join("coordinator"));
    let config = Config::load(&scene.world.party_config(0)).expect("a configuration");
    let own = keys::own_identity(&config).expect("an identity");
    let role = PeerRole::Station(StationId(1));
    let ends = UnixSeconds(system_now().get() + 12);
    let life = Life::between(UnixSeconds(ends.get() - 3600), ends);
    let leaf = commission.issue_for(&role, &[], life).expect("issued");
    let dial = Dial {
        address: own.peer_address(),
        anchor: own.anchor(),
        leaf: Some(&leaf),
    };
    let mut control = connect::control(dial.channel_with_timeout().expect("a channel"));
    let mut ask = async || {
        let asked = control.status(wire::StatusRequest::default()).await;
        Refusal::of_status(&asked.expect_err("a station is shown no status"))
    };
    assert_eq!(ask().await.reason, Reason::RoleRefused);
    await_that("its last second is over", async || system_now() > ends).await;
    let refusal = ask().await;
    assert_eq!(refusal.reason, Reason::CertificateExpired, "{refusal}");
    says(&refusal.detail, &["the certificate of station:1 ended at"]);

    // A program that does not look at its own clock: the handshake is refused, and mostly the alert arrives.
    let leaf = commission.issue_for(&role, &[], past()).expect("issued");
    let dial = Dial {
        leaf: Some(&leaf),
        ..dial
    };
    let endpoint = dial
        .endpoint()
        .expect("an endpoint")
        .timeout(Duration::from_secs(10));
    let mut told = None;
    await_that("the alert arrives", async || {
        let channel = endpoint.connect_lazy();
        let asked = connect::intake(channel).clock(wire::ClockRequest {}).await;
        let refusal = Refusal::of_status(&asked.expect_err("its certificate has ended"));
        let expired = refusal.reason == Reason::CertificateExpired;
        told = told.take().or(expired.then_some(refusal));
        told.is_some()
    })
    .await;
    says(
        &told.expect("told").detail,
        &["the server says that the certificate which the caller shows has ended"],
    );
}
