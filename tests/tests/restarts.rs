//! Parties are killed (SIGKILL) and started again in every phase of an election on real processes: before opening, in the middle of
//! voting, between close and seal, at each step of sealing, between seal and tally, during a tally, after the result. Nothing that was
//! acknowledged is lost, and every total is that of the recount.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_client::CastError;
use tally_party::config::Config;
use tally_party::operator::Operator;
use tally_proto::reason::Reason;
use tally_proto::wire;
use tally_tests::crowd::{Crowd, CrowdError};
use tally_tests::process::{Program, Said};
use tally_tests::recount::recount;
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

const ELECTION: &str = "harbour-2027";
const TYPED: &str = "harbour-2027\n";
const BOXES: u32 = 6;
const VOTERS: u32 = 11;
const OPTIONS: u32 = 3;
/// What must come about at all comes about within this, on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(120);

fn plan(opens: SystemTime) -> Plan {
    Plan {
        election: ELECTION.to_owned(),
        title: "Harbour board 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: (1..=BOXES).map(|id| format!("Quay {id}")).collect(),
        roll: Roll {
            boxes: vec![VOTERS; BOXES as usize],
        },
        stations: 0,
        tickets: None,
        opens: utc::second(opens),
        closes: utc::second(opens + Duration::from_secs(24 * 3600)),
    }
}

/// Voter `v` of every box casts, `turn` decides for whom.
fn casts(voters: impl Iterator<Item = u32> + Clone, turn: u32) -> Vec<Cast> {
    let of_box = |box_id: u32| {
        voters.clone().map(move |v| Cast {
            device: box_id * 1000 + v,
            place: Place { box_id, v },
            way: Way::Online,
            choice: 1 + (box_id + v * 7 + turn) % OPTIONS,
        })
    };
    (1..=BOXES).flat_map(of_box).collect()
}

/// Waits until `holds`.
fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(
            since.elapsed() < DEADLINE,
            "{what}: not so after {} s",
            DEADLINE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A watch over a party's log from now on.
struct Log {
    path: PathBuf,
    from: usize,
}

impl Log {
    fn from_now(world: &World, party: usize) -> Self {
        let path = world.party_log(party);
        let from = std::fs::read(&path).map_or(0, |bytes| bytes.len());
        Self { path, from }
    }

    fn await_line(&self, with: &[&str]) {
        await_that(
            &format!("a line with {with:?} in {}", self.path.display()),
            || {
                let bytes = std::fs::read(&self.path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes[self.from..]).into_owned();
                text.lines()
                    .any(|line| with.iter().all(|part| line.contains(part)))
            },
        );
    }
}

/// A coordinator's command that goes on while parties are killed.
fn begin(world: &World, words: &[&str]) -> JoinHandle<Said> {
    let (program, root): (Program, PathBuf) = (world.program.clone(), world.root.clone());
    let words: Vec<String> = ["coordinator", "--dir", "coordinator"]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect();
    std::thread::spawn(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        program.attempt(&root, &words, TYPED).expect("the command runs")
    })
}

fn restart(world: &mut World, parties: &[usize]) {
    for &i in parties {
        world.kill_party(i);
    }
    for &i in parties {
        world.start_party(i).expect("started again");
    }
}

