//! Which revocation lists of cards hold at a party stands in its log: each change once, for the two others and for whoever audits it.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tally_party::journal;
use tally_party::store::sim::SimDisk;
use tally_party::store::{StoreError, log, mirrors};
use tally_proto::audit::{Check, Verdict};
use tally_proto::card::{ListsHeld, RevocationList};
use tally_proto::fixture::cards::DAY;
use tally_proto::fixture::{DRAINED, OPENS, Shape};
use tally_proto::ids::{Hash32, Role, UnixSeconds};
use tally_proto::log::{Entry, Happening, MAX_LISTS, decode_page};
use tally_proto::note::VerifierKey;

use crate::offsets::sealed_box;
use crate::world::three::{ID, Three, open, seal, stopped, submit, until};
use crate::world::{Party, World};

fn with_cards() -> Three {
    Three::with(Shape {
        cards: true,
        ..Shape::default()
    })
}

/// A list of so many cards.
fn list(world: &World, serials: u8) -> Vec<u8> {
    let serials: Vec<_> = (1..=serials).map(|serial| vec![serial]).collect();
    let cards = world.fixture.cards.as_ref().expect("cards");
    cards.revocations(&serials, OPENS - DAY, OPENS + 30 * DAY)
}

/// Puts a file where a party has its lists, in the place of the one before: nobody finds half of it.
fn put(world: &World, role: Role, name: &str, bytes: &[u8]) {
    let of = world.root.path().join(role.to_string());
    fs::create_dir_all(of.join("revocation")).expect("a directory");
    let new = of.join("new.crl");
    fs::write(&new, bytes).expect("written");
    fs::rename(new, of.join("revocation").join(name)).expect("in its place");
}

/// The hash of these lists.
fn hash(world: &World, lists: &[&[u8]]) -> Hash32 {
    let register = world.fixture.manifest.manifest().register().expect("a register");
    let read = |bytes: &&[u8]| RevocationList::read(register, bytes).expect("a list");
    let read: Vec<_> = lists.iter().map(read).collect();
    ListsHeld::of(&read).hash()
}

/// The changes of the lists among these entries.
fn changes(entries: &[u8]) -> Vec<(u32, Hash32)> {
    let entries = decode_page(entries).expect("entries").into_iter();
    let change = |entry| match entry {
        Entry::Event(Happening::Lists(number, hash), _) => Some((number, hash)),
        _ => None,
    };
    entries.filter_map(change).collect()
}

/// Those that a party's own log names.
fn own(party: &Party) -> Vec<(u32, Hash32)> {
    let store = &party.running.party().store;
    let entries = store.read(|tx| log::entries(tx, 1, 0, 4096));
    changes(&entries.expect("read"))
}

/// Those in the log of `of` as this party has mirrored it.
fn mirrored(by: &Party, of: Role) -> Vec<(u32, Hash32)> {
    let store = &by.running.party().store;
    let entries = store.read(|tx| {
        let mut entries = Vec::new();
        let size = mirrors::state(tx, 1, of)?.size();
        let mut from = 0;
        while from < size {
            let page = mirrors::page(tx, 1, of, from)?.expect("a page");
            from += decode_page(&page.entries).expect("entries").len() as u64;
            entries.extend(page.entries);
        }
        Ok::<_, StoreError>(entries)
    });
    changes(&entries.expect("read"))
}

