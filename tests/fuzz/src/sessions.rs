//! The objects of a tally session, as the parties and the coordinator send them.
//!
//! What a party signs is tried under a good signature of each party: what a malicious party sends is signed, too.

use prost::Message as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tally_mpc::{Binding, ChannelHashes, Label, Phase, Scope, Statement};
use tally_proto::decode::decode_canonical;
use tally_proto::envelope::{Envelope, Kind, PublicKey};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _, SessionNumber};
use tally_proto::reason::Reason;
use tally_proto::result::SignedResult;
use tally_proto::session::{
    Answer, Body, Check, Demand, Holdings, MAX_FRAME_BYTES, Numbering, SessionAbort, Start, Supply, detached,
    parse_label, session_id, statement_layout, verify_aborts, weight,
};
use tally_proto::wire;
use tally_proto::wire::evidence::Object;

use crate::Seeds;
use crate::targets::{FIXED, canonical};

const BOX: BoxId = BoxId(1);
const NUMBER: SessionNumber = SessionNumber(7);

fn keys() -> [PublicKey; 3] {
    FIXED.world.manifest.manifest().party_keys()
}

/// The signed bytes.
pub(crate) fn payload(envelope: &Envelope) -> Vec<u8> {
    envelope.payload().to_vec()
}

/// Runs `decode` on `data` under each party's signature. Whatever is accepted must sign the same bytes again.
fn signed<T, E>(
    kind: Kind,
    data: &[u8],
    decode: impl Fn(&Envelope) -> Result<T, E>,
    sign: impl Fn(&T, Role) -> Envelope,
    then: impl Fn(&T),
) {
    for role in Role::ALL {
        let envelope = FIXED.world.signers[role.slot()].seal_envelope(kind, data.to_vec());
        if let Some(value) = canonical(data, decode(&envelope), |value| payload(&sign(value, role))) {
            then(&value);
        }
    }
}

impl Seeds {
    fn election(&self) -> ElectionId {
        self.world.manifest.manifest().election().clone()
    }

    /// A party's Start.
    pub(crate) fn start(&self, party: Role) -> Envelope {
        let start = Start {
            seal_hash: self.seal.hash(),
            election: self.election(),
            of_box: BOX,
            party,
            number: NUMBER,
            commitments: (Hash32([1; 32]), Hash32([2; 32])),
        };
        start.sign(&self.world.signers[party.slot()])
    }

    fn starts(&self) -> [Envelope; 3] {
        Role::ALL.map(|role| self.start(role))
    }

    fn session(&self) -> Hash32 {
        let [one, two, three] = self.starts();
        session_id([one.payload(), two.payload(), three.payload()])
    }

    /// What P1 demands of P2.
    pub(crate) fn demand(&self) -> Demand {
        let (_, one_time_key) = Answer::expected(&mut rng());
        Demand {
            session: self.session(),
            election: self.election(),
            of_box: BOX,
            by: Role::P1,
            of: Role::P2,
            sequence: 9,
            one_time_key,
        }
    }

    fn abort(&self, party: Role, evidence: Vec<wire::Evidence>) -> SessionAbort {
        SessionAbort {
            election: self.election(),
            of_box: BOX,
            seal_hash: self.seal.hash(),
            number: NUMBER,
            session: self.session(),
            party,
            reason: Reason::TallyCheckFailed,
            check: Check::ChannelHashes,
            step: "sort step 3 chunk 0".to_owned(),
            channel: Some([Role::P1, Role::P2]),
            suspects: vec![party.next().min(party.prev()), party.next().max(party.prev())],
            proved: false,
            evidence,
        }
        .settled(&keys())
    }

    /// What a party stated at a barrier: that every channel has this hash.
    fn stated(&self, signer: Role, hash: u8) -> wire::Evidence {
        let statement = Statement {
            binding: Binding::new(
                self.seal.hash().as_bytes(),
                self.election().as_str().as_bytes(),
                &BOX.get().to_be_bytes(),
                NUMBER.get(),
            ),
            signer,
            number: 4,
            at: Scope {
                phase: Phase::Sort,
                step: 3,
                chunk: 0,
            },
            channels: ChannelHashes::from_bytes(&[hash; 128]),
        };
        let statement = statement.to_bytes().to_vec();
        let layout = statement_layout(&self.session(), &statement);
        let signature = self.world.signers[signer.slot()].sign_layout(&layout).0.to_vec();
        evidence(Object::Barrier(wire::BarrierStatement { statement, signature }))
    }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(3)
}

fn evidence(object: Object) -> wire::Evidence {
    wire::Evidence { object: Some(object) }
}

