//! Dialling and listening the same way everywhere: TLS settings, limits, timeouts.

use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use rustls_pki_types::CertificateDer;
use tonic::codegen::http::Uri;
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use crate::identity::Address;
use crate::pki::{self, Anchor, Leaf, PkiError, Shown, Trust};
use crate::wire::board_client::BoardClient;
use crate::wire::control_client::ControlClient;
use crate::wire::intake_client::IntakeClient;
use crate::wire::peer_client::PeerClient;
use crate::wire::registration_client::RegistrationClient;

/// Largest message in bytes that control and peer services take. What is larger is streamed.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// Largest message in bytes that a party or the coordinator takes as a reply: a Seal and three Claims.
pub const MAX_REPLY_BYTES: usize = 4 * crate::envelope::MAX_ENVELOPE_BYTES + MAX_MESSAGE_BYTES;
/// Largest message in bytes that a voter, station or registrar sends to a party.
pub const MAX_INTAKE_BYTES: usize = 16 << 10;
/// Size in bytes to which streamed bodies (lists, bundles, evidence) are cut.
pub const PART_BYTES: usize = 1 << 20;
/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a single request of a voter, station or registrar may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How often an idle connection is probed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a probe may stay unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 window of a stream between parties: a tally's messages are hundreds of kilobytes.
pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2 window of a connection between parties.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Why a connection could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS settings or address are unusable.
    #[error("cannot set up a connection to {address}: {source}")]
    Setup {
        /// Where to.
        address: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
    /// The caller's own certificate is none.
    #[error("cannot set up a connection to {address}: this program's own certificate: {source}")]
    Certificate {
        /// Where to.
        address: String,
        /// What is wrong with it.
        source: PkiError,
    },
}

/// How to dial one server: its address, the only authority its certificate may come from, and the caller's own certificate where the
/// server asks for one.
#[derive(Clone, Copy, Debug)]
pub struct Dial<'a> {
    /// Where to.
    pub address: &'a Address,
    /// Who must have issued the server's certificate.
    pub anchor: &'a Anchor,
    /// The caller's certificate; voters have none.
    pub leaf: Option<&'a Leaf>,
}

impl Dial<'_> {
    /// The endpoint, without a limit on a request's time: streams and tallies take as long as they take.
    ///
    /// # Errors
    /// [`ConnectError::Setup`].
    pub fn endpoint(&self) -> Result<Endpoint, ConnectError> {
        let address = self.address.as_str();
        let setup = |source| ConnectError::Setup {
            address: address.into(),
            source,
        };
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.anchor.pem()))
            .domain_name(self.address.host());
        if let Some(leaf) = self.leaf {
            tls = tls.identity(Identity::from_pem(&leaf.cert_pem, leaf.key_pem.as_bytes()));
        }
        Endpoint::from_shared(address.to_owned())
            .map_err(setup)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .tls_config(tls)
            .map_err(setup)
    }

    /// A channel that connects when first used and again whenever the connection is lost.
    ///
    /// # Errors
    /// [`ConnectError::Setup`].
    pub fn channel(&self) -> Result<Channel, ConnectError> {
        self.lazily(&self.endpoint()?)
    }

    /// Like [`Dial::channel`], with [`REQUEST_TIMEOUT`] on every request: for voters, stations and registrars.
    ///
    /// # Errors
    /// [`ConnectError::Setup`].
    pub fn channel_with_timeout(&self) -> Result<Channel, ConnectError> {
        self.lazily(&self.endpoint()?.timeout(REQUEST_TIMEOUT))
    }

    /// With a connector of our own, [`CONNECT_TIMEOUT`] holds for TCP and TLS together. The transport's own connector stops the clock when TCP
    /// stands: a server that accepts and then says nothing would hold a caller for ever.
    fn lazily(&self, endpoint: &Endpoint) -> Result<Channel, ConnectError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let shown = self
            .leaf
            .map(|leaf| (leaf.cert_pem.clone(), self.address.as_str().to_owned()));
        let shown = shown.map(|(pem, address)| {
            Shown::of(&pem).map_err(|source| ConnectError::Certificate { address, source })
        });
        Ok(endpoint.connect_with_connector_lazy(InTime {
            tcp,
            shown: shown.transpose()?,
        }))
    }
}

