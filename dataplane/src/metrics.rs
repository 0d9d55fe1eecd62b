//! The data plane's metrics. Bytes are counted in plain atomics, read only when somebody scrapes: an
//! OpenTelemetry counter hashes its labels at each call, which the byte path must not pay for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};

/// Where bytes are counted and what is recorded per request.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    uploaded: Counter<u64>,
    missing: Counter<u64>,
    /// Bytes by kind.
    pub(crate) bandwidth: Bandwidth,
}

/// Bytes that left or came, by kind.
#[derive(Clone, Default)]
pub(crate) struct Bandwidth {
    /// Playlists and MPDs.
    pub(crate) manifest: Arc<AtomicU64>,
    /// Init and media segments.
    pub(crate) segment: Arc<AtomicU64>,
    /// Sources that came in.
    pub(crate) upload: Arc<AtomicU64>,
}

impl Metrics {
    /// Registers the instruments.
    pub(crate) fn new(meter: &Meter) -> Self {
        let bandwidth = Bandwidth::default();
        let counters = bandwidth.clone();
        // The callback stays registered without its handle.
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
            .with_description("Sources that were received whole")
            .build();
        uploaded.add(0, &[]);
        Self {
            requests: meter
                .u64_counter("streaming_service_http_requests_total")
                .with_description("HTTP requests answered")
                .build(),
            duration: meter
                .f64_histogram("streaming_service_http_request_duration_seconds")
                .with_description("Time from a request's head to its reply's head")
                .build(),
            uploaded,
            missing: meter
                .u64_counter("streaming_service_missing_objects_total")
                .with_description("Indexed objects that the store does not have")
                .build(),
            bandwidth,
        }
    }

    /// One request was answered. The labels' values are bounded: `route` is a pattern.
    pub(crate) fn request(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        let method = KeyValue::new("method", method_label(method));
        let route = KeyValue::new("route", route);
        self.duration.record(took.as_secs_f64(), &[method.clone(), route.clone()]);
        let status = KeyValue::new("status", i64::from(status.as_u16()));
        self.requests.add(1, &[method, route, status]);
    }

    /// A source was received whole.
    pub(crate) fn uploaded(&self) {
        self.uploaded.add(1, &[]);
    }

    /// The index names an object that is not there.
    pub(crate) fn missing(&self) {
        self.missing.add(1, &[]);
    }
}

/// A method's name; what nobody has named is `OTHER`.
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
