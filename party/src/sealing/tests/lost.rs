//! What a restored party's own log names and its store does not hold whole is on its List all the same; and a List that has to be made again is the
//! same.

use futures::StreamExt as _;
use redb::TableDefinition;
use tally_proto::audit::{Check, Verdict};
use tally_proto::ids::{BoxId, Hash32, Role, UnixSeconds};
use tally_proto::log::{Entry, Happening};
use tally_proto::wire;

use super::super::tables::{self, BoxKey, Once};
use super::super::{Basis, Lie, PeerError, SealError, SealedBox};
use super::network::Saboteur;
use super::objects::Made;
use super::world::{BOX, World, election};
use crate::store::tables::DigestKey;
use crate::store::{Kind, StoreError, accepted, boxes, log};

type Answered<T> = Result<T, PeerError>;

const BALLOTS: TableDefinition<'static, DigestKey, u64> = TableDefinition::new("ballots");

/// P1 accepted a ballot, lost it with its disk, and has got its log back, and of what is behind it the halves that `from` gave.
async fn lose(world: &World, made: &Made, from: &[Role]) {
    world
        .store(Role::P1)
        .write(|tx| {
            let row = accepted::get(tx, Kind::Ballot, 1, BOX, &made.digest.0)?.expect("accepted");
            tx.table_mut(BALLOTS)?.remove((1, BOX, &made.digest.0))?;
            log::put_lost(tx, 1, row.position)
        })
        .expect("written");
    let request = wire::FillRequest {
        election: election().as_str().to_owned(),
        r#box: BOX,
        ballots: vec![made.digest.0.to_vec()],
        records: Vec::new(),
    };
    let own = world.sealing(Role::P1);
    for from in from {
        let parts = world.sealing(*from).share(Role::P1, request.clone()).await;
        let parts = parts.expect("served").collect::<Vec<_>>().await;
        let parts = parts.into_iter().collect::<Result<_, _>>().expect("given");
        let place = (request.election.as_str(), BOX);
        let batch = own.check_shares(place, Kind::Ballot, vec![made.digest], *from, parts);
        let batch = batch.await.expect("checked");
        assert_eq!(batch.dropped(), 0);
        let kept = world.store(Role::P1).write(|tx| own.keep(tx, &batch));
        kept.expect("kept");
    }
}

