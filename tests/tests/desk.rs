//! Stations on real processes: an officer's desk that loses power in the middle, a voter at two stations, a sign-in sheet that does not account
//! for the ballots, and what the commission does about it before the seal; a station that is revoked in mid-day, where the manifest lets what it cast
//! before count, and where it does not.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_tests::crowd::Crowd;
use tally_tests::process::Program;
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

#[path = "desk/offline.rs"]
mod offline;
#[path = "desk/terminal.rs"]
mod terminal;

const ELECTION: &str = "market-2027";
const TYPED: &str = "market-2027\n";

/// A desk as a process, typed at line by line.
struct Desk {
    child: Child,
    input: ChildStdin,
    lines: std::sync::mpsc::Receiver<String>,
    said: String,
}

impl Desk {
    fn sit(world: &World, station: &str) -> Self {
        Self::sit_by(world, station, &[])
    }

    /// Started by the words of another program.
    fn sit_by(world: &World, station: &str, before: &[&str]) -> Self {
        let manifest = world.manifest_file().expect("a manifest");
        let words = [
            "client",
            "station",
            "desk",
            "--dir",
            station,
            "--roll",
            "election/roll.csv",
        ];
        let program = before.iter().chain([&env!("CARGO_BIN_EXE_tally-tests")]);
        let all: Vec<&str> = program.copied().chain(words).collect();
        let mut child = Command::new(all[0])
            .args(&all[1..])
            .arg("--manifest")
            .arg(manifest)
            .current_dir(&world.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a desk");
        let (input, output) = (
            child.stdin.take().expect("input"),
            child.stdout.take().expect("output"),
        );
        let (tell, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            input,
            lines,
            said: String::new(),
        }
    }

    fn types(&mut self, lines: &[&str]) {
        for line in lines {
            writeln!(self.input, "{line}").expect("typed");
        }
        self.input.flush().expect("typed");
    }

    /// Reads on until a line holds `words`.
    fn until(&mut self, words: &str) {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(120));
            let line = line.unwrap_or_else(|_| panic!("{words:?} is not said:\n{}", self.said));
            self.said += &line;
            self.said.push('\n');
            if line.contains(words) {
                return;
            }
        }
    }

    /// Pulls the plug.
    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
    }

    /// Waits for its end; whether everything was delivered.
    fn leaves(mut self) -> bool {
        // It may be leaving already.
        let _ = writeln!(self.input, "0");
        drop(self.input);
        self.child.wait().expect("ended").success()
    }
}

fn online(v: u32) -> Cast {
    Cast {
        device: v,
        place: Place { box_id: 1, v },
        way: Way::Online,
        choice: 1,
    }
}

/// One box, two stations, open now; in force.
fn open_market(root: &std::path::Path) -> World {
    open_market_with(root, "").0
}

/// The same with a line more in the election file; and what the operators were shown.
fn open_market_with(root: &std::path::Path, line: &str) -> (World, String) {
    tally_proto::connect::install_tls_provider();
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let now = SystemTime::now();
    let plan = Plan {
        election: ELECTION.to_owned(),
        title: "Market hall 2027".to_owned(),
        options: ["Keep", "Rebuild"].map(str::to_owned).to_vec(),
        boxes: vec!["Old town".to_owned()],
        roll: Roll { boxes: vec![12] },
        stations: 2,
        tickets: None,
        opens: utc::minute(now - Duration::from_secs(120)),
        closes: utc::minute(now + Duration::from_secs(24 * 3600)),
    };
    let mut world = World::set_up(root, program, plan).expect("set up");
    world.start().expect("servers");
    let edit = |toml: String, roll: String| {
        let head = "language = \"en\"\n";
        assert!(toml.contains(head), "{toml}");
        (toml.replace(head, &format!("{head}{line}")), roll)
    };
    let shown = world.define_edited(edit).expect("in force");
    (world, shown)
}

async fn past(moment: SystemTime) {
    if let Ok(left) = moment.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
}

/// A moment of the day between what was done and what is done next, further from both than clocks are apart.
async fn next_moment() -> String {
    let moment = SystemTime::now() + Duration::from_secs(3);
    past(moment + Duration::from_secs(2)).await;
    utc::second(moment)
}