async fn box_status(world: &World, party: usize, of_box: u32) -> wire::BoxStatus {
    let config = Config::load(&world.party_config(party)).expect("a configuration");
    let mut operator = Operator::new(&config).expect("an operator");
    let status = operator.status(ELECTION).await.expect("status");
    let boxes = status.elections.into_iter().flat_map(|election| election.boxes);
    boxes.into_iter().find(|b| b.r#box == of_box).expect("the box")
}

fn await_moment(moment: SystemTime) {
    if let Ok(left) = moment.duration_since(SystemTime::now()) {
        std::thread::sleep(left);
    }
}

fn refused_with(error: CrowdError, reason: Reason) {
    let CrowdError::Cast(CastError::Refused { faults }) = error else {
        panic!("{error}")
    };
    // A party that has just come back may still be asking the others whether its store is the newest.
    let answered = faults
        .iter()
        .filter(|fault| fault.reason() != Reason::PartyRecollecting);
    assert!(
        answered.clone().count() >= 2 && answered.clone().all(|fault| fault.reason() == reason),
        "{faults:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_in_every_phase() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    tally_proto::connect::install_tls_provider();
    let directory = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let mut world = World::set_up(&directory.path().join("world"), program, plan(SystemTime::now()))
        .expect("everybody is set up");
    world.start().expect("the servers run");
    // What comes before the opening is about as much work as this was.
    let opens = SystemTime::now() + 4 * began.elapsed() + Duration::from_secs(8);
    world.plan = plan(opens);
    world.define().expect("the election is in force");
    let invitations = world.issue().expect("credentials are issued");

    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let mut rng = StdRng::seed_from_u64(1);
    let stations: BTreeMap<u32, PathBuf> = BTreeMap::new();
    let mut crowd = Crowd::new(&manifest, invitations, &stations, &mut rng).expect("a crowd");

    let told = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    told("in force, credentials issued");
    before_opening(&mut world, &mut crowd).await;
    await_moment(opens + Duration::from_secs(1));
    voting(&mut world, &mut crowd).await;
    told("voting");
    two_away(&mut world);
    told("two away");
    let closed = world.close("All have voted").expect("orders are in force");
    await_moment(closed);
    let late = crowd.cast_online(&casts(0..1, 9), |_| {}).await;
    refused_with(late.expect_err("closed"), Reason::BallotAfterClose);
    restart(&mut world, &[0, 1, 2]);
    one_is_down_when_sealing_starts(&mut world).await;
    told("closed, and one was down when sealing started");
    killed_while_sealing(&mut world);
    told("killed while sealing");
    restart(&mut world, &[2, 0, 1]);
    killed_while_tallying(&mut world).await;
    told("killed while tallying");
    restart(&mut world, &[1, 2, 0]);
    asked_twice(&mut world).await;
    published_and_right(&world, &crowd);
    told("published");
}

async fn before_opening(world: &mut World, crowd: &mut Crowd) {
    restart(world, &[0, 1, 2]);
    let early = crowd.cast_online(&casts(0..1, 9), |_| {}).await;
    refused_with(early.expect_err("not open"), Reason::BallotBeforeOpening);
}

/// Each party in turn is killed while ballots are on their way, and is back while others are.
async fn voting(world: &mut World, crowd: &mut Crowd) {
    let first = casts(0..VOTERS, 0);
    crowd
        .cast_online(&first, |done| match done {
            5 => world.kill_party(0),
            15 => world.start_party(0).expect("started again"),
            25 => world.kill_party(1),
            35 => world.start_party(1).expect("started again"),
            45 => world.kill_party(2),
            55 => world.start_party(2).expect("started again"),
            _ => {}
        })
        .await
        .expect("two parties are always there");
    // Some vote again.
    crowd
        .cast_online(&casts((0..VOTERS).step_by(3), 1), |_| {})
        .await
        .expect("accepted");
}

/// With two parties away nobody can vote; the voter hears who is away, and nothing is half done.
fn two_away(world: &mut World) {
    world.kill_party(1);
    world.kill_party(2);
    let invitation = world.root.join("one.invitation");
    let csv = std::fs::read_to_string(world.root.join("invitations.csv")).expect("invitations");
    let code = csv
        .lines()
        .nth(1)
        .and_then(|row| row.split(',').nth(1))
        .expect("a code");
    std::fs::write(&invitation, code).expect("written");
    let manifest = world.manifest_file().expect("a manifest");
    let words = [
        "client",
        "vote",
        "--manifest",
        &manifest.to_string_lossy(),
        "--invitation",
        &invitation.to_string_lossy(),
        "--state",
        "device",
        "--choice",
        "Ben",
        "--yes",
        "--give-up-after",
        "1",
    ];
    let said = world.program.attempt(&world.root, &words, "").expect("it runs");
    assert_eq!(said.status.code(), Some(5), "{said:?}");
    for part in [
        "University Computing Centre (P2) could not be reached",
        "Data Protection Authority (P3) could not be reached",
        "only 1 of the three parties",
        "try again",
    ] {
        assert!(said.err.contains(part), "{part:?} in {}", said.err);
    }
    for i in [1, 2] {
        world.start_party(i).expect("started again");
    }
}

/// The operator hears which party is down and what to do. The two others sign nothing before the third has said what it holds of theirs; what they
/// have begun goes on when it is back, also when they are killed.
async fn one_is_down_when_sealing_starts(world: &mut World) {
    world.kill_party(2);
    let (first, second) = (Log::from_now(world, 0), Log::from_now(world, 1));
    let said = world
        .attempt(&["--patience", "1", "seal", ELECTION, "--box", "1"], TYPED)
        .expect("it runs");
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let last = said.err.lines().last().unwrap_or_default();
    for part in [
        "P3 Data Protection Authority",
        "(party.unreachable)",
        "Check that its server runs",
        "can be repeated",
    ] {
        assert!(last.contains(part), "{part:?} in {}", said.err);
    }
    for log in [first, second] {
        log.await_line(&["sealing", "box_id=1", "step=list"]);
    }
    world.kill_party(0);
    restart(world, &[0, 2]);
    let sealed = world
        .coordinator(&["seal", ELECTION, "--box", "1"], TYPED)
        .expect("sealed");
    assert!(sealed.contains("Box 1 is sealed"), "{sealed}");
}

/// One party is killed at each step of sealing a box; the coordinator's command goes on by itself.
fn killed_while_sealing(world: &mut World) {
    let moments = [
        (2, 0, "list"),
        (3, 1, "lists"),
        (4, 2, "claims"),
        (5, 0, "seal"),
        (6, 1, "signatures"),
    ];
    for (of_box, party, step) in moments {
        let log = Log::from_now(world, party);
        let number = of_box.to_string();
        let sealing = begin(world, &["seal", ELECTION, "--box", &number]);
        log.await_line(&["sealing", &format!("box_id={of_box}"), &format!("step={step}")]);
        restart(world, &[party]);
        let said = sealing.join().expect("the command ends");
        assert!(said.status.success(), "killed at {step}: {said:?}");
        assert!(
            said.out.contains(&format!("Box {of_box} is sealed")),
            "killed at {step}: {said:?}"
        );
    }
}

/// A session whose party is killed aborts; the next one has a higher number and succeeds, also when it is asked for while the first is
/// still being waited for.
async fn killed_while_tallying(world: &mut World) {
    let mut aborted = 0;
    for (of_box, party, moment) in [
        (1, 0, "session prepared"),
        (2, 1, "session begins"),
        (3, 2, "session begins"),
    ] {
        let log = Log::from_now(world, party);
        let number = of_box.to_string();
        let tallying = begin(world, &["--patience", "2", "tally", ELECTION, "--box", &number]);
        log.await_line(&[moment, &format!("box_id={of_box}")]);
        restart(world, &[party]);
        let before = box_status(world, party, of_box).await.last_session;
        assert!(before >= 1, "a number is durable before it is shown");
        let tally = || {
            let words = ["tally", ELECTION, "--box", &number];
            world.attempt(&words, TYPED).expect("it runs")
        };
        let mut again = tally();
        let first = tallying.join().expect("the command ends");
        if !again.status.success() {
            // The first one has asked the party that was killed once more meanwhile, which ends the session of whoever asked before.
            assert!(again.err.contains("ended the session"), "{again:?}");
            again = tally();
        }
        assert!(again.status.success(), "a new session succeeds: {again:?}");
        let after = box_status(world, party, of_box).await.last_session;
        if first.status.success() {
            continue;
        }
        aborted += 1;
        assert_eq!(first.status.code(), Some(1), "{first:?}");
        let said = first.err.split("\nerror: ").last().unwrap_or_default();
        // It names the party that was killed, or the other command was faster than its second attempt.
        let names = said.contains(&format!("P{}", party + 1)) || said.contains("session.stale");
        assert!(names, "{}", first.err);
        assert!(
            again.out.contains(&format!("Box {of_box} is tallied")),
            "{again:?}"
        );
        assert!(
            after > before,
            "session {after} after {before}: numbers rise, also over a kill"
        );
    }
    assert!(aborted > 0, "no session was caught in the act");
    let rest = world
        .coordinator(&["tally", ELECTION], TYPED)
        .expect("the rest is tallied");
    assert_eq!(rest.matches("was tallied before").count(), 3, "{rest}");
    assert_eq!(
        rest.matches(" is tallied; the result is signed by P1, P2, P3")
            .count(),
        3,
        "{rest}"
    );
}

/// What was done is shown again, whoever asks: the coordinator from its files, the parties from theirs.
async fn asked_twice(world: &mut World) {
    let mut sessions = Vec::new();
    for of_box in 1..=BOXES {
        sessions.push(box_status(world, 0, of_box).await.last_session);
    }
    // Nothing is typed: nothing has to be confirmed.
    let sealed = world.coordinator(&["seal", ELECTION], "").expect("shown");
    assert_eq!(sealed.matches("was sealed before").count(), 6, "{sealed}");
    let tallied = world.coordinator(&["tally", ELECTION], "").expect("shown");
    assert_eq!(tallied.matches("was tallied before").count(), 6, "{tallied}");
    // A coordinator that has lost what it had is given the same again.
    let boxes = world
        .root
        .join("coordinator/elections")
        .join(ELECTION)
        .join("boxes");
    let kept = world.root.join("boxes-as-they-were");
    std::fs::rename(&boxes, &kept).expect("moved away");
    std::fs::create_dir(&boxes).expect("an empty directory");
    world
        .coordinator(&["seal", ELECTION], TYPED)
        .expect("given again");
    // Two parties have it: the third may be away.
    world.kill_party(2);
    let given = world
        .coordinator(&["--patience", "2", "tally", ELECTION], TYPED)
        .expect("given again");
    assert_eq!(
        given
            .matches(" is tallied; the result is signed by P1, P2, P3")
            .count(),
        6,
        "{given}"
    );
    world.start_party(2).expect("starts again");
    for (of_box, before) in (1..=BOXES).zip(sessions) {
        let name = of_box.to_string();
        let [then, now] = [&kept, &boxes].map(|dir| std::fs::read(dir.join(&name)).expect("a box"));
        let [then, now] =
            [then, now].map(|bytes| <wire::BoxBundle as prost::Message>::decode(&*bytes).expect("a box"));
        let payload = |object: Option<wire::Envelope>| object.expect("an object").payload;
        // Whichever party answers first: the same Seal, with the signatures in that party's order.
        assert_eq!(
            payload(then.seal),
            payload(now.seal),
            "box {of_box} is sealed once"
        );
        assert!(then.body == now.body, "box {of_box}: other evidence");
        assert_eq!(
            payload(then.result),
            payload(now.result),
            "box {of_box} is tallied once"
        );
        assert_eq!(box_status(world, 0, of_box).await.last_session, before);
    }
}

fn published_and_right(world: &World, crowd: &Crowd) {
    world.coordinator(&["bundle", ELECTION], "").expect("a bundle");
    let (bundle, manifest) = (
        world.bundle_file().expect("a bundle"),
        world.manifest_file().expect("a manifest"),
    );
    let words = [
        "verify-result",
        &bundle.to_string_lossy(),
        "--manifest",
        &manifest.to_string_lossy(),
    ];
    world.coordinator(&words, "").expect("verified");
    let bytes = std::fs::read(&bundle).expect("readable");
    let published = published::read(&bytes, &world.plan.roll).expect("a bundle");
    assert_eq!(published.len(), BOXES as usize);
    for of_box in &published {
        assert_eq!(
            of_box.count,
            recount(of_box.box_id, &world.plan.roll, OPTIONS, crowd.done()),
            "box {}",
            of_box.box_id
        );
    }
    for done in crowd.done() {
        let of_box = &published[done.cast.place.box_id as usize - 1];
        assert!(
            of_box.ballots.contains(&done.digest),
            "an acknowledged ballot of box {} is lost",
            of_box.box_id
        );
    }
    assert_eq!(
        crowd.done().len(),
        (BOXES * (VOTERS + VOTERS.div_ceil(3))) as usize
    );
}
