//! Orders of correction on real processes: after the close and before the seal single voters' online votes are struck and restored, and
//! nothing that anybody is shown or that is published tells whether there were any.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::wire;
use tally_tests::crowd::Crowd;
use tally_tests::process::Program;
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

const ELECTION: &str = "harbour-2027";
const TYPED: &str = "harbour-2027\n";
const OPTIONS: u32 = 3;

fn plan() -> Plan {
    let now = SystemTime::now();
    Plan {
        election: ELECTION.to_owned(),
        title: "Harbour board 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: ["East quay", "West quay"].map(str::to_owned).to_vec(),
        roll: Roll { boxes: vec![12, 12] },
        stations: 2,
        tickets: None,
        opens: utc::second(now - Duration::from_secs(60)),
        closes: utc::second(now + Duration::from_secs(24 * 3600)),
    }
}

fn cast(box_id: u32, v: u32, way: Way) -> Cast {
    Cast {
        device: match way {
            Way::Station(id) => 9_000 + id,
            _ => box_id * 100 + v,
        },
        place: Place { box_id, v },
        way,
        choice: 1 + (box_id + v) % OPTIONS,
    }
}

/// Proposes an order and has it countersigned by everybody; what the commission and the first operator are shown.
fn order(world: &World, change: &str, reference: &str) -> (String, String) {
    let words = [
        "order",
        ELECTION,
        "--reason",
        "As the commission decided today.",
        change,
        "--voter",
        reference,
    ];
    let said = world.attempt(&words, TYPED).expect("the command runs");
    assert!(said.status.success(), "{said:?}");
    let proposed = said.err + &said.out;
    let countersign = ["party", "countersign", "--config", "party-1/party.toml"];
    let shown = world.run(&countersign, TYPED).expect("countersigned");
    world.countersign().expect("countersigned by the others");
    world
        .coordinator(&["complete", ELECTION], TYPED)
        .expect("in force");
    (proposed, shown)
}

fn refused(world: &World, change: &str, reference: &str) -> String {
    let words = [
        "order",
        ELECTION,
        "--reason",
        "Once more.",
        change,
        "--voter",
        reference,
    ];
    let said = world.attempt(&words, TYPED).expect("the command runs");
    assert!(!said.status.success(), "{said:?}");
    said.err
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voters_online_votes_are_struck_and_restored_and_nobody_learns_of_them() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    tally_proto::connect::install_tls_provider();
    let root = tempfile::tempdir().expect("a directory");
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let mut world = World::set_up(root.path(), program, plan()).expect("set up");
    world.start().expect("servers");
    world.define().expect("in force");
    let invitations = world.issue().expect("invitations");
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let mut rng = StdRng::seed_from_u64(7);
    let mut crowd = Crowd::new(&manifest, invitations, &world.station_dirs(), &mut rng).expect("a crowd");

    // As many ballots in both boxes, but the first voter of the east votes and the first of the west does not.
    let online = (0..10)
        .map(|v| cast(1, v, Way::Online))
        .chain((1..11).map(|v| cast(2, v, Way::Online)));
    crowd
        .cast_online(&online.collect::<Vec<_>>(), |_| ())
        .await
        .expect("cast");
    let at_station: Vec<Cast> = [1, 2]
        .map(|box_id| cast(box_id, 1, Way::Station(box_id)))
        .to_vec();
    crowd.vote_at_stations(&at_station, |_| ()).await.expect("cast");

    let closed = world.close("Everybody has voted.").expect("closed");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    let has_voted = order(&world, "strike", "B1-000001");
    let has_not = order(&world, "strike", "B2-000001");
    order(&world, "strike", "B1-000002");
    order(&world, "strike", "B1-000003");
    order(&world, "restore", "B1-000003");

    // People read what they sign, in words; and the same words, voted or not.
    for text in [&has_voted.0, &has_voted.1] {
        assert!(
            text.contains(
                "voter 0 of box 1: no online vote counts, cast before or after; a vote at a station does"
            ),
            "{text}"
        );
    }
    assert!(
        has_voted.1.contains("the roll calls this voter \"B1-000001\""),
        "{}",
        has_voted.1
    );
    let plain = |text: &str| -> Vec<String> {
        // What differs by itself: the order's number and hash, and the name of box and voter.
        let said = text
            .lines()
            .filter(|line| !line.contains("hash ") && !line.contains("over the phone"));
        let same = |line: &str| line.replace("Order 5", "Order 4").replace("rder 5", "rder 4");
        said.map(|line| same(line).replace("box 2", "box 1").replace("B2-", "B1-"))
            .collect()
    };
    assert_eq!(plain(&has_voted.0), plain(&has_not.0));
    assert_eq!(plain(&has_voted.1), plain(&has_not.1));

    // What cannot be is refused by name.
    assert!(refused(&world, "strike", "B1-000001").contains("are struck already"));
    assert!(refused(&world, "restore", "B1-000003").contains("count already"));
    assert!(refused(&world, "strike", "B9-000001").contains("voter.unknown"));

    world.seal_without_statements().expect("sealed");
    let late = refused(&world, "strike", "B1-000005");
    assert!(
        late.contains("seal.already") && late.contains("comes too late"),
        "{late}"
    );
    checked_alike(&world, &crowd);
    world.coordinator(&["tally", ELECTION], TYPED).expect("tallied");
    world.coordinator(&["bundle", ELECTION], "").expect("a bundle");
    let bundle = world.bundle_file().expect("a bundle");
    let of_bundle = |words: &[&str]| {
        let manifest = world.manifest_file().expect("a manifest");
        let (bundle, manifest) = (bundle.to_string_lossy(), manifest.to_string_lossy());
        let words: Vec<&str> = words
            .iter()
            .copied()
            .chain([&*bundle, "--manifest", &manifest])
            .collect();
        world.coordinator(&words, "").expect("it holds")
    };
    // Their number is published: five corrections among eight orders, the others closed the three channels.
    let checks = of_bundle(&["verify-result"]);
    let unwrapped: String = checks
        .split_whitespace()
        .filter(|word| *word != "│" && *word != "|")
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        unwrapped.contains("8, each signed by all four; 5 of them correct one voter"),
        "{checks}"
    );
    let report = of_bundle(&["report"]);
    assert!(
        report.contains("Orders of correction: 5, each of one voter"),
        "{report}"
    );

    // The result is the recount without the struck online votes; the station's vote of a struck voter stays.
    let bytes = std::fs::read(&bundle).expect("readable");
    let struck = [
        Place { box_id: 1, v: 0 },
        Place { box_id: 1, v: 1 },
        Place { box_id: 2, v: 0 },
    ];
    let stands = |done: &&Done| done.cast.way != Way::Online || !struck.contains(&done.cast.place);
    let standing: Vec<Done> = crowd.done().iter().filter(stands).cloned().collect();
    for of_box in published::read(&bytes, &world.plan.roll).expect("a bundle") {
        let expected = recount(of_box.box_id, &world.plan.roll, OPTIONS, &standing);
        assert_eq!(of_box.count, expected, "box {}", of_box.box_id);
        assert_ne!(
            of_box.count.online, 10,
            "a strike or a station's vote takes one away in each box"
        );
        assert_eq!(of_box.count.station, 1);
    }
    same_in_size_and_form(&bytes);
}

