//! One neighbour in one session: frames out of and into the engine's thread, over a stream of the connection.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tally_mpc::Phase;
use tally_proto::ids::{Hash32, Role};
use tally_proto::session::{Body, FrameError, Numbering, detached, weight};
use tally_proto::wire;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tonic::Status;

use super::board::Board;
use super::fate::{Fate, Loss};
use super::opening::Contribution;
use super::queue::{Queue, QueueError};

/// Bytes that wait in either direction between the engine and a connection. The three parties may all be sending
/// `tally_mpc::MAX_IN_FLIGHT_BYTES` before one of them reads; the sender's and the receiver's queue hold it together.
const QUEUE_BYTES: usize = 16 << 20;
/// After the end, how long the connection may take to deliver what is queued.
const LINGER: Duration = Duration::from_secs(30);

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

/// What goes out to one neighbour. It ends once nobody may send any more.
struct Sending(Arc<Queue<wire::Frame>>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The links of a session whose parties still meet. A party that stops before its engine runs says why to whoever it has met, as it does
/// later: a stream that just ends would look as if it were the one at fault.
#[derive(Default)]
pub(crate) struct Farewell(Mutex<Vec<(Arc<Sending>, Numbering)>>);

impl Farewell {
    fn keep(&self, outbound: &Arc<Sending>, numbering: &Numbering) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((Arc::clone(outbound), numbering.clone()));
    }

    /// Says that this party stopped, and why: an encoded signed Abort.
    pub(crate) fn say(self, statement: &Bytes) {
        let kept = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (outbound, mut numbering) in kept {
            let abort = Body::Abort(statement.clone());
            let weight = abort.weight();
            // Refused when the connection is gone; then nobody is there to be told.
            let _ = outbound.0.push_now(numbering.stamp(abort), weight);
        }
    }
}

/// The engine's end of one neighbour's stream.
pub(crate) struct Link {
    pub(crate) neighbour: Role,
    outbound: Arc<Sending>,
    pub(crate) inbound: Arc<Queue<Arrival>>,
    numbering_out: Numbering,
    pub(crate) numbering_in: Numbering,
    /// Frames that came in answer to a demand, by number: hashes. They may still come directly.
    relayed: HashMap<u64, Hash32>,
    /// Keeps what is sent, where frames can be demanded.
    pub(crate) board: Option<Arc<Board>>,
    /// The task that reads the stream, and the runtime it runs on, once the opening frames are exchanged.
    reader: Option<(AbortHandle, Handle)>,
}

/// A link whose opening frames are still to be exchanged.
pub(crate) struct Opener {
    link: Link,
    fate: Fate,
}

impl Opener {
    /// Begins with this party's opening frame. The frames to send are the second value; `farewell` may send one more while it is kept.
    pub(crate) fn new(
        neighbour: Role,
        session: Hash32,
        ours: &Contribution,
        fate: &Fate,
        farewell: &Farewell,
    ) -> (Self, Outgoing) {
        let mut link = Link {
            neighbour,
            outbound: Arc::new(Sending(Arc::new(Queue::new(QUEUE_BYTES)))),
            inbound: Arc::new(Queue::new(QUEUE_BYTES)),
            numbering_out: Numbering::new(session),
            numbering_in: Numbering::new(session),
            relayed: HashMap::new(),
            board: None,
            reader: None,
        };
        fate.binds(neighbour, &link.inbound, &link.outbound.0);
        let opening = Body::Opening(ours.reveal());
        let weight = opening.weight();
        let frame = link.numbering_out.stamp(opening);
        // A new queue is not ended, so this cannot be refused.
        let _ = link.outbound.0.push_now(frame, weight);
        farewell.keep(&link.outbound, &link.numbering_out);
        let outgoing = Outgoing(Arc::clone(&link.outbound.0));
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
    /// Queues a frame, waiting for room.
    ///
    /// # Errors
    /// The queue was ended or interrupted, or `deadline` passed.
    pub(crate) fn send(&mut self, body: Body, deadline: Instant) -> Result<(), QueueError> {
        let weight = body.weight();
        let is_barrier = is_barrier(&body);
        let frame = self.numbering_out.stamp(body);
        if let Some(board) = &self.board {
            board.keep(self.neighbour, &frame, is_barrier);
        }
        self.outbound.0.push(frame, weight, deadline)
    }

    /// The next frame's content, held back by `latency`.
    ///
    /// # Errors
    /// The queue was ended or interrupted, `deadline` passed, or the frame is not in order.
    pub(crate) fn recv(&mut self, deadline: Instant, latency: Duration) -> Result<Body, LinkError> {
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
    pub(crate) fn last(&mut self, body: Body) {
        let weight = body.weight();
        let frame = self.numbering_out.stamp(body);
        // Refused when the connection is gone; then nobody is there to be told.
        let _ = self.outbound.0.push_now(frame, weight);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.inbound.clear();
        // What is queued may still leave; a neighbour that does not take it does not hold it here for ever.
        if let Some((reader, runtime)) = self.reader.take() {
            let outbound = Arc::clone(&self.outbound.0);
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

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

#[cfg(test)]
mod tests {
    use super::*;

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
