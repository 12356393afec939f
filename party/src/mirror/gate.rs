//! Whether this party may append to its log of an election: only once it knows that its store is the newest there was.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;

/// Open elections, and why the others are not. Closed at every start.
#[derive(Debug, Default)]
pub struct Gate(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Every election's, for good.
    always: bool,
    open: HashSet<u32>,
    /// Opened by the operator's word.
    trusted: HashSet<u32>,
    why: HashMap<u32, String>,
}

impl Gate {
    /// Open for every election: for stores that no server writes, as in an audit or a measurement.
    pub fn always_open() -> Self {
        Self(RwLock::new(State {
            always: true,
            ..State::default()
        }))
    }

    /// Whether the log of the election of that number may grow.
    ///
    /// # Errors
    /// `party.recollecting`, with what is being waited for.
    pub fn check(&self, election: u32) -> Result<(), Refusal> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if state.always || state.open.contains(&election) {
            return Ok(());
        }
        let why = state
            .why
            .get(&election)
            .map_or("it has just started", String::as_str);
        Err(Refusal::new(
            Reason::PartyRecollecting,
            format_args!(
                "this party takes nothing until it knows that its store is the newest there was: {why}"
            ),
        ))
    }

    /// Whether it is open.
    pub fn is_open(&self, election: u32) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.always || state.open.contains(&election)
    }

    /// Lets the log of that election grow: the caller knows that the store is the newest there was.
    pub fn open(&self, election: u32) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.open.insert(election);
        state.why.remove(&election);
    }

    pub(super) fn wait_for(&self, election: u32, why: String) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.why.insert(election, why.clone()) != Some(why)
    }

    pub(super) fn is_trusted(&self, election: u32) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.trusted.contains(&election)
    }

    pub(super) fn trust(&self, election: u32) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.trusted.insert(election);
    }
}
