//! Alarms: what a person must see to, with a stable code, since when, and what to do. Each has its page in `deploy/runbook.md`.
//!
//! An alarm stands from [`Alarms::set`] with a text until [`Alarms::set`] without one. What it says names parties, elections and boxes, never
//! a voter, a digest or an address.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tally_proto::ids::UnixMillis;
use tally_proto::wire;

/// Most alarms of one code that stand one by one; a thousand troubled boxes need one look, not a thousand lines. Of more the number is told, as one
/// alarm about nothing in particular, so that no code displaces another.
const MOST: usize = 12;

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
    NotHeld, "keys.not-held", "The server runs, but no key holder keeps its key: after a crash it would be locked.",
        "Start `party hold-keys` again and have the key officials unlock it; voting goes on meanwhile.";
    ListEnds, "card.list-ends", "A revocation list of an authority whose cards enrol voters ends soon, has ended, or is missing.",
        "Fetch the authority's newest list into revocation_lists; without a good one nobody enrols.";
    ListsUntold, "card.lists-untold", "The log has named as many changes of the revocation lists as it may, and names no more.",
        "Find out what writes into revocation_lists so often, keep the lists by date, and tell the commission; voters enrol meanwhile.";
    LogRewritten, "log.rewritten", "A party's public log no longer extends what it showed before.",
        "Keep everything as it is, save both checkpoints and call the commission.";
    LogFlooded, "log.flooded", "Another party's log holds more than an honest one's can, and is followed no further.",
        "Call its operator and the commission; voting goes on, and sealing asks for what it needs.";
    Behind, "party.behind", "A party's accepted ballots are behind the others'.",
        "Leave it running: it catches up by itself; look into its disk and network if the gap grows.";
    NotTakenOver, "election.not-taken-over", "An election is in force at another party that this one cannot take over.",
        "Read why in its detail; where the identity files here are not those of that election, compare them by phone.";
    OtherKey, "election.other-key", "An open election's ballots are sealed to another HPKE key than this party has.",
        "Is a recovery kit or key file with that key left? Restore it; else tell the commission: this election needs both other parties at every moment.";
    NotFollowed, "party.not-followed", "Another party answers, and its logs, or that of an election, cannot be followed.",
        "Call its operator: is it the same version, and whose certificate does it show? Voting goes on.";
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
}

/// What is told of alarms of one code beyond the first dozen.
pub const OTHERS: &str = "others";

/// Most alarms of one code that are known beside those that are shown.
const MOST_OTHERS: usize = 100_000;

/// The alarms of one code, by what they are about.
#[derive(Debug, Default)]
struct OfCode {
    /// At most [`MOST`].
    shown: BTreeMap<String, Standing>,
    /// Those that found no place among them.
    others: BTreeMap<String, Standing>,
}

impl OfCode {
    fn raise(&mut self, alarm: Alarm, about: &str, detail: String, now: UnixMillis) -> Option<Change> {
        if let Some(known) = self.shown.get_mut(about) {
            known.detail = detail;
            return None;
        }
        let new = Standing {
            alarm,
            about: about.to_owned(),
            detail,
            since: self.others.get(about).map_or(now, |known| known.since),
        };
        if self.shown.len() < MOST {
            self.others.remove(about);
            self.shown.insert(about.to_owned(), new);
            return Some(Change::Raised);
        }
        if self.others.len() < MOST_OTHERS || self.others.contains_key(about) {
            self.others.insert(about.to_owned(), new);
        }
        None
    }

    fn clear(&mut self, about: &str) -> Option<Change> {
        self.others.remove(about);
        self.shown.remove(about).map(|_| Change::Cleared)
    }

    /// The others as one.
    fn counted(&self) -> Option<Standing> {
        let (first, of) = self.others.first_key_value()?;
        let since = self.others.values().map(|of| of.since).min();
        Some(Standing {
            alarm: of.alarm,
            about: OTHERS.to_owned(),
            detail: format!("{} more of these stand, {first} among them", self.others.len()),
            since: since.unwrap_or(of.since),
        })
    }
}

/// The alarms of one party.
#[derive(Debug, Default)]
pub struct Alarms(Mutex<BTreeMap<Alarm, OfCode>>);

