use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_mpc::{Binding, ChannelHashes, Phase, Scope, Statement};
use tally_proto::envelope::{Kind, Signer};
use tally_proto::ids::SessionNumber;
use tally_proto::reason::Reason;
use tally_proto::session::{session_id, statement_layout};
use tally_proto::wire::evidence::Object;

use super::*;

const BOX: BoxId = BoxId(2);
const SEAL: Hash32 = Hash32([7; 32]);

struct Scene {
    signers: [Signer; 3],
    keys: [PublicKey; 3],
    names: [String; 3],
    starts: [Envelope; 3],
}

fn election() -> ElectionId {
    "riverside-2027".parse().expect("a slug")
}

impl Scene {
    fn new() -> Self {
        let signers = [1, 2, 3].map(|i: u8| Signer::from_seed(&[i; 32]).expect("32 bytes"));
        let starts = [0, 1, 2].map(|i: usize| {
            let start = wire::Start {
                seal_hash: SEAL.0.to_vec(),
                election: election().as_str().to_owned(),
                r#box: BOX.get(),
                party: i as u32 + 1,
                session: 4,
                commitment_next: vec![1; 32],
                commitment_prev: vec![2; 32],
            };
            signers[i].seal_envelope(Kind::Start, prost::Message::encode_to_vec(&start))
        });
        Self {
            keys: [0, 1, 2].map(|i: usize| signers[i].public_key()),
            signers,
            starts,
            names: ["P1 Electoral Office", "P2 University", "P3 Court of Audit"]
                .map(|name| format!("{name} (https://{}.example:7000)", &name[..2].to_lowercase())),
        }
    }

    fn session(&self) -> Hash32 {
        let [one, two, three] = &self.starts;
        session_id([one.payload(), two.payload(), three.payload()])
    }

    fn abort(
        &self,
        party: Role,
        check: Check,
        step: &str,
        channel: Option<[Role; 2]>,
        suspects: &[Role],
    ) -> SessionAbort {
        SessionAbort {
            election: election(),
            of_box: BOX,
            seal_hash: SEAL,
            number: SessionNumber(4),
            session: self.session(),
            party,
            reason: Reason::TallyAborted,
            check,
            step: step.to_owned(),
            channel,
            suspects: suspects.to_vec(),
            proved: false,
            evidence: Vec::new(),
        }
    }

    fn sign(&self, abort: SessionAbort) -> Envelope {
        let party = abort.party;
        abort.settled(&self.keys).sign(&self.signers[party.slot()])
    }

    fn words(&self, aborts: Vec<SessionAbort>) -> String {
        let aborts: Vec<Envelope> = aborts.into_iter().map(|abort| self.sign(abort)).collect();
        Stopped::verify(&aborts, &self.keys, (&election(), BOX, SEAL))
            .expect("they hold")
            .in_words(&self.names)
    }

    fn statement(&self, signer: Role, hash: u8) -> wire::Evidence {
        let hashes = [hash; 32];
        let statement = Statement {
            binding: Binding::new(
                &SEAL.0,
                election().as_str().as_bytes(),
                &BOX.get().to_be_bytes(),
                4,
            ),
            signer,
            number: 12,
            at: Scope {
                phase: Phase::Sort,
                step: 3,
                chunk: 0,
            },
            channels: ChannelHashes {
                to_next: hashes,
                to_prev: hashes,
                from_next: hashes,
                from_prev: hashes,
            },
        };
        let statement = statement.to_bytes().to_vec();
        let layout = statement_layout(&self.session(), &statement);
        let signature = self.signers[signer.slot()].sign_layout(&layout).0.to_vec();
        let object = Object::Barrier(wire::BarrierStatement { statement, signature });
        wire::Evidence { object: Some(object) }
    }
}

const P12: Option<[Role; 2]> = Some([Role::P1, Role::P2]);
const P23: Option<[Role; 2]> = Some([Role::P2, Role::P3]);

