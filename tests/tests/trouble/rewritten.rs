//! A party whose operator rewrites its log between two starts, a party that is behind, and a machine that cannot take an election over: what the
//! operators of one party and of all three see.

use std::path::Path;
use std::time::{Duration, Instant};

use tally_party::store::{Storage, Store, StoreError, log};
use tally_proto::ids::{BoxId, Digest, Hash32, UnixSeconds};
use tally_proto::log::{Accepted, Entry};

use crate::scene::{ELECTION, Scene, await_that, beside_others, read, says};

/// The party whose operator it is.
const PARTY: usize = 2;

/// Appends made-up acceptances to the log in a store.
fn rewrite(store: &Path, entries: u8) {
    let store = Store::open(Storage::File(store.to_owned()), 3).expect("opens");
    let made_up = |i: u8| {
        Entry::Accepted(Accepted {
            record: false,
            of_box: BoxId(1),
            digest: Digest([i; 32]),
            ciphertext_hash: Hash32([i; 32]),
            received_at: UnixSeconds(1),
        })
    };
    let written = store.write(|tx| {
        for i in 0..entries {
            log::append(tx, 1, &made_up(i))?;
        }
        Ok::<_, StoreError>(())
    });
    written.expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_its_operator_rewrote_between_two_starts_raises_the_alarm_at_both_others() {
    let _place = beside_others().await;
    let mut scene = Scene::new(0);
    let store = scene.world.root.join("party-3/data/party.redb");
    let copy = scene.world.root.join("copy.redb");
    scene.vote(0..1).await;
    scene.world.stop_party(PARTY).expect("stopped");
    std::fs::copy(&store, &copy).expect("copied");
    scene.world.start_party(PARTY).expect("started");
    scene.await_accepting(PARTY).await;
    scene.vote(1..2).await;
    for i in 0..PARTY {
        scene.await_followed(i, PARTY).await;
    }

    // As before the last turn, and then other ballots than were acknowledged.
    scene.world.stop_party(PARTY).expect("stopped");
    rewrite(&copy, 40);
    std::fs::copy(&copy, &store).expect("put in its place");
    scene.world.start_party(PARTY).expect("started");
    let about = format!("{ELECTION}, P3");
    for i in 0..PARTY {
        scene
            .await_alarm(
                i,
                ("log.rewritten", &about),
                "two checkpoints that no one log has",
            )
            .await;
        let (said, status) = scene.status(i);
        assert_eq!(said.status.code(), Some(2));
        let logs = status["elections"][0]["peers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let third = logs.iter().find(|log| log["party"] == 3).expect("P3");
        says(third["trouble"].as_str().expect("words"), &["log.rewritten"]);
        let raised = scene
            .journal(i)
            .into_iter()
            .filter(|line| line["alarm"] == "log.rewritten")
            .count();
        assert_eq!(raised, 1, "raised once, however often it is seen");
    }
    let all = scene.world.attempt(&["status", ELECTION], "").expect("it runs");
    assert_eq!(all.status.code(), Some(2), "{all:?}");
    says(&all.out, &["P1 log.rewritten", "P2 log.rewritten"]);
    // It is proved for ever: a restart of the others does not forget, and one of them shows both signed notes.
    scene.world.kill_party(0);
    scene.world.start_party(0).expect("started");
    scene.await_alarm(0, ("log.rewritten", &about), "").await;
    let status = scene.asked(0).await.expect("status");
    let third = status.peers.iter().find(|log| log.party == 3).expect("P3");
    assert_eq!(third.evidence.len(), 2, "{third:?}");
    // Its own server takes nothing with such a store; voting goes on with two.
    let own = scene.asked(PARTY).await.expect("status");
    assert!(!own.intake_trouble.is_empty(), "{own:?}");
    scene.await_accepting(0).await;
    scene.vote(2..3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_is_behind_says_so_until_it_has_caught_up() {
    let _place = beside_others().await;
    let mut scene = Scene::behind(
        0,
        |_, listens| Ok(listens),
        |world| {
            for i in 0..3 {
                world.configure(i, "disk_mib", "0").expect("set");
            }
            // It asks for what is behind an entry only after ten minutes.
            world.configure(PARTY, "grace_ms", "600000").expect("set");
            world.configure(PARTY, "behind_entries", "6").expect("set");
        },
    );
    scene.vote(0..1).await;
    for of in ["P1", "P2"] {
        scene
            .await_alarm(PARTY, ("party.behind", of), "are still to be looked at here")
            .await;
    }
    let all = scene.world.attempt(&["status", ELECTION], "").expect("it runs");
    assert_eq!(all.status.code(), Some(2), "{all:?}");
    says(&all.out, &["P3 party.behind"]);
    scene.world.stop_party(PARTY).expect("stopped");
    scene.world.configure(PARTY, "grace_ms", "0").expect("set");
    scene.world.start_party(PARTY).expect("started");
    for (i, of) in ["P1", "P2"].into_iter().enumerate() {
        scene.await_followed(PARTY, i).await;
        scene.await_no_alarm(PARTY, "party.behind", of).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_that_cannot_be_taken_over_is_one_alarm_and_not_a_line_a_second() {
    let _place = beside_others().await;
    let mut scene = Scene::new(0);
    scene.vote(0..1).await;
    // A machine in the place of a lost one, with the identity file of another commission.
    scene.world.stop_party(PARTY).expect("stopped");
    std::fs::remove_file(scene.world.root.join("party-3/data/party.redb")).expect("lost");
    let other = [
        "coordinator",
        "--dir",
        "other",
        "init",
        "--name",
        "Other",
        "--address",
        "https://127.0.0.1:1",
    ];
    scene.world.run(&other, "").expect("another commission");
    let file = scene.world.root.join("party-3/others/coordinator.identity.toml");
    let right = read(&file);
    let wrong = std::fs::read_dir(scene.world.root.join("other")).expect("its directory");
    let wrong = wrong
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with("identity.toml"))
        .expect("its identity");
    std::fs::copy(wrong, &file).expect("mixed up");
    let from = read(&scene.world.party_log(PARTY)).len();
    scene.world.start_party(PARTY).expect("started");
    for of in ["P1", "P2"] {
        scene
            .await_alarm(PARTY, ("election.not-taken-over", of), ELECTION)
            .await;
    }
    // It tries every second, and does not say it every second.
    let since = Instant::now();
    await_that("it has tried again and again", async || {
        since.elapsed() > Duration::from_secs(6)
    })
    .await;
    let log = read(&scene.world.party_log(PARTY))[from..].to_owned();
    let lines = log
        .lines()
        .filter(|line| line.contains("taken over") || line.contains("take over"))
        .count();
    assert!((1..=2).contains(&lines), "{lines} lines:\n{log}");
    let raised = scene
        .journal(PARTY)
        .into_iter()
        .filter(|line| line["alarm"] == "election.not-taken-over")
        .count();
    assert_eq!(raised, 2, "one for each of the others");
    // With the right file it takes the election over and has nothing to complain about.
    scene.world.stop_party(PARTY).expect("stopped");
    std::fs::write(&file, right).expect("put right");
    scene.world.start_party(PARTY).expect("started");
    await_that("it has the election", async || scene.asked(PARTY).await.is_some()).await;
    for of in ["P1", "P2"] {
        scene.await_no_alarm(PARTY, "election.not-taken-over", of).await;
    }
    scene.await_accepting(PARTY).await;
}
