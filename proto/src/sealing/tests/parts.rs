//! Evidence that comes in parts.

use super::*;

/// Gathers the same evidence in parts of `size`.
fn in_parts(
    world: &World,
    evidence: &Evidence,
    ballots: &[BallotEvidence],
    size: usize,
) -> Result<Sealed, SealingError> {
    let election = world.election();
    let (claims, body) = (&evidence.claims, &evidence.body);
    let settled = settle(
        election.manifest(),
        BOX,
        [&claims[0].0, &claims[1].0, &claims[2].0],
        body,
    );
    let agreed = Agreed {
        election: &election,
        of_box: BOX,
        lists: &evidence.lists,
        claims,
    };
    let mut gathering = Gathering::new(agreed, settled, body.online().clone())?;
    for part in ballots.chunks(size) {
        gathering.ballots(part)?;
    }
    for part in body.records().chunks(size) {
        gathering.records(part)?;
    }
    gathering.finish()
}

#[test]
fn parts_of_any_size_make_the_same_seal() {
    let mut world = World::new(Shape::default());
    // Enough for several threads in the largest part; every third ballot is a station's, and some are out.
    let ballots: Vec<_> = (0..900u32)
        .map(|number| {
            let at = OPENS - 1 + u64::from(number % 50);
            let mark = (number % 3 == 0).then_some((1, u64::from(number / 3), number % 2 == 0));
            let listed = [true, number % 7 != 0, number % 11 != 0];
            let mut made = ballot(&world, (number % 251) as u8, at, mark, listed);
            if number % 90 == 0 {
                // A signature of somebody else.
                made.public.1 = Some(sign_authority(&world.stations[1], &digest(&made)));
            }
            made
        })
        .collect();
    let mut distinct = ballots;
    distinct.sort_by_key(digest);
    distinct.dedup_by_key(|made| digest(made));
    let records: Vec<_> = (0..4)
        .map(|voter| record(&mut world, voter, 1, Half::WHOLE, ALL))
        .collect();
    let evidence = world.evidence(BOX, &distinct, &records, no_claims(), [&[]; 3]);
    let whole = compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
    assert!(!whole.seal.exclusions.is_empty() && whole.rows.len() > 300);
    for size in [1, 7, 256, 257, 1000] {
        let parts = in_parts(&world, &evidence, evidence.body.ballots(), size).expect("a Seal");
        assert_eq!(parts, whole, "parts of {size}");
    }
}

#[test]
fn what_is_left_out_repeated_or_moved_makes_no_seal() {
    let world = World::new(Shape::default());
    let made: Vec<_> = (0..6)
        .map(|salt| ballot(&world, salt, OPENS, None, ALL))
        .collect();
    let evidence = world.evidence(BOX, &made, &[], no_claims(), [&[]; 3]);
    let all = evidence.body.ballots();
    let gather = |ballots: &[BallotEvidence]| in_parts(&world, &evidence, ballots, 2);
    assert!(gather(all).is_ok());
    for left_out in 0..all.len() {
        let rest = [&all[..left_out], &all[left_out + 1..]].concat();
        assert!(
            matches!(
                gather(&rest),
                Err(SealingError::OtherList {
                    kind: "ballots",
                    party: Role::P1
                })
            ),
            "without ballot {left_out}"
        );
    }
    let repeated = [&all[..3], &all[2..]].concat();
    assert!(matches!(
        gather(&repeated),
        Err(SealingError::Order { kind: "ballots", digest }) if digest == all[2].digest()
    ));
    // One ballot in two halves would fit every List: it is refused for its order.
    let mut halves = all.to_vec();
    let digest = all[3].digest();
    halves[3] = BallotEvidence::bare(digest, [true, false, false]);
    halves.insert(4, BallotEvidence::bare(digest, [false, true, true]));
    assert!(in_parts(&world, &evidence, &halves, 2).is_err());
    let mut moved = all.to_vec();
    moved.swap(1, 2);
    assert!(matches!(gather(&moved), Err(SealingError::Order { .. })));
}
