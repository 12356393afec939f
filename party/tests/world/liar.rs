//! One party's server with somebody in front of it who changes what it answers the other parties. What parties ask one another has no streams of
//! requests but a session's, so every call is carried as one message and the messages that answer it.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use tally_party::roles::Roles;
use tally_proto::connect;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::PeerRole;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{NamedService, ServerStreamingService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::{Party, World};

/// What a call comes to.
pub(crate) type Answer = Result<Vec<Vec<u8>>, Status>;

/// Changes an answer: who asked, the method's name, the request, what the honest server answers.
pub(crate) type Lie = dyn Fn(Role, &str, &[u8], Answer) -> Answer + Send + Sync;

/// Waits before an answer: who asked, the method's name.
pub(crate) type Delay = dyn Fn(Role, &str) -> std::time::Duration + Send + Sync;

/// A party that lies.
pub(crate) struct Liar {
    /// The honest server behind it.
    pub(crate) party: Party,
    lie: Arc<Mutex<Arc<Lie>>>,
    delay: Arc<Mutex<Arc<Delay>>>,
    serving: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Bytes as they are.
#[derive(Clone, Copy, Default)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let whole = from.remaining();
        Ok(Some(from.copy_to_bytes(whole)))
    }
}

/// Carries the calls of one service.
#[derive(Clone)]
struct Carrier {
    roles: Arc<Roles>,
    /// To the honest server, as each of the parties.
    channels: Arc<[Channel; 3]>,
    lie: Arc<Mutex<Arc<Lie>>>,
    delay: Arc<Mutex<Arc<Delay>>>,
}

impl Carrier {
    async fn carry(self, method: String, request: Request<Bytes>) -> Answer {
        let caller = match self.roles.of(&request) {
            Ok(Some(PeerRole::Party(caller))) => caller,
            _ => return Err(Status::permission_denied("parties only")),
        };
        let asked = request.into_inner();
        let honest = async {
            let mut client = tonic::client::Grpc::new(self.channels[caller.slot()].clone())
                .max_decoding_message_size(connect::MAX_REPLY_BYTES);
            let ready = client.ready().await;
            ready.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = method
                .parse::<PathAndQuery>()
                .map_err(|error| Status::internal(error.to_string()))?;
            let answered = client
                .server_streaming(Request::new(asked.clone()), path, Raw)
                .await?;
            let parts: Vec<Bytes> = answered.into_inner().try_collect().await?;
            Ok(parts.into_iter().map(|part| part.to_vec()).collect())
        };
        let honest = honest.await;
        let name = method.rsplit('/').next().unwrap_or_default();
        let delay = Arc::clone(&*self.delay.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::time::sleep(delay(caller, name)).await;
        let lie = Arc::clone(&*self.lie.lock().unwrap_or_else(PoisonError::into_inner));
        lie(caller, name, &asked, honest)
    }
}

/// One call of it.
struct Call(Carrier, String);

impl ServerStreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (carrier, method) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let parts = carrier.carry(method, request).await?;
            let parts = parts.into_iter().map(|part| Ok(Bytes::from(part)));
            Ok(Response::new(stream::iter(parts).boxed()))
        })
    }
}

macro_rules! carried {
    ($($service:ident, $name:literal;)*) => {$(
        #[derive(Clone)]
        struct $service(Carrier);

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl tonic::codegen::Service<http::Request<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = std::convert::Infallible;
            type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                let carrier = self.0.clone();
                let method = request.uri().path().to_owned();
                Box::pin(async move {
                    let mut server = tonic::server::Grpc::new(Raw);
                    Ok(server.server_streaming(Call(carrier, method), request).await)
                })
            }
        }
    )*};
}

carried! {
    PeerCalls, "tally.v1.Peer";
    IntakeCalls, "tally.v1.Intake";
}

impl Liar {
    /// In front of `party`, which listens somewhere else than the manifest says. Honest until told otherwise.
    pub(crate) async fn before(world: &World, party: Party) -> Liar {
        let role = party.role;
        let trust = party.running.party().identities.trust();
        let channels = Role::ALL.map(|caller| {
            let leaf = world.leaf_of(caller, PeerRole::Party(caller));
            party.peer_channel(Some(&leaf))
        });
        let lie: Arc<Mutex<Arc<Lie>>> = Arc::new(Mutex::new(Arc::new(|_, _, _, honest| honest)));
        let delay: Arc<Mutex<Arc<Delay>>> = Arc::new(Mutex::new(Arc::new(|_, _| std::time::Duration::ZERO)));
        let carrier = Carrier {
            roles: Arc::new(Roles::new(role, trust.clone())),
            channels: Arc::new(channels),
            lie: Arc::clone(&lie),
            delay: Arc::clone(&delay),
        };
        let port = world.peer_port(role);
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
        let leaf = world.leaf_of(role, PeerRole::Party(role));
        let router = Server::builder()
            .tls_config(connect::mutual_tls(&leaf, &trust))
            .expect("TLS")
            .add_service(PeerCalls(carrier.clone()))
            .add_service(IntakeCalls(carrier));
        let serving = tokio::spawn(async move {
            // Ends with the test.
            let _ = router.serve_with_incoming(TcpIncoming::from(listener)).await;
        });
        Liar {
            party,
            lie,
            delay,
            serving,
        }
    }

    /// From now on it answers so.
    pub(crate) fn lies(&self, lie: impl Fn(Role, &str, &[u8], Answer) -> Answer + Send + Sync + 'static) {
        *self.lie.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(lie);
    }

    /// From now on it takes that long.
    pub(crate) fn delays(&self, delay: impl Fn(Role, &str) -> std::time::Duration + Send + Sync + 'static) {
        *self.delay.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(delay);
    }
}

/// Changes every message of an answer that is of that type.
pub(crate) fn change<T: prost::Message + Default>(answer: Answer, mut with: impl FnMut(&mut T)) -> Answer {
    answer.map(|parts| {
        parts
            .into_iter()
            .map(|part| {
                let mut read = T::decode(part.as_slice()).expect("an honest answer");
                with(&mut read);
                read.encode_to_vec()
            })
            .collect()
    })
}
