//! Opening hours: local times of an IANA time zone, as the commission wrote them, and the Unix seconds they mean.
//!
//! A local time that the zone's clock never shows (clocks go forward) or shows twice (clocks go back) is refused rather than
//! guessed. An opening includes both its first and its last second.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use thiserror::Error;

/// One opening: the local times as shown to people, and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// `YYYY-MM-DD HH:MM[:SS]`, local.
    pub opens_local: String,
    /// `YYYY-MM-DD HH:MM[:SS]`, local.
    pub closes_local: String,
    /// First second, Unix.
    pub opens_s: u64,
    /// Last second, Unix.
    pub closes_s: u64,
}

/// What is wrong with a calendar.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CalendarError {
    /// The zone is not in the time zone table.
    #[error("time zone {0:?} is not known: write an IANA name such as \"Europe/London\"")]
    Zone(String),
    /// Not a local time.
    #[error("{0:?} is not a local time: write \"YYYY-MM-DD HH:MM\" (seconds may follow)")]
    NotATime(String),
    /// Not a day, or not a range of days.
    #[error("{0:?} is not a day or a range of days: write \"2027-05-06\" or \"2027-05-04 to 2027-05-06\"")]
    NotDays(String),
    /// Not hours of a day.
    #[error("{0:?} are not hours of a day: write \"07:00 to 22:00\"")]
    NotHours(String),
    /// The clock skips this time.
    #[error("{local} does not exist in {zone}: the clocks go forward over it; choose a time before or after")]
    Skipped {
        /// As written.
        local: String,
        /// The zone.
        zone: String,
    },
    /// The clock shows this time twice.
    #[error("{local} happens twice in {zone}: the clocks go back over it; choose a time before or after")]
    Repeated {
        /// As written.
        local: String,
        /// The zone.
        zone: String,
    },
    /// Before 1970 or too far ahead.
    #[error("{0} is outside the years 1970 to 9999: check the year")]
    OutOfRange(String),
    /// Neither of the two ways of writing an opening, or a mixture.
    #[error(
        "an opening is written either as {{ opens = \"...\", closes = \"...\" }} or as {{ days = \"...\", hours = \"...\" }}"
    )]
    Form,
    /// Closes before or when it opens.
    #[error("the opening closes at {closes}, not after it opens at {opens}: swap or correct them")]
    Backwards {
        /// Opening time as written.
        opens: String,
        /// Closing time as written.
        closes: String,
    },
    /// Two openings overlap or are not in order.
    #[error(
        "the opening from {second} begins before the one that closes at {first} has ended: sort them, without overlap"
    )]
    Overlap {
        /// Closing time of the earlier one.
        first: String,
        /// Opening time of the later one.
        second: String,
    },
    /// No opening at all.
    #[error("there is no opening: add at least one")]
    None,
    /// Receives for a shorter time than it is open.
    #[error("receive_until {until} is before the last closing time {closes}: write a moment at or after it")]
    ReceiveUntil {
        /// As written.
        until: String,
        /// The last closing time.
        closes: String,
    },
}

