//! A party whose keys are sealed and whose officials have not come: it says so, and does nothing else.
//!
//! Health is "not serving". Every request but Status is refused with `party.locked`, before a byte of it is decoded; Status tells the
//! coordinator and this party's operator how many officials came. The store is not opened. What is at hand is the TLS key and public files.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tally_proto::connect;
use tally_proto::guard::Guard;
use tally_proto::ids::{RoleExt as _, UnixMillis};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::control_server::ControlServer;
use tally_proto::wire::intake_server::IntakeServer;
use tally_proto::wire::peer_server::PeerServer;
use tally_proto::wire::registration_server::RegistrationServer;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_prost::ProstCodec;

use crate::alarm::{Alarm, Standing};
use crate::clock::Clock;
use crate::config::Config;
use crate::holder::{self, HolderError};
use crate::keys::{self, Identities};
use crate::officials::{Public, Terms};
use crate::roles::{Needs, Roles};
use crate::server::{SERVICES, ServerError, bind, public_transport, serve, transport};

/// How often the key holder is asked.
const PAUSE: Duration = Duration::from_millis(500);
const STATUS: &str = "/tally.v1.Control/Status";

/// Serves as a locked party until the key holder has the key, or `stop` completes. Returns whether it is unlocked. At once when the keys are
/// in plain files or the key holder has the key already.
///
/// # Errors
/// [`ServerError`]: files, listeners.
pub(crate) async fn until_unlocked(
    config: &Config,
    clock: &Arc<dyn Clock>,
    stop: impl Future<Output = ()>,
) -> Result<bool, ServerError> {
    let Some(sealed) = keys::sealed(config)? else {
        return Ok(true);
    };
    let mut seen = Seen::Nothing;
    let public = sealed.public().clone();
    if look(config, &public, &mut seen).await? {
        return Ok(true);
    }
    let leaf = keys::front_leaf(config)?;
    let trust = Identities::load(config)?.trust();
    let (state, standing) = watch::channel(wire::LockStatus::default());
    let says = Says {
        party: config.party.number(),
        terms: public.terms,
        since: UnixMillis(clock.now_ms()),
        clock: Arc::clone(clock),
        standing,
        roles: Arc::new(Roles::new(config.party, trust.clone())),
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES.into_iter().chain([""]) {
        health
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
    let (public_listener, public_address) = bind(config.listen_public).await?;
    let (peer_listener, peer_address) = bind(config.listen_peer).await?;
    let public_guard = Guard::new(config.public);
    let roles = Arc::clone(&says.roles);
    let peer_guard = Guard::naming(config.public, move |leaf| roles.caller(leaf));
    let public_router = public_transport(connect::public_tls(&leaf), &config.public)?
        .add_service(public_guard.watch(health_service.clone()))
        .add_service(public_guard.watch(Locked::<IntakeServer<()>>::new(&says)));
    let peer_tls = connect::mutual_tls(&leaf, &trust).timeout(config.public.handshake);
    let peer_router = transport(peer_tls, config.server.max_requests_per_connection)?
        .add_service(peer_guard.watch(health_service))
        .add_service(peer_guard.watch(Locked::<IntakeServer<()>>::new(&says)))
        .add_service(peer_guard.watch(Locked::<RegistrationServer<()>>::new(&says)))
        .add_service(peer_guard.watch(Locked::<ControlServer<()>>::new(&says)))
        .add_service(peer_guard.watch(Locked::<PeerServer<()>>::new(&says)));
    let (stopper, stopping) = watch::channel(false);
    let mut listeners = [
        tokio::spawn(serve(
            public_router,
            public_guard.admitted(public_listener),
            stopping.clone(),
        )),
        tokio::spawn(serve(peer_router, peer_guard.admitted(peer_listener), stopping)),
    ];
    tracing::warn!(party = %config.party, public = %public_address, peer = %peer_address, needed = %public.terms,
        "locked: officials are to give their shares with `party unseal`");
    let watching = async {
        loop {
            if look(config, &public, &mut seen).await? {
                return Ok::<_, ServerError>(());
            }
            state.send_replace(seen.status(public.terms));
            tokio::time::sleep(PAUSE).await;
        }
    };
    let [one, two] = &mut listeners;
    let unlocked = tokio::select! {
        found = watching => found.map(|()| true),
        () = stop => Ok(false),
        ended = one => Err(fault(ended)),
        ended = two => Err(fault(ended)),
    };
    // Refusals are short; nothing under way is worth waiting for.
    stopper.send_replace(true);
    for listener in &listeners {
        listener.abort();
    }
    for listener in listeners {
        if !listener.is_finished() {
            // Cut off: its socket is closed once this returns.
            let _ = listener.await;
        }
    }
    unlocked
}

fn fault(ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>) -> ServerError {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => ServerError::Fault,
    }
}

/// What was last seen of the key holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Given(u16),
}

