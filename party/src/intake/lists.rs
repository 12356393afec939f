//! The revocation lists of cards that this party holds, and which of them its log tells.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tally_proto::card::{self, ListDirectory, ListsHeld, RevocationList};
use tally_proto::ids::UnixSeconds;
use tally_proto::manifest::Register;
use tally_proto::order::EffectiveElection;
use tokio::sync::Notify;

use super::cards::{CLOCK_AHEAD_S, CLOCK_TOLERANCE_S};

/// How soon the lists are looked at again for the log.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Revocation lists, and word of new enrolments.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    directory: ListDirectory,
    /// Which there were of a register's issuing CAs when they were last looked at for the log.
    held: Mutex<Vec<Held>>,
    /// Something was enrolled, or an election came into force.
    pub(crate) enrolled: Notify,
}

/// What a look at the lists found.
#[derive(Debug)]
struct Held {
    issuers: Vec<Vec<u8>>,
    at: Instant,
    lists: Arc<ListsHeld>,
}

impl Revocations {
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            directory: ListDirectory::of(directory),
            ..Self::default()
        }
    }

    /// Until when every issuing CA of the register has a good list here; `None`: one has none.
    pub(crate) fn until(&self, register: &Register, now: UnixSeconds) -> Option<UnixSeconds> {
        let lists = self.lists(register);
        card::lists_until(register, lists.iter().map(|list| &**list), now)
    }

    /// Which lists of the register's issuing CAs are there, as of a moment ago. Reads files that have changed: call it from a blocking thread.
    pub(crate) fn held(&self, register: &Register) -> Arc<ListsHeld> {
        let known = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |of: &Held| of.at.elapsed() < LOOK_EVERY;
        if let Some(of) = (known().iter()).find(|of| recent(of) && of.issuers == register.issuers()) {
            return Arc::clone(&of.lists);
        }
        let at = Instant::now();
        let lists = self.lists(register);
        let lists = Arc::new(ListsHeld::of(lists.iter().map(|list| &**list)));
        let mut known = known();
        known.retain(|of| recent(of) && of.issuers != register.issuers());
        known.push(Held {
            issuers: register.issuers().to_vec(),
            at,
            lists: Arc::clone(&lists),
        });
        lists
    }

    /// The lists of the register's issuing CAs that are there now. What cannot be read is logged once and passed over.
    pub(super) fn lists(&self, register: &Register) -> Vec<Arc<RevocationList>> {
        self.directory.lists(register, |path, read| match read {
            Ok(list) => {
                let of = list.point().unwrap_or_else(|| "all of the issuer's".to_owned());
                tracing::info!(path = %path.display(), revoked = list.len(), until = %list.next_update(), of, "revocation list read");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), register = %register.id(), error, "no revocation list of this register");
            }
        })
    }
}

/// Whether a party may take or refuse an enrolment by the revocation lists at that moment of its clock, with these orders in force.
pub(crate) fn asks_lists(election: &EffectiveElection, now: UnixSeconds) -> bool {
    let manifest = election.manifest();
    let Some(register) = manifest.register() else {
        return false;
    };
    // All boxes close together, and one with an open roll is the only one.
    let until = manifest
        .boxes()
        .first()
        .map(|of_box| election.records_until(of_box.id()));
    let opens = register.opens().get().saturating_sub(CLOCK_AHEAD_S);
    let closes = register.closes().get().saturating_add(CLOCK_TOLERANCE_S);
    until.is_some_and(|until| (opens..=closes.min(until.get())).contains(&now.get()))
}
