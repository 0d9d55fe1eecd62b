//! The span and the duration of every call. Only method names from the .proto files are recorded,
//! because a client can send any path.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};
use prost::Message;
use prost_types::FileDescriptorSet;
use runtime::telemetry::{self, context};
use tonic::{Code, codegen::http};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

/// Probes and scrapers call these every few seconds; their traces would outnumber all others.
const UNTRACED: [&str; 3] = ["PlaybackService/GetStatus", "PlaybackService/GetMetrics", "Health/"];
const PACKAGE: &str = "streaming.v1";

/// A layer that wraps each service in [`Observed`].
#[derive(Clone, Debug)]
pub struct Calls(Arc<CallMetrics>);

#[derive(Debug)]
struct CallMetrics {
    /// For example "streaming.v1.JobService/CreateJob", without the leading slash.
    methods: HashSet<String>,
    duration: Histogram<f64>,
}

impl Calls {
    /// Creates the layer for the methods of this package's services.
    pub fn new(meter: &Meter) -> Self {
        let duration = meter
            .f64_histogram("streaming_control_rpc_duration_seconds")
            .with_description(
                "Time from a gRPC call to its response, or to the first response of a stream",
            )
            .build();
        Self(Arc::new(CallMetrics { methods: methods(), duration }))
    }
}

/// Every method of this package, from the descriptors that reflection serves.
fn methods() -> HashSet<String> {
    let described = FileDescriptorSet::decode(api::FILE_DESCRIPTOR_SET).unwrap_or_default();
    let own_files = described.file.iter().filter(|file| file.package() == PACKAGE);
    let mut methods = HashSet::new();
    for service in own_files.flat_map(|file| &file.service) {
        for method in &service.method {
            methods.insert(format!("{PACKAGE}.{}/{}", service.name(), method.name()));
        }
    }
    methods
}

impl<S> Layer<S> for Calls {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, known: Arc::clone(&self.0) }
    }
}

/// A service whose calls are traced and measured.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    inner: S,
    known: Arc<CallMetrics>,
}

impl<S, Q, R> Service<http::Request<Q>> for Observed<S>
where
    S: Service<http::Request<Q>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Q>) -> Self::Future {
        let known = Arc::clone(&self.known);
        let method = request.uri().path().trim_start_matches('/');
        let method = known.methods.get(method).map_or("other", String::as_str).to_owned();
        let span = span(&method, request.headers());
        let begun = Instant::now();
        // The work that the service does before it returns its future belongs to the call, too.
        let calling = span.in_scope(|| self.inner.call(request));
        Box::pin(async move {
            let result = calling.instrument(span.clone()).await;
            let code = match &result {
                // Without a status in the headers, the status follows in the trailers; it is
                // counted as OK.
                Ok(reply) => reply
                    .headers()
                    .get("grpc-status")
                    .map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes())),
                Err(_) => Code::Internal,
            };
            span.record("rpc.grpc.status_code", code as i32);
            if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable) {
                span.record("otel.status_code", "ERROR");
            }
            let method = method.trim_start_matches("streaming.v1.").to_owned();
            let labels = [KeyValue::new("method", method), KeyValue::new("code", name(code))];
            known.duration.record(begun.elapsed().as_secs_f64(), &labels);
            result
        })
    }
}

fn span(method: &str, headers: &http::HeaderMap) -> Span {
    if !telemetry::is_traced() || method == "other" || UNTRACED.iter().any(|m| method.ends_with(m))
    {
        return Span::none();
    }
    let span = tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.grpc.status_code = tracing::field::Empty
    );
    if let Some(parent) = headers.get(context::TRACEPARENT).and_then(|value| value.to_str().ok()) {
        context::adopt(&span, parent);
    }
    span
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_calls_are_labelled_by_name() {
        let methods = super::methods();
        for method in ["JobService/CreateJob", "WorkerService/Work", "PlaybackService/GetStatus"] {
            assert!(methods.contains(&format!("streaming.v1.{method}")), "{methods:?}");
        }
        assert!(methods.iter().all(|method| method.starts_with("streaming.v1.")));
    }
}
