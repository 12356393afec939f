//! A new machine in place of a lost one, where the others hold many elections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tally_party::alarm::Alarm;
use tally_party::store::compared;
use tally_party::store::sim::SimDisk;
use tally_proto::fixture::DRAINED;
use tally_proto::ids::{Role, RoleExt as _, UnixMillis};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::world::liar::change;
use crate::world::three::{ID, Three, open, stopped, submit, until};
use crate::world::{Party, reason, word};

/// More than are taken over in one turn, and than two turns take.
const ELECTIONS: usize = 130;

fn id(i: usize) -> String {
    format!("ward-{i:03}")
}

/// Puts that many elections in force at these parties.
async fn define(three: &mut Three, count: usize, parties: &[&Party]) {
    for i in 0..count {
        three.world.define_another(&id(i));
        for party in parties {
            three.world.put_in_force(party).await;
        }
    }
}

fn in_force(party: &Party) -> usize {
    let all = party.running.party().elections.all();
    all.iter()
        .filter(|election| election.signed_manifest().is_complete())
        .count()
}

fn not_taken_over(party: &Party) -> Vec<String> {
    let standing = party.running.party().alarms.standing();
    let of = standing
        .into_iter()
        .filter(|standing| standing.alarm == Alarm::NotTakenOver);
    of.map(|standing| standing.about).collect()
}

/// Whether `of` takes votes in every election, and `party` has its logs to their ends.
async fn follows_all(party: &Party, of: &Party) -> bool {
    let (of_number, of) = (of.role.number(), of.running.party());
    if of.elections.all().len() != ELECTIONS + 1 {
        return false;
    }
    let is_open = |number| of.gate.is_open(number);
    if !of
        .elections
        .all()
        .iter()
        .all(|election| is_open(election.number()))
    {
        return false;
    }
    let (logs, known) = (of.status("").await, party.running.party().status("").await);
    let (logs, known) = (
        logs.expect("a status").elections,
        known.expect("a status").elections,
    );
    logs.iter().all(|log| {
        let known = known.iter().find(|known| known.election == log.election);
        let mut peers = known.into_iter().flat_map(|known| &known.peers);
        peers.any(|peer| peer.party == of_number && peer.mirrored == log.log_size)
    })
}

