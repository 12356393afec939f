//! The true code is what the voter's card enrolled, and the decoy is one of it: both as the real commands leave them in files.

use std::time::{Duration, SystemTime};

use tally_proto::fixture::cards::{CardKey, CardShape, Cards, REGISTER, called};
use tally_tests::utc;
use tally_tests::world::World;

use super::scene::Scene;
use super::{CODE, DEVICES, VOTER};
use crate::card_file::{PASSWORD, pkcs12};
use crate::register::{agree, enrolment, now_s};

/// An election in which everybody is invited and may enrol by card, from now on.
pub(super) fn define(world: &World) -> Cards {
    let cards = Cards::new(now_s());
    agree(world, &cards, &[], REGISTER);
    let opens = utc::second(SystemTime::now() - Duration::from_secs(60));
    let table = enrolment(REGISTER, &opens, &world.plan.closes);
    let with_people = |roll: String| -> String {
        let mut lines = roll.lines();
        let title = lines.next().expect("a title");
        let people = lines
            .zip(0..)
            .map(|(line, v)| format!("{line},{}\n", called(1, v)));
        people.fold(format!("{title},person\n"), |text, line| text + &line)
    };
    world
        .define_edited(|toml, roll| (toml + &table, with_people(roll)))
        .expect("the election is in force");
    cards
}

/// `client enrol` and `client decoy` write on the voter's device; the decoy's file then goes to the other one as it is.
pub(super) fn enrol(scene: &Scene, cards: &mut Cards) {
    let [own, other] = DEVICES;
    let card = cards.card(&CardShape::of(&called(1, VOTER), CardKey::P256, now_s()));
    let card = pkcs12(&scene.world.root, &cards.issuing, &card);
    let card = card.to_string_lossy();
    let with_card = [
        "enrol",
        "--manifest",
        "manifest",
        "--pkcs12",
        &card,
        "--out",
        CODE,
    ];
    let (exit, said) = scene.client(own, &with_card, &format!("{PASSWORD}\n"));
    assert_eq!(exit, Some(0), "{}{}", said.out, said.err);
    let to = scene.home(other).join(CODE);
    // What a shell makes of a decoy that is printed is another file.
    let (exit, printed) = scene.client(own, &["decoy", "--invitation", CODE], "");
    assert_eq!(exit, Some(0), "{}", printed.err);
    std::fs::write(&to, printed.out).expect("written");
    assert_ne!(
        scene.files(own),
        scene.files(other),
        "differences of files are seen"
    );
    let decoy = ["decoy", "--invitation", CODE, "--out", "decoys-code"];
    let (exit, said) = scene.client(own, &decoy, "");
    assert_eq!(exit, Some(0), "{}", said.err);
    std::fs::rename(scene.home(own).join("decoys-code"), to).expect("moved");
    let [own, other] = DEVICES.map(|device| scene.files(device));
    assert_eq!(own, other, "what the two commands left");
    assert!(own[CODE].tells_no_moment(), "{own:?}");
}
