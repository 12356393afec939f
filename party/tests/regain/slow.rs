//! Somebody who drags a restored party's log out, an entry at a time, each a little sooner than would be called late by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message as _;
use tally_party::store::{StoreError, log};
use tally_proto::envelope::Signer;
use tally_proto::ids::{ElectionId, Hash32, Role};
use tally_proto::log::ENTRY_BYTES;
use tally_proto::note::Checkpoint;
use tally_proto::pki::PeerRole;
use tally_proto::wire;

use super::{state, with_liar};
use crate::world::Party;
use crate::world::liar::{Liar, change};
use crate::world::three::{ID, Three, open, stopped, submit, until};

const ENTRIES: usize = 60;
/// Not late by itself.
const EACH: Duration = Duration::from_millis(900);

/// The roots of that election's log of P1 at each length. P1 signed them all, as `Log{from, most: 1}` shows anybody who follows.
fn roots(one: &Party, election: &str) -> Vec<Hash32> {
    let party = one.running.party();
    let number = party.elections.get(election).expect("known").number();
    let read = party.store.read(|tx| {
        let size = log::size(tx, number)?;
        let roots = (0..=size).map(|size| log::root(tx, number, size));
        roots.collect::<Result<Option<Vec<_>>, StoreError>>()
    });
    read.expect("read").expect("all of them")
}

/// P2 gives P1 an entry at a time of these elections, slowly. Returns how often it was asked for one.
fn trickles(three: &Three, two: &Liar, of: Vec<(&'static str, Vec<Hash32>)>) -> Arc<AtomicUsize> {
    let signer = Signer::from_seed(&*three.world.fixture.signers[0].seed()).expect("a key");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    two.lies(move |caller, method, asked, honest| {
        if (caller, method) != (Role::P1, "Mirror") {
            return honest;
        }
        let asked = wire::LogRequest::decode(asked).expect("a request");
        let Some((_, roots)) = of.iter().find(|(election, _)| **election == *asked.election) else {
            return honest;
        };
        count.fetch_add(1, Ordering::Relaxed);
        change(honest, |page: &mut wire::LogPage| {
            let size = asked.from + 1;
            let checkpoint = Checkpoint {
                election: ElectionId::new(&asked.election).expect("an election"),
                party: Role::P1,
                size,
                root: roots[usize::try_from(size).expect("small")],
            };
            page.entries.truncate(ENTRY_BYTES);
            page.note = checkpoint.sign(&signer);
        })
    });
    two.delays(|caller, method| match (caller, method) {
        (Role::P1, "Mirror") => EACH,
        _ => Duration::ZERO,
    });
    asked
}

/// Ballots of the election that the world is at, for P1 alone.
async fn cast(three: &mut Three, one: &Party, count: usize) {
    for _ in 0..count {
        let ballot = three.world.ballot();
        submit(one, &ballot).await;
    }
}

/// Waits until `party` has mirrored all of P1's log of that election.
async fn mirrored(three: &Three, party: &Party, one: &Party, election: &'static str) {
    let size = roots(one, election).len() as u64 - 1;
    let leaf = three.world.leaf_of(party.role, PeerRole::Operator(party.role));
    until("mirrored", async || {
        let asked = wire::StatusRequest {
            election: election.to_owned(),
        };
        let status = party.control(&leaf).status(asked).await.expect("status");
        let of = status.into_inner().elections.remove(0);
        let about = of.peers.into_iter().find(|peer| peer.party == 1).expect("P1");
        about.mirrored >= size && about.behind == 0
    })
    .await;
}

fn is_open(party: &Party, election: &str) -> bool {
    let party = party.running.party();
    let election = party.elections.get(election);
    election.is_ok_and(|election| party.gate.is_open(election.number()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_that_is_never_late_is_left_for_whoever_gives() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    let backup = one.disk.after_crash(1);
    // P3 takes them over in one page, and so gives them back.
    let last = stopped(third).await;
    cast(&mut three, &one, ENTRIES).await;
    let third = three.start(Role::P3, last).await;
    mirrored(&three, &third, &one, ID).await;
    let last = stopped(third).await;
    // The liar has more, so it is asked first.
    cast(&mut three, &one, 1).await;
    mirrored(&three, &two.party, &one, ID).await;
    let roots = roots(&one, ID);
    let (size, root) = (roots.len() as u64 - 1, roots.last().copied());
    one.running.stop().await;
    let third = three.start(Role::P3, last).await;
    let asked = trickles(&three, &two, vec![(ID, roots)]);
    let one = three.start(Role::P1, backup).await;
    open(&one).await;
    let (now, same, _) = state(&one, size);
    assert!(now >= size && same == root, "verbatim: {now} of {size}");
    // Twice; a few times more where P3 was not asked yet; and for what P3 lacks.
    let asked = asked.load(Ordering::Relaxed);
    assert!((2..=12).contains(&asked), "asked {asked} times");
    // The shares that only it has are asked of it later, when it does not count as slow any more.
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_that_only_a_trickle_brings_back_hold_up_no_other() {
    let mut three = Three::new();
    let (one, two, third) = with_liar(&three).await;
    for election in ["ward-8", "ward-9"] {
        three.world.define_another(election);
        for party in [&one, &two.party, &third] {
            three.world.put_in_force(party).await;
        }
        for party in [&one, &two.party, &third] {
            until("open", async || is_open(party, election)).await;
        }
    }
    let backup = one.disk.after_crash(1);
    cast(&mut three, &one, 3).await;
    for other in [&two.party, &third] {
        mirrored(&three, other, &one, "ward-9").await;
    }
    let last = stopped(third).await;
    // As many as are worked on at once.
    let dragged = ["ward-8", ID];
    for election in dragged {
        three.world.define_another(election);
        cast(&mut three, &one, ENTRIES).await;
        mirrored(&three, &two.party, &one, election).await;
    }
    let all = dragged.map(|election| (election, roots(&one, election)));
    one.running.stop().await;
    let third = three.start(Role::P3, last).await;
    trickles(&three, &two, all.to_vec());
    let one = three.start(Role::P1, backup).await;
    until("the third is open", async || is_open(&one, "ward-9")).await;
    assert!(!dragged.iter().any(|election| is_open(&one, election)));
    two.lies(|_, _, _, honest| honest);
    two.delays(|_, _| Duration::ZERO);
    for election in dragged {
        until("the others are", async || is_open(&one, election)).await;
    }
    drop(third);
}
