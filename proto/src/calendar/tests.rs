use super::*;

fn wire(kind: ChannelKind, openings: &[(u64, u64)], until: u64) -> wire::Channel {
    wire::Channel {
        kind: kind.to_wire().into(),
        name: vec![wire::Text {
            language: "en".into(),
            text: "a channel".into(),
        }],
        time_zone: "Europe/Berlin".into(),
        openings: openings
            .iter()
            .map(|(opens_s, closes_s)| wire::Opening {
                opens_local: "2026-11-01 08:00".into(),
                closes_local: "2026-11-01 18:00".into(),
                opens_s: *opens_s,
                closes_s: *closes_s,
            })
            .collect(),
        receive_until_s: until,
    }
}

fn channel(kind: ChannelKind) -> Channel {
    Channel::from_wire(&wire(kind, &[(1000, 2000), (3000, 4000)], 4100)).expect("checked")
}

fn at(cast_at: u64, now_ms: u64, kind: ChannelKind) -> Result<Timing, TimingError> {
    channel(kind).check(UnixSeconds(cast_at), UnixMillis(now_ms))
}

#[test]
fn openings_are_inclusive_and_gaps_count_as_before_opening() {
    let c = channel(ChannelKind::Online);
    for good in [1000, 1500, 2000, 3000, 4000] {
        assert_eq!(c.check_opening(UnixSeconds(good)), Ok(()), "{good}");
    }
    let opens = |cast_at| match c.check_opening(UnixSeconds(cast_at)) {
        Err(TimingError::BeforeOpening { opens, .. }) => Some(opens.get()),
        _ => None,
    };
    assert_eq!(
        [opens(0), opens(999), opens(2001), opens(2999)],
        [1000, 1000, 3000, 3000].map(Some)
    );
    assert!(matches!(
        c.check_opening(UnixSeconds(4001)),
        Err(TimingError::AfterClose { .. })
    ));
    assert!(matches!(
        c.check_opening(UnixSeconds(u64::MAX)),
        Err(TimingError::AfterClose { .. })
    ));
}

#[test]
fn online_ballots_are_in_range_of_the_clock() {
    use ChannelKind::Online;
    let hold = |ms| Ok(Timing::HoldUntil(UnixMillis(ms)));
    assert_eq!(at(1500, 1_500_000, Online), Ok(Timing::InTime));
    assert_eq!(at(1500, 1_560_000, Online), Ok(Timing::InTime));
    assert!(matches!(
        at(1500, 1_560_001, Online),
        Err(TimingError::OutOfRange { .. })
    ));
    assert_eq!(at(1500, 1_498_000, Online), Ok(Timing::InTime));
    assert_eq!(at(1500, 1_497_999, Online), hold(1_498_000));
    assert_eq!(at(1500, 1_440_000, Online), hold(1_498_000));
    assert!(matches!(
        at(1500, 1_439_999, Online),
        Err(TimingError::OutOfRange { .. })
    ));
    assert!(matches!(
        at(4000, 4_100_999, Online),
        Err(TimingError::OutOfRange { .. })
    ));
    assert!(matches!(
        at(4000, 4_101_000, Online),
        Err(TimingError::TooLate { .. })
    ));
}

#[test]
fn stations_may_have_queued_but_not_dated_ahead() {
    use ChannelKind::{Paper, Station};
    for kind in [Station, Paper] {
        assert_eq!(at(1500, 4_100_999, kind), Ok(Timing::InTime));
        assert!(matches!(
            at(1500, 4_101_000, kind),
            Err(TimingError::TooLate { .. })
        ));
        assert!(matches!(
            at(1500, 1_400_000, kind),
            Err(TimingError::OutOfRange { .. })
        ));
        assert_eq!(
            at(1500, 1_497_000, kind),
            Ok(Timing::HoldUntil(UnixMillis(1_498_000)))
        );
        assert!(matches!(
            at(2500, 2_500_000, kind),
            Err(TimingError::BeforeOpening { .. })
        ));
    }
}

#[test]
fn a_held_ballot_is_in_time_when_its_moment_comes() {
    let Ok(Timing::HoldUntil(moment)) = at(1500, 1_450_000, ChannelKind::Online) else {
        panic!("not held")
    };
    assert_eq!(at(1500, moment.get(), ChannelKind::Online), Ok(Timing::InTime));
}

#[test]
fn extreme_times_do_not_overflow() {
    for cast_at in [0, 1500, u64::MAX] {
        for now in [0, u64::MAX] {
            assert!(at(cast_at, now, ChannelKind::Online).is_err());
        }
    }
}

