//! The coordinator, the operator and registrars over mutual TLS: who may do what, and what a party refuses to sign.

use tally_proto::calendar::ChannelKind;
use tally_proto::envelope::{Envelope, Kind, Signature};
use tally_proto::fixture::{CLOSES, DRAINED, OPENS, Shape};
use tally_proto::ids::{BoxId, Hash32, Role, StationId, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::order::{Change, Correction, EffectiveElection, Order, Reissue, Revocation, SignedOrder};
use tally_proto::pki::{Leaf, PeerRole};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::Half;
use tally_proto::wire;
use tally_proto::wire::control_client::ControlClient;
use tally_proto::wire::record_receipt::Outcome;
use tonic::transport::Channel;

use crate::world::three::stopped;
use crate::world::{Party, World, reason, refusal};

fn leaf(world: &World, role: PeerRole) -> Leaf {
    world.leaf_of(Role::P1, role)
}

async fn status(world: &World, party: &Party) -> wire::ElectionStatus {
    let mut control = party.control(&leaf(world, PeerRole::Coordinator));
    let status = control
        .status(wire::StatusRequest {
            election: String::new(),
        })
        .await
        .expect("status")
        .into_inner();
    assert_eq!(status.party, 1);
    status.elections.into_iter().next().expect("one election")
}

#[tokio::test]
async fn every_method_refuses_every_wrong_role_by_name() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let foreign_operator = world.fixture.authorities[1]
        .issue(&PeerRole::Operator(Role::P2), &[])
        .expect("issued");
    let other_party = world.fixture.authorities[1]
        .issue(&PeerRole::Party(Role::P2), &[])
        .expect("issued");
    // A role that its issuer may not give: party 2's authority makes itself a coordinator.
    let pretender = world.fixture.authorities[1]
        .issue(&PeerRole::Coordinator, &[])
        .expect("issued");
    let callers = [
        ("coordinator", leaf(&world, PeerRole::Coordinator)),
        ("operator:1", leaf(&world, PeerRole::Operator(Role::P1))),
        ("operator:2", foreign_operator),
        ("party:2", other_party),
        ("party:1", leaf(&world, PeerRole::Party(Role::P1))),
        (
            "registrar:letters",
            leaf(&world, PeerRole::Registrar("letters".into())),
        ),
        ("station:1", leaf(&world, PeerRole::Station(StationId(1)))),
        ("pretender", pretender),
    ];
    for (name, certificate) in &callers {
        let mut control = party.control(certificate);
        let mut registration = party.registration(certificate);
        let mut peer = tally_proto::connect::peer(party.peer_channel(Some(certificate)));
        let (envelope, object) = (wire::Envelope::default(), wire::ObjectRef::default());
        let of_box = wire::BoxRef::default();
        let seal = wire::SealRef::default();
        let reasons = [
            ("coordinator", control.publish(tokio_stream::empty()).await.err()),
            ("coordinator", control.propose_order(envelope.clone()).await.err()),
            ("operator:1", control.pending(wire::PendingRequest {}).await.err()),
            (
                "operator:1",
                control.carried(wire::ObjectRef::default()).await.err(),
            ),
            (
                "operator:1",
                control
                    .countersign(wire::CountersignRequest::default())
                    .await
                    .err(),
            ),
            ("coordinator operator:1", control.signatures(object).await.err()),
            ("coordinator", control.complete(envelope.clone()).await.err()),
            (
                "coordinator operator:1",
                control.status(wire::StatusRequest::default()).await.err(),
            ),
            ("coordinator", control.seal(of_box).await.err()),
            (
                "coordinator",
                control.prepare(wire::PrepareRequest::default()).await.err(),
            ),
            (
                "coordinator",
                control.tally(wire::TallyRequest::default()).await.err(),
            ),
            ("coordinator", control.conclude(envelope.clone()).await.err()),
            ("coordinator", control.supply(envelope.clone()).await.err()),
            ("coordinator", control.deliver(envelope.clone()).await.err()),
            (
                "operator:1",
                control
                    .allow_sessions(wire::AllowSessionsRequest::default())
                    .await
                    .err(),
            ),
            (
                "coordinator",
                control
                    .offset_commitments(wire::RegisterRef::default())
                    .await
                    .err(),
            ),
            (
                "party:2",
                peer.offset_key(wire::OffsetKeyRequest::default()).await.err(),
            ),
            (
                "registrar:letters",
                registration.register(tokio_stream::empty()).await.err(),
            ),
            ("party:2", peer.list(seal.clone()).await.err()),
            ("party:2", peer.claims(seal.clone()).await.err()),
            ("party:2", peer.fill(wire::FillRequest::default()).await.err()),
            ("party:2", peer.mediate(envelope.clone()).await.err()),
            ("party:2", peer.answer(envelope.clone()).await.err()),
            ("party:2", peer.judge(wire::JudgeRequest::default()).await.err()),
            ("party:2", peer.seal_signature(seal).await.err()),
            ("party:2", peer.session(tokio_stream::empty()).await.err()),
            (
                "party:2",
                peer.holdings(wire::HoldingsRequest::default()).await.err(),
            ),
            ("party:2", peer.relay(envelope.clone()).await.err()),
            ("party:2", peer.supply(envelope).await.err()),
        ];
        for (i, (admitted, error)) in reasons.into_iter().enumerate() {
            let refused_role = error.is_some_and(|status| reason::<()>(Err(status)) == Reason::RoleRefused);
            assert_eq!(
                refused_role,
                !admitted.split(' ').any(|role| role == *name),
                "{name}, method {i}"
            );
        }
    }
    // Without a certificate there is no connection to the peer listener at all.
    let mut nobody = tally_proto::connect::control(party.peer_channel(None));
    assert!(nobody.status(wire::StatusRequest::default()).await.is_err());
}

