//! A device that shows one choice and casts another, at parties that are real processes: the second device, by the command that a voter types,
//! shows what was cast, and exposes whatever is made up.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use rand::{SeedableRng as _, rngs::StdRng};
use tally_client::Election;
use tally_mpc::layout::Choice;
use tally_proto::connect;
use tally_proto::disclosure::Disclosure;
use tally_proto::ids::{Digest, Role, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::shares::{Opening, split_ballot};
use tally_tests::process::{Program, Said};
use tally_tests::script::Roll;
use tally_tests::utc;
use tally_tests::world::{Plan, World};
use zeroize::Zeroizing;

use crate::by_hand::{cast, made};

const ADA: u32 = 1;
const BEN: u32 = 2;

/// An election that is open, at three running parties.
fn open(root: &Path) -> World {
    let now = SystemTime::now();
    let plan = Plan {
        election: "mole-2027".to_owned(),
        title: "Keeper of the mole".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Mole".to_owned()],
        roll: Roll { boxes: vec![12] },
        stations: 0,
        tickets: None,
        opens: utc::second(now - Duration::from_secs(60)),
        closes: utc::second(now + Duration::from_secs(24 * 3600)),
    };
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let mut world = World::set_up(root, program, plan).expect("a world");
    world.start().expect("started");
    world.define().expect("in force");
    world
}

/// The same openings, with one share changed so that all three add up to another choice.
fn bent(openings: &[Opening; 3], j: Role, change: &[u8]) -> [Opening; 3] {
    Role::ALL.map(|of| {
        let opening = &openings[of.slot()];
        let mut share = Zeroizing::new(opening.share().to_vec());
        if of == j {
            assert_eq!(share.len(), change.len());
            share
                .iter_mut()
                .zip(change)
                .for_each(|(byte, change)| *byte ^= change);
        }
        Opening::from_parts(Zeroizing::new(*opening.nonce()), share)
    })
}

/// It names the ballot's commitment that is not opened, says what to do, and shows no choice.
fn convicts(said: &Said, j: Role) {
    assert_eq!(said.status.code(), Some(7), "{said:?}");
    let words = [
        format!("(commitment c_{})", j.index()),
        "the device that made it shows something else than it cast".to_owned(),
        "Cast again on another device or at a polling station, and tell the election commission".to_owned(),
        format!("({})", Reason::CheckCodeMismatch.code()),
    ];
    for part in words {
        assert!(said.err.contains(&part), "{part}: {}", said.err);
    }
    shows_nothing(said);
}

/// So many parties show the ballot, which is too few: it was not cast as it should be.
fn is_not_held(said: &Said, held: &str) {
    assert_eq!(said.status.code(), Some(5), "{said:?}");
    let words = [
        held.to_owned(),
        "it did not cast what it shows".to_owned(),
        format!("({})", Reason::BallotNotHeld.code()),
    ];
    for part in words {
        assert!(said.err.contains(&part), "{part}: {}", said.err);
    }
    shows_nothing(said);
}

fn shows_nothing(said: &Said) {
    assert_eq!(said.out, "");
    for name in ["Ada", "Ben", "Cleo"] {
        assert!(!said.err.contains(name), "{}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_shows_ada_and_casts_ben_is_exposed_by_the_second_device() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    connect::install_tls_provider();
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("world");
    let world = open(&root);
    let manifest = world.manifest_file().expect("a manifest");
    let election = Election::from_bytes(&std::fs::read(&manifest).expect("readable")).expect("a manifest");
    let manifest = manifest.to_string_lossy();
    let of_box = &election.manifest().boxes()[0];
    let code = |digest: Digest, openings: &[Opening; 3]| {
        let made = Disclosure::of(&election.manifest_hash(), of_box, digest, openings);
        made.to_text()
    };
    let inspect = |code: &str| {
        std::fs::write(root.join("check-code"), code).expect("written");
        let words = [
            "client",
            "inspect",
            "--manifest",
            &manifest,
            "--code",
            "check-code",
        ];
        world.program.attempt(&root, &words, "").expect("it runs")
    };

    // The voter chose Ada, and the device's screen says so. It casts Ben.
    let mut rng = StdRng::seed_from_u64(11);
    let credential: u64 = rng.random();
    let packed = |choice| {
        let choices = [Choice::Options(vec![choice])];
        let packed = of_box.layout().pack(2, credential, &choices);
        packed.expect("packed")
    };
    let (ada, ben) = (packed(ADA), packed(BEN));
    let (header, openings) = made(&election, &ben, &mut rng);
    cast(&election, (&header, &openings), &Role::ALL, &mut rng).await;

    // With the true code of what it cast the other device shows Ben.
    let said = inspect(&code(header.digest(), &openings));
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    assert!(
        said.out.contains("Ben") && !said.out.contains("Ada"),
        "{}",
        said.out
    );

    // With a code for Ada over the ballot that it cast it is convicted: made afresh, or of the true shares with one of them bent.
    let fresh = split_ballot(of_box.layout(), &ada, &mut rng).expect("split");
    convicts(&inspect(&code(header.digest(), &fresh)), Role::P1);
    let change: Vec<u8> = ada
        .iter()
        .zip(ben.iter())
        .map(|(one, other)| one ^ other)
        .collect();
    assert!(change.iter().any(|byte| *byte != 0));
    for j in Role::ALL {
        let made_up = bent(&openings, j, &change);
        convicts(&inspect(&code(header.digest(), &made_up)), j);
    }

    // With a true code for a ballot for Ada that it never cast, or cast at one party only, it shows nothing either.
    let (never, of_never) = made(&election, &ada, &mut rng);
    is_not_held(
        &inspect(&code(never.digest(), &of_never)),
        "no party shows such a ballot",
    );
    for role in Role::ALL {
        let (alone, of_alone) = made(&election, &ada, &mut rng);
        cast(&election, (&alone, &of_alone), &[role], &mut rng).await;
        let held = format!("{role} alone shows such a ballot");
        is_not_held(&inspect(&code(alone.digest(), &of_alone)), &held);
    }
    // After all of this the true one is shown as before.
    assert_eq!(inspect(&code(header.digest(), &openings)).out, said.out);
}
