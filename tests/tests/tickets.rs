//! An election with tickets on real processes: voters draw by themselves, a decoy draws as the true invitation does, draws run out and are
//! granted, and the totals are those of the recount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_tests::crowd::Crowd;
use tally_tests::process::{Program, Said};
use tally_tests::recount::recount;
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

const ELECTION: &str = "lighthouse-2027";
const VOTERS: u32 = 13;
const OPTIONS: u32 = 3;
/// Whose letter is lost after a vote with it.
const LOST: u32 = VOTERS - 2;
/// Whose device is copied after a vote from elsewhere.
const COPIED: u32 = VOTERS - 3;

fn plan() -> Plan {
    let opens = SystemTime::now() - Duration::from_secs(60);
    Plan {
        election: ELECTION.to_owned(),
        title: "Lighthouse board 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Head".to_owned()],
        roll: Roll { boxes: vec![VOTERS] },
        stations: 0,
        tickets: Some((6, 2)),
        opens: utc::second(opens),
        closes: utc::second(opens + Duration::from_secs(20 * 3600)),
    }
}

fn casts(voters: impl Iterator<Item = u32>, turn: u32, way: Way) -> Vec<Cast> {
    voters
        .map(|v| Cast {
            device: v,
            place: Place { box_id: 1, v },
            way,
            choice: 1 + (v * 7 + turn) % OPTIONS,
        })
        .collect()
}

/// `client vote` with the invitation in `invitation` on the device `state`.
fn vote(world: &World, invitation: &Path, state: &str, more: &[&str]) -> Said {
    let manifest = world.manifest_file().expect("a manifest");
    let (manifest, invitation) = (manifest.to_string_lossy(), invitation.to_string_lossy());
    let mut words = vec![
        "client",
        "vote",
        "--manifest",
        &*manifest,
        "--invitation",
        &*invitation,
        "--state",
        state,
        "--choice",
        "Ben",
        "--yes",
        "--give-up-after",
        "120",
        "--now",
    ];
    words.extend(more);
    world.program.attempt(&world.root, &words, "").expect("it runs")
}

/// A copy of a device as it is now.
fn copy(world: &World, from: &str, to: &str) {
    let to = world.root.join(to);
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir(&to).expect("a directory");
    for name in trace(world, from).into_keys() {
        std::fs::copy(world.root.join(from).join(&name), to.join(&name)).expect("copied");
    }
}

