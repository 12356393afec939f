//! What Aborts, demands and Holdings show, and what they cannot be made to show.

use prost::Message as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tally_mpc::{Binding, ChannelHashes, Phase, Scope, Statement};

use super::*;
use crate::envelope::{Envelope, Kind, PublicKey, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _, SessionNumber};
use crate::reason::Reason;
use crate::sealing::Claims;
use crate::wire;
use crate::wire::evidence::Object;

struct World {
    signers: [Signer; 3],
    keys: [PublicKey; 3],
    starts: [Envelope; 3],
    session: Hash32,
    binding: Binding,
}

fn election() -> ElectionId {
    "ward-7".parse().expect("a slug")
}

fn evidence(object: Object) -> wire::Evidence {
    wire::Evidence { object: Some(object) }
}

impl World {
    fn new(number: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let signers = [(); 3].map(|()| Signer::generate(&mut rng));
        let keys = [0, 1, 2].map(|i: usize| signers[i].public_key());
        let starts = Role::ALL.map(|role| {
            let start = wire::Start {
                seal_hash: vec![7; 32],
                election: "ward-7".into(),
                r#box: 3,
                party: role.number(),
                session: number,
                commitment_next: vec![1; 32],
                commitment_prev: vec![2; 32],
            };
            signers[role.slot()].seal_envelope(Kind::Start, start.encode_to_vec())
        });
        Self {
            session: session_id([starts[0].payload(), starts[1].payload(), starts[2].payload()]),
            binding: Binding::new(&[7; 32], b"ward-7", &3u32.to_be_bytes(), number),
            signers,
            keys,
            starts,
        }
    }