#[tokio::test]
async fn an_election_is_published_countersigned_and_comes_into_force() {
    let world = World::new(Shape::default());
    let party = world.start(Role::P1).await;
    let reply = world.publish(&party).await.expect("published");
    assert_eq!(reply.manifest_hash, world.fixture.manifest.hash().0);
    assert_eq!(world.publish(&party).await.expect("again"), reply);
    assert!(!status(&world, &party).await.countersigned_by_all);

    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    let pending = operator
        .pending(wire::PendingRequest {})
        .await
        .expect("pending")
        .into_inner();
    assert_eq!((pending.manifests.len(), pending.orders.len()), (1, 0));
    let sign = |object_hash: Vec<u8>, confirmation: &str| wire::CountersignRequest {
        object_hash,
        confirmation: confirmation.into(),
        changed: 0,
    };
    let hash = reply.manifest_hash;
    assert_eq!(
        reason(operator.countersign(sign(hash.clone(), "ward-8")).await),
        Reason::ConfirmationMismatch
    );
    assert_eq!(
        reason(operator.countersign(sign(vec![1; 32], "ward-7")).await),
        Reason::ObjectUnknown
    );
    let signed = operator
        .countersign(sign(hash.clone(), "ward-7"))
        .await
        .expect("signed")
        .into_inner();
    let signature = Signature::from_wire(&signed.signature.expect("there")).expect("signature");
    assert_eq!(
        signature,
        world.fixture.signers[0].sign(Kind::Manifest, world.fixture.manifest.envelope().payload())
    );
    let pending = operator
        .pending(wire::PendingRequest {})
        .await
        .expect("pending")
        .into_inner();
    assert!(pending.manifests.is_empty());

    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let object = wire::ObjectRef { object_hash: hash };
    let known = coordinator
        .signatures(object)
        .await
        .expect("signatures")
        .into_inner();
    assert_eq!(known.signatures.len(), 2);
    let mut forged = world.fixture.manifest.envelope().to_wire();
    forged.signatures[3].signature[0] ^= 1;
    assert_eq!(reason(coordinator.complete(forged).await), Reason::SignatureBad);
    assert!(!status(&world, &party).await.countersigned_by_all);
    let complete = world.fixture.manifest.envelope().to_wire();
    assert!(
        coordinator
            .complete(complete)
            .await
            .expect("complete")
            .into_inner()
            .in_force
    );
    let status = status(&world, &party).await;
    assert!(status.countersigned_by_all);
    assert_eq!(status.boxes.len(), 2);
    assert_eq!(status.boxes[0].phase(), wire::BoxPhase::Open);
    // The public listener hands the manifest to voters.
    let reply = party
        .intake()
        .manifest(wire::ElectionRef {
            election: "ward-7".into(),
        })
        .await
        .expect("manifest");
    assert_eq!(reply.into_inner().manifest.expect("there").signatures.len(), 4);
}

#[tokio::test]
async fn what_was_published_and_signed_is_there_after_a_restart() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let ballot = world.ballot();
    let receipt = party
        .intake()
        .submit(party.part(&ballot))
        .await
        .expect("accepted")
        .into_inner();
    let disk = party.disk.clone();
    let part = party.part(&ballot);
    party.running.stop().await;
    let party = world.start_on(Role::P1, disk.after_crash(3)).await;
    assert!(status(&world, &party).await.countersigned_by_all);
    assert_eq!(
        party.intake().submit(part).await.expect("known").into_inner(),
        receipt
    );
}

