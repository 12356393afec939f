//! A renewed certificate ends the one before: nobody is asked to say so, and nothing is configured.
//!
//! Certificates live for more than a year, and what a party may fetch from the others it may fetch with its certificate alone. So whoever has a copy
//! of a key must lose it when the key is replaced. Each party remembers for every role the newest certificate that was shown here (by the moment from
//! which it is believed; the role's authority alone can make a newer one), on disk: for parties, operators and the coordinator, each of whom is
//! certified by its own authority. Stations and registrars are not: the commission certifies them, and could end a station by making a
//! certificate of that name for itself, in an hour, with its ballots still in the queue. A station ends by an order that all three
//! operators countersign. From an hour after that one was first shown, older ones are
//! refused as `certificate.replaced`: within the hour whoever holds the new one may still finish what was begun with the old.
//!
//! What this does not end: a copy of the newest key; the copy that a party shows which the new one has never reached; and connections on which
//! nothing more is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tally_proto::ids::{Hash32, UnixSeconds};
use tally_proto::pki::PeerRole;
use tokio::sync::Notify;

use crate::store::certificates::Newest;

/// How long an older certificate is still taken after the newer one was first shown, seconds.
pub(crate) const GRACE_S: u64 = 3600;
/// For how long operators are told that an older one was shown.
const TOLD_S: u64 = 3600;

/// What is known of the newest certificates.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    known: Mutex<Known>,
    /// Told when something is to be written down.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    newest: HashMap<String, Newest>,
    /// Not on disk yet.
    unwritten: Vec<String>,
    /// Roles of which an older one was refused, and when last.
    refused: BTreeMap<String, UnixSeconds>,
}

/// An older certificate than the role's newest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the certificate of {holder} that is shown has been believed since {from}; a newer one, since {newest}, was first shown at {shown} and has replaced it: use \
     that one, and issue another if the newer one is not yours"
)]
pub(crate) struct Older {
    holder: String,
    from: UnixSeconds,
    newest: UnixSeconds,
    shown: UnixSeconds,
}

/// Under which a role of one authority is remembered.
fn place(role: &PeerRole, authority: Hash32) -> String {
    format!("{role} {authority}")
}

