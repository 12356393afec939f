//! Channels with their opening hours, and the rule when a ballot is in time. Pure functions of the clock that is passed in.

use std::fmt;

use crate::ids::{UnixMillis, UnixSeconds};
use crate::reason::Reason;
use crate::text::{TextError, Texts};
use crate::wire;

/// Most openings of one channel.
pub const MAX_OPENINGS: usize = 400;
/// How far behind the party's clock cast_at of an online ballot may lie.
pub const MAX_BEHIND_MS: u64 = 60_000;
/// How far ahead of the party's clock cast_at may lie to be accepted at once.
pub const MAX_AHEAD_MS: u64 = 2_000;
/// How far ahead cast_at may lie to be held until it is in range.
pub const MAX_HELD_MS: u64 = 60_000;

/// How a ballot reaches the parties.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum ChannelKind {
    /// From the voter's own device; needs a credential.
    Online,
    /// An electronic vote at a station.
    Station,
    /// A paper vote at a station: strikes the voter's other votes.
    Paper,
}

impl ChannelKind {
    /// All kinds in row order.
    pub const ALL: [Self; 3] = [Self::Online, Self::Station, Self::Paper];

    /// From the wire; `None` for unspecified or unknown kinds.
    pub fn from_wire(wire: i32) -> Option<Self> {
        match wire::ChannelKind::try_from(wire) {
            Ok(wire::ChannelKind::Online) => Some(Self::Online),
            Ok(wire::ChannelKind::Station) => Some(Self::Station),
            Ok(wire::ChannelKind::Paper) => Some(Self::Paper),
            Ok(wire::ChannelKind::Unspecified) | Err(_) => None,
        }
    }

    /// To the wire.
    pub const fn to_wire(self) -> wire::ChannelKind {
        match self {
            Self::Online => wire::ChannelKind::Online,
            Self::Station => wire::ChannelKind::Station,
            Self::Paper => wire::ChannelKind::Paper,
        }
    }

    /// The number in fixed layouts: 1, 2, 3.
    pub const fn number(self) -> u8 {
        match self {
            Self::Online => 1,
            Self::Station => 2,
            Self::Paper => 3,
        }
    }

    /// Whether a station casts it.
    pub const fn at_station(self) -> bool {
        matches!(self, Self::Station | Self::Paper)
    }
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Station => "station",
            Self::Paper => "paper",
        })
    }
}

/// Why a channel was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Unknown kind.
    #[error("channel kind {0} is not known")]
    Kind(i32),
    /// Its name.
    #[error("channel {kind}: {source}")]
    Name {
        /// Which channel.
        kind: ChannelKind,
        /// What is wrong.
        source: TextError,
    },
    /// The time zone's name.
    #[error("channel {kind}: {zone:?} is not the name of a time zone like Europe/Berlin")]
    Zone {
        /// Which channel.
        kind: ChannelKind,
        /// The name, cut.
        zone: String,
    },
    /// No opening or too many.
    #[error("channel {kind}: 1 to {MAX_OPENINGS} openings are needed, this has {count}")]
    Openings {
        /// Which channel.
        kind: ChannelKind,
        /// How many.
        count: usize,
    },
    /// A local time is missing or too long.
    #[error("channel {kind}: opening {number} lacks the local times it was written in")]
    Local {
        /// Which channel.
        kind: ChannelKind,
        /// Which opening, from 1.
        number: usize,
    },
    /// Closes before it opens, or overlaps or precedes the one before.
    #[error("channel {kind}: opening {number} closes before it opens, or does not lie after the one before")]
    Order {
        /// Which channel.
        kind: ChannelKind,
        /// Which opening, from 1.
        number: usize,
    },
    /// Submissions end before the last closing.
    #[error("channel {kind}: submissions are taken until {until}, before the last closing at {closes}")]
    ReceiveUntil {
        /// Which channel.
        kind: ChannelKind,
        /// Last moment of taking.
        until: UnixSeconds,
        /// Last closing.
        closes: UnixSeconds,
    },
}

/// One span of opening hours. Both ends are inclusive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// As the commission wrote it.
    pub opens_local: String,
    /// As the commission wrote it.
    pub closes_local: String,
    /// First second.
    pub opens: UnixSeconds,
    /// Last second.
    pub closes: UnixSeconds,
}

