//! One party's public server with somebody in front of it who changes what it answers voters' devices: a party that lies to them alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{NamedService, ServerStreamingService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::Party;
use super::liar::{Answer, Raw};

/// Changes an answer: the method's name, the request, what the honest server answers.
pub(crate) type Lie = dyn Fn(&str, &[u8], Answer) -> Answer + Send + Sync;

/// A party's public server as devices see it.
pub(crate) struct Front {
    channel: Channel,
    lie: Arc<Mutex<Arc<Lie>>>,
    serving: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Carrier {
    honest: Channel,
    lie: Arc<Mutex<Arc<Lie>>>,
}

impl Carrier {
    async fn carry(self, method: String, request: Request<Bytes>) -> Answer {
        let asked = request.into_inner();
        let honest = async {
            let mut client = tonic::client::Grpc::new(self.honest.clone());
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
        let lie = Arc::clone(&*self.lie.lock().unwrap_or_else(PoisonError::into_inner));
        lie(name, &asked, honest)
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
    IntakeCalls, "tally.v1.Intake";
    RegistrationCalls, "tally.v1.Registration";
}

/// Serves at `listener` what `honest` answers, as `lie` has it; with TLS where devices come by the address in the manifest.
pub(crate) fn serve(
    honest: Channel,
    lie: Arc<Mutex<Arc<Lie>>>,
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
) -> JoinHandle<()> {
    let carrier = Carrier { honest, lie };
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).expect("a certificate and its key");
    }
    let router = server
        .add_service(IntakeCalls(carrier.clone()))
        .add_service(RegistrationCalls(carrier));
    tokio::spawn(async move {
        // Ends with the test.
        let _ = router.serve_with_incoming(TcpIncoming::from(listener)).await;
    })
}

impl Front {
    /// In front of `party`. Honest until told otherwise.
    pub(crate) async fn before(party: &Party) -> Front {
        let lie: Arc<Mutex<Arc<Lie>>> = Arc::new(Mutex::new(Arc::new(|_, _, honest| honest)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let serving = serve(party.public_channel(), Arc::clone(&lie), listener, None);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Front {
            channel: endpoint.connect_lazy(),
            lie,
            serving,
        }
    }

    /// How devices reach it; what is between them and the party does not matter here, so there is no TLS.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// From now on it answers so.
    pub(crate) fn lies(&self, lie: impl Fn(&str, &[u8], Answer) -> Answer + Send + Sync + 'static) {
        *self.lie.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(lie);
    }
}
