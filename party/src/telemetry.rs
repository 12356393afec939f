//! Structured logs on standard error, and traces to an OpenTelemetry collector where one is configured. Both carry ids, phases, counts and times;
//! never a body, never an address next to a digest.
//!
//! Traces hold spans of this workspace's own crates from level `info` on, whatever the log's filter says: what seals, sessions and peers do. What
//! voters do is no span at that level.

mod export;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tally_proto::ids::Role;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{Collector, LogFormat};
use export::Post;

/// Spans that are still to be sent when the server stops get so long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse. `check-config` says so earlier.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a subscriber already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
    /// Traces cannot be sent to such an address.
    #[error("telemetry.otlp: {0}")]
    Collector(#[from] ExporterBuildError),
}

/// What has been set up; [`Telemetry::end`] sends what is still to be sent.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Sends the process's log to standard error, and traces of party `own` to `collector`. Once a process; an embedding program sets up its
/// own instead. Within the runtime whose threads send the traces.
///
/// # Errors
/// [`TelemetryError`]: a bad filter or address, or logging is set up already.
pub fn init(
    own: Role,
    format: LogFormat,
    filter: &str,
    collector: Option<&Collector>,
) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let provider = collector.map(|collector| provider(own, collector)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("tally-party"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_targets([
                ("tally_party", LevelFilter::INFO),
                ("tally_proto", LevelFilter::INFO),
                ("tally_mpc", LevelFilter::INFO),
            ]))
    });
    Registry::default()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()?;
    Ok(Telemetry(provider))
}

fn provider(own: Role, collector: &Collector) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Post::new(tokio::runtime::Handle::current()))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("http://{}{}", collector.authority, collector.path))
        .build()?;
    // Nothing of the machine: the empty builder asks neither the environment nor the operating system.
    let resource = Resource::builder_empty()
        .with_service_name("tally-party")
        .with_attribute(opentelemetry::KeyValue::new(
            "service.instance.id",
            own.to_string(),
        ))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

impl Telemetry {
    /// Sends the spans that are still to be sent, for some seconds at most.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        // It blocks. A collector that is away loses the last spans, and nobody else does.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WORDS)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
