//! The rules against a plain model.

use proptest::prelude::*;

use super::*;

/// One made-up ballot: offset of its time from the opening, where it was cast, who lists it, and whose receipt is claimed.
#[derive(Clone, Debug)]
struct Made {
    offset: i64,
    mark: Option<(u32, u64, bool)>,
    listed: u8,
    claimed: Option<(usize, usize)>,
}

fn made() -> impl Strategy<Value = Made> {
    let mark = proptest::option::of((1u32..=2, 1u64..6, any::<bool>()));
    let claimed = proptest::option::of((0usize..3, 0usize..3));
    (-1i64..6, mark, 1u8..8, claimed).prop_map(|(offset, mark, listed, claimed)| Made {
        offset,
        mark,
        listed,
        claimed,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The rules against a plain model that works through them one by one, without sorting keys or maps.
    #[test]
    fn sealing_agrees_with_a_plain_model(all in proptest::collection::vec(made(), 0..24)) {
        thread_local!(static WORLD: World = World::new(Shape::default()));
        WORLD.with(|world| agrees_with_model(world, &all))?;
    }
}

fn agrees_with_model(world: &World, all: &[Made]) -> Result<(), TestCaseError> {
    let mut ballots = Vec::new();
    let mut claimed: [Vec<Receipt>; 3] = Default::default();
    let mut candidates = Vec::new();
    for (salt, made) in (0u8..).zip(all) {
        let listed: [bool; 3] = std::array::from_fn(|i| made.listed >> i & 1 == 1);
        let b = ballot(
            world,
            salt,
            OPENS.saturating_add_signed(made.offset),
            made.mark,
            listed,
        );
        let mut accepted = listed;
        // Only claims that hold: the others have their own test.
        if let Some((claimant, signer)) = made.claimed.filter(|(c, s)| c != s && listed[*c] && !listed[*s]) {
            claimed[claimant].push(world.receipt(Role::ALL[signer], BOX, digest(&b)));
            accepted[signer] = true;
        }
        if accepted.iter().filter(|a| **a).count() >= 2 && made.offset >= 0 {
            candidates.push((made.clone(), digest(&b)));
        }
        ballots.push(b);
    }
    // The lowest digest of a (station, number) stays.
    let stays = |(m, d): &&(Made, Digest)| {
        let place = |m: &Made| m.mark.map(|(station, number, _)| (station, number));
        place(m).is_none() || candidates.iter().all(|(o, e)| place(o) != place(m) || e >= d)
    };
    let mut rows: Vec<_> = candidates.iter().filter(stays).collect();
    // A plain insertion of each row before the first that is greater.
    let before = |(a, d): &(Made, Digest), (b, e): &(Made, Digest)| {
        let class = |m: &Made| match m.mark {
            None => 0,
            Some((_, _, false)) => 1,
            Some((_, _, true)) => 2,
        };
        let mark = |m: &Made| m.mark.map_or((0, 0), |(station, number, _)| (station, number));
        (class(a), a.offset, mark(a), d) < (class(b), b.offset, mark(b), e)
    };
    let mut expected: Vec<&(Made, Digest)> = Vec::new();
    for row in rows.drain(..) {
        let at = expected
            .iter()
            .position(|other| before(row, other))
            .unwrap_or(expected.len());
        expected.insert(at, row);
    }

    let evidence = world.evidence(BOX, &ballots, &[], claimed, [&[]; 3]);
    let sealed =
        compute(evidence.inputs(&world.election(), BOX)).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(
        &sealed.rows,
        &expected.iter().map(|(_, d)| *d).collect::<Vec<_>>()
    );
    let class = |paper| {
        expected
            .iter()
            .filter(|(m, _)| m.mark.is_some_and(|(_, _, p)| p == paper))
            .count() as u64
    };
    prop_assert_eq!(sealed.seal.counts.paper, class(true));
    prop_assert_eq!(sealed.seal.counts.station, class(false));
    prop_assert_eq!(sealed.seal.counts.total(), expected.len() as u64);
    prop_assert!(sealed.settled.false_claims().is_empty());
    for count in &sealed.seal.stations {
        let own = |m: &Made| {
            m.mark
                .filter(|(s, ..)| *s == count.station.get())
                .map(|(_, n, _)| n)
        };
        let numbers: Vec<u64> = expected.iter().filter_map(|(m, _)| own(m)).collect();
        let gaps = (1..=numbers.iter().copied().max().unwrap_or(0))
            .filter(|n| !numbers.contains(n))
            .count() as u64;
        prop_assert_eq!(
            (count.gaps, count.electronic + count.paper),
            (gaps, numbers.len() as u64)
        );
        let all_of_it = candidates.iter().filter_map(|(m, _)| own(m)).count() as u64;
        prop_assert_eq!(count.repeated_numbers, all_of_it - numbers.len() as u64);
        let time = |n: u64| {
            expected
                .iter()
                .find(|(m, _)| own(m) == Some(n))
                .map(|(m, _)| m.offset)
        };
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let falls = sorted.windows(2).filter(|w| time(w[1]) < time(w[0])).count() as u64;
        prop_assert_eq!(count.falling_times, falls);
    }
    // The same evidence always gives the same bytes, and every signed part survives its encoding.
    let again =
        compute(evidence.inputs(&world.election(), BOX)).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(again.seal.encode(), sealed.seal.encode());
    let body = BoxBody::decode(&evidence.body.encode(), 5).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(body, evidence.body);
    Ok(())
}
