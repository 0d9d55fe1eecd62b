//! Logs, metrics and traces.
//!
//! | variable | default | |
//! |---|---|---|
//! | `LOG_LEVEL` | `info` | `off`, `error`, `warn`, `info`, `debug`, `trace`, or filter directives such as `info,control=debug` |
//! | `LOG_FORMAT` | `text` on a terminal, otherwise `json` | `text` or `json` |
//!
//! Logs go to stderr. Metrics are OpenTelemetry instruments rendered as Prometheus text under
//! exactly the names with which they were created: suffixes such as `_total` are written out in the
//! code. Traces are sent when a collector is configured, see `traces`.
//!
//! **Invariant:** spans are for traces and events are for logs. A span's fields are this project's
//! names, ids and numbers. Events, and therefore text from outside, never become part of a trace.

pub mod calls;
mod collector;
pub mod context;
mod level;
mod lines;
mod traces;

use std::{
    env,
    io::{self, IsTerminal},
    sync::atomic::{AtomicBool, Ordering},
};

use opentelemetry::{
    global,
    metrics::{Meter, MeterProvider},
    trace::TracerProvider,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{Aggregation, Instrument, InstrumentKind, SdkMeterProvider, Stream},
    trace::SdkTracerProvider,
};
use prometheus::{Registry, TextEncoder};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{
    EnvFilter, Layer, Registry as Spans,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::{level::Level, lines::Traced};

/// Bucket bounds in seconds for requests: from a cached manifest to a segment for a slow client.
pub const REQUEST_SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Bucket bounds in seconds for transcodes: from a short clip to a long video.
pub const TRANSCODE_SECONDS: [f64; 12] =
    [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// Maximum number of label sets per instrument; further ones are counted under
/// `otel_metric_overflow`.
const LABEL_SETS_MAX: usize = 2000;

const SCOPE: &str = "streaming-service";

/// Whether traces are collected. Read once per request, so it is not behind a lock.
static TRACED: AtomicBool = AtomicBool::new(false);

/// The process's metrics and traces; clones share them.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    // Held because instruments stop recording when their provider is dropped.
    provider: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
}

/// Sets up logging, the process's meter provider and, if a collector is configured, its traces.
/// Call it once, at the start of `main`, on the runtime.
pub fn init(service: &'static str) -> Telemetry {
    let mut telemetry = Telemetry::new(service);
    global::set_meter_provider(telemetry.provider.clone());
    let failed = telemetry
        .meter()
        .u64_counter("streaming_telemetry_spans_failed_total")
        .with_description("Spans that the trace collector did not accept")
        .build();
    failed.add(0, &[]);
    let traces = traces::provider(service, failed);
    let failure = match traces {
        Ok(provider) => {
            telemetry.traces = provider;
            None
        }
        Err(error) => Some(error),
    };
    TRACED.store(telemetry.traces.is_some(), Ordering::Relaxed);
    let level = Level::read(&env::var("LOG_LEVEL").unwrap_or_default());
    init_subscriber(level.filter, telemetry.traces.as_ref());
    // A mistake in a variable must not stop the service.
    if let Some(error) = failure {
        tracing::error!(%error, "failed to set up traces; none will be sent");
    }
    if !level.is_understood {
        tracing::warn!("invalid LOG_LEVEL: must be a level or filter directives; using info");
    }
    telemetry
}

/// Whether spans are collected.
pub fn is_traced() -> bool {
    TRACED.load(Ordering::Relaxed)
}

/// The process's meter; instruments created before [`init`] record nothing.
pub fn meter() -> Meter {
    global::meter(SCOPE)
}

impl Telemetry {
    /// Metrics that are separate from the process's own, for tests. Programs call [`init`].
    pub fn new(service: &'static str) -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build();
        let resource = Resource::builder().with_service_name(service).build();
        let mut builder = SdkMeterProvider::builder().with_resource(resource).with_view(view);
        match exporter {
            Ok(exporter) => builder = builder.with_reader(exporter),
            // A new registry always accepts its first collector; without the exporter the text
            // would stay empty.
            Err(error) => tracing::error!(%error, "failed to register the metrics exporter"),
        }
        Self { registry, provider: builder.build(), traces: None }
    }

    /// Sends the spans that are still queued, within a short timeout. Called last in `main`.
    pub async fn close(&self) {
        let Some(traces) = self.traces.clone() else { return };
        // The shutdown blocks, and its work runs on this runtime. A failure only drops spans.
        let closing = move || drop(traces.shutdown_with_timeout(traces::FLUSH_MAX));
        drop(tokio::task::spawn_blocking(closing).await);
    }

    /// The meter of this registry.
    pub fn meter(&self) -> Meter {
        self.provider.meter(SCOPE)
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "failed to encode metrics");
            String::new()
        })
    }
}

