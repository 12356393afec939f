//! Alarms: what a person must see to, with a stable code, since when, and what to do. Each has its page in `deploy/runbook.md`.
//!
//! An alarm stands from [`Alarms::set`] with a text until [`Alarms::set`] without one. What it says names parties, elections and boxes, never
//! a voter, a digest or an address.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tally_proto::ids::UnixMillis;
use tally_proto::wire;

/// Most alarms that stand one by one; a thousand troubled boxes need one look, not a thousand lines.
const MOST: usize = 200;

macro_rules! alarms {
    ($($name:ident, $code:literal, $doc:literal, $advice:literal;)*) => {
        /// What can be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Alarm {
            $(#[doc = $doc] $name,)*
        }

        impl Alarm {
            /// All of them.
            pub const ALL: &[Alarm] = &[$(Alarm::$name),*];

            /// The stable code, a heading of the runbook.
            pub const fn code(self) -> &'static str {
                match self { $(Alarm::$name => $code),* }
            }

            /// What to do first, in a sentence.
            pub const fn advice(self) -> &'static str {
                match self { $(Alarm::$name => $advice),* }
            }
        }
    };
}

alarms! {
    PartyLost, "party.lost", "Another party has not answered for a while.",
        "Call its operator; voting goes on with two parties, sealing waits for all three.";
    ClockWrong, "clock.wrong", "This party's clock is away from both others'.",
        "Set this machine's clock by a trusted source; nothing is accepted until it is right.";
    DiskLow, "disk.low", "Little room is left for the store or the session logs.",
        "Make room or give the volume more; never delete anything in data_dir.";
    CertificateExpires, "certificate.expires", "This party's TLS certificate ends soon, or has ended.",
        "Run `party renew-certificates` with the key of this party's authority and start the server again.";
    CertificateReplaced, "certificate.replaced", "An older certificate of a role was shown after a newer one had replaced it.",
        "Find out who shows it: a program with old files is started again; a copy of a key that was taken is worth nothing now, but something was taken.";
    Locked, "party.locked", "The server runs without its keys: too few officials have unlocked it.",
        "Call this agency's key officials to unlock it.";
    LogRewritten, "log.rewritten", "A party's public log no longer extends what it showed before.",
        "Keep everything as it is, save both checkpoints and call the commission.";
    LogFlooded, "log.flooded", "Another party's log holds more than an honest one's can, and is followed no further.",
        "Call its operator and the commission; voting goes on, and sealing asks for what it needs.";
    Behind, "party.behind", "A party's accepted ballots are behind the others'.",
        "Leave it running: it catches up by itself; look into its disk and network if the gap grows.";
    NotTakenOver, "election.not-taken-over", "An election is in force at another party that this one cannot take over.",
        "Read why in its detail; where the identity files here are not those of that election, compare them by phone.";
    BoxFilling, "box.filling", "A box holds half, or nine tenths, of what it can take.",
        "See whether voters fill it or somebody floods it; when it is full it takes no more for good (box.full).";
    TallyAborted, "tally.aborted", "The last tally session of a box aborted.",
        "Read who is suspected and why before another session is started.";
    SealPending, "seal.pending", "A box closed a while ago and is not sealed.",
        "Ask the commission to run `coordinator seal`; it goes on where it stopped.";
    SessionsSpent, "sessions.spent", "No tally session of a box may begin without a person.",
        "Find out why the sessions aborted, then `party allow-sessions`.";
    Flooded, "connections.refused", "Connections or requests are turned away, as a bound of the listeners is reached.",
        "See which bound, and have the network in front of this party stop the flood; voters are served meanwhile.";
    TaskFailed, "task.failed", "A background task of this server ended by a fault of this program.",
        "It was started again by itself: keep the log, tell the authors, and start the server again when nothing is under way.";
    StoreFailed, "store.failed", "Writing to the store failed: nothing is acknowledged any more.",
        "Look at the disk and start the server again; what was acknowledged is there.";
}

