//! Requests under guard: so many at once, shared out among callers, and with a message that arrives in time.
//!
//! A request has a place from its header on. While its message is not there it is the first to give way; whoever sends headers and nothing after them
//! therefore gets no further than its own share, and not even so far while others of its own network have something to say.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::transport::server::TlsConnectInfo;

use super::connection::{Activity, Telling, UnderWay};
use super::places::{Lost, Place};
use super::{Guard, OnConnection, Sharer, Turned};
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

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<TlsConnectInfo<OnConnection>>();
        let Some(sharer) = self.guard.sharer(connection) else {
            let detail =
                format_args!("more connections of this caller's are at work than any caller may have");
            return refused(Refusal::new(Reason::PartyBusy, detail));
        };
        let activity = connection.map(|connection| Arc::clone(&connection.get_ref().pass.activity));
        let Some((place, lost, gave_way)) = self.guard.places.take(sharer) else {
            self.guard.turn(Turned::Requests);
            return refused(busy(&self.guard));
        };
        if gave_way {
            self.guard.turn(Turned::GaveWay);
        }
        let under_way = activity.as_ref().map(UnderWay::begin);
        let seat = Seat(Arc::new(Seated {
            guard: Arc::clone(&self.guard),
            place: Mutex::new(Some(place)),
            activity,
            is_at_work: Mutex::new(false),
        }));
        request.extensions_mut().insert(seat.clone());
        let keeps_time = self.guard.keeps_time_of(request.uri().path());
        let request = request.map(|body| {
            if body.is_end_stream() {
                seat.settle();
                return body;
            }
            Body::new(Timely::new(
                body,
                Arc::clone(&self.guard),
                seat.clone(),
                keeps_time,
            ))
        });
        let guard = Arc::clone(&self.guard);
        Box::pin(answered(
            self.service.call(request),
            (seat, lost),
            under_way,
            guard,
        ))
    }
}

fn busy(guard: &Guard) -> Refusal {
    Refusal::new(
        Reason::PartyBusy,
        format_args!("{} requests are under way", guard.places.capacity()),
    )
}

fn refused(refusal: Refusal) -> BoxFuture<http::Response<Body>, Infallible> {
    Box::pin(std::future::ready(Ok(Status::from(refusal).into_http())))
}

/// The place of a request, found in its extensions: whoever has it wait for long gives the place back.
#[derive(Clone, Debug)]
pub struct Seat(Arc<Seated>);

#[derive(Debug)]
struct Seated {
    guard: Arc<Guard>,
    place: Mutex<Option<Place<Sharer>>>,
    activity: Option<Arc<Activity>>,
    is_at_work: Mutex<bool>,
}

impl Seat {
    /// The request goes on without a place: it waits for something that is bounded otherwise.
    pub fn leave(&self) {
        self.0.leave();
    }

    /// Does `work`, which came with the request beside other work, on a place of its own: a request that asks for much takes as many places as
    /// several would.
    ///
    /// # Errors
    /// [`Reason::PartyBusy`]: there is no further place for this caller, or somebody else was due it meanwhile.
    pub async fn beside<T>(&self, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let guard = &self.0.guard;
        let taken = {
            let place = self.0.place.lock().unwrap_or_else(PoisonError::into_inner);
            place.as_ref().and_then(Place::another)
        };
        let Some((place, lost, gave_way)) = taken else {
            guard.turn(Turned::Requests);
            return Err(busy(guard));
        };
        if gave_way {
            guard.turn(Turned::GaveWay);
        }
        place.settle();
        tokio::select! {
            biased;
            done = work => done,
            () = lost.lost() => Err(busy(guard)),
        }
    }

    /// The message is there.
    fn settle(&self) {
        let place = self.0.place.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = place.as_ref() else { return };
        place.settle();
        let mut is_at_work = self.0.is_at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_at_work {
            *is_at_work = true;
            if let Some(activity) = &self.0.activity {
                activity.begin_work();
            }
        }
    }
}

impl Seated {
    fn leave(&self) {
        let place = (self.place.lock().unwrap_or_else(PoisonError::into_inner)).take();
        drop(place);
        let mut is_at_work = self.is_at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *is_at_work)
            && let Some(activity) = &self.activity
        {
            activity.end_work();
        }
    }
}

