use super::*;
use crate::fixture::{OPENS, Shape, World};
use crate::ids::{RoleExt as _, SessionNumber, StationId, VoterIndex};
use crate::order::{Change, Correction};
use crate::record::Half;
use crate::sealing;
use crate::sealing::tests::{ballot, record};
use crate::session::{Check, SessionAbort};
use tally_mpc::{ContestTotals, Counts, Outcome};

const BOX: BoxId = BoxId(1);

struct Made {
    world: World,
    orders: Vec<SignedOrder>,
    parts: BoxParts,
}

/// A small election: six ballots, two records, one order, one claimed receipt; of its two boxes one is tallied.
fn made() -> Made {
    let mut world = World::new(Shape::default());
    let records = [
        record(&mut world, 0, 1, Half::WHOLE, [true; 3]),
        record(&mut world, 1, 1, Half::WHOLE, [true, true, false]),
    ];
    let ballots = [
        ballot(&world, 1, OPENS, None, [true; 3]),
        ballot(&world, 2, OPENS + 1, None, [true, true, false]),
        ballot(&world, 3, OPENS + 2, None, [false, true, false]),
        ballot(&world, 4, OPENS + 3, Some((1, 1, false)), [true; 3]),
        ballot(&world, 5, OPENS + 3, Some((1, 1, true)), [true; 3]),
        ballot(&world, 6, OPENS + 4, None, [false, false, true]),
    ];
    let change = Correction {
        of_box: BOX,
        voter: VoterIndex(3),
        live: false,
        enrolled: false,
    };
    let orders = vec![world.order(1, Change::Correction(change))];
    let hashes = [orders[0].hash()];
    let claimed = [
        vec![],
        vec![world.receipt(Role::P3, BOX, ballots[2].public.0.digest())],
        vec![],
    ];
    let evidence = world.evidence(BOX, &ballots, &records, claimed, [&hashes, &[], &hashes]);
    let election = EffectiveElection::new(world.manifest.clone(), &orders).expect("applies");
    let sealed = sealing::compute(evidence.inputs(&election, BOX)).expect("a Seal");
    let mut seal = sealed.seal.sign(&world.signers[0]);
    for signer in &world.signers[1..] {
        seal.add_signature(signer.sign(Kind::Seal, seal.payload()));
    }
    let outcome = Outcome {
        contests: vec![
            ContestTotals {
                options: vec![2, 1, 0],
                spoilt: 0,
            },
            ContestTotals {
                options: vec![1, 1, 0, 1],
                spoilt: 1,
            },
        ],
        counts: Counts::PerChannel {
            online: 2,
            electronic: 1,
        },
    };
    // Of the two ballots with one number the lower digest stays: make the outcome fit either way.
    let outcome = if sealed.seal.counts.station == 1 {
        outcome
    } else {
        Outcome {
            counts: Counts::PerChannel {
                online: 3,
                electronic: 0,
            },
            ..outcome
        }
    };
    let result =
        BoxResult::from_outcome(world.manifest.manifest(), BOX, seal.hash(), &outcome).expect("a result");
    let mut result = result.sign(&world.signers[0]);
    result.add_signature(world.signers[1].sign(Kind::Result, result.payload()));
    let parts = BoxParts {
        seal,
        body: evidence.body.encode().into(),
        lists: evidence.lists.each_ref().map(|list| list.envelope().clone()),
        claims: evidence.claims_envelopes,
        result,
        aborts: Vec::new(),
    };
    Made { world, orders, parts }
}

impl Made {
    fn bundle(&self) -> Vec<u8> {
        let boxes = vec![(BOX, self.parts.clone())];
        sign_bundle(
            &self.world.coordinator,
            &self.world.manifest,
            &self.orders,
            boxes,
            UnixSeconds(OPENS + 90_000),
        )
    }

    fn verify(&self, bytes: &[u8]) -> Result<Report, BundleError> {
        verify_bundle(bytes, &self.world.manifest)
    }

    /// The bundle as the coordinator would sign it after this change.
    fn resigned(&self, change: impl FnOnce(&mut wire::Bundle)) -> Result<Report, BundleError> {
        let envelope = Envelope::decode(&self.bundle()).expect("an envelope");
        let mut bundle: wire::Bundle = prost::Message::decode(envelope.payload().clone()).expect("a bundle");
        change(&mut bundle);
        let payload = prost::Message::encode_to_vec(&bundle);
        self.verify(
            &self
                .world
                .coordinator
                .seal_envelope(Kind::Bundle, payload)
                .encode(),
        )
    }
}

