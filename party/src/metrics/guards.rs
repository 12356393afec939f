//! What the listeners' guards turned away, and whether that is worth an alarm.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tally_proto::guard::{Guard, Turned};
use tally_proto::ids::UnixMillis;

/// What tells of a flood. Connections that idle and messages that stall are everyday things.
const TELLING: [Turned; 7] = [
    Turned::Connections,
    Turned::Address,
    Turned::Requests,
    Turned::GivenUp,
    Turned::GaveWay,
    Turned::Caller,
    Turned::NotAccepted,
];
/// So many turned away are a flood.
const FLOOD: u64 = 10;
/// A flood is over when nothing was turned away for so long.
const OVER_MS: u64 = 60_000;

/// The guards of both listeners.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    standing: OnceLock<[Arc<Guard>; 2]>,
    flood: Mutex<Flood>,
}

/// What was seen of a flood.
#[derive(Debug, Default)]
struct Flood {
    /// Counts before it began.
    before: [u64; TELLING.len()],
    /// Counts at the last look.
    seen: [u64; TELLING.len()],
    /// When they last grew.
    grew: UnixMillis,
}

impl Guards {
    /// These guard the listeners.
    pub(crate) fn stand(&self, public: &Arc<Guard>, peer: &Arc<Guard>) {
        // A second server on one party does not exist.
        let _ = self.standing.set([Arc::clone(public), Arc::clone(peer)]);
    }

    /// Connections that count on the public listener.
    pub(crate) fn public_open(&self) -> usize {
        self.standing.get().map_or(0, |[public, _]| public.open())
    }

    /// How often each listener turned something away for this.
    pub(super) fn turned(&self, why: Turned) -> [(&'static str, u64); 2] {
        let count = |at: usize| self.standing.get().map_or(0, |guards| guards[at].turned(why));
        [("public", count(0)), ("peer", count(1))]
    }

    /// What is turned away these days, while it is.
    pub(crate) fn flooded(&self, now: UnixMillis) -> Option<String> {
        let counts = TELLING.map(|why| self.turned(why).iter().map(|(_, count)| count).sum());
        let told = self
            .flood
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look(counts, now)?;
        let [_, peer] = self.standing.get()?;
        let callers: Vec<String> = peer
            .callers_turned()
            .iter()
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        if callers.is_empty() {
            return Some(told);
        }
        Some(format!(
            "{told}; with too many connections since the start: {}",
            callers.join(", ")
        ))
    }
}

impl Flood {
    fn look(&mut self, counts: [u64; TELLING.len()], now: UnixMillis) -> Option<String> {
        if counts != self.seen {
            self.seen = counts;
            self.grew = now;
        } else if now.get() >= self.grew.get().saturating_add(OVER_MS) {
            self.before = counts;
        }
        let turned: [u64; TELLING.len()] = std::array::from_fn(|i| counts[i].saturating_sub(self.before[i]));
        if turned.iter().sum::<u64>() < FLOOD {
            return None;
        }
        let told = TELLING
            .iter()
            .zip(turned)
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| format!("{count} by {}", bound(*why)));
        Some(format!("turned away: {}", told.collect::<Vec<_>>().join(", ")))
    }
}

/// The option that turned it away, or what else.
fn bound(why: Turned) -> &'static str {
    match why {
        Turned::Connections => "public.max_connections",
        Turned::Address => "public.max_connections_per_address",
        Turned::Requests => "public.max_requests",
        Turned::Message => "public.message_s",
        Turned::Idle => "public.idle_s",
        Turned::GivenUp => "public.max_given_up",
        Turned::GaveWay => "giving way to callers with fewer",
        Turned::Caller => "the connections of one certificate",
        Turned::NotAccepted => "the process's open files",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_from_its_tenth_refusal_until_a_minute_after_its_last() {
        let mut flood = Flood::default();
        let mut look = |counts, now_s: u64| flood.look(counts, UnixMillis(now_s * 1000));
        assert_eq!(look([0, 0, 0, 0, 0, 0, 0], 100), None);
        assert_eq!(look([0, 9, 0, 0, 0, 0, 0], 130), None);
        let told = "turned away: 30 by public.max_connections_per_address, 2 by public.max_requests";
        assert_eq!(look([0, 30, 2, 0, 0, 0, 0], 160).as_deref(), Some(told));
        assert_eq!(look([0, 30, 2, 0, 0, 0, 0], 219).as_deref(), Some(told));
        assert_eq!(look([0, 30, 2, 0, 0, 0, 0], 220), None);
        // What was told before does not count again.
        assert_eq!(look([0, 31, 2, 0, 0, 0, 0], 250), None);
        assert_eq!(
            look([0, 31, 2, 10, 0, 0, 0], 280).as_deref(),
            Some("turned away: 1 by public.max_connections_per_address, 10 by public.max_given_up")
        );
    }
}
