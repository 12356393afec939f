//! Ballots that come several in one message, as from a relay or from a station's queue: each has its own answer, and none keeps another waiting.

use tally_proto::fixture::Shape;
use tally_proto::ids::{Digest, Role, StationId};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::cast_answer::Outcome;

use crate::world::{Party, World, reason, word};

/// The receipt's digest, or why not.
fn outcomes(world: &World, replies: wire::CastReplies) -> Vec<Result<Digest, Reason>> {
    let keys = world.fixture.manifest.manifest().party_keys();
    let outcome = |answer: wire::CastAnswer| match answer.outcome.expect("an outcome") {
        Outcome::Taken(taken) => {
            let receipt = Receipt::from_wire(&taken.receipt.expect("a receipt")).expect("well-formed");
            let acceptance = receipt.verify(&keys).expect("the party's own");
            assert_eq!(acceptance.party, Role::P1);
            Ok(acceptance.digest)
        }
        Outcome::Refusal(refusal) => {
            assert!(
                refusal.digest.is_empty() && !refusal.detail.is_empty(),
                "{refusal:?}"
            );
            Err(Refusal::from_wire(&refusal).reason)
        }
    };
    replies.answers.into_iter().map(outcome).collect()
}

async fn cast(
    world: &World,
    party: &Party,
    submissions: Vec<wire::Submission>,
) -> Vec<Result<Digest, Reason>> {
    let asked = wire::Submissions { submissions };
    let replies = party.intake().cast_all(asked).await.expect("answers");
    outcomes(world, replies.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_ballots_has_its_answer_in_their_order() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let now = world.clock_s();
    let (one, two) = (world.ballot(), world.ballot());
    let (ahead, at_station) = (world.ballot_at(now + 30), world.station_ballot(2, 1, now));
    let digest = |ballot: &[tally_proto::ballot::Submission; 3]| ballot[0].digest();
    let malformed = wire::Submission {
        header: None,
        ..party.part(&one)
    };
    let wrong = world.wrong_commitment(&party);
    let all = [party.part(&one), malformed, wrong].into_iter();
    let all = all.chain([&ahead, &at_station, &one, &two].map(|ballot| party.part(ballot)));
    let answers = cast(&world, &party, all.collect()).await;
    assert_eq!(
        answers,
        [
            Ok(digest(&one)),
            Err(Reason::MessageMalformed),
            Err(Reason::ShareCommitmentMismatch),
            Err(Reason::PartyBusy),
            Err(Reason::RoleRefused),
            Ok(digest(&one)),
            Ok(digest(&two)),
        ]
    );
    assert_eq!(
        party.running.party().intake.held(),
        0,
        "nothing is held in company"
    );
    for (ballot, is_here) in [(&one, true), (&two, true), (&ahead, false), (&at_station, false)] {
        assert_eq!(word(&party, &digest(ballot)).is_some(), is_here);
    }
    // By itself it is held until its time has come.
    let (mut intake, part) = (party.intake(), party.part(&ahead));
    let held = tokio::spawn(async move { intake.cast(part).await });
    while party.running.party().intake.held() == 0 {
        assert!(!held.is_finished(), "it is held");
        tokio::task::yield_now().await;
    }
    world.clock.set((now + 30) * 1000);
    held.await.expect("answered").expect("taken");
    // A station brings its own.
    let leaf = world.leaf_of(Role::P1, PeerRole::Station(StationId(2)));
    let second = world.station_ballot(2, 2, now + 30);
    let asked = wire::Submissions {
        submissions: vec![party.part(&at_station), party.part(&two), party.part(&second)],
    };
    let replies = party.station(&leaf).cast_all(asked).await.expect("answers");
    assert_eq!(
        outcomes(&world, replies.into_inner()),
        [
            Ok(digest(&at_station)),
            Err(Reason::RoleRefused),
            Ok(digest(&second))
        ]
    );
    assert_eq!(cast(&world, &party, Vec::new()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_message_may_hold_is_refused_whole_and_good_in_smaller_ones() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let ballots: Vec<_> = (0..17).map(|_| world.ballot()).collect();
    let parts: Vec<_> = ballots.iter().map(|ballot| party.part(ballot)).collect();
    let asked = wire::Submissions {
        submissions: parts.clone(),
    };
    let refused = party.intake().cast_all(asked).await;
    assert_eq!(reason(refused), Reason::MessageTooLarge);
    let swollen = wire::Submission {
        ciphertext: vec![0; 20 << 10].into(),
        ..parts[0].clone()
    };
    let asked = wire::Submissions {
        submissions: vec![parts[1].clone(), swollen],
    };
    let refused = party.intake().cast_all(asked).await;
    assert_eq!(reason(refused), Reason::MessageTooLarge);
    for ballot in &ballots {
        assert_eq!(word(&party, &ballot[0].digest()), None);
    }
    let (first, last) = parts.split_at(16);
    let mut taken = cast(&world, &party, first.to_vec()).await;
    taken.extend(cast(&world, &party, last.to_vec()).await);
    let digests: Vec<_> = ballots.iter().map(|ballot| Ok(ballot[0].digest())).collect();
    assert_eq!(taken, digests);
}
