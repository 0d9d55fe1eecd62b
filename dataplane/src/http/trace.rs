//! The span of a request: a child of the client's trace, and the parent of the calls to the control
//! plane. It contains the route's pattern, the method and the status, but no path, query or header.

use http::request::Parts;
use runtime::telemetry::{self, context};
use tracing::{Instrument, Span, field::Empty};

use crate::{http::reply::Reply, metrics::method_label};

/// Polled every few seconds by load balancers and scrapers; they would outnumber all other traces.
const UNTRACED: [&str; 3] = ["/health", "/health/playback", "/metrics"];

/// The span of a request with this route pattern; disabled without a collector.
pub(crate) fn span(request: &Parts, route: &'static str) -> Span {
    if !telemetry::is_traced() || UNTRACED.contains(&route) {
        return Span::none();
    }
    let method = method_label(&request.method);
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty
    );
    // Several values are treated as none (W3C Trace Context, 3.2).
    let mut sent = request.headers.get_all(context::TRACEPARENT).iter();
    if let (Some(parent), None) = (sent.next(), sent.next())
        && let Ok(parent) = parent.to_str()
    {
        context::adopt(&span, parent);
    }
    span
}

/// Handles a request inside its span, which records the status of the reply.
pub(crate) async fn record(span: Span, reply: impl Future<Output = Reply>) -> Reply {
    if span.is_none() {
        return reply.await;
    }
    let reply = reply.instrument(span.clone()).await;
    let status = reply.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    reply
}
