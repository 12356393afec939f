//! Whatever write of the disk fails, and whatever part of the unsynced writes a loss of power leaves: every receipt that was handed out is
//! found after the restart, and the log's root is the root of what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use tally_party::clock::ManualClock;
use tally_party::entropy::SeededEntropy;
use tally_party::intake::{Lane, Origin, Sender};
use tally_party::party::{Party, PartyError};
use tally_party::server::{Deps, ServerError};
use tally_party::store::sim::SimDisk;
use tally_party::store::{Kind, Storage, StoreError, accepted, elections, log, registers};
use tally_proto::ballot::Submission;
use tally_proto::envelope::Kind as Envelopes;
use tally_proto::fixture::Shape;
use tally_proto::fixture::cards::SALT;
use tally_proto::ids::{BoxId, Hash32, Role};
use tally_proto::log::Entry;
use tally_proto::manifest::SignedManifest;
use tally_proto::merkle::Frontier;
use tally_proto::reason::{Class, Reason};
use tally_proto::receipt::Receipt;
use tally_proto::refusal::Refusal;

use crate::world::{self, World, reason};

pub(crate) fn voter() -> Origin {
    Origin {
        sender: Sender::Voter,
        lane: Lane::Public(None),
        seat: None,
        in_company: false,
    }
}