impl Seen {
    fn status(self, terms: Terms) -> wire::LockStatus {
        wire::LockStatus {
            needed: terms.threshold().into(),
            officials: terms.officials().into(),
            given: match self {
                Seen::Given(given) => given.count_ones(),
                Seen::Nothing => 0,
            },
            holder_runs: matches!(self, Seen::Given(_)),
        }
    }
}

/// Asks the key holder. A holder that is away or refuses is no fault of the server: it is said in the log when it changes.
async fn look(config: &Config, public: &Public, seen: &mut Seen) -> Result<bool, ServerError> {
    let (directory, of) = (config.keys.holder.clone(), public.clone());
    let asked = tokio::task::spawn_blocking(move || match holder::key(&directory, &of) {
        Ok(Some(_)) => Ok(None),
        Ok(None) => holder::state(&directory).map(Some),
        Err(error) => Err(error),
    })
    .await
    .map_err(|_| ServerError::Fault)?;
    let now = match asked {
        Ok(None) => return Ok(true),
        Ok(Some(state)) => Seen::Given(state.given),
        Err(error) => {
            if *seen != Seen::Nothing || matches!(error, HolderError::Exposed(_) | HolderError::OtherUser(_))
            {
                tracing::warn!(%error, "the key holder does not answer");
            }
            Seen::Nothing
        }
    };
    *seen = now;
    Ok(false)
}

/// What every service of a locked party says.
#[derive(Clone)]
struct Says {
    party: u32,
    terms: Terms,
    clock: Arc<dyn Clock>,
    since: UnixMillis,
    standing: watch::Receiver<wire::LockStatus>,
    roles: Arc<Roles>,
}

/// A service of a locked party under its own name.
struct Locked<S> {
    says: Says,
    name: PhantomData<fn() -> S>,
}

impl<S> Locked<S> {
    fn new(says: &Says) -> Self {
        Locked {
            says: says.clone(),
            name: PhantomData,
        }
    }
}

impl<S> Clone for Locked<S> {
    fn clone(&self) -> Self {
        Locked::new(&self.says)
    }
}

impl<S: NamedService> NamedService for Locked<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Locked<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let says = self.says.clone();
        Box::pin(async move {
            if request.uri().path() == STATUS {
                return Ok(Grpc::new(ProstCodec::default()).unary(says, request).await);
            }
            let refusal = Refusal::new(
                Reason::PartyLocked,
                format_args!(
                    "party {} is locked since its machine started; {} are needed",
                    says.party, says.terms
                ),
            );
            Ok(Status::from(refusal).into_http())
        })
    }
}

impl UnaryService<wire::StatusRequest> for Says {
    type Response = wire::StatusReply;
    type Future = BoxFuture<Response<wire::StatusReply>, Status>;

    fn call(&mut self, request: Request<wire::StatusRequest>) -> Self::Future {
        let allowed = self.roles.require(&request, Needs::CoordinatorOrOperator);
        let mut locked = *self.standing.borrow();
        locked.needed = self.terms.threshold().into();
        locked.officials = self.terms.officials().into();
        let alarm = Standing {
            alarm: Alarm::Locked,
            about: String::new(),
            detail: format!(
                "Locked: {} of {} key officials are needed, {} came; {}.",
                locked.needed,
                locked.officials,
                locked.given,
                if locked.holder_runs {
                    "they give their shares with `party unseal`"
                } else {
                    "no key holder runs: start `party hold-keys`"
                }
            ),
            since: self.since,
        };
        let reply = wire::StatusReply {
            party: self.party,
            now_ms: self.clock.now_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            alarms: vec![alarm.to_wire()],
            locked: Some(locked),
            ..Default::default()
        };
        Box::pin(async move {
            allowed?;
            Ok(Response::new(reply))
        })
    }
}
