//! Two signatures make a Result; nothing follows it.

use super::election::*;
use super::tamper::*;
use super::world::*;
use super::*;
use crate::session::ledger;
use crate::store::elections;

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_refuses_to_sign_keeps_nobody_from_the_result() {
    let world = World::new(Election::new(6, 9, 2, 1, 31), pace()).await;
    world.refuse_to_sign(&[Role::P3]);
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    let refusing = async {
        let mut events = c.tally(request(&starts)).await.expect("begins");
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        last.expect("an end").expect_err("it signs nothing")
    };
    let (one, other, _) = tokio::join!(last(a, &starts), last(b, &starts), refusing);
    assert_eq!(world.result(Role::P1, &one), world.election.count());
    assert_eq!(world.result(Role::P2, &other), world.election.count());
    // The two others tell each other, and the third: no session follows, whatever the coordinator asks.
    for sessions in [a, b, c] {
        let refusal = prepare(sessions, 2).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::TallyAlready, "{refusal}");
    }
    let mut events = c.tally(request(&[])).await.expect("a stream");
    let stored = events.next().await.expect("an event").expect("the result").event;
    let Some(Event::Result(envelope)) = stored else {
        panic!("no result: {stored:?}")
    };
    let envelope = Envelope::from_wire(envelope).expect("well formed");
    assert_eq!(
        envelope
            .verify(Kind::Result, &world.keys)
            .expect("good signatures"),
        [true, true, false],
        "P3 shows what the others signed; its own signature is not there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signature_is_no_result_and_the_next_session_brings_the_same() {
    let world = World::new(Election::new(6, 9, 2, 1, 32), pace()).await;
    world.refuse_to_sign(&[Role::P2, Role::P3]);
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    let end = async |sessions: &Sessions| {
        let mut events = sessions.tally(request(&starts)).await.expect("begins");
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        last.expect("an end")
    };
    let (one, _, _) = tokio::join!(last(a, &starts), end(b), end(c));
    let first = world.result(Role::P1, &one);
    world.refuse_to_sign(&[]);
    let events = world.session(2).await;
    for (role, event) in Role::ALL.into_iter().zip(&events) {
        assert_eq!(world.result(role, event), first, "{role}");
    }
    let refusal = prepare(a, 3).await.expect_err("refused");
    assert_eq!(refusal.reason, Reason::TallyAlready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_handed_over_ends_the_sessions_of_a_party_that_aborted() {
    let world = World::new(Election::new(6, 9, 2, 1, 33), pace()).await;
    let result = |signers: &[Role], totals: u64| {
        let mut result = world.election.count();
        result.contests[0].totals[0] += totals;
        let result = BoxResult::from_wire(&result).expect("a result");
        let mut envelope: Option<Envelope> = None;
        for role in signers {
            let signed = result.sign(world.signer(*role));
            match &mut envelope {
                Some(whole) => signed.signatures().iter().for_each(|s| whole.add_signature(*s)),
                None => envelope = Some(signed),
            }
        }
        envelope.expect("signed").to_wire()
    };
    world.tamper(Tamper::Close);
    let events = world.session(1).await;
    world.abort(Role::P2, &events[1]);
    let party = &world.sessions[1];
    let unsigned = wire::Envelope {
        signatures: Vec::new(),
        ..result(&[Role::P1], 0)
    };
    for bad in [result(&[Role::P1], 0), unsigned] {
        let refusal = party.conclude(bad).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::ResultSignatures, "{refusal}");
    }
    let mut forged = result(&[Role::P1, Role::P3], 0);
    forged.payload = result(&[Role::P1], 1).payload;
    assert_eq!(
        party.conclude(forged).await.expect_err("refused").reason,
        Reason::ResultSignatures
    );
    let whole = result(&[Role::P1, Role::P3], 0);
    party.conclude(whole.clone()).await.expect("two signatures");
    party.conclude(whole).await.expect("again, the same");
    assert!(world.state(Role::P2).await.done, "it overrides the Abort");
    let refusal = prepare(party, 2).await.expect_err("refused");
    assert_eq!(refusal.reason, Reason::TallyAlready);
    // Two others that sign something else are not believed over it; that is for the audit.
    let other = result(&[Role::P2, Role::P3], 1);
    assert_eq!(
        party.conclude(other).await.expect_err("refused").reason,
        Reason::Internal
    );
}

/// A session whose Result P1 stores, and the disks of P2 and P3 as they are while it runs.
async fn killed_before_they_stored(world: &World) -> (wire::Result, [SimDisk; 2]) {
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    for sessions in [b, c] {
        // It goes on without its caller.
        drop(sessions.tally(request(&starts)).await.expect("begins"));
    }
    let disks = [Role::P2, Role::P3].map(|role| world.backup(role));
    let (one, other, third) = tokio::join!(last(a, &starts), last(b, &starts), last(c, &starts));
    let result = world.result(Role::P1, &one);
    for (role, event) in [(Role::P2, other), (Role::P3, third)] {
        assert_eq!(
            world.result(role, &event),
            result,
            "nobody was slower than its kill"
        );
    }
    (result, disks)
}

/// What a party shows to whoever collects the Result: who signed it.
async fn collected(world: &World, role: Role) -> Result<(wire::Result, Vec<bool>), Refusal> {
    let mut events = world.sessions[role.slot()].tally(request(&[])).await?;
    let event = events.next().await.expect("an event").expect("the result").event;
    let Some(Event::Result(envelope)) = event else {
        panic!("no result: {event:?}")
    };
    let envelope = Envelope::from_wire(envelope).expect("well formed");
    let signed = envelope
        .verify(Kind::Result, &world.keys)
        .expect("good signatures");
    Ok((
        wire::Result::decode(envelope.payload().clone()).expect("a Result"),
        signed,
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_killed_before_they_stored_the_result_come_to_the_same_one() {
    let mut world = World::new(Election::new(6, 9, 2, 1, 34), pace()).await;
    let (result, [second, third]) = killed_before_they_stored(&world).await;
    world.restore(Role::P2, &second);
    world.restore(Role::P3, &third);
    for role in [Role::P2, Role::P3] {
        assert!(!world.state(role).await.done, "{role}");
        // P1 has signed it, alone: that is one party's word, which nobody takes.
        let refusal = collected(&world, role).await.expect_err("there is none");
        assert_eq!(refusal.reason, Reason::SessionUnknown, "{refusal}");
    }
    let events = world.session(2).await;
    for (role, event) in Role::ALL.into_iter().zip(&events) {
        assert_eq!(world.result(role, event), result, "{role}");
    }
    for sessions in &world.sessions {
        let refusal = prepare(sessions, 3).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::TallyAlready, "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_killed_before_they_stored_it_take_a_result_that_stands_from_the_third() {
    let mut world = World::new(Election::new(6, 9, 2, 1, 35), pace()).await;
    let (result, [second, third]) = killed_before_they_stored(&world).await;
    // P1 hears of the others' signatures before their disks are gone.
    let refusal = prepare(&world.sessions[0], 2).await.expect_err("refused");
    assert_eq!(refusal.reason, Reason::TallyAlready);
    world.restore(Role::P2, &second);
    world.restore(Role::P3, &third);
    // P2 collects it; P3 hears of it when it is to open another session, though P2 is away.
    assert_eq!(
        collected(&world, Role::P2).await.expect("a result"),
        (result.clone(), vec![true; 3])
    );
    assert!(world.state(Role::P2).await.done);
    world.stop_listening(Role::P2).await;
    let refusal = prepare(&world.sessions[2], 2).await.expect_err("refused");
    assert_eq!(refusal.reason, Reason::TallyAlready, "{refusal}");
    world.restart(Role::P3);
    assert!(world.state(Role::P3).await.done, "it is stored");
    assert_eq!(
        collected(&world, Role::P3).await.expect("a result"),
        (result, vec![true; 3])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signatures_are_found_while_the_third_party_is_away() {
    let mut world = World::new(Election::new(6, 9, 2, 1, 36), pace()).await;
    let events = world.session(1).await;
    let result = world.result(Role::P1, &events[0]);
    // Each has stored its own signature; nobody has put two together. After a restart no connection to P3 is left over.
    world.stop_listening(Role::P3).await;
    world.restart(Role::P1);
    world.restart(Role::P2);
    let refusal = prepare(&world.sessions[0], 2).await.expect_err("refused");
    assert_eq!(
        refusal.reason,
        Reason::TallyAlready,
        "not that P3 is away: {refusal}"
    );
    assert_eq!(
        collected(&world, Role::P2).await.expect("a result"),
        (result, vec![true, true, false])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_taken_from_nobody_without_two_good_signatures_under_this_seal() {
    let mut world = World::new(Election::new(6, 9, 2, 1, 37), pace()).await;
    let other = |alter: &dyn Fn(&mut wire::Result)| {
        let mut result = world.election.count();
        alter(&mut result);
        BoxResult::from_wire(&result).expect("a result")
    };
    let more = other(&|result| result.contests[0].totals[0] += 1);
    let foreign = other(&|result| result.seal_hash = vec![8; 32]);
    let with = |base: &Envelope, added: &Envelope| {
        let mut whole = base.clone();
        added
            .signatures()
            .iter()
            .for_each(|signature| whole.add_signature(*signature));
        whole
    };
    let alone = more.sign(world.signer(Role::P1));
    let stranger = Signer::generate(&mut StdRng::seed_from_u64(99));
    let shown = [
        alone.clone(),
        // P2's signature under other totals, and somebody's who is no party.
        with(&alone, &other(&|_| {}).sign(world.signer(Role::P2))),
        with(&alone, &more.sign(&stranger)),
        // Two good ones, under another Seal.
        with(
            &foreign.sign(world.signer(Role::P1)),
            &foreign.sign(world.signer(Role::P2)),
        ),
    ];
    let clean = world.backup(Role::P1);
    for lie in shown {
        world.restore(Role::P1, &clean);
        let stored = world.store(Role::P1).write(|tx| {
            let key = (elections::number_or_new(tx, ELECTION)?, BOX);
            ledger::put_result(tx, key, &lie)
        });
        stored.expect("its own store believes it");
        assert!(collected(&world, Role::P2).await.is_err());
        assert!(!world.state(Role::P2).await.done);
        // It stops nothing either.
        prepare(&world.sessions[1], world.state(Role::P2).await.last_session + 1)
            .await
            .expect("a Start");
    }
}
