//! A party whose clock is over a second from both others' accepts nothing, says by how much, and accepts again once it is right.

use tally_party::alarm::Alarm;
use tally_party::clock::ManualClock;
use tally_party::clock_watch::compare;
use tally_party::journal;
use tally_party::store::Storage;
use tally_party::store::sim::SimDisk;
use tally_proto::fixture::{OPENS, Shape};
use tally_proto::ids::Role;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::wire;

use crate::world::three::until;
use crate::world::{Party, World, refusal};

const NOW_MS: u64 = (OPENS + 100) * 1000;

async fn start(world: &World, clock: &ManualClock, role: Role) -> Party {
    let disk = SimDisk::new();
    let storage = Storage::Backend(Box::new(disk.clone()));
    let party = world
        .start_by(clock.clone(), world.config(role), storage, disk)
        .await;
    world.put_in_force(&party).await;
    party
}

/// What the alarm says while it stands.
fn alarm(party: &Party) -> Option<String> {
    let standing = party.running.party().alarms.standing();
    let of = standing.into_iter().find(|of| of.alarm == Alarm::ClockWrong)?;
    Some(of.detail)
}

/// What P1's journal tells of that alarm.
fn told_in_the_journal(world: &World) -> Vec<String> {
    let files = journal::files(&world.config(Role::P1).telemetry.journal).expect("a journal");
    let lines: Vec<String> = (files.into_iter())
        .flat_map(|(_, path)| {
            let text = std::fs::read_to_string(path).expect("readable");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let events = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("a line"));
    let of_alarm = events.filter(|event: &serde_json::Value| event["alarm"] == Alarm::ClockWrong.code());
    let names = of_alarm.map(|event| event["event"].as_str().unwrap_or_default().to_owned());
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_with_a_wrong_clock_accepts_nothing_until_it_is_right() {
    let mut world = World::connected(Shape::default());
    let clocks = [(); 3].map(|()| ManualClock::new(NOW_MS));
    let one = start(&world, &clocks[0], Role::P1).await;
    let two = start(&world, &clocks[1], Role::P2).await;
    let three = start(&world, &clocks[2], Role::P3).await;
    let known = world.ballot();
    let receipt = one.intake().submit(one.part(&known)).await.expect("accepted");

    // A second is nothing; more than that from one of the two proves nothing either.
    clocks[0].set(NOW_MS + 1000);
    assert!(!compare(one.running.party()).await);
    clocks[1].set(NOW_MS + 5000);
    clocks[0].set(NOW_MS + 1000);
    assert!(!compare(one.running.party()).await);
    clocks[1].set(NOW_MS);

    clocks[0].set(NOW_MS + 4500);
    assert!(compare(one.running.party()).await);
    let told = alarm(&one).expect("an alarm");
    assert!(told.contains("-4.5 s and -4.5 s"), "{told}");
    let ballot = world.ballot_at(NOW_MS / 1000 + 4);
    let refused = refusal(one.intake().submit(one.part(&ballot)).await);
    assert_eq!(refused.reason, Reason::ClockWrong);
    assert!(refused.detail.contains("-4.5 s and -4.5 s"), "{refused}");
    let mut control = one.control(&world.leaf_of(Role::P1, PeerRole::Operator(Role::P1)));
    let asked = wire::StatusRequest {
        election: String::new(),
    };
    let status = control.status(asked.clone()).await.expect("status").into_inner();
    assert!(
        status.elections[0]
            .intake_trouble
            .contains(Reason::ClockWrong.code()),
        "{status:?}"
    );
    let stands = |alarm: &wire::Alarm| alarm.code == Alarm::ClockWrong.code() && !alarm.advice.is_empty();
    assert!(status.alarms.iter().any(stands), "{status:?}");
    // What it accepted before it still says it did.
    let again = one.intake().submit(one.part(&known)).await.expect("known");
    assert_eq!(again.into_inner(), receipt.into_inner());
    // The others accept as ever.
    let now = world.ballot_at(NOW_MS / 1000);
    for other in [&two, &three] {
        assert!(!compare(other.running.party()).await);
        other.intake().submit(other.part(&now)).await.expect("accepted");
    }

    // With one peer away the other decides nothing alone: wrong stays wrong.
    three.running.stop().await;
    assert!(compare(one.running.party()).await);
    clocks[0].set(NOW_MS + 900);
    // A look of the server's own that began before may end after the test's.
    until("accepted again", async || {
        assert!(!compare(one.running.party()).await);
        one.intake().submit(one.part(&now)).await.is_ok()
    })
    .await;
    let status = control.status(asked).await.expect("status").into_inner();
    assert_eq!(status.elections[0].intake_trouble, "");
    assert!(!status.alarms.iter().any(stands), "{status:?}");
    assert_eq!(alarm(&one), None);
    // Once each, though it was looked at more often.
    assert_eq!(told_in_the_journal(&world), ["alarm.raised", "alarm.cleared"]);
    // And right stays right.
    clocks[0].set(NOW_MS + 9_000);
    assert!(!compare(one.running.party()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ballot_that_is_held_when_the_clock_is_found_wrong_is_refused() {
    let mut world = World::connected(Shape::default());
    let clocks = [(); 3].map(|()| ManualClock::new(NOW_MS));
    let one = start(&world, &clocks[0], Role::P1).await;
    let _two = start(&world, &clocks[1], Role::P2).await;
    let _three = start(&world, &clocks[2], Role::P3).await;
    let ahead = world.ballot_at(NOW_MS / 1000 + 30);
    let (mut intake, part) = (one.intake(), one.part(&ahead));
    let held = tokio::spawn(async move { intake.submit(part).await });
    while one.running.party().intake.held() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The clock jumps by twenty seconds, and the others say so; then it comes to the moment for which the ballot waits.
    clocks[0].set(NOW_MS + 20_000);
    assert!(compare(one.running.party()).await);
    clocks[0].set(NOW_MS + 31_000);
    let refused = refusal(held.await.expect("answered"));
    assert_eq!(refused.reason, Reason::ClockWrong, "{refused}");
    // Right again, the party takes the same ballot when it is in time.
    for clock in &clocks {
        clock.set(NOW_MS + 31_000);
    }
    assert!(!compare(one.running.party()).await);
    one.intake().submit(one.part(&ahead)).await.expect("accepted");
}
