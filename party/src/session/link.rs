//! One neighbour in one session: frames out of and into the engine's thread, over a stream of the connection.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tally_mpc::{Channel, ChannelError, LAST_WAITS, Label, Neighbour, Phase};
use tally_proto::ids::{Hash32, Role};
use tally_proto::wire;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tonic::Status;

use super::board::Board;
use super::demands::Demands;
use super::frame::{Body, FrameError, Numbering, detached, weight};
use super::log::LogError;
use super::opening::Contribution;
use super::pool::Pool;
use super::queue::{Queue, QueueError};

/// Bytes that wait in either direction between the engine and a connection. The three parties may all be sending
/// `tally_mpc::MAX_IN_FLIGHT_BYTES` before one of them reads; the sender's and the receiver's queue hold it together.
const QUEUE_BYTES: usize = 16 << 20;
/// After the end, how long the connection may take to deliver what is queued.
const LINGER: Duration = Duration::from_secs(30);

/// So often a neighbour may answer that it waits itself, for one frame. Among honest parties once is enough: whoever is at the end of the
/// chain is called overdue meanwhile.
const EXCUSES: u32 = 3;

/// How patient a session is, and how far away its parties seem.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A message is overdue, and a send stuck, after this long.
    pub message: Duration,
    /// An answer to a demand is overdue after this long; then the party that owes is called overdue. At most half of `message`: else one
    /// wait could be more than twice as long as another, which [`Channel::separate`] rules out.
    pub relay: Duration,
    /// The whole session ends by then, whatever it waits for.
    pub session: Duration,
    /// Simulated one-way latency: messages are held back this long. Measurements only.
    pub latency: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            message: Duration::from_secs(60),
            relay: Duration::from_secs(20),
            session: Duration::from_secs(4 * 3600),
            latency: Duration::ZERO,
        }
    }
}

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
    fn is_separate(&self) -> bool {
        self.state().separate
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

/// A frame that came, and how.
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) frame: wire::Frame,
    /// In answer to a demand.
    pub(crate) relayed: bool,
}

/// The outgoing half as tonic takes it.
pub(crate) struct Outgoing(Arc<Queue<wire::Frame>>);

impl Stream for Outgoing {
    type Item = wire::Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<wire::Frame>> {
        self.0.poll_pop(cx)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // The connection is gone: whoever waits for room must not wait for ever.
        self.0.clear();
    }
}

/// The engine's end of one neighbour's stream.
pub(crate) struct Link {
    neighbour: Role,
    outbound: Arc<Queue<wire::Frame>>,
    inbound: Arc<Queue<Arrival>>,
    numbering_out: Numbering,
    numbering_in: Numbering,
    /// Frames that came in answer to a demand, by number: hashes. They may still come directly.
    relayed: HashMap<u64, Hash32>,
    /// Keeps what is sent, where frames can be demanded.
    board: Option<Arc<Board>>,
    /// The task that reads the stream, and the runtime it runs on, once the opening frames are exchanged.
    reader: Option<(AbortHandle, Handle)>,
}

/// A link whose opening frames are still to be exchanged.
pub(crate) struct Opener {
    link: Link,
    fate: Fate,
}

impl Opener {
    /// Begins with this party's opening frame. The frames to send are the second value.
    pub(crate) fn new(
        neighbour: Role,
        session: Hash32,
        ours: &Contribution,
        fate: &Fate,
    ) -> (Self, Outgoing) {
        let mut link = Link {
            neighbour,
            outbound: Arc::new(Queue::new(QUEUE_BYTES)),
            inbound: Arc::new(Queue::new(QUEUE_BYTES)),
            numbering_out: Numbering::new(session),
            numbering_in: Numbering::new(session),
            relayed: HashMap::new(),
            board: None,
            reader: None,
        };
        {
            let mut state = fate.state();
            state.links.push(Ends {
                neighbour,
                inbound: Arc::clone(&link.inbound),
                outbound: Arc::clone(&link.outbound),
            });
        }
        let opening = Body::Opening(ours.reveal());
        let weight = opening.weight();
        let frame = link.numbering_out.stamp(opening);
        // A new queue is not ended, so this cannot be refused.
        let _ = link.outbound.push_now(frame, weight);
        let outgoing = Outgoing(Arc::clone(&link.outbound));
        (
            Self {
                link,
                fate: fate.clone(),
            },
            outgoing,
        )
    }