/// Connects while the certificate that will be shown is in time. Of one that is not, the server would say no more than a TLS alert, and often
/// nothing that arrives: the caller itself knows whose it is and when it ended.
#[derive(Clone)]
struct InTime {
    tcp: HttpConnector,
    shown: Option<Shown>,
}

impl Service<Uri> for InTime {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let in_time = self
            .shown
            .as_ref()
            .map_or(Ok(()), |shown| shown.check(pki::system_now()));
        match in_time {
            Ok(()) => {
                let connecting = self.tcp.call(to);
                Box::pin(async move { Ok(connecting.await?) })
            }
            Err(expired) => Box::pin(async move { Err(expired.into()) }),
        }
    }
}

/// Makes ring this process's one TLS provider. The first line of every main; again, it does nothing.
pub fn install_tls_provider() {
    // An error only says that a provider stands already; ring is the only one that is ever compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client of a party's intake.
pub fn intake(channel: Channel) -> IntakeClient<Channel> {
    IntakeClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// A client of a party's registration.
pub fn registration(channel: Channel) -> RegistrationClient<Channel> {
    RegistrationClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// A client of a party's control service.
pub fn control(channel: Channel) -> ControlClient<Channel> {
    ControlClient::new(channel)
        .max_decoding_message_size(MAX_REPLY_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// A client of a party's peer service. Claims and Seals alone may be larger than [`MAX_MESSAGE_BYTES`]: whoever asks for one says so.
pub fn peer(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// A client of a coordinator's board.
pub fn board(channel: Channel) -> BoardClient<Channel> {
    BoardClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// TLS of a public listener: the server shows its certificate and asks for none.
pub fn public_tls(leaf: &Leaf) -> ServerTlsConfig {
    ServerTlsConfig::new().identity(Identity::from_pem(&leaf.cert_pem, leaf.key_pem.as_bytes()))
}

/// TLS of a peer listener: every caller must hold a certificate of one of the trusted authorities. Which role it stands for is
/// decided afterwards, by [`Trust::role_of`] on [`peer_certificate`].
pub fn mutual_tls(leaf: &Leaf, trust: &Trust) -> ServerTlsConfig {
    public_tls(leaf).client_ca_root(Certificate::from_pem(trust.pem()))
}

/// The caller's own certificate of a request over [`mutual_tls`].
pub fn peer_certificate<T>(request: &tonic::Request<T>) -> Option<CertificateDer<'static>> {
    crate::guard::certificate(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Role;
    use crate::pki::{Authority, PeerRole};
    use crate::wire::board_server::{Board, BoardServer};
    use crate::{refusal::Refusal, wire};
    use std::sync::{Arc, Mutex};
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
    use tonic::{Request, Response, Status};

    /// A board whose clock tells which role called.
    struct Probe(Trust, Arc<Mutex<Vec<PeerRole>>>);

    #[tonic::async_trait]
    impl Board for Probe {
        async fn clock(
            &self,
            request: Request<wire::ClockRequest>,
        ) -> Result<Response<wire::ClockReply>, Status> {
            let certificate = peer_certificate(&request).expect("mutual TLS");
            let (role, _) = self
                .0
                .role_of(&certificate)
                .map_err(|error: PkiError| Refusal::new(crate::reason::Reason::RoleRefused, error))?;
            self.1.lock().expect("not poisoned").push(role);
            Ok(Response::new(wire::ClockReply { now_ms: 1 }))
        }
        async fn manifest(
            &self,
            _: Request<wire::ElectionRef>,
        ) -> Result<Response<wire::ManifestReply>, Status> {
            Err(Status::unimplemented("not asked here"))
        }
        async fn draw(&self, _: Request<wire::DrawRequest>) -> Result<Response<wire::DrawReply>, Status> {
            Err(Status::unimplemented("not asked here"))
        }
        async fn admit_draw_code(
            &self,
            _: Request<wire::DrawCodeRequest>,
        ) -> Result<Response<wire::DrawCodeReply>, Status> {
            Err(Status::unimplemented("not asked here"))
        }
        type BundleStream = ReceiverStream<Result<wire::BundlePart, Status>>;
        async fn bundle(
            &self,
            _: Request<wire::ElectionRef>,
        ) -> Result<Response<Self::BundleStream>, Status> {
            Err(Status::unimplemented("not asked here"))
        }
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_is_given_up() {
        // Nobody takes the connection out of the queue: TCP stands, TLS never does.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let authority = Authority::generate("P1").expect("made");
        let anchor = Anchor::from_pem(authority.cert_pem()).expect("anchor");
        let address = Address::new("a", &format!("https://localhost:{port}")).expect("address");
        let dial = Dial {
            address: &address,
            anchor: &anchor,
            leaf: None,
        };
        let mut client = board(dial.channel().expect("channel"));
        let asked = tokio::time::timeout(4 * CONNECT_TIMEOUT, client.clock(wire::ClockRequest {})).await;
        let status = asked.expect("given up long before").expect_err("no TLS");
        assert_eq!(
            Refusal::of_status(&status).reason,
            crate::reason::Reason::PartyUnreachable
        );
    }

    #[tokio::test]
    async fn mutual_tls_carries_the_role_and_refuses_strangers() {
        let authority = Authority::generate("P1").expect("made");
        let stranger = Authority::generate("P1").expect("made");
        let anchor = Anchor::from_pem(authority.cert_pem()).expect("anchor");
        let trust = Trust::new().party(Role::P1, anchor.clone());
        let server = authority
            .issue(&PeerRole::Party(Role::P1), &["localhost"])
            .expect("issued");
        let seen = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let serving = tonic::transport::Server::builder()
            .tls_config(mutual_tls(&server, &trust))
            .expect("tls")
            .add_service(BoardServer::new(Probe(trust.clone(), Arc::clone(&seen))))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(serving);

        let address = Address::new("a", &format!("https://localhost:{port}")).expect("address");
        let operator = authority
            .issue(&PeerRole::Operator(Role::P1), &[])
            .expect("issued");
        let ask = async |anchor: &Anchor, leaf: Option<&Leaf>| {
            let dial = Dial {
                address: &address,
                anchor,
                leaf,
            };
            board(dial.channel_with_timeout().expect("channel"))
                .clock(wire::ClockRequest {})
                .await
        };
        ask(&anchor, Some(&operator)).await.expect("answered");
        assert_eq!(
            *seen.lock().expect("not poisoned"),
            [PeerRole::Operator(Role::P1)]
        );

        // Issued by the right authority, for a role it has no say in: refused by name.
        let coordinator = authority.issue(&PeerRole::Coordinator, &[]).expect("issued");
        let status = ask(&anchor, Some(&coordinator)).await.expect_err("refused");
        let refusal = Refusal::from_status(&status).expect("a reason");
        assert_eq!(refusal.reason, crate::reason::Reason::RoleRefused);
        assert!(refusal.detail.contains("coordinator"), "{refusal}");

        // Another authority's certificate, no certificate, and a server of another authority: no connection.
        let foreign = stranger
            .issue(&PeerRole::Operator(Role::P1), &[])
            .expect("issued");
        assert!(ask(&anchor, Some(&foreign)).await.is_err());
        assert!(ask(&anchor, None).await.is_err());
        let other_anchor = Anchor::from_pem(stranger.cert_pem()).expect("anchor");
        let status = ask(&other_anchor, Some(&operator))
            .await
            .expect_err("not its own");
        let refusal = Refusal::of_status(&status);
        assert_eq!(
            refusal.reason,
            crate::reason::Reason::PartyRefusedIdentity,
            "{refusal}"
        );
        serving.abort();
    }
}
