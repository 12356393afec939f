use super::*;
use crate::fixture::{Shape, World};

fn outcome() -> Outcome {
    Outcome {
        contests: vec![
            ContestTotals {
                options: vec![2, 1, 0],
                spoilt: 1,
            },
            ContestTotals {
                options: vec![3, 0, 2, 1],
                spoilt: 0,
            },
        ],
        counts: Opened::PerChannel {
            online: 3,
            electronic: 2,
        },
    }
}

fn result(world: &World, outcome: &Outcome) -> Result<BoxResult, ResultError> {
    BoxResult::from_outcome(world.manifest.manifest(), BoxId(1), Hash32([7; 32]), outcome)
}

#[test]
fn a_result_is_made_of_the_engines_outcome() {
    let world = World::new(Shape::default());
    let r = result(&world, &outcome()).expect("a result");
    assert_eq!(BoxResult::decode(&r.encode()), Ok(r.clone()));
    assert_eq!(r.contests()[1].totals, [3, 0, 2, 1]);
    assert_eq!(
        r.counted(),
        Some(Counted {
            online: 3,
            station: 2
        })
    );
    let sealed = Counts {
        online: 4,
        station: 2,
        paper: 1,
    };
    assert_eq!(r.check_numbers(world.manifest.manifest(), 5, &sealed), Ok(()));
}

#[test]
fn an_outcome_of_another_form_is_refused() {
    let world = World::new(Shape::default());
    let with = |change: fn(&mut Outcome)| {
        let mut o = outcome();
        change(&mut o);
        result(&world, &o).expect_err("refused")
    };
    assert_eq!(with(|o| o.contests.truncate(1)), ResultError::Contests);
    assert!(matches!(
        with(|o| o.contests[0].options.truncate(2)),
        ResultError::Totals {
            options: 3,
            totals: 2,
            ..
        }
    ));
    assert_eq!(with(|o| o.counts = Opened::Nothing), ResultError::Policy);
    assert_eq!(with(|o| o.counts = Opened::Counted(3)), ResultError::Policy);
    let unknown = BoxResult::from_outcome(world.manifest.manifest(), BoxId(9), Hash32([7; 32]), &outcome());
    assert_eq!(unknown, Err(ResultError::UnknownBox(BoxId(9))));
    let mut wire = result(&world, &outcome()).expect("a result").to_wire();
    wire.counted_online = None;
    assert_eq!(BoxResult::from_wire(&wire), Err(ResultError::Policy));
}

#[test]
fn impossible_numbers_are_refused() {
    let world = World::new(Shape::default());
    let check = |change: fn(&mut Outcome), online, station| {
        let mut o = outcome();
        change(&mut o);
        let r = result(&world, &o).expect("of the right form");
        r.check_numbers(
            world.manifest.manifest(),
            5,
            &Counts {
                online,
                station,
                paper: 9,
            },
        )
    };
    assert_eq!(check(|_| (), 3, 2), Ok(()));
    assert_eq!(check(|_| (), 2, 2), Err(ResultError::TooManyCounted));
    assert_eq!(check(|_| (), 3, 1), Err(ResultError::TooManyCounted));
    // Five voters, so six counted ballots are one too many.
    let six = |o: &mut Outcome| {
        o.counts = Opened::PerChannel {
            online: 4,
            electronic: 2,
        }
    };
    assert_eq!(check(six, 9, 9), Err(ResultError::TooManyCounted));
    let too_many =
        |r: Result<(), ResultError>| matches!(r, Err(ResultError::TooManyVotes { ballots: 5, .. }));
    assert!(too_many(check(|o| o.contests[0].options = vec![5, 0, 0], 9, 9)));
    assert!(too_many(check(|o| o.contests[0].options = vec![3, 2, 0], 9, 9)));
    assert!(too_many(check(
        |o| o.contests[0].options = vec![u64::MAX, u64::MAX, 2],
        9,
        9
    )));
    assert!(too_many(check(|o| o.contests[0].spoilt = 6, 9, 9)));
    assert!(too_many(check(
        |o| o.contests[1].options = vec![6, 0, 0, 0],
        9,
        9
    )));
    assert!(too_many(check(
        |o| o.contests[1].options = vec![5, 5, 1, 0],
        9,
        9
    )));
    assert_eq!(check(|o| o.contests[1].options = vec![5, 5, 0, 0], 9, 9), Ok(()));
}

#[test]
fn a_result_stands_with_two() {
    let world = World::new(Shape::default());
    let manifest = world.manifest.manifest();
    let r = result(&world, &outcome()).expect("a result");
    let mut envelope = r.sign(&world.signers[2]);
    assert_eq!(
        SignedResult::open(envelope.clone(), manifest),
        Err(ResultError::Signatures(1))
    );
    envelope.add_signature(world.signers[0].sign(Kind::Result, envelope.payload()));
    let signed = SignedResult::open(envelope.clone(), manifest).expect("two");
    assert_eq!(signed.signers().collect::<Vec<_>>(), [Role::P1, Role::P3]);
    assert_eq!(signed.result(), &r);
    envelope.add_signature(world.coordinator.sign(Kind::Result, envelope.payload()));
    assert!(matches!(
        SignedResult::open(envelope, manifest),
        Err(ResultError::Envelope(_))
    ));
}
