//! Logs and traces of a process.
//!
//! Neither can hold what a caller sent: spans and events are made by our own code, which names no
//! prompt, completion, token or key, and of the libraries beneath, which might, only warnings are
//! taken, whatever the configured level.

mod attribute;
mod export;
mod trace_context;

use std::{io, time::Duration};

use opentelemetry::{InstrumentationScope, KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, FilterFn, filter_fn},
    layer::{Filter, SubscriberExt},
    registry,
    util::SubscriberInitExt,
};

use self::export::Collector;
use crate::config::{Observability, Traces};

pub use attribute::{Attribute, describe};
pub(crate) use trace_context::extract;
pub use trace_context::propagate;

/// The names under which our own code logs: its crates, and what cuts across them.
const OWN: &[&str] = &[
    "access",
    "audit",
    "attestation_svc",
    "backend_adapter",
    "collateral",
    "grpc_surface",
    "health_gate",
    "inference_gateway",
    "mtls",
    "service_runtime",
    "snp_platform",
];

/// For the last spans, once the service has ended.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// What a process tells, until it ends.
#[derive(Debug)]
pub(crate) struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends logs of this process to stderr, one JSON object a line, and its spans to the collector
    /// where there is one. Once per process, inside its runtime.
    pub(crate) fn install(service: &'static str, observability: &Observability) -> Result<Self, String> {
        let spans = observability.traces.as_ref().map(|traces| provider(service, traces)).transpose()?;
        let subscriber = subscriber(&observability.log_level, spans.as_ref())?;
        subscriber.try_init().map_err(|error| error.to_string())?;
        Ok(Self { spans })
    }

    /// Sends what was not sent yet. Blocks, for at most three seconds.
    pub(crate) fn finish(self) {
        if let Some(spans) = self.spans
            && let Err(error) = spans.shutdown_with_timeout(LAST_EXPORT)
        {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

fn subscriber(
    level: &str,
    spans: Option<&SdkTracerProvider>,
) -> Result<impl Subscriber + Send + Sync + use<>, String> {
    let logs = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(io::stderr)
        .with_filter(logged(level)?)
        .boxed();
    let exported = spans.map(|provider| {
        let scope = InstrumentationScope::builder("cube").with_version(env!("CARGO_PKG_VERSION"));
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer_with_scope(scope.build()))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(LevelFilter::INFO.and(own_or_warning()))
            .boxed()
    });
    // A list: beside an empty `Option` of a layer, each span of a library is made before it is passed over.
    let layers: Vec<_> = [logs].into_iter().chain(exported).collect();
    Ok(registry().with(layers))
}

/// What reaches the logs: what the operator asks for, and the audit lines in any case.
fn logged<S>(level: &str) -> Result<impl Filter<S> + use<S>, String> {
    let audit = filter_fn(|metadata| metadata.target() == "audit").with_max_level_hint(LevelFilter::INFO);
    Ok(log_filter(level)?.or(audit).and(own_or_warning()))
}

fn own_or_warning() -> FilterFn {
    // Without a hint of its own it would take away the other filters', and what they switch off would be asked for each time.
    filter_fn(is_content_free as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::TRACE)
}

pub(crate) fn log_filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| format!("{level:?} is no filter for logs: {error}"))
}

/// Libraries log headers and frames at the lower levels.
fn is_content_free(metadata: &Metadata<'_>) -> bool {
    let source = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || OWN.contains(&source)
}

fn provider(service: &'static str, traces: &Traces) -> Result<SdkTracerProvider, String> {
    let collector = Collector::new(&traces.endpoint, &traces.ca)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces.endpoint.to_string())
        .with_http_client(collector)
        .build()
        .map_err(|error| format!("traces.otlp_endpoint: {error}"))?;
    let kept = Sampler::TraceIdRatioBased(f64::from(traces.per_mille) / 1000.0);
    // Nothing is taken from the environment: what describes the process is said here.
    let resource = Resource::builder_empty()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "cube"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(kept)))
        .with_resource(resource.build())
        .build())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        sync::Mutex,
    };

    use tracing::{info, subscriber::with_default, trace, warn};

    use super::*;

    /// Libraries have spans for each frame of each stream: where nobody wants them, they cost one comparison.
    #[test]
    fn what_nobody_wants_is_not_asked_for_again() {
        for (level, most) in
            [("info", LevelFilter::INFO), ("off", LevelFilter::INFO), ("debug", LevelFilter::DEBUG)]
        {
            let subscriber = subscriber(level, None).unwrap();
            assert_eq!(subscriber.max_level_hint(), Some(most), "{level}");
        }
        with_default(subscriber("trace", None).unwrap(), || {
            assert!(
                !tracing::enabled!(target: "h2", Level::TRACE)
                    && tracing::enabled!(target: "access", Level::TRACE)
            );
        });
    }

    #[test]
    fn audit_lines_are_written_at_every_level_and_libraries_only_warn() {
        let written = |level: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            let to = Mutex::new(File::create(file.path()).unwrap());
            let layer = tracing_subscriber::fmt::layer().with_writer(to).with_filter(logged(level).unwrap());
            with_default(registry().with(layer), || {
                info!(target: "audit", "who");
                info!(target: "access", "ours");
                trace!(target: "h2", "content");
                warn!(target: "h2", "theirs");
            });
            let text = fs::read_to_string(file.path()).unwrap();
            ["who", "ours", "content", "theirs"].map(|word| text.contains(word))
        };
        assert_eq!(written("off"), [true, false, false, false]);
        assert_eq!(written("error"), [true, false, false, false]);
        assert_eq!(written("info"), [true, true, false, true]);
        assert_eq!(written("trace"), [true, true, false, true]);
    }
}