#[tokio::test]
async fn a_manifest_of_other_parties_or_with_other_rolls_is_refused() {
    let world = World::new(Shape::default());
    let party = world.start(Role::P1).await;
    let stranger = World::new(Shape {
        seed: 2,
        ..Shape::default()
    });
    let coordinator = leaf(&world, PeerRole::Coordinator);
    let publish = async |parts: Vec<wire::PublishPart>| {
        party
            .control(&coordinator)
            .publish(tokio_stream::iter(parts))
            .await
            .map(|_| ())
    };
    let refused = refusal(publish(stranger.publication()).await);
    assert_eq!(refused.reason, Reason::ManifestIdentity);
    assert!(refused.detail.contains("P1"), "{refused}");
    // Nor signed by all of them: their keys are not those of this party's configuration.
    let mut complete = stranger.publication();
    let signed_by_all = stranger.fixture.manifest.envelope().to_wire();
    complete[0].part = Some(wire::publish_part::Part::Manifest(signed_by_all));
    assert_eq!(reason(publish(complete).await), Reason::ManifestIdentity);

    let parts = world.publication();
    assert_eq!(reason(publish(parts[..1].to_vec()).await), Reason::RollMismatch);
    assert_eq!(
        reason(publish(parts[..parts.len() - 1].to_vec()).await),
        Reason::RollMismatch
    );
    assert_eq!(
        reason(publish(parts[1..].to_vec()).await),
        Reason::MessageMalformed
    );
    assert_eq!(
        reason(publish([&parts[..], &parts[1..2]].concat()).await),
        Reason::RollMismatch
    );
    let with_entry = |change: fn(&mut wire::RollEntry)| {
        let mut parts = parts.clone();
        if let Some(wire::publish_part::Part::Roll(part)) = &mut parts[2].part {
            change(&mut part.entries[0]);
        }
        parts
    };
    assert_eq!(
        reason(publish(with_entry(|entry| entry.reference = "somebody".into())).await),
        Reason::RollMismatch
    );
    assert_eq!(
        reason(publish(with_entry(|entry| entry.online ^= true)).await),
        Reason::RollMismatch
    );
    assert_eq!(
        reason(publish(with_entry(|entry| entry.v = 7)).await),
        Reason::RollGap
    );
    assert_eq!(
        reason(publish(with_entry(|entry| entry.reference = "voter-1-0".into())).await),
        Reason::RollDuplicate
    );
    let mut forged = parts.clone();
    if let Some(wire::publish_part::Part::Manifest(manifest)) = &mut forged[0].part {
        manifest.signatures[0].signature[5] ^= 1;
    }
    assert_eq!(reason(publish(forged).await), Reason::SignatureBad);
    publish(parts).await.expect("the right one is taken");
}

fn order(world: &World, number: u32, change: Change) -> (Order, wire::Envelope) {
    order_after(world, None, number, change)
}

fn order_after(
    world: &World,
    after: Option<&SignedOrder>,
    number: u32,
    change: Change,
) -> (Order, wire::Envelope) {
    let order = Order {
        after: after.map(SignedOrder::hash),
        election: world.fixture.manifest.manifest().election().clone(),
        manifest_hash: world.fixture.manifest.hash(),
        number,
        reason: "for a test".into(),
        change,
    };
    let envelope = world
        .fixture
        .coordinator
        .seal_envelope(Kind::Order, order.encode())
        .to_wire();
    (order, envelope)
}

fn closing(world: &World, closes_s: u64, receive_until_s: u64) -> Change {
    let channel = world
        .fixture
        .manifest
        .manifest()
        .channel(ChannelKind::Online)
        .expect("online");
    let mut wire = channel.to_wire();
    wire.openings[0].closes_s = closes_s;
    wire.receive_until_s = receive_until_s;
    Change::Calendar(tally_proto::calendar::Channel::from_wire(&wire).expect("channel"))
}

/// This party's countersignature of an order that was proposed to it.
async fn countersign(operator: &mut ControlClient<Channel>, order: &Order) {
    let sign = wire::CountersignRequest {
        object_hash: Hash32::of(&order.encode()).0.to_vec(),
        confirmation: "ward-7".into(),
        changed: 0,
    };
    operator.countersign(sign).await.expect("signed");
}

#[tokio::test]
async fn what_a_party_has_countersigned_binds_it_before_the_others_have() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    let now = world.clock_s();
    let (payload, proposed) = order(&world, 1, closing(&world, now + 100, now + 160));
    coordinator.propose_order(proposed).await.expect("proposed");
    countersign(&mut operator, &payload).await;

    // Before the new close it is taken, a ballot on its very second too; after it, not: the order may still come into force.
    world.clock.set((now + 100) * 1000);
    let before = world.ballot();
    party.intake().submit(party.part(&before)).await.expect("in time");
    world.clock.set((now + 150) * 1000);
    let after = world.ballot();
    assert_eq!(
        reason(party.intake().submit(party.part(&after)).await),
        Reason::BallotAfterClose
    );
    // And it does, hours later: nothing that this party took is out of time by it.
    world.clock.set((now + 20_000) * 1000);
    let complete = world.fixture.order(1, payload.change.clone());
    coordinator
        .complete(complete.envelope().to_wire())
        .await
        .expect("complete");
    let election = EffectiveElection::new(world.fixture.manifest.clone(), [&complete]).expect("in force");
    let online = election.channel(ChannelKind::Online).expect("online");
    let [before, after] = [before, after].map(|ballot| ballot[0].header().cast_at());
    assert_eq!(online.check_opening(before), Ok(()));
    assert!(online.check_opening(after).is_err());
    let again = world.ballot();
    assert_eq!(
        reason(party.intake().submit(party.part(&again)).await),
        Reason::BallotAfterClose
    );
}