impl Opening {
    /// From the wire, each after the one before.
    ///
    /// # Errors
    /// [`OpeningsError`].
    pub fn all_from_wire(wire: &[wire::Opening]) -> Result<Vec<Self>, OpeningsError> {
        let mut openings: Vec<Self> = Vec::with_capacity(wire.len());
        for (number, opening) in (1..).zip(wire) {
            let local = |text: &str| (1..=64).contains(&text.len()) && !text.chars().any(char::is_control);
            if !local(&opening.opens_local) || !local(&opening.closes_local) {
                return Err(OpeningsError::Local(number));
            }
            let after_earlier = openings
                .last()
                .is_none_or(|earlier| earlier.closes.get() < opening.opens_s);
            if opening.closes_s < opening.opens_s || !after_earlier {
                return Err(OpeningsError::Order(number));
            }
            openings.push(Self {
                opens_local: opening.opens_local.clone(),
                closes_local: opening.closes_local.clone(),
                opens: UnixSeconds(opening.opens_s),
                closes: UnixSeconds(opening.closes_s),
            });
        }
        Ok(openings)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Opening {
        wire::Opening {
            opens_local: self.opens_local.clone(),
            closes_local: self.closes_local.clone(),
            opens_s: self.opens.get(),
            closes_s: self.closes.get(),
        }
    }
}

/// What is wrong with openings, and with which, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpeningsError {
    /// A local time is missing or too long.
    Local(usize),
    /// It closes before it opens, or does not lie after the one before.
    Order(usize),
}

/// A channel with its calendar, checked: openings rise and do not overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    kind: ChannelKind,
    name: Texts,
    time_zone: String,
    openings: Vec<Opening>,
    receive_until: UnixSeconds,
}

/// What a moment means for a ballot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timing {
    /// Accept now.
    InTime,
    /// A little ahead: hold it unanswered until this moment, then look again.
    HoldUntil(UnixMillis),
}

/// Why a ballot is not in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// cast_at before the first or between two openings.
    #[error("cast at {cast_at}, but the {kind} channel opens at {opens}")]
    BeforeOpening {
        /// Channel.
        kind: ChannelKind,
        /// The ballot's time.
        cast_at: UnixSeconds,
        /// The next opening.
        opens: UnixSeconds,
    },
    /// cast_at after the last closing.
    #[error("cast at {cast_at}, but the {kind} channel closed at {closed}")]
    AfterClose {
        /// Channel.
        kind: ChannelKind,
        /// The ballot's time.
        cast_at: UnixSeconds,
        /// The last closing.
        closed: UnixSeconds,
    },
    /// Submitted too late, whatever its cast_at.
    #[error("submitted at {now}, but the {kind} channel takes submissions only until {until}")]
    TooLate {
        /// Channel.
        kind: ChannelKind,
        /// The party's clock.
        now: UnixSeconds,
        /// Last moment.
        until: UnixSeconds,
    },
    /// Too far from the party's clock.
    #[error(
        "cast at {cast_at}, too far from this party's clock, {now_ms}: at most {} s behind and {} s ahead",
        MAX_BEHIND_MS / 1000, MAX_HELD_MS / 1000
    )]
    OutOfRange {
        /// The ballot's time.
        cast_at: UnixSeconds,
        /// The party's clock.
        now_ms: UnixMillis,
    },
}

impl TimingError {
    /// The stable reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::BeforeOpening { .. } => Reason::BallotBeforeOpening,
            Self::AfterClose { .. } | Self::TooLate { .. } => Reason::BallotAfterClose,
            Self::OutOfRange { .. } => Reason::BallotCastAtOutOfRange,
        }
    }
}

