//! Two signatures make a Result; nothing follows it.

use super::election::*;
use super::tamper::*;
use super::world::*;
use super::*;

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
