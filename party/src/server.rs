//! The running server: two listeners, health, reflection, and a stop that lets requests under way end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream};
use serde_json::json;
use tally_proto::connect::{self, ConnectError, MAX_MESSAGE_BYTES};
use tally_proto::guard::{Guard, Limits};
use tally_proto::wire::FILE_DESCRIPTOR_SET;
use tally_proto::wire::control_server::ControlServer;
use tally_proto::wire::intake_server::IntakeServer;
use tally_proto::wire::peer_server::PeerServer;
use tally_proto::wire::registration_server::RegistrationServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tonic::codegen::http;
use tonic::transport::server::{Connected, Router, ServerTlsConfig, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::alarm::Alarm;
use crate::clock::{Clock, SystemClock};
use crate::clock_watch;
use crate::config::Config;
use crate::entropy::{Entropy, SystemEntropy};
use crate::intake;
use crate::journal::Event;
use crate::keys::KeyError;
use crate::lookout;
use crate::metrics;
use crate::metrics::connections::counted;
use crate::mirror;
use crate::party::{Party, PartyError};
use crate::rpc::Reasoned;
use crate::rpc::control::ControlService;
use crate::rpc::intake::IntakeService;
use crate::rpc::peer::PeerService;
use crate::rpc::peer_sealing::SealingService;
use crate::rpc::registration::RegistrationService;
use crate::sealing::Sealing;
use crate::session::transport::{FRAME_BYTES, buffered};
use crate::session::{SealedBoxes, Sessions};
use crate::store::{Storage, StoreError};

/// What a party needs from outside: tests pass their own.
pub struct Deps {
    /// The clock that phases run on.
    pub clock: Arc<dyn Clock>,
    /// Where the store keeps its bytes.
    pub storage: Storage,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
}

impl Deps {
    /// The system's clock and randomness, and the store in the configured directory.
    pub fn system(config: &Config) -> Deps {
        Deps {
            clock: Arc::new(SystemClock),
            storage: Storage::File(config.data_dir.join(Storage::FILE)),
            entropy: Arc::new(SystemEntropy),
        }
    }
}

/// Why a server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Keys, certificates or identities.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds cannot be used.
    #[error(transparent)]
    Party(#[from] PartyError),
    /// A channel to another party.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A listener's address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// TLS set-up or a listener's end.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Reflection.
    #[error("the service descriptions cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The store failed while running.
    #[error(
        "the store failed while running: nothing acknowledged is lost; check the disk and start the party again"
    )]
    StoreFailed,
    /// The store's file is no store any more: a disk that confirms what it has not written can leave it so.
    #[error(
        "the store in {} is damaged and cannot be read: its disk has lost writes that it confirmed. Keep the file, check the disk, and start with an empty data_dir: \
         the two other parties give back what this one acknowledged",
        .0.display()
    )]
    StoreDamaged(PathBuf),
    /// A listener's task ended by a panic.
    #[error("a listener ended by a fault of this program; start the party again")]
    Fault,
    /// The directory of the store.
    #[error("{}: {source}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A party's server, to be started.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// A running server. Dropping it stops the server without waiting; [`Running::stop`] waits.
pub struct Running {
    public: SocketAddr,
    peer: SocketAddr,
    metrics: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    notice: Duration,
    grace: Duration,
    listeners: Vec<JoinHandle<Result<(), tonic::transport::Error>>>,
    health: HealthReporter,
    party: Arc<Party>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Running({}, public {}, peer {})",
            self.party.role, self.public, self.peer
        )
    }
}

