//! What this party last saw of each other party: when it answered, its clock, how far its log is ahead. Written by whoever asks it, read by status
//! and metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use tally_proto::ids::{Role, RoleExt as _, UnixMillis};
use tally_proto::wire;

/// No clock was compared yet.
const UNKNOWN: i64 = i64::MIN;

/// The two others, as last seen.
#[derive(Debug)]
pub struct Sight {
    own: Role,
    since: UnixMillis,
    of: [Seen; 3],
}

#[derive(Debug)]
struct Seen {
    answered_ms: AtomicU64,
    ahead_ms: AtomicI64,
    behind: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Default for Seen {
    fn default() -> Self {
        Seen {
            answered_ms: AtomicU64::new(0),
            ahead_ms: AtomicI64::new(UNKNOWN),
            behind: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }
}

impl Sight {
    /// Of party `own`, which starts at `now` and has seen nobody.
    pub fn new(own: Role, now: UnixMillis) -> Self {
        Sight {
            own,
            since: now,
            of: Default::default(),
        }
    }

    /// `role` answered at `now`; its clock is ahead by so many milliseconds.
    pub fn answered(&self, role: Role, now: UnixMillis, ahead_ms: i64) {
        let seen = &self.of[role.slot()];
        seen.answered_ms.store(now.get(), Relaxed);
        seen.ahead_ms.store(ahead_ms.max(UNKNOWN + 1), Relaxed);
        *seen.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `role` was asked and did not answer, for this reason.
    pub fn silent(&self, role: Role, why: String) {
        let mut trouble = self.of[role.slot()]
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *trouble = Some(why);
    }

    /// Why `role` did not answer when it was last asked; `None` if it did.
    pub fn trouble(&self, role: Role) -> Option<String> {
        let trouble = self.of[role.slot()]
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    /// This party is so many entries behind what `role` accepted.
    pub fn behind(&self, role: Role, entries: u64) {
        self.of[role.slot()].behind.store(entries, Relaxed);
    }

    /// The two others.
    pub fn others(&self) -> [Role; 2] {
        [self.own.next(), self.own.prev()]
    }

    /// When `role` answered last; when this party started, if it never did.
    pub fn last_answer(&self, role: Role) -> UnixMillis {
        match self.of[role.slot()].answered_ms.load(Relaxed) {
            0 => self.since,
            at => UnixMillis(at),
        }
    }

    /// How far the clock of `role` is ahead of this one, milliseconds; `None` before it answered.
    pub fn clock_ahead_ms(&self, role: Role) -> Option<i64> {
        Some(self.of[role.slot()].ahead_ms.load(Relaxed)).filter(|ahead| *ahead != UNKNOWN)
    }

    /// Entries that this party is behind `role`.
    pub fn entries_behind(&self, role: Role) -> u64 {
        self.of[role.slot()].behind.load(Relaxed)
    }

    /// As status shows it.
    pub fn to_wire(&self) -> Vec<wire::PeerSight> {
        self.others()
            .map(|role| wire::PeerSight {
                party: u32::from(role.index()),
                answered_ms: self.of[role.slot()].answered_ms.load(Relaxed),
                clock_ahead_ms: self.clock_ahead_ms(role),
                entries_behind: self.entries_behind(role),
                trouble: self.trouble(role).unwrap_or_default(),
            })
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_told_of_each_other_party() {
        let sight = Sight::new(Role::P2, UnixMillis(500));
        assert_eq!(sight.last_answer(Role::P3), UnixMillis(500));
        assert_eq!(sight.clock_ahead_ms(Role::P3), None);
        sight.silent(Role::P3, "nothing listens".to_owned());
        assert_eq!(sight.trouble(Role::P3).as_deref(), Some("nothing listens"));
        sight.answered(Role::P3, UnixMillis(900), -7);
        assert_eq!(sight.trouble(Role::P3), None);
        sight.behind(Role::P1, 12);
        let told = sight.to_wire();
        assert_eq!(told.iter().map(|peer| peer.party).collect::<Vec<_>>(), [3, 1]);
        assert_eq!((told[0].answered_ms, told[0].clock_ahead_ms), (900, Some(-7)));
        assert_eq!(
            (
                told[1].answered_ms,
                told[1].clock_ahead_ms,
                told[1].entries_behind
            ),
            (0, None, 12)
        );
    }
}
