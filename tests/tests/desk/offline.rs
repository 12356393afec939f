//! A station without a network: it takes votes on its own disk until after the close, of which it does not hear, loses power meanwhile, and
//! delivers before the stations' deadline; another one comes too late.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::reason::Reason;
use tally_tests::crowd::Crowd;
use tally_tests::process::Said;
use tally_tests::published;
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Way};
use tally_tests::world::World;

use super::{Desk, ELECTION, TYPED, online, open_market, past};

/// The words that start a process without a network: not even this machine can be reached.
fn offline() -> &'static [&'static str] {
    let ways: [&[&str]; 2] = [&["unshare", "-rn"], &["unshare", "-n"]];
    let works = |words: &&&[&str]| {
        let tried = Command::new(words[0]).args(&words[1..]).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    };
    let way = ways.iter().find(works);
    way.expect("neither this user nor root may start a process without a network: a station that is offline cannot be made here")
}

/// An officer has a voter vote for the second option, without a receipt.
fn rebuilds(desk: &mut Desk, reference: &str) {
    desk.types(&["1", reference, "1", "2", "1", "0"]);
    desk.until("The vote is kept. Officer: go on.");
}

/// The officer closes the station, with so many signatures on the sheet, and goes: all that waits stays on its disk.
fn closes(mut desk: Desk, signatures: u32, waiting: u32) {
    desk.types(&["3", &signatures.to_string(), "1"]);
    desk.until("The station is closed.");
    desk.types(&["0"]);
    desk.until(&format!(
        "{waiting} still wait for delivery. They are safe on this disk"
    ));
    assert!(!desk.leaves(), "nothing is delivered");
}

fn drain(world: &World, station: &str) -> (Said, serde_json::Value) {
    let manifest = world.manifest_file().expect("a manifest");
    let manifest = manifest.to_string_lossy();
    let words = [
        "client",
        "station",
        "drain",
        "--dir",
        station,
        "--manifest",
        &manifest,
    ];
    let words = [&words[..], &["--give-up-after", "10", "--json"]].concat();
    let said = world.program.attempt(&world.root, &words, "").expect("it runs");
    let told = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("no JSON: {said:?}"));
    (said, told)
}

/// What two parties at least say of a ballot that they do not take.
fn refused(told: &serde_json::Value, sequence: u64, reason: Reason) {
    let of = told["refused"].as_array().expect("a list");
    let such = of
        .iter()
        .filter(|of| of["sequence"] == sequence && of["fault"]["reason"] == reason.code());
    assert!(such.count() >= 2, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_station_without_a_network_takes_votes_and_delivers_before_the_deadline() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let root = tempfile::tempdir().expect("a directory");
    let world = open_market(root.path());
    let invitations = world.issue().expect("invitations");
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let mut rng = StdRng::seed_from_u64(9);
    let nobody = BTreeMap::<u32, PathBuf>::new();
    let mut crowd = Crowd::new(&manifest, invitations, &nobody, &mut rng).expect("a crowd");
    let casts: Vec<Cast> = (0..10).map(online).collect();
    crowd.cast_online(&casts, |_| ()).await.expect("cast");

    // One takes two votes, and loses power.
    let began = Instant::now();
    let mut one = Desk::sit_by(&world, "station-1", offline());
    one.until("The parties cannot be reached and never were");
    one.types(&["A. Berg", "1"]);
    rebuilds(&mut one, "B1-000001");
    one.types(&["1", "B1-000002", "2"]);
    one.until("give the voter a paper ballot");
    one.until("Waiting for delivery: 2, 0 of them safe with two parties.");
    one.kill();
    let mut one = Desk::sit_by(&world, "station-1", offline());
    one.until("officer A. Berg. Votes: 1 electronic, 1 paper. Waiting for delivery: 2, 0 of them safe");
    // The other one takes a vote, and closes.
    let mut two = Desk::sit_by(&world, "station-2", offline());
    two.types(&["B. Cohn", "1"]);
    rebuilds(&mut two, "B1-000003");
    closes(two, 1, 1);
    let grace = Duration::from_secs(15) + 4 * began.elapsed();

    // The commission closes earlier than the manifest says. The station does not hear of it, and goes on.
    let (closed, over) = world
        .close_and_receive("The hall is needed.", grace)
        .expect("closed");
    rebuilds(&mut one, "B1-000004");
    past(closed).await;
    rebuilds(&mut one, "B1-000005");
    closes(one, 4, 4);

    // In time: what was cast in time is with all three parties; what was cast after the close nobody takes, and it says so.
    let (said, told) = drain(&world, "station-1");
    assert!(SystemTime::now() < over, "this machine is too slow for this test");
    assert!(!said.status.success(), "{said:?}");
    assert_eq!(
        (&told["delivered"], &told["left"]),
        (&3.into(), &1.into()),
        "{told}"
    );
    refused(&told, 4, Reason::BallotAfterClose);
    past(over).await;
    let (said, told) = drain(&world, "station-2");
    assert!(!said.status.success(), "{said:?}");
    assert_eq!(
        (&told["delivered"], &told["left"]),
        (&0.into(), &1.into()),
        "{told}"
    );
    refused(&told, 1, Reason::BallotAfterClose);

    let statements = [1, 2].map(|id| format!("station-{id}/{ELECTION}.sign-ins"));
    let words = ["sign-ins", ELECTION, &statements[0], &statements[1]];
    world.coordinator(&words, "").expect("statements");
    // Whoever seals is told what is lost before, and what differs after.
    let sealed = world.attempt(&["seal", ELECTION], TYPED).expect("it runs");
    assert_eq!(sealed.status.code(), Some(3), "{sealed:?}");
    let said = sealed.out + &sealed.err;
    for words in [
        "states 4 ballots in box 1, and two parties hold none beyond number 3",
        "states 1 ballots in box 1, and two parties hold none beyond number 0",
        "10 ballots received online, 2 at stations, 1 on paper; 0 excluded",
        "DIFFERS: station 1 states 3 electronic and 1 paper in box 1, the seal holds 2 and 1",
        "DIFFERS: station 2 states 1 electronic and 0 paper in box 1, the seal holds 0 and 0",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    for command in ["tally", "bundle"] {
        world.coordinator(&[command, ELECTION], TYPED).expect(command);
    }
    let bundle = std::fs::read(world.bundle_file().expect("a bundle")).expect("readable");
    let result = published::read(&bundle, &world.plan.roll).expect("a result");
    let at_station = |v: u32, way: Way, sequence: u64| Done {
        cast: Cast {
            device: 9_000,
            place: Place { box_id: 1, v },
            way,
            choice: if way == Way::Paper(1) { 0 } else { 2 },
        },
        cast_at_s: u64::MAX,
        digest: [0; 32],
        name: String::new(),
        sequence,
    };
    let mut done = crowd.done().to_vec();
    done.push(at_station(0, Way::Station(1), 1));
    done.push(at_station(1, Way::Paper(1), 2));
    done.push(at_station(3, Way::Station(1), 3));
    assert_eq!(result[0].count, recount(1, &world.plan.roll, 2, &done));
    // Ten voted online; two of them then at the station for the other option, and one on paper.
    assert_eq!(result[0].count.totals, [7, 2]);
}
