//! What one party may make another one store, hold in memory and answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::TryStreamExt as _;
use prost::Message as _;
use tally_party::alarm::Alarm;
use tally_party::store::sim::SimDisk;
use tally_party::store::{Storage, Store, StoreError, log};
use tally_proto::connect;
use tally_proto::fixture::{DRAINED, Shape};
use tally_proto::ids::{BoxId, Digest, Hash32, Role, UnixSeconds};
use tally_proto::log::{Accepted, Entry, Happening};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::world::three::{ID, Three, open, seal, stopped, submit, until};
use crate::world::{Party, World, reason};

/// Nonsense that P2 writes into its own log: ballots that nobody has, one that everybody has, again and again, and places that it says it lost.
const NONSENSE: u64 = 100_000;
/// What `bound` allows besides what is held.
const SLACK: u64 = 10_000;
const AHEAD: u64 = 65_536;
const PAGE: u64 = 4_096;

fn write_nonsense(disk: &SimDisk, known: &Digest) {
    let store = Store::open(Storage::Backend(Box::new(disk.clone())), Role::P2.index()).expect("opens");
    let accepted = |digest| {
        Entry::Accepted(Accepted {
            record: false,
            of_box: BoxId(1),
            digest,
            ciphertext_hash: Hash32([1; 32]),
            received_at: UnixSeconds(1),
        })
    };
    let entry = |i: u64| match i % 3 {
        0 => accepted(Digest(Hash32::of(&i.to_be_bytes()).0)),
        1 => accepted(*known),
        _ => Entry::Event(Happening::Lost, UnixSeconds(1)),
    };
    let all: Vec<Entry> = (0..NONSENSE).map(entry).collect();
    store
        .write(|tx| {
            for part in all.chunks(10_000) {
                log::append_all(tx, 1, part)?;
            }
            Ok::<_, StoreError>(())
        })
        .expect("written");
}

