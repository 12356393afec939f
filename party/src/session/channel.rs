//! The engine's channel over both neighbours' links: deadlines, demands, and what a loss is to the engine.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tally_mpc::{Channel, ChannelError, LAST_WAITS, Label, Neighbour};
use tally_proto::ids::Role;
use tally_proto::session::Body;

use super::demands::Demands;
use super::fate::{Fate, Loss};
use super::link::{Link, LinkError};
use super::pool::Pool;
use super::queue::QueueError;

/// So often a neighbour may answer that it waits itself, for one frame. Among honest parties once is enough: whoever is at the end of the
/// chain is called overdue meanwhile.
const EXCUSES: u32 = 3;

/// How patient a session is, and how far away its parties seem.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Both neighbours have come to the session by then, and a neighbour's stream waits so long for this party to come.
    pub meet: Duration,
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
            meet: Duration::from_secs(60),
            message: Duration::from_secs(60),
            relay: Duration::from_secs(20),
            session: Duration::from_secs(4 * 3600),
            latency: Duration::ZERO,
        }
    }
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

    #[test]
    fn no_wait_is_more_than_twice_as_long_as_another() {
        let Pace { message, relay, .. } = Pace::default();
        assert!(message + (EXCUSES + 1) * relay <= 2 * (message + relay));
    }
}