impl Server {
    /// Starts a party: reads its files, opens its store, binds both listeners and serves.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left running.
    pub fn start(config: Config, deps: Deps) -> BoxFuture<'static, Result<Running, ServerError>> {
        // Boxed, the server is compiled here once, and not again in every program that starts one.
        Self::starting(config, deps).boxed()
    }

    async fn starting(config: Config, deps: Deps) -> Result<Running, ServerError> {
        let grace = Duration::from_secs(config.server.shutdown_grace_s);
        let notice = Duration::from_secs(config.server.shutdown_notice_s);
        let limits = config.server;
        let bears = config.public;
        let submission_bytes = config.intake.max_submission_bytes;
        let listening = (config.listen_public, config.listen_peer);
        let metrics = config.telemetry.metrics;
        let (data_dir, split) = (config.data_dir.clone(), config.keys.sealed.is_some());
        // The engine gives up with a panic over pages that are not what they should be.
        let party = tokio::task::spawn_blocking(move || Party::open(&config, deps))
            .await
            .map_err(|_| ServerError::StoreDamaged(data_dir))??;
        let party = Arc::new(party);
        if split {
            // On disk before anybody is served: whoever unlocks and pulls the plug at once leaves a line.
            party.witness.record(Event::Unlocked, json!({}));
        }

        let (public, public_address) = bind(listening.0).await?;
        let (peer, peer_address) = bind(listening.1).await?;
        let metrics = match metrics {
            Some(address) => {
                let refused = |source| ServerError::Listen { address, source };
                let listener = TcpListener::bind(address).await.map_err(refused)?;
                let bound = listener.local_addr().map_err(refused)?;
                Some((listener, bound))
            }
            None => None,
        };
        let (stop, stopping) = watch::channel(false);
        party.stop_with(stopping.clone());
        let sealing = Sealing::of(&party);
        let boxes = SealedBoxes::new(sealing.clone(), tokio::runtime::Handle::current());
        let following = sealing.clone();
        party.plug_seals(Arc::new(SealingService::new(&party, sealing, stopping.clone())));
        party.plug_tallies(Arc::new(Sessions::of_party(&party, Arc::new(boxes))?));
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .build_v1()
        };
        let intake_service = || {
            Reasoned(
                IntakeServer::new(IntakeService::new(Arc::clone(&party)))
                    .max_decoding_message_size(submission_bytes),
            )
        };
        let registration = || {
            Reasoned(
                RegistrationServer::new(RegistrationService::new(Arc::clone(&party)))
                    .max_decoding_message_size(submission_bytes),
            )
        };
        let control = Reasoned(
            ControlServer::new(ControlService::new(Arc::clone(&party)))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        );
        let peers = Reasoned(
            PeerServer::new(PeerService::new(Arc::clone(&party)))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        );

        let guards = &party.witness.metrics.guards;
        let public_guard = Guard::new(bears);
        // The guard is the party's own.
        let of = Arc::downgrade(&party);
        let peer_guard = Guard::naming(bears, move |leaf| of.upgrade()?.roles.caller(leaf));
        guards.stand(&public_guard, &peer_guard);
        let public_router = public_transport(connect::public_tls(&party.leaf), &bears)?
            .add_service(public_guard.watch(health_service.clone()))
            .add_service(public_guard.watch(reflection()?))
            .add_service(public_guard.watch(intake_service()))
            .add_service(public_guard.watch(registration()));
        let peer_tls = connect::mutual_tls(&party.leaf, &party.identities.trust()).timeout(bears.handshake);
        let peer_router = transport(peer_tls, limits.max_requests_per_connection)?
            .max_frame_size(FRAME_BYTES)
            .add_service(peer_guard.watch(health_service))
            .add_service(peer_guard.watch(reflection()?))
            .add_service(peer_guard.watch(intake_service()))
            .add_service(peer_guard.watch(registration()))
            .add_service(peer_guard.watch(control))
            .add_service(peer_guard.watch(peers));
        for service in SERVICES {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        // From here on nothing is waited for: who gives up a start in the middle leaves no listener behind.
        let listeners = vec![
            tokio::spawn(serve(
                public_router,
                counted(
                    public_guard.admitted(public),
                    Arc::clone(&party.witness.metrics),
                    |metrics| &metrics.public,
                ),
                stopping.clone(),
            )),
            tokio::spawn(serve(
                peer_router,
                counted(
                    peer_guard.admitted(buffered(peer)),
                    Arc::clone(&party.witness.metrics),
                    |metrics| &metrics.peer,
                ),
                stopping,
            )),
        ];
        let keep = |name, task: fn(Arc<Party>, Sealing) -> BoxFuture<'static, ()>| {
            let (party, sealing) = (Arc::clone(&party), following.clone());
            tokio::spawn(kept(Arc::clone(&party), name, move || {
                task(Arc::clone(&party), sealing.clone())
            }));
        };
        intake::serve(&party);
        keep("following the next party", |party, sealing| {
            let peer = party.role.next();
            mirror::follow(party, sealing, peer).boxed()
        });
        keep("following the previous party", |party, sealing| {
            let peer = party.role.prev();
            mirror::follow(party, sealing, peer).boxed()
        });
        keep("recollection", |party, sealing| {
            mirror::recollect(party, sealing).boxed()
        });
        keep("mending of what was lost", |party, sealing| {
            mirror::mend(party, sealing).boxed()
        });
        keep("writing of events", |party, _| mirror::scribe(party).boxed());
        keep("watching of clocks", |party, _| clock_watch::watch(party).boxed());
        keep("lookout", |party, _| lookout::keep(party).boxed());
        keep("remembering of certificates", |party, _| {
            lookout::remember(party).boxed()
        });
        keep("taking over of card records", |party, _| {
            party.take_over_always().boxed()
        });
        keep("sweeping of publications", |party, _| {
            party.sweep_publications().boxed()
        });
        let metrics_address = metrics.map(|(listener, bound)| {
            tokio::spawn(metrics::serve::serve(listener, Arc::clone(&party)));
            bound
        });
        let facts = json!({ "version": env!("CARGO_PKG_VERSION") });
        party.witness.record(Event::Started, facts);
        tracing::info!(party = %party.role, public = %public_address, peer = %peer_address, "serving");
        Ok(Running {
            public: public_address,
            peer: peer_address,
            metrics: metrics_address,
            stop,
            notice,
            grace,
            listeners,
            health,
            party,
        })
    }
}