#[tokio::test]
async fn an_order_that_another_operator_refuses_ends_no_other() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    world.clock.set((CLOSES + 1) * 1000);
    let strike = |voter| {
        Change::Correction(Correction {
            of_box: BoxId(1),
            voter: VoterIndex(voter),
            live: true,
            enrolled: false,
        })
    };
    // This operator signs a slip; another refuses it. The next one is taken all the same, after the same predecessor.
    let (slip, proposed) = order(&world, 1, strike(3));
    coordinator
        .propose_order(proposed.clone())
        .await
        .expect("proposed");
    countersign(&mut operator, &slip).await;
    let (right, second) = order(&world, 2, strike(2));
    coordinator.propose_order(second).await.expect("the next number");
    let (_, low) = order(&world, 1, strike(1));
    let refused = refusal(coordinator.propose_order(low).await);
    assert!(
        refused.detail.contains("waits here with other content"),
        "{refused}"
    );
    countersign(&mut operator, &right).await;
    // From then on the slip is given up here for good, were it signed by all three, and also after a restart.
    let whole = |number, change| world.fixture.order(number, change);
    let slip_complete = whole(1, strike(3)).envelope().to_wire();
    let refused = refusal(coordinator.complete(slip_complete.clone()).await);
    assert_eq!(refused.reason, Reason::ObjectUnknown);
    let refused = refusal(coordinator.propose_order(proposed).await);
    assert_eq!(refused.reason, Reason::OrderInvalid);
    let disk = party.disk.clone();
    party.running.stop().await;
    let party = world.start_on(Role::P1, disk.after_crash(3)).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    assert_eq!(
        reason(coordinator.complete(slip_complete.clone()).await),
        Reason::ObjectUnknown
    );
    let complete = whole(2, strike(2));
    let reply = coordinator.complete(complete.envelope().to_wire()).await;
    assert!(reply.expect("complete").into_inner().in_force);
    let stands = || party.running.party().elections.get("ward-7").expect("known");
    assert_eq!(stands().effective().order_hashes(), [complete.hash()]);
    assert_eq!(
        reason(coordinator.complete(slip_complete).await),
        Reason::ObjectUnknown
    );
    // What does not follow order 2 is no order any more.
    let (_, beside) = order(&world, 3, strike(1));
    assert_eq!(
        reason(coordinator.propose_order(beside).await),
        Reason::OrderInvalid
    );
    let (_, third) = order_after(&world, Some(&complete), 3, strike(1));
    coordinator.propose_order(third).await.expect("it follows");
}

#[tokio::test]
async fn commission_and_one_party_leave_no_end_of_orders_here() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    world.clock.set((CLOSES + 1) * 1000);
    let strike = |voter| {
        Change::Correction(Correction {
            of_box: BoxId(1),
            voter: VoterIndex(voter),
            live: true,
            enrolled: false,
        })
    };
    let signed_by_p2 = |number| {
        let whole = world.fixture.order(number, strike(number % 3));
        let mut wire = whole.envelope().to_wire();
        let [p1, _, p3] = world.fixture.manifest.manifest().party_keys();
        let others = [p1, p3].map(|key| key.as_bytes().to_vec());
        wire.signatures
            .retain(|signature| !others.contains(&signature.public_key));
        wire
    };
    let signers = |wire: &wire::Envelope| wire.signatures.len();
    for number in 1..=64 {
        let (_, proposed) = order(&world, number, strike(number % 3));
        coordinator.propose_order(proposed).await.expect("proposed");
        let with_p2 = signed_by_p2(number);
        assert_eq!(signers(&with_p2), 2, "the coordinator's and P2's");
        let reply = coordinator.complete(with_p2).await.expect("taken");
        assert!(!reply.into_inner().in_force);
    }
    let (_, more) = order(&world, 65, strike(1));
    let refused = refusal(coordinator.propose_order(more.clone()).await);
    assert_eq!(refused.reason, Reason::OrderInvalid);
    assert!(refused.detail.starts_with("64 orders"), "{refused}");
    // This party's operator makes room.
    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    let (last, _) = order(&world, 64, strike(64 % 3));
    countersign(&mut operator, &last).await;
    coordinator.propose_order(more).await.expect("there is room");
}

/// Its operator signed an order, then the machine was lost: the one in its place knows nothing of it, as the order was not in force and nobody
/// could give it back. The commission has all three signatures.
#[tokio::test]
async fn an_order_that_a_lost_machine_had_signed_is_taken_when_it_is_shown_with_all_signatures() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let now = world.clock_s();
    let whole = world.fixture.order(1, closing(&world, now + 100, now + 160));
    let mut without = whole.envelope().to_wire();
    let last = without.signatures.pop().expect("signed");
    assert_eq!(
        reason(coordinator.complete(without.clone()).await),
        Reason::ObjectUnknown,
        "two signatures and the coordinator's are not all"
    );
    without.signatures.push(wire::Signature {
        signature: vec![0; 64],
        ..last
    });
    assert_eq!(reason(coordinator.complete(without).await), Reason::ObjectUnknown);
    // One that does not follow what is in force is not taken, whoever signed it.
    let stray = world
        .fixture
        .order_after(Some(&whole), 2, closing(&world, now + 200, now + 260));
    assert_eq!(
        reason(coordinator.complete(stray.envelope().to_wire()).await),
        Reason::ObjectUnknown
    );
    let reply = coordinator.complete(whole.envelope().to_wire()).await;
    assert!(reply.expect("taken").into_inner().in_force);
    let stands = party.running.party().elections.get("ward-7").expect("known");
    assert_eq!(stands.effective().order_hashes(), [whole.hash()]);
    // Over a restart too.
    let disk = party.disk.clone();
    party.running.stop().await;
    let party = world.start_on(Role::P1, disk.after_crash(3)).await;
    let stands = party.running.party().elections.get("ward-7").expect("known");
    assert_eq!(stands.effective().order_hashes(), [whole.hash()]);
}

