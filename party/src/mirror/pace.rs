//! How fast a peer gives what this party lost. Whoever gives slowly is not asked while somebody else has the same, in whichever election: else one
//! liar would drag every log out, an entry at a time.
//!
//! Judged is all that it gave in windows of a little more than a second of being waited for, however it was parcelled. A question that was answered
//! whole has [`WHOLE`] free, so that a distant or busy peer with little to give is not slow; any other counts for [`PAGE`] at least, as each page costs a
//! transaction here.

use std::time::{Duration, Instant};

use tally_proto::ids::Role;

use super::Following;

/// Entries a second that a peer must come to.
const ENTRIES_A_SECOND: f64 = 100.0;
/// Time of waiting after which it is judged.
const WINDOW: Duration = Duration::from_secs(1);
/// What an answer that ends early counts for at least.
const PAGE: Duration = Duration::from_millis(50);
/// What an answer that is whole has free: a round trip to a distant peer, and its turn at a busy one. Where there are a thousand small elections, one entry is
/// all that there is to give of each; a liar gains this for each election, and no more.
const WHOLE: Duration = Duration::from_millis(300);
/// How long it counts as slow after it was.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What one peer gave since it was last judged.
#[derive(Debug, Default)]
pub(super) struct Pace {
    entries: f64,
    took: Duration,
    slow_at: Option<Instant>,
}

impl Pace {
    fn note(&mut self, entries: usize, took: Duration, now: Instant) {
        if took.is_zero() {
            // What came within a round trip says nothing of its pace, and buys no time for what comes later.
            return;
        }
        self.entries += entries as f64;
        self.took += took;
        if self.took > WINDOW {
            let is_slow = self.entries < ENTRIES_A_SECOND * self.took.as_secs_f64();
            *self = Self {
                slow_at: is_slow.then_some(now),
                ..Self::default()
            };
        }
    }

    fn is_slow(&self, now: Instant) -> bool {
        self.slow_at
            .is_some_and(|at| now.saturating_duration_since(at) < FORGOTTEN)
    }
}

impl Following {
    /// `peer` gave so many entries of those that were asked of it, and was waited for that long. `whole`: all of them.
    pub(super) fn gave(&self, peer: Role, entries: usize, took: Duration, whole: bool) {
        let took = if whole {
            took.saturating_sub(WHOLE)
        } else {
            took.max(PAGE)
        };
        self.heard(peer, |heard| heard.pace.note(entries, took, Instant::now()));
    }

    /// Whether `peer` gives slowly.
    pub(super) fn is_slow(&self, peer: Role) -> bool {
        self.heard(peer, |heard| heard.pace.is_slow(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn however_a_trickle_is_parcelled_it_is_slow_within_some_seconds() {
        let now = Instant::now();
        for (entries, took) in [(1, 950), (1, 300), (90, 1000), (9, 100), (0, 5000), (400, 4900)] {
            let mut pace = Pace::default();
            // What it gave fast before buys no time.
            for _ in 0..1000 {
                pace.note(4096, ms(10), now);
            }
            let mut waited = Duration::ZERO;
            while !pace.is_slow(now) {
                pace.note(entries, ms(took), now);
                waited += ms(took);
                assert!(waited < ms(11_000), "{entries} in {took} ms");
            }
            assert!(!pace.is_slow(now + FORGOTTEN));
        }
    }

    #[test]
    fn whoever_gives_what_it_has_is_not_slow_and_whoever_was_slow_may_mend() {
        let now = Instant::now();
        let mut pace = Pace::default();
        for (entries, took) in [(256, 900), (4096, 3000), (11, 100), (1, 0)] {
            for _ in 0..100 {
                pace.note(entries, ms(took), now);
                assert!(!pace.is_slow(now), "{entries} in {took} ms");
            }
        }
        pace.note(1, ms(4000), now);
        assert!(pace.is_slow(now));
        pace.note(4096, ms(1100), now);
        assert!(!pace.is_slow(now));
    }

    #[test]
    fn a_distant_peer_that_answers_little_questions_whole_is_not_slow_and_a_fast_one_that_answers_by_halves_is()
     {
        let following = Following::new(0);
        for _ in 0..1000 {
            following.gave(Role::P1, 1, ms(300), true);
        }
        assert!(!following.is_slow(Role::P1));
        // Pages that end early: of a few entries, however fast, and such as honest parties keep.
        for (peer, entries) in [(Role::P1, 4), (Role::P2, 128)] {
            for _ in 0..40 {
                following.gave(peer, entries, ms(1), false);
            }
        }
        assert!(following.is_slow(Role::P1));
        assert!(!following.is_slow(Role::P2));
    }
}