    /// A statement whose every hash is `hash`: two of them agree when their hashes do.
    fn statement(&self, signer: Role, number: u32, hash: u8) -> wire::Evidence {
        let hashes = [hash; 32];
        let statement = Statement {
            binding: self.binding,
            signer,
            number,
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
        let layout = statement_layout(&self.session, &statement);
        let signature = self.signers[signer.slot()].sign_layout(&layout).0.to_vec();
        evidence(Object::Barrier(wire::BarrierStatement { statement, signature }))
    }

    fn starts(&self) -> Vec<wire::Evidence> {
        let start = |start: &Envelope| evidence(Object::Start(start.to_wire()));
        self.starts.iter().map(start).collect()
    }

    fn abort(&self, party: Role, suspects: &[Role], evidence: Vec<wire::Evidence>) -> SessionAbort {
        SessionAbort {
            election: election(),
            of_box: BoxId(3),
            seal_hash: Hash32([7; 32]),
            number: SessionNumber(5),
            session: self.session,
            party,
            reason: Reason::TallyCheckFailed,
            check: Check::ChannelHashes,
            step: "sort step 3 chunk 0".into(),
            channel: Some([Role::P2, Role::P3]),
            suspects: suspects.to_vec(),
            proved: false,
            evidence,
        }
    }

    fn with(&self, statements: Vec<wire::Evidence>) -> Vec<wire::Evidence> {
        [self.starts(), statements].concat()
    }

    fn sign(&self, abort: &SessionAbort) -> Envelope {
        abort.sign(&self.signers[abort.party.slot()])
    }

    fn reopened(&self, abort: &SessionAbort) -> Result<SessionAbort, AbortError> {
        SessionAbort::open(&self.sign(abort), &self.keys)
    }
}

#[test]
fn contradicting_statements_convict_one_of_two_before_anyone() {
    let world = World::new(5);
    let both = vec![world.statement(Role::P2, 4, 1), world.statement(Role::P3, 4, 2)];
    let abort = world
        .abort(Role::P1, &[Role::P2, Role::P3], world.with(both))
        .settled(&world.keys);
    assert!(abort.proved);
    let again = world.reopened(&abort).expect("well formed");
    assert_eq!(again, abort);
    let examined = again.examine(&world.keys).expect("holds");
    assert_eq!(
        examined.proofs,
        [Proof::Accounts {
            session: world.session,
            barrier: 4,
            between: [Role::P2, Role::P3]
        }]
    );
    assert_eq!(
        examined.proofs[0].to_string(),
        "at barrier 4 P2 and P3 signed different accounts of the messages between them: one of the two deviated"
    );
}

#[test]
fn two_statements_of_one_party_convict_it_also_from_two_aborts() {
    let world = World::new(5);
    // Each alone proves nothing.
    let aborts = [(Role::P1, 1), (Role::P3, 2)].map(|(party, hash)| {
        let abort = world
            .abort(
                party,
                &[Role::P2],
                world.with(vec![world.statement(Role::P2, 4, hash)]),
            )
            .settled(&world.keys);
        assert!(!abort.proved);
        world.sign(&abort)
    });
    let of = (&election(), BoxId(3), Hash32([7; 32]));
    let (verified, proofs) = verify_aborts(&aborts, &world.keys, of).expect("they hold");
    assert!(verified.iter().all(|abort| abort.examined.proofs.is_empty()));
    assert_eq!(
        proofs,
        [Proof::TwoStatements {
            session: world.session,
            barrier: 4,
            party: Role::P2
        }]
    );
    assert_eq!(proofs[0].suspects(), [Role::P2]);
    for of in [
        (&"other".parse().expect("a slug"), BoxId(3), Hash32([7; 32])),
        (&election(), BoxId(4), Hash32([7; 32])),
        (&election(), BoxId(3), Hash32([8; 32])),
    ] {
        assert!(matches!(
            verify_aborts(&aborts, &world.keys, of),
            Err(AbortError::Other)
        ));
    }
}

#[test]
fn what_is_only_stated_is_not_taken_for_proved() {
    let world = World::new(5);
    let agreeing = vec![world.statement(Role::P2, 4, 1), world.statement(Role::P3, 4, 1)];
    let barriers = vec![world.statement(Role::P2, 4, 1), world.statement(Role::P3, 5, 2)];
    for statements in [agreeing, barriers, Vec::new()] {
        let abort = world
            .abort(Role::P1, &[Role::P2], world.with(statements))
            .settled(&world.keys);
        assert!(!abort.proved);
        let boast = SessionAbort {
            proved: true,
            ..abort
        };
        let boast = world.reopened(&boast).expect("well formed");
        assert!(matches!(boast.examine(&world.keys), Err(AbortError::Standing)));
    }
    // And a proof is not hidden as a word.
    let both = vec![world.statement(Role::P2, 4, 1), world.statement(Role::P3, 4, 2)];
    let modest = world.abort(Role::P1, &[Role::P2, Role::P3], world.with(both));
    assert!(matches!(modest.examine(&world.keys), Err(AbortError::Standing)));
}

#[test]
fn evidence_of_another_session_or_signer_is_refused() {
    let (world, other) = (World::new(5), World::new(6));
    let contradiction = |of: &World| vec![of.statement(Role::P2, 4, 1), of.statement(Role::P3, 4, 2)];
    let foreign = world.abort(Role::P1, &[], [world.starts(), contradiction(&other)].concat());
    assert!(matches!(foreign.examine(&world.keys), Err(AbortError::Barrier)));
    let foreign = world.abort(Role::P1, &[], [other.starts(), contradiction(&world)].concat());
    assert!(matches!(
        foreign.examine(&world.keys),
        Err(AbortError::OtherSession)
    ));
    let last = [Role::P2, Role::P3].map(|signer| world.statement(signer, u32::MAX, signer.index()));
    let ended = world.abort(Role::P1, &[], [world.starts(), last.to_vec()].concat());
    assert!(
        matches!(ended.examine(&world.keys), Err(AbortError::Barrier)),
        "what parties say at their end convicts nobody"
    );
    let bare = world.abort(Role::P1, &[], contradiction(&world));
    assert!(matches!(bare.examine(&world.keys), Err(AbortError::OtherSession)));

    // P1 puts words into P3's mouth.
    let Some(Object::Barrier(mut forged)) = world.statement(Role::P3, 4, 2).object else {
        unreachable!("made above")
    };
    let layout = statement_layout(&world.session, &forged.statement);
    forged.signature = world.signers[0].sign_layout(&layout).0.to_vec();
    let forged = vec![world.statement(Role::P2, 4, 1), evidence(Object::Barrier(forged))];
    let forged = world.abort(Role::P1, &[Role::P2, Role::P3], world.with(forged));
    assert!(matches!(
        forged.examine(&world.keys),
        Err(AbortError::BarrierSignature(Role::P3))
    ));
    let settled = forged.settled(&world.keys);
    assert!(
        !settled.proved && settled.evidence.is_empty(),
        "what does not hold is left out"
    );

    let list = evidence(Object::List(wire::Envelope::default()));
    let foreign = world.abort(Role::P1, &[], vec![list]);
    assert!(matches!(foreign.examine(&world.keys), Err(AbortError::Foreign)));
}

#[test]
fn what_others_stated_is_carried_and_checked() {
    let world = World::new(5);
    let both = vec![world.statement(Role::P1, 4, 1), world.statement(Role::P2, 4, 2)];
    let proof = world
        .abort(Role::P1, &[Role::P2], world.with(both))
        .settled(&world.keys);
    let carried = evidence(Object::Statement(world.sign(&proof).to_wire()));
    let abort = world
        .abort(Role::P3, &[Role::P1, Role::P2], vec![carried])
        .settled(&world.keys);
    let examined = abort.examine(&world.keys).expect("holds");
    assert_eq!(examined.said, std::slice::from_ref(&proof));
    assert_eq!(
        examined.proofs.len(),
        1,
        "what was proved to one is proved to all"
    );
    assert_eq!(examined.proofs[0].suspects(), [Role::P1, Role::P2]);

    let mut altered = world.sign(&proof).to_wire();
    altered.payload = [altered.payload.as_ref(), &[0]].concat().into();
    let forged = world.abort(Role::P3, &[], vec![evidence(Object::Statement(altered))]);
    assert!(forged.examine(&world.keys).is_err());
    let own = SessionAbort {
        party: Role::P3,
        suspects: vec![],
        ..proof
    };
    let own = evidence(Object::Statement(world.sign(&own).to_wire()));
    let itself = world.abort(Role::P3, &[], vec![own]);
    assert!(matches!(
        itself.examine(&world.keys),
        Err(AbortError::OtherSession)
    ));

    let mut deep = world.abort(Role::P1, &[], vec![]);
    for party in [Role::P2, Role::P3, Role::P1, Role::P2] {
        let inner = evidence(Object::Statement(world.sign(&deep).to_wire()));
        deep = world.abort(party, &[], vec![inner]);
    }
    assert!(matches!(deep.examine(&world.keys), Err(AbortError::Depth)));
}

#[test]
fn malformed_aborts_are_refused() {
    let world = World::new(5);
    let good = world.abort(Role::P1, &[Role::P2], vec![]);
    let refused = |alter: &dyn Fn(&mut wire::Abort)| {
        let envelope = world.sign(&good);
        let mut raw = wire::Abort::decode(envelope.payload().clone()).expect("just made");
        alter(&mut raw);
        let envelope = world.signers[0].seal_envelope(Kind::Abort, raw.encode_to_vec());
        SessionAbort::open(&envelope, &world.keys).expect_err("refused")
    };
    assert!(matches!(
        refused(&|a| a.step = "sort\u{1b}[2J".into()),
        AbortError::Step
    ));
    assert!(matches!(refused(&|a| a.step = "a".repeat(65)), AbortError::Step));
    assert!(matches!(
        refused(&|a| a.channel = "P2-P1".into()),
        AbortError::Channel
    ));
    assert!(matches!(refused(&|a| a.suspects = vec![1]), AbortError::Suspects));
    assert!(matches!(
        refused(&|a| a.suspects = vec![3, 2]),
        AbortError::Suspects
    ));
    assert!(matches!(
        refused(&|a| a.suspects = vec![2, 2]),
        AbortError::Suspects
    ));
    assert!(matches!(refused(&|a| a.suspects = vec![4]), AbortError::Id(_)));
    assert!(matches!(
        refused(&|a| a.reason = "because".into()),
        AbortError::Reason(_)
    ));
    assert!(matches!(
        refused(&|a| a.check = "vibes".into()),
        AbortError::Check
    ));
    assert!(matches!(
        refused(&|a| a.session_id = vec![1; 31]),
        AbortError::Id(_)
    ));
    assert!(matches!(refused(&|a| a.party = 2), AbortError::Envelope(_)));
    assert!(matches!(
        refused(&|a| a.one_time_key = vec![1]),
        AbortError::Foreign
    ));
    let long = vec![world.statement(Role::P1, 0, 0); 100];
    let long = world.sign(&world.abort(Role::P1, &[], long));
    assert!(matches!(
        SessionAbort::open(&long, &world.keys),
        Err(AbortError::Decode(_))
    ));
    for check in Check::ALL {
        assert_eq!(check.code().parse::<Check>().expect("known"), *check);
    }
}

#[test]
fn a_demanded_frame_reaches_the_one_who_demands_only() {
    let world = World::new(5);
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let (answer, one_time_key) = Answer::expected(&mut rng);
    let demand = Demand {
        session: world.session,
        election: election(),
        of_box: BoxId(3),
        by: Role::P1,
        of: Role::P2,
        sequence: 17,
        one_time_key,
    };
    let envelope = demand.sign(&world.signers[0]);
    assert_eq!(Demand::open(&envelope, &world.keys).expect("well formed"), demand);
    let hash = envelope.hash();
    let supply = Supply::frame(&demand, &hash, b"the frame", &mut rng).expect("a usable key");
    let signed = supply.clone().sign(&hash, Role::P2, &world.signers[1]);
    let Supply::Frame(sealed) = Supply::open(&signed, &demand, &hash, &world.keys).expect("the answer")
    else {
        panic!("a frame was sealed")
    };
    assert_eq!(
        answer.open(&hash, &sealed).expect("opens").as_slice(),
        b"the frame"
    );
    assert!(
        answer.open(&Hash32([0; 32]), &sealed).is_err(),
        "bound to the demand"
    );
    let (other, _) = Answer::expected(&mut rng);
    assert!(other.open(&hash, &sealed).is_err(), "sealed to one key");

    // The one that carries it can neither answer itself nor reuse an answer.
    let forged = supply.clone().sign(&hash, Role::P2, &world.signers[2]);
    assert!(Supply::open(&forged, &demand, &hash, &world.keys).is_err());
    let elsewhere = supply.sign(&Hash32([1; 32]), Role::P2, &world.signers[1]);
    assert_eq!(
        Supply::open(&elsewhere, &demand, &hash, &world.keys),
        Err(DemandError::Other)
    );

    // What waits for another frame says so with a demand of its own, in the same session.
    let own = Demand {
        by: Role::P2,
        of: Role::P3,
        ..demand.clone()
    };
    let waiting = Supply::Waiting(own.sign(&world.signers[1])).sign(&hash, Role::P2, &world.signers[1]);
    assert!(matches!(
        Supply::open(&waiting, &demand, &hash, &world.keys),
        Ok(Supply::Waiting(_))
    ));
    for stranger in [
        Demand {
            session: Hash32([3; 32]),
            ..own.clone()
        }
        .sign(&world.signers[1]),
        own.sign(&world.signers[2]),
    ] {
        let waiting = Supply::Waiting(stranger).sign(&hash, Role::P2, &world.signers[1]);
        assert!(Supply::open(&waiting, &demand, &hash, &world.keys).is_err());
    }
    for (key, by) in [([0; 32], Role::P1), (one_time_key, Role::P2)] {
        let bad = Demand {
            one_time_key: key,
            by,
            ..demand.clone()
        };
        assert!(Demand::open(&bad.sign(&world.signers[by.slot()]), &world.keys).is_err());
    }
}

#[test]
fn holdings_name_what_was_signed_and_convict_who_hides_it() {
    let world = World::new(5);
    let list = Hash32([4; 32]);
    let claims = Claims {
        election: election(),
        of_box: BoxId(3),
        party: Role::P2,
        list_hashes: [list, Hash32([5; 32]), Hash32([6; 32])],
        receipts: Vec::new(),
    };
    let holdings = Holdings {
        election: election(),
        of_box: BoxId(3),
        of: Role::P1,
        by: Role::P2,
        nonce: [9; NONCE_BYTES],
        list: Some(list),
        claims: None,
        seal: None,
        start: Some(world.starts[0].clone()),
        result: None,
        own_claims: Some(Hash32([8; 32])),
        own_seal: None,
    };
    let envelope = holdings.sign(&world.signers[1]);
    let opened = Holdings::open(&envelope, &world.keys).expect("well formed");
    assert_eq!(opened, holdings);
    assert_eq!(opened.number(), 5);
    let signed = Some((&claims, Hash32([8; 32])));
    assert!(!opened.hides(signed, None));
    let hiding = Holdings {
        list: None,
        ..holdings.clone()
    };
    assert!(hiding.hides(signed, None), "its own Claims name the List");
    assert!(
        !hiding.hides(Some((&claims, Hash32([7; 32]))), None),
        "other Claims than it names"
    );

    let of_another = Holdings {
        start: Some(world.starts[2].clone()),
        ..holdings.clone()
    };
    let forged = holdings.sign(&world.signers[2]);
    let itself = Holdings {
        of: Role::P2,
        start: None,
        ..holdings
    };
    for bad in [
        of_another.sign(&world.signers[1]),
        forged,
        itself.sign(&world.signers[1]),
    ] {
        assert!(Holdings::open(&bad, &world.keys).is_err());
    }
}

#[test]
fn session_ids_depend_on_every_start_and_on_their_order() {
    let base = session_id([b"a", b"b", b"c"]);
    assert_ne!(base, session_id([b"b", b"a", b"c"]));
    assert_ne!(base, session_id([b"a", b"b", b"d"]));
    assert_ne!(base, session_id([b"ab", b"", b"c"]));
}
