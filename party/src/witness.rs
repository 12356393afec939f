//! Who sees what happens in a party: counts it for [`crate::metrics`] and writes it into the [`crate::journal`].

use std::sync::Arc;

use serde_json::Value;
use tally_proto::ids::{Role, UnixMillis};

use crate::clock::{Clock, SystemClock};
use crate::journal::{Event, Journal};
use crate::metrics::Metrics;

/// Shared by all parts of a party.
#[derive(Clone)]
pub struct Witness {
    /// The figures.
    pub metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Witness({:?})", self.journal)
    }
}

impl Witness {
    /// Writes into `journal`, dating by `clock`.
    pub fn new(journal: Journal, clock: Arc<dyn Clock>) -> Self {
        Witness {
            metrics: Arc::default(),
            journal: Arc::new(journal),
            clock,
        }
    }

    /// Counts, and writes nothing: for one part of a party by itself.
    pub fn silent(own: Role) -> Self {
        Self::new(Journal::nowhere(own), Arc::new(SystemClock))
    }

    /// Adds an event; `facts` is a JSON object of ids, phases, counts and words.
    pub fn record(&self, event: Event, facts: Value) {
        self.journal.record(event, UnixMillis(self.clock.now_ms()), facts);
    }
}
