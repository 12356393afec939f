//! Connections between parties, set up for hundreds of megabytes: wide HTTP/2 windows, long frames, few system calls.
//!
//! rustls asks its socket for 4 KiB at a time, which makes four or five system calls of every 16 KiB record. [`Buffered`] sits between
//! the two and reads up to `READ_BYTES` at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::transport::{Channel, Endpoint, Server, Uri};

/// Longest HTTP/2 data frame of a peer listener and of a session's connection: most messages are sent in one.
pub const FRAME_BYTES: u32 = 1 << 20;
/// HTTP/2 window of a stream.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2 window of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Read from a socket at once.
const READ_BYTES: usize = 256 << 10;

/// A TCP stream with a large read buffer below TLS.
#[derive(Debug)]
pub struct Buffered(BufReader<TcpStream>);

impl Buffered {
    fn new(stream: TcpStream) -> io::Result<Self> {
        // A message's last segment must not wait for an acknowledgement.
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(READ_BYTES, stream)))
    }
}

impl AsyncRead for Buffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = Pin::new(&mut self.0);
        let available = ready!(inner.as_mut().poll_fill_buf(cx))?;
        let len = available.len().min(buf.remaining());
        buf.put_slice(&available[..len]);
        inner.consume(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_shutdown(cx)
    }
}

impl Connected for Buffered {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.0.get_ref().connect_info()
    }
}

/// The connections of a listener, for `serve_with_incoming`.
pub fn buffered(
    incoming: impl Stream<Item = io::Result<TcpStream>> + Send,
) -> impl Stream<Item = io::Result<Buffered>> + Send {
    incoming.map(|stream| stream.and_then(Buffered::new))
}

/// A server of the peer listener with the windows and frames that sessions need.
pub fn for_sessions<L>(server: Server<L>) -> Server<L> {
    server
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
}

/// A connection of its own for one session.
///
/// # Errors
/// The server cannot be reached, or TLS fails.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    let endpoint = endpoint
        .clone()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES);
    endpoint.connect_with_connector(Connector).await
}

/// A connection that is made when first used, for questions beside a session.
pub(crate) fn connect_lazily(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(Connector)
}

/// Opens [`Buffered`] connections for tonic.
#[derive(Clone, Copy, Debug)]
struct Connector;

impl Service<Uri> for Connector {
    type Response = TokioIo<Buffered>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Buffered>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move { dial(&uri).await.map(TokioIo::new) })
    }
}

async fn dial(uri: &Uri) -> io::Result<Buffered> {
    let host = uri
        .host()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the address has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, uri.port_u16().unwrap_or(443)))
        .await?
        .collect();
    Buffered::new(TcpStream::connect(addresses.as_slice()).await?)
}
