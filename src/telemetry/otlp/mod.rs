//! Traces and metrics for an OpenTelemetry collector, by OTLP over HTTP: a span for each call to the service, and the
//! metrics that Prometheus gets. Only with the feature `otlp`, and only where an endpoint is set. Settings are the
//! OpenTelemetry SDK's own variables (`OTEL_…`), which it reads itself. It exports on threads of its own, and
//! nothing here ever waits for a collector, but a stop for [`FLUSH_MAX`].

mod instruments;
mod told;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, SpanExporter,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use self::told::Told;
use super::metrics;
use super::observer::Observer;
use super::process::Process;
use crate::parameters;

/// How long a stop waits for the last spans and metrics to leave. Chosen here: enough for a collector nearby, and
/// too little for a service manager to lose its patience.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Who exports, to the collector.
const NAME: &str = "kinesis-edge";

/// A layer of the log that takes spans.
type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What is exported.
pub struct Exports {
    /// Whose spans and metrics these are.
    resource: Resource,
    /// Where spans go.
    traces: Option<SdkTracerProvider>,
    /// Where metrics go, once [`Exports::start`] has been called.
    metrics: Option<SdkMeterProvider>,
    /// Why spans go nowhere though they should: kept until there is a log.
    fault: Option<ExporterBuildError>,
}

impl Exports {
    /// As the environment says. `client_id` is what a collector tells devices apart by (`service.instance.id`).
    pub fn from_environment(client_id: &str) -> Self {
        let resource = resource(client_id);
        let wanted = is_wanted(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT);
        let traces = wanted.then(|| traces(&resource)).transpose();
        let (traces, fault) = match traces {
            Ok(traces) => (traces, None),
            Err(fault) => (None, Some(fault)),
        };
        Exports {
            resource,
            traces,
            metrics: None,
            fault,
        }
    }

    /// What takes the spans of calls; `None` where they go nowhere.
    pub fn spans(&self) -> Option<SpanLayer> {
        let tracer = self.traces.as_ref()?.tracer(NAME);
        // What is told of a span is what its fields say: not threads, nor places in the source.
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_context_activation(false)
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(filter_fn(is_call)).boxed())
    }

    /// Exports metrics too, and logs what is exported from now on.
    pub fn start(&mut self, observer: Observer) {
        if let Some(fault) = self.fault.take() {
            log_fault("traces", &fault);
        }
        if is_wanted(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT) {
            match metrics(&self.resource, observer) {
                Ok(metrics) => self.metrics = Some(metrics),
                Err(fault) => log_fault("metrics", &fault),
            }
        }
        let (traces, metrics) = (self.traces.is_some(), self.metrics.is_some());
        if traces || metrics {
            tracing::info!(traces, metrics, "exporting to an OpenTelemetry collector");
        }
    }

    /// Exports what is left, for [`FLUSH_MAX`] at the most.
    pub async fn stop(self) {
        let Exports {
            traces, metrics, ..
        } = self;
        let traces = spawn_blocking(move || traces.map(|traces| traces.shutdown()));
        let metrics = spawn_blocking(move || metrics.map(|metrics| metrics.shutdown()));
        let both = async { tokio::join!(traces, metrics) };
        // What fails has been told by then; who hangs has not.
        if timeout(FLUSH_MAX, both).await.is_err() {
            tracing::warn!(
                "the OpenTelemetry collector did not take the last traces and metrics within {} s",
                FLUSH_MAX.as_secs()
            );
        }
    }
}

/// Whether an endpoint is set for a signal, by itself or for all.
fn is_wanted(endpoint: &str) -> bool {
    parameters::is_set(endpoint) || parameters::is_set(OTEL_EXPORTER_OTLP_ENDPOINT)
}

/// What the variables say comes first.
fn resource(client_id: &str) -> Resource {
    let given = Resource::builder().build();
    let is_given = |key: &KeyValue| match given.get_ref(&key.key) {
        Some(value) => !value.as_str().starts_with("unknown_service"),
        None => false,
    };
    let ours = [
        KeyValue::new(Key::from_static_str("service.name"), NAME),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", client_id.to_owned()),
    ];
    let ours = ours.into_iter().filter(|key| !is_given(key));
    Resource::builder().with_attributes(ours).build()
}

fn traces(resource: &Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let traces = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(Told::new("traces", exporter));
    Ok(traces.build())
}

fn metrics(
    resource: &Resource,
    observer: Observer,
) -> Result<SdkMeterProvider, ExporterBuildError> {
    let exporter = MetricExporter::builder().with_http().build()?;
    let provider = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_periodic_exporter(Told::new("metrics", exporter))
        .build();
    let look = move || metrics::families(&observer.look(), Process::look());
    instruments::register(&provider, NAME, look);
    Ok(provider)
}

/// Calls to the service, whatever `RUST_LOG` says of the log.
fn is_call(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && metadata.name() == "call"
        && metadata.target().starts_with("kinesis_edge::delivery")
}

fn log_fault(signal: &str, fault: &ExporterBuildError) {
    tracing::error!(
        error = %fault,
        "{signal} are not exported to OpenTelemetry: correct the OTEL_… variables; records flow all the same"
    );
}
