//! The span of a request: a child of the client's trace, and the parent of the calls to the control
//! plane. It contains the route's pattern, the method and the status, but no path, query or header.

use std::{net::SocketAddr, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use runtime::telemetry::{self, context};
use tracing::{Instrument, Span, field::Empty};

use crate::{
    app::App,
    http::{connection::Connection, reply::Reply},
    metrics::method_label,
    route::Route,
    service,
};

/// Polled every few seconds by load balancers and scrapers; they would outnumber all other traces.
const UNTRACED: [&str; 3] = ["/health", "/health/playback", "/metrics"];

/// Handles a request inside its span; without a collector no span is created.
pub(crate) async fn answer(
    app: Arc<App>,
    peer: SocketAddr,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Reply {
    if !telemetry::is_traced() {
        return service::answer(app, peer, connection, request).await;
    }
    let span = span(&request);
    let reply = service::answer(app, peer, connection, request).instrument(span.clone()).await;
    let status = reply.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    reply
}

fn span(request: &Request<Incoming>) -> Span {
    let route = Route::resolve(request.uri().path());
    let route = route.as_ref().map_or("none", Route::pattern);
    if UNTRACED.contains(&route) {
        return Span::none();
    }
    let method = method_label(request.method());
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
    let mut sent = request.headers().get_all(context::TRACEPARENT).iter();
    if let (Some(parent), None) = (sent.next(), sent.next())
        && let Ok(parent) = parent.to_str()
    {
        context::adopt(&span, parent);
    }
    span
}
