//! The board: what the coordinator publishes over TLS to everybody: its clock, manifests with their orders, result bundles.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use tally_proto::card::ListDirectory;
use tally_proto::connect::{MAX_MESSAGE_BYTES, PART_BYTES, public_tls};
use tally_proto::guard::{Guard, Limits, OnConnection};
use tally_proto::ids::{ElectionId, UnixSeconds};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::board_server::{Board, BoardServer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::transport::server::{TcpIncoming, TlsConnectInfo};
use tonic::{Request, Response, Status};

use crate::directory::{Directory, Election};
use crate::error::Error;
use crate::files;
use crate::tickets::{Admitted, Desk};

/// How long a draw, or a card's statement, waits for a processor.
const DRAW_TURN: Duration = Duration::from_secs(8);
/// Statements of cards from one network that are looked at or wait for it: anybody can send what looks like one, and finding out costs a few
/// signatures.
const STATEMENTS_OF_ONE_NETWORK: usize = 4;

/// The service; everything is read from the directory at each request, so commands need not restart it.
#[derive(Debug, Clone)]
struct Published {
    directory: Arc<Directory>,
    /// Opened at the first draw: keys and the book of draws, which this process alone writes.
    desks: Arc<Mutex<HashMap<ElectionId, Arc<Desk>>>>,
    /// Draws under way: each costs a processor a good part of a second.
    drawing: Arc<Semaphore>,
    /// Answers given before that are made again: one at a time.
    repeating: Arc<Semaphore>,
    /// Revocation lists of cards.
    lists: Arc<ListDirectory>,
    /// Statements of cards that are checked: one at a time, so that draws have the other processors.
    checking: Arc<Semaphore>,
    callers: Callers,
}

/// How many statements of cards each network has brought that are not answered yet.
#[derive(Debug, Clone, Default)]
struct Callers(Arc<Mutex<HashMap<Option<IpAddr>, usize>>>);

/// One of them.
struct Calling {
    all: Callers,
    from: Option<IpAddr>,
}

impl Callers {
    fn enter(&self, from: Option<IpAddr>) -> Result<Calling, Refusal> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(from).or_default();
        if *count >= STATEMENTS_OF_ONE_NETWORK {
            return Err(Refusal::new(
                Reason::PartyBusy,
                "several cards' draw codes come from this network at this moment; try again in a few seconds",
            ));
        }
        *count += 1;
        let all = self.clone();
        Ok(Calling { all, from })
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.from);
            }
        }
    }
}

impl Published {
    fn election(&self, id: &str) -> Result<Election, Status> {
        let unknown = || {
            Refusal::new(
                Reason::ElectionUnknown,
                format_args!("no election {id:?} is published here"),
            )
        };
        let id = ElectionId::new(id).map_err(|_| unknown())?;
        self.directory.election(&id).map_err(|error| match error {
            Error::NotDefined { .. } => unknown().into(),
            other => {
                tracing::error!(%other, "election cannot be read");
                Refusal::new(Reason::Internal, "the election cannot be read here").into()
            }
        })
    }
}