/// Long enough for more than one look. That a change is told is waited for; that nothing is told can only be looked at afterwards.
async fn looked() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// What the journal of a party says of the lists.
fn journalled(world: &World, role: Role) -> Vec<Value> {
    let directory = world.config(role).telemetry.journal;
    let mut lines = Vec::new();
    for (_, path) in journal::files(&directory).expect("a journal") {
        let text = fs::read_to_string(path).expect("a file");
        lines.extend(
            text.lines()
                .map(|line| serde_json::from_str(line).expect("a line")),
        );
    }
    lines.retain(|line: &Value| line["event"] == "lists.changed");
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_the_lists_is_told_once_and_the_box_is_sealed_over_it() {
    let mut three = with_cards();
    let lists: Vec<Vec<u8>> = (0..6).map(|serials| list(&three.world, serials)).collect();
    for role in Role::ALL {
        put(&three.world, role, "cards.crl", &lists[0]);
    }
    let [one, two, third] = three.all().await;
    let first = vec![(1, hash(&three.world, &[&lists[0]]))];
    for party in [&one, &two, &third] {
        until("told at the beginning", async || own(party) == first).await;
    }
    // One card more, at P1 alone; the others hear of it, and say nothing of it in their own names.
    let mut told = first.clone();
    put(&three.world, Role::P1, "cards.crl", &lists[1]);
    told.push((2, hash(&three.world, &[&lists[1]])));
    until("told", async || own(&one) == told).await;
    for other in [&two, &third] {
        until("mirrored", async || mirrored(other, Role::P1) == told).await;
    }
    // The same once more, under another name, and what is no list.
    put(&three.world, Role::P1, "cards.crl", &lists[1]);
    put(&three.world, Role::P1, "copy.crl", &lists[1]);
    put(&three.world, Role::P1, "notes.txt", b"fetched at night");
    looked().await;
    assert_eq!(own(&one), told);
    // Two side by side, then a restart.
    put(&three.world, Role::P1, "copy.crl", &lists[2]);
    told.push((3, hash(&three.world, &[&lists[1], &lists[2]])));
    until("told", async || own(&one) == told).await;
    let disk = stopped(one).await;
    let one = three.start(Role::P1, disk).await;
    open(&one).await;
    looked().await;
    assert_eq!(own(&one), told);
    // A new machine, with what the two others have: it counts on from there.
    for other in [&two, &third] {
        until("mirrored", async || mirrored(other, Role::P1) == told).await;
    }
    one.running.stop().await;
    three.world.boot(Role::P1);
    let one = three.start(Role::P1, SimDisk::new()).await;
    until("taken over", async || {
        one.running.party().elections.get(ID).is_ok()
    })
    .await;
    three.world.hold_offset_keys(&one);
    open(&one).await;
    assert_eq!(own(&one), told);
    put(&three.world, Role::P1, "copy.crl", &lists[3]);
    told.push((4, hash(&three.world, &[&lists[1], &lists[3]])));
    until("told", async || own(&one) == told).await;
    for other in [&two, &third] {
        until("mirrored", async || mirrored(other, Role::P1) == told).await;
        assert_eq!(own(other), first);
        let about = three.about(other, Role::P1).await;
        assert_eq!(about.trouble, "", "nothing is wrong with it");
    }
    // What the operator is shown, and what the journal keeps.
    let status = three.log_of(&one).await;
    let newest = told.last().expect("four").1;
    assert_eq!((status.lists, status.list_changes), (newest.0.to_vec(), 4));
    let manifest = three.world.fixture.manifest.manifest();
    assert_eq!(status.log_key, VerifierKey::of_logs(manifest)[0].to_string());
    let lines = journalled(&three.world, Role::P1);
    let said: Vec<_> = (lines.iter())
        .map(|line| (line["change"].as_u64(), line["hash"].as_str().map(str::to_owned)))
        .collect();
    let due: Vec<_> = (told.iter())
        .map(|(change, hash)| (Some(u64::from(*change)), Some(hash.to_string())))
        .collect();
    assert_eq!(said, due);
    let mut each = [1, 3].map(|n| Hash32::of(&lists[n]).to_string());
    each.sort_unstable();
    assert_eq!(lines[3]["lists"], serde_json::json!(each));
    // Whoever enrolled is done: what comes now decides nothing.
    let ballot = three.world.ballot();
    for party in [&one, &two, &third] {
        submit(party, &ballot).await;
    }
    three.world.clock.set((DRAINED + 1) * 1000);
    put(&three.world, Role::P1, "cards.crl", &lists[4]);
    looked().await;
    assert_eq!(own(&one), told);
    let parties = [&one, &two, &third];
    let sealed = futures::future::join_all(parties.map(|party| seal(&three, party))).await;
    assert!(sealed.iter().all(|(_, payload)| *payload == sealed[0].1));
    for party in parties {
        let items = sealed_box(&three.world, party).await.audit().expect("read");
        let log = items
            .iter()
            .find(|item| item.check == Check::Log)
            .expect("checked");
        assert_eq!(log.verdict, Verdict::Passed, "{log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_names_so_many_changes_of_the_lists_and_no_more_and_the_others_follow_it_to_the_end() {
    let three = with_cards();
    let [now, later, last] = [1, 2, 3].map(|serials| list(&three.world, serials));
    for role in Role::ALL {
        put(&three.world, role, "cards.crl", &now);
    }
    let [one, two, third] = three.all().await;
    until("told at the beginning", async || own(&one).len() == 1).await;
    let other = hash(&three.world, &[&last]);
    let at = UnixSeconds(three.world.clock_s());
    let store = &one.running.party().store;
    let size = store.write(|tx| {
        // As if a directory had been written to every two seconds for hours.
        let change = |number: u32| {
            let hash = if number == MAX_LISTS {
                other
            } else {
                Hash32::of(&number.to_be_bytes())
            };
            Entry::Event(Happening::Lists(number, hash), at)
        };
        let entries: Vec<_> = (2..=MAX_LISTS).map(change).collect();
        log::append_all(tx, 1, &entries)?;
        log::size(tx, 1)
    });
    let size: u64 = size.expect("written");
    let untold = || {
        let standing = one.running.party().alarms.standing().into_iter();
        standing
            .filter(|of| of.alarm.code() == "card.lists-untold")
            .count()
    };
    until("it says that it names no more", async || untold() == 1).await;
    put(&three.world, Role::P1, "cards.crl", &later);
    looked().await;
    let end = || store.read(|tx| Ok::<_, StoreError>((log::size(tx, 1)?, log::lists(tx, 1)?)));
    let (length, named) = end().expect("read");
    assert_eq!(length, size, "nothing more is written");
    assert_eq!(
        named.map(|(change, _, hash)| (change, hash)),
        Some((MAX_LISTS, other))
    );
    // So many with nothing behind them are an honest log's: nobody takes it for a flood.
    for by in [&two, &third] {
        three.caught_up(by, &[&one]).await;
        until("mirrored to its end", async || {
            let about = three.about(by, Role::P1).await;
            assert_eq!(about.trouble, "");
            about.mirrored == size
        })
        .await;
    }
    // Those that the log named last hold again: it says what is.
    put(&three.world, Role::P1, "cards.crl", &last);
    until("nothing is untold", async || untold() == 0).await;
    assert_eq!(end().expect("read").0, size);
}
