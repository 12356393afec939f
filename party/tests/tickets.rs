//! Tickets at a real server over TLS: who is let in, what a thief can do, and that nothing is stored before a ticket is good.

use tally_party::store::{Kind, accepted, tickets};
use tally_proto::ballot::Submission;
use tally_proto::envelope::Signer;
use tally_proto::fixture::{OPENS, Shape, TICKET_DAY, TICKET_DAYS};
use tally_proto::ids::{BoxId, Hash32, Role, UnixSeconds};
use tally_proto::reason::Reason;
use tally_proto::ticket::{OwnTicket, Use};
use tally_proto::wire;

use crate::world::three::stopped;
use crate::world::{Party, World, reason, refusal};

async fn one() -> (World, Party) {
    let world = World::new(Shape {
        tickets: true,
        ..Shape::default()
    });
    let party = world.start_in_force(Role::P1).await;
    (world, party)
}

/// What the party holds of ballots.
fn stored(party: &Party) -> usize {
    let store = &party.running.party().store;
    [1, 2]
        .into_iter()
        .map(|of_box| {
            store
                .read(|tx| accepted::digests(tx, Kind::Ballot, 1, of_box))
                .expect("read")
                .len()
        })
        .sum()
}

fn ticket(part: &mut wire::Submission) -> &mut wire::TicketAuthority {
    match part.header.as_mut().and_then(|header| header.authority.as_mut()) {
        Some(wire::ballot_header::Authority::Ticket(ticket)) => ticket,
        other => panic!("no ticket: {other:?}"),
    }
}

#[tokio::test]
async fn a_ballot_with_a_ticket_is_accepted_and_repeated_gets_the_same_receipt() {
    let (mut world, party) = one().await;
    let ballot = world.ballot();
    let part = party.part(&ballot);
    let mut intake = party.intake();
    let receipt = intake.submit(part.clone()).await.expect("accepted").into_inner();
    for _ in 0..3 {
        let again = intake
            .submit(part.clone())
            .await
            .expect("the stored one")
            .into_inner();
        assert_eq!(again, receipt);
    }
    // The second day's ticket is the second day's.
    world.clock.set((TICKET_DAYS + TICKET_DAY + 5) * 1000);
    let next_day = world.ballot();
    intake.submit(party.part(&next_day)).await.expect("accepted");
    let election = 1;
    let store = &party.running.party().store;
    for ballot in [&ballot, &next_day] {
        let key = *ballot[0].header().ticket().expect("a ticket").key().as_bytes();
        let spent = store
            .read(|tx| tickets::spent_on(tx, election, &key))
            .expect("read");
        assert_eq!(spent, Some(ballot[0].digest().0));
    }
    assert_eq!(stored(&party), 2);
}

#[tokio::test]
async fn what_has_no_good_ticket_is_refused_and_leaves_nothing() {
    let (mut world, party) = one().await;
    let good = party.part(&world.ballot());
    let other = party.part(&world.ballot());
    let mut intake = party.intake();
    let mut met = Vec::new();
    let mut ask = async |part: wire::Submission, due: Reason| {
        let refusal = refusal(intake.submit(part).await);
        assert_eq!(refusal.reason, due, "{refusal}");
        met.push(refusal.to_string());
    };
    let mut none = good.clone();
    none.header.as_mut().expect("a header").authority = None;
    (none.authority_signature, none.ciphertext_hashes) = (Vec::new(), Vec::new());
    ask(none, Reason::TicketMissing).await;

    let mut forged = good.clone();
    ticket(&mut forged).signature[17] ^= 1;
    ask(forged, Reason::TicketBad).await;

    let mut of_another_day = good.clone();
    *ticket(&mut of_another_day) = world
        .fixture
        .ticket(UnixSeconds(TICKET_DAYS + TICKET_DAY))
        .ticket()
        .to_wire();
    ask(of_another_day, Reason::TicketOtherDay).await;
    let mut of_no_day = good.clone();
    ticket(&mut of_no_day).day_s += 1;
    ask(of_no_day, Reason::TicketOtherDay).await;

    // A thief who saw a ballot on its way: its ticket on a ballot of his own, signed by himself or with what he saw.
    let mut stolen = other.clone();
    *ticket(&mut stolen) = ticket(&mut good.clone()).clone();
    ask(stolen.clone(), Reason::TicketOwner).await;
    let thief = Signer::from_seed(&[9; 32]).expect("a seed");
    let checked = Submission::from_wire(stolen.clone()).expect("well-formed");
    let hashes = checked.ticket_use().expect("used").ciphertexts;
    stolen.authority_signature = Use::sign(&thief, &checked.digest(), hashes).signature.0.to_vec();
    ask(stolen, Reason::TicketOwner).await;
    // Or the true header with other ciphertexts: refused by the signature, before it is opened.
    let mut swapped = good.clone();
    swapped.ciphertext = other.ciphertext.clone();
    ask(swapped, Reason::TicketOwner).await;
    let mut unsigned = good.clone();
    unsigned.authority_signature.clear();
    ask(unsigned, Reason::TicketOwner).await;
    assert_eq!(met.len(), 8);

    assert_eq!(stored(&party), 0, "nothing is stored");
    let key = ticket(&mut good.clone())
        .key
        .clone()
        .try_into()
        .expect("32 bytes");
    let store = &party.running.party().store;
    let spent = store.read(|tx| tickets::spent_on(tx, 1, &key)).expect("read");
    assert_eq!(spent, None, "no thief spends it");
    intake.submit(good).await.expect("the owner votes with it");
    assert_eq!(stored(&party), 1);
}

