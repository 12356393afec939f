//! What was accepted lately, and where: receipts of others come within moments of it, and need no look into the store then.

use std::collections::HashMap;

use tally_proto::calendar::{ChannelKind, MAX_AHEAD_MS, MAX_BEHIND_MS};
use tally_proto::ids::{Digest, UnixSeconds};

/// Ballots of a generation; two generations are kept, 4 MiB or so.
const GENERATION: usize = 16_384;

/// Number of the election, box, digest.
type Key = (u32, u32, Digest);

/// What decides about another party's receipt for a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Position in this party's log.
    pub(super) position: u64,
    /// Of a ballot: when it was cast and how.
    pub(super) cast: Option<(UnixSeconds, ChannelKind)>,
}

impl Place {
    /// Whether an acceptance at that moment is one in time by the rule of all parties: at most 2 s before the ballot's own time and, online, at most
    /// 60 s after it. Opening hours, which orders can change, are looked at when the box is sealed.
    pub(super) fn is_timely(&self, received_at: UnixSeconds) -> bool {
        let Some((cast_at, channel)) = self.cast else {
            return true;
        };
        let (cast_at, received_at) = (cast_at.millis().get(), received_at.millis().get());
        let early = cast_at.saturating_sub(received_at) > MAX_AHEAD_MS;
        let late = received_at.saturating_sub(cast_at) > MAX_BEHIND_MS;
        !early && (!late || channel.at_station())
    }
}

/// The latest ballots and records.
#[derive(Debug, Default)]
pub(super) struct Recent {
    young: HashMap<Key, Place>,
    old: HashMap<Key, Place>,
}

impl Recent {
    pub(super) fn get(&self, key: &Key) -> Option<Place> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    pub(super) fn note(&mut self, key: Key, place: Place) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_time_is_from_two_seconds_before_to_a_minute_after_and_at_a_station_for_ever() {
        let place = |cast| Place { position: 1, cast };
        let at = |channel| place(Some((UnixSeconds(1000), channel)));
        let [online, station] = [ChannelKind::Online, ChannelKind::Station].map(at);
        for (at, timely) in [(997, false), (998, true), (1_060, true), (1_061, false)] {
            assert_eq!(online.is_timely(UnixSeconds(at)), timely, "{at}");
        }
        assert!(station.is_timely(UnixSeconds(9_000)) && !station.is_timely(UnixSeconds(997)));
        assert!(place(None).is_timely(UnixSeconds(0)));
    }

    #[test]
    fn remembers_the_latest_and_not_without_end() {
        let mut recent = Recent::default();
        let key = |n: u64| {
            (
                1,
                2,
                Digest::from_slice(&[n.to_be_bytes(); 4].concat()).expect("32"),
            )
        };
        for position in 0..3 * GENERATION as u64 {
            let place = Place { position, cast: None };
            recent.note(key(position), place);
            assert_eq!(recent.get(&key(position)), Some(place));
        }
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
        assert_eq!(recent.get(&key(0)), None);
    }
}