#[test]
fn a_bundle_is_verified_with_nothing_but_the_manifest() {
    let made = made();
    let report = made.verify(&made.bundle()).expect("verifies");
    assert_eq!(report.missing, [BoxId(2)]);
    assert_eq!((report.orders, report.boxes.len()), (1, 1));
    let of_box = &report.boxes[0];
    assert_eq!((of_box.of_box, of_box.live, of_box.enrolled), (BOX, 4, 1));
    assert_eq!(of_box.seal.counts.total(), 4);
    assert_eq!(of_box.seal.exclusions.len(), 1);
    assert_eq!(of_box.seal.stations[0].station, StationId(1));
    assert_eq!(of_box.signers, [Role::P1, Role::P2]);
    assert_eq!(of_box.result.contests()[0].totals, [2, 1, 0]);
}

#[test]
fn every_changed_byte_is_refused() {
    let made = made();
    let bytes = made.bundle();
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1 << (i % 8);
        let error = made.verify(&changed).expect_err("refused");
        assert_eq!(error.reason(), Reason::BundleAltered, "byte {i}: {error}");
    }
    assert!(made.verify(&bytes[..bytes.len() - 1]).is_err());
    assert!(made.verify(&[&bytes[..], &[0]].concat()).is_err());
    assert!(made.verify(&[]).is_err());
}

/// A coordinator that signs what it altered changes nothing but its own statement of the time.
#[test]
fn every_byte_changed_by_the_coordinator_itself_is_refused() {
    let made = made();
    let envelope = Envelope::decode(&made.bundle()).expect("an envelope");
    let payload = envelope.payload();
    // The last field, published_at_s: a tag and five bytes.
    let stated = payload.len() - 6;
    let manifest_end = made.world.manifest.envelope().encode().len();
    // All of it but the manifest's middle, whose own test flips it.
    for i in (0..stated).filter(|i| *i < 16 || *i > manifest_end || i % 61 == 0) {
        let mut changed = payload.to_vec();
        changed[i] ^= 1 << (i % 8);
        let bytes = made
            .world
            .coordinator
            .seal_envelope(Kind::Bundle, changed)
            .encode();
        assert!(made.verify(&bytes).is_err(), "byte {i}");
    }
}

#[test]
fn what_a_cheating_coordinator_leaves_out_or_swaps_is_named() {
    let made = made();
    let refused = |change: fn(&mut wire::Bundle)| made.resigned(change).expect_err("refused");
    let in_box = |change: fn(&mut wire::Bundle)| match refused(change) {
        BundleError::Box { of_box: BOX, source } => source,
        other => panic!("not about the box: {other}"),
    };
    assert!(made.resigned(|_| ()).is_ok());
    assert!(made.resigned(|b| b.published_at_s += 1).is_ok());
    assert!(matches!(
        refused(|b| b.manifest = None),
        BundleError::Missing("the manifest")
    ));
    assert!(matches!(
        refused(|b| b.boxes[0].seal = None),
        BundleError::Missing("a Seal")
    ));
    assert!(matches!(
        refused(|b| b.boxes.push(b.boxes[0].clone())),
        BundleError::BoxOrder(BOX)
    ));
    assert!(matches!(in_box(|b| b.orders.clear()), BoxError::Orders(1)));
    assert!(matches!(
        in_box(|b| b.boxes[0].result = None),
        BoxError::Missing("the result")
    ));
    assert!(matches!(
        in_box(|b| drop(b.boxes[0].lists.pop())),
        BoxError::Missing("Lists")
    ));
    assert!(matches!(
        in_box(|b| drop(b.boxes[0].claims.pop())),
        BoxError::Missing("Claims")
    ));
    let fewer = in_box(|b| {
        let seal = b.boxes[0].seal.as_mut().expect("a Seal");
        seal.signatures.pop();
    });
    assert!(matches!(fewer, BoxError::Seal(_)));
    let swapped = in_box(|b| b.boxes[0].lists.swap(0, 1));
    assert!(matches!(
        swapped,
        BoxError::Sealing(SealingError::OtherSubject { .. })
    ));
    let dropped = in_box(|b| {
        let mut body: wire::BoxBody = prost::Message::decode(b.boxes[0].body.clone()).expect("a body");
        body.ballots.remove(0);
        b.boxes[0].body = prost::Message::encode_to_vec(&body).into();
    });
    assert!(matches!(
        dropped,
        BoxError::Sealing(SealingError::OtherList { kind: "ballots", .. })
    ));
    for voter in 0..5 {
        let refused = made.resigned(|b| {
            let mut body: wire::BoxBody = prost::Message::decode(b.boxes[0].body.clone()).expect("a body");
            body.online[0] ^= 1 << voter;
            b.boxes[0].body = prost::Message::encode_to_vec(&body).into();
        });
        assert!(
            matches!(
                refused,
                Err(BundleError::Box {
                    source: BoxError::Recomputed,
                    ..
                })
            ),
            "voter {voter}"
        );
    }
    let one_signature = refused(|b| {
        let result = b.boxes[0].result.as_mut().expect("a result");
        result.signatures.pop();
    });
    assert_eq!(one_signature.reason(), Reason::ResultSignatures);
}

