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
struct Scene {
    world: World,
    parties: Parties,
}

impl Scene {
    fn new() -> Self {
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
        let of = (manifest.election(), BOX, SEAL);
        let ended = ended.into_iter().map(Ok).collect();
        let outcome = Outcome::of(manifest, &self.parties, of, ended, &Quiet);
        let aborts = outcome.aborts.len();
        let settled = outcome.settle(manifest, &self.parties, of);
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
