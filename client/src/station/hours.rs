//! Whether a vote that is dated so counts, by the rule that the parties seal by, asked before anything is noted.
//!
//! A row outside the hours is left out and strikes nothing. Whoever got a paper ballot for such a row would be counted twice: with the paper, and with the
//! vote that it was to strike.

use tally_proto::ballot::BallotError;
use tally_proto::calendar::ChannelKind;
use tally_proto::ids::UnixSeconds;

use super::{Station, StationError, StationVote};

/// By which hours a vote is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hours {
    /// The manifest's, with the orders that this station has seen.
    Known,
    /// The officer knows of an order that this station has not seen. What no order changes is asked all the same: the station's own hours, and
    /// whether the election has such a channel.
    ByWord,
}

impl StationVote {
    /// The channel of its row.
    pub fn channel(&self) -> ChannelKind {
        match self.choices {
            Some(_) => ChannelKind::Station,
            None => ChannelKind::Paper,
        }
    }
}

impl Station {
    /// Whether a vote of this channel that is dated `at` lies in the hours: the station's own, and those of its channel with the orders that this station has
    /// seen. The parties ask the same of the row, with all orders.
    ///
    /// # Errors
    /// [`StationError::Closed`] for what no order changes, [`StationError::OutsideHours`].
    pub fn check_hours(&self, kind: ChannelKind, at: UnixSeconds) -> Result<(), StationError> {
        let station = self.keys.id();
        let channel = self
            .bulletin
            .channel(kind)
            .ok_or(StationError::Closed(BallotError::UnknownChannel(kind)))?;
        match self.election.manifest().station(station) {
            Some(identity) if !identity.is_open(at) => {
                return Err(StationError::Closed(BallotError::StationClosed {
                    station,
                    cast_at: at,
                    opens: identity.opens_after(at),
                }));
            }
            _ => {}
        }
        channel
            .check_opening(at)
            .map_err(|why| StationError::OutsideHours { kind, why })
    }

    /// [`Station::check_hours`] of each vote, as far as `hours` asks for it.
    pub(super) fn check_all(
        &self,
        votes: &[StationVote],
        at: UnixSeconds,
        hours: Hours,
    ) -> Result<(), StationError> {
        votes
            .iter()
            .try_for_each(|vote| match self.check_hours(vote.channel(), at) {
                Err(StationError::OutsideHours { .. }) if hours == Hours::ByWord => Ok(()),
                checked => checked,
            })
    }

    /// The time by this machine's clock, corrected as last measured. Nobody is asked.
    pub fn clock(&self) -> UnixSeconds {
        let local_ms = (self.local_clock)();
        UnixSeconds(local_ms.saturating_add_signed(self.offset_ms.unwrap_or(0)) / 1000)
    }
}