impl Alarms {
    /// The alarm about this stands from now with `detail`, or no longer without. Returns what changed of what is shown: of this one, or of the
    /// [`OTHERS`] of its code, or of both.
    pub fn set<'a>(
        &self,
        alarm: Alarm,
        about: &'a str,
        detail: Option<String>,
        now: UnixMillis,
    ) -> Vec<(&'a str, Change)> {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = standing.entry(alarm).or_default();
        let were_others = !of.others.is_empty();
        let change = match detail {
            Some(detail) => of.raise(alarm, about, detail, now),
            None => of.clear(about),
        };
        let others = match (were_others, !of.others.is_empty()) {
            (false, true) => Some(Change::Raised),
            (true, false) => Some(Change::Cleared),
            _ => None,
        };
        let changes = [(about, change), (OTHERS, others)].into_iter();
        changes
            .filter_map(|(about, change)| Some((about, change?)))
            .collect()
    }

    /// Those that stand, by code.
    pub fn standing(&self) -> Vec<Standing> {
        let standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        standing
            .values()
            .flat_map(|of| of.shown.values().cloned().chain(of.counted()))
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
        assert_eq!(set(None, 1), []);
        assert_eq!(set(Some("silent"), 2), [("P2", Change::Raised)]);
        assert_eq!(set(Some("still silent"), 3), []);
        let standing = alarms.standing();
        assert_eq!(standing.len(), 1);
        assert_eq!(
            (standing[0].detail.as_str(), standing[0].since),
            ("still silent", UnixMillis(2))
        );
        assert_eq!(standing[0].to_wire().code, "party.lost");
        assert_eq!(set(None, 4), [("P2", Change::Cleared)]);
        assert_eq!(alarms.standing(), []);
    }

    #[test]
    fn alarms_of_one_code_are_bounded_in_number_and_hide_no_other_code() {
        let alarms = Alarms::default();
        let set = |alarm, about: &str, detail: Option<&str>, now| {
            let changes = alarms.set(alarm, about, detail.map(str::to_owned), UnixMillis(now));
            let changes = changes.into_iter();
            changes
                .map(|(about, change)| (about.to_owned(), change))
                .collect::<Vec<_>>()
        };
        let told = |about: &str, change| [(about.to_owned(), change)];
        let boxes: Vec<String> = (0..300).map(|i| format!("box {i:03}")).collect();
        for (i, about) in (0..).zip(&boxes) {
            let changes = set(Alarm::SealPending, about, Some("closed"), i);
            match i {
                0..12 => assert_eq!(changes, told(about, Change::Raised)),
                12 => assert_eq!(changes, told(OTHERS, Change::Raised)),
                _ => assert_eq!(changes, []),
            }
        }
        for alarm in [Alarm::StoreFailed, Alarm::ClockWrong] {
            assert_eq!(set(alarm, "", Some("it did"), 400), told("", Change::Raised));
        }
        let changes = set(Alarm::LogRewritten, "ward-7, P2", Some("two roots"), 400);
        assert_eq!(changes, told("ward-7, P2", Change::Raised));
        let count = |alarm| {
            let all = alarms.standing();
            all.iter().filter(|standing| standing.alarm == alarm).count()
        };
        for alarm in [Alarm::StoreFailed, Alarm::ClockWrong, Alarm::LogRewritten] {
            assert_eq!(count(alarm), 1, "{alarm:?}");
        }
        assert_eq!(count(Alarm::SealPending), MOST + 1);
        let others = || {
            let all = alarms.standing();
            all.into_iter().find(|standing| standing.about == OTHERS)
        };
        let counted = others().expect("288 more");
        assert_eq!(counted.detail, "288 more of these stand, box 012 among them");
        assert_eq!(counted.since, UnixMillis(12));

        // One that is over makes room for another, which stands since it was first seen.
        assert_eq!(
            set(Alarm::SealPending, "box 000", None, 500),
            told("box 000", Change::Cleared)
        );
        assert_eq!(
            set(Alarm::SealPending, "box 299", Some("closed"), 500),
            told("box 299", Change::Raised)
        );
        let shown = alarms.standing().into_iter().find(|of| of.about == "box 299");
        assert_eq!(shown.expect("shown").since, UnixMillis(299));
        assert_eq!(
            others().expect("287 more").detail,
            "287 more of these stand, box 012 among them"
        );
        let cleared: Vec<_> = (boxes.iter())
            .flat_map(|about| set(Alarm::SealPending, about, None, 600))
            .map(|(about, change)| {
                assert_eq!(change, Change::Cleared);
                about
            })
            .collect();
        assert_eq!(cleared.len(), MOST + 1);
        assert!(cleared.contains(&OTHERS.to_owned()));
        assert_eq!(count(Alarm::SealPending), 0);
        assert_eq!(alarms.standing().len(), 3);
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
