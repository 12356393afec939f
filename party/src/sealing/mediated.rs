//! How often a party gave a right share only after a complaint. In memory: it is this party's word, and says something only in numbers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tally_proto::ids::Role;

use super::tables::BoxKey;

/// More than so many of one box are not told as accidents.
const FEW: u64 = 16;

/// Counts by box and party.
#[derive(Debug, Default)]
pub(super) struct Mediated(Mutex<HashMap<(BoxKey, Role), u64>>);

impl Mediated {
    /// `party` answered rightly through the third party, and not before.
    pub(super) fn count(&self, key: BoxKey, party: Role) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((key, party)).or_default() += 1;
    }

    /// Whether it did so more than a few times.
    pub(super) fn often(&self, key: BoxKey, party: Role) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&(key, party)).is_some_and(|count| *count > FEW)
    }
}