#[test]
fn two_parties_cannot_sign_impossible_numbers_into_a_bundle() {
    let made = made();
    let seal = made.parts.seal.hash();
    let outcome = Outcome {
        contests: vec![
            ContestTotals {
                options: vec![2, 3, 0],
                spoilt: 0,
            },
            ContestTotals {
                options: vec![0; 4],
                spoilt: 0,
            },
        ],
        counts: Counts::PerChannel {
            online: 2,
            electronic: 1,
        },
    };
    let manifest = made.world.manifest.manifest();
    let result = BoxResult::from_outcome(manifest, BOX, seal, &outcome).expect("of the right form");
    let mut envelope = result.sign(&made.world.signers[1]);
    envelope.add_signature(made.world.signers[2].sign(Kind::Result, envelope.payload()));
    let refused = made
        .resigned(|b| b.boxes[0].result = Some(envelope.to_wire()))
        .expect_err("refused");
    assert!(matches!(
        refused,
        BundleError::Box {
            source: BoxError::Result(_),
            ..
        }
    ));
    let other = BoxResult::from_outcome(manifest, BOX, Hash32([1; 32]), &outcome).expect("of the right form");
    let mut envelope = other.sign(&made.world.signers[1]);
    envelope.add_signature(made.world.signers[2].sign(Kind::Result, envelope.payload()));
    let refused = made
        .resigned(|b| b.boxes[0].result = Some(envelope.to_wire()))
        .expect_err("refused");
    assert!(matches!(
        refused,
        BundleError::Box {
            source: BoxError::OtherResult,
            ..
        }
    ));
}

#[test]
fn a_bundle_of_another_manifest_is_named_as_such() {
    let made = made();
    let payload = made.world.manifest.envelope().payload().clone();
    let unsigned = made.world.coordinator.seal_envelope(Kind::Manifest, payload);
    let incomplete = SignedManifest::open(unsigned).expect("opens");
    let refused = verify_bundle(&made.bundle(), &Arc::new(incomplete)).expect_err("refused");
    assert_eq!(refused.reason(), Reason::ManifestNotCountersigned);
    // The same coordinator, another election.
    let mut wire = made.world.manifest.manifest().to_wire();
    wire.election = "ward-8".into();
    let envelope = made
        .world
        .sign_all(Kind::Manifest, prost::Message::encode_to_vec(&wire));
    let other = SignedManifest::open(envelope).expect("opens");
    let refused = verify_bundle(&made.bundle(), &Arc::new(other)).expect_err("refused");
    assert_eq!(refused.reason(), Reason::BundleOther);
}

#[test]
fn aborts_of_sessions_before_are_verified_and_reported_apart() {
    let made = made();
    let seal_hash = made.parts.seal.hash();
    let abort = |party: Role, number: u64, seal_hash: Hash32, proved: bool| {
        let abort = SessionAbort {
            election: made.world.manifest.manifest().election().clone(),
            of_box: BOX,
            seal_hash,
            number: SessionNumber(number),
            session: Hash32([9; 32]),
            party,
            reason: Reason::PartyUnreachable,
            check: Check::Connection,
            step: "opening".to_owned(),
            channel: None,
            suspects: Role::ALL
                .into_iter()
                .filter(|role| *role == party.next())
                .collect(),
            proved,
            evidence: Vec::new(),
        };
        abort.sign(&made.world.signers[party.slot()]).to_wire()
    };
    let with = |aborts: Vec<wire::Envelope>| made.resigned(|bundle| bundle.boxes[0].aborts = aborts);
    let (one, other) = (
        abort(Role::P1, 1, seal_hash, false),
        abort(Role::P3, 1, seal_hash, false),
    );
    let report = with(vec![one.clone(), other.clone()]).expect("verifies");
    let of_box = &report.boxes[0];
    let named: Vec<_> = of_box
        .aborts
        .iter()
        .map(|verified| (verified.abort.party, verified.abort.suspects.clone()))
        .collect();
    assert_eq!(named, [(Role::P1, vec![Role::P2]), (Role::P3, vec![Role::P1])]);
    assert!(of_box.proofs.is_empty(), "words prove nothing");
    assert_eq!(of_box.signers, [Role::P1, Role::P2], "and bear on no result");

    let mut forged = other.clone();
    forged.signatures = one.signatures.clone();
    for aborts in [
        vec![other.clone(), one.clone()],
        vec![one.clone(), one.clone()],
        vec![abort(Role::P1, 1, Hash32([1; 32]), false)],
        vec![abort(Role::P1, 1, seal_hash, true)],
        vec![forged],
    ] {
        let error = with(aborts).expect_err("refused");
        assert_eq!(error.reason(), Reason::BundleAltered, "{error}");
    }
}
