//! The data plane's metrics. Bytes are counted in plain atomics that are read only on a scrape: an
//! OpenTelemetry counter hashes its labels at each call, which is too expensive for the path of
//! media bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter, UpDownCounter},
};

/// The byte counters, and the instruments per request.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    uploaded: Counter<u64>,
    missing: Counter<u64>,
    connections: UpDownCounter<i64>,
    rejected_tokens: Counter<u64>,
    slow: Counter<u64>,
    /// Bytes by kind.
    pub(crate) bandwidth: Bandwidth,
    /// Hits and misses of the index cache.
    pub(crate) indexes: Lookups,
    /// Hits and misses of the cache of segments in buckets.
    pub(crate) segments: Lookups,
    /// Open streams of how far videos are.
    pub(crate) viewers: Arc<AtomicUsize>,
}

/// Lookups of a cache.
#[derive(Clone, Default)]
pub(crate) struct Lookups {
    /// Lookups served from memory.
    pub(crate) hits: Arc<AtomicU64>,
    /// The others. For an index, also those that waited for another request to load it; a segment that
    /// another request is reading is in memory.
    pub(crate) misses: Arc<AtomicU64>,
}

impl Lookups {
    /// Counts a lookup.
    pub(crate) fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The lookups of a cache as a metric.
    fn observed(meter: &Meter, name: &'static str, description: &'static str) -> Self {
        let lookups = Self::default();
        let counted = lookups.clone();
        // The callback remains registered when the handle is dropped.
        let _observed = meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| {
                for (result, counter) in [("hit", &counted.hits), ("miss", &counted.misses)] {
                    let count = counter.load(Ordering::Relaxed);
                    observer.observe(count, &[KeyValue::new("result", result)]);
                }
            })
            .build();
        lookups
    }
}

/// Guard of an open connection; dropping it decrements the count.
pub(crate) struct Connected(UpDownCounter<i64>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.add(-1, &[]);
    }
}

/// Registers the number of open streams of how far videos are.
fn viewers(meter: &Meter) -> Arc<AtomicUsize> {
    let viewers = Arc::<AtomicUsize>::default();
    let open = viewers.clone();
    meter
        .u64_observable_gauge("streaming_service_playback_event_streams")
        .with_description("Open streams of how far a video is")
        .with_callback(move |observer| observer.observe(open.load(Ordering::Relaxed) as u64, &[]))
        .build();
    viewers
}

/// Bytes sent or received, by kind.
#[derive(Clone, Default)]
pub(crate) struct Bandwidth {
    /// Playlists and MPDs.
    pub(crate) manifest: Arc<AtomicU64>,
    /// Init and media segments.
    pub(crate) segment: Arc<AtomicU64>,
    /// Sources received.
    pub(crate) upload: Arc<AtomicU64>,
}

impl Metrics {
    /// Registers the instruments.
    pub(crate) fn new(meter: &Meter) -> Self {
        let bandwidth = Bandwidth::default();
        let counters = bandwidth.clone();
        // The callback remains registered when the handle is dropped.
        let _observed = meter
            .u64_observable_counter("streaming_service_bandwidth_bytes_total")
            .with_description("Bytes of media and manifests sent, and of sources received")
            .with_callback(move |observer| {
                let kinds = [
                    ("manifest", &counters.manifest),
                    ("segment", &counters.segment),
                    ("upload", &counters.upload),
                ];
                for (kind, counter) in kinds {
                    let bytes = counter.load(Ordering::Relaxed);
                    observer.observe(bytes, &[KeyValue::new("kind", kind)]);
                }
            })
            .build();
        let uploaded = meter
            .u64_counter("streaming_service_videos_uploaded_total")
            .with_description("Sources that were received completely")
            .build();
        uploaded.add(0, &[]);
        let missing = meter
            .u64_counter("streaming_service_missing_objects_total")
            .with_description("Indexed objects that the store does not have")
            .build();
        missing.add(0, &[]);
        let connections = meter
            .i64_up_down_counter("streaming_service_connections")
            .with_description("Open connections of clients")
            .build();
        connections.add(0, &[]);
        Self {
            requests: meter
                .u64_counter("streaming_service_http_requests_total")
                .with_description("Completed HTTP requests")
                .build(),
            duration: meter
                .f64_histogram("streaming_service_http_request_duration_seconds")
                .with_description("Time from a request's head to its reply's head")
                .build(),
            uploaded,
            missing,
            connections,
            rejected_tokens: meter
                .u64_counter("streaming_service_tokens_refused_total")
                .with_description("Rejected tokens, by reason")
                .build(),
            slow: meter
                .u64_counter("streaming_service_slow_clients_total")
                .with_description(
                    "Clients that were disconnected for reading or sending too slowly",
                )
                .build(),
            bandwidth,
            indexes: Lookups::observed(
                meter,
                "streaming_service_index_cache_lookups_total",
                "Lookups of a video's index, by whether it was in memory",
            ),
            segments: Lookups::observed(
                meter,
                "streaming_service_segment_cache_lookups_total",
                "Lookups of segments in buckets, by whether they were in memory",
            ),
            viewers: viewers(meter),
        }
    }

