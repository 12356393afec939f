//! What went wrong first in a session, and with whom.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tally_proto::ids::Role;
use tally_proto::session::FrameError;
use tally_proto::wire;
use tokio::sync::Notify;

use super::link::Arrival;
use super::log::LogError;
use super::queue::Queue;

/// Why the stream of a neighbour is of no more use.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Loss {
    /// The connection broke, or the neighbour's server refused to go on.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The stream ended without a close.
    #[error("the stream ended before the neighbour's part was done")]
    Ended,
    /// The neighbour stopped and says why; an encoded signed Abort.
    #[error("the neighbour aborted")]
    Abort(Bytes),
    /// It did not come while the connections were made.
    #[error("it did not come in time")]
    Silent,
    /// A frame was overdue, also after it was demanded; what supports that.
    #[error("its frame was overdue, also after it was demanded through the third party")]
    Overdue(Vec<wire::Evidence>),
    /// It took no more frames.
    #[error("it took no more frames")]
    Stuck,
    /// The session's time is over.
    #[error("the session did not end within its time")]
    Deadline,
    /// This party knows no address of the neighbour.
    #[error("no address is configured")]
    NoAddress,
    /// The revealed contribution is not the one that the Start commits to.
    #[error("the contribution revealed is not the one that the Start commits to")]
    Contribution,
    /// A frame was not in order.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// This party's log of the session cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The caller stopped the session.
    #[error("the session was interrupted")]
    Interrupted,
}

/// The first thing that went wrong in a session, and with whom. Both links end with it, so that a party that waits for one
/// neighbour hears at once that the other is gone.
#[derive(Clone, Default)]
pub(crate) struct Fate(Arc<FateInner>);

#[derive(Default)]
struct FateInner {
    state: Mutex<FateState>,
    decided: Notify,
}

#[derive(Default)]
struct FateState {
    first: Option<(Option<Role>, Loss)>,
    /// What went wrong first with each neighbour.
    lost: Vec<(Role, Loss)>,
    /// From here on the loss of one neighbour no longer ends the wait for the other.
    separate: bool,
    links: Vec<Ends>,
}

/// The queues of one neighbour's link.
struct Ends {
    neighbour: Role,
    inbound: Arc<Queue<Arrival>>,
    outbound: Arc<Queue<wire::Frame>>,
}

impl Fate {
    /// What went wrong first; without a party it was this one's own caller.
    pub(crate) fn first(&self) -> Option<(Option<Role>, Loss)> {
        self.state().first.clone()
    }

    /// What went wrong first with `neighbour`, whatever did before with others.
    pub(crate) fn of(&self, neighbour: Role) -> Option<Loss> {
        let state = self.state();
        let lost = state.lost.iter().find(|(lost, _)| *lost == neighbour)?;
        Some(lost.1.clone())
    }

    /// Ends every wait of the engine. Frames that are queued still leave.
    pub(crate) fn decide(&self, with: Option<Role>, loss: Loss) {
        self.end(self.state(), with, loss);
    }

    /// The same for this party's own caller, unless the outputs are being opened: others may have them by then.
    pub(crate) fn decide_before_outputs(&self, loss: Loss) {
        let state = self.state();
        if !state.separate {
            self.end(state, None, loss);
        }
    }

    fn end(&self, mut state: MutexGuard<'_, FateState>, with: Option<Role>, loss: Loss) {
        if let Some(with) = with
            && state.lost.iter().all(|(lost, _)| *lost != with)
        {
            state.lost.push((with, loss.clone()));
        }
        if state.first.is_none() {
            state.first = Some((with, loss));
        }
        let alone = with.filter(|_| state.separate);
        for link in &state.links {
            match alone {
                None => link.inbound.interrupt(),
                // What arrived before the loss still counts.
                Some(lost) if lost == link.neighbour => link.inbound.end(),
                Some(_) => continue,
            }
            link.outbound.interrupt();
        }
        drop(state);
        self.0.decided.notify_waiters();
    }

    /// From now on the loss of one neighbour ends its own link only.
    pub(crate) fn separate(&self) {
        self.state().separate = true;
    }