#[tokio::test]
async fn an_order_in_force_is_not_replaced_by_one_that_others_signed_without_it() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let now = world.clock_s();
    let first = world.fixture.order(1, closing(&world, now + 100, now + 160));
    let mut proposed = first.envelope().to_wire();
    proposed.signatures.truncate(1);
    coordinator.propose_order(proposed).await.expect("proposed");
    // Another waits with a higher number, which this operator has not signed: the first may still come into force.
    let (second, beside) = order(&world, 2, closing(&world, now + 200, now + 260));
    let sign = wire::CountersignRequest {
        object_hash: first.hash().0.to_vec(),
        confirmation: "ward-7".into(),
        changed: 0,
    };
    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    operator.countersign(sign.clone()).await.expect("signed");
    coordinator.propose_order(beside.clone()).await.expect("proposed");
    // The lower number is signed no more: whoever signed the higher one does not take it.
    let refused = refusal(operator.countersign(sign).await);
    assert!(refused.detail.contains("given up"), "{refused}");
    let whole = first.envelope().to_wire();
    assert!(
        coordinator
            .complete(whole)
            .await
            .expect("complete")
            .into_inner()
            .in_force
    );
    let sign = wire::CountersignRequest {
        object_hash: Hash32::of(&second.encode()).0.to_vec(),
        confirmation: "ward-7".into(),
        changed: 0,
    };
    assert_eq!(reason(operator.countersign(sign).await), Reason::ObjectUnknown);
    assert_eq!(
        reason(coordinator.propose_order(beside).await),
        Reason::OrderInvalid
    );
}

#[tokio::test]
async fn an_extension_or_a_revocation_binds_as_far_as_it_takes_away() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    // Longer hours are there only with all signatures.
    let (payload, proposed) = order(&world, 1, closing(&world, CLOSES + 3600, CLOSES + 3660));
    coordinator.propose_order(proposed).await.expect("proposed");
    countersign(&mut operator, &payload).await;
    let ballot = world.ballot();
    party.intake().submit(party.part(&ballot)).await.expect("open");
    world.clock.set((CLOSES + 30) * 1000);
    let ballot = world.ballot();
    assert_eq!(
        reason(party.intake().submit(party.part(&ballot)).await),
        Reason::BallotAfterClose
    );
    let complete = world.fixture.order(1, payload.change);
    coordinator
        .complete(complete.envelope().to_wire())
        .await
        .expect("complete");
    party
        .intake()
        .submit(party.part(&ballot))
        .await
        .expect("open again");

    let revoked = Change::Revocation(Revocation {
        station: StationId(2),
        from: UnixSeconds(OPENS + 10),
    });
    let (payload, proposed) = order_after(&world, Some(&complete), 2, revoked);
    coordinator.propose_order(proposed).await.expect("proposed");
    let station = |world: &World, id| leaf(world, PeerRole::Station(StationId(id)));
    let ballot = world.station_ballot(2, 1, OPENS + 5);
    let mut two = party.station(&station(&world, 2));
    two.submit(party.part(&ballot)).await.expect("not revoked here");
    countersign(&mut operator, &payload).await;
    let ballot = world.station_ballot(2, 2, OPENS + 6);
    assert_eq!(
        reason(two.submit(party.part(&ballot)).await),
        Reason::BallotStationRevoked
    );
    let ballot = world.station_ballot(1, 1, OPENS + 6);
    let mut one = party.station(&station(&world, 1));
    one.submit(party.part(&ballot)).await.expect("another station");
}

#[tokio::test]
async fn no_order_changes_an_hour_that_has_passed() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let now = OPENS + 10_000;
    world.clock.set(now * 1000);
    let online = world.fixture.manifest.manifest().channel(ChannelKind::Online);
    let with = |openings: &[(u64, u64)]| {
        let mut wire = online.expect("online").to_wire();
        let first = wire.openings[0].clone();
        wire.openings = openings
            .iter()
            .map(|(opens_s, closes_s)| wire::Opening {
                opens_s: *opens_s,
                closes_s: *closes_s,
                ..first.clone()
            })
            .collect();
        let channel = tally_proto::calendar::Channel::from_wire(&wire).expect("channel");
        order(&world, 1, Change::Calendar(channel)).1
    };
    // The last close stays in each of them. Ballots dated two seconds ahead are taken already.
    for past in [
        vec![(OPENS, now - 600), (now - 300, CLOSES)],
        vec![(OPENS + 1, CLOSES)],
        vec![(OPENS - 50, CLOSES - 50), (CLOSES - 20, CLOSES)],
        vec![(OPENS, now + 1), (now + 500, CLOSES)],
        vec![(now + 10, CLOSES)],
    ] {
        let refused = refusal(coordinator.propose_order(with(&past)).await);
        assert_eq!(refused.reason, Reason::OrderInvalid, "{past:?}");
        assert!(refused.detail.contains("past"), "{refused}");
    }
    let ahead = vec![(OPENS, now + 10), (now + 500, CLOSES)];
    coordinator
        .propose_order(with(&ahead))
        .await
        .expect("a pause to come");
}