fn failed(sealed: &SealedBox) -> Vec<(Check, String)> {
    let items = sealed.audit().expect("readable");
    let failed = items.into_iter().filter(|item| item.verdict == Verdict::Failed);
    failed.map(|item| (item.check, item.detail)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_restored_party_accepted_is_listed_and_filled() {
    let mut world = World::new();
    let (lost, other) = (world.online(10), world.online(20));
    for made in [&lost, &other] {
        for role in Role::ALL {
            let receipt = world.accept_in_time(made, role);
            for to in [role.next(), role.prev()] {
                world.deliver(&receipt, to);
            }
        }
    }
    lose(&world, &lost, &[Role::P3]).await;
    let sealed = world.sealed().await;
    assert!(sealed[0].rows().contains(&lost.digest), "nothing is dropped");
    assert_eq!(failed(&sealed[0]), [], "and its agency is not blamed");
    let key = BoxKey {
        election: 1,
        of_box: BOX,
    };
    let listed = world
        .store(Role::P1)
        .read(|tx| tables::lists(tx, key, 1, Kind::Ballot, &lost.digest.0));
    assert!(listed.expect("read"));
}

/// P2 gives P1 no share of anything, and no answer to a complaint.
struct Withholds;

impl Saboteur for Withholds {
    fn fill(
        &self,
        from: Role,
        to: Role,
        _: &wire::FillRequest,
        parts: Answered<Vec<wire::FillPart>>,
    ) -> Answered<Vec<wire::FillPart>> {
        if (from, to) == (Role::P2, Role::P1) {
            return Ok(vec![wire::FillPart::default(); parts?.len()]);
        }
        parts
    }

    fn answer(
        &self,
        from: Role,
        _: &wire::Envelope,
        _: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        Err(PeerError::Unreachable {
            peer: from,
            detail: "nothing to say".to_owned(),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn who_withholds_a_share_from_a_restored_party_is_named_by_two() {
    let mut world = World::sabotaged(Withholds);
    let lost = world.online(10);
    for role in Role::ALL {
        let receipt = world.accept_in_time(&lost, role);
        for to in [role.next(), role.prev()] {
            world.deliver(&receipt, to);
        }
    }
    lose(&world, &lost, &[Role::P3]).await;
    let runs = world.seal(&Role::ALL).await;
    let Err(SealError::Aborted(abort)) = &runs[0] else {
        panic!("P1 has half of it: {:?}", runs[0])
    };
    let finding = &abort.finding;
    assert_eq!(
        (finding.named, finding.lie, finding.basis),
        (Role::P2, Lie::Silent, Basis::Stated)
    );
    assert_eq!(finding.digest, Some(lost.digest));
    for run in &runs[1..] {
        if let Err(SealError::Aborted(abort)) = run {
            assert_ne!(abort.finding.named, Role::P1, "{:?}", abort.finding);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_audit_names_what_is_said_to_be_lost_and_is_on_no_list() {
    let mut world = World::new();
    let (hidden, other) = (world.online(10), world.online(20));
    world.accept_in_time(&hidden, Role::P1);
    for role in Role::ALL {
        world.accept_in_time(&other, role);
    }
    // Its operator would rather that this one was lost.
    lose(&world, &hidden, &[]).await;
    let sealed = world.sealed().await;
    let failed = failed(&sealed[0]);
    let [(Check::Log, detail)] = failed.as_slice() else {
        panic!("{failed:?}")
    };
    assert!(detail.contains(&hidden.digest.to_string()), "{detail}");
}

fn list(world: &World) -> Option<Vec<u8>> {
    let key = BoxKey {
        election: 1,
        of_box: BOX,
    };
    let signed = world
        .store(Role::P1)
        .read(|tx| tables::signed(tx, key, Once::List, 1));
    signed.expect("read")
}

/// P1 gets its log back from that place on, as a restored party does.
fn log_back(world: &World, entries: &[Entry]) {
    world
        .store(Role::P1)
        .write(|tx| {
            for entry in entries {
                log::append(tx, 1, entry)?;
                if let Entry::Event(Happening::BoxClosed(of_box), _) = entry {
                    boxes::freeze(tx, 1, of_box.get())?;
                }
            }
            Ok::<_, StoreError>(())
        })
        .expect("written");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_made_again_is_the_same_byte_by_byte() {
    let mut world = World::new();
    for after_s in [10, 20, 30] {
        let made = world.online(after_s);
        world.accept_by_all(&made);
    }
    let backup = world.backup(Role::P1);
    let before = world.store(Role::P1).read(|tx| log::size(tx, 1)).expect("read");
    let waits = world.seal(&[Role::P1]).await.remove(0);
    assert!(waits.is_err(), "the others have no List yet: {waits:?}");
    let first = list(&world).expect("signed");
    let hash = tally_proto::envelope::Envelope::decode(&first)
        .expect("an envelope")
        .hash();
    let mut later = Vec::new();
    let store = world.store(Role::P1);
    store
        .read(|tx| {
            log::for_each(tx, 1, |at, entry| {
                later.extend((at >= before).then_some(entry));
                Ok::<_, StoreError>(())
            })
        })
        .expect("read");
    assert!(matches!(
        later.as_slice(),
        [Entry::Event(Happening::BoxClosed(_), _)]
    ));
    let at = UnixSeconds(5);
    let made = |hash| Entry::Event(Happening::ListMade(BoxId(BOX), hash), at);
    let elsewhere = Entry::Event(Happening::BoxClosed(BoxId(BOX + 1)), at);
    // Lost right after the closing, and when the log told the List already; nobody else was shown it.
    for more in [vec![], vec![elsewhere], vec![elsewhere, made(hash)]] {
        world.restore(Role::P1, &backup);
        log_back(&world, &[later.as_slice(), &more].concat());
        assert_eq!(list(&world), None);
        let waits = world.seal(&[Role::P1]).await.remove(0);
        assert!(waits.is_err());
        assert_eq!(list(&world), Some(first.clone()));
    }
    // Its log names another one: nothing is signed.
    world.restore(Role::P1, &backup);
    log_back(&world, &[later.as_slice(), &[made(Hash32([9; 32]))]].concat());
    let refused = world.seal(&[Role::P1]).await.remove(0);
    assert!(
        matches!(refused, Err(SealError::ListedOther { .. })),
        "{refused:?}"
    );
    assert_eq!(list(&world), None);
}
