//! Frames that are altered, repeated, left out, moved, late or never come.

use tally_proto::session::{Check, Examined, SessionAbort};

use super::election::*;
use super::tamper::*;
use super::world::*;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn three_parties_tally_like_a_plain_count() {
    for (voters, online, electronic, paper, seed) in [(1, 3, 0, 0, 1), (40, 130, 21, 9, 2), (7, 0, 0, 0, 3)] {
        let world = World::new(Election::new(voters, online, electronic, paper, seed), pace()).await;
        let events = world.session(1).await;
        let expected = world.election.count();
        let mut payloads = Vec::new();
        for (role, event) in Role::ALL.into_iter().zip(&events) {
            assert_eq!(world.result(role, event), expected, "{role}");
            let Event::Result(envelope) = event else {
                unreachable!("checked above")
            };
            payloads.push(envelope.payload.clone());
        }
        assert!(
            payloads.iter().all(|payload| *payload == payloads[0]),
            "the same bytes at every party"
        );
        let state = world.sessions[0]
            .state(&ELECTION.parse().expect("a slug"), BoxId(BOX))
            .await
            .expect("readable");
        assert_eq!(
            state,
            TallyState {
                running: false,
                done: true,
                last_session: 1,
                trouble: String::new(),
                sessions_left: 2,
                progress: None,
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tallied_box_returns_its_result_and_opens_no_session() {
    let mut world = World::new(Election::new(5, 9, 2, 1, 4), pace()).await;
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    let (first, _, _) = tokio::join!(last(a, &starts), last(b, &starts), last(c, &starts));
    let Event::Result(wire::Envelope { payload, .. }) = first else {
        panic!("no result: {first:?}")
    };
    world.restart(Role::P1);
    for sessions in &world.sessions {
        assert_eq!(
            prepare(sessions, 2).await.expect_err("refused").reason,
            Reason::TallyAlready
        );
        let mut events = sessions.tally(request(&starts)).await.expect("a stream");
        let stored = events
            .next()
            .await
            .expect("an event")
            .expect("the stored result")
            .event
            .expect("set");
        let Event::Result(stored) = stored else {
            panic!("no result: {stored:?}")
        };
        let stored = Envelope::from_wire(stored).expect("well formed");
        assert_eq!(
            stored.verify(Kind::Result, &world.keys).expect("good signatures"),
            [true; 3],
            "whoever was asked to prepare knows the others' signatures too"
        );
        assert_eq!(*stored.payload(), *payload);
        let refusal = events
            .next()
            .await
            .expect("a second item")
            .expect_err("a refusal");
        assert_eq!(
            Refusal::from_status(&refusal).expect("with its reason").reason,
            Reason::TallyAlready
        );
        assert!(events.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_not_in_order_stops_the_session_and_names_its_sender() {
    // Enough rows for the shuffle to take two messages, one right after the other.
    let world = World::new(Election::new(30_000, 29_000, 600, 300, 5), pace()).await;
    let cases = [
        (Tamper::Contribution, Reason::TallyCheckFailed),
        (Tamper::OtherSession, Reason::TallyCheckFailed),
        (Tamper::Repeat, Reason::TallyCheckFailed),
        (Tamper::Leave, Reason::TallyCheckFailed),
        (Tamper::Swap, Reason::TallyCheckFailed),
        (Tamper::Truncate, Reason::TallyCheckFailed),
        (Tamper::Empty, Reason::TallyCheckFailed),
        (Tamper::TooLong, Reason::TallyCheckFailed),
        (Tamper::Relabel, Reason::TallyCheckFailed),
        (Tamper::Kind, Reason::TallyCheckFailed),
        (Tamper::Close, Reason::TallyAborted),
        (Tamper::Early, Reason::PartyUnreachable),
    ];
    for (number, (tamper, reason)) in (1..).zip(cases) {
        world.allow().await;
        world.tamper(tamper);
        let events = world.session(number).await;
        let abort = world.abort(Role::P2, &events[1]);
        assert_eq!(abort.reason, reason.code(), "{tamper:?}: {abort:?}");
        assert_eq!(abort.suspects, [1], "{tamper:?}: {abort:?}");
        assert_eq!(abort.channel, "P1-P2", "{tamper:?}");
        let step = if tamper == Tamper::Contribution {
            "opening"
        } else {
            "shuffle step 0"
        };
        assert!(
            abort.step.starts_with(step) && !abort.proved,
            "{tamper:?}: {abort:?}"
        );
        assert_eq!((abort.session, abort.party), (number, 2));
        for role in [Role::P1, Role::P3] {
            // They hear of it from P2 and say that it was P2 who stopped.
            let abort = world.abort(role, &events[role.slot()]);
            assert!(
                !abort.suspects.is_empty() && !abort.suspects.contains(&role.number()),
                "{tamper:?}: {abort:?}"
            );
        }
        let state = world.sessions[1]
            .state(&ELECTION.parse().expect("a slug"), BoxId(BOX))
            .await
            .expect("readable");
        assert!(!state.running && !state.done && state.last_session == number);
        assert!(state.trouble.contains("; suspected: P"), "{state:?}");
    }
    // An aborted session is followed by another.
    world.allow().await;
    world.tamper(Tamper::Nothing);
    let events = world.session(50).await;
    assert_eq!(world.result(Role::P2, &events[1]), world.election.count());
}

/// What anyone makes of an Abort.
fn examined(world: &World, event: &Event) -> (SessionAbort, Examined) {
    let Event::Abort(envelope) = event else {
        panic!("no Abort: {event:?}")
    };
    let envelope = Envelope::from_wire(envelope.clone()).expect("well formed");
    let abort = SessionAbort::open(&envelope, &world.keys).expect("holds");
    let examined = abort.examine(&world.keys).expect("its evidence holds");
    (abort, examined)
}

/// Impatient in the session only: all of them come to it in their own time.
fn impatient(message: u64, relay: u64) -> Pace {
    Pace {
        message: Duration::from_millis(message),
        relay: Duration::from_millis(relay),
        ..Pace::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_party_is_demanded_through_the_third_and_named_by_two() {
    // Only P2 is impatient: who waits for whom first must not depend on the machine's load.
    let [long, ..] = pace();
    let mut world = World::new(
        Election::new(30, 60, 6, 3, 6),
        [long, impatient(500, 2000), impatient(30_000, 2000)],
    )
    .await;
    let starts = world.prepare(1).await;
    world.tamper(Tamper::Mute);
    let began = Instant::now();
    let [a, b, c] = &world.sessions;
    let events: [Event; 3] = tokio::join!(last(a, &starts), last(b, &starts), last(c, &starts)).into();
    assert!(began.elapsed() < Duration::from_secs(25));
    let (abort, examined) = examined(&world, &events[1]);
    assert_eq!(
        (abort.reason, abort.check, abort.suspects.as_slice(), abort.proved),
        (Reason::TallyOverdue, Check::Deadline, &[Role::P1][..], false)
    );
    assert!(
        examined.demanded,
        "the frame was demanded before anybody was called overdue"
    );
    assert_eq!(
        examined.said.len(),
        1,
        "the third party states that it got no answer"
    );
    let third = &examined.said[0];
    assert_eq!(
        (third.party, third.suspects.as_slice(), third.check),
        (Role::P3, &[Role::P1][..], Check::Deadline)
    );
    // The signed Abort outlives the server.
    world.tamper(Tamper::Nothing);
    world.restart(Role::P2);
    let state = world.state(Role::P2).await;
    assert!(
        state.trouble.contains("tally.overdue") && state.trouble.ends_with("suspected: P1"),
        "{state:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_connection_names_nobody_the_third_party_carries_its_frames() {
    let [long, ..] = pace();
    let world = World::new(
        Election::new(4, 5, 1, 0, 16),
        [long, impatient(40, 20_000), impatient(30_000, 20_000)],
    )
    .await;
    world.tamper(Tamper::Silent);
    let events = world.session(1).await;
    for (role, event) in Role::ALL.into_iter().zip(&events) {
        assert_eq!(world.result(role, event), world.election.count(), "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_dripping_frames_are_taken_once() {
    let [long, ..] = pace();
    let world = World::new(
        Election::new(4, 5, 1, 0, 17),
        [long, impatient(100, 20_000), impatient(30_000, 20_000)],
    )
    .await;
    // The late frame was demanded meanwhile: it comes twice, with the same content.
    for (number, tamper) in [(1, Tamper::Late), (2, Tamper::Drip)] {
        let world = if number == 1 {
            &world
        } else {
            &World::new(Election::new(4, 5, 1, 0, 17), pace()).await
        };
        world.tamper(tamper);
        let events = world.session(number).await;
        for (role, event) in Role::ALL.into_iter().zip(&events) {
            assert_eq!(
                world.result(role, event),
                world.election.count(),
                "{tamper:?} {role}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_carries_a_demand_when_the_third_party_does_not() {
    let [long, ..] = pace();
    let world = World::new(
        Election::new(4, 5, 1, 0, 18),
        [long, impatient(200, 20_000), impatient(30_000, 20_000)],
    )
    .await;
    world.tamper(Tamper::LateAndUnrelayed);
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    let watch = async {
        let mut events = b.tally(request(&starts)).await.expect("begins");
        let (mut brought, mut end) = (0, None);
        while let Some(event) = events.next().await {
            match event.expect("no failure").event.expect("set") {
                Event::Demand(demand) => {
                    // On a busy machine P1 may be behind, or the frame have come meanwhile: a coordinator asks for a while.
                    let Some(supplied) = supplied_by(a, &demand).await else {
                        continue;
                    };
                    // Who carries it cannot use it elsewhere, nor can another party answer for P1.
                    assert_eq!(
                        c.deliver(supplied.clone()).await.expect_err("refused").reason,
                        Reason::SessionUnknown
                    );
                    assert!(c.supply(demand).await.is_err(), "it is not P3 that owes");
                    brought += usize::from(b.deliver(supplied).await.is_ok());
                }
                other => end = Some(other),
            }
        }
        (brought, end.expect("an end"))
    };
    let (_, (brought, end), _) = tokio::join!(last(a, &starts), watch, last(c, &starts));
    assert!(brought >= 1, "the late frame came by the coordinator's hand");
    assert_eq!(world.result(Role::P2, &end), world.election.count());
}

/// The party's answer to the Demand; nothing if it has none within three seconds.
async fn supplied_by(party: &Sessions, demand: &wire::Envelope) -> Option<wire::Envelope> {
    for _ in 0..150 {
        match party.supply(demand.clone()).await {
            Ok(supplied) => return Some(supplied.to_wire()),
            Err(refusal) => assert_eq!(refusal.reason, Reason::SessionFramePending),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_by_its_deadline_whatever_it_waits_for() {
    let short = Pace {
        session: Duration::from_millis(700),
        ..patient(Duration::from_secs(30))
    };
    let [long, ..] = pace();
    let world = World::new(Election::new(4, 5, 1, 0, 19), [long, short, long]).await;
    world.tamper(Tamper::Silent);
    let began = Instant::now();
    let events = world.session(1).await;
    assert!(began.elapsed() < Duration::from_secs(25));
    let (abort, _) = examined(&world, &events[1]);
    assert_eq!(
        (abort.reason, abort.check, abort.suspects.as_slice()),
        (Reason::TallyOverdue, Check::Session, &[Role::P1, Role::P3][..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hears_of_an_abort_suspects_who_says_so_and_whom_it_names() {
    let world = World::new(Election::new(30, 60, 6, 3, 20), pace()).await;
    world.tamper(Tamper::Truncate);
    let events = world.session(1).await;
    let (first, _) = examined(&world, &events[1]);
    assert_eq!(
        (first.party, first.suspects.as_slice()),
        (Role::P2, &[Role::P1][..])
    );
    let (heard, examined) = examined(&world, &events[2]);
    // P3 knows of one of the two only from the other: which is right is not P3's to say.
    assert_eq!(heard.check, Check::Neighbour);
    assert_eq!(heard.suspects, [Role::P1, Role::P2]);
    assert!(
        examined.said.contains(&first),
        "the Abort it heard stands in its own"
    );
    assert!(!heard.proved && examined.proofs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_never_comes_is_overdue() {
    let short = [patient(Duration::from_secs(5)); 3];
    let world = World::new(Election::new(3, 4, 0, 0, 7), short).await;
    let starts = world.prepare(1).await;
    // P3 is never told to tally.
    let (a, b) = tokio::join!(
        last(&world.sessions[0], &starts),
        last(&world.sessions[1], &starts)
    );
    for (role, event) in [(Role::P1, a), (Role::P2, b)] {
        let abort = world.abort(role, &event);
        assert_eq!(abort.step, "opening");
        assert!(
            abort.suspects.contains(&3) && !abort.suspects.contains(&role.number()),
            "{abort:?}"
        );
        let journal = world.journal(role);
        let events: Vec<&str> = journal.iter().filter_map(|line| line["event"].as_str()).collect();
        assert_eq!(events, ["session.begun", "session.aborted"]);
        assert_eq!(
            (&journal[1]["session"], &journal[1]["step"]),
            (&1.into(), &"opening".into())
        );
        let suspects = journal[1]["suspects"].as_array().expect("a list");
        assert!(suspects.contains(&"P3".into()), "{suspects:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_stops_before_the_tally_begins_says_why_to_whom_it_has_met() {
    // Only P2 is impatient: P1 hears of P3 from nobody else.
    let [long, ..] = pace();
    let world = World::new(
        Election::new(3, 4, 0, 0, 24),
        [long, patient(Duration::from_secs(5)), long],
    )
    .await;
    let starts = world.prepare(1).await;
    let [a, b, _] = &world.sessions;
    // P3 is never told to tally.
    let (one, other) = tokio::join!(last(a, &starts), last(b, &starts));
    let (first, _) = examined(&world, &other);
    assert_eq!(
        (first.party, first.suspects.as_slice()),
        (Role::P2, &[Role::P3][..])
    );
    let (heard, examined) = examined(&world, &one);
    assert_eq!(
        (heard.check, heard.suspects.as_slice()),
        (Check::Neighbour, &[Role::P2, Role::P3][..]),
        "not P2 alone, which only stopped waiting"
    );
    assert_eq!(examined.said, [first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_killed_in_the_middle_is_noticed_at_once_and_the_next_session_works() {
    let mut world = World::new(Election::new(20, 40, 4, 2, 23), pace()).await;
    // Slow enough to be in the middle for a while.
    world.tamper(Tamper::Drip);
    let starts = world.prepare(1).await;
    let doomed = tokio::runtime::Runtime::new().expect("a runtime");
    let (a, asked) = (world.sessions[0].clone(), request(&starts));
    let (under_way, seen) = tokio::sync::oneshot::channel();
    doomed.spawn(async move {
        let mut events = a.tally(asked).await.expect("begins");
        let mut under_way = Some(under_way);
        while let Some(event) = events.next().await {
            if let Ok(wire::TallyEvent {
                event: Some(Event::Progress(_)),
            }) = event
                && let Some(under_way) = under_way.take()
            {
                // The test may have failed meanwhile.
                let _ = under_way.send(());
            }
        }
    });
    let [_, b, c] = &world.sessions;
    let kill = async {
        seen.await.expect("the engine runs");
        // Its tasks and sockets are gone, without a word.
        doomed.shutdown_background();
        Instant::now()
    };
    let (killed, one, other) = tokio::join!(kill, last(b, &starts), last(c, &starts));
    assert!(
        killed.elapsed() < Duration::from_secs(20),
        "far before the deadline of 30 s"
    );
    for event in [&one, &other] {
        let (abort, _) = examined(&world, event);
        assert!(abort.suspects.contains(&Role::P1), "{abort:?}");
        assert!(
            matches!(abort.check, Check::Connection | Check::Neighbour),
            "{abort:?}"
        );
    }
    let first = [&one, &other].into_iter().any(|event| {
        let (abort, _) = examined(&world, event);
        abort.check == Check::Connection && abort.suspects == [Role::P1]
    });
    assert!(first, "one of the two saw it itself and names P1 alone");
    for role in [Role::P2, Role::P3] {
        let state = world.state(role).await;
        assert!(
            !state.running && state.trouble.contains("P1"),
            "kept and shown: {state:?}"
        );
    }
    world.tamper(Tamper::Nothing);
    world.restart(Role::P1);
    let events = world.session(2).await;
    for (role, event) in Role::ALL.into_iter().zip(&events) {
        assert_eq!(world.result(role, event), world.election.count(), "{role}");
    }
}
