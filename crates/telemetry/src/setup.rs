//! Installs logs and traces.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, TracerProviderBuilder};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::options::{LogFormat, Options};
use crate::trace;

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Flushes what is left of the traces when it is dropped: keep it until the end of `main`.
#[must_use = "traces are flushed when it is dropped"]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("traces", &self.traces.is_some()).finish()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces {
            // At the end of the process nobody is left to handle it.
            let _ = traces.shutdown_with_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Once per process. `service` is the name under which traces are found, `trunkline` or `trunkline-push`. With an
/// endpoint for traces, call it within a tokio runtime of several threads.
///
/// # Errors
/// A filter or endpoint that cannot be understood, or a second call.
pub fn init(options: &Options, service: &'static str) -> anyhow::Result<Guard> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(directives).context("RUST_LOG cannot be understood")?
        }
        _ => filter(&options.log_filter).map_err(anyhow::Error::msg)?,
    };
    let traces = match &options.otlp_endpoint {
        Some(endpoint) => Some(provider(endpoint, options.trace_share, service)?),
        None => None,
    };
    let subscriber = tracing_subscriber::registry().with(logs(options.log_format, filter));
    // Not `with(None)`: such a layer takes an interest in everything, so that all spans of all libraries would be made.
    match &traces {
        Some(provider) => subscriber.with(spans(provider, service)).try_init(),
        None => subscriber.try_init(),
    }
    .context("logs are set up already")?;
    Ok(Guard { traces })
}

pub(crate) fn filter(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives)
        .map_err(|error| format!("telemetry.log-filter {directives:?} cannot be understood: {error}"))
}

fn provider(endpoint: &str, share: f64, service: &'static str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .with_context(|| format!("telemetry.otlp-endpoint {endpoint:?}"))?;
    Ok(recorder(share, service).with_batch_exporter(exporter).build())
}

fn recorder(share: f64, service: &'static str) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(Resource::builder().with_service_name(service).build())
}

fn logs<S>(format: LogFormat, filter: EnvFilter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let no_traces = filter_fn(|metadata| !is_trace(metadata)).with_max_level_hint(LevelFilter::TRACE);
    let filter = filter.and(no_traces);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    }
}

fn spans<S>(provider: &SdkTracerProvider, service: &'static str) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service))
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(is_trace).with_max_level_hint(LevelFilter::INFO))
}

fn is_trace(metadata: &Metadata<'_>) -> bool {
    metadata.target() == trace::TARGET
}

#[cfg(test)]
mod tests;