pub(crate) fn open(world: &World, disk: &SimDisk) -> Result<Arc<Party>, PartyError> {
    let deps = Deps {
        clock: Arc::new(ManualClock::new(world.clock_s() * 1000)),
        storage: Storage::Backend(Box::new(disk.clone())),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    let party = Party::open(&world.config(Role::P1), deps)?;
    // Nobody is there to be asked, and the disk is the newest there was.
    for election in party.elections.all() {
        party.gate.open(election.number());
    }
    Ok(Arc::new(party))
}

/// Submits all ballots at once, as a busy server does, and returns the receipts that came back.
async fn submit_all(party: &Arc<Party>, ballots: &[[Submission; 3]]) -> Vec<Receipt> {
    let submits = ballots
        .iter()
        .map(|ballot| party.submit(ballot[0].to_wire(), voter()));
    futures::future::join_all(submits)
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect()
}

fn check(party: &Party, receipts: &[Receipt], failed: u64, seed: u64) {
    party
        .store
        .read(|tx| {
            let size = log::size(tx, 1)?;
            let (mut tree, mut events) = (Frontier::new(), 0);
            for position in 0..size {
                let entry = log::entry(tx, 1, position)?.expect("an entry at every position");
                tree.push(entry.leaf());
                let Entry::Accepted(entry) = entry else {
                    events += 1;
                    continue;
                };
                let row = accepted::get(tx, Kind::Ballot, 1, 1, &entry.digest.0)?
                    .expect("the ballot of every entry");
                assert_eq!(row.position, position);
                assert_eq!(entry.received_at.get(), row.received_at_s);
                assert_eq!(entry.ciphertext_hash.0, row.ciphertext_hash);
                party
                    .vault
                    .open(Kind::Ballot, 1, &entry.digest.0, &row.sealed_shares)
                    .expect("shares open");
            }
            assert_eq!(
                log::root(tx, 1, size)?,
                Some(tree.root()),
                "operation {failed}, seed {seed}"
            );
            assert_eq!(
                accepted::digests(tx, Kind::Ballot, 1, 1)?.len() as u64,
                size - events
            );
            for receipt in receipts {
                let stated = receipt.unverified();
                let entry = log::entry(tx, 1, stated.position)?;
                let entry = entry.unwrap_or_else(|| panic!("receipt lost: operation {failed}, seed {seed}"));
                assert!(matches!(entry, Entry::Accepted(of) if of.digest == stated.digest));
            }
            Ok::<_, StoreError>(())
        })
        .expect("readable");
}

#[tokio::test]
async fn no_receipt_is_ever_lost() {
    let mut world = World::new(Shape::default());
    let server = world.start_in_force(Role::P1).await;
    let disk = server.disk.clone();
    server.running.stop().await;
    let base = disk.after_crash(0);
    let rounds: Vec<Vec<[Submission; 3]>> =
        (0..4).map(|_| (0..3).map(|_| world.ballot()).collect()).collect();

    // How many operations does it take when nothing fails?
    let whole = base.after_crash(0);
    let party = open(&world, &whole).expect("opens");
    let mut receipts = Vec::new();
    for ballots in &rounds {
        receipts.extend(submit_all(&party, ballots).await);
    }
    assert_eq!(receipts.len(), 12);
    check(&party, &receipts, u64::MAX, 0);
    drop(party);

    let (mut handed_out, mut cut_short) = (0, 0);
    for fail_from in 0..whole.operations() {
        let disk = base.after_crash(0);
        disk.fail_from(fail_from);
        let mut receipts = Vec::new();
        if let Ok(party) = open(&world, &disk) {
            for ballots in &rounds {
                receipts.extend(submit_all(&party, ballots).await);
            }
        }
        handed_out += receipts.len();
        cut_short += usize::from(receipts.len() < 12);
        for seed in [1, 2, 3] {
            let party =
                open(&world, &disk.after_crash(seed)).unwrap_or_else(|e| panic!("after {fail_from}: {e}"));
            check(&party, &receipts, fail_from, seed);
            // What was in flight is submitted again and accepted, once.
            for ballots in &rounds {
                receipts.extend(submit_all(&party, ballots).await);
            }
            check(&party, &receipts, fail_from, seed);
            receipts.truncate(receipts.len() - 12);
        }
    }
    assert!(
        handed_out > 50 && cut_short > 50,
        "{handed_out} receipts over {cut_short} failures"
    );
}

/// Where the rolls of "ward-7" stand: its manifest and number, and under which other numbers anything is left.
fn published(party: &Party) -> (Hash32, u32, Vec<u32>) {
    let election = party
        .elections
        .get("ward-7")
        .expect("the one before, or the new one");
    let (of_box, left) = party
        .store
        .read(|tx| {
            let rows = |number, of_box| elections::roll_part(tx, number, of_box, 0, 100);
            let mut left = Vec::new();
            for number in (1..10).filter(|number| *number != election.number()) {
                let persons = registers::persons_of_box(tx, number, 1)?;
                if !rows(number, 1)?.is_empty()
                    || !persons.is_empty()
                    || registers::salt(tx, number)?.is_some()
                {
                    left.push(number);
                }
            }
            let number = election.number();
            let of_box = (
                rows(number, 1)?.len(),
                rows(number, 2)?.len(),
                registers::persons_of_box(tx, number, 1)?.len(),
                registers::salt(tx, number)?.is_some(),
            );
            Ok::<_, StoreError>((of_box, left))
        })
        .expect("read");
    assert_eq!(of_box, (5, 3, 5, true), "all of it");
    (election.signed_manifest().hash(), election.number(), left)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_cut_short_is_found_as_a_whole_or_not_at_all() {
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let prepared = world.start(Role::P1).await;
    world.hold_offset_keys(&prepared);
    world.publish(&prepared).await.expect("published");
    let disk = prepared.disk.clone();
    prepared.running.stop().await;
    let base = disk.after_crash(0);
    let before = world.fixture.manifest.hash();
    // Another manifest of the same election, in its place.
    let mut manifest = world.fixture.manifest.manifest().to_wire();
    manifest.created_at_s += 1;
    let payload = prost::Message::encode_to_vec(&manifest);
    let envelope = world
        .fixture
        .coordinator
        .seal_envelope(Envelopes::Manifest, payload);
    let manifest = SignedManifest::open(envelope).expect("by the rules");
    world.fixture.manifest = Arc::new(manifest.clone());
    let rolls = (1..)
        .map(BoxId)
        .zip(world.fixture.rolls.clone())
        .collect::<BTreeMap<_, _>>();
    let publish = async |party: &Arc<Party>| party.publish(manifest.clone(), rolls.clone(), Some(SALT)).await;
    let (mut failures, mut halves) = (0, 0);
    for failing in 0.. {
        let disk = base.after_crash(0);
        let party = open(&world, &disk).expect("a sound disk opens");
        disk.fail_from(disk.operations() + failing);
        let outcome = publish(&party).await;
        drop(party);
        for seed in [0, 0x5555_5555, u64::MAX] {
            let party = open(&world, &disk.after_crash(seed)).expect("it opens after a crash");
            let (found, _, left) = published(&party);
            assert!(
                found == manifest.hash() || (found == before && outcome.is_err()),
                "operation {failing}, seed {seed}"
            );
            halves += usize::from(!left.is_empty());
            // Published again it is there, and nothing is left of anything else.
            publish(&party).await.expect("published");
            let (found, _, left) = published(&party);
            assert!(
                found == manifest.hash() && left.is_empty(),
                "operation {failing}, seed {seed}: {left:?}"
            );
        }
        failures += usize::from(outcome.is_err());
        if outcome.is_ok() {
            break;
        }
    }
    assert!(
        failures > 5 && halves > 5,
        "{failures} failures, {halves} with something left"
    );
}

#[tokio::test]
async fn a_server_whose_store_fails_says_so_and_ends() {
    let mut world = World::new(Shape::default());
    let mut party = world.start_in_force(Role::P1).await;
    let (kept, lost) = (world.ballot(), world.ballot());
    party.intake().submit(party.part(&kept)).await.expect("accepted");
    party.disk.fail_from(0);
    assert_eq!(
        reason(party.intake().submit(party.part(&lost)).await),
        Reason::StoreFailed
    );
    assert!(matches!(party.running.failed().await, ServerError::StoreFailed));
    let disk = party.disk.after_crash(9);
    party.running.stop().await;
    let party = world.start_on(Role::P1, disk).await;
    for ballot in [kept, lost] {
        party
            .intake()
            .submit(party.part(&ballot))
            .await
            .expect("accepted");
    }
}

#[tokio::test]
async fn a_store_that_fails_under_anything_else_ends_the_server_too() {
    let mut world = World::new(Shape::default());
    let mut party = world.start_in_force(Role::P1).await;
    party.disk.fail_from(0);
    world.define_another("another");
    let refused = world.publish(&party).await;
    assert_eq!(reason(refused), Reason::StoreFailed);
    let failed = tokio::time::timeout(std::time::Duration::from_secs(60), party.running.failed());
    assert!(matches!(
        failed.await.expect("said at once"),
        ServerError::StoreFailed
    ));
    let status = party.running.party().alarms.standing();
    assert!(
        status
            .iter()
            .any(|standing| standing.alarm.code() == "store.failed")
    );
}

#[tokio::test]
async fn little_room_is_refused_by_name_and_intake_goes_on_when_there_is_more() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let mut world = World::new(Shape::default());
    let disk = SimDisk::new();
    let free = Arc::new(AtomicU64::new(1 << 40));
    let told = Arc::clone(&free);
    let storage = Storage::Volume(
        Box::new(disk.clone()),
        Box::new(move || Some(told.load(Ordering::Relaxed))),
    );
    let config = world.config(Role::P1);
    assert_eq!(config.intake.reserve_bytes, 64 << 20);
    let party = world.start_with(config, storage, disk).await;
    world.put_in_force(&party).await;
    let (first, second) = (world.ballot(), world.ballot());
    let receipt = party.intake().submit(party.part(&first)).await.expect("accepted");

    free.store((64 << 20) - 1, Ordering::Relaxed);
    let refused = world::refusal(party.intake().submit(party.part(&second)).await);
    assert_eq!(refused.reason, Reason::StoreFull);
    assert!(refused.detail.contains("63 MiB are free"), "{refused}");
    let (box_1, now) = (tally_proto::ids::BoxId(1), first[0].header().cast_at());
    let of_another = world.fixture.receipt_at(Role::P2, box_1, first[0].digest(), now);
    let refused = reason(party.intake().deliver(of_another.to_wire()).await);
    assert_eq!(refused, Reason::StoreFull);
    // What is here already costs no room.
    let again = party.intake().submit(party.part(&first)).await.expect("known");
    assert_eq!(again.into_inner(), receipt.into_inner());

    free.store(64 << 20, Ordering::Relaxed);
    party
        .intake()
        .submit(party.part(&second))
        .await
        .expect("accepted");
    party
        .intake()
        .deliver(of_another.to_wire())
        .await
        .expect("stored");
    party.running.stop().await;
}

/// The reserve is what should keep this from happening. When it does the server ends, and nothing acknowledged is lost.
#[tokio::test]
async fn a_full_disk_ends_the_server_and_loses_nothing() {
    let mut world = World::new(Shape::default());
    let mut party = world.start_in_force(Role::P1).await;
    party.disk.limit(Some(party.disk.bytes()));
    let mut receipts = Vec::new();
    let last = loop {
        assert!(receipts.len() < 20_000, "the store never grew");
        let ballot = world.ballot();
        match party.running.party().submit(party.part(&ballot), voter()).await {
            Ok(receipt) => receipts.push((ballot, receipt)),
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::StoreFailed, "{refusal}");
                break ballot;
            }
        }
    };
    assert!(!receipts.is_empty());
    assert!(matches!(party.running.failed().await, ServerError::StoreFailed));
    let disk = party.disk.after_crash(3);
    party.running.stop().await;
    let party = world.start_on(Role::P1, disk).await;
    for (ballot, receipt) in &receipts {
        let again = party.running.party().submit(party.part(ballot), voter()).await;
        assert_eq!(again.as_ref(), Ok(receipt));
    }
    party.intake().submit(party.part(&last)).await.expect("accepted");
    party.running.stop().await;
}