/// An alarm that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub alarm: Alarm,
    /// What it is about: a party, an election and box; empty for this party itself.
    pub about: String,
    /// What was seen.
    pub detail: String,
    /// Since when.
    pub since: UnixMillis,
}

impl Standing {
    /// As status shows it.
    pub fn to_wire(&self) -> wire::Alarm {
        wire::Alarm {
            code: self.alarm.code().to_owned(),
            about: self.about.clone(),
            detail: self.detail.clone(),
            advice: self.alarm.advice().to_owned(),
            since_ms: self.since.get(),
        }
    }
}

/// What changed when an alarm was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not standing and is now.
    Raised,
    /// It was standing and is no longer.
    Cleared,
    /// Neither.
    None,
}

/// The alarms of one party.
#[derive(Debug, Default)]
pub struct Alarms(Mutex<BTreeMap<(Alarm, String), Standing>>);

impl Alarms {
    /// The alarm about this stands from now with `detail`, or no longer without.
    pub fn set(&self, alarm: Alarm, about: &str, detail: Option<String>, now: UnixMillis) -> Change {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (alarm, about.to_owned());
        let Some(detail) = detail else {
            return if standing.remove(&key).is_some() {
                Change::Cleared
            } else {
                Change::None
            };
        };
        if let Some(known) = standing.get_mut(&key) {
            known.detail = detail;
            return Change::None;
        }
        if standing.len() >= MOST {
            return Change::None;
        }
        let new = Standing {
            alarm,
            about: about.to_owned(),
            detail,
            since: now,
        };
        standing.insert(key, new);
        Change::Raised
    }

    /// Those that stand, by code.
    pub fn standing(&self) -> Vec<Standing> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_stands_since_it_was_first_seen_until_it_is_cleared() {
        let alarms = Alarms::default();
        let set = |detail: Option<&str>, now| {
            alarms.set(Alarm::PartyLost, "P2", detail.map(str::to_owned), UnixMillis(now))
        };
        assert_eq!(set(None, 1), Change::None);
        assert_eq!(set(Some("silent"), 2), Change::Raised);
        assert_eq!(set(Some("still silent"), 3), Change::None);
        let standing = alarms.standing();
        assert_eq!(standing.len(), 1);
        assert_eq!(
            (standing[0].detail.as_str(), standing[0].since),
            ("still silent", UnixMillis(2))
        );
        assert_eq!(standing[0].to_wire().code, "party.lost");
        assert_eq!(set(None, 4), Change::Cleared);
        assert_eq!(alarms.standing(), []);
    }

    #[test]
    fn alarms_are_bounded_in_number() {
        let alarms = Alarms::default();
        for i in 0..2 * MOST {
            alarms.set(
                Alarm::SealPending,
                &i.to_string(),
                Some(String::new()),
                UnixMillis(1),
            );
        }
        assert_eq!(alarms.standing().len(), MOST);
    }

    #[test]
    fn every_alarm_has_its_page_in_the_runbook_and_no_page_has_no_alarm() {
        let page = include_str!("../../deploy/runbook.md");
        let mut headings: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## `")?.split_once('`'))
            .map(|(code, _)| code)
            .collect();
        headings.sort_unstable();
        let mut codes: Vec<&str> = Alarm::ALL.iter().map(|alarm| alarm.code()).collect();
        codes.sort_unstable();
        assert_eq!(headings, codes);
        for alarm in Alarm::ALL {
            let heading = format!("## `{}`", alarm.code());
            let text = page.split(&heading).nth(1).expect("its page");
            let text = text.split("\n## ").next().unwrap_or_default();
            for part in [
                "**What it means.**",
                "**How to see it.**",
                "**What to do.**",
                "**What not to do.**",
            ] {
                assert!(text.contains(part), "{}: {part} is missing", alarm.code());
            }
            assert!(alarm.advice().ends_with('.'), "{}", alarm.code());
        }
    }
}
