//! An exporter whose failures are told once: that it cannot deliver, and that it can again. The SDK's own logs,
//! which would tell each failure, are not in the program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// An exporter and whether it fails.
#[derive(Debug)]
pub struct Told<E> {
    /// What it exports, for the log.
    signal: &'static str,
    /// Who does it.
    exporter: E,
    /// Whether the last attempt failed, so that the next failure is no news.
    is_failing: AtomicBool,
}

impl<E> Told<E> {
    pub fn new(signal: &'static str, exporter: E) -> Self {
        Told {
            signal,
            exporter,
            is_failing: AtomicBool::new(false),
        }
    }

    fn note(&self, result: OTelSdkResult) -> OTelSdkResult {
        let signal = self.signal;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => tracing::warn!(
                %error,
                "{signal} cannot be delivered to the OpenTelemetry collector and are dropped until they can; look \
                 whether it listens where the OTEL_EXPORTER_OTLP_… variables say; records flow all the same"
            ),
            Ok(()) if was_failing => {
                tracing::info!("{signal} are delivered to the OpenTelemetry collector again");
            }
            _ => {}
        }
        result
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.note(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Told<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.note(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
