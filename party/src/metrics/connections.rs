//! Counts the connections of a listener: open, accepted, and those that ended before TLS was agreed on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::metrics::Metrics;

/// The counts of one listener.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    accepted: AtomicU64,
    ended: AtomicU64,
    unshaken: AtomicU64,
}

impl Connections {
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    pub(super) fn open(&self) -> u64 {
        // Read in this order the difference is never negative.
        let ended = self.ended.load(Relaxed);
        self.accepted.load(Relaxed).saturating_sub(ended)
    }

    pub(super) fn unshaken(&self) -> u64 {
        self.unshaken.load(Relaxed)
    }
}

/// Which listener.
pub(crate) type Of = fn(&Metrics) -> &Connections;

/// A counted connection.
pub(crate) struct Counted<S> {
    stream: S,
    metrics: Arc<Metrics>,
    of: Of,
    /// The server asks who is connected once TLS stands, and not before.
    shaken: AtomicBool,
}

/// Counts the connections of `incoming`.
pub(crate) fn counted<S>(
    incoming: impl Stream<Item = io::Result<S>>,
    metrics: Arc<Metrics>,
    of: Of,
) -> impl Stream<Item = io::Result<Counted<S>>> {
    incoming.map(move |stream| {
        let stream = stream?;
        of(&metrics).accepted.fetch_add(1, Relaxed);
        Ok(Counted {
            stream,
            metrics: Arc::clone(&metrics),
            of,
            shaken: AtomicBool::new(false),
        })
    })
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        let counts = (self.of)(&self.metrics);
        counts.ended.fetch_add(1, Relaxed);
        if !self.shaken.load(Relaxed) {
            counts.unshaken.fetch_add(1, Relaxed);
        }
    }
}

impl<S: Connected> Connected for Counted<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.shaken.store(true, Relaxed);
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