pub(crate) fn start(data: &[u8]) {
    let sign = |start: &Start, role: Role| start.sign(&FIXED.world.signers[role.slot()]);
    signed(
        Kind::Start,
        data,
        |envelope| Start::open(envelope, &keys()),
        sign,
        |_| {},
    );
    if let Ok(start) = Start::decode(data) {
        assert_eq!(payload(&start.sign(&FIXED.world.signers[0])), data);
    }
}

pub(crate) fn demand(data: &[u8]) {
    let sign = |demand: &Demand, role: Role| demand.sign(&FIXED.world.signers[role.slot()]);
    signed(
        Kind::Demand,
        data,
        |envelope| Demand::open(envelope, &keys()),
        sign,
        |_| {},
    );
    // Before the session is known, nothing is verified.
    let unsigned = wire::Envelope {
        payload: data.to_vec().into(),
        signatures: Vec::new(),
    };
    let unsigned = Envelope::from_wire(unsigned).expect("no signature is malformed");
    let _ = canonical(data, Demand::decode(&unsigned), |demand| {
        payload(&sign(demand, Role::P1))
    });
}

pub(crate) fn supply(data: &[u8]) {
    let demand = FIXED.demand();
    let hash = demand.sign(&FIXED.world.signers[0]).hash();
    let (key, _) = Answer::expected(&mut rng());
    signed(
        Kind::Supply,
        data,
        |envelope| Supply::open(envelope, &demand, &hash, &keys()),
        |supply, role| {
            supply
                .clone()
                .sign(&hash, Role::P2, &FIXED.world.signers[role.slot()])
        },
        |supply| {
            if let Supply::Frame(sealed) = supply
                && let Ok(frame) = key.open(&hash, sealed)
            {
                self::frame(&frame);
            }
        },
    );
}

pub(crate) fn supply_seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let demand = seeds.demand();
    let hash = demand.sign(&seeds.world.signers[0]).hash();
    let frame = frame_seeds(seeds).remove(0);
    let sealed = Supply::frame(&demand, &hash, &frame, &mut rng()).expect("a usable key");
    let own = Demand {
        by: Role::P2,
        of: Role::P3,
        ..demand
    };
    [sealed, Supply::Waiting(own.sign(&seeds.world.signers[1]))]
        .map(|supply| payload(&supply.sign(&hash, Role::P2, &seeds.world.signers[1])))
        .to_vec()
}

/// The sealed bytes of an answer: nothing but the one that was sealed opens.
pub(crate) fn sealed_frame(data: &[u8]) {
    let hash = FIXED.demand().sign(&FIXED.world.signers[0]).hash();
    let (key, _) = Answer::expected(&mut rng());
    if let Ok(frame) = key.open(&hash, data) {
        assert_eq!(vec![frame.to_vec()], vec![frame_seeds(&FIXED).remove(0)]);
    }
}

pub(crate) fn sealed_frame_seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let demand = seeds.demand();
    let hash = demand.sign(&seeds.world.signers[0]).hash();
    let frame = frame_seeds(seeds).remove(0);
    match Supply::frame(&demand, &hash, &frame, &mut rng()) {
        Ok(Supply::Frame(sealed)) => vec![sealed],
        other => unreachable!("a frame is sealed to a usable key: {other:?}"),
    }
}

pub(crate) fn holdings(data: &[u8]) {
    signed(
        Kind::Holdings,
        data,
        |envelope| Holdings::open(envelope, &keys()),
        |holdings, role| holdings.sign(&FIXED.world.signers[role.slot()]),
        |holdings| {
            let _ = holdings.number();
            let claims = &FIXED.evidence.claims[0].0;
            let _ = holdings.hides(
                Some((claims, Hash32([4; 32]))),
                Some((&FIXED.seal, FIXED.seal.hash())),
            );
        },
    );
}

pub(crate) fn holdings_seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let full = Holdings {
        election: seeds.election(),
        of_box: BOX,
        of: Role::P1,
        by: Role::P2,
        nonce: [6; 32],
        list: Some(Hash32([1; 32])),
        claims: Some(Hash32([2; 32])),
        seal: Some(seeds.seal.hash()),
        start: Some(seeds.start(Role::P1)),
        result: Some(seeds.result.sign(&seeds.world.signers[1])),
        own_claims: Some(Hash32([4; 32])),
        own_seal: Some(seeds.seal.hash()),
    };
    let empty = Holdings {
        list: None,
        claims: None,
        seal: None,
        start: None,
        result: None,
        own_claims: None,
        own_seal: None,
        ..full.clone()
    };
    [full, empty]
        .map(|holdings| payload(&holdings.sign(&seeds.world.signers[1])))
        .to_vec()
}