/// Limits the label sets, and gives histograms of seconds suitable buckets: OpenTelemetry's default
/// bounds are meant for milliseconds.
fn view(instrument: &Instrument) -> Option<Stream> {
    let builder = Stream::builder().with_cardinality_limit(LABEL_SETS_MAX);
    if instrument.kind() != InstrumentKind::Histogram || !instrument.name().ends_with("_seconds") {
        return builder.build().ok();
    }
    let long = ["transcoding", "playable", "task"];
    let boundaries = if long.iter().any(|word| instrument.name().contains(word)) {
        TRANSCODE_SECONDS.to_vec()
    } else {
        REQUEST_SECONDS.to_vec()
    };
    let aggregation = Aggregation::ExplicitBucketHistogram { boundaries, record_min_max: false };
    builder.with_aggregation(aggregation).build().ok()
}

fn init_subscriber(level: EnvFilter, traces: Option<&SdkTracerProvider>) {
    let format = env::var("LOG_FORMAT").unwrap_or_default();
    let terminal = io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(terminal);
    let lines = tracing_subscriber::fmt::format();
    let json = match format.as_str() {
        "json" => true,
        "text" => false,
        _ => !terminal,
    };
    let logs: Box<dyn Layer<Spans> + Send + Sync> = if json {
        let lines = lines.json().flatten_event(true);
        let lines = lines.with_current_span(false).with_span_list(false);
        layer.json().event_format(Traced { lines, json }).boxed()
    } else {
        layer.event_format(Traced { lines, json }).boxed()
    };
    // Without traces no layer enables spans, so they have no overhead.
    let logs = logs.with_filter(level.and(filter_fn(|about| about.is_event())));
    let traces = traces.map(|provider| {
        OpenTelemetryLayer::new(provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(is_our_span).with_max_level_hint(LevelFilter::INFO))
    });
    // An error means that logging is already set up, most likely by a test.
    drop(tracing_subscriber::registry().with(logs).with(traces).try_init());
}

/// The libraries' own spans contain data that must not be exported, such as addresses and paths.
fn is_our_span(about: &Metadata<'_>) -> bool {
    const OURS: [&str; 4] = ["control", "dataplane", "workers", "runtime"];
    let root = about.target().split("::").next().unwrap_or_default();
    about.is_span() && *about.level() <= tracing::Level::INFO && OURS.contains(&root)
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;

    use super::Telemetry;

    #[test]
    fn metrics_are_exported_under_their_exact_names() {
        let telemetry = Telemetry::new("streaming-test");
        let meter = telemetry.meter();
        let labels = [KeyValue::new("method", "GET"), KeyValue::new("route", "hls")];
        for name in ["http_requests_total", "videos_uploaded_total", "bandwidth_bytes_total"] {
            meter.u64_counter(format!("streaming_service_{name}")).build().add(2, &labels);
        }
        for name in ["http_request_duration_seconds", "transcoding_duration_seconds"] {
            let histogram = meter.f64_histogram(format!("streaming_service_{name}")).with_unit("s");
            histogram.build().record(0.003, &labels);
        }
        let gauge = meter.i64_up_down_counter("streaming_service_active_transcoding_jobs").build();
        gauge.add(1, &[]);

        let text = telemetry.render();
        let labels = "{method=\"GET\",route=\"hls\"}";
        for line in [
            "# TYPE streaming_service_http_requests_total counter".to_owned(),
            format!("streaming_service_http_requests_total{labels} 2"),
            format!("streaming_service_videos_uploaded_total{labels} 2"),
            format!("streaming_service_bandwidth_bytes_total{labels} 2"),
            "# TYPE streaming_service_http_request_duration_seconds histogram".to_owned(),
            format!("streaming_service_http_request_duration_seconds_count{labels} 1"),
            format!("streaming_service_transcoding_duration_seconds_sum{labels} 0.003"),
            "# TYPE streaming_service_active_transcoding_jobs gauge".to_owned(),
            "streaming_service_active_transcoding_jobs 1".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert!(!text.contains("otel_scope") && !text.contains("target_info"), "{text}");
        let bucket =
            "http_request_duration_seconds_bucket{method=\"GET\",route=\"hls\",le=\"0.005\"} 1";
        assert!(text.contains(bucket), "{text}");
    }
}
