//! A connection of the generator to a party: HTTP/2 and gRPC's framing, and nothing that a voter's device wants besides (deadlines, a queue before the
//! connection, connecting again). The generator runs on the parties' processors: what it does not spend, they have.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{Method, Request, Uri};
use prost::Message;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tally_proto::identity::PartyIdentity;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What the generator may receive without saying that it has read it; more than all that a party answers at once.
const WINDOW_BYTES: u32 = 1 << 24;
/// Before each message: not compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// An open connection.
#[derive(Clone)]
pub(super) struct Line {
    requests: SendRequest<Bytes>,
    base: Arc<str>,
}

impl Line {
    /// Connects to a party's public listener. Needs a runtime, which goes on driving the connection.
    pub(super) async fn open(party: &PartyIdentity) -> Result<Self> {
        let address = party.public_address();
        let uri: Uri = address.as_str().parse()?;
        let port = uri.port_u16().context("a party's address has a port")?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(party.anchor().pem().as_bytes())?)?;
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect((address.host(), port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(address.host().to_owned())?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(tls)
            .await?;
        // Whoever waits for an answer over it hears how it ended.
        tokio::spawn(connection);
        let base = format!("https://{}:{port}/tally.v1.Intake/", address.host());
        Ok(Self {
            requests,
            base: base.into(),
        })
    }

    /// One request of the intake service.
    ///
    /// # Errors
    /// The connection is lost, or the party refused.
    pub(super) async fn ask<T: Message + Default>(&self, method: &str, asked: &impl Message) -> Result<T> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{method}", self.base))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut ready = self.requests.clone().ready().await?;
        let (answer, mut body) = ready.send_request(request, false)?;
        body.send_data(framed(asked)?, true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut message = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            message.extend_from_slice(&part);
        }
        // An answer without a message says in its head why.
        let trailers = body.trailers().await?;
        let status = trailers.as_ref().unwrap_or(&head.headers);
        if status.get("grpc-status").is_none_or(|status| status != "0") {
            bail!("{method} failed: {} {status:?}", head.status);
        }
        ensure!(
            message.len() >= PREFIX_BYTES,
            "{method}: an answer without a message"
        );
        Ok(T::decode(message.split_off(PREFIX_BYTES).freeze())?)
    }
}

fn framed(message: &impl Message) -> Result<Bytes> {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length)?);
    message.encode(&mut framed)?;
    Ok(framed.freeze())
}
