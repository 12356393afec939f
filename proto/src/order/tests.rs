use super::*;
use crate::fixture::{DRAINED, OPENS, Shape, World};

fn correction(of_box: u32, voter: u32, live: bool, enrolled: bool) -> Change {
    Change::Correction(Correction {
        of_box: BoxId(of_box),
        voter: VoterIndex(voter),
        live,
        enrolled,
    })
}

#[test]
fn orders_apply_in_number_order() {
    let world = World::new(Shape::default());
    let mut wire = world.manifest.manifest().channels()[0].to_wire();
    wire.openings[0].opens_s = OPENS + 100;
    let later = Channel::from_wire(&wire).expect("calendar");
    let first = world.order(1, correction(1, 2, false, true));
    let second = world.order_after(Some(&first), 2, Change::Calendar(later.clone()));
    // Number 3 was given up.
    let third = world.order_after(Some(&second), 4, correction(1, 2, true, false));
    let orders = [first, second, third];
    let election = EffectiveElection::new(world.manifest.clone(), &orders).expect("applies");
    assert_eq!(election.channel(ChannelKind::Online), Some(&later));
    assert_eq!(
        world.election().channel(ChannelKind::Online),
        world.manifest.manifest().channel(ChannelKind::Online)
    );
    let corrections: Vec<_> = election.corrections(BoxId(1)).collect();
    assert_eq!(corrections.len(), 1);
    assert!(corrections[0].live && !corrections[0].enrolled);
    assert_eq!(election.corrections(BoxId(2)).count(), 0);
    assert_eq!(election.order_hashes(), orders.each_ref().map(SignedOrder::hash));
    assert_eq!(election.receive_until(), UnixSeconds(DRAINED));

    let follows = |orders: &[&SignedOrder]| {
        EffectiveElection::new(world.manifest.clone(), orders.iter().copied())
            .expect_err("it does not follow")
    };
    let [first, second, third] = &orders;
    assert_eq!(follows(&[second]), OrderError::Follows { number: 2, last: 0 });
    assert_eq!(
        follows(&[first, first]),
        OrderError::Follows { number: 1, last: 1 }
    );
    assert_eq!(
        follows(&[first, third]),
        OrderError::Follows { number: 4, last: 1 }
    );
    let low = world.order_after(Some(second), 2, correction(1, 1, true, true));
    assert_eq!(
        follows(&[first, second, &low]),
        OrderError::Follows { number: 2, last: 2 }
    );
    let again = Order::decode(third.envelope().payload()).expect("decodes");
    assert_eq!(
        (again.after, again.encode()),
        (Some(second.hash()), third.envelope().payload().to_vec())
    );
}

#[test]
fn of_two_orders_after_the_same_one_the_higher_number_is_in_force() {
    let world = World::new(Shape::default());
    let refused = |order: &SignedOrder, by: usize| {
        let mut envelope = order.envelope().to_wire();
        envelope.signatures.remove(1 + by);
        let envelope = Envelope::from_wire(envelope).expect("an envelope");
        SignedOrder::open(envelope, &world.manifest).expect("an order")
    };
    let hashes = |orders: &[SignedOrder]| -> Vec<Hash32> {
        let chain = in_force(orders);
        EffectiveElection::new(world.manifest.clone(), chain.iter().copied()).expect("in force");
        chain.iter().map(|order| order.hash()).collect()
    };
    let slip = world.order(1, correction(1, 2, false, true));
    let right = world.order(2, correction(1, 3, false, true));
    let next = world.order_after(Some(&right), 5, correction(1, 4, false, true));
    let after_slip = world.order_after(Some(&slip), 6, correction(1, 0, false, true));
    assert_eq!(hashes(&[]), []);
    for by in 0..3 {
        // Refused by one, it waits, and the next number is in force without it.
        let waits = refused(&slip, by);
        assert_eq!(hashes(std::slice::from_ref(&waits)), []);
        assert_eq!(hashes(&[waits.clone(), right.clone()]), [right.hash()]);
        let all = [next.clone(), after_slip.clone(), waits, right.clone()];
        assert_eq!(hashes(&all), [right.hash(), next.hash()]);
    }
    // Signed by all after all, it changes nothing, whatever follows it.
    let all = [after_slip.clone(), slip.clone(), right.clone(), next.clone()];
    assert_eq!(hashes(&all), [right.hash(), next.hash()]);
    assert_eq!(hashes(&[slip.clone(), refused(&right, 1)]), [slip.hash()]);
    assert_eq!(hashes(&[next, slip.clone()]), [slip.hash()]);
    let low = world.order_after(Some(&slip), 1, correction(1, 1, false, true));
    assert_eq!(hashes(&[low, slip.clone()]), [slip.hash()], "numbers rise");
}

