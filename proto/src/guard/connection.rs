//! Connections under guard: closed when idle or when they give way, and given back when gone.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::Connected;

use super::registry::Pass;
use super::{Caller, Turned};

/// What is under way on one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests without an answer.
    under_way: AtomicUsize,
    /// Those of them whose message is there.
    at_work: AtomicUsize,
    /// Answers that are being sent.
    telling: AtomicUsize,
    answered: AtomicU64,
    given_up: AtomicU64,
    /// Whoever calls has shown who it is.
    is_known: AtomicBool,
    last: Mutex<Instant>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            at_work: AtomicUsize::new(0),
            telling: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            is_known: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
        }
    }

    /// Something was done on the connection.
    pub(super) fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when it idles; `None` while a request is under way.
    fn idle_since(&self) -> Option<Instant> {
        let last = self.last();
        (self.under_way.load(Ordering::Acquire) == 0).then_some(last)
    }

    /// Since when nothing is done for its caller, who may have sent requests without their messages; `None` while something is. A stranger's
    /// connection is not kept by an answer that never ends.
    pub(super) fn may_give_way(&self) -> Option<Instant> {
        let is_told = self.is_known() && self.telling.load(Ordering::Acquire) > 0;
        (self.at_work.load(Ordering::Acquire) == 0 && !is_told).then(|| self.last())
    }

    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    pub(super) fn known(&self) {
        self.is_known.store(true, Ordering::Release);
    }

    /// A request's message is there.
    pub(super) fn begin_work(&self) {
        self.at_work.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end_work(&self) {
        self.at_work.fetch_sub(1, Ordering::AcqRel);
    }

    /// Requests that were given up and that no answered one makes good.
    fn lost(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        self.given_up.load(Ordering::Relaxed).saturating_sub(answered)
    }
}

/// An answer that is being sent.
#[derive(Debug)]
pub(super) struct Telling(Arc<Activity>);

impl Telling {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.telling.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }

    /// Some of it was sent.
    pub(super) fn touch(&self) {
        self.0.touch();
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.touch();
        self.0.telling.fetch_sub(1, Ordering::AcqRel);
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

    /// There is an answer, which is to be sent.
    pub(super) fn answered(mut self) -> Telling {
        self.is_answered = true;
        Telling::new(&self.activity)
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

/// A connection that was admitted.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    timer: Pin<Box<Sleep>>,
    /// Told when it gives way to another.
    gives_way: oneshot::Receiver<()>,
    gave_way: bool,
    pass: Arc<Pass>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, pass: Pass, gives_way: oneshot::Receiver<()>) -> Self {
        Self {
            stream,
            timer: Box::pin(sleep(pass.guard.limits.idle)),
            gives_way,
            gave_way: false,
            pass: Arc::new(pass),
        }
    }

    /// Whether the connection is to be closed.
    fn poll_over(&mut self, context: &mut Context<'_>) -> bool {
        if self.gave_way || matches!(Pin::new(&mut self.gives_way).poll(context), Poll::Ready(Ok(()))) {
            self.gave_way = true;
            return true;
        }
        let (guard, activity) = (&self.pass.guard, &self.pass.activity);
        if activity.is_known() {
            // Whoever is known may rest: its connections are counted by its name.
            return false;
        }
        if activity.lost() > guard.limits.given_up {
            guard.turn(Turned::GivenUp);
            return true;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let until = activity.idle_since().unwrap_or(now) + guard.limits.idle;
            if until <= now {
                guard.turn(Turned::Idle);
                return true;
            }
            self.timer.as_mut().reset(until);
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
    pub(super) pass: Arc<Pass>,
    /// Whose certificate came with it, once it was looked at.
    pub(super) caller: Arc<OnceLock<Option<Caller>>>,
}

impl OnConnection {
    /// The caller's network: its IPv4 address, or the /48 of its IPv6 address. For sharing out what is scarce, never to be written down.
    pub fn network(&self) -> IpAddr {
        self.pass.network
    }
}

impl<S> Connected for Guarded<S> {
    type ConnectInfo = OnConnection;

    fn connect_info(&self) -> OnConnection {
        OnConnection {
            pass: Arc::clone(&self.pass),
            caller: Arc::default(),
        }
    }
}
