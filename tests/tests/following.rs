//! Parties that follow each other's logs, on real processes: one that was away for a part of the voting, and is killed again and again while it
//! catches up, holds what the others hold before anything is sealed; one whose store is an older copy accepts nothing until it has its log back;
//! one that loses its store between Seal and tally has the same Seal again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_party::config::Config;
use tally_party::keys;
use tally_party::operator::Operator;
use tally_proto::connect::{self, Dial};
use tally_proto::wire;
use tally_tests::crowd::Crowd;
use tally_tests::process::Program;
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

const ELECTION: &str = "beacon-2027";
const TYPED: &str = "beacon-2027\n";
const VOTERS: u32 = 12;
const OPTIONS: u32 = 3;
const SEED: u64 = 1;
/// What must come about at all comes about within this, on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(120);

fn plan() -> Plan {
    let now = SystemTime::now();
    Plan {
        election: ELECTION.to_owned(),
        title: "Beacons 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Spit".to_owned()],
        roll: Roll {
            boxes: vec![2 * VOTERS],
        },
        stations: 0,
        tickets: None,
        opens: utc::second(now - Duration::from_secs(60)),
        closes: utc::second(now + Duration::from_secs(24 * 3600)),
    }
}

/// Each of these voters casts once in every turn.
fn casts(voters: std::ops::Range<u32>, turns: std::ops::Range<u32>) -> Vec<Cast> {
    turns
        .flat_map(|turn| {
            voters.clone().map(move |v| Cast {
                device: v,
                place: Place { box_id: 1, v },
                way: Way::Online,
                choice: 1 + (v * 7 + turn) % OPTIONS,
            })
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

/// An election in which everybody may vote, and its voters.
async fn voting(root: PathBuf) -> (World, Crowd, BTreeMap<Place, String>) {
    connect::install_tls_provider();
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let mut world = World::set_up(&root, program, plan()).expect("everybody is set up");
    world.start().expect("the servers run");
    world.define().expect("the election is in force");
    let invitations = world.issue().expect("credentials are issued");
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let crowd = people(&manifest, invitations.clone(), SEED);
    (world, crowd, invitations)
}

fn people(manifest: &[u8], invitations: BTreeMap<Place, String>, seed: u64) -> Crowd {
    let stations: BTreeMap<u32, PathBuf> = BTreeMap::new();
    let mut rng = StdRng::seed_from_u64(seed);
    Crowd::new(manifest, invitations, &stations, &mut rng).expect("a crowd")
}

async fn vote(crowd: &mut Crowd, turns: std::ops::Range<u32>) {
    crowd
        .cast_online(&casts(0..VOTERS, turns), |_| {})
        .await
        .expect("accepted");
}

/// Votes of other people whose devices are switched off as soon as two parties have accepted: they do not go on trying for the third.
fn vote_and_leave(
    world: &World,
    invitations: BTreeMap<Place, String>,
    turns: std::ops::Range<u32>,
) -> Vec<Done> {
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    std::thread::scope(|scope| {
        let voters = scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let done = runtime.block_on(async {
                let mut crowd = people(&manifest, invitations, SEED + 1);
                let casts = casts(VOTERS..2 * VOTERS, turns);
                crowd.cast_online(&casts, |_| {}).await.expect("accepted");
                crowd.done().to_vec()
            });
            runtime.shutdown_background();
            done
        });
        voters.join().expect("voted")
    })
}

/// What party `i` says of the election; `None` while it does not answer.
async fn asked(world: &World, i: usize) -> Option<wire::ElectionStatus> {
    let config = Config::load(&world.party_config(i)).expect("a configuration");
    let mut operator = Operator::new(&config).expect("an operator");
    let status = operator.status(ELECTION).await.ok()?;
    status.elections.into_iter().next()
}

async fn log_size(world: &World, i: usize) -> u64 {
    asked(world, i).await.expect("status").log_size
}

/// Waits until party `i` has followed the log of party `of` at least up to what it has now, and has nothing left to get of it.
async fn await_followed(world: &World, i: usize, of: usize) {
    let size = log_size(world, of).await;
    await_that(&format!("P{} has followed P{}", i + 1, of + 1), async || {
        let status = asked(world, i).await;
        let logs = status.into_iter().flat_map(|status| status.peers);
        let mut logs = logs.filter(|log| log.party as usize == of + 1);
        logs.any(|log| log.mirrored >= size && log.behind == 0)
    })
    .await;
}

/// Votes are reported when two parties have them; this one has accepted them too.
async fn await_held(world: &World, i: usize, done: &[Done]) {
    await_that(&format!("P{} has every ballot", i + 1), async || {
        held(world, i, done).await.0 == done.len()
    })
    .await;
}

async fn await_accepting(world: &World, i: usize) {
    let mut last = None;
    await_that(&format!("P{} accepts", i + 1), async || {
        last = asked(world, i).await.map(|status| status.intake_trouble);
        if last.as_ref().is_some_and(|trouble| !trouble.is_empty()) {
            println!("P{}: {last:?}", i + 1);
        }
        last.as_ref().is_some_and(String::is_empty)
    })
    .await;
}

async fn await_trouble(world: &World, i: usize, with: &str) {
    await_that(&format!("P{} says {with:?}", i + 1), async || {
        asked(world, i)
            .await
            .is_some_and(|status| status.intake_trouble.contains(with))
    })
    .await;
}

/// How many of the acknowledged ballots party `i` accepted, and how many it has from others.
async fn held(world: &World, i: usize, done: &[Done]) -> (usize, usize) {
    let own =
        keys::own_identity(&Config::load(&world.party_config(i)).expect("a configuration")).expect("one");
    let dial = Dial {
        address: own.public_address(),
        anchor: own.anchor(),
        leaf: None,
    };
    let mut intake = connect::intake(dial.channel_with_timeout().expect("a channel"));
    let (mut accepted, mut known) = (0, 0);
    for done in done {
        let asked = wire::LookupRequest {
            election: ELECTION.to_owned(),
            r#box: 1,
            digest: done.digest.to_vec(),
            record: false,
            holder: Vec::new(),
        };
        let found = intake.lookup(asked).await.expect("an answer").into_inner();
        accepted += usize::from(found.accepted);
        known += usize::from(!found.accepted && found.public.is_some());
    }
    (accepted, known)
}

fn counted_right(world: &World, done: &[Done]) {
    close_and_seal(world);
    tallied_right(world, done);
}

fn close_and_seal(world: &World) {
    let closed = world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        std::thread::sleep(left);
    }
    let sealed = world.coordinator(&["seal", ELECTION], TYPED).expect("sealed");
    assert!(sealed.contains("Box 1 is sealed"), "{sealed}");
}