impl Replaced {
    /// With what the store remembers.
    pub(crate) fn with(newest: Vec<(String, Newest)>) -> Self {
        let known = Known {
            newest: newest.into_iter().collect(),
            ..Known::default()
        };
        Self {
            known: Mutex::new(known),
            changed: Notify::new(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A certificate of that role is shown, which is believed from `from` on.
    ///
    /// # Errors
    /// [`Older`]: a newer one has replaced it.
    pub(crate) fn shown(
        &self,
        role: &PeerRole,
        authority: Hash32,
        from: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), Older> {
        // Whoever certifies another does not end another by it.
        if matches!(role, PeerRole::Station(_) | PeerRole::Registrar(_)) {
            return Ok(());
        }
        let place = place(role, authority);
        let mut known = self.known();
        let Some(newest) = known.newest.get(&place).copied() else {
            self.note(&mut known, place, Newest { from, shown: now });
            return Ok(());
        };
        if from > newest.from {
            self.note(&mut known, place, Newest { from, shown: now });
            return Ok(());
        }
        if from == newest.from || now.get() < newest.shown.get().saturating_add(GRACE_S) {
            return Ok(());
        }
        known.refused.insert(role.to_string(), now);
        Err(Older {
            holder: role.to_string(),
            from,
            newest: newest.from,
            shown: newest.shown,
        })
    }

    fn note(&self, known: &mut Known, place: String, newest: Newest) {
        known.unwritten.push(place.clone());
        known.newest.insert(place, newest);
        self.changed.notify_one();
    }

    /// Waits until something is to be written.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is to be written. If that fails it is to be [given back](Self::give_back).
    pub(crate) fn unwritten(&self) -> Vec<(String, Newest)> {
        let mut known = self.known();
        let places = std::mem::take(&mut known.unwritten);
        let newest = places.into_iter().filter_map(|place| {
            let newest = known.newest.get(&place).copied()?;
            Some((place, newest))
        });
        newest.collect()
    }

    /// It could not be written.
    pub(crate) fn give_back(&self, unwritten: Vec<(String, Newest)>) {
        let places = unwritten.into_iter().map(|(place, _)| place);
        self.known().unwritten.extend(places);
        self.changed.notify_one();
    }

    /// Roles of which an older one was refused: until when operators are told, and when it was last.
    pub(crate) fn refused(&self, now: UnixSeconds) -> Vec<(String, UnixSeconds, bool)> {
        let mut known = self.known();
        let all = known.refused.iter().map(|(role, last)| {
            let stands = now.get() < last.get().saturating_add(TOLD_S);
            (role.clone(), *last, stands)
        });
        let all = all.collect();
        known
            .refused
            .retain(|_, last| now.get() < last.get().saturating_add(TOLD_S));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P1: PeerRole = PeerRole::Party(tally_proto::ids::Role::P1);
    const NOW: u64 = 1_000_000;

    fn authority(of: u8) -> Hash32 {
        Hash32([of; 32])
    }

    #[test]
    fn an_older_one_ends_an_hour_after_the_newer_was_first_shown() {
        let replaced = Replaced::default();
        let shown = |role: &PeerRole, from, at| {
            replaced.shown(role, authority(1), UnixSeconds(from), UnixSeconds(at))
        };
        shown(&P1, 500, NOW).expect("the first");
        shown(&P1, 400, NOW + 1).expect("older, within the hour of the first look");
        shown(&P1, 600, NOW + 10).expect("newer");
        shown(&P1, 600, NOW + 2 * GRACE_S).expect("the newest is good for ever");
        shown(&P1, 500, NOW + 9 + GRACE_S).expect("within the hour");
        let older = shown(&P1, 500, NOW + 10 + GRACE_S).expect_err("over");
        assert!(
            older.to_string().contains("the certificate of party:1"),
            "{older}"
        );
        // Others are others: another role, and the same under another authority.
        shown(&PeerRole::Coordinator, 1, NOW + 2 * GRACE_S).expect("another role");
        let other = replaced.shown(&P1, authority(2), UnixSeconds(1), UnixSeconds(NOW + 2 * GRACE_S));
        other.expect("another authority");
        // Told until an hour after the last, and then no more.
        let last = UnixSeconds(NOW + 10 + GRACE_S);
        assert_eq!(replaced.refused(last), [("party:1".to_owned(), last, true)]);
        let later = UnixSeconds(last.get() + TOLD_S);
        assert_eq!(replaced.refused(later), [("party:1".to_owned(), last, false)]);
        assert_eq!(replaced.refused(later), []);
    }

    #[test]
    fn what_is_to_be_written_is_the_newest_and_is_not_lost() {
        let replaced = Replaced::default();
        for from in [5, 7, 6] {
            let shown = replaced.shown(&P1, authority(1), UnixSeconds(from), UnixSeconds(NOW));
            shown.expect("within the hour");
        }
        let newest = Newest {
            from: UnixSeconds(7),
            shown: UnixSeconds(NOW),
        };
        let unwritten = replaced.unwritten();
        assert!(unwritten.iter().all(|(_, of)| *of == newest) && !unwritten.is_empty());
        assert!(replaced.unwritten().is_empty());
        replaced.give_back(unwritten.clone());
        assert_eq!(replaced.unwritten(), unwritten);
        // Read again, it refuses what it refused.
        let again = Replaced::with(unwritten);
        let refused = again.shown(&P1, authority(1), UnixSeconds(6), UnixSeconds(NOW + GRACE_S));
        assert_eq!(refused.expect_err("older").newest, UnixSeconds(7));
    }

    #[test]
    fn the_commission_ends_no_station_and_no_registrar_by_certifying_another_of_that_name() {
        let replaced = Replaced::default();
        let station = PeerRole::Station(tally_proto::ids::StationId(7));
        let registrar = PeerRole::Registrar("letters".to_owned());
        for role in [station, registrar] {
            for (from, at) in [(500, NOW), (600, NOW + 1), (500, NOW + 2 * GRACE_S)] {
                let shown = replaced.shown(&role, authority(1), UnixSeconds(from), UnixSeconds(at));
                shown.expect("ended by an order only");
            }
        }
        assert!(replaced.unwritten().is_empty() && replaced.known().newest.is_empty());
    }
}