#[tokio::test]
async fn no_order_sets_aside_what_cards_are_yet_to_sign() {
    let world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    let until = world.clock_s() + 1;
    let reissue = Change::Reissue(Reissue {
        of_box: BoxId(1),
        voter: VoterIndex(0),
        until: UnixSeconds(until),
        serial: 0,
    });
    let (made, proposed) = order(&world, 1, reissue);
    let refused = refusal(coordinator.propose_order(proposed.clone()).await);
    assert_eq!(refused.reason, Reason::OrderInvalid);
    assert!(refused.detail.contains("yet to come"), "{refused}");
    world.clock.set(until * 1000);
    coordinator.propose_order(proposed).await.expect("now");
    // A clock that is set back: the operator's signature is refused as well.
    world.clock.set((until - 1) * 1000);
    let sign = wire::CountersignRequest {
        object_hash: Hash32::of(&made.encode()).0.to_vec(),
        confirmation: "ward-7".into(),
        changed: 0,
    };
    assert_eq!(reason(operator.countersign(sign).await), Reason::OrderInvalid);
    world.clock.set(until * 1000);
    countersign(&mut operator, &made).await;
}

#[tokio::test]
async fn an_order_needs_all_signatures_and_never_moves_a_close_into_the_past() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let mut operator = party.control(&leaf(&world, PeerRole::Operator(Role::P1)));
    let now = world.clock_s();

    let (_, past) = order(&world, 1, closing(&world, now - 1, now - 1));
    let refused = refusal(coordinator.propose_order(past).await);
    assert_eq!(refused.reason, Reason::OrderInvalid);
    assert!(refused.detail.contains("past"), "{refused}");
    let unknown = world.fixture.order(1, closing(&world, now + 50, now + 110));
    let (_, gap) = order_after(&world, Some(&unknown), 2, closing(&world, now + 100, now + 160));
    assert_eq!(reason(coordinator.propose_order(gap).await), Reason::OrderInvalid);
    let (_, mut unsigned) = order(&world, 1, closing(&world, now + 100, now + 160));
    unsigned.signatures.clear();
    assert_eq!(
        reason(coordinator.propose_order(unsigned).await),
        Reason::SignatureBad
    );

    let (payload, proposed) = order(&world, 1, closing(&world, now + 100, now + 160));
    let reply = coordinator
        .propose_order(proposed.clone())
        .await
        .expect("proposed")
        .into_inner();
    assert!(!reply.in_force);
    coordinator.propose_order(proposed).await.expect("again");
    // Not in force: the calendar is as it was.
    world.clock.set((now + 150) * 1000);
    let ballot = world.ballot();
    party
        .intake()
        .submit(party.part(&ballot))
        .await
        .expect("the channel is still open");
    // By now the order would close the channel in the past: the operator cannot sign it any more.
    let hash = Hash32::of(&payload.encode()).0.to_vec();
    let sign = wire::CountersignRequest {
        object_hash: hash,
        confirmation: "ward-7".into(),
        changed: 0,
    };
    assert_eq!(
        reason(operator.countersign(sign.clone()).await),
        Reason::OrderInvalid
    );
    world.clock.set(now * 1000);
    let signature = operator.countersign(sign).await.expect("signed").into_inner();
    assert!(signature.signature.is_some());
    let pending = operator
        .pending(wire::PendingRequest {})
        .await
        .expect("pending")
        .into_inner();
    assert!(pending.orders.is_empty());
    // Another order of the same number cannot take its place once it is countersigned.
    let (_, other) = order(&world, 1, closing(&world, now + 200, now + 260));
    assert_eq!(
        reason(coordinator.propose_order(other).await),
        Reason::OrderInvalid
    );

    let first = world.fixture.order(1, payload.change.clone());
    let complete = first.envelope().to_wire();
    assert!(
        coordinator
            .complete(complete)
            .await
            .expect("complete")
            .into_inner()
            .in_force
    );
    world.clock.set((now + 150) * 1000);
    let ballot = world.ballot();
    assert_eq!(
        reason(party.intake().submit(party.part(&ballot)).await),
        Reason::BallotAfterClose
    );
    let reply = party
        .intake()
        .manifest(wire::ElectionRef {
            election: "ward-7".into(),
        })
        .await
        .expect("manifest");
    assert_eq!(reply.into_inner().orders.len(), 1);

    let correction = Correction {
        of_box: BoxId(1),
        voter: VoterIndex(2),
        live: false,
        enrolled: false,
    };
    let (_, second) = order_after(&world, Some(&first), 2, Change::Correction(correction));
    coordinator.propose_order(second).await.expect("the next number");
    let complete = world
        .fixture
        .order_after(Some(&first), 2, Change::Correction(correction))
        .envelope()
        .to_wire();
    assert!(
        coordinator
            .complete(complete)
            .await
            .expect("complete")
            .into_inner()
            .in_force
    );
    let election = party.running.party().elections.get("ward-7").expect("known");
    assert_eq!(election.effective().corrections(BoxId(1)).count(), 1);
}

