//! What the three parties' answers come to, whoever of them lies.

use tally_proto::fixture::{Shape, World};
use tally_proto::ids::SessionNumber;
use tally_proto::pki::PeerRole;
use tally_proto::session::{Check, SessionAbort};

use super::*;
use crate::progress::Quiet;

const BOX: BoxId = BoxId(1);
const SEAL: Hash32 = Hash32([7; 32]);

/// Parties that are never called: a channel wants a runtime to stand by.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) parties: Parties,
}

impl Scene {
    pub(super) fn new() -> Self {
        let world = World::new(Shape::default());
        let leaf = world
            .coordinator_authority
            .issue(&PeerRole::Coordinator, &["localhost"])
            .expect("certificate");
        tally_proto::connect::install_tls_provider();
        let parties = Parties::dial(world.manifest.manifest().parties(), &leaf).expect("addresses");
        Self { world, parties }
    }

    fn result(&self, by: Role, spoilt: u64) -> Ended {
        let result = BoxResult::from_wire(&wire::Result {
            seal_hash: SEAL.0.to_vec(),
            election: self.world.manifest.manifest().election().as_str().to_owned(),
            r#box: BOX.get(),
            contests: vec![
                wire::ContestResult {
                    contest: 1,
                    totals: vec![1, 2, 0],
                    spoilt,
                },
                wire::ContestResult {
                    contest: 2,
                    totals: vec![3, 0, 1, 2],
                    spoilt: 0,
                },
            ],
            counted_online: Some(4),
            counted_station: Some(0),
        });
        let result = result.expect("a result");
        Ended::Result(result.sign(&self.world.signers[by.slot()]).to_wire())
    }

    /// An Abort that says it is of `party`, signed by `signer`.
    fn abort(&self, party: Role, signer: Role, suspects: &[Role]) -> Ended {
        let abort = SessionAbort {
            election: self.world.manifest.manifest().election().clone(),
            of_box: BOX,
            seal_hash: SEAL,
            number: SessionNumber(4),
            session: Hash32([9; 32]),
            party,
            reason: Reason::TallyAborted,
            check: Check::Connection,
            step: "opening".to_owned(),
            channel: None,
            suspects: suspects.to_vec(),
            proved: false,
            evidence: Vec::new(),
        };
        Ended::Aborted(abort.sign(&self.world.signers[signer.slot()]).to_wire())
    }

    fn settle(&self, ended: [Ended; 3]) -> (usize, Result<Tallied, Error>) {
        let manifest = self.world.manifest.manifest();
        let mut outcome = Outcome::new(manifest, (manifest.election(), BOX, SEAL));
        for (party, ended) in self.parties.each().iter().zip(ended) {
            outcome.take(party, Ok(ended), &Quiet);
        }
        let aborts = outcome.aborts.len();
        let settled = outcome.settle(&self.parties);
        (aborts, settled.map(|(_, tallied)| tallied))
    }
}

#[tokio::test]
async fn two_signatures_make_a_result_whatever_the_third_says() {
    let scene = Scene::new();
    let garbage = || {
        Ended::Result(wire::Envelope {
            payload: vec![1, 2, 3].into(),
            signatures: vec![wire::Signature {
                public_key: vec![0; 32],
                signature: vec![0; 64],
            }],
        })
    };
    let thirds = [
        Ended::Nothing,
        scene.abort(Role::P3, Role::P3, &[Role::P1, Role::P2]),
        scene.abort(Role::P3, Role::P1, &[Role::P2]),
        Ended::Aborted(wire::Envelope::default()),
        scene.result(Role::P3, 77),
        garbage(),
    ];
    for third in thirds {
        let ended = [scene.result(Role::P1, 1), scene.result(Role::P2, 1), third];
        let tallied = scene.settle(ended).1.expect("it stands");
        assert_eq!(tallied.signed_by, [Role::P1, Role::P2]);
    }
    let all = Role::ALL.map(|role| scene.result(role, 1));
    assert_eq!(scene.settle(all).1.expect("it stands").signed_by, Role::ALL);
}

#[tokio::test]
async fn one_signature_is_no_result_and_the_aborts_are_told() {
    let scene = Scene::new();
    let ended = [
        scene.result(Role::P1, 1),
        scene.abort(Role::P2, Role::P2, &[Role::P3]),
        // In another's name: left aside, and it keeps nobody from being heard.
        scene.abort(Role::P2, Role::P2, &[Role::P1]),
    ];
    let (aborts, settled) = scene.settle(ended);
    assert_eq!(aborts, 1);
    let Err(Error::Outcome {
        problem: OutcomeProblem::Stopped(words),
        ..
    }) = settled
    else {
        panic!("not told: {settled:?}")
    };
    assert!(
        words.contains("P2 states: the connection was closed or broke"),
        "{words}"
    );
    assert!(
        words.contains("it names P3") && !words.contains("it names P1"),
        "{words}"
    );
    assert!(
        words.contains("ended without an outcome"),
        "P3 said nothing that counts: {words}"
    );
    let different = [
        scene.result(Role::P1, 1),
        scene.result(Role::P2, 2),
        Ended::Nothing,
    ];
    assert!(matches!(
        scene.settle(different).1,
        Err(Error::Outcome {
            problem: OutcomeProblem::ResultsDiffer,
            ..
        })
    ));
}

