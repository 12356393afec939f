//! What needs a person: each with its own error.

use prost::Message as _;
use tally_proto::envelope::{Envelope, Kind as Signed};
use tally_proto::ids::{BoxId, ElectionId, Role};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::super::{PeerError, SealError};
use super::network::Saboteur;
use super::world::{BOX, World, election, signer};
use crate::store::elections;

/// The error of P1's run, and the reason it travels with.
async fn refused(world: &World, election: &ElectionId, of_box: u32) -> (SealError, Reason) {
    let (sealing, seen) = (world.sealing(Role::P1), world.seen(Role::P1));
    let run = sealing.run(election, BoxId(of_box), &seen, |_| {}).await;
    let first = run.expect_err("refused");
    let check = sealing.check(election, BoxId(of_box)).await;
    let second = check.expect_err("refused before anything is done");
    assert_eq!(first.to_string(), second.to_string());
    (first, Refusal::from(second).reason)
}

#[tokio::test(start_paused = true)]
async fn unknown_elections_and_boxes() {
    let world = World::new();
    let other = ElectionId::new("another").expect("a slug");
    let (error, reason) = refused(&world, &other, BOX).await;
    assert!(matches!(error, SealError::UnknownElection(name) if name == "another"));
    assert_eq!(reason, Reason::ElectionUnknown);
    let (error, reason) = refused(&world, &election(), 99).await;
    assert!(
        matches!(
            error,
            SealError::UnknownBox {
                of_box: BoxId(99),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(reason, Reason::BoxUnknown);
}

#[tokio::test(start_paused = true)]
async fn an_election_that_is_not_countersigned_by_all() {
    let world = World::new();
    let mut manifest = world.manifest.envelope().to_wire();
    manifest.signatures.pop();
    let manifest = Envelope::from_wire(manifest).expect("an envelope").encode();
    world
        .store(Role::P1)
        .write(|tx| elections::put_manifest(tx, 1, &manifest))
        .expect("an open store");
    let (error, reason) = refused(&world, &election(), BOX).await;
    assert!(matches!(error, SealError::NotCountersigned { .. }), "{error}");
    assert_eq!(reason, Reason::ManifestNotCountersigned);
}

#[tokio::test(start_paused = true)]
async fn two_orders_of_one_number() {
    let mut world = World::new();
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    world.order(1, &world.correction(1, 2, false, false), Role::P1);
    world.order(1, &world.correction(1, 3, false, false), Role::P2);
    let runs = world.seal(&Role::ALL).await;
    let [p1, p2, p3] = runs.as_slice() else {
        panic!("three runs")
    };
    assert!(
        matches!(p1, Err(SealError::OrdersDiffer { of: Role::P2 })),
        "{p1:?}"
    );
    assert!(
        matches!(p2, Err(SealError::OrdersDiffer { of: Role::P1 })),
        "{p2:?}"
    );
    let contradict = SealError::OrdersContradict {
        one: Role::P1,
        other: Role::P2,
    };
    let Err(error) = p3 else { panic!("{p3:?}") };
    assert_eq!(error.to_string(), contradict.to_string());
}

/// With made-up orders in its List, whichever party it is and however many orders there are: each of the two others names it.
#[tokio::test(start_paused = true)]
async fn made_up_orders_in_a_list() {
    for liar in Role::ALL {
        for in_force in 0..3u32 {
            let mut world = World::new();
            let ballot = world.online(10);
            world.accept_by_all(&ballot);
            let first = world.correction(1, 2, false, false);
            let second = world.correction_after(Some(&first), 2, 3, (false, false));
            let true_ones = [first, second];
            for honest in Role::ALL.into_iter().filter(|role| *role != liar) {
                for (number, order) in (1..=in_force).zip(&true_ones) {
                    world.order(number, order, honest);
                }
            }
            // As many as the others have and one more, so that it is the longest.
            let mut last: Option<Vec<u8>> = None;
            for number in 1..=in_force + 1 {
                let order = world.correction_after(last.as_deref(), number, 7, (true, false));
                world.order(number, &order, liar);
                last = Some(order);
            }
            let runs = world.seal(&Role::ALL).await;
            for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != liar) {
                let named = match run {
                    Err(SealError::OrdersDiffer { of }) if in_force > 0 => of,
                    Err(SealError::OrdersMissing { of, .. }) if in_force == 0 => of,
                    other => panic!("{by}, {in_force} in force: {other:?}"),
                };
                assert_eq!(named, liar, "{by}, {in_force} in force");
            }
        }
    }
}

/// Both others sign another Seal towards P1, the same.
struct Together;

impl Saboteur for Together {
    fn seal(
        &self,
        from: Role,
        to: Role,
        of: Role,
        seal: Result<wire::Envelope, PeerError>,
    ) -> Result<wire::Envelope, PeerError> {
        if to != Role::P1 || from != of {
            return seal;
        }
        let mut payload = wire::Seal::decode(seal?.payload).expect("a Seal");
        payload.online -= 1;
        Ok(signer(from)
            .seal_envelope(Signed::Seal, payload.encode_to_vec())
            .to_wire())
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_agree_on_what_was_not_computed_here_name_nobody() {
    let mut world = World::sabotaged(Together);
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    let mut runs = world.seal(&Role::ALL).await;
    let run = runs.remove(0);
    assert!(matches!(run, Err(SealError::OddOneOut { .. })), "{run:?}");
}
