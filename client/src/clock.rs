//! The moment a ballot is cast, told by the parties and never by the device.
//!
//! A device's own clock would link its ballots by its skew. So `cast_at` is the median of the three parties' clocks, to the
//! second. When one party is away, of the two clocks the greater counts if they are within two seconds of each other;
//! otherwise the coordinator's clock is the third and the median of these counts. One party alone tells no time: it could
//! say anything. And `cast_at` is always above the last one of the same device, so that a revote is the later ballot.

use thiserror::Error;

/// Two clocks further apart than this need a third.
pub const TRUSTED_SPREAD_MS: u64 = 2_000;

/// Why no moment of casting could be agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClockError {
    /// Fewer than two parties told their time.
    #[error(
        "only {0} of the three parties could be asked for the time, and casting needs two; check the network and try again"
    )]
    TooFew(usize),
    /// Two parties told times that are too far apart, and the coordinator could not be asked.
    #[error(
        "the clocks of the two parties that answered are {apart_ms} ms apart and the coordinator could not be asked for a third; \
         try again later, and tell the election commission if it goes on"
    )]
    Disagree {
        /// The distance between the two clocks.
        apart_ms: u64,
    },
}

/// What is still to be asked before a time can be agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The agreed time, milliseconds since 1970.
    Agreed(u64),
    /// Two parties answered, too far apart: ask the coordinator and call [`with_board`].
    AskBoard {
        /// The two clocks.
        clocks: [u64; 2],
    },
}

/// The agreed time of the parties' clocks, all read at the same moment, in milliseconds since 1970.
///
/// # Errors
/// [`ClockError::TooFew`] when fewer than two answered.
pub fn agree(clocks: [Option<u64>; 3]) -> Result<Reading, ClockError> {
    match clocks {
        [Some(a), Some(b), Some(c)] => Ok(Reading::Agreed(median(a, b, c))),
        [Some(a), Some(b), None] | [Some(a), None, Some(b)] | [None, Some(a), Some(b)] => {
            if a.abs_diff(b) <= TRUSTED_SPREAD_MS {
                Ok(Reading::Agreed(a.max(b)))
            } else {
                Ok(Reading::AskBoard { clocks: [a, b] })
            }
        }
        others => Err(ClockError::TooFew(others.iter().flatten().count())),
    }
}

/// The agreed time of two parties whose clocks are too far apart, with the coordinator's as the third.
///
/// # Errors
/// [`ClockError::Disagree`] when the coordinator did not answer.
pub fn with_board(clocks: [u64; 2], board: Option<u64>) -> Result<u64, ClockError> {
    let [a, b] = clocks;
    board.map(|c| median(a, b, c)).ok_or(ClockError::Disagree {
        apart_ms: a.abs_diff(b),
    })
}

/// The second at which a ballot is cast at agreed time `agreed_ms` on a device whose last ballot was cast at `last_s`
/// (0: none): never the same second again.
pub fn cast_second(agreed_ms: u64, last_s: u64) -> u64 {
    (agreed_ms / 1000).max(last_s.saturating_add(1))
}

fn median(a: u64, b: u64, c: u64) -> u64 {
    a.max(b).min(a.min(b).max(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_rule_table() {
        use Reading::{Agreed, AskBoard};
        type Row = ([Option<u64>; 3], Result<Reading, ClockError>);
        let table: [Row; 12] = [
            ([Some(1), Some(2), Some(3)], Ok(Agreed(2))),
            ([Some(3), Some(1), Some(2)], Ok(Agreed(2))),
            ([Some(5), Some(5), Some(9)], Ok(Agreed(5))),
            // One lying clock, far ahead or far behind, moves nothing beyond an honest one.
            ([Some(10_000), Some(10_400), Some(u64::MAX)], Ok(Agreed(10_400))),
            ([Some(0), Some(10_000), Some(10_400)], Ok(Agreed(10_000))),
            // Of two the greater, up to and including two seconds.
            ([Some(10_000), Some(12_000), None], Ok(Agreed(12_000))),
            ([None, Some(12_000), Some(10_000)], Ok(Agreed(12_000))),
            ([Some(7), None, Some(7)], Ok(Agreed(7))),
            (
                [Some(10_000), None, Some(12_001)],
                Ok(AskBoard {
                    clocks: [10_000, 12_001],
                }),
            ),
            (
                [None, Some(90_000), Some(10_000)],
                Ok(AskBoard {
                    clocks: [90_000, 10_000],
                }),
            ),
            ([None, Some(1), None], Err(ClockError::TooFew(1))),
            ([None, None, None], Err(ClockError::TooFew(0))),
        ];
        for (clocks, expected) in table {
            assert_eq!(agree(clocks), expected, "{clocks:?}");
        }
    }

    #[test]
    fn the_board_settles_two_that_disagree() {
        assert_eq!(with_board([90_000, 10_000], Some(11_000)), Ok(11_000));
        assert_eq!(with_board([90_000, 10_000], Some(89_000)), Ok(89_000));
        assert_eq!(with_board([90_000, 10_000], Some(5)), Ok(10_000));
        assert_eq!(with_board([90_000, 10_000], Some(u64::MAX)), Ok(90_000));
        assert_eq!(
            with_board([90_000, 10_000], None),
            Err(ClockError::Disagree { apart_ms: 80_000 })
        );
    }

    #[test]
    fn the_rule_is_the_formats_own() {
        use tally_proto::calendar::cast_at;
        use tally_proto::ids::{UnixMillis, UnixSeconds};
        let moments = [1_000, 9_999, 10_000, 11_999, 12_000, 12_001, 60_000];
        for a in moments {
            for b in moments {
                let mine = |third: [Option<u64>; 2], last_s| {
                    let agreed = match agree([Some(a), third[0], Some(b)]).unwrap() {
                        Reading::Agreed(agreed) => Ok(agreed),
                        Reading::AskBoard { clocks } => with_board(clocks, third[1]),
                    };
                    agreed.ok().map(|agreed| UnixSeconds(cast_second(agreed, last_s)))
                };
                assert_eq!(
                    mine([None; 2], 0),
                    cast_at(&[UnixMillis(a), UnixMillis(b)], None, None)
                );
                for c in moments {
                    let (a, b, c_ms) = (UnixMillis(a), UnixMillis(b), UnixMillis(c));
                    assert_eq!(mine([Some(c), None], 0), cast_at(&[a, c_ms, b], None, None));
                    assert_eq!(
                        mine([None, Some(c)], 11),
                        cast_at(&[a, b], Some(c_ms), Some(UnixSeconds(11)))
                    );
                }
            }
        }
    }

    #[test]
    fn a_device_never_casts_twice_in_one_second() {
        assert_eq!(cast_second(1_700_000_000_999, 0), 1_700_000_000);
        assert_eq!(cast_second(1_700_000_000_999, 1_699_999_999), 1_700_000_000);
        assert_eq!(cast_second(1_700_000_000_999, 1_700_000_000), 1_700_000_001);
        assert_eq!(cast_second(1_700_000_000_999, 1_700_000_030), 1_700_000_031);
        assert_eq!(cast_second(0, u64::MAX), u64::MAX);
    }
}
