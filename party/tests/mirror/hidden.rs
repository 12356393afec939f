//! A party that answers, and hides its log from both others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tally_party::alarm::Alarm;
use tally_party::clock_watch::compare;
use tally_party::store::sim::SimDisk;
use tally_party::store::{Storage, log};
use tally_proto::connect;
use tally_proto::fixture::Shape;
use tally_proto::ids::Role;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tonic::Status;

use crate::world::liar::{Answer, Liar, change};
use crate::world::three::{ID, Three, open, submit, until};
use crate::world::{Party, World, reason};

fn busy() -> Status {
    Refusal::new(Reason::PartyBusy, "four questions are open here").into()
}

fn standing(party: &Party, alarm: Alarm) -> Option<String> {
    let standing = party.running.party().alarms.standing();
    let of = standing.into_iter().find(|of| of.alarm == alarm)?;
    assert_eq!(of.about, "P2");
    Some(of.detail)
}

/// The clock goes on by as much as a party may be silent, and everybody's clock is looked at.
async fn time_passes(three: &Three, one: &Party) {
    // In steps: whoever answers is not lost.
    for _ in 0..2 {
        three.world.clock.set((three.world.clock_s() + 70) * 1000);
        compare(one.running.party()).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

/// The lie is told to P1 until the alarm stands; then the truth, until it ends.
async fn is_told(
    three: &mut Three,
    one: &Party,
    two: &Liar,
    words: &str,
    lie: impl Fn(&str, Answer) -> Answer + Send + Sync + 'static,
) {
    two.lies(move |caller, method, _, honest| match caller {
        Role::P1 => lie(method, honest),
        _ => honest,
    });
    until(words, async || {
        let ballot = three.world.ballot();
        let receipt = submit(&two.party, &ballot).await;
        submit(one, &ballot).await;
        one.intake().deliver(receipt).await.expect("stored");
        time_passes(three, one).await;
        standing(one, Alarm::NotFollowed).is_some_and(|detail| detail.contains(words) && detail.contains(ID))
    })
    .await;
    assert_eq!(standing(one, Alarm::PartyLost), None, "it answers");
    two.lies(|_, _, _, honest| honest);
    until("followed again", async || {
        standing(one, Alarm::NotFollowed).is_none()
    })
    .await;
    three.caught_up(one, &[&two.party]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_and_hides_its_log_is_told_however_it_calls_it() {
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
    // An hour of honesty raises nothing.
    for _ in 0..30 {
        time_passes(&three, &one).await;
        three.caught_up(&one, &[&two.party, &third]).await;
    }
    assert_eq!(standing(&one, Alarm::NotFollowed), None);

    is_told(
        &mut three,
        &one,
        &two,
        "party.busy",
        |method, honest| match method {
            "LogHeads" => Err(busy()),
            _ => honest,
        },
    )
    .await;
    is_told(
        &mut three,
        &one,
        &two,
        "no such log",
        |method, honest| match method {
            "LogHeads" => change(honest, |reply: &mut wire::LogHeadsReply| reply.heads.clear()),
            _ => honest,
        },
    )
    .await;
    is_told(
        &mut three,
        &one,
        &two,
        "party.busy",
        |method, honest| match method {
            "Log" => Err(busy()),
            _ => honest,
        },
    )
    .await;
    // Nor does it help to take the mirror's own checkpoint for a page.
    let last: Arc<Mutex<Option<String>>> = Arc::default();
    is_told(
        &mut three,
        &one,
        &two,
        "could be mirrored",
        move |method, honest| {
            let mut last = last.lock().expect("a lock");
            match method {
                "Log" => change(honest, |page: &mut wire::LogPage| match &*last {
                    None => *last = Some(page.note.clone()),
                    Some(note) => {
                        page.note.clone_from(note);
                        page.entries.clear();
                    }
                }),
                _ => honest,
            }
        },
    )
    .await;
    // It names what it once was for ever: voters have receipts for more.
    let size = three.about(&one, Role::P2).await.mirrored;
    is_told(
        &mut three,
        &one,
        &two,
        "receipts",
        move |method, honest| match method {
            "LogHeads" => change(honest, |reply: &mut wire::LogHeadsReply| {
                reply.heads[0].size = size;
            }),
            _ => honest,
        },
    )
    .await;
    // Fewer than it signed.
    is_told(
        &mut three,
        &one,
        &two,
        "could be mirrored",
        |method, honest| match method {
            "LogHeads" => change(honest, |reply: &mut wire::LogHeadsReply| {
                reply.heads[0].size = 1;
            }),
            _ => honest,
        },
    )
    .await;
    drop(third);
}

/// A party alone whose published length moves on every half second.
async fn slow_publisher(world: &World) -> Party {
    let disk = SimDisk::new();
    let mut config = world.config(Role::P1);
    config.mirror.every_ms = 60_000;
    let storage = Storage::Backend(Box::new(disk.clone()));
    let party = world.start_with(config, storage, disk).await;
    world.put_in_force(&party).await;
    party
}

#[tokio::test(flavor = "multi_thread")]
async fn no_note_is_given_of_what_is_not_published_yet() {
    let mut world = World::connected(Shape::default());
    let one = slow_publisher(&world).await;
    let leaf = world.leaf_of(Role::P2, PeerRole::Party(Role::P2));
    let mut client = connect::peer(one.peer_channel(Some(&leaf)));
    let mut published = async || {
        let heads = client.log_heads(wire::LogHeadsRequest {}).await.expect("heads");
        heads.into_inner().heads[0].size
    };
    let mut other = connect::peer(one.peer_channel(Some(&leaf)));
    let mut note_of = async |from| {
        let asked = wire::LogRequest {
            election: ID.to_owned(),
            from,
            most: 0,
        };
        other.log(asked).await.map(|page| page.into_inner().note)
    };
    let store = &one.running.party().store;
    // Until it was asked between two moments at which it says the same length.
    loop {
        let before = published().await;
        let ballot = world.ballot();
        submit(&one, &ballot).await;
        let size = store.read(|tx| log::size(tx, 1)).expect("read");
        let answers = [note_of(before).await, note_of(size).await];
        if published().await == before && before < size {
            let [shown, hidden] = answers;
            assert!(shown.is_ok_and(|note| !note.is_empty()));
            assert_eq!(reason(hidden), Reason::LogRange);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refused_page_would_hold_counts_as_behind() {
    let mut three = Three::new();
    let one = three.start(Role::P1, SimDisk::new()).await;
    let two = three.start_liar(Role::P2, SimDisk::new()).await;
    for party in [&one, &two.party] {
        three.world.put_in_force(party).await;
        party
            .running
            .party()
            .trust_store(&crate::world::three::trust(ID))
            .expect("known");
        open(party).await;
    }
    three.caught_up(&one, &[&two.party]).await;
    let behind = || one.running.party().sight.entries_behind(Role::P2);
    until("nothing is behind", async || behind() == 0).await;
    two.lies(|_, method, _, honest| match method {
        "Log" => Err(busy()),
        _ => honest,
    });
    for _ in 0..3 {
        let ballot = three.world.ballot();
        submit(&two.party, &ballot).await;
    }
    until("told", async || behind() == 3).await;
}