/// Pause before a task that ended by a fault of this program is started again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs a task until it ends by itself, as it does when the server stops. One that ends by a fault of this program is started again, and a person
/// is told: without it no election would open any more, or a wrong clock stay unseen.
pub(crate) async fn kept(party: Arc<Party>, name: &'static str, task: impl Fn() -> BoxFuture<'static, ()>) {
    let again = again(task, || {
        tracing::error!(party = %party.role, task = name, "a task ended by a fault of this program and is started again");
        let detail = format!("{name} ended by a fault of this program and was started again");
        party.alarm(Alarm::TaskFailed, name, Some(detail));
    });
    tokio::select! {
        () = again => {}
        () = party.stopping() => {}
    }
}

/// Starts a task again as long as it ends by a panic, and tells of each.
async fn again(task: impl Fn() -> BoxFuture<'static, ()>, tell: impl Fn()) {
    let mut running = JoinSet::new();
    running.spawn(task());
    while let Some(Err(error)) = running.join_next().await
        && error.is_panic()
    {
        tell();
        tokio::time::sleep(AGAIN_AFTER).await;
        running.spawn(task());
    }
}

/// Names under which health is reported, besides the empty one of the server as a whole.
pub(crate) const SERVICES: [&str; 4] = [
    "tally.v1.Intake",
    "tally.v1.Registration",
    "tally.v1.Control",
    "tally.v1.Peer",
];

pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpIncoming, SocketAddr), ServerError> {
    let refused = |source| ServerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((TcpIncoming::from(listener).with_nodelay(Some(true)), bound))
}

