//! Connections under guard: closed when idle, and given back when gone.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::{Pass, Turned};

/// What is under way on one connection.
#[derive(Debug)]
pub(super) struct Activity {
    under_way: AtomicUsize,
    answered: AtomicU64,
    given_up: AtomicU64,
    last: Mutex<Instant>,
}

impl Activity {
    fn new() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
        }
    }

    /// Something was done on the connection.
    pub(super) fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Since when it idles; `None` while a request is under way.
    fn idle_since(&self) -> Option<Instant> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.under_way.load(Ordering::Acquire) == 0).then_some(last)
    }

    /// Requests that were given up and that no answered one makes good.
    fn lost(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        self.given_up.load(Ordering::Relaxed).saturating_sub(answered)
    }
}

/// A request under way. Dropped without [`UnderWay::answered`], it was given up.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl UnderWay {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::AcqRel);
        Self {
            activity: Arc::clone(activity),
            is_answered: false,
        }
    }

    /// There is an answer; whose sending is to be told to the activity.
    pub(super) fn answered(mut self) -> Arc<Activity> {
        self.is_answered = true;
        Arc::clone(&self.activity)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let count = if self.is_answered {
            &self.activity.answered
        } else {
            &self.activity.given_up
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.activity.touch();
        self.activity.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection of anybody that was admitted.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    activity: Arc<Activity>,
    timer: Pin<Box<Sleep>>,
    pass: Pass,
}

impl Guarded {
    pub(super) fn new(stream: TcpStream, pass: Pass) -> Self {
        Self {
            stream,
            activity: Arc::new(Activity::new()),
            timer: Box::pin(sleep(pass.guard.limits.idle)),
            pass,
        }
    }

    /// Why the connection is to be closed, if it is.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Option<Turned> {
        let limits = &self.pass.guard.limits;
        if self.activity.lost() > limits.given_up {
            return Some(Turned::GivenUp);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let until = self.activity.idle_since().unwrap_or(now) + limits.idle;
            if until <= now {
                return Some(Turned::Idle);
            }
            self.timer.as_mut().reset(until);
        }
        None
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(why) = self.poll_over(context) {
            self.pass.guard.turn(why);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Tells a request which connection it came on.
#[derive(Clone, Debug)]
pub struct OnConnection {
    pub(super) activity: Arc<Activity>,
    subscriber: IpAddr,
}

impl OnConnection {
    /// The caller's address, or its /64. For sharing out what is scarce, never to be written down.
    pub fn subscriber(&self) -> IpAddr {
        self.subscriber
    }
}

impl Connected for Guarded {
    type ConnectInfo = OnConnection;

    fn connect_info(&self) -> OnConnection {
        OnConnection {
            activity: Arc::clone(&self.activity),
            subscriber: self.pass.address,
        }
    }
}

/// A connection that counts until its handshake has told who calls.
#[derive(Debug)]
pub struct Unknown<S> {
    stream: S,
    /// The server asks who is connected once TLS stands, and not before.
    pass: Mutex<Option<Pass>>,
}

impl<S> Unknown<S> {
    pub(super) fn new(stream: S, pass: Pass) -> Self {
        Self {
            stream,
            pass: Mutex::new(Some(pass)),
        }
    }
}

impl<S: Connected<ConnectInfo = TcpConnectInfo>> Connected for Unknown<S> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        drop(self.pass.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unknown<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unknown<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