    /// Counts a client that was cut off: its request's `head` or `body`, or its reading of the
    /// `reply`, was too slow.
    pub(crate) fn slow(&self, what: &'static str) {
        self.slow.add(1, &[KeyValue::new("what", what)]);
    }

    /// Counts a completed request. The values of the labels are bounded: `route` is a pattern.
    pub(crate) fn request(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        elapsed: Duration,
    ) {
        let method = KeyValue::new("method", method_label(method));
        let route = KeyValue::new("route", route);
        self.duration.record(elapsed.as_secs_f64(), &[method.clone(), route.clone()]);
        let status = KeyValue::new("status", i64::from(status.as_u16()));
        self.requests.add(1, &[method, route, status]);
    }

    /// Counts a source that was received completely.
    pub(crate) fn uploaded(&self) {
        self.uploaded.add(1, &[]);
    }

    /// Counts a connected client until the guard is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.connections.add(1, &[]);
        Connected(self.connections.clone())
    }

    /// Counts a token that was rejected for a video. The set of reasons is closed.
    pub(crate) fn rejected_token(&self, reason: &'static str) {
        self.rejected_tokens.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// Counts an object that is missing although the index refers to it.
    pub(crate) fn missing(&self) {
        self.missing.add(1, &[]);
    }
}

/// The label for a method; an unknown method is `OTHER`.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};
    use runtime::Telemetry;
    use uuid::Uuid;

    use super::Metrics;
    use crate::route::Route;

    /// Maximum number of series that requests may create: routes, methods and statuses, and the
    /// buckets of the histogram.
    const SERIES_MAX: usize = 3000;

    #[test]
    fn a_hundred_thousand_ids_create_no_series() {
        let telemetry = Telemetry::new("dataplane-test");
        let metrics = Metrics::new(&telemetry.meter());
        let paths =
            ["videos/ID", "jobs/ID", "stream/ID/hls/playlist.m3u8", "stream/ID/ID/x/h1.m4s"];
        for number in 0..100_000_usize {
            let id = Uuid::from_u128(number as u128).to_string();
            let path = paths[number % paths.len()].replace("ID", &id);
            let path =
                if number % 7 == 0 { format!("/{id}/{path}") } else { format!("/api/{path}") };
            let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            let method = if number % 5 == 0 { method } else { Method::GET };
            let route = Route::resolve(&path);
            let label = route.as_ref().map_or("none", Route::pattern);
            metrics.request(&method, label, StatusCode::OK, Duration::from_millis(1));
        }
        let text = telemetry.render();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series < SERIES_MAX, "{series} series");
        let total: f64 = text
            .lines()
            .filter(|line| line.starts_with("streaming_service_http_requests_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        assert_eq!(total, 100_000.0);
        assert!(!text.contains("otel_metric_overflow") && !text.contains("00000000-"), "{text}");
    }
}
