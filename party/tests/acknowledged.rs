//! Whatever operation of the disk fails, alone or with all after it, and whatever part of the unsynced writes a loss of power leaves: of everything that a
//! party acknowledges (ballots with tickets, stations' ballots, the others' receipts, brought by a voter or handed over by themselves, issued and enrolled
//! records, orders) what it acknowledged is there, and nothing is there by half. Where a disk says that it syncs and does not, the store opens with less, or not at all, and never by half.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tally_party::entropy::SeededEntropy;
use tally_party::intake::{Lane, Origin, Sender};
use tally_party::party::Party;
use tally_party::server::{Deps, Server, ServerError};
use tally_party::store::sim::SimDisk;
use tally_party::store::{Kind, Storage, StoreError, accepted, log, receipts, sequences, tickets};
use tally_proto::envelope::{Envelope, Kind as Envelopes, Signature};
use tally_proto::fixture::cards::{CardKey, DAY};
use tally_proto::fixture::{OPENS, Shape};
use tally_proto::ids::{BoxId, Digest, Hash32, Role, RoleExt as _, StationId, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::log::Entry;
use tally_proto::merkle::Frontier;
use tally_proto::order::{Change, Order, Reissue};
use tally_proto::pki::PeerRole;
use tally_proto::receipt::{Acceptance, Receipt, sign_batch, whole_batches};
use tally_proto::record::Half;
use tally_proto::ticket::OwnTicket;
use tally_proto::wire;

use crate::crash::{open, voter};
use crate::world::World;

const ELECTION: &str = "ward-7";
const STATION: u32 = 1;

/// What is brought to party 1, one after the other.
struct Script {
    ticket: OwnTicket,
    ticketed: wire::Submission,
    at_station: wire::Submission,
    /// Others' receipts for the first ballot.
    others: [Receipt; 2],
    /// A ballot whose voter waits for the others' receipts, which these hand over: P2 before it comes, P3 afterwards.
    waits: wire::Submission,
    waits_ticket: OwnTicket,
    handed: [Receipt; 2],
    batches: [wire::ReceiptBatches; 2],
    issued: wire::RecordSubmission,
    enrolled: wire::RecordSubmission,
    proposed: Envelope,
    complete: Envelope,
}

fn digest(of: &wire::Submission) -> Digest {
    tally_proto::ballot::Submission::from_wire(of.clone())
        .expect("of its form")
        .digest()
}

impl Script {
    fn new(world: &mut World) -> Script {
        let now = UnixSeconds(world.clock_s());
        let ticket = world.fixture.ticket(now);
        let ticketed = world.ballot_with(BoxId(1), &ticket)[0].to_wire();
        let others =
            [Role::P2, Role::P3].map(|role| world.fixture.receipt_at(role, BoxId(1), digest(&ticketed), now));
        let waits_ticket = world.fixture.ticket(now);
        let waits = world.ballot_with(BoxId(1), &waits_ticket)[0].to_wire();
        let signed = [Role::P2, Role::P3].map(|party| {
            let acceptance = Acceptance {
                election: world.fixture.manifest.manifest().election().clone(),
                of_box: BoxId(1),
                party,
                digest: digest(&waits),
                ciphertext_hash: Hash32([party.index(); 32]),
                received_at: now,
                position: 1,
            };
            sign_batch(vec![acceptance], &world.fixture.signers[party.slot()])
        });
        let batches = signed.each_ref().map(|signed| wire::ReceiptBatches {
            batches: whole_batches(signed),
        });
        let handed = signed.map(|signed| signed[0].clone());
        let card = world.fixture.card(BoxId(1), VoterIndex(2), CardKey::P256);
        let order = Order {
            election: world.fixture.manifest.manifest().election().clone(),
            manifest_hash: world.fixture.manifest.hash(),
            number: 1,
            after: None,
            reason: "for a test".into(),
            change: Change::Reissue(Reissue {
                of_box: BoxId(1),
                voter: VoterIndex(1),
                until: UnixSeconds(0),
                serial: 2,
            }),
        };
        let credential = Credential::new(7);
        let issued = world
            .fixture
            .record(BoxId(1), VoterIndex(1), 1, Half::WHOLE, &credential);
        Script {
            ticket,
            waits,
            waits_ticket,
            handed,
            batches,
            at_station: world.station_ballot(STATION, 3, now.get())[0].to_wire(),
            others,
            issued: issued[0].to_wire(),
            enrolled: world.fixture.card_record(&card, now, &credential)[0].to_wire(),
            proposed: world
                .fixture
                .coordinator
                .seal_envelope(Envelopes::Order, order.encode()),
            complete: world.fixture.sign_all(Envelopes::Order, order.encode()),
            ticketed,
        }
    }
}

/// What came back.
#[derive(Debug, Default)]
struct Acknowledged {
    ticketed: Option<Receipt>,
    at_station: Option<Receipt>,
    others: [bool; 2],
    waited: Option<Receipt>,
    /// Whose receipts the answer to the ballot that waits has named as stored.
    stored: [bool; 3],
    issued: Option<Receipt>,
    enrolled: Option<wire::EnrolReply>,
    proposed: bool,
    signed: Option<Signature>,
    in_force: bool,
}

impl Acknowledged {
    fn count(&self) -> usize {
        let receipts = [&self.ticketed, &self.at_station, &self.waited, &self.issued];
        let [_, of_two, of_three] = self.stored;
        let flags = [
            self.others[0],
            self.others[1],
            of_two,
            of_three,
            self.proposed,
            self.in_force,
        ];
        receipts.iter().filter(|of| of.is_some()).count()
            + flags.iter().filter(|flag| **flag).count()
            + usize::from(self.enrolled.is_some())
            + usize::from(self.signed.is_some())
    }
}

const ALL: usize = 12;

/// Brings the ballot that waits, and what the others hand over for it: its receipt and whose receipts are said to be stored, if there is an answer. Nobody
/// answers it before P3's receipt is stored, as no time passes here.
async fn cast(party: &Arc<Party>, script: &Script) -> Option<(Receipt, [bool; 3])> {
    let hand_over = async |by: Role, batches: &wire::ReceiptBatches| {
        // Handing over acknowledges nothing: the answer to the ballot does.
        let _ = party.take_handed_over(by, batches.clone()).await;
    };
    let [before, after] = &script.batches;
    hand_over(Role::P2, before).await;
    let named = digest(&script.waits);
    let is_there = || {
        let row = party
            .store
            .read(|tx| accepted::get(tx, Kind::Ballot, 1, 1, &named.0));
        row.is_ok_and(|row| row.is_some())
    };
    let mut answer = pin!(party.cast(script.waits.clone(), voter()));
    while !is_there() {
        if let Poll::Ready(refused) = futures::poll!(answer.as_mut()) {
            return refused.ok();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    hand_over(Role::P3, after).await;
    // The writer takes one thing after the other: when it has answered twice, it has told what it wrote before.
    for _ in 0..2 {
        let _ = party
            .deliver(script.others[0].to_wire(), Lane::Public(None))
            .await;
    }
    match futures::poll!(answer.as_mut()) {
        Poll::Ready(answer) => answer.ok(),
        Poll::Pending => None,
    }
}

async fn bring(party: &Arc<Party>, script: &Script) -> Acknowledged {
    let station = Origin {
        sender: Sender::Station(StationId(STATION)),
        lane: Lane::Named(PeerRole::Station(StationId(STATION))),
        seat: None,
        in_company: false,
    };
    let mut back = Acknowledged {
        ticketed: party.submit(script.ticketed.clone(), voter()).await.ok(),
        at_station: party.submit(script.at_station.clone(), station).await.ok(),
        issued: party.register(script.issued.clone(), "letters").await.ok(),
        enrolled: party
            .enrol(script.enrolled.clone(), Lane::Public(None))
            .await
            .ok(),
        ..Default::default()
    };
    for (given, receipt) in back.others.iter_mut().zip(&script.others) {
        *given = party.deliver(receipt.to_wire(), Lane::Public(None)).await.is_ok();
    }
    if let Some((receipt, stored)) = cast(party, script).await {
        (back.waited, back.stored) = (Some(receipt), stored);
    }
    let (store, own, now) = (&party.store, party.role, party.now());
    let orders = &party.elections;
    back.proposed = orders.propose(store, own, script.proposed.clone(), now).is_ok();
    let hash = script.proposed.hash();
    let is_in_force = orders
        .get(ELECTION)
        .is_ok_and(|of| !of.orders_in_force().is_empty());
    back.signed = if is_in_force {
        let known = orders.signatures(hash).unwrap_or_default();
        known
            .into_iter()
            .find(|of| script.complete.signatures()[1..2].contains(of))
    } else {
        orders
            .countersign(store, (own, &party.signer), hash, ELECTION, now)
            .ok()
    };
    back.in_force = orders
        .complete(store, own, &script.complete)
        .is_ok_and(|in_force| in_force);
    back
}

/// Nothing is there by half: the log is whole, each of its entries has its row and each row its entry, a ticket is spent and a number taken where the
/// ballot is there, and there alone.
fn is_whole(party: &Party, script: &Script, at: &str) {
    let whole = party.store.read(|tx| {
        let size = log::size(tx, 1)?;
        let (mut tree, mut rows) = (Frontier::new(), 0);
        for position in 0..size {
            let entry = log::entry(tx, 1, position)?.expect("an entry at every position");
            tree.push(entry.leaf());
            if let Entry::Accepted(of) = entry {
                let kind = if of.record { Kind::Record } else { Kind::Ballot };
                let row = accepted::get(tx, kind, 1, of.of_box.get(), &of.digest.0)?
                    .expect("the row of every entry");
                assert_eq!(
                    (row.position, row.ciphertext_hash),
                    (position, of.ciphertext_hash.0),
                    "{at}"
                );
                party
                    .vault
                    .open(kind, 1, &of.digest.0, &row.sealed_shares)
                    .expect("shares open");
                rows += 1;
            }
        }
        assert_eq!(log::root(tx, 1, size)?, Some(tree.root()), "{at}");
        let mut there = 0;
        for (kind, of_box) in [
            (Kind::Ballot, 1),
            (Kind::Ballot, 2),
            (Kind::Record, 1),
            (Kind::Record, 2),
        ] {
            there += accepted::digests(tx, kind, 1, of_box)?.len();
        }
        assert_eq!(there, rows, "{at}: as many rows as entries");
        let ballot = |of: &wire::Submission| accepted::get(tx, Kind::Ballot, 1, 1, &digest(of).0);
        for (ticket, of) in [
            (&script.ticket, &script.ticketed),
            (&script.waits_ticket, &script.waits),
        ] {
            let spent = tickets::spent_on(tx, 1, ticket.ticket().key().as_bytes())?;
            let ticketed = ballot(of)?.map(|_| digest(of).0);
            assert_eq!(spent, ticketed, "{at}: the ticket goes with its ballot");
        }
        let taken = sequences::highest(tx, 1, 1)?;
        let at_station = ballot(&script.at_station)?.map(|_| (STATION, 3));
        assert_eq!(
            taken.first().copied(),
            at_station,
            "{at}: the number goes with its ballot"
        );
        Ok::<_, StoreError>(())
    });
    whole.expect("readable");
}

/// What was acknowledged is there.
fn is_there(party: &Party, script: &Script, back: &Acknowledged, at: &str) {
    let receipts = [&back.ticketed, &back.at_station, &back.waited, &back.issued];
    let enrolled = back.enrolled.iter().filter_map(|reply| reply.receipt.as_ref());
    let enrolled = enrolled.map(|receipt| Receipt::from_wire(receipt).expect("a receipt"));
    let all: Vec<Receipt> = receipts.into_iter().flatten().cloned().chain(enrolled).collect();
    let found = party.store.read(|tx| {
        for receipt in &all {
            let stated = receipt.unverified();
            let entry = log::entry(tx, 1, stated.position)?;
            let is_it = matches!(entry, Some(Entry::Accepted(of)) if of.digest == stated.digest);
            assert!(
                is_it,
                "{at}: a receipt was given for what is not there: {stated:?}"
            );
        }
        let [own, handed @ ..] = back.stored;
        assert!(!own, "{at}: nobody waits for its own receipt");
        let given = back.others.iter().chain(&handed);
        for (given, receipt) in given.zip(script.others.iter().chain(&script.handed)) {
            let stated = receipt.unverified();
            let kept = receipts::get(tx, 1, 1, &stated.digest.0, stated.party.index())?;
            let due = given.then(|| receipt.encode());
            assert!(!given || kept == due, "{at}: another's receipt is lost");
            assert!(
                kept.is_none() || kept == Some(receipt.encode()),
                "{at}: half a receipt"
            );
        }
        Ok::<_, StoreError>(())
    });
    found.expect("readable");
    let election = party.elections.get(ELECTION).expect("known");
    let hash: Hash32 = script.proposed.hash();
    if back.in_force {
        let orders = election.orders_in_force();
        assert!(
            orders.iter().any(|order| order.hash() == hash),
            "{at}: an order in force is lost"
        );
    }
    if let Some(signature) = &back.signed {
        let known = party.elections.signatures(hash).expect("known");
        assert!(known.contains(signature), "{at}: a countersignature is lost");
    }
    if back.proposed {
        assert!(
            party.elections.signatures(hash).is_ok(),
            "{at}: a proposed order is lost"
        );
    }
}

fn shape() -> Shape {
    Shape {
        cards: true,
        tickets: true,
        ..Shape::default()
    }
}

/// A party in force, at rest, and all that is brought to it.
async fn prepared() -> (World, Script, SimDisk) {
    let mut world = World::new(shape());
    for role in Role::ALL {
        world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
    }
    let server = world.start_in_force(Role::P1).await;
    let script = Script::new(&mut world);
    let disk = server.disk.clone();
    server.running.stop().await;
    (world, script, disk.after_crash(0))
}

/// As it would be if nothing failed; how many operations that takes.
async fn undisturbed(world: &World, script: &Script, base: &SimDisk) -> u64 {
    let disk = base.after_crash(0);
    let party = open(world, &disk).expect("opens");
    let back = bring(&party, script).await;
    assert_eq!(back.count(), ALL, "{back:?}");
    is_whole(&party, script, "undisturbed");
    is_there(&party, script, &back, "undisturbed");
    disk.operations()
}

async fn nothing_acknowledged_is_lost(fail: fn(&SimDisk, u64), seed: u64) {
    let (world, script, base) = prepared().await;
    let operations = undisturbed(&world, &script, &base).await;
    let (mut acknowledged, mut disturbed) = (0, 0);
    for failing in 0..operations {
        let disk = base.after_crash(0);
        fail(&disk, failing);
        let mut back = Acknowledged::default();
        if let Ok(party) = open(&world, &disk) {
            back = bring(&party, &script).await;
        }
        acknowledged += back.count();
        disturbed += usize::from(back.count() < ALL);
        let at = format!("operation {failing}, {} acknowledged", back.count());
        let party = open(&world, &disk.after_crash(seed)).unwrap_or_else(|error| panic!("{at}: {error}"));
        is_whole(&party, &script, &at);
        is_there(&party, &script, &back, &at);
        // Brought again all of it is taken, and what was acknowledged before is answered as before.
        let again = bring(&party, &script).await;
        assert_eq!(again.count(), ALL, "{at}: {again:?}");
        for (before, now) in [
            (&back.ticketed, &again.ticketed),
            (&back.at_station, &again.at_station),
            (&back.waited, &again.waited),
            (&back.issued, &again.issued),
        ] {
            assert!(before.is_none() || before == now, "{at}: another receipt");
        }
        assert!(
            back.enrolled.is_none() || back.enrolled == again.enrolled,
            "{at}: another place"
        );
        is_whole(&party, &script, &at);
        is_there(&party, &script, &again, &at);
    }
    assert!(
        acknowledged > 30 && disturbed > 20,
        "{acknowledged} over {disturbed} failures"
    );
}

#[tokio::test]
async fn what_is_acknowledged_of_any_kind_is_there_after_a_disk_that_fails_for_good() {
    nothing_acknowledged_is_lost(SimDisk::fail_from, 1).await;
}

#[tokio::test]
async fn what_is_acknowledged_of_any_kind_is_there_after_one_operation_that_fails() {
    nothing_acknowledged_is_lost(SimDisk::fail_only, 2).await;
}

#[tokio::test]
async fn a_disk_that_lies_about_syncing_leaves_nothing_by_half() {
    let (world, script, base) = prepared().await;
    let operations = undisturbed(&world, &script, &base).await;
    let (mut opened, mut less) = (0, 0);
    for lying in (0..operations).step_by(3) {
        for seed in [1, 2] {
            let disk = base.after_crash(0);
            disk.lose_syncs_from(lying);
            let party = open(&world, &disk).expect("it works until the power is lost");
            assert_eq!(bring(&party, &script).await.count(), ALL);
            // The power is lost while it serves.
            let left = disk.after_crash(seed);
            drop(party);
            let at = format!("lies from {lying}, seed {seed}");
            // Refused as damaged is an answer too, and so is an engine that gives up over what it reads (the server ends by it): the others have what it
            // acknowledged.
            let reopened = std::panic::AssertUnwindSafe(|| open(&world, &left));
            let party = match std::panic::catch_unwind(reopened) {
                Ok(Ok(party)) => party,
                Ok(Err(_)) | Err(_) => continue,
            };
            opened += 1;
            is_whole(&party, &script, &at);
            let again = bring(&party, &script).await;
            less += usize::from(again.count() == ALL);
            is_whole(&party, &script, &at);
        }
    }
    assert!(
        opened > 0 && less == opened,
        "{opened} opened, {less} took it all again"
    );
    // A server over what its engine gives up on says what has happened and what to do: here the power is lost after the store was closed.
    let mut given_up = None;
    for lying in (0..operations).step_by(3) {
        let disk = base.after_crash(0);
        disk.lose_syncs_from(lying);
        let party = open(&world, &disk).expect("it works until the power is lost");
        assert_eq!(bring(&party, &script).await.count(), ALL);
        drop(party);
        let (left, same) = (disk.after_crash(1), disk.after_crash(1));
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| open(&world, &left))).is_err() {
            given_up = Some(same);
            break;
        }
    }
    let left = given_up.expect("one of the disks is past reading");
    let deps = Deps {
        clock: Arc::new(world.clock.clone()),
        storage: Storage::Backend(Box::new(left)),
        entropy: Arc::new(SeededEntropy::new(7)),
    };
    let refused = Server::start(world.config(Role::P1), deps).await;
    let Err(error) = refused else {
        panic!("a server over a damaged store")
    };
    assert!(matches!(error, ServerError::StoreDamaged(_)), "{error}");
    assert!(
        error.to_string().contains("start with an empty data_dir"),
        "{error}"
    );
}
