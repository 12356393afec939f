//! The operator's listener: `GET /metrics`, plain HTTP, for a Prometheus on this machine or the agency's own network. A connection is one request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Queues;
use crate::party::Party;

/// What Prometheus expects of this format.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at once; more are closed.
const MOST: usize = 8;
/// A connection lives no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves until the party stops.
pub(crate) async fn serve(listener: TcpListener, party: Arc<Party>) {
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = party.stopping() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles, most likely: the next try must not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let party = Arc::clone(&party);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&party, request));
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that goes away or dawdles comes again.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(place);
        });
    }
}

async fn answer(party: &Arc<Party>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match party.metrics_page().await {
            Ok(page) => (StatusCode::OK, page),
            Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n")),
        },
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "only /metrics is here\n".to_owned()),
    };
    let format = match status {
        StatusCode::OK => FORMAT,
        _ => "text/plain; charset=utf-8",
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(format));
    Ok(response)
}

impl Party {
    /// The figures now.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn metrics_page(self: &Arc<Self>) -> Result<String, tally_proto::refusal::Refusal> {
        let status = self.status("").await?;
        let queues = Queues {
            held: self.intake.held(),
            checks: self.intake.waiting_for_checks(),
            writes: self.intake.waiting_for_writer(),
        };
        Ok(self.witness.metrics.page(&status, queues))
    }
}
