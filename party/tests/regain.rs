//! A party comes back with an older copy of its store, on a new machine, or was just killed; and one of the two others lies about what it had.

#[path = "regain/places.rs"]
mod places;
#[path = "regain/slow.rs"]
mod slow;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redb::{ReadableTableMetadata as _, TableDefinition};
use tally_party::store::sim::SimDisk;
use tally_party::store::{StoreError, Tables as _, log};
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, called};
use tally_proto::fixture::{OPENS, Shape};
use tally_proto::ids::{Hash32, Role, RoleExt as _, StationId, UnixSeconds};
use tally_proto::invitation::Credential;
use tally_proto::note::Checkpoint;
use tally_proto::order::{Change, Revocation, SignedOrder};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tonic::Status;

use crate::world::liar::{Liar, change};
use crate::world::three::{ID, Three, open, open_by_operator, stopped, submit, until};
use crate::world::{self, Party, refusal};

fn is_open(party: &Party) -> bool {
    let party = party.running.party();
    let election = party.elections.get(ID);
    election.is_ok_and(|election| party.gate.is_open(election.number()))
}

/// Why a party takes nothing, once it says something with all of these words.
async fn shut(three: &mut Three, party: &Party, words: &[&str]) {
    let ballot = three.world.ballot();
    until(&words.join(", "), async || {
        let refused = refusal(party.intake().submit(party.part(&ballot)).await);
        assert_eq!(refused.reason, Reason::PartyRecollecting, "{refused}");
        words.iter().all(|word| refused.detail.contains(word))
    })
    .await;
}

/// Some turns later it is as before.
async fn stays_shut(party: &Party) {
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!is_open(party));
}

/// (entries, root of that many, lost positions)
fn state(party: &Party, size: u64) -> (u64, Option<Hash32>, Vec<u64>) {
    let read = party
        .running
        .party()
        .store
        .read(|tx| Ok::<_, StoreError>((log::size(tx, 1)?, log::root(tx, 1, size)?, log::lost(tx, 1)?)));
    read.expect("read")
}

fn out_of_range() -> Status {
    Refusal::new(Reason::LogRange, "no such position is published here").into()
}

/// P1, P2 behind somebody who lies, P3; in force and open.
async fn with_liar(three: &Three) -> (Party, Liar, Party) {
    let one = three.start(Role::P1, SimDisk::new()).await;
    let two = three.start_liar(Role::P2, SimDisk::new()).await;
    let third = three.start(Role::P3, SimDisk::new()).await;
    for party in [&one, &two.party, &third] {
        three.world.put_in_force(party).await;
    }
    for party in [&one, &two.party, &third] {
        open(party).await;
    }
    (one, two, third)
}

