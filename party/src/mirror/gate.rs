//! Whether this party may append to its log of an election: only once it knows that its store is the newest there was.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use tally_proto::ids::UnixMillis;
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
    /// Why it is closed, and since when.
    why: HashMap<u32, (String, UnixMillis)>,
    /// Whose log is being got back.
    regaining: HashSet<u32>,
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
        let why = state.why.get(&election).map_or_else(
            || "it has just started".to_owned(),
            |(why, since)| format!("{why} (since {})", since.seconds()),
        );
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
        state.regaining.remove(&election);
    }

    /// What is being waited for, and whether that is new.
    pub(super) fn wait_for(&self, election: u32, why: String, now: UnixMillis) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let since = match state.why.get(&election) {
            Some((before, since)) if *before == why => *since,
            _ => now,
        };
        let before = state.why.insert(election, (why.clone(), since));
        before.is_none_or(|(before, _)| before != why)
    }

    /// How far it is.
    pub(super) fn tell(&self, election: u32, so_far: String, now: UnixMillis) {
        self.wait_for(election, so_far, now);
    }

    /// Whether getting the log back begins only now.
    pub(super) fn begins(&self, election: u32) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.regaining.insert(election)
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