    /// Takes the neighbour's opening frame from `incoming`, and starts moving frames between the stream and the link.
    ///
    /// # Errors
    /// The stream broke or ended, or the frame is not in order.
    pub(crate) async fn meet(
        mut self,
        mut incoming: impl Stream<Item = Result<wire::Frame, Status>> + Send + Unpin + 'static,
    ) -> Result<(Link, Bytes), Loss> {
        let frame = match incoming.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(status)) => return Err(Loss::Broken(status.message().to_owned())),
            None => return Err(Loss::Ended),
        };
        let payload = match self.link.numbering_in.check(frame)? {
            Body::Opening(payload) => payload,
            Body::Message(..) | Body::Close | Body::Abort(_) => {
                unreachable!("frame 0 is checked to be an opening")
            }
        };
        let reader = receive(
            incoming,
            self.link.neighbour,
            Arc::clone(&self.link.inbound),
            self.fate,
        );
        self.link.reader = Some((tokio::spawn(reader).abort_handle(), Handle::current()));
        Ok((self.link, payload))
    }
}

/// Moves frames from the stream into the queue until the stream ends.
async fn receive(
    mut incoming: impl Stream<Item = Result<wire::Frame, Status>> + Send + Unpin,
    neighbour: Role,
    inbound: Arc<Queue<Arrival>>,
    fate: Fate,
) {
    let mut closed = false;
    loop {
        let frame = match incoming.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(status)) if !closed => {
                return fate.decide(Some(neighbour), Loss::Broken(status.message().to_owned()));
            }
            None if !closed => return fate.decide(Some(neighbour), Loss::Ended),
            Some(Err(_)) | None => return,
        };
        match frame.kind() {
            wire::FrameKind::Abort => {
                let frame = frame.payload;
                fate.decide(Some(neighbour), Loss::Abort(frame));
                continue;
            }
            wire::FrameKind::Close => closed = true,
            _ => {}
        }
        let frame = detached(frame);
        let weight = weight(&frame);
        std::future::poll_fn(|cx| inbound.poll_room(cx, weight)).await;
        // An ended queue means that the session is over: the stream is still read to its end, so that neither side resets it
        // while frames are on their way.
        let _ = inbound.push_now(
            Arrival {
                at: Instant::now(),
                frame,
                relayed: false,
            },
            weight,
        );
    }
}

impl Link {
    fn send(&mut self, body: Body, deadline: Instant) -> Result<(), QueueError> {
        let weight = body.weight();
        let is_barrier = is_barrier(&body);
        let frame = self.numbering_out.stamp(body);
        if let Some(board) = &self.board {
            board.keep(self.neighbour, &frame, is_barrier);
        }
        self.outbound.push(frame, weight, deadline)
    }

    fn recv(&mut self, deadline: Instant, latency: Duration) -> Result<Body, LinkError> {
        loop {
            let arrival = self.inbound.pop(deadline)?;
            if !latency.is_zero() {
                std::thread::sleep((arrival.at + latency).saturating_duration_since(Instant::now()));
            }
            let Some(body) = self.take(arrival)? else { continue };
            if let Some(board) = self.board.as_ref().filter(|_| is_barrier(&body)) {
                board.confirmed(self.neighbour);
            }
            return Ok(body);
        }
    }

    /// The content of a frame that came; `None` for one that had come before on the other way.
    fn take(&mut self, arrival: Arrival) -> Result<Option<Body>, FrameError> {
        let Arrival { frame, relayed, .. } = arrival;
        let sequence = frame.sequence;
        if sequence < self.numbering_in.next() {
            // Carried on two ways, or come directly before its answer did.
            if relayed {
                return Ok(None);
            }
            // Demanded, and then come directly after all, once and with the same content.
            let carried = self.relayed.remove(&sequence);
            if carried.is_some_and(|hash| hash == Hash32::of(&frame.encode_to_vec())) {
                return Ok(None);
            }
        }
        if relayed {
            self.relayed.insert(sequence, Hash32::of(&frame.encode_to_vec()));
        }
        self.numbering_in.check(frame).map(Some)
    }