#[test]
fn an_order_needs_everybody() {
    let world = World::new(Shape::default());
    let whole = world.order(1, correction(2, 0, false, true));
    assert!(whole.is_complete());
    let payload = whole.envelope().payload().clone();
    let coordinator = world.coordinator.seal_envelope(Kind::Order, payload.clone());
    let mut part = SignedOrder::open(coordinator, &world.manifest).expect("opens");
    part.add_signature(
        world.signers[0].sign(Kind::Order, &payload),
        world.manifest.manifest(),
    )
    .expect("P1");
    part.add_signature(
        world.signers[2].sign(Kind::Order, &payload),
        world.manifest.manifest(),
    )
    .expect("P3");
    let refused = EffectiveElection::new(world.manifest.clone(), [&part]).expect_err("not in force");
    assert_eq!(
        refused,
        OrderError::NotInForce {
            number: 1,
            missing: Role::P2
        }
    );
    let parties_only = Envelope::unsigned(payload);
    assert!(SignedOrder::open(parties_only, &world.manifest).is_err());
}

#[test]
fn an_order_fits_its_manifest() {
    let world = World::new(Shape::default());
    let other = World::new(Shape {
        seed: 2,
        ..Shape::default()
    });
    let order = world.order(1, correction(1, 0, false, false));
    let refused = SignedOrder::open(order.envelope().clone(), &other.manifest);
    assert!(matches!(
        refused,
        Err(OrderError::OtherElection { number: 1, .. })
    ));
    let open = |change| {
        let order = Order {
            election: world.manifest.manifest().election().clone(),
            manifest_hash: world.manifest.hash(),
            number: 1,
            after: None,
            reason: "r".into(),
            change,
        };
        SignedOrder::open(world.sign_all(Kind::Order, order.encode()), &world.manifest).map(|_| ())
    };
    assert!(matches!(
        open(correction(1, 5, true, true)),
        Err(OrderError::NoVoter { .. })
    ));
    assert!(matches!(
        open(correction(3, 0, true, true)),
        Err(OrderError::NoVoter { .. })
    ));
    assert_eq!(open(correction(2, 2, true, true)), Ok(()));
    let mut wire = order.order().to_wire();
    wire.change = None;
    assert_eq!(Order::from_wire(&wire), Err(OrderError::NoChange(1)));
    wire.reason.clear();
    assert_eq!(Order::from_wire(&wire), Err(OrderError::Reason));
}

#[test]
fn a_station_is_revoked_from_a_moment_on_and_the_last_order_stands() {
    let world = World::new(Shape::default());
    let revocation = |station, from| {
        Change::Revocation(Revocation {
            station: StationId(station),
            from: UnixSeconds(from),
        })
    };
    let first = world.order(1, revocation(2, OPENS + 500));
    let second = world.order_after(Some(&first), 2, revocation(2, OPENS + 400));
    let orders = [first, second];
    let payload = orders[0].envelope().payload();
    assert_eq!(Order::decode(payload).expect("decodes").encode(), *payload);
    let mut election = EffectiveElection::new(world.manifest.clone(), &orders[..1]).expect("applies");
    assert_eq!(
        election.revoked_from(StationId(2)),
        Some(UnixSeconds(OPENS + 500))
    );
    assert_eq!(election.revoked_from(StationId(1)), None);
    election.apply(&orders[1]).expect("applies");
    assert_eq!(
        election.revoked_from(StationId(2)),
        Some(UnixSeconds(OPENS + 400))
    );

    let mut unknown = orders[0].order().clone();
    unknown.change = revocation(3, OPENS);
    let nobody = world.sign_all(Kind::Order, unknown.encode());
    assert_eq!(
        SignedOrder::open(nobody, &world.manifest).expect_err("no such station"),
        OrderError::NoStation {
            number: 1,
            station: StationId(3)
        }
    );
}
