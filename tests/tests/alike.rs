//! One voter's true credential and a decoy of it, with the same commands of the real program at real parties, from before the opening until the
//! result is published: what the parties are asked by name and length, what they answer, what the voter reads, which files lie on the device
//! and how the program ends are the same at every step. What counts is the true one's. The true one came by letter, or the voter's card enrolled it.

mod by_card;
mod scene;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use scene::{Said, Scene};
use tally_proto::disclosure::CHECK_PREFIX;
use tally_tests::crowd::Crowd;
use tally_tests::published;
use tally_tests::script::{Cast, Place, Way};

const ELECTION: &str = "quay-2027";
const TYPED: &str = "quay-2027\n";
const VOTERS: u32 = 12;
/// Whose credential it is; nobody else casts for this voter.
const VOTER: u32 = 4;
const OWN: Place = Place { box_id: 1, v: VOTER };
/// The true one's directory and the decoy's.
const DEVICES: [&str; 2] = ["true", "decoy"];
/// The file with the code, in each.
const CODE: &str = "code";

/// The check code that `vote` showed.
fn check_code(said: &Said) -> &str {
    let code = said.err.lines().find(|line| line.starts_with(CHECK_PREFIX));
    code.expect("a check code")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoy_is_like_the_true_credential_before_during_and_after() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let root = tempfile::tempdir().expect("a directory");
    let (scene, opens) = Scene::new(&root.path().join("world"), Duration::from_secs(60), |world| {
        world.define().expect("the election is in force");
    });
    let mut invitations = scene.begin();
    let code = invitations.remove(&OWN).expect("the voter's");
    for device in DEVICES {
        std::fs::write(scene.home(device).join(CODE), &code).expect("written");
    }
    let (exit, made) = scene.client("true", &["decoy", "--invitation", CODE], "");
    assert_eq!(exit, Some(0), "{}", made.err);
    std::fs::write(scene.home("decoy").join(CODE), made.out.trim()).expect("written");
    play(&scene, opens, invitations).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoy_is_like_what_a_card_enrolled_before_during_and_after() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let root = tempfile::tempdir().expect("a directory");
    let mut cards = None;
    let (scene, opens) = Scene::new(&root.path().join("world"), Duration::from_secs(90), |world| {
        cards = Some(by_card::define(world));
    });
    let mut invitations = scene.begin();
    // A letter came as well; what the card enrols replaces what is in it.
    invitations.remove(&OWN).expect("the voter's");
    by_card::enrol(&scene, &mut cards.expect("defined"));
    play(&scene, opens, invitations).await;
}

impl Scene {
    /// Letters are written, and there are two homes with a manifest.
    fn begin(&self) -> BTreeMap<Place, String> {
        let invitations = self.world.issue().expect("invitations");
        let manifest = self.world.manifest_file().expect("a manifest");
        for device in DEVICES {
            let home = self.home(device);
            std::fs::create_dir_all(&home).expect("a directory");
            std::fs::copy(&manifest, home.join("manifest")).expect("copied");
        }
        invitations
    }
}

/// From before the opening until the result is published; `invitations` are the other voters'.
async fn play(scene: &Scene, opens: SystemTime, invitations: BTreeMap<Place, String>) {
    let world = &scene.world;
    let codes = DEVICES.map(|device| scene::read_unmarked(&scene.home(device).join(CODE)));
    assert_ne!(codes[0], codes[1]);

    let vote = ["vote", "--manifest", "manifest", "--invitation", CODE, "--yes"];
    let cast = |choice| [&vote[..], &["--choice", choice, "--give-up-after", "0"]].concat();
    scene.alike("before the opening", 4, &cast("Ada"));
    assert!(
        SystemTime::now() < opens,
        "this machine is too slow for this test"
    );
    if let Ok(left) = opens.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }

    // Others vote too.
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let nowhere = BTreeMap::<u32, PathBuf>::new();
    let mut rng = StdRng::seed_from_u64(3);
    let mut crowd = Crowd::new(&manifest, invitations, &nowhere, &mut rng).expect("a crowd");
    let others: Vec<Cast> = (0..VOTERS)
        .filter(|v| *v != VOTER)
        .map(|v| Cast {
            device: v,
            place: Place { box_id: 1, v },
            way: Way::Online,
            choice: 1,
        })
        .collect();
    crowd.cast_online(&others, |_| {}).await.expect("accepted");

    let more = [
        "--give-up-after",
        "60",
        "--wait-for-third",
        "60",
        "--wait-for-logs",
        "60",
    ];
    let shows = ["--show-name", "--second-device", "--keep-receipt"];
    let fully = |choice| [&vote[..], &["--choice", choice], &more, &shows].concat();
    let first = scene.alike("the first vote", 0, &fully("Ada"));
    let second = scene.alike("the second vote", 0, &fully("Cleo"));
    let checks = |step: &str| {
        for (of, said) in [("first", &first), ("second", &second)] {
            for (device, said) in DEVICES.iter().zip(said) {
                std::fs::write(scene.home(device).join("check-code"), check_code(said)).expect("written");
            }
            let words = ["check", "--manifest", "manifest", "--code", "check-code"];
            let words = [&words[..], &["--patience", "60"]].concat();
            let said = scene.alike(&format!("{step}: check of the {of}"), 0, &words);
            assert!(said[0].out.contains("in its log"), "{}", said[0].out);
            let sealed = said[0].out.contains("It is on the sealed list");
            assert_eq!(sealed, step != "while open", "{}", said[0].out);
        }
    };
    let inspects = |exit, step: &str| {
        let words = ["inspect", "--manifest", "manifest", "--code", "check-code"];
        scene.alike(step, exit, &words)
    };
    checks("while open");
    let inspected = inspects(0, "inspected");
    assert!(
        inspected[1].out.contains("Cleo"),
        "the decoy's ballot: {}",
        inspected[1].out
    );

    let closed = world.close("Everybody has voted.").expect("closed");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    scene.alike("after the close", 4, &cast("Ben"));
    world.coordinator(&["seal", ELECTION], TYPED).expect("sealed");
    checks("after the seal");
    scene.alike("a vote after the seal", 4, &cast("Ben"));
    world.coordinator(&["tally", ELECTION], TYPED).expect("tallied");
    world.coordinator(&["bundle", ELECTION], "").expect("a bundle");
    checks("after the result");
    scene.alike("a vote after the result", 4, &cast("Ben"));

    // Four ballots were accepted for this voter; one counts, the true one's last.
    let bundle = std::fs::read(world.bundle_file().expect("a bundle")).expect("readable");
    let result = published::read(&bundle, &world.plan.roll).expect("a result");
    assert_eq!(result[0].count.totals, [11, 0, 1]);
    assert_eq!(result[0].ballots.len(), 11 + 4);
}
