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
    let orders = [
        world.order(1, correction(1, 2, false, true)),
        world.order(2, Change::Calendar(later.clone())),
        world.order(3, correction(1, 2, true, false)),
    ];
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

    let gap = EffectiveElection::new(world.manifest.clone(), &orders[1..]);
    assert_eq!(
        gap.expect_err("gap"),
        OrderError::Gap {
            expected: 1,
            actual: 2
        }
    );
    let twice = EffectiveElection::new(world.manifest.clone(), [&orders[0], &orders[0]]);
    assert_eq!(
        twice.expect_err("twice"),
        OrderError::Gap {
            expected: 2,
            actual: 1
        }
    );
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
    let orders = [
        world.order(1, revocation(2, OPENS + 500)),
        world.order(2, revocation(2, OPENS + 400)),
    ];
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
