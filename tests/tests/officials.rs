//! A party whose keys officials hold, on real processes: it starts locked, is unlocked by two of three, comes back from a kill by itself, and
//! is set up again on an empty machine from its recovery kit, two officials and the two other parties, without a backup of its store, in the
//! middle of an election whose result is right. Its HPKE key is another one from the Seal on, and the next election is sealed to it.

mod rotation;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_party::config::Config;
use tally_party::holder;
use tally_party::keys;
use tally_party::operator::Operator;
use tally_proto::connect::{self, Dial};
use tally_proto::ids::Role;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_tests::crowd::Crowd;
use tally_tests::process::{Program, Server};
use tally_tests::recount::recount;
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const ELECTION: &str = "lighthouse-2027";
const TYPED: &str = "lighthouse-2027\n";
const VOTERS: u32 = 11;
const OPTIONS: u32 = 3;
const PARTY: usize = 1;
const ROLE: Role = Role::P2;
const CONFIG: &str = "party-2/party.toml";
/// What must come about at all comes about within this, on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(120);

fn plan(opens: SystemTime) -> Plan {
    Plan {
        election: ELECTION.to_owned(),
        title: "Keepers 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Cape".to_owned()],
        roll: Roll { boxes: vec![VOTERS] },
        stations: 0,
        tickets: None,
        opens: utc::second(opens),
        closes: utc::second(opens + Duration::from_secs(24 * 3600)),
    }
}

fn casts(voters: impl Iterator<Item = u32>, turn: u32) -> Vec<Cast> {
    voters
        .map(|v| Cast {
            device: 1000 + v,
            place: Place { box_id: 1, v },
            way: Way::Online,
            choice: 1 + (v * 7 + turn) % OPTIONS,
        })
        .collect()
}

