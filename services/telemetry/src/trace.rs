//! Logs and traces of a process, and how a trace crosses the bus.
//!
//! A trace context travels as a `traceparent` (W3C Trace Context) beside a record. It is a convenience outside every
//! signature: nothing is decided from it, and a stranger's is at worst a wrong line in a trace.

use std::io::IsTerminal as _;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};

/// The name of the record header and the metadata entry that carry a trace context.
pub const TRACEPARENT: &str = "traceparent";

/// What a service logs unless `RUST_LOG` says otherwise.
pub const SERVICE_FILTER: &str = "info,fjall=warn,lsm_tree=warn,h2=warn,hyper=warn,rustls=warn";

/// How a process writes logs and traces.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// What is logged unless `RUST_LOG` says otherwise, in its syntax.
    pub filter: &'static str,
    /// One JSON object a line, instead of text for people.
    pub json: bool,
    /// An OTLP collector's gRPC endpoint; without one no traces are sent.
    pub otlp_endpoint: Option<String>,
    /// The process's name in traces.
    pub service: String,
}

/// Why logs and traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The collector's endpoint cannot be used.
    #[error("the OTLP endpoint cannot be used")]
    Endpoint(#[source] opentelemetry_otlp::ExporterBuildError),
    /// Another subscriber is in place.
    #[error("logging is set up already")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends what is left of the traces when the process ends.
#[derive(Debug)]
pub struct TraceGuard(Option<SdkTracerProvider>);

impl Drop for TraceGuard {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            // A collector that does not answer must not keep the process from ending.
            let _ = provider.shutdown();
        }
    }
}

/// Sets up logs on standard error and, where an endpoint is given, traces. Called once, from within a runtime.
///
/// # Errors
/// [`TraceError`]; the operator must correct the configuration.
pub fn init(settings: &TraceSettings) -> Result<TraceGuard, TraceError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(settings.filter));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = if settings.json { lines.json().boxed() } else { lines.boxed() };
    let provider = settings
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| provider(endpoint, &settings.service))
        .transpose()?;
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer::<Registry>().with_tracer(provider.tracer("kopuro")))
        .map(|layer| layer.with_filter(filter_fn(is_exchange)));
    tracing_subscriber::registry().with(traces).with(lines.with_filter(filter)).try_init()?;
    Ok(TraceGuard(provider))
}

/// Traces are of exchanges: the spans of the bus itself, and not what the libraries beneath it do.
fn is_exchange(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target().starts_with("kopuro")
}

fn provider(endpoint: &str, service: &str) -> Result<SdkTracerProvider, TraceError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(TraceError::Endpoint)?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The current span's context as a `traceparent`; `None` when no traces are sent.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid()
        .then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

/// Makes `span` part of the trace that `traceparent` names; a malformed one is passed over.
pub fn continue_from(span: &Span, traceparent: &str) {
    if let Some(context) = parse(traceparent) {
        let parent = opentelemetry::Context::new().with_remote_span_context(context);
        // It fails only when no traces are sent.
        let _ = span.set_parent(parent);
    }
}

/// Reads a `traceparent` of version 00 (W3C Trace Context, section 3.2).
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let shaped = version == "00" && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    if !shaped || parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_strictly() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse(valid).unwrap().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for malformed in
            ["", "00", &valid[1..], &valid.replace("00-4", "01-4"), zeros, &format!("{valid}-00")]
        {
            assert!(parse(malformed).is_none(), "{malformed:?} was accepted");
        }
    }

    #[test]
    fn without_a_collector_there_is_no_trace() {
        assert_eq!(traceparent(), None);
    }
}
