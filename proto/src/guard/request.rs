//! Requests under guard: so many at once, and with a message that arrives in time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::transport::server::TlsConnectInfo;

use super::connection::{Activity, UnderWay};
use super::{Guard, OnConnection, Turned};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A service whose requests are counted, and whose messages arrive in time.
#[derive(Clone, Debug)]
pub struct Watched<S> {
    service: S,
    guard: Arc<Guard>,
}

impl<S> Watched<S> {
    pub(super) fn new(service: S, guard: Arc<Guard>) -> Self {
        Self { service, guard }
    }
}

impl<S: NamedService> NamedService for Watched<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Watched<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.guard.requests).try_acquire_owned() else {
            self.guard.turn(Turned::Requests);
            let busy = Refusal::new(
                Reason::PartyBusy,
                format_args!("{} requests are under way", self.guard.limits.requests),
            );
            return Box::pin(std::future::ready(Ok(Status::from(busy).into_http())));
        };
        let connection = request.extensions().get::<TlsConnectInfo<OnConnection>>();
        let under_way = connection.map(|connection| UnderWay::begin(&connection.get_ref().activity));
        let guard = &self.guard;
        let request = request.map(|body| {
            if body.is_end_stream() {
                return body;
            }
            Body::new(Timely::new(body, Arc::clone(guard)))
        });
        Box::pin(answered(self.service.call(request), place, under_way))
    }
}

/// Holds the places until there is an answer.
async fn answered(
    response: impl Future<Output = Result<http::Response<Body>, Infallible>>,
    _place: OwnedSemaphorePermit,
    under_way: Option<UnderWay>,
) -> Result<http::Response<Body>, Infallible> {
    let response = response.await?;
    let Some(activity) = under_way.map(UnderWay::answered) else {
        return Ok(response);
    };
    Ok(response.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Told { body, activity })
    }))
}

/// A message that must have arrived in time. The timer is set when something is missing, which is rare.
struct Timely {
    body: Body,
    guard: Arc<Guard>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timely {
    fn new(body: Body, guard: Arc<Guard>) -> Self {
        Self {
            body,
            guard,
            timer: None,
        }
    }
}

impl hyper::body::Body for Timely {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let within = self.guard.limits.message;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(within)));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.guard.turn(Turned::Message);
        let slow = Refusal::new(
            Reason::MessageTooSlow,
            format_args!("the message did not arrive within {} ms", within.as_millis()),
        );
        Poll::Ready(Some(Err(slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that takes its time to be read does not let its connection idle.
struct Told {
    body: Body,
    activity: Arc<Activity>,
}

impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.activity.touch();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::Limits;
    use super::*;

    /// Never sends anything.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_come_is_refused_and_one_that_came_is_not() {
        let guard = Guard::new(Limits {
            message: Duration::from_secs(3),
            ..Limits::default()
        });
        let mut slow = Timely::new(Body::new(Never), Arc::clone(&guard));
        let begun = Instant::now();
        let frame = std::future::poll_fn(|context| Pin::new(&mut slow).poll_frame(context)).await;
        let status = frame.expect("an end").expect_err("too slow");
        let refusal = Refusal::from_status(&status).expect("a reason");
        assert_eq!(refusal.reason, Reason::MessageTooSlow);
        // The clock that stands still moves by whole milliseconds, and a timer rounds up.
        let waited = begun.elapsed();
        assert!(
            waited >= Duration::from_secs(3) && waited < Duration::from_millis(3010),
            "{waited:?}"
        );
        assert_eq!(guard.turned(Turned::Message), 1);
        let mut whole = Timely::new(Body::empty(), Arc::clone(&guard));
        let end = std::future::poll_fn(|context| Pin::new(&mut whole).poll_frame(context)).await;
        assert!(end.is_none(), "all of it was there");
        assert_eq!(guard.turned(Turned::Message), 1);
    }
}