/// The lines of an officer who has a voter vote electronically, without a receipt.
fn votes(reference: &str) -> [&str; 6] {
    ["1", reference, "1", "1", "1", "0"]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_mid_day_stops_a_desk_before_the_next_voter_signs_in() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let root = tempfile::tempdir().expect("a directory");
    let world = open_market(root.path());
    let [mut one, mut two] = ["station-1", "station-2"].map(|station| Desk::sit(&world, station));
    for (desk, reference) in [(&mut one, "B1-000001"), (&mut two, "B1-000002")] {
        desk.types(&["A. Berg", "1"]);
        desk.types(&votes(reference));
        desk.until("Votes: 1 electronic, 0 paper.");
    }
    // One vote before the order's moment, one after it.
    let from = next_moment().await;
    one.types(&votes("B1-000011"));
    one.until("Votes: 2 electronic, 0 paper.");
    // Everything of station 1 is with all three before it is revoked.
    while !one
        .said
        .contains("Votes: 2 electronic, 0 paper. Waiting for delivery: 0,")
    {
        // A closing that is broken off delivers first.
        one.types(&["3", "2", "0"]);
        one.until("The station stays open.");
        one.until("Waiting for delivery:");
    }
    let change = ["revoke-station", "--station", "1", "--from", &from];
    let words = [
        &["order", ELECTION, "--reason", "The seal is broken."][..],
        &change,
    ]
    .concat();
    world.coordinator(&words, TYPED).expect("an order");
    let shown = world.countersign().expect("countersigned");
    for said in [
        "station 1 is revoked from",
        "by the manifest what it cast from the order's moment on does not count, what it cast before that and two parties have does",
        "what still waits at the station then is lost",
    ] {
        assert!(shown.contains(said), "{said}\n{shown}");
    }
    world
        .coordinator(&["complete", ELECTION], TYPED)
        .expect("in force");

    // Nothing waits at the desk, and nobody has voted since.
    one.types(&["1"]);
    one.until("The station is revoked: no vote is taken. Order");
    one.until("THE STATION IS REVOKED. Take no more votes and send voters to another station.");
    assert!(one.said.contains("\"The seal is broken.\""), "{}", one.said);
    one.types(&["3", "2", "1"]);
    one.until("The station is closed.");
    assert!(one.leaves(), "nothing is left behind");
    // Who stood in line there votes at the other one.
    for n in 3..=10 {
        let reference = format!("B1-{n:06}");
        two.types(&votes(&reference));
        two.until(&format!("Votes: {} electronic, 0 paper.", n - 1));
    }
    two.types(&["3", "9", "1"]);
    two.until("The station is closed.");
    assert!(two.leaves(), "everything is delivered");

    let closed = world.close("Everybody has voted.").expect("closed");
    past(closed).await;
    // Station 2 in use has handed in nothing yet; of the revoked one nothing is asked.
    let refused = world.attempt(&["seal", ELECTION], TYPED).expect("it runs");
    assert!(
        !refused.status.success()
            && refused.err.contains("no closing statement is here of station 2")
            && refused
                .err
                .contains("(two parties hold up to ballot number 9 of box 1)")
            && !refused.err.contains("station 1"),
        "{}",
        refused.err
    );
    let unknown = world
        .attempt(&["seal", ELECTION, "--without-statement", "9"], TYPED)
        .expect("it runs");
    assert!(
        unknown.err.contains("the manifest names no station 9"),
        "{}",
        unknown.err
    );
    let statement = format!("station-2/{ELECTION}.sign-ins");
    world
        .coordinator(&["sign-ins", ELECTION, &statement], "")
        .expect("a statement");
    let sealed = world.coordinator(&["seal", ELECTION], TYPED).expect("sealed");
    // What station 1 cast before the order's moment stands, and nothing else of it.
    for said in [
        "10 at stations, 0 on paper; 1 excluded",
        "excluded 1: ballot.station-revoked",
        "station 1: 1 electronic, 0 paper",
    ] {
        assert!(sealed.contains(said), "{said}\n{sealed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_survives_a_power_cut_and_of_a_station_revoked_for_a_surplus_nothing_counts() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let root = tempfile::tempdir().expect("a directory");
    let (world, shown) = open_market_with(root.path(), "revoked_stations = \"none\"\n");
    let none =
        "none of its ballots counts, whenever it cast them; what else these voters have cast stands again";
    let manifest_says = format!("Revoked stations: when an order revokes a station, {none}.");
    assert_eq!(shown.matches(&manifest_says).count(), 3, "{shown}");
    let invitations = world.issue().expect("invitations");
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let mut rng = StdRng::seed_from_u64(8);
    let nobody = BTreeMap::<u32, PathBuf>::new();
    let mut crowd = Crowd::new(&manifest, invitations, &nobody, &mut rng).expect("a crowd");
    let casts: Vec<Cast> = (0..10).map(online).collect();
    crowd.cast_online(&casts, |_| ()).await.expect("cast");

    // Station 1 loses power when a vote has just been kept.
    let mut desk = Desk::sit(&world, "station-1");
    desk.types(&["A. Berg", "1", "1", "B1-000001", "1", "2", "1"]);
    desk.until("Your vote is kept.");
    desk.kill();
    let mut desk = Desk::sit(&world, "station-1");
    desk.until("officer A. Berg. Votes: 1 electronic, 0 paper.");
    desk.types(&["3", "1", "1"]);
    desk.until("The station is closed.");
    assert!(desk.leaves(), "everything is delivered");

    // Station 2: one voter; and after the moment from which it will be revoked the one of station 1 again, and another on paper.
    let mut desk = Desk::sit(&world, "station-2");
    desk.types(&["B. Cohn", "1"]);
    desk.types(&["1", "B1-000003", "1", "2", "1", "0"]);
    desk.until("Votes: 1 electronic, 0 paper.");
    let from = next_moment().await;
    desk.types(&votes("B1-000001"));
    desk.types(&["1", "B1-000002", "2"]);
    desk.until("give the voter a paper ballot");
    // Two signatures for three votes.
    desk.types(&["3", "2", "the sheet is torn", "1"]);
    desk.until("1 VOTES TOO MANY");
    desk.until("The station is closed.");
    assert!(desk.leaves(), "everything is delivered");

    let closed = world.close("Everybody has voted.").expect("closed");
    past(closed).await;
    let file = |station: u32, kind: &str| format!("station-{station}/{ELECTION}.{kind}");
    let (one, two) = (file(1, "sign-ins"), file(2, "sign-ins"));
    let (book, other) = (file(1, "book"), file(2, "book"));
    let words = [
        "sign-ins", ELECTION, &one, &two, "--book", &book, "--book", &other,
    ];
    let shown = world.coordinator(&words, "").expect("statements");
    assert!(
        shown.contains("station 2, box 1: 2 electronic, 1 paper, 2 signatures"),
        "{shown}"
    );
    assert!(
        shown.contains("TWICE: B1-000001 signed in more than once"),
        "{shown}"
    );
    assert!(
        !shown.contains("B1-000002") && !shown.contains("B1-000003"),
        "{shown}"
    );

    let refused = world.attempt(&["seal", ELECTION], TYPED).expect("it runs");
    let says = refused.err + &refused.out;
    assert!(
        !refused.status.success() && says.contains("nothing was sealed: station 2"),
        "{says}"
    );
    assert!(
        says.contains("cast 3 ballots in box 1 for 2 signatures"),
        "{says}"
    );
    let altered = root.path().join("altered");
    let text = std::fs::read_to_string(root.path().join(&two)).expect("a statement");
    std::fs::write(&altered, text.replace("signed_in = 2", "signed_in = 3")).expect("written");
    let altered = altered.to_string_lossy();
    let refused = world
        .attempt(&["sign-ins", ELECTION, &altered], "")
        .expect("it runs");
    assert!(
        refused.err.contains("the signature is not that of station 2"),
        "{}",
        refused.err
    );

    // The commission revokes the station from the middle of the day on: by the manifest the vote of before is out too, and the box is sealed.
    let reason = "The sheet of the market station is torn.";
    let change = ["revoke-station", "--station", "2", "--from", &from];
    let words = [&["order", ELECTION, "--reason", reason][..], &change].concat();
    world.coordinator(&words, TYPED).expect("an order");
    let shown = world.countersign().expect("countersigned");
    assert_eq!(
        shown.matches(&format!("on; by the manifest {none}.")).count(),
        3,
        "{shown}"
    );
    world
        .coordinator(&["complete", ELECTION], TYPED)
        .expect("in force");
    let sealed = world.coordinator(&["seal", ELECTION], TYPED).expect("sealed");
    for said in [
        "10 ballots received online, 1 at stations, 0 on paper; 3 excluded",
        "excluded 3: ballot.station-revoked",
    ] {
        assert!(sealed.contains(said), "{said}\n{sealed}");
    }
    for command in ["tally", "bundle"] {
        world.coordinator(&[command, ELECTION], TYPED).expect(command);
    }
    let bundle = std::fs::read(world.bundle_file().expect("a bundle")).expect("readable");
    let result = published::read(&bundle, &world.plan.roll).expect("a result");
    // Ten voted online, and the one who did at station 1 too did so for the other option. What the three had cast before stands again.
    let mut done = crowd.done().to_vec();
    done.push(Done {
        cast: Cast {
            way: Way::Station(1),
            choice: 2,
            ..online(0)
        },
        cast_at_s: u64::MAX,
        digest: [0; 32],
        name: String::new(),
        sequence: 1,
    });
    assert_eq!(result[0].count, recount(1, &world.plan.roll, 2, &done));
    assert_eq!(result[0].count.totals, [9, 1]);
}
