//! Brings encoded spans to the collector: one HTTP/1 request a connection, on the server's runtime, for the exporter's thread has none.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// A collector that takes longer loses these spans.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes.
const ANSWER: usize = 64 << 10;

/// Posts on a runtime.
#[derive(Debug)]
pub(super) struct Post(Handle);

impl Post {
    pub(super) fn new(runtime: Handle) -> Self {
        Post(runtime)
    }
}

#[async_trait::async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The timer is made within the runtime too.
        let sent = async move { tokio::time::timeout(PATIENCE, post(request)).await };
        self.0.spawn(sent).await??
    }
}

async fn post(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let authority = head
        .uri
        .authority()
        .ok_or("the collector's address has no host")?
        .clone();
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    head.headers
        .insert(HOST, HeaderValue::from_str(authority.as_str())?);
    head.uri = head.uri.path().parse()?;
    let answer = sender
        .send_request(Request::from_parts(head, Full::new(body)))
        .await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}