/// When its store was last found to hold all that P1, and that P2, have in force.
fn compared(third: &Party) -> [Option<UnixMillis>; 2] {
    let store = &third.running.party().store;
    [Role::P1, Role::P2].map(|peer| store.read(|tx| compared::at(tx, peer)).expect("read"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_gets_every_election_however_many_the_others_hold() {
    let mut three = Three::new();
    // Else nothing is done but looking at hundreds of logs.
    three.every_ms = 100;
    let [one, two, lost] = three.all().await;
    define(&mut three, ELECTIONS, &[&one, &two]).await;
    // What nobody has followed to its end needs the operator's word.
    for other in [&one, &two] {
        until("followed", async || follows_all(other, &lost).await).await;
    }
    stopped(lost).await;
    // Else the machine knows of entries that the lost store had, and that nobody else may have seen.
    three.world.boot(Role::P3);
    let third = three.start(Role::P3, SimDisk::new()).await;
    // With the one that all of them begin with.
    until("all are in force", async || in_force(&third) == ELECTIONS + 1).await;
    let (new, old) = (third.running.party(), one.running.party());
    for i in 0..ELECTIONS {
        let taken = new.elections.get(&id(i)).expect("taken over");
        let known = old.elections.get(&id(i)).expect("known");
        assert_eq!(taken.signed_manifest().hash(), known.signed_manifest().hash());
    }
    // And it takes votes of each, once the others have said that they know of none of its own.
    until("all are open", async || {
        let all = new.elections.all();
        all.iter().all(|election| new.gate.is_open(election.number()))
    })
    .await;
    assert_eq!(not_taken_over(&third), Vec::<String>::new());
    // Its store can say so from now on: `rotate-hpke` would be refused before.
    let now = Some(UnixMillis(three.world.clock_s() * 1000));
    until("both have nothing more", async || compared(&third) == [now, now]).await;
    drop(two);
}

/// The keys that sign stay. What is not signed by all is of the identities of now, or nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_gets_an_election_of_before_a_change_of_hpke_keys() {
    let mut three = Three::new();
    let [one, two, lost] = three.all().await;
    let ballot = three.world.ballot();
    for party in [&one, &two, &lost] {
        submit(party, &ballot).await;
    }
    for other in [&one, &two] {
        three.caught_up(other, &[&lost]).await;
    }
    stopped(lost).await;
    three.world.boot(Role::P3);
    // Its own, and another's: both differ from what the election's manifest names.
    for role in [Role::P2, Role::P3] {
        three.world.rotate_hpke(role);
    }
    let third = three.start(Role::P3, SimDisk::new()).await;
    let refused = three.world.publish(&third).await.expect_err("of keys of before");
    let refused = Refusal::from_status(&refused).expect("a reason");
    assert_eq!(refused.reason, Reason::ManifestIdentity, "{refused}");

    until("the election is in force", async || in_force(&third) == 1).await;
    open(&third).await;
    let digest = ballot[0].header().digest();
    until("the ballot is back", async || word(&third, &digest).is_some()).await;
    assert_eq!(not_taken_over(&third), Vec::<String>::new());
    // What it is sent from now on it cannot open, and says so as long as anything is sent.
    let other_key = async |party: &Party| {
        let status = party.running.party().status("").await.expect("a status");
        let of = status
            .alarms
            .into_iter()
            .filter(|alarm| alarm.code == "election.other-key");
        of.map(|alarm| (alarm.about, alarm.detail)).collect::<Vec<_>>()
    };
    let ballot = three.world.ballot();
    let refused = third.intake().submit(third.part(&ballot)).await;
    assert_eq!(reason(refused), Reason::ShareUnopenable);
    let told = other_key(&third).await;
    let [(about, detail)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        about == ID && detail.contains("election ward-7 names another HPKE key of P3 than is here"),
        "{detail}"
    );
    for party in [&one, &two] {
        assert_eq!(other_key(party).await, [], "the keys that they have are named");
    }
    three.world.clock.set((DRAINED + 1) * 1000);
    assert_eq!(other_key(&third).await, [], "nothing is sent any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_elections_delay_a_new_machine_and_keep_no_true_one_from_it() {
    let mut three = Three::new();
    let one = three.start_liar(Role::P1, SimDisk::new()).await;
    define(&mut three, 3, &[&one.party]).await;
    let turns = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&turns);
    one.lies(move |_, method, _, honest| match method {
        "LogHeads" => change(honest, |reply: &mut wire::LogHeadsReply| {
            asked.fetch_add(1, Ordering::Relaxed);
            // In front of the true ones by every order, and one of them twice.
            let made_up = |i| wire::LogHead {
                election: format!("made-up-{i:04}"),
                size: 7,
                ..Default::default()
            };
            let again = reply.heads[0].clone();
            let heads = (0..1000).map(made_up).chain([again]);
            let heads = heads.chain(std::mem::take(&mut reply.heads));
            reply.heads = heads.collect();
        }),
        _ => honest,
    });
    // P2 is away: nobody else has them.
    let third = three.start(Role::P3, SimDisk::new()).await;
    until("told", async || not_taken_over(&third) == ["P1"]).await;
    assert_eq!(in_force(&third), 0);
    until("the true ones are in force", async || in_force(&third) == 3).await;
    assert!(turns.load(Ordering::Relaxed) >= 1000 / 64);
    assert_eq!(not_taken_over(&third), ["P1"], "the made-up ones are told, once");
    assert_eq!(compared(&third), [None, None], "nobody knows that it has all");
}

/// It may have lost its own store: that it has nothing which is not here says nothing of what this store may lack.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_lacks_what_is_in_force_here_is_no_witness_for_this_store() {
    let mut three = Three::new();
    let one = three.start_liar(Role::P1, SimDisk::new()).await;
    define(&mut three, 2, &[&one.party]).await;
    let (lacks, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (lacking, asked) = (Arc::clone(&lacks), Arc::clone(&turns));
    one.lies(move |_, method, _, honest| match method {
        "LogHeads" => change(honest, |reply: &mut wire::LogHeadsReply| {
            asked.fetch_add(1, Ordering::SeqCst);
            if lacking.load(Ordering::SeqCst) {
                reply.heads.retain(|head| head.election != id(0));
            }
        }),
        _ => honest,
    });
    let looked_twice_more = async || {
        let before = turns.load(Ordering::SeqCst);
        until("looked at twice more", async || {
            turns.load(Ordering::SeqCst) >= before + 3
        })
        .await;
    };
    let third = three.start(Role::P3, SimDisk::new()).await;
    until("both are in force", async || in_force(&third) == 2).await;
    let at = |seconds: u64| Some(UnixMillis(seconds * 1000));
    let begun = three.world.clock_s();
    until("compared", async || compared(&third) == [at(begun), None]).await;
    // What it was told before is done with, and the time that passes is long enough to be noted.
    lacks.store(true, Ordering::SeqCst);
    looked_twice_more().await;
    three.world.clock.set((begun + 3600) * 1000);
    looked_twice_more().await;
    assert_eq!(compared(&third), [at(begun), None]);
    lacks.store(false, Ordering::SeqCst);
    until("compared again", async || {
        compared(&third) == [at(begun + 3600), None]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_with_rows_too_many_is_refused_and_had_from_the_other() {
    let mut three = Three::new();
    let one = three.start_liar(Role::P1, SimDisk::new()).await;
    define(&mut three, 1, &[&one.party]).await;
    one.lies(|_, method, _, honest| match method {
        "Roll" => change(honest, |part: &mut wire::RollPart| {
            let rows = part.entries.clone();
            part.entries.extend(rows.iter().cycle().take(1000).cloned());
        }),
        _ => honest,
    });
    let third = three.start(Role::P3, SimDisk::new()).await;
    until("told", async || not_taken_over(&third) == ["P1"]).await;
    let standing = third.running.party().alarms.standing();
    let told = standing
        .iter()
        .find(|of| of.alarm == Alarm::NotTakenOver)
        .expect("it stands");
    assert!(told.detail.contains("message.too-large"), "{}", told.detail);
    // It is at it most of the time, and the other has its turn in between.
    one.delays(|_, method| match method {
        "Roll" => Duration::from_secs(2),
        _ => Duration::ZERO,
    });
    let two = three.start(Role::P2, SimDisk::new()).await;
    three.world.put_in_force(&two).await;
    until("had from P2", async || in_force(&third) == 1).await;
}