#[test]
fn a_failed_check_keeps_what_is_proved_and_what_is_stated_apart() {
    let scene = Scene::new();
    let words = scene.words(vec![
        scene.abort(
            Role::P1,
            Check::GateProof,
            "sort step 3 chunk 0",
            P23,
            &[Role::P2, Role::P3],
        ),
        scene.abort(
            Role::P2,
            Check::GateProof,
            "sort step 3 chunk 0",
            P12,
            &[Role::P1, Role::P3],
        ),
        scene.abort(
            Role::P3,
            Check::Neighbour,
            "sort step 3 chunk 0",
            P23,
            &[Role::P1, Role::P2],
        ),
    ]);
    // P3 is in both sets of those who saw it; it is not singled out.
    assert_eq!(
        words,
        "tally session 4 stopped without a result.\n  \
         P1 states: a proof of the computation did not hold, in the sort, step 3, between P2 and P3; it names P2 and P3, one of whom is \
         at fault.\n  \
         P2 states: a proof of the computation did not hold, in the sort, step 3, between P1 and P2; it names P1 and P3, one of whom is \
         at fault.\n  \
         P3 states: another party stopped first, in the sort, step 3, between P2 and P3; it names P1 and P2, one of whom is at fault.\n  \
         Proved by signatures: nothing; who is right, the replay audit of the parties' logs decides.\n  \
         Call P1 Electoral Office (https://p1.example:7000) and P2 University (https://p2.example:7000) and P3 Court of Audit \
         (https://p3.example:7000): stop the servers' operators from changing or deleting anything, have the session's logs audited, and \
         only then run `tally` again."
    );
}

#[test]
fn a_proof_is_said_to_be_one() {
    let scene = Scene::new();
    let starts = scene.starts.iter().map(|start| wire::Evidence {
        object: Some(Object::Start(start.to_wire())),
    });
    let evidence = starts
        .chain([scene.statement(Role::P2, 1), scene.statement(Role::P3, 2)])
        .collect();
    let suspects = [Role::P2, Role::P3];
    let abort = SessionAbort {
        evidence,
        ..scene.abort(
            Role::P1,
            Check::ChannelHashes,
            "barrier step 12 chunk 0",
            P23,
            &suspects,
        )
    };
    assert_eq!(
        scene.words(vec![abort]),
        "tally session 4 stopped without a result.\n  \
         P1 states: two parties gave different accounts of the messages between them, in the barrier, step 12, between P2 and P3; it \
         names P2 and P3, one of whom is at fault.\n  \
         Proved by signatures, to anyone: at barrier 12 P2 and P3 signed different accounts of the messages between them: one of the two \
         deviated.\n  \
         Call P2 University (https://p2.example:7000) and P3 Court of Audit (https://p3.example:7000): stop the servers' operators from \
         changing or deleting anything, have the session's logs audited, and only then run `tally` again."
    );
}

#[test]
fn a_silent_party_is_named_with_who_asked_for_its_frame() {
    let scene = Scene::new();
    let (_, one_time_key) = tally_proto::session::Answer::expected(&mut StdRng::seed_from_u64(1));
    let demand = tally_proto::session::Demand {
        session: scene.session(),
        election: election(),
        of_box: BOX,
        by: Role::P1,
        of: Role::P2,
        sequence: 9,
        one_time_key,
    };
    let demand = Object::Demand(demand.sign(&scene.signers[0]).to_wire());
    let third = scene.sign(scene.abort(Role::P3, Check::Deadline, "demand", P12, &[Role::P2]));
    let evidence = |objects: Vec<Object>| {
        let evidence = |object| wire::Evidence { object: Some(object) };
        objects.into_iter().map(evidence).collect::<Vec<_>>()
    };
    let stopped = scene.abort(
        Role::P1,
        Check::Deadline,
        "count step 0 chunk 2",
        P12,
        &[Role::P2],
    );
    let alone = SessionAbort {
        evidence: evidence(vec![demand.clone()]),
        ..stopped.clone()
    };
    let advice = "\n  Proved by signatures: nothing; who is right, the replay audit of the parties' logs decides.\n  \
                  Call P2 University (https://p2.example:7000): ask whether the server runs and reaches the other two parties, restart \
                  it if not, then run `tally` again.";
    let head = "tally session 4 stopped without a result.\n  \
                P1 states: a message was overdue, also after it was demanded through the third party, in the count, step 0, between P1 \
                and P2; it names P2";
    assert_eq!(
        scene.words(vec![alone]),
        format!("{head}, and no answer came through the third party or the coordinator.{advice}")
    );
    let both = SessionAbort {
        evidence: evidence(vec![demand, Object::Statement(third.to_wire())]),
        ..stopped
    };
    assert_eq!(
        scene.words(vec![both]),
        format!("{head}, and the third party states that it got no answer either.{advice}")
    );
}

