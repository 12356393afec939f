//! Waiting for peers, on both sides of a question.
//!
//! The asked party holds a question for what it does not have yet until it has it, for at most [`Patience::hold`]; the asking party asks
//! again until it has waited [`Patience::total`] for that one thing. So three parties that seal at the same moment wait for each other
//! without pauses, and a party that is down costs nothing but time.

use std::future::Future;
use std::time::Duration;

use tally_proto::ids::Role;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::SealError;
use super::peers::{Item, PeerError};

/// How long to wait for peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one thing of one peer, before sealing stops (to be run again).
    pub total: Duration,
    /// Between two attempts to reach a peer that cannot be reached.
    pub pause: Duration,
    /// How long a question is held for something that is not there yet. Below the transport's own time limit.
    pub hold: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(60),
            pause: Duration::from_millis(250),
            hold: Duration::from_secs(10),
        }
    }
}

/// Asks for `item` of `of` until it is given, refused, or patience is over.
pub(super) async fn ask<T, F: Future<Output = Result<T, PeerError>>>(
    patience: Patience,
    of: Role,
    item: Item,
    mut question: impl FnMut() -> F,
) -> Result<T, SealError> {
    let end = Instant::now() + patience.total;
    loop {
        let error = match timeout_at(end, question()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => PeerError::NotYet { peer: of },
        };
        if !error.is_passing() || Instant::now() + patience.pause >= end {
            return Err(SealError::Waiting {
                of,
                item,
                source: error,
            });
        }
        sleep(patience.pause).await;
    }
}

/// Wakes whoever waits for this party to come further.
#[derive(Debug)]
pub(super) struct Steps(watch::Sender<u64>);

impl Steps {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Something was written down.
    pub(super) fn advance(&self) {
        self.0.send_modify(|step| *step += 1);
    }

    /// Tries `look` now and after every step, until it finds something or `hold` is over.
    pub(super) async fn until<T, F: Future<Output = Result<Option<T>, SealError>>>(
        &self,
        hold: Duration,
        item: Item,
        mut look: impl FnMut() -> F,
    ) -> Result<T, SealError> {
        let end = Instant::now() + hold;
        let mut steps = self.0.subscribe();
        loop {
            steps.mark_unchanged();
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if !matches!(timeout_at(end, steps.changed()).await, Ok(Ok(()))) {
                return Err(SealError::NotYet(item));
            }
        }
    }
}