/// A zone found in the time zone table.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Looks a zone up by its IANA name.
    ///
    /// # Errors
    /// [`CalendarError::Zone`] for a name that the table does not hold.
    pub fn find(name: &str) -> Result<Self, CalendarError> {
        let zone = TimeZone::get(name).map_err(|_| CalendarError::Zone(name.to_owned()))?;
        // The table matches without regard to case; a manifest carries the name as the table spells it.
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Ok(Self { name, zone })
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The moment at which this zone's clock shows `local` (`YYYY-MM-DD HH:MM[:SS]`), in Unix seconds.
    ///
    /// # Errors
    /// A text that is not a local time, or a time that the clock skips or repeats.
    pub fn moment(&self, local: &str) -> Result<u64, CalendarError> {
        self.resolve(parse_local(local)?, local)
    }

    /// What this zone's clock shows at a moment, with the abbreviation: `2027-05-06 20:00:00 BST`.
    pub fn show(&self, unix_s: u64) -> String {
        i64::try_from(unix_s)
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok())
            .map_or_else(
                || format!("second {unix_s}"),
                |t| t.to_zoned(self.zone.clone()).strftime("%F %T %Z").to_string(),
            )
    }

    fn resolve(&self, local: DateTime, written: &str) -> Result<u64, CalendarError> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {}
            AmbiguousOffset::Gap { .. } => {
                return Err(CalendarError::Skipped {
                    local: written.to_owned(),
                    zone: self.name.clone(),
                });
            }
            AmbiguousOffset::Fold { .. } => {
                return Err(CalendarError::Repeated {
                    local: written.to_owned(),
                    zone: self.name.clone(),
                });
            }
        }
        ambiguous
            .unambiguous()
            .ok()
            .and_then(|t| u64::try_from(t.as_second()).ok())
            .ok_or_else(|| CalendarError::OutOfRange(written.to_owned()))
    }

    /// When each day of this zone begins that has a second from `opens_s` to `closes_s`.
    ///
    /// # Errors
    /// [`CalendarError::OutOfRange`].
    pub fn days(&self, opens_s: u64, closes_s: u64) -> Result<Vec<u64>, CalendarError> {
        let out = || CalendarError::OutOfRange(format!("second {closes_s}"));
        let opens = i64::try_from(opens_s)
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok());
        let mut day = opens
            .and_then(|opens| opens.to_zoned(self.zone.clone()).start_of_day().ok())
            .ok_or_else(out)?;
        let mut days = Vec::new();
        loop {
            let begins = u64::try_from(day.timestamp().as_second()).map_err(|_| out())?;
            if begins > closes_s {
                return Ok(days);
            }
            days.push(begins);
            day = day
                .tomorrow()
                .and_then(|next| next.start_of_day())
                .map_err(|_| out())?;
        }
    }

    /// One opening from its two local times.
    ///
    /// # Errors
    /// As [`Zone::moment`], and [`CalendarError::Backwards`].
    pub fn opening(&self, opens: &str, closes: &str) -> Result<Opening, CalendarError> {
        self.between(parse_local(opens)?, parse_local(closes)?)
    }

    /// One opening a day: `days` is a day or `first to last`, `hours` is `from to until`.
    ///
    /// # Errors
    /// As [`Zone::opening`], and texts that are not days or hours.
    pub fn daily(&self, days: &str, hours: &str) -> Result<Vec<Opening>, CalendarError> {
        let not_days = || CalendarError::NotDays(days.to_owned());
        let day = |text: &str| text.trim().parse::<Date>().map_err(|_| not_days());
        let (first, last) = match days.split_once(" to ") {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(days)?, day(days)?),
        };
        let not_hours = || CalendarError::NotHours(hours.to_owned());
        let hour = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| not_hours());
        let (from, until) = hours.split_once(" to ").ok_or_else(not_hours)?;
        let (from, until) = (hour(from)?, hour(until)?);
        // An election that is open for more than a year of single days is a typing error in a year.
        if last < first || first.saturating_add(366.days()) < last {
            return Err(not_days());
        }
        first
            .series(1.day())
            .take_while(|d| *d <= last)
            .map(|d| self.between(d.to_datetime(from), d.to_datetime(until)))
            .collect()
    }

    fn between(&self, opens: DateTime, closes: DateTime) -> Result<Opening, CalendarError> {
        let (opens_local, closes_local) = (show_local(opens), show_local(closes));
        let opens_s = self.resolve(opens, &opens_local)?;
        let closes_s = self.resolve(closes, &closes_local)?;
        if closes_s <= opens_s {
            return Err(CalendarError::Backwards {
                opens: opens_local,
                closes: closes_local,
            });
        }
        Ok(Opening {
            opens_local,
            closes_local,
            opens_s,
            closes_s,
        })
    }
}

/// Checks that openings are sorted and do not overlap, and that receiving does not end before the last one; answers the last
/// moment at which a party takes a submission.
///
/// # Errors
/// [`CalendarError::None`], [`CalendarError::Overlap`], [`CalendarError::ReceiveUntil`].
pub fn check_order(
    zone: &Zone,
    openings: &[Opening],
    receive_until: Option<&str>,
) -> Result<u64, CalendarError> {
    let last = openings.last().ok_or(CalendarError::None)?;
    for (earlier, later) in openings.iter().zip(openings.iter().skip(1)) {
        if later.opens_s <= earlier.closes_s {
            return Err(CalendarError::Overlap {
                first: earlier.closes_local.clone(),
                second: later.opens_local.clone(),
            });
        }
    }
    let Some(until) = receive_until else {
        return Ok(last.closes_s + GRACE_S);
    };
    let until_s = zone.moment(until)?;
    if until_s < last.closes_s {
        return Err(CalendarError::ReceiveUntil {
            until: until.to_owned(),
            closes: last.closes_local.clone(),
        });
    }
    Ok(until_s)
}

/// How long after closing a party still takes submissions where the file does not say: a ballot cast in the last second
/// needs time to arrive, and a party accepts at most 60 s late.
pub const GRACE_S: u64 = 60;

fn parse_local(text: &str) -> Result<DateTime, CalendarError> {
    DateTime::strptime("%F %T", text)
        .or_else(|_| DateTime::strptime("%F %H:%M", text))
        .map_err(|_| CalendarError::NotATime(text.to_owned()))
}