/// The files of a device, with their lengths.
fn trace(world: &World, state: &str) -> BTreeMap<String, u64> {
    std::fs::read_dir(world.root.join(state))
        .expect("a device")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.metadata().expect("there").len())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_with_tickets() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    tally_proto::connect::install_tls_provider();
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let mut world =
        World::set_up(&directory.path().join("world"), program, plan()).expect("everybody is set up");
    world.start().expect("the servers run");
    world.define().expect("the election is in force");
    let invitations = world.issue().expect("credentials are issued");
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let [of_last, of_copied, of_thief] =
        [VOTERS - 1, COPIED, 0].map(|v| invitations[&Place { box_id: 1, v }].clone());

    // The voters draw by themselves, and vote once or more; some with a handed-out decoy.
    let stations: BTreeMap<u32, PathBuf> = BTreeMap::new();
    let mut rng = StdRng::seed_from_u64(1);
    let mut crowd = Crowd::new(&manifest, invitations, &stations, &mut rng).expect("a crowd");
    for (turn, voters) in [(0, 0..VOTERS - 1), (1, 0..4), (2, 0..2)] {
        crowd
            .cast_online(&casts(voters, turn, Way::Online), |_| {})
            .await
            .expect("accepted with tickets");
    }

    a_letter_is_issued_again(&world);
    a_draw_and_a_ballot_are_kept_apart(&world, &of_last);
    a_decoy_draws_as_the_true_one_does(&world, &of_last);
    a_copied_device_keeps_nobody_from_voting(&mut world, &of_copied, &of_thief);

    let closed = world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        std::thread::sleep(left);
    }
    let typed = format!("{ELECTION}\n");
    for step in ["seal", "tally"] {
        world.coordinator(&[step, ELECTION], &typed).expect(step);
    }
    world.coordinator(&["bundle", ELECTION], "").expect("a bundle");
    let (bundle, manifest) = (
        world.bundle_file().expect("a bundle"),
        world.manifest_file().expect("a manifest"),
    );
    let verify = [
        "verify-result",
        &bundle.to_string_lossy(),
        "--manifest",
        &manifest.to_string_lossy(),
    ];
    world.coordinator(&verify, "").expect("verified");
    let published =
        published::read(&std::fs::read(&bundle).expect("readable"), &world.plan.roll).expect("a bundle");
    // What was cast with the letter that was lost does not count.
    let mut done = crowd.done().to_vec();
    // Who voted again, at home, voted for Ben.
    let again = [LOST, COPIED];
    for ballot in (done.iter_mut()).filter(|of| again.contains(&of.cast.place.v)) {
        ballot.cast.way = Way::FalseOnline;
    }
    let mut expected = recount(1, &world.plan.roll, OPTIONS, &done);
    // By hand, for Ben: the last voter's ballot, that of the voter whose letter was issued again, and that of the voter whose device was copied.
    *expected.totals.get_mut(1).expect("Ben") += 3;
    assert_eq!(published[0].count.totals, expected.totals);
    for done in crowd.done() {
        assert!(
            published[0].ballots.contains(&done.digest),
            "an acknowledged ballot is lost"
        );
    }

    for i in 0..3 {
        world.stop_party(i).expect("stopped");
    }
    let statements = world.audit(1).expect("three audits that find nothing");
    let mut words: Vec<String> = verify.iter().map(|word| (*word).to_owned()).collect();
    for statement in &statements {
        words.extend(["--statement".to_owned(), statement.to_string_lossy().into_owned()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let proven = world.coordinator(&words, "").expect("proven");
    let row = proven
        .lines()
        .find(|line| line.contains("icket"))
        .expect("a row for tickets");
    assert!(!row.to_lowercase().contains("failed"), "{row}");
}

/// A letter was lost: by an order the registrar issues it again, the commission gets the one new hash, and the voter draws and votes with the new letter.
/// Everybody else's draw codes stay: the last voter draws after this.
fn a_letter_is_issued_again(world: &World) {
    let reference = format!("B1-{:06}", LOST + 1);
    let typed = format!("{ELECTION}\n");
    let order = [
        "order",
        ELECTION,
        "--reason",
        "The letter was lost.",
        "reissue",
        "--voter",
        &reference,
        "--serial",
        "2",
    ];
    world.coordinator(&order, &typed).expect("proposed");
    world.countersign().expect("countersigned");
    world
        .coordinator(&["complete", ELECTION], &typed)
        .expect("in force");
    let file = format!("coordinator/elections/{ELECTION}/orders/0001");
    let manifest = world.manifest_file().expect("a manifest");
    let words = [
        "registrar",
        "--dir",
        "registrar",
        "reissue",
        "--manifest",
        &manifest.to_string_lossy(),
        "--roll",
        "election/roll.csv",
        "--order",
        &file,
        "--out",
        "again.csv",
    ];
    let said = world.run(&words, &typed).expect("issued again");
    assert!(
        said.contains("1 credentials issued") && said.contains("draw-hashes.csv"),
        "{said}"
    );
    let hashes = format!("registrar/issued/{ELECTION}/order-1/draw-hashes.csv");
    let taken = world
        .coordinator(&["tickets", ELECTION, "--hashes", &hashes], "")
        .expect("taken over");
    assert!(taken.contains(&format!("{VOTERS} voters may draw")), "{taken}");
    let csv = std::fs::read_to_string(world.root.join("again.csv")).expect("written");
    let code = csv
        .lines()
        .nth(1)
        .and_then(|line| line.split(',').nth(1))
        .expect("a code");
    let invitation = world.root.join("again.invitation");
    std::fs::write(&invitation, code).expect("written");
    let cast = vote(world, &invitation, "device-again", &[]);
    assert!(cast.status.success(), "{cast:?}");
}

/// A device that draws only when it casts lets the ballot leave at another moment, and says so.
fn a_draw_and_a_ballot_are_kept_apart(world: &World, code: &str) {
    let invitation = world.root.join("early.invitation");
    std::fs::write(&invitation, code).expect("written");
    let manifest = world.manifest_file().expect("a manifest");
    let (manifest, invitation) = (manifest.to_string_lossy(), invitation.to_string_lossy());
    let run = |verb: &str, more: &[&str]| {
        let mut words = vec![
            "client",
            verb,
            "--manifest",
            &*manifest,
            "--invitation",
            &*invitation,
        ];
        words.extend(["--state", "device-a"]);
        words.extend(more);
        world.program.attempt(&world.root, &words, "").expect("it runs")
    };
    let begun = Instant::now();
    let drawn = run("draw", &["--after-draw", "8"]);
    assert!(drawn.status.success(), "{drawn:?}");
    assert!(drawn.out.contains("has its tickets"), "{drawn:?}");
    let wait: u64 = drawn
        .out
        .split_once("Vote in ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    let cast = run("vote", &["--choice", "Ben", "--yes", "--after-draw", "8"]);
    assert!(cast.status.success(), "{cast:?}");
    assert!(
        begun.elapsed() >= Duration::from_secs(wait.saturating_sub(1)),
        "the ballot left {:?} after the draw, not {wait} s",
        begun.elapsed()
    );
    let again = run("draw", &[]);
    assert!(again.out.contains("vote when you like"), "{again:?}");
}

/// The last voter votes with the true invitation on one device and a decoy on another; then the draws are used up.
fn a_decoy_draws_as_the_true_one_does(world: &World, code: &str) {
    let true_one = world.root.join("true.invitation");
    std::fs::write(&true_one, code).expect("written");
    let decoy = world
        .run(
            &["client", "decoy", "--invitation", &true_one.to_string_lossy()],
            "",
        )
        .expect("a decoy");
    let decoy_one = world.root.join("decoy.invitation");
    std::fs::write(&decoy_one, decoy.trim()).expect("written");
    assert_eq!(decoy.trim().len(), code.len());
    assert_ne!(decoy.trim(), code);

    let said = [
        vote(world, &true_one, "device-a", &[]),
        vote(world, &decoy_one, "device-b", &[]),
    ];
    for said in &said {
        assert!(said.status.success(), "{said:?}");
    }
    assert_eq!(said[0].out.lines().count(), said[1].out.lines().count());
    let traces = ["device-a", "device-b"].map(|state| trace(world, state));
    assert_eq!(traces[0], traces[1], "the same files of the same lengths");
    assert!(
        traces[0].keys().any(|name| name.starts_with("tickets-")),
        "{:?}",
        traces[0]
    );
    // Either invitation spends the tickets of either device, and nothing changes its length.
    for invitation in [&true_one, &decoy_one, &true_one] {
        let said = vote(world, invitation, "device-b", &[]);
        assert!(said.status.success(), "{said:?}");
        assert_eq!(trace(world, "device-b"), traces[1]);
    }

    // The draws are used up at some device after the second: it is told what to do, with either invitation, in the same words.
    let spent = (0..=10).find_map(|device| {
        let state = format!("device-{device}");
        let said = vote(world, &true_one, &state, &[]);
        (!said.status.success()).then_some(state)
    });
    let spent = spent.expect("the draws end");
    let refused = [&true_one, &decoy_one].map(|invitation| vote(world, invitation, &spent, &[]));
    for said in &refused {
        assert_eq!(said.status.code(), Some(4), "{said:?}");
        for part in ["drawn as often as", "ask the commission", "station"] {
            assert!(
                said.err.to_lowercase().contains(part) || said.err.contains("used up"),
                "{part:?} in {}",
                said.err
            );
        }
    }
    assert_eq!(refused[0].err, refused[1].err);
    let reference = format!("B1-{VOTERS:06}");
    let typed = format!("{ELECTION}\n");
    world
        .coordinator(&["tickets", ELECTION, "--again", &reference], &typed)
        .expect("granted");
    let said = vote(world, &true_one, &spent, &[]);
    assert!(said.status.success(), "{said:?}");
    // A device that is told to draw again has no draw left either, and says so.
    let said = vote(world, &true_one, &spent, &["--draw-again"]);
    assert_eq!(said.status.code(), Some(4), "{said:?}");
}

/// Somebody copies a voter's device before a vote. Owner and copy use the same tickets, in turn and at once, also while a party is down: each finds the
/// next one that is left, until the day's are used, and then the voter draws again. Without an invitation of that voter the copy opens to nobody.
fn a_copied_device_keeps_nobody_from_voting(world: &mut World, code: &str, of_thief: &str) {
    let (own, thief) = (
        world.root.join("own.invitation"),
        world.root.join("thief.invitation"),
    );
    std::fs::write(&own, code).expect("written");
    std::fs::write(&thief, of_thief).expect("written");
    let reference = format!("B1-{:06}", COPIED + 1);
    let typed = format!("{ELECTION}\n");
    let draw = |world: &World, invitation: &Path, state: &str| {
        let manifest = world.manifest_file().expect("a manifest");
        let words = [
            "client",
            "draw",
            "--manifest",
            &manifest.to_string_lossy(),
            "--invitation",
            &invitation.to_string_lossy(),
            "--state",
            state,
        ];
        let said = world.program.attempt(&world.root, &words, "").expect("it runs");
        assert!(said.status.success(), "{said:?}");
    };
    // A device with all its tickets, and its copy.
    let copied = |world: &World| {
        let again = ["tickets", ELECTION, "--again", &reference];
        world.coordinator(&again, &typed).expect("granted");
        let _ = std::fs::remove_dir_all(world.root.join("device-own"));
        draw(world, &own, "device-own");
        copy(world, "device-own", "device-copy");
    };
    let used_up = |said: &Said| said.status.code() == Some(4) && said.err.contains("has used up its tickets");
    let ballots = |world: &World| received(world);

    copied(world);
    copy(world, "device-own", "device-thief");
    let before = trace(world, "device-thief");
    draw(world, &thief, "device-thief");
    let after = trace(world, "device-thief");
    let tickets = |of: &BTreeMap<String, u64>| of.keys().filter(|name| name.starts_with("tickets-")).count();
    assert_eq!(
        (tickets(&before), tickets(&after)),
        (1, 2),
        "the thief has its own tickets only"
    );

    // In turn.
    let begun = ballots(world);
    let (mut taken, mut ends) = (0, 0);
    for turn in 0.. {
        let state = ["device-own", "device-copy"][turn % 2];
        let said = vote(world, &own, state, &[]);
        if said.status.success() {
            taken += 1;
            ends = 0;
        } else {
            assert!(used_up(&said) && turn >= 2, "{state} in turn {turn}: {said:?}");
            ends += 1;
        }
        if ends == 2 {
            break;
        }
    }
    assert!(taken >= 3, "{taken} ballots with six tickets and a copy");
    assert_eq!(
        ballots(world),
        begun + taken,
        "a ballot for each success and no other"
    );
    let said = vote(world, &own, "device-own", &["--draw-again"]);
    assert!(said.status.success(), "{said:?}");

    // At once, with three parties and with two.
    for away in [None, Some(2)] {
        copied(world);
        if let Some(party) = away {
            world.kill_party(party);
        }
        let (mut taken, mut pairs) = (0, 0);
        loop {
            let at_once = |state: &'static str| vote(world, &own, state, &[]);
            let pair = std::thread::scope(|scope| {
                let copy = scope.spawn(|| at_once("device-copy"));
                [at_once("device-own"), copy.join().expect("it ends")]
            });
            for said in &pair {
                assert!(
                    said.status.success() || (pairs > 0 && used_up(said)),
                    "pair {pairs} without {away:?}: {said:?}"
                );
            }
            let voted = pair.iter().filter(|said| said.status.success()).count();
            taken += voted;
            pairs += 1;
            if voted == 0 {
                break;
            }
        }
        assert!(taken >= 3, "{taken} ballots at once without {away:?}");
        if let Some(party) = away {
            world.start_party(party).expect("started again");
        }
    }
}

/// Online ballots that P1 has received.
fn received(world: &World) -> u64 {
    let config = world.party_config(0);
    let config = config.to_string_lossy();
    let words = ["party", "status", "--config", &config, "--json"];
    let said = world.program.attempt(&world.root, &words, "").expect("it runs");
    let view: serde_json::Value = serde_json::from_str(&said.out).expect("a view");
    view["elections"][0]["boxes"][0]["online"]
        .as_u64()
        .unwrap_or_else(|| panic!("no count in {view}"))
}