#[tokio::test]
async fn two_signatures_are_enough_and_a_third_party_that_says_nothing_is_left() {
    let scene = Scene::new();
    let manifest = scene.world.manifest.manifest();
    let [one, two, three] = scene.parties.each();
    let mut outcome = Outcome::new(manifest, (manifest.election(), BOX, SEAL));
    assert_eq!(outcome.take(one, Ok(scene.result(Role::P1, 1)), &Quiet), Wait::On);
    let [garbage, other] = [Ended::Nothing, scene.result(Role::P2, 1)];
    assert_eq!(outcome.take(two, Ok(other), &Quiet), Wait::Enough);
    outcome.left(three, &Quiet);
    let (_, tallied) = outcome.settle(&scene.parties).expect("it stands");
    assert_eq!(tallied.signed_by, [Role::P1, Role::P2]);
    // One that has nothing to show leaves it to the third, which has its time.
    let mut outcome = Outcome::new(manifest, (manifest.election(), BOX, SEAL));
    assert_eq!(outcome.take(three, Ok(garbage), &Quiet), Wait::On);
    assert_eq!(
        outcome.take(one, Ok(scene.result(Role::P1, 1)), &Quiet),
        Wait::Last
    );
    outcome.left(two, &Quiet);
    let Err(Error::Outcome {
        problem: OutcomeProblem::NoOutcome(named),
        ..
    }) = outcome.settle(&scene.parties)
    else {
        panic!("one signature is none")
    };
    assert_eq!(named, three.name());
}

#[tokio::test]
async fn a_result_without_the_senders_signature_accuses_nobody() {
    let scene = Scene::new();
    let unsigned = |ended: Ended| {
        let Ended::Result(mut envelope) = ended else {
            panic!("a result")
        };
        envelope.signatures.clear();
        Ended::Result(envelope)
    };
    let (one, another) = (scene.result(Role::P1, 1), unsigned(scene.result(Role::P2, 77)));
    let (_, settled) = scene.settle([one, another, Ended::Nothing]);
    let Err(Error::Outcome {
        problem: OutcomeProblem::NoOutcome(named),
        ..
    }) = settled
    else {
        panic!("nobody signed another result: {settled:?}")
    };
    assert!(named.starts_with("P2"), "{named}");
    // What it heard of two others is theirs to sign.
    let Ended::Result(mut heard) = scene.result(Role::P1, 1) else {
        panic!("a result")
    };
    let Ended::Result(second) = scene.result(Role::P2, 1) else {
        panic!("a result")
    };
    heard.signatures.extend(second.signatures);
    let (_, settled) = scene.settle([Ended::Nothing, Ended::Nothing, Ended::Result(heard)]);
    assert_eq!(settled.expect("it stands").signed_by, [Role::P1, Role::P2]);
}

#[test]
fn one_party_that_makes_up_numbers_stops_no_session() {
    // Honest parties say what lies near together; whatever the third says, both follow.
    let follows = |last: u64, next: u64| next > last && next - last <= 1 << 20;
    for honest in [[0, 0], [4, 4], [4, 5], [9, 2], [7_000, 7_003]] {
        for lie in [
            0,
            1,
            5,
            6,
            1_000,
            1_030,
            (1 << 20) - 1,
            1 << 20,
            (1 << 20) + 1,
            1 << 40,
            u64::MAX - 1,
            u64::MAX,
        ] {
            for liar in 0..3 {
                let mut said = [Some(lie); 3];
                said[(liar + 1) % 3] = Some(honest[0]);
                said[(liar + 2) % 3] = Some(honest[1]);
                let (next, beyond) = next_session(said);
                for last in honest {
                    assert!(follows(last, next), "{said:?}: {next}");
                }
                let highest = honest[0].max(honest[1]);
                let named = lie.saturating_sub(highest) > APART;
                assert_eq!(beyond, named.then_some(Role::ALL[liar]), "{said:?}");
            }
        }
    }
    // With one away there is no session, but there may be a result.
    assert_eq!(next_session([Some(3), None, Some(u64::MAX)]), (4, Some(Role::P3)));
    assert_eq!(next_session([None, Some(3), None]), (4, None));
    assert_eq!(next_session([None; 3]), (1, None));
}