fn show_local(local: DateTime) -> String {
    local
        .strftime(if local.second() == 0 { "%F %H:%M" } else { "%F %T" })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn london() -> Zone {
        Zone::find("Europe/London").expect("in the table")
    }

    #[test]
    fn local_times_follow_the_zone() {
        // 2027-05-06 07:00 in London is British Summer Time, one hour ahead of UTC.
        assert_eq!(london().moment("2027-05-06 07:00"), Ok(1_809_583_200));
        assert_eq!(london().moment("2027-01-06 07:00:05"), Ok(1_799_218_805));
        assert_eq!(london().show(1_809_583_200), "2027-05-06 07:00:00 BST");
        assert_eq!(
            Zone::find("europe/london").expect("case does not matter").name(),
            "Europe/London"
        );
    }

    #[test]
    fn days_begin_at_local_midnight_also_when_the_clocks_change() {
        let at = |text| london().moment(text).expect("a moment");
        // The clocks go forward on 28 March 2027: that day has 23 hours.
        let days = london().days(at("2027-03-27 22:00"), at("2027-03-29 00:00"));
        let begin = ["2027-03-27 00:00", "2027-03-28 00:00", "2027-03-29 00:00"].map(at);
        assert_eq!(days.as_deref(), Ok(&begin[..]));
        assert_eq!(begin[2] - begin[1], 23 * 3600);
        assert_eq!(london().days(begin[0], begin[0]), Ok(vec![begin[0]]));
    }

    #[test]
    fn times_the_clock_skips_or_repeats_are_refused() {
        let skipped = london().moment("2027-03-28 01:30").expect_err("skipped");
        assert_eq!(
            skipped.to_string(),
            "2027-03-28 01:30 does not exist in Europe/London: the clocks go forward over it; choose a time before or after"
        );
        let repeated = london().moment("2027-10-31 01:30").expect_err("repeated");
        assert!(
            repeated.to_string().contains("happens twice in Europe/London"),
            "{repeated}"
        );
    }

    #[test]
    fn texts_that_are_no_times_are_refused_with_the_form_to_use() {
        for text in [
            "tomorrow",
            "2027-02-30 08:00",
            "2027-05-06",
            "2027-05-06 25:00",
            "",
            "2027-05-06T07:00",
        ] {
            assert_eq!(
                london().moment(text),
                Err(CalendarError::NotATime(text.to_owned()))
            );
        }
        assert_eq!(
            Zone::find("Mars/Olympus").expect_err("no zone"),
            CalendarError::Zone("Mars/Olympus".to_owned())
        );
        assert_eq!(
            london().moment("1900-01-01 00:00"),
            Err(CalendarError::OutOfRange("1900-01-01 00:00".to_owned()))
        );
    }

    #[test]
    fn daily_hours_make_one_opening_a_day_across_a_clock_change() {
        let days = london()
            .daily("2027-03-27 to 2027-03-29", "07:00 to 22:00")
            .expect("good");
        assert_eq!(days.len(), 3);
        assert_eq!(days[1].opens_local, "2027-03-28 07:00");
        assert_eq!(
            days[1].opens_s - days[0].opens_s,
            23 * 3600,
            "the night of the clock change is an hour short"
        );
        assert_eq!(days[2].opens_s - days[1].opens_s, 24 * 3600);
        assert_eq!(days[0].closes_s - days[0].opens_s, 15 * 3600);
        assert!(matches!(
            london().daily("2027-05-06 to 2027-05-04", "07:00 to 22:00"),
            Err(CalendarError::NotDays(_))
        ));
        assert!(matches!(
            london().daily("2027-05-06", "07:00-22:00"),
            Err(CalendarError::NotHours(_))
        ));
        assert!(matches!(
            london().daily("2027-05-06", "22:00 to 07:00"),
            Err(CalendarError::Backwards { .. })
        ));
    }

    #[test]
    fn order_and_deadline_are_checked() {
        let zone = london();
        let two = [
            zone.opening("2027-05-04 08:00", "2027-05-04 20:00")
                .expect("good"),
            zone.opening("2027-05-05 08:00", "2027-05-05 20:00")
                .expect("good"),
        ];
        assert_eq!(check_order(&zone, &two, None), Ok(two[1].closes_s + GRACE_S));
        assert_eq!(
            check_order(&zone, &two, Some("2027-05-05 23:00")),
            Ok(two[1].closes_s + 3 * 3600)
        );
        assert!(matches!(
            check_order(&zone, &two, Some("2027-05-05 19:59")),
            Err(CalendarError::ReceiveUntil { .. })
        ));
        let swapped = [two[1].clone(), two[0].clone()];
        assert!(matches!(
            check_order(&zone, &swapped, None),
            Err(CalendarError::Overlap { .. })
        ));
        assert_eq!(check_order(&zone, &[], None), Err(CalendarError::None));
    }
}
