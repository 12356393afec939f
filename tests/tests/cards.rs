//! Whole elections of people who enrol with identity cards, on real processes: a closed roll and an open one. They enrol by PKCS#12 files and by
//! SoftHSM tokens with the real command, vote, vote again, vote at a station; some enrol again; then seal, tally, bundle, offline verification and
//! three audits. The totals are those of a recount in the clear.

#[path = "cards/carried.rs"]
mod carried;
#[path = "cards/commission.rs"]
mod commission;
#[path = "cards/leaves.rs"]
mod leaves;
#[path = "cards/letters.rs"]
mod letters;
#[path = "cards/register.rs"]
mod register;
#[path = "cards/scene.rs"]
mod scene;
mod soft_hsm;
#[path = "cards/tickets.rs"]
mod tickets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use scene::{OPTIONS, PEOPLE, Scene, cast, name_on_roll, next_second, now_s, plan, succeeded, tokens};
use soft_hsm::{PASSWORD, PIN, pkcs12};
use tally_client::read_invitation;
use tally_proto::fixture::cards::{self, CardKey, CardShape, DAY, REGISTER, called};
use tally_tests::crowd::Crowd;
use tally_tests::process::Said;
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::Plan;
use tally_tests::{published, utc};

/// Everything but what the two rolls differ in. `invitations` by person; `dead`: a number of the roll that nobody has; `struck`: the person whose
/// online votes an order strikes.
async fn vote_and_tally(
    mut scene: Scene,
    people: BTreeMap<u32, (Place, String)>,
    old: &str,
    dead: Option<u32>,
    struck: (u32, &str),
) {
    let election = scene.election().to_owned();
    let manifest = std::fs::read(scene.manifest()).expect("readable");
    let v: BTreeMap<u32, u32> = people
        .iter()
        .map(|(person, (place, _))| (*person, place.v))
        .collect();
    let invitations: BTreeMap<Place, String> = people.values().cloned().collect();
    assert_eq!(
        invitations.len(),
        PEOPLE as usize,
        "everybody has a place of their own"
    );
    let mut rng = StdRng::seed_from_u64(5);
    let stations = scene.world.station_dirs();
    let mut crowd = Crowd::new(&manifest, invitations, &stations, &mut rng).expect("a crowd");
    let choice = |person: u32, turn: u32| 1 + (person * 5 + turn) % OPTIONS;
    let online = |people: std::ops::Range<u32>, turn, way| -> Vec<Cast> {
        people
            .map(|person| cast(v[&person], way, choice(person, turn)))
            .collect()
    };
    // All but one vote online, some again, some with a credential handed to somebody who stands behind them.
    for casts in [
        online(0..11, 0, Way::Online),
        online(2..6, 1, Way::Online),
        online(4..8, 2, Way::FalseOnline),
    ] {
        crowd.cast_online(&casts, |_| {}).await.expect("accepted");
    }
    // Two vote at the station too and one on paper; one at the station only. Then one of them online once more.
    let mut at_station = vec![
        cast(v[&0], Way::Station(1), choice(0, 1)),
        cast(v[&1], Way::Station(1), choice(1, 1)),
        cast(v[&2], Way::Paper(1), 0),
        cast(v[&11], Way::Station(1), choice(11, 0)),
    ];
    at_station.extend(dead.map(|v| cast(v, Way::Station(1), 1)));
    crowd
        .vote_at_stations(&at_station, |_| {})
        .await
        .expect("delivered");
    crowd
        .cast_online(&online(0..1, 2, Way::Online), |_| {})
        .await
        .expect("accepted");
    // The credential of before the second enrolment behaves as any, and does not count.
    let voted = scene.world.program.attempt(
        &scene.world.root,
        &[
            "client",
            "vote",
            "--manifest",
            &scene.manifest(),
            "--invitation",
            old,
            "--state",
            "old-device",
            "--choice",
            "Ada",
            "--yes",
            "--give-up-after",
            "30",
            "--now",
        ],
        "",
    );
    succeeded(&voted.expect("it runs"));

    let closed = scene.world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    let typed = format!("{election}\n");
    let strike = [
        "order",
        &election,
        "--reason",
        "A court's decision.",
        "strike",
        "--voter",
        struck.1,
    ];
    scene.world.coordinator(&strike, &typed).expect("an order");
    scene.world.countersign().expect("countersigned");
    scene
        .world
        .coordinator(&["complete", &election], &typed)
        .expect("in force");

    scene.world.seal_without_statements().expect("sealed");
    scene
        .world
        .coordinator(&["tally", &election], &typed)
        .expect("tallied");
    scene
        .world
        .coordinator(&["bundle", &election], "")
        .expect("a bundle");
    let (bundle, manifest) = (scene.world.bundle_file().expect("a bundle"), scene.manifest());
    let bundle_path = bundle.to_string_lossy().into_owned();
    let verify = ["verify-result", &bundle_path, "--manifest", &manifest];
    let said = scene.world.coordinator(&verify, "").expect("verified");
    let voters = PEOPLE + u32::from(dead.is_some());
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(&format!("{PEOPLE} of {voters} voters live")),
        "{said}"
    );

    let counted: Vec<_> = crowd
        .done()
        .iter()
        .filter(|done| {
            Some(done.cast.place.v) != dead
                && (done.cast.place.v != v[&struck.0] || done.cast.way != Way::Online)
        })
        .cloned()
        .collect();
    let expected = recount(1, &Roll { boxes: vec![voters] }, OPTIONS, &counted);
    assert_eq!((expected.online, expected.station), (7, 3));
    // The body of an open roll has no online column.
    let column = Roll {
        boxes: vec![if scene.open { 0 } else { PEOPLE }],
    };
    let bytes = std::fs::read(&bundle).expect("readable");
    let published = published::read(&bytes, &column).expect("a bundle");
    assert_eq!(published[0].count, expected);
    for done in crowd.done() {
        assert!(
            published[0].ballots.contains(&done.digest),
            "an acknowledged ballot is lost"
        );
    }
    // The bundle names nobody.
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(!holds("3800101") && !holds("B1-0000"));
    assert!(
        holds("PNOEE-"),
        "what is searched for would be found: the manifest says how names begin"
    );

    for i in 0..3 {
        scene.world.stop_party(i).expect("stopped");
    }
    let statements = scene.world.audit(1).expect("three audits that find nothing");
    let mut verify = verify.map(str::to_owned).to_vec();
    for statement in &statements {
        verify.extend(["--statement".to_owned(), statement.to_string_lossy().into_owned()]);
    }
    let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
    scene
        .world
        .coordinator(&verify, "")
        .expect("verified with statements");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_roll_by_card() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::new(&directory.path().join("world"), "grounds-closed", false);
    let mut people = BTreeMap::new();
    for person in 0..PEOPLE {
        let out = format!("code-{person}");
        let said = match person {
            0 => scene.enrol_by_token(person, CardKey::Rsa2048, &out),
            1 => scene.enrol_by_token(person, CardKey::P384, &out),
            _ => scene.enrol_by_file(person, &out),
        };
        succeeded(&said);
        let invitation = scene.invitation(&out);
        assert_eq!(invitation.0.v, person, "the place on the roll");
        people.insert(person, invitation);
    }
    next_second().await;
    succeeded(&scene.enrol_by_file(3, "code-3-again"));
    people.insert(3, scene.invitation("code-3-again"));
    let refused = scene.enrol_by_file(PEOPLE, "code-stranger");
    assert!(
        !refused.status.success() && refused.err.contains("not on the roll"),
        "{}",
        refused.err
    );
    let name = name_on_roll(9);
    vote_and_tally(scene, people, "code-3", None, (9, &name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_roll() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    // With tickets: each draws with the draw code that the card stands for.
    let plan = Plan {
        tickets: Some((6, 2)),
        ..plan("grounds-open")
    };
    let mut scene = Scene::set_up(&directory.path().join("world"), plan, true);
    scene.define();
    scene.give_the_commission_lists();
    let election = scene.election().to_owned();
    // They come in another order than that of the roll of the same people.
    let mut people = BTreeMap::new();
    for person in (0..PEOPLE).rev() {
        if person == 5 {
            // Somebody begins while a party is away: a number is given, and nobody is enrolled.
            scene.world.stop_party(2).expect("stopped");
            let said = scene.enrol_by_file(77, "code-77");
            assert!(
                !said.status.success() && said.err.contains("not enrolled"),
                "{}",
                said.err
            );
            scene.world.start_party(2).expect("started");
            // Started is not ready: it first asks the others whether its store is the newest.
            let begun = Instant::now();
            while !scene.enrol_by_file(5, "code-5").status.success() {
                assert!(begun.elapsed() < Duration::from_secs(120), "P3 takes nothing");
                next_second().await;
            }
            people.insert(5, scene.invitation("code-5"));
            continue;
        }
        let out = format!("code-{person}");
        let said = match person {
            0 => scene.enrol_by_token(person, CardKey::Rsa2048, &out),
            _ => scene.enrol_by_file(person, &out),
        };
        succeeded(&said);
        people.insert(person, scene.invitation(&out));
    }
    next_second().await;
    succeeded(&scene.enrol_by_file(3, "code-3-again"));
    let again = scene.invitation("code-3-again");
    assert_eq!(again.0, people[&3].0, "the number of before");
    people.insert(3, again);
    let given: Vec<u32> = people.values().rev().map(|(place, _)| place.v).collect();
    assert_eq!(given, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]);

    let status = scene
        .world
        .attempt(&["status", &election], "")
        .expect("it runs")
        .out;
    assert!(
        status.contains("Open roll of Bay: numbers given P1 13, P2 13, P3 13, of at most 40"),
        "{status}"
    );
    let strike = [
        "order",
        &election,
        "--reason",
        "Too early.",
        "strike",
        "--voter",
        "PNOEE-38001011009",
    ];
    let early = scene.world.attempt(&strike, "grounds-open\n").expect("it runs");
    assert!(
        early.err.contains("run `coordinator open-roll` first"),
        "{}",
        early.err
    );
    let said = scene
        .world
        .coordinator(&["open-roll", &election], "")
        .expect("fetched");
    assert!(
        said.contains("13 voters are on the open roll")
            && said.contains("P3 Data Protection Authority does not have 1 of them")
            && said.contains("(the first: 6)"),
        "{said}"
    );
    let csv = scene
        .world
        .root
        .join("coordinator/elections/grounds-open/open-roll.tsv");
    let roll = std::fs::read_to_string(csv).expect("readable");
    for (person, (place, _)) in &people {
        let line = format!("{}\t{}\t123\n", place.v, called(1, *person));
        assert!(roll.contains(&line), "{line} in {roll}");
    }
    // Its title, three heads, and whom P3 was away for.
    assert!(roll.contains(&format!("6\t{}\t12\n", called(1, 77))), "{roll}");
    assert_eq!(roll.lines().count(), 1 + PEOPLE as usize + 1 + 3);
    let name = called(1, 9);
    vote_and_tally(scene, people, "code-3", Some(6), (9, &name)).await;
}