impl Channel {
    /// From the wire.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn from_wire(wire: &wire::Channel) -> Result<Self, ChannelError> {
        let kind = ChannelKind::from_wire(wire.kind).ok_or(ChannelError::Kind(wire.kind))?;
        let name = Texts::from_wire(&wire.name).map_err(|source| ChannelError::Name { kind, source })?;
        let zone = &wire.time_zone;
        let zone_ok = (1..=64).contains(&zone.len())
            && zone
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
        if !zone_ok {
            return Err(ChannelError::Zone {
                kind,
                zone: zone.chars().take(80).collect(),
            });
        }
        let count = wire.openings.len();
        if !(1..=MAX_OPENINGS).contains(&count) {
            return Err(ChannelError::Openings { kind, count });
        }
        let openings = Opening::all_from_wire(&wire.openings).map_err(|error| match error {
            OpeningsError::Local(number) => ChannelError::Local { kind, number },
            OpeningsError::Order(number) => ChannelError::Order { kind, number },
        })?;
        let until = UnixSeconds(wire.receive_until_s);
        let closes = openings.last().map_or(until, |last| last.closes);
        if until < closes {
            return Err(ChannelError::ReceiveUntil { kind, until, closes });
        }
        Ok(Self {
            kind,
            name,
            time_zone: zone.clone(),
            openings,
            receive_until: until,
        })
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Channel {
        wire::Channel {
            kind: self.kind.to_wire().into(),
            name: self.name.to_wire(),
            time_zone: self.time_zone.clone(),
            openings: self.openings.iter().map(Opening::to_wire).collect(),
            receive_until_s: self.receive_until.get(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ChannelKind {
        self.kind
    }
    /// Its name.
    pub fn name(&self) -> &Texts {
        &self.name
    }
    /// IANA name of the time zone of the local texts.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }
    /// Openings in order, at least one.
    pub fn openings(&self) -> &[Opening] {
        &self.openings
    }
    /// The first second of the first opening.
    pub fn first_opens(&self) -> UnixSeconds {
        self.openings.first().map_or(self.receive_until, |o| o.opens)
    }
    /// The last second of the last opening.
    pub fn last_closes(&self) -> UnixSeconds {
        self.openings.last().map_or(self.receive_until, |o| o.closes)
    }
    /// The last second in which a party takes a submission.
    pub fn receive_until(&self) -> UnixSeconds {
        self.receive_until
    }

    /// Whether this channel was open in the same seconds before `moment` as `other`.
    pub fn same_before(&self, other: &Self, moment: UnixSeconds) -> bool {
        self.open_before(moment) == other.open_before(moment)
    }

    /// The seconds before `moment` in which it was open: first and last of each stretch.
    fn open_before(&self, moment: UnixSeconds) -> Vec<(u64, u64)> {
        let mut open: Vec<(u64, u64)> = Vec::new();
        for o in self.openings.iter().filter(|o| o.opens < moment) {
            let (first, last) = (o.opens.get(), o.closes.get().min(moment.get() - 1));
            match open.last_mut() {
                // Cut in two or not, it is open in the same seconds.
                Some((_, before)) if *before + 1 >= first => *before = last,
                _ => open.push((first, last)),
            }
        }
        open
    }

    /// Whether `cast_at` lies in opening hours.
    ///
    /// # Errors
    /// [`TimingError::BeforeOpening`] also between two openings, [`TimingError::AfterClose`].
    pub fn check_opening(&self, cast_at: UnixSeconds) -> Result<(), TimingError> {
        let kind = self.kind;
        match self.openings.iter().find(|o| cast_at <= o.closes) {
            Some(o) if o.opens <= cast_at => Ok(()),
            Some(o) => Err(TimingError::BeforeOpening {
                kind,
                cast_at,
                opens: o.opens,
            }),
            None => Err(TimingError::AfterClose {
                kind,
                cast_at,
                closed: self.last_closes(),
            }),
        }
    }

    /// Whether a ballot cast at `cast_at` is in time when a party's clock shows `now`. The same rule decides whether a receipt (`now` =
    /// received_at) is timely.
    ///
    /// cast_at lies in opening hours, submissions are still taken, and cast_at is at most 2 s ahead (up to 60 s: hold). Online
    /// ballots are at most 60 s old; stations may have queued theirs.
    ///
    /// # Errors
    /// [`TimingError`].
    pub fn check(&self, cast_at: UnixSeconds, now: UnixMillis) -> Result<Timing, TimingError> {
        self.check_opening(cast_at)?;
        if now.seconds() > self.receive_until {
            return Err(TimingError::TooLate {
                kind: self.kind,
                now: now.seconds(),
                until: self.receive_until,
            });
        }
        let cast_ms = cast_at.millis().get();
        let (ahead, behind) = (
            cast_ms.saturating_sub(now.get()),
            now.get().saturating_sub(cast_ms),
        );
        let too_old = self.kind == ChannelKind::Online && behind > MAX_BEHIND_MS;
        if ahead > MAX_HELD_MS || too_old {
            return Err(TimingError::OutOfRange { cast_at, now_ms: now });
        }
        if ahead > MAX_AHEAD_MS {
            return Ok(Timing::HoldUntil(UnixMillis(cast_ms - MAX_AHEAD_MS)));
        }
        Ok(Timing::InTime)
    }
}

/// cast_at from the parties' clocks: the median of three, to the second; of two the greater if they are within 2 s, else the third
/// clock (the coordinator's) decides as the median; always above `last`, this device's last cast_at. `None` when two clocks disagree and
/// no third is given, or when there are fewer than two.
pub fn cast_at(
    parties: &[UnixMillis],
    third: Option<UnixMillis>,
    last: Option<UnixSeconds>,
) -> Option<UnixSeconds> {
    let now = match *parties {
        [a, b, c] => median(a, b, c),
        [a, b] if a.max(b).get() - a.min(b).get() <= 2_000 => a.max(b),
        [a, b] => median(a, b, third?),
        _ => return None,
    };
    let now = now.seconds();
    Some(last.map_or(now, |last| now.max(UnixSeconds(last.get().saturating_add(1)))))
}

fn median(a: UnixMillis, b: UnixMillis, c: UnixMillis) -> UnixMillis {
    a.max(b).min(a.min(b).max(c))
}

#[cfg(test)]
mod tests;