#[tokio::test]
async fn phases_follow_the_clock() {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    for (clock, phase) in [
        (OPENS - 1, wire::BoxPhase::Waiting),
        (OPENS, wire::BoxPhase::Open),
        (CLOSES, wire::BoxPhase::Open),
        (CLOSES + 1, wire::BoxPhase::Draining),
        (DRAINED, wire::BoxPhase::Draining),
        (DRAINED + 1, wire::BoxPhase::Closed),
    ] {
        world.clock.set(clock * 1000);
        assert_eq!(status(&world, &party).await.boxes[0].phase(), phase, "{clock}");
    }
}

#[tokio::test]
async fn one_voter_has_no_more_records_than_sixteen() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let reissue = Change::Reissue(Reissue {
        of_box: BoxId(1),
        voter: VoterIndex(0),
        until: UnixSeconds(0),
        serial: 100,
    });
    let order = world.fixture.order(1, reissue).envelope().to_wire();
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    coordinator.propose_order(order.clone()).await.expect("proposed");
    coordinator.complete(order).await.expect("complete");
    let registrar = leaf(&world, PeerRole::Registrar("letters".into()));
    let credential = Credential::new(7);
    let mut made = |voter, serial| {
        let voter = VoterIndex(voter);
        world
            .fixture
            .record(BoxId(1), voter, serial, Half::WHOLE, &credential)[0]
            .to_wire()
    };
    let mut records: Vec<_> = (1..=18).map(|serial| made(0, serial)).collect();
    records.push(made(1, 1));
    let mut answers = party
        .registration(&registrar)
        .register(tokio_stream::iter(records))
        .await
        .expect("served")
        .into_inner();
    // Answers come as they are ready, in no order.
    let (mut accepted, mut refused) = (0, Vec::new());
    while let Some(answer) = answers.message().await.expect("answer") {
        match answer.outcome.expect("outcome") {
            Outcome::Receipt(_) => accepted += 1,
            Outcome::Refusal(refusal) => refused.push(refusal),
        }
    }
    assert_eq!(accepted, 17, "sixteen of one voter, and another's");
    assert_eq!(refused.len(), 2);
    for refusal in refused {
        assert_eq!(refusal.reason, "box.full");
        assert!(refusal.detail.contains("16 records of voter 0"), "{refusal:?}");
    }
}

#[tokio::test]
async fn records_are_taken_from_their_registrar_and_refused_one_by_one() {
    let mut world = World::new(Shape {
        registrars: 2,
        ..Shape::default()
    });
    let party = world.start_in_force(Role::P1).await;
    let letters = leaf(&world, PeerRole::Registrar("letters".into()));
    let texts = leaf(&world, PeerRole::Registrar("texts".into()));
    let credential = Credential::new(7);
    let (first, second) = (Half::new(0, 2).expect("half"), Half::new(1, 2).expect("half"));
    let make = |world: &mut World, voter: u32, serial: u32, half: Half| {
        world
            .fixture
            .record(BoxId(1), VoterIndex(voter), serial, half, &credential)[0]
            .to_wire()
    };
    let good = make(&mut world, 0, 1, first);
    let same_serial = make(&mut world, 0, 1, first);
    let higher_serial = make(&mut world, 0, 2, first);
    let of_nobody = make(&mut world, 1, 0, first);
    let others_half = make(&mut world, 1, 1, second);
    let station_only = make(&mut world, 4, 1, first);
    let beyond = make(&mut world, 5, 1, first);
    let mut bad_signature = make(&mut world, 1, 1, first);
    bad_signature.authorisation[0] ^= 1;
    let mut not_mine = make(&mut world, 2, 1, first);
    let mut bytes = not_mine.ciphertext.to_vec();
    bytes[9] ^= 1;
    not_mine.ciphertext = bytes.into();

    let stream = vec![
        good.clone(),
        good.clone(),
        same_serial,
        higher_serial.clone(),
        others_half.clone(),
        station_only,
        beyond,
        bad_signature,
        not_mine,
    ];
    let register = async |leaf: &Leaf, records: Vec<wire::RecordSubmission>| {
        let mut answers = party
            .registration(leaf)
            .register(tokio_stream::iter(records))
            .await
            .expect("served")
            .into_inner();
        let mut outcomes = Vec::new();
        while let Some(answer) = answers.message().await.expect("answer") {
            outcomes.push(match answer.outcome.expect("outcome") {
                Outcome::Receipt(receipt) => Ok(Receipt::from_wire(&receipt).expect("receipt")),
                Outcome::Refusal(refusal) => Err(refusal.reason),
            });
        }
        outcomes
    };
    // Records of one stream are taken side by side: the first comes before.
    register(&letters, vec![good.clone()]).await[0]
        .as_ref()
        .expect("accepted");
    let outcomes = register(&letters, stream).await;
    let keys = world.fixture.manifest.manifest().party_keys();
    let receipt = outcomes[0].as_ref().expect("accepted");
    receipt.verify(&keys).expect("signed");
    assert_eq!(outcomes[1].as_ref().expect("again"), receipt);
    let refused: Vec<&str> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err().map(String::as_str))
        .collect();
    assert_eq!(
        refused,
        [
            "record.serial",
            "record.serial",
            "role.refused",
            "voter.station-only",
            "voter.unknown",
            "record.authorisation",
            "share.unopenable"
        ]
    );
    assert!(register(&texts, vec![others_half]).await[0].is_ok());

    // Issued again only under an order that all three have signed, and that this party has in force.
    let reissue = Change::Reissue(Reissue {
        of_box: BoxId(1),
        voter: VoterIndex(0),
        until: UnixSeconds(0),
        serial: 2,
    });
    let order = world.fixture.order(1, reissue);
    let mut coordinator = party.control(&leaf(&world, PeerRole::Coordinator));
    let proposed = Envelope::from_wire(order.envelope().to_wire()).expect("an envelope");
    coordinator
        .propose_order(proposed.to_wire())
        .await
        .expect("proposed");
    coordinator.complete(proposed.to_wire()).await.expect("complete");
    let above = make(&mut world, 0, 3, first);
    let twin = make(&mut world, 0, 2, first);
    // Records of one stream are taken side by side: the twin comes after.
    let allowed = register(&letters, vec![higher_serial]).await;
    assert!(allowed[0].is_ok(), "{:?}", allowed[0]);
    for refused in register(&letters, vec![above, twin, of_nobody]).await {
        assert_eq!(refused.as_ref().expect_err("refused"), "record.serial");
    }
    world.clock.set((DRAINED + 1) * 1000);
    let late = make(&mut world, 3, 1, first);
    assert_eq!(
        register(&letters, vec![late, good])
            .await
            .iter()
            .filter(|outcome| outcome.is_ok())
            .count(),
        1
    );
    assert_eq!(status(&world, &party).await.boxes[0].records, 3);
}