/// Who kept the name of a ballot finds it on the sealed list, struck or not, and is told the same, word for word.
fn checked_alike(world: &World, crowd: &Crowd) {
    let manifest = world.manifest_file().expect("a manifest");
    let told = |done: &&Done| {
        let words = [
            "client",
            "check",
            "--manifest",
            &manifest.to_string_lossy(),
            "--patience",
            "0",
            &done.name,
        ];
        let text = world.run(&words, "").expect("it is where it should be");
        // The places in the logs, and who has cosigned which by now, are the ballots' own.
        let common = text
            .lines()
            .map(|line| line.split(", at place").next().unwrap_or_default());
        common.collect::<Vec<_>>().join("\n")
    };
    let of_east = crowd
        .done()
        .iter()
        .filter(|done| done.cast.place.box_id == 1 && done.cast.way == Way::Online);
    let texts: Vec<String> = of_east.map(|done| told(&done)).collect();
    assert_eq!(texts.len(), 10);
    assert!(
        texts[0].contains("It is on the sealed list of what is tallied."),
        "{}",
        texts[0]
    );
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
}

/// Box 1, whose struck voter had voted, and box 2, whose struck voter had not.
fn same_in_size_and_form(bundle: &[u8]) {
    let envelope = wire::Envelope::decode(bundle).expect("an envelope");
    let bundle = wire::Bundle::decode(envelope.payload).expect("a bundle");
    let payload = |envelope: &wire::Envelope| envelope.payload.len();
    // The channels' three orders come first. Then the strikes: the same fields set, of the same lengths.
    let strikes: Vec<_> = bundle.orders.iter().skip(3).take(2).collect();
    let order = |envelope: &wire::Envelope| wire::Order::decode(envelope.payload.clone()).expect("an order");
    let [had, had_not] = [order(strikes[0]), order(strikes[1])];
    let Some(wire::order::Change::Correction(of_voter)) = had.change else {
        panic!("no correction: {had:?}")
    };
    let of_other = wire::RollCorrection { r#box: 2, ..of_voter };
    assert_eq!(had_not.change, Some(wire::order::Change::Correction(of_other)));
    assert_eq!(
        (&had.reason, payload(strikes[0])),
        (&had_not.reason, payload(strikes[1]))
    );
    // What is published of the two boxes.
    let [east, west] = &bundle.boxes[..] else {
        panic!("{} boxes", bundle.boxes.len())
    };
    let sizes = |of_box: &wire::BoxBundle| {
        let part = |envelope: &Option<wire::Envelope>| payload(envelope.as_ref().expect("published"));
        let all = |envelopes: &[wire::Envelope]| envelopes.iter().map(payload).collect::<Vec<_>>();
        (
            (part(&of_box.seal), of_box.body.len(), part(&of_box.result)),
            (all(&of_box.lists), all(&of_box.claims), of_box.aborts.len()),
        )
    };
    assert_eq!(sizes(east), sizes(west));
    let seal = |of_box: &wire::BoxBundle| {
        let envelope = of_box.seal.as_ref().expect("sealed");
        wire::Seal::decode(envelope.payload.clone()).expect("a Seal")
    };
    let (east, west) = (seal(east), seal(west));
    assert_eq!(east.order_hashes, west.order_hashes);
    for seal in [east, west] {
        assert_eq!(
            (seal.online, seal.station, seal.exclusions.len()),
            (10, 1, 0),
            "nothing is left out by a strike"
        );
    }
}