async fn await_that(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(
            since.elapsed() < DEADLINE,
            "{what}: not so after {} s",
            DEADLINE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn config(world: &World) -> Config {
    Config::load(&world.party_config(PARTY)).expect("a configuration")
}

/// What the party says of itself; `None` while it changes over.
async fn status(world: &World) -> Option<wire::StatusReply> {
    let mut operator = Operator::new(&config(world)).expect("an operator");
    operator.status("").await.ok()
}

async fn await_unlocked(world: &World) {
    await_that("unlocked", async || {
        status(world).await.is_some_and(|status| status.locked.is_none())
    })
    .await;
}

/// Waits until it has its election and its log, and may write into it.
async fn await_open(world: &World) {
    await_that("it has what it needs", async || {
        let status = status(world).await;
        let election = status.and_then(|status| status.elections.into_iter().next());
        election.is_some_and(|election| election.intake_trouble.is_empty() && election.log_size > 0)
    })
    .await;
}

async fn own_election(world: &World, election: &str) -> wire::ElectionStatus {
    let mut operator = Operator::new(&config(world)).expect("an operator");
    let status = operator.status(election).await.expect("status");
    status.elections.into_iter().next().expect("the election")
}

/// Waits until the party has every voter's ballot and both others have followed its log to the end; its state then.
async fn await_mirrored(world: &World, election: &str) -> wire::ElectionStatus {
    let mut before = own_election(world, election).await;
    await_that("it has every ballot", async || {
        before = own_election(world, election).await;
        before
            .boxes
            .iter()
            .all(|of| of.received_online >= u64::from(VOTERS))
    })
    .await;
    await_that("followed by both others", async || {
        for i in (0..3).filter(|i| *i != PARTY) {
            let config = Config::load(&world.party_config(i)).expect("a configuration");
            let mut operator = Operator::new(&config).expect("an operator");
            let status = operator.status(election).await.expect("status");
            let mut logs = status.elections.into_iter().flat_map(|election| election.peers);
            if !logs.any(|log| log.party as usize == PARTY + 1 && log.mirrored >= before.log_size) {
                return false;
            }
        }
        true
    })
    .await;
    before
}

async fn hold_keys(world: &World) -> Server {
    let words = ["party", "hold-keys", "--config", CONFIG];
    let server = world
        .program
        .serve("holder-2", &world.root, &words, &[])
        .expect("starts");
    let directory = config(world).keys.holder;
    await_that("the key holder answers", async || {
        holder::state(&directory).is_ok()
    })
    .await;
    server
}

fn sheet(number: u8) -> String {
    format!("sheets-2/official-{number}.txt")
}

fn unseal(world: &World, number: u8) -> String {
    let sheet = sheet(number);
    let words = ["party", "unseal", "--config", CONFIG, "--share-file", &sheet];
    world.run(&words, "").expect("taken")
}

/// `party status` as JSON, and its exit status.
fn asked(world: &World) -> (Option<i32>, serde_json::Value) {
    let words = ["party", "status", "--config", CONFIG, "--json"];
    let said = world.program.attempt(&world.root, &words, "").expect("it runs");
    let status = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said.status.code(), status)
}

fn detail_of(status: &serde_json::Value, code: &str) -> Option<String> {
    let alarms = status["alarms"].as_array()?;
    let alarm = alarms.iter().find(|alarm| alarm["code"] == code)?;
    Some(alarm["detail"].as_str().unwrap_or_default().to_owned())
}

/// The alarm stands, says that, and `party status` ends so that whoever calls it notices.
fn alarmed(world: &World, code: &str, with: &str) {
    let (exit, status) = asked(world);
    let detail = detail_of(&status, code).unwrap_or_else(|| panic!("{code} does not stand: {status}"));
    assert!(detail.contains(with), "{detail}");
    assert_eq!(exit, Some(2), "{status}");
}

fn not_alarmed(world: &World, code: &str) {
    let (_, status) = asked(world);
    assert_eq!(detail_of(&status, code), None, "{status}");
}

fn no_secret_lies_open(directory: &Path) {
    for name in [
        "keys/signing.key",
        "keys/hpke.key",
        "keys/storage.key",
        "ca/ca.key",
        "tls/party.key",
    ] {
        assert!(!directory.join(name).exists(), "{name}");
    }
    assert!(directory.join("keys/sealed.keys").exists());
}

/// With the authority's key in the recovery kit: without kit or with too few officials nothing changes; the key holder's key opens the new key file,
/// so the server comes back without the officials.
async fn certificates_are_renewed(world: &mut World) {
    let root = world.root.clone();
    let front = root.join("party-2/tls/front.pem");
    let operator = root.join("party-2/tls/operator.pem");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a certificate");
    let before = [read(&front), read(&operator)];
    let renew = ["party", "renew-certificates", "--config", CONFIG];
    let refused = world.program.refused(&root, &renew, "").expect("runs");
    assert!(refused.is_some_and(|said| said.contains("recovery kit")));
    let (two, three) = (sheet(2), sheet(3));
    let kits = [
        "--kit",
        "party-2.kit",
        "--new-kit",
        "party-2b.kit",
        "--share-file",
        &two,
    ];
    let one = [&renew[..], &kits[..]].concat();
    let refused = world.program.refused(&root, &one, "").expect("runs");
    assert!(refused.is_some_and(|said| said.contains("before enough shares")));
    assert_eq!([read(&front), read(&operator)], before);
    let both = [&one[..], &["--share-file", &three]].concat();
    let said = world.run(&both, "").expect("renewed");
    assert!(said.contains("The new recovery kit is party-2b.kit"), "{said}");
    for (path, before) in [&front, &operator].into_iter().zip(&before) {
        assert_ne!(read(path), *before, "{}", path.display());
    }
    no_secret_lies_open(&root.join("party-2"));
    world.stop_party(PARTY).expect("stopped");
    world.start_party(PARTY).expect("started again");
    await_unlocked(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_unlocked_killed_and_restored_on_an_empty_machine() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    connect::install_tls_provider();
    let directory = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let told = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let root = directory.path().join("world");
    let mut world =
        World::set_up_with(&root, program, plan(SystemTime::now()), &[PARTY]).expect("everybody is set up");
    no_secret_lies_open(&root.join("party-2"));
    let sound = world
        .run(&["party", "check-config", "--config", CONFIG], "")
        .expect("sound");
    assert!(sound.contains("2 of 3 officials unlock them"), "{sound}");
    let plain = ["party", "check-config", "--config", "party-1/party.toml"];
    let plain = world.run(&plain, "").expect("sound");
    assert!(plain.contains("Keys: in plain files"), "{plain}");
    world.start().expect("the servers run");

    // Locked: not serving, voters refused for the time being, and the operator hears who is needed.
    let own = keys::own_identity(&config(&world)).expect("an identity");
    let dial = Dial {
        address: own.public_address(),
        anchor: own.anchor(),
        leaf: None,
    };
    let channel = dial.channel_with_timeout().expect("a channel");
    let health = HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .expect("answers");
    assert_eq!(health.into_inner().status, 2, "not serving");
    let refused = connect::intake(channel)
        .clock(wire::ClockRequest {})
        .await
        .expect_err("locked");
    let refused = Refusal::from_status(&refused).expect("a reason");
    assert_eq!(refused.reason, Reason::PartyLocked);
    assert!(
        refused.detail.contains("2 of 3 officials are needed"),
        "{}",
        refused.detail
    );
    let lock = status(&world)
        .await
        .and_then(|status| status.locked)
        .expect("locked");
    assert_eq!(
        (lock.needed, lock.officials, lock.given, lock.holder_runs),
        (2, 3, 0, false)
    );
    alarmed(&world, "party.locked", "0 came");
    let nobody = world
        .program
        .refused(
            &root,
            &["party", "unseal", "--config", CONFIG, "--share-file", &sheet(1)],
            "",
        )
        .expect("runs")
        .expect("nobody takes shares yet");
    assert!(nobody.contains("party hold-keys"), "{nobody}");
    // A locked server stops when it is told to.
    world.stop_party(PARTY).expect("told");
    let said = std::fs::read_to_string(world.party_log(PARTY)).expect("a log");
    assert!(said.contains("told to stop while locked"), "{said}");
    world.start_party(PARTY).expect("started, locked");
    told("locked");

    // Two officials come, one after the other.
    let keeper = hold_keys(&world).await;
    assert!(unseal(&world, 1).contains("came: 1"));
    await_that("one came", async || {
        let lock = status(&world).await.and_then(|status| status.locked);
        lock.is_some_and(|lock| lock.given == 1 && lock.holder_runs)
    })
    .await;
    let words = ["party", "unseal", "--config", CONFIG, "--share-file", &sheet(1)];
    let twice = world.program.refused(&root, &words, "").expect("runs");
    assert!(
        twice
            .as_deref()
            .is_some_and(|said| said.contains("given already")),
        "{twice:?}"
    );
    assert!(unseal(&world, 3).contains("Unlocked"));
    await_unlocked(&world).await;
    let unlocked = |root: &std::path::Path| {
        let (_, path) = tally_party::journal::files(&root.join("party-2/data/journal"))
            .expect("files")
            .pop()
            .expect("a journal");
        let text = std::fs::read_to_string(path).expect("readable");
        text.lines()
            .filter(|line| line.contains("\"event\":\"party.unlocked\""))
            .count()
    };
    assert_eq!(unlocked(&root), 1, "in its journal before it serves");
    // A kill needs no officials.
    world.kill_party(PARTY);
    world.start_party(PARTY).expect("started again");
    await_unlocked(&world).await;
    told("unlocked, and back after a kill");
    not_alarmed(&world, "party.locked");
    // The key holder dies while the server runs: told before it hurts, until the officials have come to a new one.
    not_alarmed(&world, "keys.not-held");
    keeper.kill();
    alarmed(&world, "keys.not-held", "hold-keys");
    let keeper = hold_keys(&world).await;
    alarmed(
        &world,
        "keys.not-held",
        "has 0 shares, 2 of 3 officials are needed",
    );
    unseal(&world, 1);
    assert!(unseal(&world, 3).contains("Unlocked"));
    not_alarmed(&world, "keys.not-held");
    assert_eq!(unlocked(&root), 2, "by the officials, and by the key holder");

    let opens = SystemTime::now() + 4 * began.elapsed() + Duration::from_secs(8);
    world.plan = plan(opens);
    world.define().expect("the election is in force");
    let invitations = world.issue().expect("credentials are issued");
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let mut rng = StdRng::seed_from_u64(1);
    let stations: BTreeMap<u32, PathBuf> = BTreeMap::new();
    let mut crowd = Crowd::new(&manifest, invitations, &stations, &mut rng).expect("a crowd");
    if let Ok(left) = (opens + Duration::from_secs(1)).duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    crowd
        .cast_online(&casts(0..VOTERS, 0), |_| {})
        .await
        .expect("accepted");
    told("voted");

    let before = await_mirrored(&world, ELECTION).await;
    certificates_are_renewed(&mut world).await;
    told("with new certificates");

    // The machine is lost, and nobody has a backup of its store. Voting goes on without it, and while its successor is locked.
    world.kill_party(PARTY);
    keeper.kill();
    std::fs::remove_dir_all(root.join("party-2")).expect("gone");
    let (kit, two, three) = ("party-2b.kit", sheet(2), sheet(3));
    let restore = ["party", "restore", "--kit", kit, "--dir", "party-2"];
    let one = [&restore[..], &["--share-file", &two]].concat();
    let refused = world.program.refused(&root, &one, "").expect("runs");
    assert!(
        refused
            .as_deref()
            .is_some_and(|said| said.contains("before enough shares")),
        "{refused:?}"
    );
    assert!(!root.join("party-2").exists());
    let both = [&one[..], &["--share-file", &three]].concat();
    let restored = world.run(&both, "").expect("restored");
    assert!(restored.contains("Restored"), "{restored}");
    no_secret_lies_open(&root.join("party-2"));
    world.exchange_identities().expect("handed over again");
    assert!(!root.join("party-2/data/party.redb").exists());
    world.start_party(PARTY).expect("started, locked");
    crowd
        .cast_online(&casts(0..4, 1), |_| {})
        .await
        .expect("two parties are there");
    let keeper = hold_keys(&world).await;
    unseal(&world, 2);
    assert!(unseal(&world, 1).contains("Unlocked"));
    await_unlocked(&world).await;
    // Election, log, records and ballots come from the two others, by themselves.
    await_open(&world).await;
    let after = own_election(&world, ELECTION).await;
    assert!(after.log_size >= before.log_size && after.lost == 0, "{after:?}");
    let counts = |election: &wire::ElectionStatus| {
        let of_box = election.boxes.first().expect("one box");
        (of_box.records, of_box.received_online)
    };
    let all = u64::from(VOTERS);
    assert_eq!(counts(&before), (all, all));
    // Devices that voted while it was away go on trying for a minute: up to four of their ballots may be here by now.
    let (records, received) = counts(&after);
    assert!(records == all && (all..=all + 4).contains(&received), "{after:?}");
    told("restored");
    rotation::is_refused_while_open(&mut world).await;
    told("the HPKE key stays while ballots are sealed to it");
    crowd
        .cast_online(&casts(3..8, 2), |_| {})
        .await
        .expect("accepted");
    let closed = world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    let sealed = world.coordinator(&["seal", ELECTION], TYPED).expect("sealed");
    assert!(sealed.contains("Box 1 is sealed"), "{sealed}");
    let keeper = rotation::after_the_seal(&mut world, keeper).await;
    told("with another HPKE key");
    let tallied = world.coordinator(&["tally", ELECTION], TYPED).expect("tallied");
    assert!(
        tallied.contains("the result is signed by P1, P2, P3"),
        "{tallied}"
    );
    published_and_right(&world, &crowd, VOTERS as usize + 4 + 5);
    told("published");
    rotation::next_election(&mut world, keeper).await;
    told("the next election is published");
}

/// The bundle of the world's election holds for whoever verifies it, and counts what `casts` accepted ballots say.
fn published_and_right(world: &World, crowd: &Crowd, casts: usize) {
    let bundled = world.coordinator(&["bundle", &world.plan.election], "");
    bundled.expect("a bundle");
    let (bundle, manifest) = (
        world.bundle_file().expect("a bundle"),
        world.manifest_file().expect("a manifest"),
    );
    let (bundle_path, manifest) = (bundle.to_string_lossy(), manifest.to_string_lossy());
    world
        .coordinator(&["verify-result", &bundle_path, "--manifest", &manifest], "")
        .expect("verified");
    let bytes = std::fs::read(&bundle).expect("readable");
    let published = published::read(&bytes, &world.plan.roll).expect("a bundle");
    assert_eq!(published.len(), 1);
    assert_eq!(
        published[0].count,
        recount(1, &world.plan.roll, OPTIONS, crowd.done())
    );
    assert_eq!(crowd.done().len(), casts);
    for done in crowd.done() {
        assert!(
            published[0].ballots.contains(&done.digest),
            "an acknowledged ballot is lost"
        );
    }
}