/// Which elections a party knows.
fn known(party: &Party) -> Vec<(String, u32)> {
    let elections = party.running.party().elections.all();
    (elections.iter())
        .map(|election| {
            (
                election.manifest().election().as_str().to_owned(),
                election.number(),
            )
        })
        .collect()
}

#[tokio::test]
async fn elections_that_nobody_countersigned_make_room_for_newer_ones_and_leave_nothing_behind() {
    let mut world = World::new(Shape::default());
    world.configure(Role::P1, "uncountersigned_elections = 2\n");
    let disk = tally_party::store::sim::SimDisk::new();
    let party = world.start_on(Role::P1, disk.clone()).await;
    // One that is in force; then the commission, or whoever has its key, publishes one after the other.
    world.put_in_force(&party).await;
    let first = world.fixture.manifest.manifest().election().as_str().to_owned();
    for name in ["b", "c", "d", "e"] {
        world.define_another(name);
        world.publish(&party).await.expect("taken");
    }
    let due = [("d".to_owned(), 4), ("e".to_owned(), 5), (first.clone(), 1)];
    assert_eq!(known(&party), due);
    let lookup = wire::ElectionRef {
        election: "b".to_owned(),
    };
    let refused = reason(party.intake().manifest(lookup).await);
    assert_eq!(refused, tally_proto::reason::Reason::ElectionUnknown);
    // The same again changes nothing.
    world.publish(&party).await.expect("known");
    assert_eq!(known(&party), due);
    // What is countersigned is no draft any more, and stays.
    world.put_in_force(&party).await;
    for name in ["f", "g"] {
        world.define_another(name);
        world.publish(&party).await.expect("taken");
    }
    let due = [
        ("e".to_owned(), 5),
        ("f".to_owned(), 6),
        ("g".to_owned(), 7),
        (first, 1),
    ];
    assert_eq!(known(&party), due);
    // It is so on disk, too; and whose number was given is not given again.
    let disk = stopped(party).await;
    let party = world.start_on(Role::P1, disk).await;
    assert_eq!(known(&party), due);
    let rolls = party.running.party().store.read(|tx| {
        let mut entries = [0; 8];
        for (number, entries) in (0u32..).zip(&mut entries) {
            tally_party::store::elections::for_each_roll_entry(tx, number, 1, |_, _, _| {
                *entries += 1;
                Ok::<_, tally_party::store::StoreError>(())
            })?;
        }
        Ok::<_, tally_party::store::StoreError>(entries.map(|entries| entries > 0))
    });
    let due = [false, true, false, false, false, true, true, true];
    assert_eq!(rolls.expect("read"), due);
}

#[tokio::test]
async fn no_election_is_taken_that_would_leave_less_than_twice_the_reserve() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let mut world = World::new(Shape::default());
    let disk = tally_party::store::sim::SimDisk::new();
    let free = Arc::new(AtomicU64::new(1 << 40));
    let told = Arc::clone(&free);
    let storage = tally_party::store::Storage::Volume(
        Box::new(disk.clone()),
        Box::new(move || Some(told.load(Ordering::Relaxed))),
    );
    let config = world.config(Role::P1);
    let reserve = config.intake.reserve_bytes;
    let party = world.start_with(config, storage, disk).await;
    world.put_in_force(&party).await;
    free.store(2 * reserve, Ordering::Relaxed);
    world.define_another("another");
    let refused = refusal(world.publish(&party).await);
    assert_eq!(
        refused.reason,
        tally_proto::reason::Reason::StoreFull,
        "{refused}"
    );
    assert_eq!(known(&party).len(), 1);
    // For voters there is still room.
    free.store(2 * reserve + (1 << 20), Ordering::Relaxed);
    world.publish(&party).await.expect("with room");
}
