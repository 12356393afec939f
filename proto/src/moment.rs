//! Moments as people read them: UTC, `2027-05-06 20:00:00 UTC`. The only place that turns Unix time into words for refusals and errors; the
//! local times of a calendar are the commission's own texts.

use std::fmt;

use jiff::Timestamp;

use crate::ids::{UnixMillis, UnixSeconds};

/// To the second.
impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.0)
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        words(at, "%F %T UTC", f)
    }
}

/// To the millisecond.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.0)
            .ok()
            .and_then(|millis| Timestamp::from_millisecond(millis).ok());
        words(at, "%F %T%.3f UTC", f)
    }
}

fn words(at: Option<Timestamp>, form: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match at {
        Some(at) => f.pad(&at.strftime(form).to_string()),
        None => f.pad("beyond the year 9999"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{ChannelKind, TimingError};

    #[test]
    fn moments_are_shown_as_utc() {
        assert_eq!(UnixSeconds(0).to_string(), "1970-01-01 00:00:00 UTC");
        assert_eq!(UnixSeconds(1_800_000_000).to_string(), "2027-01-15 08:00:00 UTC");
        assert_eq!(
            UnixMillis(1_800_000_000_007).to_string(),
            "2027-01-15 08:00:00.007 UTC"
        );
        assert_eq!(UnixSeconds(u64::MAX).to_string(), "beyond the year 9999");
        assert_eq!(UnixMillis(u64::MAX).to_string(), "beyond the year 9999");
    }

    #[test]
    fn a_refusal_shows_no_unix_seconds() {
        let late = TimingError::AfterClose {
            kind: ChannelKind::Online,
            cast_at: UnixSeconds(1_800_000_001),
            closed: UnixSeconds(1_800_000_000),
        };
        let far = TimingError::OutOfRange {
            cast_at: UnixSeconds(1_800_000_001),
            now_ms: UnixMillis(1_800_000_100_500),
        };
        for text in [late.to_string(), far.to_string()] {
            assert!(
                text.contains("2027-01-15 08:00:01 UTC") && !text.contains("18000"),
                "{text}"
            );
        }
    }
}