#[tokio::test]
async fn an_owner_has_so_many_ciphertexts_opened_and_a_thief_none_of_them() {
    let (mut world, party) = one().await;
    let (own, stolen) = (
        world.fixture.ticket(UnixSeconds(world.clock_s())),
        world.fixture.ticket(UnixSeconds(world.clock_s())),
    );
    let spoil = |of: &Submission, signed_by: Option<&OwnTicket>, salt: u8| {
        let mut ciphertext = of.ciphertext().to_vec();
        ciphertext[40] ^= 1;
        ciphertext[41] = salt;
        let hashes = [Hash32::of(&ciphertext); 3];
        let bad = Submission::new(of.header().clone(), ciphertext, None).expect("of its form");
        match signed_by {
            Some(own) => bad.with_use(own.sign(&of.digest(), hashes)).to_wire(),
            None => {
                let thief = Signer::from_seed(&[9; 32]).expect("a seed");
                bad.with_use(Use::sign(&thief, &of.digest(), hashes)).to_wire()
            }
        }
    };
    let [ballot, of_victim] = [&own, &stolen].map(|own| world.ballot_with(BoxId(1), own)[0].clone());
    let mut intake = party.intake();
    for salt in 0..16 {
        let bad = spoil(&ballot, Some(&own), salt);
        assert_eq!(reason(intake.submit(bad).await), Reason::ShareUnopenable);
        let bad = spoil(&of_victim, None, salt);
        assert_eq!(reason(intake.submit(bad).await), Reason::TicketOwner);
    }
    let refused = refusal(intake.submit(spoil(&ballot, Some(&own), 16)).await);
    assert_eq!(refused.reason, Reason::TicketSpent);
    assert!(refused.detail.contains("16 ciphertexts"), "{refused}");
    // Nor are more opened of what comes all at once.
    let hurried = world.fixture.ticket(UnixSeconds(world.clock_s()));
    let of_hurried = world.ballot_with(BoxId(1), &hurried)[0].clone();
    let all = (0..64).map(|salt| {
        let (bad, mut intake) = (spoil(&of_hurried, Some(&hurried), salt), party.intake());
        async move { reason(intake.submit(bad).await) }
    });
    let all = futures::future::join_all(all).await;
    let opened = all.iter().filter(|of| **of == Reason::ShareUnopenable).count();
    let refused = all.iter().filter(|of| **of == Reason::TicketSpent).count();
    assert_eq!((opened, refused), (16, 48));
    assert_eq!(
        reason(intake.submit(spoil(&of_victim, None, 16)).await),
        Reason::TicketOwner
    );
    intake
        .submit(of_victim.to_wire())
        .await
        .expect("the victim votes");
    assert_eq!(stored(&party), 1);
}

#[tokio::test]
async fn a_ticket_is_good_for_one_ballot_in_whatever_box_also_after_a_restart() {
    let (mut world, party) = one().await;
    let own = world.fixture.ticket(UnixSeconds(OPENS + 100));
    let first = world.ballot_with(BoxId(1), &own);
    let mut intake = party.intake();
    // The owner signs a ciphertext that does not open: it spends nothing.
    let garbage = Submission::new(first[0].header().clone(), vec![7; 300], None).expect("a submission");
    let hashes = [garbage.ciphertext_hash(); 3];
    let garbage = garbage.with_use(own.sign(&first[0].digest(), hashes)).to_wire();
    assert_eq!(reason(intake.submit(garbage).await), Reason::ShareUnopenable);
    intake.submit(party.part(&first)).await.expect("accepted");
    assert_eq!(stored(&party), 1);

    let role = party.role;
    let disk = stopped(party).await;
    let party = world.start_on(role, disk).await;
    let mut intake = party.intake();
    intake
        .submit(party.part(&first))
        .await
        .expect("the stored receipt");
    for of_box in [1, 2] {
        let ballot = world.ballot_with(BoxId(of_box), &own);
        let refusal = refusal(intake.submit(party.part(&ballot)).await);
        assert_eq!(refusal.reason, Reason::TicketSpent, "{refusal}");
    }
    assert_eq!(stored(&party), 1);
}

#[tokio::test]
async fn two_ballots_with_one_ticket_at_once_one_is_taken() {
    let (mut world, party) = one().await;
    // Two devices with the same ticket, which is to say a copied device.
    let own = world.fixture.ticket(UnixSeconds(OPENS + 100));
    let pair = [0, 1].map(|_| world.ballot_with(BoxId(1), &own));
    let (mut one, mut two) = (party.intake(), party.intake());
    let (first, second) = tokio::join!(one.submit(party.part(&pair[0])), two.submit(party.part(&pair[1])));
    let refused: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(reason(Err::<(), _>(refused[0].clone())), Reason::TicketSpent);
    assert_eq!(stored(&party), 1);
}