fn alarms(party: &Party, alarm: Alarm) -> Vec<String> {
    let standing = party.running.party().alarms.standing();
    let of = standing.into_iter().filter(|standing| standing.alarm == alarm);
    of.map(|standing| format!("{}: {}", standing.about, standing.detail))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_end_is_followed_to_a_bound_and_its_party_is_named() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let ballot = three.world.ballot();
    for party in [&one, &two, &third] {
        submit(party, &ballot).await;
    }
    let disk = stopped(two).await;
    write_nonsense(&disk, &ballot[0].digest());
    let two = three.start(Role::P2, disk).await;
    open(&two).await;
    for other in [&one, &third] {
        until("named", async || !alarms(other, Alarm::LogFlooded).is_empty()).await;
        let named = alarms(other, Alarm::LogFlooded);
        assert!(named.len() == 1 && named[0].contains("ward-7, P2"), "{named:?}");
        let about = three.about(other, Role::P2).await;
        assert!(about.trouble.contains(Reason::LogFlooded.code()), "{about:?}");
        assert!(about.not_given > 0 && about.size > NONSENSE, "{about:?}");
        // What was looked at is a little more than the slack; what is mirrored no more than so much further.
        let looked_at = about.size - about.behind;
        assert!((SLACK..SLACK + 3 * PAGE).contains(&looked_at), "{about:?}");
        assert!(about.mirrored <= looked_at + AHEAD + PAGE, "{about:?}");
        assert!(about.mirrored < NONSENSE, "{about:?}");
        // And no further, turn after turn.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(three.about(other, Role::P2).await.mirrored, about.mirrored);
    }
    // The others are followed as before, and voting goes on.
    let ballot = three.world.ballot();
    for party in [&one, &two, &third] {
        submit(party, &ballot).await;
    }
    three.caught_up(&one, &[&third]).await;
    assert!(
        alarms(&one, Alarm::LogFlooded)
            .iter()
            .all(|alarm| !alarm.contains("P3"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_little_room_left_nothing_is_mirrored_and_intake_stops_last() {
    let mut three = Three::new();
    let free = Arc::new(AtomicU64::new(1 << 40));
    let told = Arc::clone(&free);
    let disk = SimDisk::new();
    let storage = Storage::Volume(
        Box::new(disk.clone()),
        Box::new(move || Some(told.load(Ordering::Relaxed))),
    );
    let one = three.start_in(Role::P1, storage, disk).await;
    let two = three.start(Role::P2, SimDisk::new()).await;
    let third = three.start(Role::P3, SimDisk::new()).await;
    for party in [&one, &two, &third] {
        three.world.put_in_force(party).await;
    }
    for party in [&one, &two, &third] {
        open(party).await;
    }
    three.caught_up(&one, &[&two, &third]).await;
    let reserve = 64 << 20;
    free.store(2 * reserve - 1, Ordering::Relaxed);
    until("told", async || alarms(&one, Alarm::Behind).len() == 2).await;
    let before = three.about(&one, Role::P2).await.mirrored;
    let ballots: Vec<_> = (0..5).map(|_| three.world.ballot()).collect();
    for ballot in &ballots {
        submit(&two, ballot).await;
        submit(&third, ballot).await;
    }
    // Voters still find room here.
    submit(&one, &ballots[0]).await;
    until("it hears of more", async || {
        three.about(&one, Role::P2).await.size > before
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(three.about(&one, Role::P2).await.mirrored, before);
    let told = alarms(&one, Alarm::Behind);
    assert!(
        told.iter().all(|alarm| alarm.contains("127 MiB are free")),
        "{told:?}"
    );
    free.store(reserve - 1, Ordering::Relaxed);
    let refused = one.intake().submit(one.part(&ballots[1])).await;
    assert_eq!(reason(refused), Reason::StoreFull);
    // With room again both go on.
    free.store(1 << 40, Ordering::Relaxed);
    submit(&one, &ballots[1]).await;
    three.caught_up(&one, &[&two, &third]).await;
    until("the alarm is over", async || {
        alarms(&one, Alarm::Behind).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_too_many_or_too_long_are_dropped_and_asked_for_again() {
    let mut three = Three::new();
    let one = three.start(Role::P1, SimDisk::new()).await;
    let two = three.start_liar(Role::P2, SimDisk::new()).await;
    let third = three.start(Role::P3, SimDisk::new()).await;
    for party in [&one, &two.party, &third] {
        three.world.put_in_force(party).await;
    }
    for party in [&one, &two.party, &third] {
        open(party).await;
    }
    three.caught_up(&one, &[&two.party, &third]).await;
    let turns = Arc::new(AtomicU64::new(0));
    let (count, long) = (Arc::clone(&turns), Arc::new(AtomicBool::new(true)));
    let longer = Arc::clone(&long);
    let manifests = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&manifests);
    two.lies(move |_, method, _, honest| match method {
        // More heads than fit into a message, or as many as do.
        "LogHeads" => {
            count.fetch_add(1, Ordering::Relaxed);
            let head = |i: u32| wire::LogHead {
                election: format!("made-up-{i}"),
                size: 1,
                ..Default::default()
            };
            let most = if longer.load(Ordering::Relaxed) {
                500_000
            } else {
                50_000
            };
            let heads = (0..most).map(head).collect();
            Ok(vec![wire::LogHeadsReply { heads }.encode_to_vec()])
        }
        "Manifest" => {
            asked.fetch_add(1, Ordering::Relaxed);
            honest
        }
        _ => honest,
    });
    let ballot = three.world.ballot();
    submit(&two.party, &ballot).await;
    submit(&third, &ballot).await;
    let before = three.about(&one, Role::P2).await;
    until("told", async || !alarms(&one, Alarm::NotFollowed).is_empty()).await;
    let told = alarms(&one, Alarm::NotFollowed);
    assert!(told[0].contains(Reason::MessageTooLarge.code()), "{told:?}");
    assert_eq!(manifests.load(Ordering::Relaxed), 0);
    // A few of the made-up ones are tried in each turn, and make one alarm.
    long.store(false, Ordering::Relaxed);
    until("told", async || !alarms(&one, Alarm::NotTakenOver).is_empty()).await;
    let told = alarms(&one, Alarm::NotTakenOver);
    assert!(told.len() == 1 && told[0].contains("50000 elections"), "{told:?}");
    turns.store(0, Ordering::Relaxed);
    manifests.store(0, Ordering::Relaxed);
    until("asked a few times", async || turns.load(Ordering::Relaxed) > 5).await;
    let (asked, turns) = (manifests.load(Ordering::Relaxed), turns.load(Ordering::Relaxed));
    // By two followers, who may both be amid a turn.
    assert!(asked > 0 && asked <= 64 * (turns + 2), "{asked} in {turns} turns");
    assert!(alarms(&one, Alarm::NotFollowed).is_empty());
    let after = three.about(&one, Role::P2).await;
    assert_eq!(after.mirrored, before.mirrored, "its log is not named");

    // Parts without end behind one question.
    let endless = Arc::new(AtomicU64::new(0));
    let (count, long) = (Arc::clone(&endless), Arc::new(AtomicBool::new(false)));
    let longer = Arc::clone(&long);
    two.lies(move |_, method, _, honest| match (method, honest) {
        ("Share", Ok(parts)) if longer.load(Ordering::Relaxed) => {
            count.fetch_add(1, Ordering::Relaxed);
            // A megabyte where a signature belongs.
            let part = |part: Vec<u8>| {
                let mut part = wire::FillPart::decode(part.as_slice()).expect("an honest part");
                part.authority_signature = vec![7; 1 << 20];
                part.encode_to_vec()
            };
            Ok(parts.into_iter().map(part).collect())
        }
        ("Share", Ok(parts)) => {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(parts.iter().cycle().take(5_000).cloned().collect())
        }
        (_, honest) => honest,
    });
    until("asked for shares", async || endless.load(Ordering::Relaxed) > 3).await;
    let about = three.about(&one, Role::P2).await;
    assert!(about.behind > 0, "nothing of such an answer counts: {about:?}");
    endless.store(0, Ordering::Relaxed);
    long.store(true, Ordering::Relaxed);
    until("dropped and counted", async || {
        three.about(&one, Role::P2).await.not_given > 0
    })
    .await;
    assert_eq!(
        three.about(&one, Role::P2).await.behind,
        0,
        "it is told, and sealing asks again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_sealed_box_nothing_more_is_asked_for() {
    let mut three = Three::new();
    let one = three.start(Role::P1, SimDisk::new()).await;
    let two = three.start_liar(Role::P2, SimDisk::new()).await;
    let third = three.start(Role::P3, SimDisk::new()).await;
    let parties = [&one, &two.party, &third];
    for party in parties {
        three.world.put_in_force(party).await;
    }
    for party in parties {
        open(party).await;
    }
    // Nobody can follow P2, which has a ballot that no other party has.
    two.lies(|_, method, _, honest| match method {
        "Log" | "LogHeads" => Err(tonic::Status::unavailable("away")),
        _ => honest,
    });
    for _ in 0..3 {
        let ballot = three.world.ballot();
        for party in parties {
            submit(party, &ballot).await;
        }
    }
    let alone = three.world.ballot();
    submit(&two.party, &alone).await;
    three.world.clock.set((DRAINED + 1) * 1000);
    let sealed = futures::future::join_all(parties.map(|party| seal(&three, party))).await;
    assert!(sealed.iter().all(|(_, seal)| *seal == sealed[0].1));
    let shares = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&shares);
    two.lies(move |_, method, _, honest| {
        asked.fetch_add(u64::from(method == "Share"), Ordering::Relaxed);
        honest
    });
    three.caught_up(&one, &[&two.party]).await;
    // What was looked at is there a moment later.
    until("mirrored to its end", async || {
        let about = three.about(&one, Role::P2).await;
        (about.mirrored, about.not_given) == (about.size, 0)
    })
    .await;
    assert_eq!(shares.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_hold_a_few_places_and_give_them_back() {
    let mut three = Three::new();
    let [one, two, _third] = three.all().await;
    // P1 holds so many receipts of P2 that they fit into no buffer on the way.
    let ballots: Vec<_> = (0..600).map(|_| three.world.ballot()).collect();
    for some in ballots.chunks(50) {
        let all = some
            .iter()
            .flat_map(|ballot| [submit(&one, ballot), submit(&two, ballot)]);
        futures::future::join_all(all).await;
    }
    let leaf = three.world.leaf_of(Role::P2, PeerRole::Party(Role::P2));
    let asked = wire::ReceiptsRequest {
        election: ID.to_owned(),
        from: 0,
    };
    let read = async || {
        let mut client = three.client(&one, PeerRole::Party(Role::P2), Role::P2);
        match client.receipts(asked.clone()).await {
            Ok(stream) => stream
                .into_inner()
                .try_collect::<Vec<_>>()
                .await
                .expect("to the end")
                .len(),
            Err(_) => 0,
        }
    };
    until("P2's receipts came", async || read().await >= 600).await;
    let mut narrow = connect::peer(one.narrow_peer_channel(&leaf));
    let (mut unread, mut busy) = (Vec::new(), 0);
    for _ in 0..60 {
        match narrow.receipts(asked.clone()).await {
            Ok(stream) => unread.push(stream.into_inner()),
            Err(status) => {
                assert_eq!(Refusal::of_status(&status).reason, Reason::PartyBusy);
                busy += 1;
            }
        }
    }
    // Besides them P2 itself asks, of which one may just be answered.
    assert!((2..=4).contains(&unread.len()), "{} unread", unread.len());
    assert!(busy >= 56, "{busy}");
    // Whoever goes away gives the places back.
    drop(unread);
    until("places again", async || {
        let mut client = three.client(&one, PeerRole::Party(Role::P2), Role::P2);
        client.receipts(asked.clone()).await.is_ok()
    })
    .await;
}

/// The publication of another election of this world's parties, with a roll of so many voters; and its manifest's hash.
fn big(world: &World, election: &str, voters: u32) -> (Vec<wire::PublishPart>, Hash32) {
    use tally_proto::envelope::Kind;
    use tally_proto::manifest::SignedManifest;
    use tally_proto::roll::{Roll, RollEntry};
    use wire::publish_part::Part;
    let entry = |v| RollEntry {
        reference: format!("voter-{v}"),
        online: true,
        persons: Vec::new(),
    };
    let roll = Roll::new((0..voters).map(entry).collect()).expect("a roll");
    let mut manifest = world.fixture.manifest.manifest().to_wire();
    manifest.election = election.to_owned();
    manifest.boxes.truncate(1);
    manifest.boxes[0].voters = voters;
    manifest.boxes[0].roll_root = roll.root().0.to_vec();
    manifest.boxes[0].index_bits = tally_mpc::BallotLayout::index_bits_for(voters) as u32;
    let envelope = world
        .fixture
        .coordinator
        .seal_envelope(Kind::Manifest, manifest.encode_to_vec());
    let hash = SignedManifest::open(envelope.clone())
        .expect("by the rules")
        .hash();
    let entries: Vec<_> = roll.to_wire().collect();
    let rolls = entries.chunks(5_000).map(|entries| {
        Part::Roll(wire::RollPart {
            r#box: 1,
            entries: entries.to_vec(),
            salt: Vec::new(),
        })
    });
    let parts = std::iter::once(Part::Manifest(envelope.to_wire())).chain(rolls);
    let parts = parts.map(|part| wire::PublishPart { part: Some(part) });
    (parts.collect(), hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_wait_for_each_other_and_one_of_strangers_ends_before_its_rolls() {
    use tokio_stream::wrappers::ReceiverStream;
    let world = World::new(Shape::default());
    let party = world.start(Role::P1).await;
    let leaf = world.leaf_of(Role::P1, PeerRole::Coordinator);
    // One that has begun, and takes its time.
    let (slow, parts) = tokio::sync::mpsc::channel(8);
    let mut control = party.control(&leaf);
    let first = tokio::spawn(async move { control.publish(ReceiverStream::new(parts)).await });
    let (publication, _) = big(&world, "first", 100);
    slow.send(publication[0].clone()).await.expect("read");
    // The server has the first one's manifest before the second one begins.
    until("the manifest is read", async || slow.capacity() == 8).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (other, hash) = big(&world, "second", 100);
    let mut control = party.control(&leaf);
    let second = tokio::spawn(async move { control.publish(tokio_stream::iter(other)).await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!second.is_finished(), "it waits for its turn");
    // The first one gives up in the midst of it.
    drop(slow);
    assert_eq!(reason(first.await.expect("ran")), Reason::RollMismatch);
    let taken = second.await.expect("ran").expect("published").into_inner();
    assert_eq!(taken.manifest_hash, hash.0);
    // Another commission's, and one whose parties are others: their rolls are not waited for.
    let stranger = World::new(Shape {
        seed: 2,
        ..Shape::default()
    });
    let (publication, _) = big(&stranger, "third", 100);
    let (never_ends, parts) = tokio::sync::mpsc::channel(8);
    never_ends.send(publication[0].clone()).await.expect("room");
    let mut control = party.control(&leaf);
    let refused = control.publish(ReceiverStream::new(parts));
    let refused = tokio::time::timeout(std::time::Duration::from_secs(20), refused);
    let refused = refused.await.expect("without its rolls");
    assert_eq!(reason(refused), Reason::ManifestIdentity);
    assert_eq!(party.running.party().elections.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ballots_are_accepted_while_a_big_roll_is_published() {
    use tally_party::store::elections;
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let (parts, _) = big(&world, "big", 100_000);
    let mut control = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    let publication = tokio::spawn(async move { control.publish(tokio_stream::iter(parts)).await });
    let mut meanwhile = 0;
    while !publication.is_finished() {
        let ballot = world.ballot();
        submit(&party, &ballot).await;
        // Some of its rows are there, and nobody finds it.
        let read = party.running.party().store.read(|tx| {
            let rows = elections::roll_part(tx, 2, 1, 0, 1)?;
            Ok::<_, StoreError>(!rows.is_empty() && elections::number_of(tx, "big")?.is_none())
        });
        meanwhile += u32::from(read.expect("read"));
    }
    publication.await.expect("ran").expect("published");
    assert!(
        meanwhile >= 3,
        "{meanwhile} ballots were accepted in the midst of it"
    );
    let rows = party
        .running
        .party()
        .store
        .read(|tx| elections::roll_part(tx, 2, 1, 0, usize::MAX));
    assert_eq!(rows.expect("read").len(), 100_000);
}
