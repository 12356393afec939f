//! Whether another party lets its logs be followed. Whoever answers, and yet names no log of an election, or gives nothing of it, hides it from both
//! others: nobody would notice when it is rewritten. So each log has to be followed on and on:
//!
//! ```text
//! mirrored  >=  min(max(named, receipted), mirrored before + STEP)        within the time that a party may be silent, and one look at its clock more
//! ```
//!
//! receipted: one more than the highest position in receipts of that party that voters brought here. So it cannot name an old size for ever either.
//! Whatever the refusal is called: busy is what a liar calls itself, too.

use std::sync::Arc;

use tally_proto::ids::{Role, UnixMillis};
use tally_proto::refusal::Refusal;

use crate::elections::Election;
use crate::party::Party;
use crate::store::receipts;

/// Entries of a longer way to what was named that are enough for once: some hundred a second, as from a party that gives this one's own log back.
const STEP: u64 = 10_000;
/// The others' clocks are asked that often: whoever is away is told to be lost before anything is said of its logs.
const CLOCKS_MS: u64 = 10_000;

/// How far a log is to be followed next.
#[derive(Debug)]
pub(super) struct Lag {
    election: String,
    /// How long it is at least, as its owner's receipts say.
    receipted: u64,
    /// Entries that are to be mirrored.
    due: u64,
    /// Since when.
    since_ms: u64,
    /// What was in the way when it was last tried.
    why: String,
}

impl Lag {
    fn of(election: &str, now_ms: u64) -> Self {
        Self {
            election: election.to_owned(),
            receipted: 0,
            due: 0,
            since_ms: now_ms,
            why: String::new(),
        }
    }

    /// `mirrored` entries are here of those that its owner names now.
    fn reached(&mut self, mirrored: u64, named: u64, now_ms: u64) {
        if self.due <= mirrored && mirrored <= named {
            self.due = named.max(self.receipted).min(mirrored.saturating_add(STEP));
            self.since_ms = now_ms;
        }
        let receipted = self.receipted;
        self.why = format!(
            "it names {named} entries, its receipts that voters brought here {receipted}, and {mirrored} could be mirrored"
        );
    }
}

impl Party {
    /// Every election in force has a log at `peer`, as long as its receipts say.
    ///
    /// # Errors
    /// The store.
    pub(super) async fn expect_logs(self: &Arc<Self>, peer: Role) -> Result<(), Refusal> {
        let elections = self.elections_in_force();
        let receipted = self.blocking(move |party| {
            let top = |election: Arc<Election>| {
                let top = party
                    .store
                    .read(|tx| receipts::top(tx, election.number(), peer.index()))?;
                Ok((election, top))
            };
            elections
                .into_iter()
                .map(top)
                .collect::<Result<Vec<_>, Refusal>>()
        });
        let (receipted, now) = (receipted.await?, self.now().get());
        self.following.heard(peer, |heard| {
            for (election, top) in receipted {
                let id = election.manifest().election().as_str();
                let lag = heard.lags.entry(election.number());
                let lag = lag.or_insert_with(|| Lag::of(id, now));
                lag.receipted = top;
                "it names no such log".clone_into(&mut lag.why);
            }
        });
        Ok(())
    }

    /// The log of that election was followed up to `mirrored` entries of those that `peer` names; `None`: no further, and another alarm says so.
    pub(super) fn followed(&self, peer: Role, number: u32, mirrored: Option<u64>, named: u64) {
        let now = self.now().get();
        self.following.heard(peer, |heard| {
            if let Some(lag) = heard.lags.get_mut(&number) {
                match mirrored {
                    Some(mirrored) => lag.reached(mirrored, named, now),
                    None => lag.since_ms = now,
                }
            }
        });
    }

    /// The log of that election could not be followed.
    pub(super) fn hindered(&self, peer: Role, number: u32, refusal: &Refusal) {
        self.following.heard(peer, |heard| {
            if let Some(lag) = heard.lags.get_mut(&number) {
                lag.why = refusal.to_string();
            }
        });
    }

    /// What of the logs of `peer` could not be followed for so long, though it answers; `refusal`: what it said when it was
    /// asked for all of them.
    pub(super) fn unfollowed(&self, peer: Role, refusal: Option<&Refusal>) -> Option<String> {
        let now = self.now().get();
        let most = self.alarm_limits.party_lost_ms.saturating_add(CLOCKS_MS);
        // Another alarm stands.
        let excused = self.look_at_peer(peer) || self.short_of_room().is_some();
        self.following.heard(peer, |heard| {
            if excused {
                heard.lags.values_mut().for_each(|lag| lag.since_ms = now);
            }
            let late = (heard.lags.values()).filter(|lag| now.saturating_sub(lag.since_ms) > most);
            let first = late.clone().min_by_key(|lag| lag.since_ms)?;
            let why = refusal.map_or_else(|| first.why.clone(), ToString::to_string);
            Some(format!(
                "{peer} answers, and of {} elections its log cannot be followed; of {} not since {}: {why}",
                late.count(),
                first.election,
                UnixMillis(first.since_ms).seconds()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_followed_while_what_was_named_comes_in_and_not_by_a_trickle_or_by_naming_less() {
        let mut lag = Lag::of("ward-7", 100);
        let mut since = |mirrored, named, now| {
            lag.reached(mirrored, named, now);
            lag.since_ms
        };
        assert_eq!(since(0, 0, 200), 200);
        assert_eq!(since(5, 5, 300), 300);
        // Six are named, none comes; then one of many.
        assert_eq!(since(5, 6, 400), 400);
        assert_eq!(since(5, 6, 500), 400);
        assert_eq!(since(6, 900, 600), 600);
        assert_eq!(since(899, 2_000, 700), 600);
        assert_eq!(since(900, 2_000, 800), 800);
        // Fewer than it signed.
        assert_eq!(since(2_000, 1_999, 900), 800);
        assert_eq!(since(2_000, 50_000, 1_000), 1_000);
        // A long way, step by step.
        assert_eq!(since(2_000 + STEP - 1, 50_000, 1_100), 1_000);
        assert_eq!(since(2_000 + STEP, 50_000, 1_200), 1_200);
    }

    #[test]
    fn whoever_gave_receipts_for_more_than_it_names_is_not_followed_by_what_it_names() {
        let mut lag = Lag::of("ward-7", 100);
        lag.reached(7, 7, 200);
        // Receipts are here before what they are for is published: that is no fault for a moment, however often.
        for now in [300, 400, 500] {
            lag.receipted += 9;
            lag.reached(lag.receipted, lag.receipted, now);
            assert_eq!(lag.since_ms, now);
        }
        lag.receipted += 1;
        lag.reached(27, 27, 600);
        lag.reached(27, 27, 700);
        assert_eq!(lag.since_ms, 600);
        lag.reached(28, 28, 800);
        assert_eq!(lag.since_ms, 800);
    }
}