pub(crate) fn transport(
    tls: ServerTlsConfig,
    requests_per_connection: usize,
) -> Result<tonic::transport::Server, tonic::transport::Error> {
    Ok(tonic::transport::Server::builder()
        .tls_config(tls)?
        .trace_fn(span)
        .concurrency_limit_per_connection(requests_per_connection)
        .max_concurrent_streams(u32::try_from(requests_per_connection).ok())
        .initial_stream_window_size(connect::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(connect::CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(connect::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(connect::KEEPALIVE_TIMEOUT)))
}

/// Of the public listener.
pub(crate) fn public_transport(
    tls: ServerTlsConfig,
    bears: &Limits,
) -> Result<tonic::transport::Server, tonic::transport::Error> {
    Ok(bears.server(tls)?.trace_fn(span))
}

/// Names the method and nothing of the caller. What voters do is seen only by whoever turns debugging on: it is too much to write, and
/// nobody's business.
fn span(request: &http::Request<()>) -> tracing::Span {
    match request.uri().path() {
        path if path.starts_with("/tally.v1.Intake/") => tracing::debug_span!("rpc", method = path),
        path => tracing::info_span!("rpc", method = path),
    }
}

pub(crate) async fn serve<S>(
    router: Router,
    incoming: impl Stream<Item = io::Result<S>>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    router
        .serve_with_incoming_shutdown(incoming, async move {
            // A dropped sender stops the server too.
            let _ = stopping.wait_for(|stop| *stop).await;
        })
        .await
}

impl Running {
    /// Where voters connect.
    pub fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// Where everyone with a certificate connects.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Where figures are read, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Connections that are open on the public listener.
    pub fn public_connections(&self) -> usize {
        self.party.witness.metrics.guards.public_open()
    }

    /// The party that is served.
    pub fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// Waits until the store fails or a listener ends by itself.
    ///
    /// # Errors
    /// Always ends with why: [`ServerError`].
    pub async fn failed(&mut self) -> ServerError {
        let mut store_failed = self.party.store.failed();
        let mut writer_failed = self.party.intake.failed();
        let [public, peer] = self.listeners.as_mut_slice() else {
            return ServerError::Fault;
        };
        // Whoever wrote: also what follows the others, writes events down or seals.
        let store_failed = async {
            tokio::select! {
                _ = store_failed.wait_for(|failed| *failed) => {}
                _ = writer_failed.wait_for(|failed| *failed) => {}
            }
        };
        let ended = tokio::select! {
            () = store_failed => {
                let detail = "the store refused a write; nothing is acknowledged since";
                self.party.alarm(Alarm::StoreFailed, "", Some(detail.to_owned()));
                return ServerError::StoreFailed;
            }
            ended = public => ended,
            ended = peer => ended,
        };
        match ended {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) | Err(_) => ServerError::Fault,
        }
    }

    /// Says to health checks that it serves no longer; after the configured notice takes no new connections and requests, waits for those under
    /// way up to the configured grace, and ends. What was acknowledged is on disk before; what is cut off after the grace was not.
    pub async fn stop(mut self) {
        self.health
            .set_service_status("", ServingStatus::NotServing)
            .await;
        for service in SERVICES {
            self.health
                .set_service_status(service, ServingStatus::NotServing)
                .await;
        }
        // Whoever stands in front of this server sends voters elsewhere before it turns one away.
        tokio::time::sleep(self.notice).await;
        self.stop.send_replace(true);
        // Whoever watches health has been told; a watch has no end of its own, and nobody waits for it.
        for service in SERVICES.into_iter().chain([""]) {
            self.health.clear_service_status(service).await;
        }
        let all = futures::future::join_all(self.listeners.iter_mut());
        if tokio::time::timeout(self.grace, all).await.is_err() {
            tracing::warn!(
                grace_s = self.grace.as_secs(),
                "requests under way did not end in time; cutting them off"
            );
            for listener in &self.listeners {
                listener.abort();
            }
        }
        self.party.witness.record(Event::Stopped, json!({}));
        tracing::info!(party = %self.party.role, "stopped");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_and_told() {
        let (runs, told) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let count = Arc::clone(&runs);
        let task = move || {
            let run = count.fetch_add(1, Ordering::Relaxed);
            async move { assert!(run >= 2, "a fault that a test makes") }.boxed()
        };
        again(task, || {
            told.fetch_add(1, Ordering::Relaxed);
        })
        .await;
        assert_eq!(
            (runs.load(Ordering::Relaxed), told.load(Ordering::Relaxed)),
            (3, 2)
        );
    }
}