    /// Whether the loss of one neighbour ends its own link only.
    pub(crate) fn is_separate(&self) -> bool {
        self.state().separate
    }

    /// The queues of `neighbour`'s link end with the session.
    pub(crate) fn binds(
        &self,
        neighbour: Role,
        inbound: &Arc<Queue<Arrival>>,
        outbound: &Arc<Queue<wire::Frame>>,
    ) {
        self.state().links.push(Ends {
            neighbour,
            inbound: Arc::clone(inbound),
            outbound: Arc::clone(outbound),
        });
    }

    /// Waits until something went wrong.
    pub(crate) async fn decided(&self) {
        let decided = self.0.decided.notified();
        if self.first().is_none() {
            decided.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, FateState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tally_proto::ids::Hash32;
    use tally_proto::session::{Body, Numbering};

    use super::super::queue::QueueError;
    use super::*;

    const QUEUE_BYTES: usize = 1 << 20;

    type Queues = (Arc<Queue<Arrival>>, Arc<Queue<wire::Frame>>);

    /// A fate with two neighbours, of each of which one frame has arrived.
    fn fate() -> (Fate, Queues, Queues) {
        let fate = Fate::default();
        let link = |neighbour: Role| {
            let inbound = Arc::new(Queue::new(QUEUE_BYTES));
            let outbound = Arc::new(Queue::new(QUEUE_BYTES));
            let frame = Numbering::new(Hash32([1; 32])).stamp(Body::Close);
            let arrival = Arrival {
                at: Instant::now(),
                frame,
                relayed: false,
            };
            inbound.push_now(arrival, 1).expect("a new queue takes it");
            fate.binds(neighbour, &inbound, &outbound);
            (inbound, outbound)
        };
        let (lost, other) = (link(Role::P2), link(Role::P3));
        (fate, lost, other)
    }

    fn pop(queue: &Queue<Arrival>) -> Result<(), QueueError> {
        queue.pop(Instant::now() + Duration::from_millis(1)).map(|_| ())
    }

    #[test]
    fn one_neighbours_loss_ends_both_waits() {
        let (fate, lost, other) = fate();
        fate.decide(Some(Role::P2), Loss::Ended);
        assert_eq!(pop(&lost.0), Err(QueueError::Interrupted));
        assert_eq!(pop(&other.0), Err(QueueError::Interrupted));
        fate.decide(Some(Role::P3), Loss::Stuck);
        fate.decide(Some(Role::P3), Loss::Ended);
        assert!(matches!(fate.first(), Some((Some(Role::P2), Loss::Ended))));
        assert!(matches!(fate.of(Role::P3), Some(Loss::Stuck)), "its own first");
        assert!(fate.of(Role::P1).is_none());
    }

    #[test]
    fn once_separate_it_ends_only_its_own() {
        let (fate, lost, other) = fate();
        fate.separate();
        fate.decide(Some(Role::P2), Loss::Ended);
        assert_eq!(pop(&lost.0), Ok(()), "what had arrived still counts");
        assert_eq!(pop(&lost.0), Err(QueueError::Closed));
        assert_eq!(pop(&other.0), Ok(()));
        assert_eq!(
            pop(&other.0),
            Err(QueueError::TimedOut),
            "it may still say something"
        );
        let frame = Numbering::new(Hash32([1; 32])).stamp(Body::Close);
        assert!(
            other
                .1
                .push(frame, 1, Instant::now() + Duration::from_secs(1))
                .is_ok()
        );
        fate.decide(None, Loss::Interrupted);
        assert_eq!(
            pop(&other.0),
            Err(QueueError::Interrupted),
            "one's own caller ends everything"
        );
    }

    #[test]
    fn a_newer_session_ends_an_older_one_until_its_outputs_are_opened() {
        let (early, _, link) = fate();
        early.decide_before_outputs(Loss::Interrupted);
        assert_eq!(pop(&link.0), Err(QueueError::Interrupted));
        let (late, _, link) = fate();
        late.separate();
        late.decide_before_outputs(Loss::Interrupted);
        assert_eq!(pop(&link.0), Ok(()));
        assert!(late.first().is_none());
    }
}
