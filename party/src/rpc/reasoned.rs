//! Gives a reason to the refusals that the gRPC framework makes itself, before any of our code sees the message.
//!
//! A message above its service's limit never reaches the codec: tonic answers OUT_OF_RANGE. Here that answer gets the same
//! `tally-reason` as every other refusal.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tally_proto::reason::Reason;
use tally_proto::refusal::METADATA_KEY;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

/// A service whose framework refusals carry reasons.
#[derive(Clone, Debug)]
pub(crate) struct Reasoned<S>(pub(crate) S);

impl<S: NamedService> NamedService for Reasoned<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Reasoned<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            let headers = response.headers_mut();
            let too_large = Code::OutOfRange as i32;
            let is_too_large = headers
                .get("grpc-status")
                .and_then(|status| status.to_str().ok())
                .and_then(|status| status.parse().ok())
                .is_some_and(|status: i32| status == too_large);
            if is_too_large && !headers.contains_key(METADATA_KEY) {
                headers.insert(
                    METADATA_KEY,
                    http::HeaderValue::from_static(Reason::MessageTooLarge.code()),
                );
            }
            Ok(response)
        })
    }
}
