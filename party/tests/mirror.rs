//! Three servers that follow each other's logs: catching up, cosigning, getting a log back after a restore, and naming whoever rewrites one.

#[path = "mirror/hidden.rs"]
mod hidden;

use std::time::{Duration, Instant};

use redb::TableDefinition;
use tally_party::server::ServerError;
use tally_party::store::sim::SimDisk;
use tally_party::store::{Storage, Store, StoreError, log};
use tally_proto::ballot::Submission;
use tally_proto::fixture::DRAINED;
use tally_proto::ids::{BoxId, Digest, Hash32, Role, RoleExt as _, StationId, UnixSeconds};
use tally_proto::log::{Accepted, ENTRY_BYTES, Entry, Happening, decode_page};
use tally_proto::note::Checkpoint;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::wire;

use crate::world::three::{DEADLINE, ID, Three, open, open_by_operator, seal, stopped, submit, trust, until};
use crate::world::{reason, refusal};

fn lookup(ballot: &[Submission; 3]) -> wire::LookupRequest {
    wire::LookupRequest {
        election: ID.to_owned(),
        r#box: 1,
        digest: ballot[0].digest().0.to_vec(),
        record: false,
        holder: Vec::new(),
    }
}

/// Whatever write of the catching up fails, also one alone: the server ends, and the next one goes on where the disk stands. Nothing is taken by half.
#[tokio::test(flavor = "multi_thread")]
async fn catching_up_goes_on_after_any_failure_of_the_disk() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let base = stopped(third).await;
    let missed: Vec<_> = (0..30).map(|_| three.world.ballot()).collect();
    for ballot in &missed {
        submit(&one, ballot).await;
        submit(&two, ballot).await;
    }
    let mut failed = 0;
    let mut whole = None;
    for (failing, only) in (0..).flat_map(|failing| [(failing, true), (failing, false)]) {
        let disk = base.after_crash(0);
        let mut third = three.start(Role::P3, disk.clone()).await;
        let at = disk.operations() + failing;
        if only {
            disk.fail_only(at);
        } else {
            disk.fail_from(at);
        }
        let mut asking = third.intake();
        let has_all = async {
            for ballot in &missed {
                until("it has what it lacked", async || {
                    let found = asking.lookup(lookup(ballot)).await;
                    found.is_ok_and(|found| found.into_inner().public.is_some())
                })
                .await;
            }
        };
        let came = tokio::select! {
            ended = third.running.failed() => {
                assert!(matches!(ended, ServerError::StoreFailed), "{ended}");
                false
            }
            () = has_all => true,
        };
        let disk = disk.after_crash(failing);
        third.running.stop().await;
        let third = three.start(Role::P3, disk).await;
        open(&third).await;
        three.caught_up(&third, &[&one, &two]).await;
        for ballot in &missed {
            let found = third
                .intake()
                .lookup(lookup(ballot))
                .await
                .expect("an answer")
                .into_inner();
            assert!(!found.accepted && found.public.is_some(), "operation {failing}");
        }
        failed += usize::from(!came);
        if (came && !only) || failed >= 30 {
            whole = Some(third);
            break;
        }
        third.running.stop().await;
    }
    assert!(failed > 5, "{failed} failures");
    let third = whole.expect("one is left");
    three.caught_up(&one, &[&two, &third]).await;
    three.caught_up(&two, &[&one, &third]).await;
    three.world.clock.set((DRAINED + 1) * 1000);
    let parties = [&one, &two, &third];
    let sealed = futures::future::join_all(parties.map(|party| seal(&three, party))).await;
    assert_eq!(sealed[2].0, 0, "it has what it lacked");
    assert!(sealed.iter().all(|(_, seal)| *seal == sealed[0].1), "one Seal");
    for ballot in &missed {
        let found = one
            .intake()
            .lookup(lookup(ballot))
            .await
            .expect("an answer")
            .into_inner();
        let fate = found.sealed.and_then(|sealed| sealed.fate);
        assert_eq!(
            fate,
            Some(wire::sealed_fate::Fate::OnList(true)),
            "acknowledged and not sealed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_was_away_catches_up_by_itself_and_sealing_has_nothing_to_fill() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let before = three.world.ballot();
    for party in [&one, &two, &third] {
        submit(party, &before).await;
    }
    let mut disk = stopped(third).await;
    let missed: Vec<_> = (0..40).map(|_| three.world.ballot()).collect();
    for ballot in &missed {
        submit(&one, ballot).await;
        submit(&two, ballot).await;
    }
    let alone = three.world.ballot();
    submit(&one, &alone).await;
    // Killed in the midst of catching up, and back again.
    for killed in 0..2 {
        let third = three.start(Role::P3, disk.clone()).await;
        until("begun", async || {
            three.about(&third, Role::P1).await.mirrored > killed
        })
        .await;
        disk = third.disk.after_crash(killed);
        third.running.stop().await;
    }
    let third = three.start(Role::P3, disk).await;
    open(&third).await;
    let back = three.world.ballot();
    submit(&third, &back).await;
    for (party, others) in [
        (&third, [&one, &two]),
        (&one, [&two, &third]),
        (&two, [&one, &third]),
    ] {
        three.caught_up(party, &others).await;
    }
    // What it lacked is known, not accepted; what only one party has it cannot have whole.
    for ballot in &missed {
        let found = third
            .intake()
            .lookup(lookup(ballot))
            .await
            .expect("an answer")
            .into_inner();
        assert!(!found.accepted && found.public.is_some());
    }
    let found = third.intake().lookup(lookup(&alone)).await.expect("an answer");
    assert_eq!(found.into_inner(), wire::LookupReply::default());

    // The others cosign what they have followed, and the owner shows it.
    let keys = three.world.fixture.manifest.manifest().party_keys();
    let id = three.world.fixture.manifest.manifest().election().clone();
    until("cosigned by both", async || {
        let asked = wire::ElectionRef {
            election: ID.to_owned(),
        };
        let reply = third
            .intake()
            .checkpoint(asked)
            .await
            .expect("notes")
            .into_inner();
        if reply.cosigned.is_empty() {
            return false;
        }
        let (checkpoint, by) = Checkpoint::open_cosigned(reply.cosigned.as_bytes(), &id, Role::P3, &keys)
            .expect("this party's own checkpoint");
        let head = Checkpoint::open(reply.note.as_bytes(), &id, Role::P3, &keys[2]).expect("the head");
        by.len() == 2 && checkpoint == head
    })
    .await;

    three.world.clock.set((DRAINED + 1) * 1000);
    let parties = [&one, &two, &third];
    let sealed = futures::future::join_all(parties.map(|party| seal(&three, party))).await;
    for (to_fill, payload) in &sealed {
        assert_eq!(*to_fill, 0, "everything was there before");
        assert_eq!(*payload, sealed[0].1);
    }
    let size = one.running.party().store.read(|tx| {
        let closed = log::last(tx, 1, &Happening::BoxClosed(BoxId(1)))?;
        let sealed = log::last(tx, 1, &Happening::ListMade(BoxId(1), Hash32([0; 32])))?;
        Ok::<_, StoreError>((closed.is_some(), sealed.is_some()))
    });
    assert!(size.expect("read").0);
    until("the log tells the Seal", async || {
        let store = &one.running.party().store;
        let told = store.read(|tx| log::last(tx, 1, &Happening::Sealed(BoxId(1), Hash32([0; 32]))));
        told.expect("read")
            .is_some_and(|(_, hash)| hash == Hash32::of(&sealed[0].1))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_party_gets_its_own_log_back_before_it_accepts_anything() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let early = three.world.ballot();
    for party in [&one, &two, &third] {
        submit(party, &early).await;
    }
    let backup = third.disk.after_crash(1);
    let later: Vec<_> = (0..20).map(|_| three.world.ballot()).collect();
    let mut receipts = Vec::new();
    for ballot in &later {
        submit(&one, ballot).await;
        submit(&two, ballot).await;
        receipts.push(submit(&third, ballot).await);
    }
    // One that no other party has: both halves of what P3 holds are in the others' hands.
    let alone = three.world.ballot();
    receipts.push(submit(&third, &alone).await);
    for other in [&one, &two] {
        three.caught_up(other, &[&third]).await;
    }
    // The last one's receipt is delivered, but not mirrored: the others are not there to follow.
    let (disks, last) = ([stopped(one).await, stopped(two).await], three.world.ballot());
    let receipt = submit(&third, &last).await;
    receipts.push(receipt.clone());
    let whole = three.log_of(&third).await.log_size;
    let root = third.running.party().store.read(|tx| log::root(tx, 1, whole));
    let root = root.expect("read").expect("a root");
    third.running.stop().await;

    let two = three.start(Role::P2, disks[1].clone()).await;
    open_by_operator(&two).await;
    submit(&two, &last).await;
    two.intake().deliver(receipt).await.expect("stored");
    let third = three.start(Role::P3, backup).await;
    // One of the others is not enough: what is missing is known, but not all of it can be had.
    let new = three.world.ballot();
    until("found to be older", async || {
        let refused = refusal(third.intake().submit(third.part(&new)).await);
        assert_eq!(refused.reason, Reason::PartyRecollecting);
        refused.detail.contains("older copy")
    })
    .await;
    // The operator's word does not outweigh what others hold under this party's signature.
    third
        .running
        .party()
        .trust_store(&trust(ID))
        .expect("the operator may say so");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        reason(third.intake().submit(third.part(&new)).await),
        Reason::PartyRecollecting
    );
    let one = three.start(Role::P1, disks[0].clone()).await;
    open(&third).await;
    // With P2 alone it got its log back; of what is behind it P1 has the other half.
    until("whole", async || three.log_of(&third).await.lost == 1).await;
    let now = third.running.party().store.read(|tx| {
        let size = log::size(tx, 1)?;
        Ok::<_, StoreError>((size >= whole, log::root(tx, 1, whole)?, log::lost(tx, 1)?))
    });
    let (longer, same, lost) = now.expect("read");
    assert!(longer && same == Some(root), "the log is verbatim what it was");
    // The last one is in the log again. Its shares nobody else has whole: P1 never saw it.
    assert_eq!(lost, [whole - 1]);
    assert_eq!(three.log_of(&third).await.lost, 1);
    for (ballot, receipt) in later.iter().chain([&alone]).zip(&receipts) {
        assert_eq!(submit(&third, ballot).await, *receipt);
    }
    submit(&third, &new).await;
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_party_down_a_mere_kill_opens_by_itself_and_after_a_boot_the_operator_decides() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let ballot = three.world.ballot();
    submit(&one, &ballot).await;
    submit(&third, &ballot).await;
    three.caught_up(&one, &[&third]).await;
    two.running.stop().await;
    let disk = stopped(third).await;
    let third = three.start(Role::P3, disk).await;
    let began = Instant::now();
    open(&third).await;
    assert!(began.elapsed() < DEADLINE);
    submit(&third, &three.world.ballot()).await;

    // After another boot one that answers is too little, and the operator's word stands in.
    three.caught_up(&one, &[&third]).await;
    let (disk, first_disk) = (stopped(third).await, stopped(one).await);
    three.world.clock.set(three.world.clock_s() * 1000 + 60_000);
    let one = three.start(Role::P1, first_disk).await;
    three.world.boot(Role::P3);
    let third = three.start(Role::P3, disk).await;
    let ballot = three.world.ballot();
    until("asked in vain", async || {
        let refused = refusal(third.intake().submit(third.part(&ballot)).await);
        assert_eq!(refused.reason, Reason::PartyRecollecting);
        refused.detail.contains("operator")
    })
    .await;
    let status = three.log_of(&third).await;
    assert!(status.intake_trouble.contains("party.recollecting"), "{status:?}");
    let operator = three.world.leaf_of(Role::P3, PeerRole::Operator(Role::P3));
    let mut wrong = trust(ID);
    wrong.confirmation = "ward-8".to_owned();
    let refused = third.control(&operator).trust_store(wrong).await;
    assert_eq!(reason(refused), Reason::ConfirmationMismatch);
    let coordinator = three.world.leaf_of(Role::P3, PeerRole::Coordinator);
    let refused = third.control(&coordinator).trust_store(trust(ID)).await;
    assert_eq!(reason(refused), Reason::RoleRefused);
    third
        .control(&operator)
        .trust_store(trust(ID))
        .await
        .expect("taken");
    open(&third).await;
    submit(&third, &ballot).await;
    drop(one);
}

/// Appends made-up entries to the log in a store, as an operator could who rewrites it.
fn rewrite(disk: &SimDisk, role: Role, entries: u8) {
    let store = Store::open(Storage::Backend(Box::new(disk.clone())), role.index()).expect("opens");
    let made_up = |i: u8| {
        Entry::Accepted(Accepted {
            record: false,
            of_box: BoxId(1),
            digest: Digest([i; 32]),
            ciphertext_hash: Hash32([i; 32]),
            received_at: UnixSeconds(1),
        })
    };
    store
        .write(|tx| {
            for i in 0..entries {
                log::append(tx, 1, &made_up(i))?;
            }
            Ok::<_, StoreError>(())
        })
        .expect("written");
}

/// The two notes of a proof are both signed by the named party.
fn check_evidence(three: &Three, about: &wire::PeerLog, named: Role) {
    let manifest = three.world.fixture.manifest.manifest();
    let key = &manifest.party_keys()[named.slot()];
    let open = |note: &String| Checkpoint::open(note.as_bytes(), manifest.election(), named, key);
    let [one, other] = [&about.evidence[0], &about.evidence[1]].map(|note| open(note).expect("signed"));
    assert_ne!(one.root, other.root);
    assert!(about.trouble.contains("log.rewritten"), "{about:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_rewritten_by_its_own_operator_is_proved_and_voting_goes_on() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let backup = third.disk.after_crash(1);
    for _ in 0..5 {
        let ballot = three.world.ballot();
        submit(&third, &ballot).await;
    }
    for other in [&one, &two] {
        three.caught_up(other, &[&third]).await;
    }
    third.running.stop().await;
    rewrite(&backup, Role::P3, 9);
    let third = three.start(Role::P3, backup).await;
    for other in [&one, &two] {
        until("named", async || {
            !three.about(other, Role::P3).await.evidence.is_empty()
        })
        .await;
        let about = three.about(other, Role::P3).await;
        check_evidence(&three, &about, Role::P3);
        assert_eq!(Reason::LogRewritten.code(), "log.rewritten");
    }
    let ballot = three.world.ballot();
    submit(&one, &ballot).await;
    submit(&two, &ballot).await;
    // Its own server does not go on with such a store either, whatever its operator says.
    third.running.party().trust_store(&trust(ID)).expect("taken");
    until("refused", async || {
        let refused = refusal(third.intake().submit(third.part(&ballot)).await);
        refused.reason == Reason::PartyRecollecting && refused.detail.contains("another root")
    })
    .await;
    // The proof outlives a restart.
    let disk = stopped(one).await;
    let one = three.start(Role::P1, disk).await;
    check_evidence(&three, &three.about(&one, Role::P3).await, Role::P3);
}

#[tokio::test(flavor = "multi_thread")]
async fn different_logs_shown_to_two_parties_are_found_when_these_compare() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let start = third.disk.after_crash(1);
    let second_disk = stopped(two).await;
    for _ in 0..4 {
        let ballot = three.world.ballot();
        submit(&third, &ballot).await;
    }
    three.caught_up(&one, &[&third]).await;
    let first_disk = stopped(one).await;
    third.running.stop().await;
    // P2 is shown another log, and finds nothing wrong with it.
    rewrite(&start, Role::P3, 4);
    let third = three.start(Role::P3, start).await;
    let two = three.start(Role::P2, second_disk).await;
    three.caught_up(&two, &[&third]).await;
    assert!(three.about(&two, Role::P3).await.evidence.is_empty());
    third.running.stop().await;
    // P3 is gone, and P1 is back: each of the two has P3's signature under its own view.
    let one = three.start(Role::P1, first_disk).await;
    for party in [&one, &two] {
        until("compared", async || {
            !three.about(party, Role::P3).await.evidence.is_empty()
        })
        .await;
        check_evidence(&three, &three.about(party, Role::P3).await, Role::P3);
    }
}

/// P3's log has `behind` entries that P1 does not have; the first of them is changed on P3's disk. P1 had `mirrored` before.
async fn with_a_changed_entry(mirrored: u64, behind: u64, told: Reason) {
    const ENTRIES: TableDefinition<'static, (u32, u64), &[u8; ENTRY_BYTES]> =
        TableDefinition::new("log_entries");
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    while three.log_of(&third).await.log_size < mirrored {
        let ballot = three.world.ballot();
        submit(&third, &ballot).await;
    }
    until("mirrored", async || {
        three.about(&one, Role::P3).await.mirrored == mirrored
    })
    .await;
    let first_disk = stopped(one).await;
    for _ in 0..behind {
        let ballot = three.world.ballot();
        submit(&third, &ballot).await;
    }
    assert_eq!(three.log_of(&third).await.log_size, mirrored + behind);
    let disk = stopped(third).await;
    {
        let store = Store::open(Storage::Backend(Box::new(disk.clone())), 3).expect("opens");
        let wrong = store.write(|tx| {
            let mut entry = log::entry(tx, 1, mirrored)?.expect("an entry").to_bytes();
            entry[20] ^= 1;
            tx.table_mut(ENTRIES)?.insert((1, mirrored), &entry)?;
            Ok::<_, StoreError>(())
        });
        wrong.expect("written");
    }
    let third = three.start(Role::P3, disk).await;
    let one = three.start(Role::P1, first_disk).await;
    until("told", async || {
        three.about(&one, Role::P3).await.trouble.contains(told.code())
    })
    .await;
    let about = three.about(&one, Role::P3).await;
    assert_eq!(about.mirrored, mirrored, "nothing of it is kept");
    assert!(about.evidence.is_empty(), "a disk error is no proof of a lie");
    drop((two, third));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_not_those_of_the_signed_checkpoint_are_not_taken() {
    // All that the proof needs stands above whole blocks, so P3 does not look below and P1 finds it.
    with_a_changed_entry(16, 16, Reason::LogPageWrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_whose_entry_was_changed_by_its_disk_serves_no_proof_over_it_and_says_so() {
    with_a_changed_entry(6, 2, Reason::StoreFailed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_shares_are_for_parties_and_bounded() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let ballot = three.world.ballot();
    submit(&one, &ballot).await;
    let request = wire::LogRequest {
        election: ID.to_owned(),
        from: 0,
        most: u32::MAX,
    };
    let share = wire::FillRequest {
        election: ID.to_owned(),
        r#box: 1,
        ballots: vec![ballot[0].digest().0.to_vec(), vec![7; 32]],
        records: Vec::new(),
    };
    for role in [
        PeerRole::Coordinator,
        PeerRole::Station(StationId(1)),
        PeerRole::Operator(Role::P1),
    ] {
        let mut client = three.client(&one, role, Role::P1);
        assert_eq!(reason(client.log(request.clone()).await), Reason::RoleRefused);
        assert_eq!(reason(client.mirror(request.clone()).await), Reason::RoleRefused);
        assert_eq!(
            reason(client.share(share.clone()).await.map(drop)),
            Reason::RoleRefused
        );
        assert_eq!(
            reason(client.recall(wire::RecallRequest {}).await),
            Reason::RoleRefused
        );
    }
    let mut client = three.client(&one, PeerRole::Party(Role::P2), Role::P2);
    until("published", async || {
        let page = client.log(request.clone()).await.expect("a page").into_inner();
        let entries = decode_page(&page.entries).expect("entries");
        matches!(entries.last(), Some(Entry::Accepted(of)) if of.digest == ballot[0].digest())
            && matches!(entries.first(), Some(Entry::Event(Happening::Complete(_), _)))
    })
    .await;
    let mut beyond = request.clone();
    beyond.from = 1 << 40;
    assert_eq!(reason(client.log(beyond).await), Reason::LogRange);
    let mut many = share.clone();
    many.ballots = vec![vec![7; 32]; 1025];
    assert_eq!(
        reason(client.share(many).await.map(drop)),
        Reason::MessageMalformed
    );

    // Of P1's two shares each caller gets the one that it holds anyway, and an empty part for what P1 does not have.
    let manifest = three.world.fixture.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box");
    let context = tally_proto::shares::ShareContext::ballot(manifest.election(), of_box);
    for (caller, common, other) in [(Role::P2, Role::P2, Role::P1), (Role::P3, Role::P1, Role::P2)] {
        let mut client = three.client(&one, PeerRole::Party(caller), caller);
        let mut parts = client.share(share.clone()).await.expect("parts").into_inner();
        let part = parts.message().await.expect("a part").expect("a part");
        let nonce = <[u8; 32]>::try_from(part.nonce.as_slice()).expect("32 bytes");
        let opening = tally_proto::shares::Opening::from_parts(
            zeroize::Zeroizing::new(nonce),
            zeroize::Zeroizing::new(part.share),
        );
        let commitments = ballot[0].header().commitments();
        assert!(context.check(common, &opening, commitments).is_ok());
        assert!(context.check(other, &opening, commitments).is_err());
        let empty = parts.message().await.expect("a part").expect("a part");
        assert_eq!(empty, wire::FillPart::default());
    }

    // A cosignature is of this party's own checkpoint, by its bearer.
    let checkpoint = |root, size| Checkpoint {
        election: manifest.election().clone(),
        party: Role::P1,
        size,
        root,
    };
    let (owner, two_key) = (&three.world.fixture.signers[0], &three.world.fixture.signers[1]);
    let real = one.running.party().store.read(|tx| log::root(tx, 1, 1));
    let real = checkpoint(real.expect("read").expect("a root"), 1);
    let made_up = checkpoint(Hash32([1; 32]), 1);
    let line = |of: &Checkpoint, by, key| of.cosign(by, UnixSeconds(5), key).line;
    for note in [
        made_up.sign(owner) + &line(&made_up, Role::P2, two_key),
        real.sign(owner),
        real.sign(two_key) + &line(&real, Role::P2, two_key),
        real.sign(owner) + &line(&real, Role::P3, two_key),
        "x".repeat(40_000),
    ] {
        assert_eq!(
            reason(client.cosign(wire::CosignRequest { note }).await),
            Reason::LogCosignature
        );
    }
    let note = real.sign(owner) + &line(&real, Role::P2, two_key);
    client.cosign(wire::CosignRequest { note }).await.expect("taken");
    drop((two, third));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_gets_elections_log_and_ballots_from_the_two_others() {
    let mut three = Three::new();
    let [one, two, third] = three.all().await;
    let ballots: Vec<_> = (0..10).map(|_| three.world.ballot()).collect();
    let mut receipts = Vec::new();
    for ballot in &ballots {
        submit(&one, ballot).await;
        submit(&two, ballot).await;
        receipts.push(submit(&third, ballot).await);
    }
    let station = StationId(2);
    let order = three.world.fixture.order(
        1,
        tally_proto::order::Change::Revocation(tally_proto::order::Revocation {
            station,
            from: UnixSeconds(three.world.clock_s()),
        }),
    );
    let coordinator = three.world.fixture.coordinator.public_key();
    for party in [&one, &two, &third] {
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
    let store = &third.running.party().store;
    until("the order is in the log", async || {
        let told = store.read(|tx| log::last(tx, 1, &Happening::Order(1, Hash32([0; 32]))));
        told.expect("read").is_some()
    })
    .await;
    for other in [&one, &two] {
        three.caught_up(other, &[&third]).await;
    }
    let size = three.log_of(&third).await.log_size;
    let root = third.running.party().store.read(|tx| log::root(tx, 1, size));
    let root = root.expect("read");
    third.running.stop().await;

    // An empty disk and memory, with the party's keys.
    three.world.boot(Role::P3);
    let third = three.start(Role::P3, SimDisk::new()).await;
    until("taken over", async || {
        third.running.party().elections.get(ID).is_ok()
    })
    .await;
    open(&third).await;
    let store = &third.running.party().store;
    assert_eq!(store.read(|tx| log::root(tx, 1, size)).expect("read"), root);
    // What came too slowly at first is mended afterwards.
    until("nothing is lost", async || {
        let lost = store.read(|tx| log::lost(tx, 1));
        lost.expect("read").is_empty()
    })
    .await;
    for (ballot, receipt) in ballots.iter().zip(&receipts) {
        assert_eq!(submit(&third, ballot).await, *receipt);
    }
    let election = third.running.party().elections.get(ID).expect("known");
    assert!(election.effective().revoked_from(station).is_some());
    submit(&third, &three.world.ballot()).await;
    drop((one, two));
}
