//! What following may cost: nobody's log fills another party's disk.
//!
//! ```text
//! looked at  <=  held + held / 10 + slack         held: this party's own log, and what it got of others' acceptances
//! mirrored   <=  looked at + AHEAD
//! mirrored   <=  taken + taken / 10 + slack       taken: ballots and records that the manifest lets a party take
//! ```
//!
//! The slack is 10,000 entries, and where voters enrol by card as many more: an honest log names no more changes of the revocation lists.
//!
//! The first bound is one on nonsense. Behind an entry of an honest party stands something that this party accepted as well, or the share of it that
//! both hold: then it is here. Entries behind which nothing is, or the same as behind another, make the log longer and not what is held. The
//! second has what is behind a page given before much more is taken. The third holds for what is well formed and made up.
//!
//! A log beyond them is followed no more while that is so (`log.flooded`). Voting, sealing and the tally go on: sealing asks for what it needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tally_proto::ids::Role;
use tally_proto::log::MAX_LISTS;
use tally_proto::manifest::Manifest;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;

use crate::alarm::Alarm;
use crate::elections::Election;
use crate::party::Party;
use crate::sealing::{self, Sealing};
use crate::store::{StoreError, log};

/// Entries without content that any log may have: events, and what was lost with a disk.
const SLACK: u64 = 10_000;
/// Entries that may be mirrored before what is behind them was asked for: as many as come in while they are too young to be asked for, at the highest rate.
pub(super) const AHEAD: u64 = 65_536;
/// How soon what is held is counted again for a log that was found too long.
const RECOUNT: Duration = Duration::from_secs(10);
/// The reserve of the store's volume, times this, is left alone by following: intake stops last.
const RESERVES: u64 = 2;

/// Up to where a log may be looked at, as last counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    entries: u64,
    /// Since when it has been found too long.
    flooded: Option<Instant>,
}

/// A tenth more than that many, and some.
fn with_slack(manifest: &Manifest, entries: u64) -> u64 {
    let lists = manifest.register().map_or(0, |_| u64::from(MAX_LISTS));
    let slack = SLACK + lists;
    entries.saturating_add(entries / 10).saturating_add(slack)
}

/// Entries that no honest party's log of this election exceeds.
pub(super) fn longest(manifest: &Manifest) -> u64 {
    let taken = manifest.boxes().iter().map(|of_box| {
        let capacity = of_box.capacity();
        capacity.ballots().saturating_add(capacity.records)
    });
    with_slack(manifest, taken.fold(0, u64::saturating_add))
}

impl Party {
    /// Why nothing is mirrored just now: what is left of the volume is for voters and for sealing.
    pub(super) fn short_of_room(&self) -> Option<String> {
        let reserve = self.intake.reserve_bytes().saturating_mul(RESERVES);
        let free = self.store.room().filter(|free| *free < reserve)?;
        Some(format!(
            "other parties' logs are not mirrored: {} MiB are free, less than {RESERVES} times intake.disk_reserve_mib",
            free >> 20
        ))
    }

    /// Whether the log of `peer` may be followed beyond `looked_at`, `size` of it being mirrored; who floods is named.
    pub(super) async fn may_follow(
        self: &Arc<Self>,
        election: &Arc<Election>,
        peer: Role,
        (looked_at, size): (u64, u64),
    ) -> Result<bool, Refusal> {
        let number = election.number();
        let longest = longest(election.manifest());
        if size > longest {
            return Ok(self.flooded(
                election,
                peer,
                format_args!("{size} entries and more, {longest} are the most that an honest party can have"),
            ));
        }
        let known = self
            .following
            .heard(peer, |heard| heard.allowed.get(&number).copied());
        let recent = |since: Instant| since.elapsed() < RECOUNT;
        let allowed = match known {
            Some(known) if looked_at <= known.entries => known,
            Some(known) if known.flooded.is_some_and(recent) => known,
            _ => {
                let entries = self.allowed(election, looked_at).await?;
                Allowed {
                    entries,
                    flooded: (looked_at > entries).then(Instant::now),
                }
            }
        };
        self.following
            .heard(peer, |heard| heard.allowed.insert(number, allowed));
        if looked_at > allowed.entries {
            return Ok(self.flooded(
                election,
                peer,
                format_args!(
                    "of its first {looked_at} entries so many have nothing behind them, or the same as others, that {} are the most",
                    allowed.entries
                ),
            ));
        }
        if known.is_some_and(|known| known.flooded.is_some()) {
            self.alarm(Alarm::LogFlooded, &about(election, peer), None);
        }
        Ok(true)
    }

    fn flooded(&self, election: &Election, peer: Role, what: std::fmt::Arguments<'_>) -> bool {
        let refusal = Refusal::new(
            Reason::LogFlooded,
            format_args!("the log of {peer} is followed no further: {what}"),
        );
        self.trouble(election.number(), peer, &refusal);
        self.alarm(
            Alarm::LogFlooded,
            &about(election, peer),
            Some(refusal.to_string()),
        );
        false
    }

    /// Up to how many entries of another's log may be looked at, with what is held now. What is held is counted no further than `enough` needs.
    async fn allowed(self: &Arc<Self>, election: &Arc<Election>, enough: u64) -> Result<u64, Refusal> {
        let of = Arc::clone(election);
        self.blocking(move |party| {
            Ok(party.store.read(|tx| {
                let number = of.number();
                // What was sealed is here without anybody's log, and is not asked for any more: see `contents`.
                for of_box in of.manifest().boxes() {
                    if sealing::seal_hash(tx, (number, of_box.id().get()))?.is_some() {
                        return Ok(u64::MAX);
                    }
                }
                let own = log::size(tx, number)?;
                // Twice as far as needed, so that the next count is not due at once.
                let most = enough.saturating_mul(2).saturating_sub(own);
                let others = Sealing::held_of_others(tx, number, most)?;
                Ok::<_, StoreError>(with_slack(of.manifest(), own.saturating_add(others)))
            })?)
        })
        .await
    }
}

fn about(election: &Election, peer: Role) -> String {
    format!("{}, {peer}", election.manifest().election())
}

#[cfg(test)]
mod tests {
    use tally_proto::fixture::{Shape, World};

    use super::*;

    #[test]
    fn where_voters_enrol_by_card_a_log_may_name_every_change_of_the_lists_besides() {
        let [without, with] = [false, true].map(|cards| {
            let world = World::new(Shape {
                cards,
                ..Shape::default()
            });
            let manifest = world.manifest.manifest();
            let taken: u64 = (manifest.boxes().iter())
                .map(|of_box| of_box.capacity().ballots() + of_box.capacity().records)
                .sum();
            longest(manifest) - taken - taken / 10
        });
        assert_eq!((without, with), (10_000, 20_000));
    }
}
