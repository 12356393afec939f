//! Three servers on loopback, mutual TLS between them: a box is sealed over the real services.

use prost::Message as _;
use tally_proto::envelope::Envelope;
use tally_proto::fixture::{DRAINED, Shape};
use tally_proto::ids::{BoxId, Role};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::sealing::{BoxBody, Claims, Inputs, SignedList, SignedSeal, compute};
use tally_proto::wire;
use tally_proto::wire::seal_event::Event;
use tonic::Status;

use crate::world::{self, Party, World, reason};

struct Heard {
    phases: Vec<String>,
    body: Vec<u8>,
    done: wire::SealDone,
}

/// Asks a party to seal box 1, and listens to the end.
async fn seal(world: &World, party: &Party) -> Result<Heard, Status> {
    let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
    let election = world.fixture.manifest.manifest().election().as_str().to_owned();
    let mut events = control
        .seal(wire::BoxRef { election, r#box: 1 })
        .await?
        .into_inner();
    let (mut phases, mut body) = (Vec::new(), Vec::new());
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Progress(progress)) => phases.push(progress.phase),
            Some(Event::BodyPart(part)) => body.extend_from_slice(&part),
            Some(Event::Done(done)) => return Ok(Heard { phases, body, done }),
            Some(Event::Abort(abort)) => {
                panic!("{:?}", wire::Abort::decode(abort.payload).expect("an Abort"))
            }
            None => panic!("an empty event"),
        }
    }
    panic!("the stream ended without a word")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_sealed_over_mutual_tls() {
    let mut world = World::connected(Shape::default());
    let mut parties = Vec::new();
    for role in Role::ALL {
        parties.push(world.start_in_force(role).await);
    }
    // All three get the first; in turns, one of them is away for the others.
    let ballots: Vec<_> = (0..7).map(|_| world.ballot()).collect();
    for (i, ballot) in ballots.iter().enumerate() {
        let there = |party: &&Party| i % 4 != usize::from(party.role.index());
        let mut receipts = Vec::new();
        for party in parties.iter().filter(there) {
            let receipt = party.intake().submit(party.part(ballot)).await;
            receipts.push((party.role, receipt.expect("accepted").into_inner()));
        }
        // As a voter does: everybody else who has accepted it hears of it.
        for (by, receipt) in receipts {
            for other in parties.iter().filter(|other| other.role != by) {
                let delivered = other.intake().deliver(receipt.clone()).await;
                if there(&other) {
                    delivered.expect("delivered");
                } else {
                    assert_eq!(reason(delivered), Reason::ReceiptEarly);
                }
            }
        }
    }

    let refused = seal(&world, &parties[0])
        .await
        .map(|_| ())
        .expect_err("the box is open");
    assert_eq!(
        Refusal::from_status(&refused).expect("with a reason").reason,
        Reason::BoxPhase
    );
    world.clock.set((DRAINED + 1) * 1000);
    let heard = futures::future::join_all(parties.iter().map(|party| seal(&world, party))).await;
    let heard: Vec<Heard> = heard.into_iter().map(|heard| heard.expect("sealed")).collect();

    let manifest = world.fixture.manifest.manifest();
    let keys = manifest.party_keys();
    let bodies: Vec<_> = heard.iter().map(|heard| heard.body.clone()).collect();
    assert!(
        bodies.iter().all(|body| *body == bodies[0]),
        "the same evidence everywhere"
    );
    for heard in &heard {
        assert_eq!(heard.body.len() as u64, heard.done.body_bytes);
        assert!(
            heard.phases.iter().any(|phase| phase == "fill"),
            "{:?}",
            heard.phases
        );
    }
    // Anyone computes the same Seal from what the coordinator got.
    let first = &heard[0].done;
    let envelope = |wire: &wire::Envelope| Envelope::from_wire(wire.clone()).expect("an envelope");
    let seal_of = |done: &wire::SealDone| {
        SignedSeal::open(envelope(done.seal.as_ref().expect("a Seal")), &keys).expect("three signatures")
    };
    let sealed = seal_of(first);
    let lists: Vec<_> = first
        .lists
        .iter()
        .map(|list| SignedList::open(envelope(list), &keys).expect("a List"))
        .collect();
    let claims: Vec<_> = first
        .claims
        .iter()
        .map(|claims| Claims::open(&envelope(claims), &keys).expect("Claims"))
        .collect();
    let voters = manifest.ballot_box(BoxId(1)).expect("the box").voters();
    let body = BoxBody::decode(&heard[0].body, voters).expect("a body");
    let election = world.fixture.election();
    let computed = compute(Inputs {
        election: &election,
        of_box: BoxId(1),
        lists: &lists.try_into().expect("three"),
        claims: &claims.try_into().expect("three"),
        body: &body,
    })
    .expect("follows");
    assert_eq!(computed.seal, *sealed.seal());
    assert_eq!(sealed.seal().counts.online, 7);
    for heard in &heard {
        assert_eq!(seal_of(&heard.done).hash(), sealed.hash());
    }

    // A second request returns the same; the status says so; nothing more is taken.
    // Whoever has a digest is told what became of it, also by a party that did not accept it.
    let lookup = |digest: Vec<u8>| wire::LookupRequest {
        election: world.fixture.manifest.manifest().election().as_str().to_owned(),
        r#box: 1,
        digest,
        record: false,
        holder: Vec::new(),
    };
    for party in &parties {
        let mut accepted = 0;
        for ballot in &ballots {
            let digest = ballot[0].digest();
            let found = party.intake().lookup(lookup(digest.0.to_vec())).await;
            let found = found.expect("an answer").into_inner();
            accepted += u32::from(found.accepted);
            // The digest is public from now on, when and where in the log is not.
            assert!(found.receipt.is_none() && found.authority_signature.is_empty());
            let shown = wire::LookupRequest {
                holder: world::word(party, &digest).unwrap_or_default(),
                ..lookup(digest.0.to_vec())
            };
            let to_holder = party
                .intake()
                .lookup(shown)
                .await
                .expect("an answer")
                .into_inner();
            assert_eq!(to_holder.receipt.is_some(), found.accepted);
            let Some(wire::lookup_reply::Public::Ballot(header)) = found.public else {
                panic!("no header")
            };
            assert_eq!(header, ballot[0].header().to_wire());
            let fate = found.sealed.expect("it is sealed");
            assert_eq!(fate.seal_hash, sealed.hash().0);
            assert_eq!(fate.fate, Some(wire::sealed_fate::Fate::OnList(true)));
        }
        assert!(accepted < 7, "each party was away for some");
        let never = party
            .intake()
            .lookup(lookup(vec![7; 32]))
            .await
            .expect("an answer");
        let fate = never.into_inner().sealed.expect("it is sealed");
        assert_eq!(fate.fate, Some(wire::sealed_fate::Fate::NoCandidate(true)));
    }

    let again = seal(&world, &parties[1]).await.expect("is sealed");
    assert_eq!(seal_of(&again.done).hash(), sealed.hash());
    let mut control = parties[2].control(&world.leaf_of(Role::P3, PeerRole::Coordinator));
    let status = control
        .status(wire::StatusRequest::default())
        .await
        .expect("status")
        .into_inner();
    assert_eq!(
        status.elections[0].boxes[0].phase,
        i32::from(wire::BoxPhase::Sealed)
    );
    let late = world.ballot_at(DRAINED);
    assert_eq!(
        reason(parties[0].intake().submit(parties[0].part(&late)).await),
        Reason::BallotAfterClose
    );
}