pub(crate) fn abort(data: &[u8]) {
    signed(
        Kind::Abort,
        data,
        |envelope| SessionAbort::open(envelope, &keys()),
        |abort, role| abort.sign(&FIXED.world.signers[role.slot()]),
        |abort| {
            let examined = abort.examine(&keys());
            let envelope = abort.sign(&FIXED.world.signers[abort.party.slot()]);
            let of = (&abort.election, abort.of_box, abort.seal_hash);
            let verified = verify_aborts(std::slice::from_ref(&envelope), &keys(), of);
            assert_eq!(
                examined.is_ok(),
                verified.is_ok(),
                "one door says what the other says"
            );
            // As an honest party would sign it, it always stands.
            let settled = abort.clone().settled(&keys());
            let examined = settled.examine(&keys()).expect("what does not hold is left out");
            assert_eq!(settled.proved, !examined.proofs.is_empty());
        },
    );
}

pub(crate) fn abort_seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let starts = seeds
        .starts()
        .map(|start| evidence(Object::Start(start.to_wire())));
    let accounts = vec![seeds.stated(Role::P2, 1), seeds.stated(Role::P3, 2)];
    let proof = seeds.abort(Role::P1, [starts.to_vec(), accounts].concat());
    assert!(proof.proved, "a seed that proves something");
    let carried = evidence(Object::Statement(proof.sign(&seeds.world.signers[0]).to_wire()));
    let demand = evidence(Object::Demand(
        seeds.demand().sign(&seeds.world.signers[0]).to_wire(),
    ));
    vec![
        payload(&seeds.abort(Role::P3, vec![carried]).sign(&seeds.world.signers[2])),
        payload(&seeds.abort(Role::P1, vec![demand]).sign(&seeds.world.signers[0])),
        payload(&proof.sign(&seeds.world.signers[0])),
    ]
}

/// A Result as it is handed over: whatever is taken has two good signatures on the totals of the fixed box.
pub(crate) fn signed_result(data: &[u8]) {
    let Some(envelope) = canonical(data, Envelope::decode(data), Envelope::encode) else {
        return;
    };
    if let Ok(result) = SignedResult::open(envelope, FIXED.world.manifest.manifest()) {
        assert_eq!(*result.result(), FIXED.result, "nobody signed another result");
        assert!(result.signers().count() >= 2);
        assert_eq!(result.envelope().encode(), data);
    }
}

pub(crate) fn signed_result_seeds(_: &Seeds) -> Vec<Vec<u8>> {
    let mut envelope = FIXED.result.sign(&FIXED.world.signers[2]);
    envelope.add_signature(FIXED.world.signers[0].sign(Kind::Result, envelope.payload()));
    vec![envelope.encode()]
}

/// A frame as it comes, at both places where frames differ in kind: first, and later. Whatever is in order leaves as the same frame.
pub(crate) fn frame(data: &[u8]) {
    let Ok(frame) = decode_canonical::<wire::Frame>("frame", data, MAX_FRAME_BYTES) else {
        return;
    };
    assert_eq!(frame.encode_to_vec(), data);
    assert!(weight(&frame) >= frame.payload.len());
    assert_eq!(detached(frame.clone()), frame);
    let Ok(session) = Hash32::from_slice(&frame.session) else {
        return;
    };
    for opened in [false, true] {
        let (mut to, mut from) = (Numbering::new(session), Numbering::new(session));
        if opened {
            for numbering in [&mut to, &mut from] {
                let _ = numbering.stamp(Body::Opening(vec![5; 32].into()));
            }
        }
        if let Ok(body) = to.check(frame.clone()) {
            assert_eq!(
                from.stamp(body),
                frame,
                "a frame in order does not leave as it came"
            );
        }
    }
}

pub(crate) fn frame_seeds(_: &Seeds) -> Vec<Vec<u8>> {
    let label = Label {
        scope: Scope {
            phase: Phase::Sort,
            step: 3,
            chunk: 0,
        },
        round: 5,
    };
    let mut numbering = Numbering::new(Hash32([1; 32]));
    let opening = numbering.stamp(Body::Opening(vec![5; 32].into()));
    let second = |body| {
        let mut numbering = numbering.clone();
        numbering.stamp(body).encode_to_vec()
    };
    vec![
        second(Body::Message(label, vec![3; 40].into())),
        second(Body::Close),
        second(Body::Abort(vec![4; 90].into())),
        opening.encode_to_vec(),
    ]
}

pub(crate) fn frame_label(data: &[u8]) {
    if let Ok(label) = parse_label(data) {
        assert_eq!(label.to_bytes()[..], *data);
    }
}
