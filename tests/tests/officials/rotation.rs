//! A new HPKE key between elections: refused while one is open; what is sealed is tallied without the old key; the next election's ballots are
//! sealed to the new one; and a machine that is lost in the midst of it gets both elections back, though the manifest of the first names the old key.

use tally_proto::identity::PartyIdentity;

use super::*;

/// The kit that the machine was restored from, and the one that goes with the new key.
const KITS: [&str; 2] = ["party-2b.kit", "party-2c.kit"];
const SECOND: &str = "lighthouse-2028";

fn own(world: &World) -> PartyIdentity {
    keys::own_identity(&config(world)).expect("an identity")
}

/// `party rotate-hpke` by two officials: what it said, or why nothing was changed.
fn rotate(world: &World) -> Result<String, String> {
    rotate_with(world, KITS)
}

fn rotate_with(world: &World, [kit, new_kit]: [&str; 2]) -> Result<String, String> {
    let (two, three) = (sheet(2), sheet(3));
    let words = [
        "party",
        "rotate-hpke",
        "--config",
        CONFIG,
        "--kit",
        kit,
        "--new-kit",
        new_kit,
        "--share-file",
        &two,
        "--share-file",
        &three,
    ];
    let said = world.program.attempt(&world.root, &words, "").expect("it runs");
    if said.status.success() {
        Ok(said.out)
    } else {
        Err(said.err)
    }
}

/// While it runs, and while ballots are sealed to the key, nothing is changed; afterwards it goes on as before.
pub(super) async fn is_refused_while_open(world: &mut World) {
    let key_file = world.root.join("party-2/keys/sealed.keys");
    let read = || std::fs::read(&key_file).expect("readable");
    let before = (own(world), read());
    let refused = rotate(world).expect_err("the server runs");
    assert!(refused.contains("stop the party's server first"), "{refused}");
    world.stop_party(PARTY).expect("stopped");
    let refused = rotate(world).expect_err("voting goes on");
    let why = format!(
        "the HPKE key stays: election {ELECTION}, box 1 is not sealed, and its ballots are sealed to this key"
    );
    assert!(refused.contains(&why), "{refused}");
    assert!((own(world), read()) == before);
    assert!(!world.root.join(KITS[1]).exists());
    world.start_party(PARTY).expect("started again");
    await_unlocked(world).await;
    await_open(world).await;
}

/// Between Seal and tally: another key, the same shares of the officials.
pub(super) async fn after_the_seal(world: &mut World, keeper: Server) -> Server {
    let before = own(world);
    world.stop_party(PARTY).expect("stopped");
    let said = rotate(world).expect("every box is sealed");
    let after = own(world);
    assert!(after.sealing_key() != before.sealing_key());
    assert!(after.signing_key() == before.signing_key());
    for part in [
        "the old one is erased here",
        after.fingerprint().as_str(),
        "The new recovery kit is party-2c.kit",
    ] {
        assert!(said.contains(part), "{said}");
    }
    no_secret_lies_open(&world.root.join("party-2"));
    // The machine boots: the officials come with the sheets that they have.
    keeper.kill();
    world.start_party(PARTY).expect("started, locked");
    let keeper = hold_keys(world).await;
    unseal(world, 1);
    assert!(unseal(world, 3).contains("Unlocked"));
    await_unlocked(world).await;
    keeper
}

/// The machine with the new key is lost. Of what the others give back one election names the old key.
async fn is_lost(world: &mut World, keeper: Server) -> Server {
    let identity = own(world);
    world.kill_party(PARTY);
    keeper.kill();
    std::fs::remove_dir_all(world.root.join("party-2")).expect("gone");
    world.boot_machine(PARTY).expect("another machine");
    let (one, two) = (sheet(1), sheet(2));
    let words = [
        "party",
        "restore",
        "--kit",
        KITS[1],
        "--dir",
        "party-2",
        "--share-file",
        &one,
        "--share-file",
        &two,
    ];
    world.run(&words, "").expect("restored");
    assert!(own(world) == identity, "the new kit has the new key");
    // It has none of its elections back, so it says nothing of them; the ballots of one that is open are sealed to this key.
    let refused = rotate_with(world, [KITS[1], "party-2d.kit"]).expect_err("it cannot know");
    assert!(
        refused.contains("its store was not compared with P1 and P3 in the last hour"),
        "{refused}"
    );
    assert!(own(world) == identity && !world.root.join("party-2d.kit").exists());
    world.exchange_identities().expect("handed over again");
    world.start_party(PARTY).expect("started, locked");
    let keeper = hold_keys(world).await;
    unseal(world, 2);
    assert!(unseal(world, 3).contains("Unlocked"));
    await_unlocked(world).await;
    await_that("it has both elections and their logs", async || {
        let elections = status(world).await.map(|status| status.elections);
        elections.is_some_and(|all| {
            all.len() == 2
                && all
                    .iter()
                    .all(|of| of.intake_trouble.is_empty() && of.log_size > 0)
        })
    })
    .await;
    await_that("nothing is left to take over", async || {
        detail_of(&asked(world).1, "election.not-taken-over").is_none()
    })
    .await;
    keeper
}

/// An election of the new key, from its definition to its result.
pub(super) async fn next_election(world: &mut World, keeper: Server) {
    // The two others read the new file when they start.
    world.exchange_identities().expect("handed over");
    let typed = format!("{SECOND}\n");
    world.plan = Plan {
        election: SECOND.to_owned(),
        ..plan(SystemTime::now())
    };
    // Who has not read the new identity takes no manifest that names it.
    let refused = world.define().expect_err("another identity of P2").to_string();
    assert!(refused.contains("manifest.identity"), "{refused}");
    for i in (0..3).filter(|i| *i != PARTY) {
        world.stop_party(i).expect("stopped");
        world.start_party(i).expect("started again");
    }
    world
        .coordinator(&["publish", SECOND], &typed)
        .expect("published");
    world.countersign().expect("countersigned");
    world
        .coordinator(&["complete", SECOND], &typed)
        .expect("in force");
    std::fs::remove_file(world.root.join("invitations.csv")).expect("posted long ago");
    let invitations = world.issue().expect("credentials are issued");

    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let mut rng = StdRng::seed_from_u64(2);
    let nowhere: BTreeMap<u32, PathBuf> = BTreeMap::new();
    let mut crowd = Crowd::new(&manifest, invitations, &nowhere, &mut rng).expect("a crowd");
    assert!(crowd.election().party(ROLE).sealing_key() == own(world).sealing_key());
    crowd
        .cast_online(&casts(0..VOTERS, 3), |_| {})
        .await
        .expect("accepted");
    // Two parties are enough for a voter; this one opens its part of every ballot itself. What nobody has followed needs its operator's word.
    await_mirrored(world, SECOND).await;

    let _keeper = is_lost(world, keeper).await;

    let closed = world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    world.coordinator(&["seal", SECOND], &typed).expect("sealed");
    let tallied = world.coordinator(&["tally", SECOND], &typed).expect("tallied");
    assert!(
        tallied.contains("the result is signed by P1, P2, P3"),
        "{tallied}"
    );
    published_and_right(world, &crowd, VOTERS as usize);
}