#[test]
fn bad_calendars_are_refused() {
    use ChannelKind::Online;
    let check =
        |openings: &[(u64, u64)], until| Channel::from_wire(&wire(Online, openings, until)).map(|_| ());
    assert_eq!(
        check(&[], 1),
        Err(ChannelError::Openings {
            kind: Online,
            count: 0
        })
    );
    assert_eq!(
        check(&[(2, 1)], 9),
        Err(ChannelError::Order {
            kind: Online,
            number: 1
        })
    );
    assert_eq!(
        check(&[(1, 5), (5, 6)], 9),
        Err(ChannelError::Order {
            kind: Online,
            number: 2
        })
    );
    assert_eq!(
        check(&[(5, 6), (1, 2)], 9),
        Err(ChannelError::Order {
            kind: Online,
            number: 2
        })
    );
    assert!(matches!(
        check(&[(1, 5)], 4),
        Err(ChannelError::ReceiveUntil { .. })
    ));
    let with = |change: fn(&mut wire::Channel)| {
        let mut w = wire(Online, &[(1, 5)], 9);
        change(&mut w);
        Channel::from_wire(&w).map(|_| ())
    };
    assert_eq!(with(|w| w.kind = 0), Err(ChannelError::Kind(0)));
    assert_eq!(with(|w| w.kind = 77), Err(ChannelError::Kind(77)));
    assert!(matches!(with(|w| w.name.clear()), Err(ChannelError::Name { .. })));
    assert!(matches!(
        with(|w| w.time_zone = "a b".into()),
        Err(ChannelError::Zone { .. })
    ));
    assert!(matches!(
        with(|w| w.openings[0].opens_local.clear()),
        Err(ChannelError::Local { number: 1, .. })
    ));
    let whole = channel(Online);
    assert_eq!(Channel::from_wire(&whole.to_wire()), Ok(whole));
}

#[test]
fn cast_at_is_the_median_and_rises() {
    let ms = UnixMillis;
    assert_eq!(
        cast_at(&[ms(5_000), ms(9_000), ms(7_999)], None, None),
        Some(UnixSeconds(7))
    );
    assert_eq!(cast_at(&[ms(5_000), ms(7_000)], None, None), Some(UnixSeconds(7)));
    assert_eq!(cast_at(&[ms(5_000), ms(7_001)], None, None), None);
    assert_eq!(
        cast_at(&[ms(5_000), ms(99_000)], Some(ms(6_000)), None),
        Some(UnixSeconds(6))
    );
    assert_eq!(cast_at(&[ms(5_000)], Some(ms(5_000)), None), None);
    let same = [ms(5_000); 3];
    assert_eq!(cast_at(&same, None, Some(UnixSeconds(5))), Some(UnixSeconds(6)));
    assert_eq!(cast_at(&same, None, Some(UnixSeconds(3))), Some(UnixSeconds(5)));
}

#[test]
fn the_past_of_two_calendars_is_compared_second_by_second() {
    let of = |openings: &[(u64, u64)]| {
        let until = openings.last().expect("one").1 + 60;
        Channel::from_wire(&wire(ChannelKind::Online, openings, until)).expect("a channel")
    };
    let (one, two) = (of(&[(100, 199), (300, 399)]), of(&[(100, 149), (300, 399)]));
    for (moment, same) in [(50, true), (100, true), (150, true), (151, false), (1000, false)] {
        assert_eq!(one.same_before(&two, UnixSeconds(moment)), same, "{moment}");
        assert_eq!(two.same_before(&one, UnixSeconds(moment)), same, "{moment}");
    }
    // The last close is the same, an opening before is struck, or one is added.
    assert!(!one.same_before(&of(&[(300, 399)]), UnixSeconds(250)));
    assert!(!one.same_before(&of(&[(100, 199), (210, 220), (300, 399)]), UnixSeconds(250)));
    // What is ahead may change; so may how the same hours are written down.
    assert!(one.same_before(&of(&[(100, 199), (280, 500)]), UnixSeconds(250)));
    assert!(one.same_before(&of(&[(100, 160), (161, 199), (300, 399)]), UnixSeconds(1000)));
    assert!(one.same_before(&of(&[(100, 199), (300, 350)]), UnixSeconds(351)));
    assert!(!one.same_before(&of(&[(100, 199), (300, 350)]), UnixSeconds(352)));
}