/// Ballots that all three take.
async fn ballots(
    three: &mut Three,
    parties: &[&Party],
    count: usize,
) -> Vec<[tally_proto::ballot::Submission; 3]> {
    let mut all = Vec::new();
    for _ in 0..count {
        let ballot = three.world.ballot();
        for party in parties {
            submit(party, &ballot).await;
        }
        all.push(ballot);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_withholds_pages_shortens_no_log() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    ballots(&mut three, &[&one, &two.party, &third], 1).await;
    let backup = one.disk.after_crash(1);
    for _ in 0..3 {
        ballots(&mut three, &[&one, &two.party, &third], 3).await;
        three.caught_up(&third, &[&one]).await;
        three.caught_up(&two.party, &[&one]).await;
    }
    let size = three.log_of(&one).await.log_size;
    let (_, root, _) = state(&one, size);
    one.running.stop().await;
    // At once, and after one page.
    for pages in [0, 1] {
        three.world.boot(Role::P1);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        two.lies(move |caller, method, _, honest| match (caller, method) {
            (Role::P1, "Mirror") if count.fetch_add(1, Ordering::Relaxed) >= pages => Err(out_of_range()),
            _ => honest,
        });
        let one = three.start(Role::P1, backup.after_crash(pages as u64)).await;
        open(&one).await;
        let (now, same, _) = state(&one, size);
        assert!(now >= size && same == root, "verbatim: {now} of {size}");
        // What came too slowly at first is mended afterwards.
        until("nothing is lost", async || state(&one, size).2.is_empty()).await;
        three.caught_up(&third, &[&one]).await;
        until("nothing is wrong with it", async || {
            three.about(&third, Role::P1).await.trouble.is_empty()
        })
        .await;
        assert!(three.about(&third, Role::P1).await.evidence.is_empty());
        one.running.stop().await;
    }
    // Without the honest one it stays shut, and says who withholds.
    third.running.stop().await;
    three.world.boot(Role::P1);
    two.lies(|caller, method, _, honest| match (caller, method) {
        (Role::P1, "Mirror") => Err(out_of_range()),
        _ => honest,
    });
    let one = three.start(Role::P1, backup).await;
    shut(&mut three, &one, &["P2 shows", "withholds"]).await;
    let trust = world::three::trust(ID);
    one.running
        .party()
        .trust_store(&trust)
        .expect("its operator may say so");
    stays_shut(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_s_lone_word_makes_an_older_copy_the_newest() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    ballots(&mut three, &[&one, &two.party, &third], 2).await;
    three.caught_up(&third, &[&one]).await;
    let away = stopped(third).await;
    ballots(&mut three, &[&one, &two.party], 2).await;
    let backup = one.disk.after_crash(1);
    ballots(&mut three, &[&one, &two.party], 3).await;
    three.caught_up(&two.party, &[&one]).await;
    one.running.stop().await;
    three.world.boot(Role::P1);
    let now_ms = three.world.clock_s() * 1000;
    two.lies(move |caller, method, _, honest| match (caller, method) {
        (Role::P1, "Recall") => change(honest, |reply: &mut wire::RecallReply| {
            reply.watching_since_ms = 0;
            for of in &mut reply.logs {
                (of.size, of.receipted_size, of.current) = (0, 0, true);
                (of.note, of.seen_at_ms) = (String::new(), now_ms);
            }
        }),
        _ => honest,
    });
    // Alone with the liar; then with an honest one that was away when the copy was made.
    let one = three.start(Role::P1, backup).await;
    shut(&mut three, &one, &["only P2 answers", "operator"]).await;
    stays_shut(&one).await;
    let third = three.start(Role::P3, away).await;
    shut(&mut three, &one, &["P3 was away", "operator"]).await;
    stays_shut(&one).await;
    // The truth opens nothing either that is not there: it is got back.
    two.lies(|_, _, _, honest| honest);
    until("got back", async || three.log_of(&one).await.log_size >= 8).await;
    // And that vouches for nothing: P3 may have been shown more, and was away.
    stays_shut(&one).await;
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mere_kill_opens_by_itself_and_another_boot_needs_both_others() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    ballots(&mut three, &[&one, &two, &third], 2).await;
    for other in [&two, &third] {
        three.caught_up(other, &[&one]).await;
    }
    let disk = stopped(one).await;
    let [second, last] = [stopped(two).await, stopped(third).await];
    // Both others are away.
    let one = three.start(Role::P1, disk).await;
    open(&one).await;
    submit(&one, &three.world.ballot()).await;
    // Both see it, and go on.
    let two = three.start(Role::P2, second).await;
    let third = three.start(Role::P3, last).await;
    for party in [&two, &third] {
        open(party).await;
        three.caught_up(party, &[&one]).await;
    }
    let disk = stopped(one).await;
    three.world.boot(Role::P1);
    let one = three.start(Role::P1, disk).await;
    open(&one).await;
    for party in [&two, &third] {
        three.caught_up(party, &[&one]).await;
    }
    // Another boot with one of them: that one may lie.
    let disk = stopped(one).await;
    third.running.stop().await;
    three.world.boot(Role::P1);
    let one = three.start(Role::P1, disk).await;
    shut(&mut three, &one, &["only P2 answers"]).await;
    stays_shut(&one).await;
    open_by_operator(&one).await;
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_shorter_than_what_the_machine_noted_waits_for_the_operator() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    ballots(&mut three, &[&one], 1).await;
    for other in [&two, &third] {
        three.caught_up(other, &[&one]).await;
    }
    let backup = one.disk.after_crash(1);
    // Nobody hears of what follows.
    two.running.stop().await;
    third.running.stop().await;
    ballots(&mut three, &[&one], 2).await;
    one.running.stop().await;
    let one = three.start(Role::P1, backup).await;
    shut(&mut three, &one, &["has noted", "older copy"]).await;
    stays_shut(&one).await;
    open_by_operator(&one).await;
    submit(&one, &three.world.ballot()).await;
}

fn revocation(three: &Three, number: u32) -> SignedOrder {
    let change = Change::Revocation(Revocation {
        station: StationId(number),
        from: UnixSeconds(three.world.clock_s()),
    });
    three.world.fixture.order(number, change)
}

async fn put_in_force(three: &Three, order: &SignedOrder, parties: &[&Party]) {
    let coordinator = three.world.fixture.coordinator.public_key();
    for party in parties {
        let mut control = party.control(&three.world.leaf_of(party.role, PeerRole::Coordinator));
        let mut proposal = order.envelope().to_wire();
        proposal
            .signatures
            .retain(|signature| signature.public_key == coordinator.as_bytes());
        control.propose_order(proposal).await.expect("proposed");
        control
            .complete(order.envelope().to_wire())
            .await
            .expect("in force");
    }
}

fn in_force(party: &Party) -> Vec<u32> {
    let election = party.running.party().elections.get(ID).expect("known");
    let orders = election.orders_in_force().iter();
    orders.map(|order| order.order().number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_opens_with_every_order_that_the_log_names_or_not_at_all() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    let backup = one.disk.after_crash(1);
    // Order 1 was given up, signed by all as it is; order 2 stands in its place.
    let (given_up, order) = (revocation(&three, 1), revocation(&three, 2));
    put_in_force(&three, &order, &[&one, &two.party, &third]).await;
    let store = &one.running.party().store;
    until("the order is in the log", async || {
        !store.read(|tx| log::orders(tx, 1)).expect("read").is_empty()
    })
    .await;
    for other in [&two.party, &third] {
        three.caught_up(other, &[&one]).await;
    }
    one.running.stop().await;
    let last = stopped(third).await;
    let offered = given_up.envelope().to_wire();
    two.lies(move |caller, method, _, honest| match (caller, method) {
        (Role::P1, "Manifest") => change(honest, |reply: &mut wire::ManifestReply| {
            reply.orders = vec![offered.clone()];
        }),
        _ => honest,
    });
    // Its log comes back from P2, and this machine knows that it is whole: but not with that order in force.
    let one = three.start(Role::P1, backup).await;
    shut(&mut three, &one, &["order 2", "not here"]).await;
    stays_shut(&one).await;
    assert!(in_force(&one).is_empty());
    let third = three.start(Role::P3, last).await;
    open(&one).await;
    assert_eq!(in_force(&one), [2]);
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_missed_a_completion_takes_the_order_over_by_itself() {
    let three = Three::new();
    let [one, two, third] = three.all().await;
    let order = revocation(&three, 1);
    put_in_force(&three, &order, &[&two, &third]).await;
    until("taken over", async || in_force(&one) == [1]).await;
    until("in the log", async || {
        let store = &one.running.party().store;
        store.read(|tx| log::orders(tx, 1)).expect("read").len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_that_is_published_here_and_complete_elsewhere_comes_into_force() {
    let three = Three::new();
    let one = three.start(Role::P1, SimDisk::new()).await;
    three.world.publish(&one).await.expect("published");
    let (two, third) = (
        three.start(Role::P2, SimDisk::new()).await,
        three.start(Role::P3, SimDisk::new()).await,
    );
    for party in [&two, &third] {
        three.world.put_in_force(party).await;
    }
    open(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_withheld_for_a_while_loses_nothing() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    let backup = one.disk.after_crash(1);
    let mut receipts = Vec::new();
    let mut cast = Vec::new();
    for _ in 0..5 {
        let ballot = three.world.ballot();
        receipts.push(submit(&one, &ballot).await);
        submit(&two.party, &ballot).await;
        cast.push(ballot);
    }
    for other in [&two.party, &third] {
        three.caught_up(other, &[&one]).await;
    }
    three.caught_up(&third, &[&two.party]).await;
    one.running.stop().await;
    three.world.boot(Role::P1);
    let withheld = withholding(&two);
    let one = three.start(Role::P1, backup).await;
    open(&one).await;
    assert_eq!(three.log_of(&one).await.lost, 5);
    withheld.store(false, Ordering::Relaxed);
    until("mended", async || three.log_of(&one).await.lost == 0).await;
    for (ballot, receipt) in cast.iter().zip(&receipts) {
        assert_eq!(submit(&one, ballot).await, *receipt);
    }
    drop(third);
}

/// From now on P2 gives P1 no shares, as long as that says so.
fn withholding(two: &Liar) -> Arc<AtomicBool> {
    let withheld = Arc::new(AtomicBool::new(true));
    let is_withheld = Arc::clone(&withheld);
    two.lies(move |caller, method, _, honest| match (caller, method) {
        (Role::P1, "Share") if is_withheld.load(Ordering::Relaxed) => {
            change(honest, |part: &mut wire::FillPart| {
                *part = wire::FillPart::default()
            })
        }
        _ => honest,
    });
    withheld
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_calls_ballots_records_is_set_right() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    let backup = one.disk.after_crash(1);
    let ballot = three.world.ballot();
    let receipt = submit(&one, &ballot).await;
    for other in [&two.party, &third] {
        three.caught_up(other, &[&one]).await;
    }
    one.running.stop().await;
    let last = stopped(third).await;
    // The leaf is the same, and so is the root that P1 signed.
    two.lies(move |caller, method, _, honest| match (caller, method) {
        (Role::P1, "Mirror") => change(honest, |page: &mut wire::LogPage| {
            let mut entries = page.entries.to_vec();
            for entry in entries.chunks_mut(tally_proto::log::ENTRY_BYTES) {
                entry[0] = if entry[0] == 1 { 2 } else { entry[0] };
            }
            page.entries = entries.into();
        }),
        _ => honest,
    });
    let one = three.start(Role::P1, backup).await;
    open(&one).await;
    let third = three.start(Role::P3, last).await;
    until("whole", async || three.log_of(&one).await.lost == 0).await;
    assert_eq!(submit(&one, &ballot).await, receipt);
    let records = one.running.party().store.read(|tx| {
        let mut records = 0;
        log::for_each(tx, 1, |_, entry| {
            records += usize::from(entry.accepted().is_some_and(|of| of.record));
            Ok::<_, StoreError>(())
        })?;
        Ok::<_, StoreError>(records)
    });
    assert_eq!(records.expect("read"), 0, "nor do the others hear of one");
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_peer_holds_nobody_up() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    let backup = one.disk.after_crash(1);
    for _ in 0..12 {
        ballots(&mut three, &[&one], 1).await;
        three.caught_up(&third, &[&one]).await;
        three.caught_up(&two.party, &[&one]).await;
    }
    one.running.stop().await;
    three.world.boot(Role::P1);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    two.delays(move |caller, method| match (caller, method) {
        (Role::P1, "Mirror" | "Share") => {
            count.fetch_add(1, Ordering::Relaxed);
            Duration::from_millis(1500)
        }
        _ => Duration::ZERO,
    });
    let began = Instant::now();
    let one = three.start(Role::P1, backup).await;
    open(&one).await;
    let asked = asked.load(Ordering::Relaxed);
    // A page and the shares behind it, and once more after the gate opened.
    assert!(
        (1..=4).contains(&asked),
        "asked {asked} times, {:?}",
        began.elapsed()
    );
    // Slow is not false: what it gives late is taken.
    until("mended", async || three.log_of(&one).await.lost == 0).await;
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cosigned_by_a_party_whose_store_may_be_old() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    ballots(&mut three, &[&one, &two.party, &third], 1).await;
    three.caught_up(&one, &[&two.party]).await;
    let backup = stopped(one).await;
    three.caught_up(&third, &[&two.party]).await;
    let last = stopped(third).await;
    three.world.boot(Role::P1);
    let (cosigned, id) = (
        Arc::new(AtomicUsize::new(0)),
        three.world.fixture.manifest.manifest().election().clone(),
    );
    let (count, key) = (
        Arc::clone(&cosigned),
        three.world.fixture.manifest.manifest().party_keys()[1],
    );
    two.lies(move |caller, method, asked, honest| {
        if (caller, method) == (Role::P1, "Cosign") {
            let asked = <wire::CosignRequest as prost::Message>::decode(asked).expect("a request");
            Checkpoint::open(asked.note.as_bytes(), &id, Role::P2, &key).expect("P2's own note");
            count.fetch_add(1, Ordering::Relaxed);
        }
        honest
    });
    let one = three.start(Role::P1, backup).await;
    shut(&mut three, &one, &["only P2 answers"]).await;
    // What it mirrors goes on, what it signs does not: not while the gate is shut, and not before P3 has shown what it saw.
    for _ in 0..2 {
        ballots(&mut three, &[&two.party], 2).await;
        let size = three.log_of(&two.party).await.log_size;
        until("mirrored", async || {
            three.about(&one, Role::P2).await.mirrored >= size
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(cosigned.load(Ordering::Relaxed), 0);
        if !is_open(&one) {
            open_by_operator(&one).await;
        }
    }
    let third = three.start(Role::P3, last).await;
    until("cosigned again", async || cosigned.load(Ordering::Relaxed) > 0).await;
    drop(third);
}

/// Rows of halves that were kept of what this party did not accept.
fn halves(party: &Party) -> u64 {
    type Row = (&'static [u8], &'static [u8], &'static [u8], &'static [u8]);
    const KNOWN: TableDefinition<'static, (u32, u32, u8, &[u8; 32]), Row> = TableDefinition::new("known");
    let rows = party
        .running
        .party()
        .store
        .read(|tx| Ok::<_, StoreError>(tx.table(KNOWN)?.len()?));
    rows.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_a_peer_makes_up_beside_a_record_is_neither_kept_nor_in_the_way() {
    let mut three = Three::with(Shape {
        cards: true,
        ..Shape::default()
    });
    for role in Role::ALL {
        three.world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
    }
    let (one, two, third) = with_liar(&three).await;
    let disk = one.disk.after_crash(1);
    let shape = CardShape::of(&called(1, 0), CardKey::P256, OPENS);
    let card = three.world.fixture.cards.as_mut().expect("cards").card(&shape);
    let at = UnixSeconds(three.world.clock_s());
    let record = three.world.fixture.card_record(&card, at, &Credential::new(7));
    for party in [&one, &two.party, &third] {
        let part = record[party.role.slot()].to_wire();
        party.enrolment().enrol(part).await.expect("enrolled");
    }
    for other in [&two.party, &third] {
        three.caught_up(other, &[&one]).await;
    }
    one.running.stop().await;
    three.world.boot(Role::P1);
    // The right share, and beside it what no card said: another voter, nonsense, a megabyte of it.
    let turn = AtomicUsize::new(0);
    two.lies(move |caller, method, _, honest| match (caller, method) {
        (Role::P1, "Share") => change(honest, |part: &mut wire::FillPart| {
            match turn.fetch_add(1, Ordering::Relaxed) % 3 {
                0 if part.authority_signature.len() > 3 => part.authority_signature[3] ^= 1,
                1 => part.authority_signature = vec![7; 1 << 20],
                _ => part.authority_signature = vec![7; 100],
            }
        }),
        _ => honest,
    });
    let one = three.start(Role::P1, disk).await;
    open(&one).await;
    assert_eq!(three.log_of(&one).await.lost, 0, "P3 gave the right one");
    // A record that P1 did not accept: P2's word beside it is dropped, P3's is kept.
    let before = halves(&one);
    let shape = CardShape::of(&called(1, 1), CardKey::P256, OPENS);
    let card = three.world.fixture.cards.as_mut().expect("cards").card(&shape);
    let record = three.world.fixture.card_record(&card, at, &Credential::new(8));
    let part = record[1].to_wire();
    two.party.enrolment().enrol(part).await.expect("enrolled");
    three.caught_up(&one, &[&two.party]).await;
    assert_eq!(halves(&one), before);
    let part = record[2].to_wire();
    third.enrolment().enrol(part).await.expect("enrolled");
    three.caught_up(&one, &[&third]).await;
    assert_eq!(halves(&one), before + 1);
}
