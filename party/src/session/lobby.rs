//! Where an incoming stream and the session it belongs to find each other.
//!
//! The dialing party may come before this one's coordinator has asked for the session, or after. Either waits for the other a while.
//! A stream that nobody here waits for is refused; a party cannot leave more than a few of them waiting.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tally_proto::ids::{Hash32, Role};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::{Notify, oneshot};
use tonic::Status;

use super::link::Outgoing;

/// Streams of one party that may wait at the same time.
const WAITING_PER_PARTY: usize = 4;

/// Frames that arrive, from the opening frame on.
pub(crate) type Incoming = BoxStream<'static, Result<wire::Frame, Status>>;

type Key = (Hash32, Role);

/// What an arriving stream is handed: the sender of its answer.
struct Seat {
    sender: oneshot::Sender<(Incoming, oneshot::Sender<Outgoing>)>,
}

/// The meeting place of one party server. Shared by all its sessions.
#[derive(Default)]
pub struct Lobby {
    seats: Mutex<HashMap<Key, Seat>>,
    seated: Notify,
    standing: Mutex<HashMap<Role, usize>>,
}

impl std::fmt::Debug for Lobby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lobby({} seats)", lock(&self.seats).len())
    }
}

/// Counts a stream that waits.
struct Standing<'a> {
    lobby: &'a Lobby,
    party: Role,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.lobby.standing).get_mut(&self.party) {
            *count -= 1;
        }
    }
}

/// Removes an expectation that was given up.
struct Reservation<'a> {
    lobby: &'a Lobby,
    key: Key,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(&self.lobby.seats).remove(&self.key);
    }
}

impl Lobby {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The service's half: takes the stream that `party` opened and returns this party's frames for it. Waits up to `patience` for the
    /// first frame and for the session.
    ///
    /// # Errors
    /// The first frame is missing or names no session that is waited for, or the party leaves too many streams waiting.
    pub async fn arrive(
        &self,
        party: Role,
        incoming: impl futures::Stream<Item = Result<wire::Frame, Status>> + Send + 'static,
        patience: Duration,
    ) -> Result<BoxStream<'static, Result<wire::Frame, Status>>, Refusal> {
        let _standing = self.stand(party)?;
        let meet = async {
            let mut incoming = incoming.boxed();
            let first = match incoming.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Err(Refusal::of_status(&status)),
                None => {
                    return Err(Refusal::new(
                        Reason::MessageMalformed,
                        "a session's stream ended before its first frame",
                    ));
                }
            };
            let session = Hash32::from_slice(&first.session)?;
            let incoming = stream::iter([Ok(first)]).chain(incoming).boxed();
            let seat = loop {
                let seated = self.seated.notified();
                let seat = lock(&self.seats).remove(&(session, party));
                match seat {
                    Some(seat) => break seat,
                    None => seated.await,
                }
            };
            let (sender, answer) = oneshot::channel();
            let unknown = || {
                let text = format!(
                    "session {} was given up while the stream was being opened",
                    session.short()
                );
                Refusal::new(Reason::SessionUnknown, text)
            };
            seat.sender.send((incoming, sender)).map_err(|_| unknown())?;
            answer.await.map_err(|_| unknown())
        };
        match tokio::time::timeout(patience, meet).await {
            Ok(outgoing) => Ok(outgoing?.map(Ok).boxed()),
            Err(_) => Err(Refusal::new(
                Reason::SessionUnknown,
                format_args!(
                    "{party} opened a stream, but within {patience:?} no session waited for it here"
                ),
            )),
        }
    }

    /// The session's half: waits for the stream of `party` and answers it with `outgoing`. The caller sets the time limit by dropping
    /// the future.
    pub(crate) async fn expect(&self, session: Hash32, party: Role, outgoing: Outgoing) -> Option<Incoming> {
        let key = (session, party);
        let (sender, arrival) = oneshot::channel();
        lock(&self.seats).insert(key, Seat { sender });
        let _reservation = Reservation { lobby: self, key };
        self.seated.notify_waiters();
        let (incoming, answer) = arrival.await.ok()?;
        answer.send(outgoing).ok()?;
        Some(incoming)
    }

    fn stand(&self, party: Role) -> Result<Standing<'_>, Refusal> {
        let mut standing = lock(&self.standing);
        let count = standing.entry(party).or_default();
        if *count >= WAITING_PER_PARTY {
            return Err(Refusal::new(
                Reason::PartyBusy,
                format_args!("{party} already has {count} session streams waiting here; let them end first"),
            ));
        }
        *count += 1;
        Ok(Standing { lobby: self, party })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