#[test]
fn a_broken_connection_a_failed_program_and_an_operators_stop_have_their_own_advice() {
    let scene = Scene::new();
    let last = |words: String| words.lines().last().unwrap_or_default().trim().to_owned();
    let broken = scene.abort(Role::P3, Check::Connection, "opening", P23, &[Role::P2]);
    let heard = scene.abort(Role::P1, Check::Neighbour, "opening", None, &[Role::P2, Role::P3]);
    assert_eq!(
        last(scene.words(vec![heard, broken])),
        "Call P2 University (https://p2.example:7000): ask whether the server runs and reaches the other two parties, restart it if not, \
         then run `tally` again."
    );
    let failed = scene.abort(Role::P3, Check::Fault, "engine", None, &[]);
    assert_eq!(
        last(scene.words(vec![failed])),
        "Call P3 Court of Audit (https://p3.example:7000): its log says what failed. Mend it, then run `tally` again."
    );
    let ended = scene.abort(Role::P1, Check::Interrupted, "shuffle step 0 chunk 0", None, &[]);
    assert_eq!(
        last(scene.words(vec![ended])),
        "Nobody is named. Run `tally` again."
    );
    let slow = scene.abort(
        Role::P1,
        Check::Session,
        "sort step 9 chunk 0",
        None,
        &[Role::P2, Role::P3],
    );
    assert_eq!(
        last(scene.words(vec![slow])),
        "Call P2 University (https://p2.example:7000) and P3 Court of Audit (https://p3.example:7000): ask how busy the servers and the \
         lines between them are, then run `tally` again."
    );
}

#[test]
fn every_check_has_an_advice_that_names_the_suspect() {
    let scene = Scene::new();
    for check in Check::ALL.iter().filter(|check| **check != Check::Neighbour) {
        let words = scene.words(vec![scene.abort(
            Role::P1,
            *check,
            "sort step 1 chunk 0",
            P12,
            &[Role::P2],
        )]);
        assert!(
            words.contains(check.words()) && words.contains("Call "),
            "{words}"
        );
        assert!(
            words.contains("P2 University (https://p2.example:7000)"),
            "{words}"
        );
    }
}

#[test]
fn kept_aborts_are_one_of_each_party_and_session_in_order() {
    let scene = Scene::new();
    let numbered = |party: Role, number: u64| {
        let abort = scene.abort(party, Check::Connection, "opening", None, &[]);
        scene.sign(SessionAbort {
            number: SessionNumber(number),
            ..abort
        })
    };
    let first = keep(
        Vec::new(),
        &[numbered(Role::P2, 2), numbered(Role::P1, 2)],
        &scene.keys,
        (&election(), BOX, SEAL),
    );
    let forged = Envelope::unsigned(numbered(Role::P3, 1).payload().clone());
    // Signed, and of another Seal, or with a boast: neither may get into a bundle.
    let foreign = scene.sign(SessionAbort {
        seal_hash: Hash32([8; 32]),
        number: SessionNumber(9),
        ..scene.abort(Role::P1, Check::Connection, "opening", None, &[])
    });
    let boast = SessionAbort {
        proved: true,
        number: SessionNumber(9),
        ..scene.abort(Role::P2, Check::Connection, "opening", None, &[])
    };
    let boast = boast.sign(&scene.signers[1]);
    let all = keep(
        first,
        &[
            numbered(Role::P3, 1),
            numbered(Role::P1, 2),
            forged,
            foreign,
            boast,
        ],
        &scene.keys,
        (&election(), BOX, SEAL),
    );
    let places: Vec<(u64, Role)> = all
        .into_iter()
        .map(|envelope| {
            let envelope = Envelope::from_wire(envelope).expect("an envelope");
            let abort = SessionAbort::open(&envelope, &scene.keys).expect("signed");
            (abort.number.get(), abort.party)
        })
        .collect();
    assert_eq!(places, [(1, Role::P3), (2, Role::P1), (2, Role::P2)]);

    let many: Vec<Envelope> = (1..=70).map(|number| numbered(Role::P1, number)).collect();
    let kept = keep(Vec::new(), &many, &scene.keys, (&election(), BOX, SEAL));
    assert_eq!(kept.len(), KEPT_SESSIONS);
    assert_eq!(kept.last(), Some(&many[69].to_wire()), "the newest stay");
}