    /// Queues the last frame.
    fn last(&mut self, body: Body) {
        let weight = body.weight();
        let frame = self.numbering_out.stamp(body);
        // Refused when the connection is gone; then nobody is there to be told.
        let _ = self.outbound.push_now(frame, weight);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.outbound.end();
        self.inbound.clear();
        // What is queued may still leave; a neighbour that does not take it does not hold it here for ever.
        if let Some((reader, runtime)) = self.reader.take() {
            let outbound = Arc::clone(&self.outbound);
            runtime.spawn(async move {
                tokio::time::sleep(LINGER).await;
                reader.abort();
                outbound.clear();
            });
        }
    }
}

fn is_barrier(body: &Body) -> bool {
    matches!(body, Body::Message(label, _) if label.scope.phase == Phase::Barrier)
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The engine's channel over both neighbours' links.
pub(crate) struct NetChannel {
    next: Link,
    prev: Link,
    fate: Fate,
    pool: Pool,
    pace: Pace,
    ends: Instant,
    /// Absent where frames cannot be demanded: in measurements.
    demands: Option<Demands>,
}

impl NetChannel {
    /// Over the two links of one session; the session's time runs from now.
    pub(crate) fn new(
        mut next: Link,
        mut prev: Link,
        fate: Fate,
        pace: Pace,
        demands: Option<Demands>,
    ) -> Self {
        for link in [&mut next, &mut prev] {
            link.board = demands.as_ref().map(|demands| Arc::clone(&demands.board));
        }
        Self {
            next,
            prev,
            fate,
            pool: Pool::default(),
            pace,
            ends: Instant::now() + pace.session,
            demands,
        }
    }

    /// Says that this party's part is done. What is queued still leaves.
    pub(crate) fn close(mut self) {
        self.next.last(Body::Close);
        self.prev.last(Body::Close);
    }

    /// Says that this party stopped, and why: an encoded signed Abort.
    pub(crate) fn abort(mut self, statement: Bytes) {
        self.next.last(Body::Abort(statement.clone()));
        self.prev.last(Body::Abort(statement));
    }

    fn deadline(&self) -> Instant {
        (Instant::now() + self.pace.message).min(self.ends)
    }

    fn link(&mut self, neighbour: Neighbour) -> &mut Link {
        match neighbour {
            Neighbour::Next => &mut self.next,
            Neighbour::Prev => &mut self.prev,
        }
    }

    /// Waits on for a frame that is overdue: it is demanded, and demanded again while its sender shows that it waits itself.
    fn demanded(&mut self, from: Neighbour) -> Result<Body, LinkError> {
        let (latency, ends, relay) = (self.pace.latency, self.ends, self.pace.relay);
        let demands = self.demands.clone();
        let link = self.link(from);
        let neighbour = link.neighbour;
        let mut standing = None;
        for _ in 0..=EXCUSES {
            if Instant::now() >= ends {
                break;
            }
            let Some(demands) = &demands else { break };
            demands.open(neighbour, link.numbering_in.next(), Arc::clone(&link.inbound));
            let body = link.recv((Instant::now() + relay).min(ends), latency);
            let stands = demands.close();
            match body {
                Err(LinkError::Queue(QueueError::TimedOut)) if stands.excused => {}
                Err(LinkError::Queue(QueueError::TimedOut)) => {
                    standing = Some(stands);
                    break;
                }
                other => return other,
            }
            standing = Some(stands);
        }
        let evidence = standing.map(|standing| standing.evidence()).unwrap_or_default();
        self.overdue(neighbour, Loss::Overdue(evidence));
        Err(QueueError::TimedOut.into())
    }

    /// A wait for `neighbour` was in vain. It ends the session, but not while the outputs are opened: then the engine may wait again.
    fn overdue(&self, neighbour: Role, loss: Loss) {
        if self.fate.is_separate() {
            return;
        }
        if Instant::now() >= self.ends {
            self.fate.decide(None, Loss::Deadline);
        } else {
            self.fate.decide(Some(neighbour), loss);
        }
    }

    fn queue_error(&self, error: QueueError) -> ChannelError {
        match error {
            QueueError::TimedOut => ChannelError::Overdue,
            QueueError::Interrupted if matches!(self.fate.first(), Some((None, _))) => {
                ChannelError::Interrupted
            }
            QueueError::Interrupted | QueueError::Closed => ChannelError::Closed,
        }
    }
}

impl Channel for NetChannel {
    fn separate(&mut self) {
        self.fate.separate();
        // Whoever has delayed the session until now must not make one party stop here while another goes on.
        let wait = self.pace.message + (EXCUSES + 1) * self.pace.relay;
        self.ends = self.ends.max(Instant::now() + LAST_WAITS * wait);
    }

    fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
        let deadline = self.deadline();
        let message = self.pool.share(message);
        let link = self.link(to);
        let neighbour = link.neighbour;
        let sent = link.send(Body::Message(label, message), deadline);
        if let Err(QueueError::TimedOut) = sent {
            self.overdue(neighbour, Loss::Stuck);
        }
        sent.map_err(|error| self.queue_error(error))
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        let (deadline, latency) = (self.deadline(), self.pace.latency);
        let link = self.link(from);
        let neighbour = link.neighbour;
        let mut received = link.recv(deadline, latency);
        if let Err(LinkError::Queue(QueueError::TimedOut)) = received {
            received = self.demanded(from);
        }
        let body = match received {
            Ok(body) => body,
            Err(LinkError::Queue(error)) => return Err(self.queue_error(error)),
            Err(LinkError::Frame(error)) => {
                self.fate.decide(Some(neighbour), Loss::Frame(error.clone()));
                return Err(ChannelError::Transport(io::Error::other(error)));
            }
        };
        match body {
            Body::Message(got, _) if got != label => Err(ChannelError::WrongLabel { got }),
            Body::Message(_, message) if message.len() != expected_len => Err(ChannelError::WrongLength {
                expected: expected_len,
                got: message.len(),
            }),
            Body::Message(_, message) => Ok(self.pool.copy(&message)),
            Body::Opening(_) | Body::Close | Body::Abort(_) => Err(ChannelError::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            fate.state().links.push(Ends {
                neighbour,
                inbound: Arc::clone(&inbound),
                outbound: Arc::clone(&outbound),
            });
            (inbound, outbound)
        };
        let (lost, other) = (link(Role::P2), link(Role::P3));
        (fate, lost, other)
    }

    fn pop(queue: &Queue<Arrival>) -> Result<(), QueueError> {
        queue.pop(Instant::now() + Duration::from_millis(1)).map(|_| ())
    }

    #[test]
    fn no_wait_is_more_than_twice_as_long_as_another() {
        let Pace { message, relay, .. } = Pace::default();
        assert!(message + (EXCUSES + 1) * relay <= 2 * (message + relay));
    }

    #[test]
    fn one_neighbours_loss_ends_both_waits() {
        let (fate, lost, other) = fate();
        fate.decide(Some(Role::P2), Loss::Ended);
        assert_eq!(pop(&lost.0), Err(QueueError::Interrupted));
        assert_eq!(pop(&other.0), Err(QueueError::Interrupted));
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

    /// What a neighbour puts elsewhere than into the payload counts, too: it fills the queue, not the memory.
    #[tokio::test]
    async fn frames_stuffed_with_something_else_wait_in_the_connection() {
        const STUFFED: usize = 1 << 20;
        let stuffing = Bytes::from(vec![7; STUFFED]);
        for field in 0..3 {
            let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let mut frame = Numbering::new(Hash32([1; 32])).stamp(Body::Opening(Bytes::new()));
            *[&mut frame.session, &mut frame.label, &mut frame.payload][field] = stuffing.clone();
            let counter = Arc::clone(&taken);
            let incoming = futures::stream::iter(vec![frame; 100]).map(move |frame| {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok::<_, Status>(frame)
            });
            let inbound = Arc::new(Queue::new(QUEUE_BYTES));
            let reading = std::pin::pin!(receive(incoming, Role::P2, inbound, Fate::default()));
            assert!(futures::poll!(reading).is_pending());
            let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
            assert!(taken <= QUEUE_BYTES / STUFFED, "{taken} frames of field {field}");
        }
    }

    #[test]
    fn a_small_frame_does_not_hold_what_came_with_it() {
        let buffer = Bytes::from(vec![1; 1 << 20]);
        let frame = wire::Frame {
            session: buffer.slice(..32),
            label: buffer.slice(32..45),
            payload: buffer.slice(45..77),
            ..wire::Frame::default()
        };
        let own = detached(frame.clone());
        assert_eq!(own, frame);
        drop(frame);
        assert!(buffer.is_unique(), "nothing refers to the buffer");
    }
}