fn tallied_right(world: &World, done: &[Done]) {
    world.coordinator(&["tally", ELECTION], TYPED).expect("tallied");
    world.coordinator(&["bundle", ELECTION], "").expect("a bundle");
    let bytes = std::fs::read(world.bundle_file().expect("a bundle")).expect("readable");
    let published = published::read(&bytes, &world.plan.roll).expect("a bundle");
    assert_eq!(published[0].count, recount(1, &world.plan.roll, OPTIONS, done));
    for done in done {
        assert!(
            published[0].ballots.contains(&done.digest),
            "an acknowledged ballot is lost"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_away_and_is_killed_while_it_catches_up_holds_what_the_others_hold_before_sealing() {
    let directory = tempfile::tempdir().expect("a directory");
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let (mut world, mut crowd, invitations) = voting(directory.path().join("world")).await;
    vote(&mut crowd, 0..1).await;
    await_held(&world, 2, crowd.done()).await;
    world.kill_party(2);
    let away = vote_and_leave(&world, invitations, 0..8);
    println!("seed {SEED}");
    let mut rng = StdRng::seed_from_u64(SEED);
    for _ in 0..12 {
        world.begin_party(2).expect("begun");
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..800))).await;
        world.strike_party(2).expect("it had not ended by itself");
    }
    world.start_party(2).expect("started");
    for (i, of) in [(2, 0), (2, 1), (0, 2), (1, 2)] {
        await_followed(&world, i, of).await;
    }
    let log = std::fs::read_to_string(world.party_log(2)).expect("a log");
    assert!(
        log.contains("caught up with ballots and records"),
        "progress is told"
    );
    for i in 0..3 {
        assert_eq!(held(&world, i, crowd.done()).await, (VOTERS as usize, 0));
        // What was cast while it was away it has not accepted, and never says so; but it holds every one.
        let all = away.len();
        let expected = if i == 2 { (0, all) } else { (all, 0) };
        assert_eq!(held(&world, i, &away).await, expected, "P{}", i + 1);
    }
    // It takes part again.
    await_accepting(&world, 2).await;
    world.kill_party(0);
    vote(&mut crowd, 12..13).await;
    world.start_party(0).expect("started");
    await_accepting(&world, 0).await;
    let done = [away, crowd.done().to_vec()].concat();
    counted_right(&world, &done);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_store_accepts_nothing_until_it_has_its_log_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let (mut world, mut crowd, _) = voting(directory.path().join("world")).await;
    vote(&mut crowd, 0..1).await;
    let store = world.root.join("party-3/data/party.redb");
    let copy = world.root.join("copy.redb");
    world.stop_party(2).expect("stopped");
    std::fs::copy(&store, &copy).expect("copied");
    world.start_party(2).expect("started");
    await_accepting(&world, 2).await;
    vote(&mut crowd, 1..4).await;
    await_held(&world, 2, crowd.done()).await;
    for i in 0..2 {
        await_followed(&world, i, 2).await;
    }
    let (size, cast) = (log_size(&world, 2).await, crowd.done().len());
    let (accepted, _) = held(&world, 2, crowd.done()).await;
    assert_eq!(accepted, cast);

    let trust = [
        "party",
        "trust-store",
        "--config",
        "party-3/party.toml",
        "--election",
        ELECTION,
    ];

    // The older copy on another machine, and only one other party is there: it gets back what that one holds, and accepts nothing.
    world.kill_party(2);
    std::fs::copy(&copy, &store).expect("put back");
    world.boot_machine(2).expect("booted");
    world.kill_party(0);
    world.start_party(2).expect("started");
    await_trouble(&world, 2, "only P2 answers: the other one is needed").await;
    let cut_off = world.run(&["party", "status", "--config", "party-3/party.toml"], "");
    assert!(cut_off.expect("a status").contains("only P2 answers"));
    assert_eq!(log_size(&world, 2).await, size, "nothing was appended");
    // The other one was away meanwhile and cannot know what was written then: with its operator's order it accepts, and what it accepted before
    // it accepted still.
    world.start_party(0).expect("started");
    await_trouble(&world, 2, "P1 was away itself since then").await;
    let said = world.run(&trust, TYPED).expect("the word is taken");
    assert!(said.contains("not against what they hold"), "{said}");
    await_accepting(&world, 2).await;
    // One party alone gives half of a share: the rest it gets from the other.
    await_that("nothing of P3's log lacks its content", async || {
        let status = asked(&world, 2).await;
        status.is_some_and(|status| status.log_size >= size && status.lost == 0)
    })
    .await;
    assert_eq!(
        held(&world, 2, crowd.done()).await,
        (cast, 0),
        "accepted, every one, as before"
    );
    await_accepting(&world, 0).await;
    vote(&mut crowd, 4..5).await;

    // The older copy on the machine that noted more, and nobody else is there: its operator is told what an order would give up.
    for i in 0..2 {
        await_followed(&world, i, 2).await;
    }
    let size = log_size(&world, 2).await;
    world.kill_party(2);
    std::fs::copy(&copy, &store).expect("put back");
    for i in 0..2 {
        world.kill_party(i);
    }
    world.start_party(2).expect("started");
    await_trouble(&world, 2, &format!("this machine has noted {size} entries")).await;
    await_trouble(&world, 2, "the store is an older copy").await;
    // One of the others suffices then: the machine knows when the log is whole.
    world.start_party(1).expect("started");
    await_accepting(&world, 2).await;
    assert!(log_size(&world, 2).await >= size);

    // Merely killed, with nobody else there: the machine vouches.
    world.kill_party(1);
    world.kill_party(2);
    world.start_party(2).expect("started");
    await_accepting(&world, 2).await;

    // Its machine was booted and nobody is there: nobody vouches but its operator.
    world.kill_party(2);
    world.boot_machine(2).expect("booted");
    world.start_party(2).expect("started");
    await_trouble(&world, 2, "neither of the two other parties answers").await;
    let mistyped = world.run(&trust, "beacon-2026\n");
    assert!(mistyped.is_err() || mistyped.is_ok_and(|said| !said.contains("The word is taken")));
    await_trouble(&world, 2, "neither").await;
    world.run(&trust, TYPED).expect("the word is taken");
    await_accepting(&world, 2).await;
    for i in 0..2 {
        world.start_party(i).expect("started");
    }
    for i in 0..2 {
        await_accepting(&world, i).await;
    }
    vote(&mut crowd, 6..7).await;
    counted_right(&world, crowd.done());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_lost_between_seal_and_tally_has_the_same_seal_again_when_the_commission_repeats_it()
{
    let directory = tempfile::tempdir().expect("a directory");
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let (mut world, mut crowd, _) = voting(directory.path().join("world")).await;
    vote(&mut crowd, 0..2).await;
    await_held(&world, 2, crowd.done()).await;
    close_and_seal(&world);
    for i in 0..2 {
        await_followed(&world, i, 2).await;
    }
    let of_box = ["coordinator/elections", ELECTION, "boxes/1"]
        .iter()
        .collect::<PathBuf>();
    let of_box = world.root.join(of_box);
    let kept = std::fs::read(&of_box).expect("what was sealed");

    // Another machine, without a backup.
    world.kill_party(2);
    std::fs::remove_file(world.root.join("party-3/data/party.redb")).expect("lost");
    world.boot_machine(2).expect("another machine");
    world.start_party(2).expect("started");
    await_that("P3 has its election back", async || {
        asked(&world, 2)
            .await
            .is_some_and(|status| status.countersigned_by_all)
    })
    .await;
    // The others may not have seen the last line of its log, which says that the box is sealed.
    let trust = [
        "party",
        "trust-store",
        "--config",
        "party-3/party.toml",
        "--election",
        ELECTION,
    ];
    world.run(&trust, TYPED).expect("the word is taken");
    await_accepting(&world, 2).await;
    let refused = world
        .attempt(&["--patience", "1", "tally", ELECTION], TYPED)
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let last = refused.err.lines().last().unwrap_or_default();
    for part in [
        "P3 Data Protection Authority",
        "(seal.pending)",
        "Repeat the seal",
    ] {
        assert!(last.contains(part), "{part:?} in {}", refused.err);
    }

    // Nothing is typed: nothing is decided.
    let again = world
        .coordinator(&["seal", ELECTION], "")
        .expect("sealed as before");
    let had_none: Vec<&str> = again
        .lines()
        .filter(|line| line.contains("had no seal any more"))
        .collect();
    let [line] = had_none.as_slice() else {
        panic!("{again}")
    };
    assert!(
        line.starts_with("Box 1: P3 Data Protection Authority") && line.ends_with("the same as before"),
        "{again}"
    );
    assert!(again.contains("Box 1 was sealed before"), "{again}");
    assert!(
        std::fs::read(&of_box).expect("there") == kept,
        "nothing is overwritten"
    );
    // All have it, or are not there to be asked: it is shown, and that is all.
    world.kill_party(1);
    let shown = world
        .attempt(&["--patience", "1", "seal", ELECTION], "")
        .expect("it runs");
    assert!(
        shown.status.success() && !shown.out.contains("any more"),
        "{shown:?}"
    );
    assert!(
        shown
            .err
            .contains("a party cannot be asked for its seals: P2 University Computing Centre"),
        "{shown:?}"
    );
    assert!(
        std::fs::read(&of_box).expect("there") == kept,
        "nothing is overwritten"
    );
    world.start_party(1).expect("started");
    await_accepting(&world, 1).await;
    tallied_right(&world, crowd.done());
}