/// Leaves when dropped, whoever else has the seat.
struct Leaves(Seat);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Holds the place until there is an answer, or until somebody else is due it.
async fn answered(
    response: impl Future<Output = Result<http::Response<Body>, Infallible>>,
    (seat, lost): (Seat, Lost),
    under_way: Option<UnderWay>,
    guard: Arc<Guard>,
) -> Result<http::Response<Body>, Infallible> {
    let seat = Leaves(seat);
    let response = tokio::select! {
        biased;
        response = response => response?,
        () = lost.lost() => Status::from(busy(&guard)).into_http(),
    };
    drop(seat);
    let Some(telling) = under_way.map(UnderWay::answered) else {
        return Ok(response);
    };
    Ok(response.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Told { body, telling })
    }))
}

/// What time a message is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepsTime {
    /// All of it.
    Whole,
    /// Between two parts of it: whoever is known may send much.
    Parts,
    /// None: it is a stream, which ends when its sender likes.
    Not,
}

/// A message that must have arrived in time. The timer is set when something is missing, which is rare.
struct Timely {
    body: Body,
    guard: Arc<Guard>,
    seat: Seat,
    keeps: KeepsTime,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timely {
    fn new(body: Body, guard: Arc<Guard>, seat: Seat, keeps: KeepsTime) -> Self {
        Self {
            body,
            guard,
            seat,
            keeps,
            timer: None,
        }
    }

    fn arrived(&mut self, is_over: bool) {
        if is_over || self.body.is_end_stream() {
            self.seat.settle();
        }
        if self.keeps == KeepsTime::Parts {
            self.timer = None;
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
            self.arrived(frame.is_none());
            return Poll::Ready(frame);
        }
        if self.keeps == KeepsTime::Not {
            return Poll::Pending;
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
    telling: Telling,
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
            self.telling.touch();
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

    #[tokio::test]
    async fn what_comes_beside_other_work_takes_a_place_and_gives_way_like_any() {
        let guard = Guard::new(Limits {
            requests: 3,
            ..Limits::default()
        });
        let network = |last| Sharer::Network([192, 0, 2, last].into());
        let (place, ..) = guard.places.take(network(1)).expect("a place");
        let seat = Seat(Arc::new(Seated {
            guard: Arc::clone(&guard),
            place: Mutex::new(Some(place)),
            activity: None,
            is_at_work: Mutex::new(false),
        }));
        seat.settle();
        assert_eq!(seat.beside(async { Ok(7) }).await, Ok(7));
        assert_eq!(guard.places.count(), 1, "given back");
        let mut works =
            [(); 2].map(|()| Box::pin(seat.beside(std::future::pending::<Result<(), Refusal>>())));
        for work in &mut works {
            assert!(futures::poll!(work.as_mut()).is_pending());
        }
        // All three are taken: its own is none to make way for itself, and another's newcomer is due one.
        let refused = seat.beside(async { Ok(()) }).await.expect_err("no place");
        assert_eq!(refused.reason, Reason::PartyBusy);
        let _other = guard.places.take(network(2)).expect("its share");
        let mut lost = 0;
        for work in &mut works {
            if let Poll::Ready(outcome) = futures::poll!(work.as_mut()) {
                assert_eq!(outcome.expect_err("given way").reason, Reason::PartyBusy);
                lost += 1;
            }
        }
        assert_eq!(lost, 1);
        assert_eq!((guard.turned(Turned::Requests), guard.places.count()), (1, 3));
        // A request that gave its own back has none beside it.
        seat.leave();
        assert!(seat.beside(async { Ok(()) }).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_come_is_refused_and_one_that_came_is_not() {
        let guard = Guard::new(Limits {
            message: Duration::from_secs(3),
            ..Limits::default()
        });
        let seat = || {
            let (place, ..) = (guard.places).take(Sharer::Nobody).expect("a place");
            Seat(Arc::new(Seated {
                guard: Arc::clone(&guard),
                place: Mutex::new(Some(place)),
                activity: None,
                is_at_work: Mutex::new(false),
            }))
        };
        let mut slow = Timely::new(Body::new(Never), Arc::clone(&guard), seat(), KeepsTime::Whole);
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
        let of_whole = seat();
        let mut whole = Timely::new(
            Body::empty(),
            Arc::clone(&guard),
            of_whole.clone(),
            KeepsTime::Whole,
        );
        let end = std::future::poll_fn(|context| Pin::new(&mut whole).poll_frame(context)).await;
        assert!(end.is_none(), "all of it was there");
        assert!(
            *of_whole.0.is_at_work.lock().expect("not poisoned"),
            "it is worked at"
        );
        assert_eq!(guard.turned(Turned::Message), 1);
    }
}