impl Published {
    fn new(directory: Directory) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            lists: Arc::new(ListDirectory::of(&directory.revocation_lists())),
            directory: Arc::new(directory),
            desks: Arc::default(),
            drawing: Arc::new(Semaphore::new(processors)),
            repeating: Arc::new(Semaphore::new(1)),
            checking: Arc::new(Semaphore::new(1)),
            callers: Callers::default(),
        }
    }

    /// The desk of an election that is in force.
    fn desk(&self, election: &str) -> Result<Arc<Desk>, Status> {
        let election = self.election(election)?;
        if !election.signed().is_complete() {
            let detail = "the parties have not countersigned it yet";
            return Err(Refusal::new(Reason::ManifestNotCountersigned, detail).into());
        }
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let id = election.signed().manifest().election().clone();
        if let Some(desk) = desks.get(&id) {
            return Ok(Arc::clone(desk));
        }
        let desk = Desk::open(&election, Arc::clone(&self.lists)).map_err(|error| {
            tracing::error!(%error, "the keys of the tickets cannot be used");
            Refusal::new(Reason::Internal, "the keys of the tickets cannot be used here")
        })?;
        let none = || {
            Refusal::new(
                Reason::DrawRefused,
                "this election asks for no tickets: nobody needs a draw code",
            )
        };
        let desk = Arc::new(desk.ok_or_else(none)?);
        desks.insert(id, Arc::clone(&desk));
        Ok(desk)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let stopped = |_| Refusal::new(Reason::Internal, "the draw ended by a fault of this program");
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

#[tonic::async_trait]
impl Board for Published {
    async fn clock(&self, _: Request<wire::ClockRequest>) -> Result<Response<wire::ClockReply>, Status> {
        Ok(Response::new(wire::ClockReply { now_ms: now_ms() }))
    }

    async fn manifest(
        &self,
        of: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::ManifestReply>, Status> {
        let election = self.election(&of.into_inner().election)?;
        if !election.signed().is_complete() {
            let detail = "the parties have not countersigned it yet";
            return Err(Refusal::new(Reason::ManifestNotCountersigned, detail).into());
        }
        let in_force = election.orders_in_force().into_iter();
        Ok(Response::new(wire::ManifestReply {
            manifest: Some(election.signed().envelope().to_wire()),
            orders: in_force.map(|o| o.envelope().to_wire()).collect(),
            revoking: Vec::new(),
        }))
    }

    async fn draw(&self, request: Request<wire::DrawRequest>) -> Result<Response<wire::DrawReply>, Status> {
        let request = request.into_inner();
        let desk = self.desk(&request.election)?;
        // Who asks is looked at before anybody's turn is used up.
        let (admitted, request) = blocking(move || Ok((desk.admit(&request)?, request))).await?;
        let due = match admitted {
            Admitted::Answered(reply) => return Ok(Response::new(reply)),
            Admitted::Due(due) => due,
        };
        let turns = if due.is_again() {
            &self.repeating
        } else {
            &self.drawing
        };
        let turn = tokio::time::timeout(DRAW_TURN, Arc::clone(turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let detail = "too many voters draw at this moment; try again in a minute";
            return Err(Refusal::new(Reason::PartyBusy, detail).into());
        };
        let reply = blocking(move || {
            let reply = due.draw(&request);
            drop(turn);
            reply
        });
        Ok(Response::new(reply.await?))
    }

    async fn admit_draw_code(
        &self,
        request: Request<wire::DrawCodeRequest>,
    ) -> Result<Response<wire::DrawCodeReply>, Status> {
        let connection = request.extensions().get::<TlsConnectInfo<OnConnection>>();
        let from = connection.map(|connection| connection.get_ref().network());
        let calling = self.callers.enter(from)?;
        let request = request.into_inner();
        let desk = self.desk(&request.election)?;
        let turn = tokio::time::timeout(DRAW_TURN, Arc::clone(&self.checking).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let detail = "too many cards' draw codes come in at this moment; try again in a minute";
            return Err(Refusal::new(Reason::PartyBusy, detail).into());
        };
        let admitted = blocking(move || {
            let admitted = desk.admit_code(&request.statement, UnixSeconds(now_ms() / 1000));
            drop((turn, calling));
            admitted
        });
        admitted.await?;
        Ok(Response::new(wire::DrawCodeReply {}))
    }

    type BundleStream = BoxStream<'static, Result<wire::BundlePart, Status>>;

    async fn bundle(&self, of: Request<wire::ElectionRef>) -> Result<Response<Self::BundleStream>, Status> {
        let path = self.election(&of.into_inner().election)?.bundle_file();
        let file = tokio::fs::File::open(&path).await.map_err(|_| {
            Refusal::new(
                Reason::ObjectUnknown,
                "no result is published yet; ask again after the tally",
            )
        })?;
        Ok(Response::new(Box::pin(parts(file, path))))
    }
}

/// A file in parts; nothing is read ahead of what the reader takes.
fn parts(file: tokio::fs::File, path: PathBuf) -> impl Stream<Item = Result<wire::BundlePart, Status>> {
    futures::stream::try_unfold((file, path), async |(mut file, path)| {
        use tokio::io::AsyncReadExt as _;
        let mut part = Vec::with_capacity(PART_BYTES);
        (&mut file)
            .take(PART_BYTES as u64)
            .read_to_end(&mut part)
            .await
            .map_err(|error| {
                tracing::error!(%error, path = %path.display(), "bundle cannot be read");
                Status::from(Refusal::new(Reason::Internal, "the bundle cannot be read here"))
            })?;
        let part = wire::BundlePart {
            bytes: Bytes::from(part),
        };
        Ok((!part.bytes.is_empty()).then_some((part, (file, path))))
    })
}

/// Serves the board until `stop` completes.
///
/// # Errors
/// [`Error::Transport`].
pub async fn serve(
    directory: Directory,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let tls = public_tls(directory.leaf());
    let board = BoardServer::new(Published::new(directory)).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let guard = Guard::new(Limits::default());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Limits::default()
        .server(tls)?
        .add_service(guard.watch(board))
        .serve_with_incoming_shutdown(guard.admitted(incoming), stop)
        .await?;
    Ok(())
}

/// Milliseconds since 1970 by this machine's clock.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Opens the port to serve on.
///
/// # Errors
/// [`Error::Serve`].
pub async fn listen(address: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Serve {
        address: address.to_owned(),
        source,
    })
}

/// The published bundle's bytes of an election.
///
/// # Errors
/// A bundle that is not there.
pub fn bundle_bytes(election: &Election) -> Result<Vec<u8>, Error> {
    Ok(files::read(&election.bundle_file(), 4 << 30)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_few_statements_under_way_and_keeps_no_other_out() {
        let callers = Callers::default();
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([192, 0, 2, last])));
        let mut under_way: Vec<Calling> = (0..STATEMENTS_OF_ONE_NETWORK)
            .map(|_| callers.enter(one).expect("a place"))
            .collect();
        for _ in 0..3 {
            let refused = callers.enter(one).err().expect("too many");
            assert_eq!(refused.reason, Reason::PartyBusy);
        }
        assert!(callers.enter(other).is_ok());
        under_way.pop();
        let again = callers.enter(one).expect("a place is free again");
        assert!(callers.enter(one).is_err());
        drop((under_way, again));
        let kept = callers.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(kept, 0, "nobody is remembered");
    }
}