/// Told to stop under load, the server answers what is under way with a receipt that is on disk, or not at all, and is gone in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_no_answer() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let ballots: Vec<_> = (0..400).map(|_| world.ballot()).collect();
    let parts: Vec<_> = ballots.iter().map(|ballot| party.part(ballot)).collect();
    let channel = party.public_channel();
    let answered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let clients: Vec<_> = parts
        .into_iter()
        .map(|part| {
            let (mut intake, answered) = (
                tally_proto::connect::intake(channel.clone()),
                Arc::clone(&answered),
            );
            tokio::spawn(async move {
                let answer = intake.submit(part).await;
                answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                answer
            })
        })
        .collect();
    drop(channel);
    // In the middle of it.
    let some = async {
        while answered.load(std::sync::atomic::Ordering::Relaxed) < 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), some)
        .await
        .expect("answers come");
    let disk = party.disk.clone();
    tokio::time::timeout(std::time::Duration::from_secs(30), party.running.stop())
        .await
        .expect("it stops within its grace");
    let mut receipts = Vec::new();
    for client in clients {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(30), client).await;
        match answer
            .expect("nobody waits for ever")
            .expect("the client does not panic")
        {
            Ok(receipt) => receipts.push(Receipt::from_wire(&receipt.into_inner()).expect("a receipt")),
            // A device tries again.
            Err(status) => assert_eq!(
                Refusal::of_status(&status).reason.class(),
                Class::Retry,
                "{status:?}"
            ),
        }
    }
    assert!(receipts.len() >= 20);
    // What was not synced is gone: no receipt depended on it.
    let party = open(&world, &disk.after_crash(5)).expect("opens");
    check(&party, &receipts, 0, 5);
}
