//! Session numbers, and how many sessions there may be.

use super::election::*;
use super::tamper::*;
use super::world::*;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_prepared_session_runs() {
    let world = World::new(Election::new(4, 6, 1, 0, 8), pace()).await;
    let old = world.prepare(1).await;
    let new = world.prepare(2).await;
    let refusal = refused(&world.sessions[0], &old).await;
    assert_eq!(refusal.reason, Reason::SessionUnknown, "{refusal}");
    let mixed = [new[0].clone(), old[1].clone(), new[2].clone()];
    assert_eq!(
        refused(&world.sessions[0], &mixed).await.reason,
        Reason::SessionStale
    );
    assert_eq!(
        refused(&world.sessions[0], &new[..2]).await.reason,
        Reason::MessageMalformed
    );
    let unsigned = wire::Envelope {
        signatures: vec![],
        ..new[1].clone()
    };
    let forged = [new[0].clone(), unsigned, new[2].clone()];
    assert_eq!(
        refused(&world.sessions[0], &forged).await.reason,
        Reason::SignatureBad
    );
    for number in [0, 1, 2, 2 + (1 << 20) + 1] {
        let refusal = prepare(&world.sessions[0], number).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::SessionStale, "{number}");
        assert!(refusal.detail.contains("from 3 to"), "{refusal}");
    }
    // The refusals used nothing up.
    let [a, b, c] = &world.sessions;
    let (a, _, _) = tokio::join!(last(a, &new), last(b, &new), last(c, &new));
    assert_eq!(world.result(Role::P1, &a), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_party_refuses_the_session_it_had_prepared() {
    let mut world = World::new(Election::new(4, 6, 1, 0, 9), pace()).await;
    let starts = world.prepare(1).await;
    world.restart(Role::P2);
    let slug = ELECTION.parse().expect("a slug");
    let state = world.sessions[1]
        .state(&slug, BoxId(BOX))
        .await
        .expect("readable");
    assert_eq!(
        state,
        TallyState {
            last_session: 1,
            sessions_left: 3,
            ..TallyState::default()
        }
    );
    let refusal = refused(&world.sessions[1], &starts).await;
    assert_eq!(refusal.reason, Reason::SessionUnknown, "{refusal}");
    assert_eq!(
        prepare(&world.sessions[1], 1).await.expect_err("refused").reason,
        Reason::SessionStale
    );
    let events = world.session(2).await;
    assert_eq!(world.result(Role::P2, &events[1]), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn preparing_anew_ends_the_session_that_hangs() {
    let world = World::new(Election::new(4, 6, 1, 0, 10), pace()).await;
    let starts = world.prepare(1).await;
    // Only P1 is told to tally: it waits for the others, far from its deadline, until a new session is prepared.
    let events = world.sessions[0].tally(request(&starts)).await.expect("begins");
    let began = Instant::now();
    let done = world.session(2).await;
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(world.result(Role::P3, &done[2]), world.election.count());
    let events: Vec<_> = events.collect().await;
    let last = events
        .last()
        .expect("an end")
        .as_ref()
        .expect("no failure")
        .event
        .clone()
        .expect("set");
    let abort = world.abort(Role::P1, &last);
    assert_eq!(
        (abort.reason.as_str(), abort.suspects.len()),
        (Reason::TallyAborted.code(), 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_follows_the_running_session() {
    let world = World::new(Election::new(20, 50, 0, 0, 11), pace()).await;
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    drop(
        a.tally(request(&starts))
            .await
            .expect("begins, and goes on without its caller"),
    );
    let (one, two, _, _) = tokio::join!(
        last(a, &starts),
        last(a, &starts),
        last(b, &starts),
        last(c, &starts)
    );
    assert_eq!(one, two);
    assert_eq!(world.result(Role::P1, &one), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_box_is_refused() {
    let world = World::new(Election::new(1, 1, 0, 0, 12), pace()).await;
    let request = wire::PrepareRequest {
        election: ELECTION.into(),
        r#box: 4,
        session: 1,
    };
    let refusal = world.sessions[0].prepare(request).await.expect_err("refused");
    assert_eq!(refusal.reason, Reason::BoxUnknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_sessions_and_then_only_with_the_operators_leave() {
    let world = World::new(Election::new(4, 6, 1, 0, 13), pace()).await;
    world.tamper(Tamper::Close);
    for number in 1..=3 {
        let events = world.session(number).await;
        world.abort(Role::P2, &events[1]);
        assert_eq!(u64::from(world.state(Role::P1).await.sessions_left), 3 - number);
    }
    world.tamper(Tamper::Nothing);
    let [a, b, c] = &world.sessions;
    for sessions in [a, b, c] {
        let refusal = prepare(sessions, 4).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::SessionLimit, "{refusal}");
        assert!(refusal.detail.contains("party allow-sessions"), "{refusal}");
    }
    // Each party holds to it by itself: the leave of two is not the third's.
    for sessions in [a, b] {
        assert_eq!(allow(sessions, ELECTION).await.expect("allowed"), 3);
    }
    for typed in ["", "ward-8", "yes"] {
        let refusal = allow(c, typed).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::ConfirmationMismatch, "{typed:?}");
    }
    assert_eq!(
        prepare(c, 4).await.expect_err("refused").reason,
        Reason::SessionLimit
    );
    assert_eq!(allow(c, ELECTION).await.expect("allowed"), 3);
    let events = world.session(4).await;
    assert_eq!(world.result(Role::P3, &events[2]), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_sessions_that_never_begin_cost_nothing() {
    let world = World::new(Election::new(4, 6, 1, 0, 14), pace()).await;
    for number in 1..=5 {
        world.prepare(number).await;
    }
    let events = world.session(6).await;
    assert_eq!(world.result(Role::P1, &events[0]), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_party_signs_no_number_again() {
    let mut world = World::new(Election::new(4, 6, 1, 0, 15), pace()).await;
    let backup = world.backup(Role::P1);
    world.tamper(Tamper::Close);
    for number in [1, 40] {
        world.session(number).await;
    }
    world.restore(Role::P1, &backup);
    assert_eq!(world.state(Role::P1).await.last_session, 0, "it knows of nothing");
    world.tamper(Tamper::Nothing);
    for stale in [1, 2, 40] {
        let refusal = prepare(&world.sessions[0], stale).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::SessionStale, "{stale}: {refusal}");
    }
    let refusal = prepare(&world.sessions[0], 41).await.expect_err("refused");
    assert_eq!(
        refusal.reason,
        Reason::SessionLimit,
        "a restored store needs a person: {refusal}"
    );
    assert_eq!(allow(&world.sessions[0], ELECTION).await.expect("allowed"), 3);
    let events = world.session(41).await;
    assert_eq!(world.result(Role::P1, &events[0]), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_both_others_no_start_is_signed() {
    let mut down = World::new(Election::new(4, 6, 1, 0, 22), pace()).await;
    down.stop_listening(Role::P3).await;
    let refusal = prepare(&down.sessions[0], 1).await.expect_err("refused");
    assert_eq!(refusal.reason, Reason::PartyUnreachable, "{refusal}");
    assert_eq!(down.state(Role::P1).await.last_session, 0, "no number is used up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_begins_while_the_next_is_prepared_ends_before_it() {
    let world = World::new(Election::new(4, 6, 1, 0, 25), pace()).await;
    let first = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    // P1 has looked for older sessions and waits for P2's Holdings when the older one begins.
    world.gate().close();
    let (sessions, next) = (a.clone(), 2);
    let preparing = tokio::spawn(async move { prepare(&sessions, next).await });
    tokio::task::block_in_place(|| world.gate().reached());
    let older = a.tally(request(&first)).await.expect("begins");
    world.gate().open();
    let start = preparing.await.expect("no panic").expect("prepared");
    let mut starts = vec![start.to_wire()];
    for sessions in [b, c] {
        starts.push(prepare(sessions, 2).await.expect("prepared").to_wire());
    }
    let began = Instant::now();
    let (one, other, third) = tokio::join!(last(a, &starts), last(b, &starts), last(c, &starts));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "far before any deadline"
    );
    for (role, event) in Role::ALL.into_iter().zip([one, other, third]) {
        assert_eq!(world.result(role, &event), world.election.count(), "{role}");
    }
    let events: Vec<_> = older.collect().await;
    let end = events.last().expect("an end").as_ref().expect("no failure");
    let abort = world.abort(Role::P1, end.event.as_ref().expect("set"));
    assert_eq!((abort.session, abort.check.as_str()), (1, "interrupted"));
    assert_eq!(refused(a, &first).await.reason, Reason::SessionUnknown);
}
