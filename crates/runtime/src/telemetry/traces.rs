//! Traces over OTLP, configured by the standard variables; inactive unless an endpoint is set.
//!
//! | variable | default | |
//! |---|---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | none: no traces | the collector's base URL; for HTTP, `/v1/traces` is appended |
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | | the same for traces only, used unchanged |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL` | `http/protobuf`; `grpc` on port 4317 | `http/protobuf` or `grpc` |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `…_COMPRESSION` | | as defined by OpenTelemetry |
//!
//! Spans wait in a bounded queue (2048, `OTEL_BSP_MAX_QUEUE_SIZE`) and are sent in batches. Spans
//! that do not fit or that the collector rejects are dropped and counted, so an unreachable
//! collector does not slow the service.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Uri;
use opentelemetry::{KeyValue, metrics::Counter};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::collector;
use crate::tls;

/// How long sending the last spans may take when the process stops.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(3);
/// The default gRPC port of collectors.
const GRPC_PORT: u16 = 4317;

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum TraceError {
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is not a URL")]
    Endpoint,
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or grpc")]
    Protocol,
    #[error("the exporter cannot be created: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("no async runtime is running")]
    Runtime,
}

/// The endpoint and the protocol of the collector.
#[derive(Debug, PartialEq, Eq)]
struct Destination {
    endpoint: String,
    protocol: Protocol,
}

/// The provider that exports the spans of `service`; `None` when traces are not configured.
pub(super) fn provider(
    service: &'static str,
    failed: Counter<u64>,
) -> Result<Option<SdkTracerProvider>, TraceError> {
    let Some(destination) = destination(|name| env::var(name).ok())? else { return Ok(None) };
    let handle = Handle::try_current().map_err(|_| TraceError::Runtime)?;
    let inner = exporter(&destination)?;
    let exporter = Exporter {
        inner: Arc::new(inner),
        handle,
        tracker: TaskTracker::new(),
        failed,
        down: AtomicBool::new(false),
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(service))
        .with_batch_exporter(exporter)
        .build();
    Ok(Some(provider))
}

/// The attributes of the process that all its spans carry.
fn resource(service: &'static str) -> Resource {
    Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", crate::program_version()))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

fn destination(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Destination>, TraceError> {
    let text = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let is = |name: &str, value: &str| text(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    let own = text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let Some(given) = own.clone().or_else(|| text("OTEL_EXPORTER_OTLP_ENDPOINT")) else {
        return Ok(None);
    };
    let url = if given.contains("://") { given } else { format!("http://{given}") };
    let uri: Uri = url.parse().map_err(|_| TraceError::Endpoint)?;
    if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(TraceError::Endpoint);
    }
    let protocol = text("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        .or_else(|| text("OTEL_EXPORTER_OTLP_PROTOCOL"))
        .map(|text| text.to_ascii_lowercase());
    let protocol = match protocol.as_deref() {
        Some("grpc") => Protocol::Grpc,
        Some("http/protobuf") => Protocol::HttpBinary,
        Some(_) => return Err(TraceError::Protocol),
        None if uri.port_u16() == Some(GRPC_PORT) => Protocol::Grpc,
        None => Protocol::HttpBinary,
    };
    let endpoint = match (protocol, own) {
        (Protocol::HttpBinary, None) => format!("{}/v1/traces", url.trim_end_matches('/')),
        _ => url,
    };
    Ok(Some(Destination { endpoint, protocol }))
}

fn exporter(destination: &Destination) -> Result<opentelemetry_otlp::SpanExporter, TraceError> {
    let builder = opentelemetry_otlp::SpanExporter::builder();
    if destination.protocol == Protocol::Grpc {
        let endpoint = tonic::transport::Endpoint::from_shared(destination.endpoint.clone())
            .map_err(|_| TraceError::Endpoint)?
            .connect_timeout(collector::CONNECT_TIME_MAX)
            .timeout(collector::EXPORT_TIME_MAX);
        let channel = tls::channel_lazy(&endpoint, None);
        return Ok(builder.with_tonic().with_channel(channel).build()?);
    }
    let exporter = builder
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&destination.endpoint)
        .with_http_client(collector::HttpCollector::new())
        .build()?;
    Ok(exporter)
}

/// Runs each export on the process's own runtime, because the thread of the batch processor has
/// none.
#[derive(Debug)]
struct Exporter {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    handle: Handle,
    tracker: TaskTracker,
    failed: Counter<u64>,
    down: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (inner, spans) = (Arc::clone(&self.inner), batch.len() as u64);
        let exporting =
            self.tracker.spawn_on(async move { inner.export(batch).await }, &self.handle);
        let result = match exporting.await {
            Ok(result) => result,
            Err(_) => Err(OTelSdkError::InternalFailure("the export did not finish".to_owned())),
        };
        let down = result.is_err();
        if down {
            self.failed.add(spans, &[]);
        }
        // Logged once per outage. The text of the error may contain the collector's response, which
        // must not be logged.
        if down && !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "failed to export spans: the collector does not accept them; dropping them"
            );
        } else if !down && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("span export recovered");
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        // No other reference exists before the first export.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_otlp::Protocol;

    use super::{Destination, TraceError, destination};

    fn read(variables: &[(&str, &str)]) -> Result<Option<Destination>, TraceError> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        destination(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn no_spans_are_sent_without_an_endpoint() {
        assert_eq!(read(&[]).unwrap(), None);
        let base = "OTEL_EXPORTER_OTLP_ENDPOINT";
        assert_eq!(read(&[(base, " ")]).unwrap(), None);
        assert_eq!(read(&[(base, "http://c:4318"), ("OTEL_SDK_DISABLED", "true")]).unwrap(), None);
    }

    #[test]
    fn protocol_and_address_follow_the_standard() {
        let base = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let protocol = "OTEL_EXPORTER_OTLP_PROTOCOL";
        let to = |endpoint: &str, protocol| {
            Some(Destination { endpoint: endpoint.to_owned(), protocol })
        };
        let http = to("http://c:4318/x/v1/traces", Protocol::HttpBinary);
        assert_eq!(read(&[(base, "http://c:4318/x/")]).unwrap(), http);
        assert_eq!(read(&[(base, "http://c:4317")]).unwrap(), to("http://c:4317", Protocol::Grpc));
        let explicit = [(base, "c:9"), (protocol, "grpc")];
        assert_eq!(read(&explicit).unwrap(), to("http://c:9", Protocol::Grpc));
        let own = [(base, "http://c"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/as-is")];
        assert_eq!(read(&own).unwrap(), to("http://t/as-is", Protocol::HttpBinary));
    }

    #[test]
    fn invalid_settings_are_rejected() {
        let base = "OTEL_EXPORTER_OTLP_ENDPOINT";
        assert!(matches!(read(&[(base, "ftp://c")]), Err(TraceError::Endpoint)));
        let odd = [(base, "http://c"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")];
        assert!(matches!(read(&odd), Err(TraceError::Protocol)));
    }
}
