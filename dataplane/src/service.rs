//! Handles one request: the rules that apply to all routes, then the route's handler, then the
//! headers that all replies have. A panic in a handler affects its own request only.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use api::code::{Code, Problem};
use futures::FutureExt;
use http::{
    HeaderName, HeaderValue, Method, Request, StatusCode, Version, header, request::Parts,
    uri::Authority,
};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::{
    app::App,
    http::{
        connection::Connection,
        cors,
        reply::{self, Body, Reply},
        request_body::RequestBody,
        trace,
    },
    limit::Allowance,
    pages::{self, Sender},
    playback,
    rest::{self, openapi, upload::tus},
    route::{Route, RouteError},
};

/// Methods that at least one resource supports.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// Methods that every resource below `/api/stream` supports.
const PLAYBACK_METHODS: &str = "GET, HEAD";

/// A request whose route, method and client address are resolved.
struct Prepared {
    request: Parts,
    body: RequestBody,
    route: Result<Route, RouteError>,
    /// The route's pattern, or "none".
    label: &'static str,
    /// Where it comes from.
    sender: Sender,
    connection: Arc<Connection>,
    begun: Instant,
}

/// Returns a reply to every request, also when the handler fails or panics.
pub(crate) async fn respond(
    app: Arc<App>,
    peer: SocketAddr,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Reply {
    let prepared = Prepared::new(&app, peer, connection, request);
    let span = trace::span(&prepared.request, prepared.label);
    let replying = async {
        let (reply, allowance) = prepared.reply(&app).await;
        prepared.finish(&app, reply, allowance).await
    };
    trace::record(span, replying).await
}

impl Prepared {
    /// Resolves the route, the client's address and an overridden method.
    fn new(
        app: &App,
        peer: SocketAddr,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> Self {
        let begun = Instant::now();
        let (mut request, body) = request.into_parts();
        let body = RequestBody::new(body, &app.config.pace);
        let route = match Route::resolve(request.uri.path()) {
            Ok(route) if route.is_page() && !app.pages.enabled => Err(RouteError::Unknown),
            route => route,
        };
        if let Some(method) = tus::overridden(route.as_ref().ok(), &request) {
            request.method = method;
        }
        let label = route.as_ref().map_or("none", Route::pattern);
        let address = app.proxies.client(peer.ip(), &request.headers);
        let sender = Sender { peer: peer.ip(), address };
        Self { request, body, route, label, sender, connection, begun }
    }

    /// The reply of the handler, unless the client exceeds its rate limit.
    async fn reply(&self, app: &App) -> (Reply, Option<Allowance>) {
        let allowance = app.limiter.check(&self.request, self.sender.address).await;
        let handled = async {
            match allowance.and_then(|allowance| allowance.problem()) {
                Some(problem) => Err(problem),
                None => self.handle(app).await,
            }
        };
        let reply = match AssertUnwindSafe(handled).catch_unwind().await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) if self.body.is_slow() => too_slow(app),
            Ok(Err(problem)) => app.pages.problem(self.route.as_ref().ok(), &problem),
            Err(_) => panicked(self.label),
        };
        (reply, allowance)
    }

    /// Applies to the reply what does not depend on the handler.
    async fn finish(self, app: &App, reply: Reply, allowance: Option<Allowance>) -> Reply {
        let Self { request, body, route, label, sender, connection, begun } = self;
        let address = sender.address;
        let mut reply = reply::gzip_json(&request.headers, reply);
        let status = reply.status();
        if let Some(allowance) = app.limiter.settle(&request, address, allowance, status).await {
            allowance.add_headers(&mut reply);
        }
        if matches!(route, Ok(Route::Uploads | Route::ResumableUpload(_))) {
            tus::add_headers(&app.rest, &request.method, &mut reply);
        }
        app.cors.apply(&request, &mut reply);
        let nosniff = HeaderValue::from_static("nosniff");
        reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        let version1 = request.version < Version::HTTP_2;
        let ambiguous = connection.ambiguous.load(Ordering::Acquire);
        if version1 && (ambiguous || connection.chunked.load(Ordering::Acquire)) {
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if request.method == Method::HEAD {
            strip(&mut reply);
        }
        let waits = request.headers.contains_key(header::EXPECT) && !body.is_touched();
        if !ambiguous && !waits && !body.is_at_end().await {
            // The client may still be sending; unless the body is read, it may never read the
            // reply.
            app.shutdown.tracker.spawn(body.linger());
        }
        let took = begun.elapsed();
        app.metrics.request(&request.method, label, reply.status(), took);
        tracing::debug!(
            http.method = %request.method,
            http.route = label,
            http.status = reply.status().as_u16(),
            duration_ms = took.as_millis() as u64,
            "request answered"
        );
        reply
    }
    /// Checks the rules that apply to all routes, then calls the route's handler.
    async fn handle(&self, app: &App) -> Result<Reply, Problem> {
        let Self { request, body, sender, .. } = self;
        if self.connection.ambiguous.load(Ordering::Acquire) {
            return Err(Problem::new(
                Code::Malformed,
                "the length of the body can be read in two ways",
            ));
        }
        host(request)?;
        if request.method == Method::CONNECT || request.method == Method::TRACE {
            return Ok(not_allowed(METHODS));
        }
        // OPTIONS for the whole server (RFC 9110, 9.3.7).
        if request.method == Method::OPTIONS && request.uri.path() == "*" {
            let mut reply = reply::status(StatusCode::NO_CONTENT);
            reply::set(&mut reply, header::ALLOW, METHODS);
            return Ok(reply);
        }
        let route = match &self.route {
            Ok(route) => route,
            Err(_) if cors::is_playback_preflight(request) => {
                return Ok(app.cors.options(request, PLAYBACK_METHODS));
            }
            Err(RouteError::Unknown) => {
                return Err(Problem::new(Code::NotFound, "no such resource"));
            }
            Err(RouteError::InvalidId(field)) => {
                return Err(Problem::at(Code::InvalidId, *field, "is not a UUID"));
            }
        };
        if request.method == Method::OPTIONS {
            return Ok(app.cors.options(request, route.allow()));
        }
        if !route.allows(&request.method) {
            return Ok(not_allowed(route.allow()));
        }
        match route {
            Route::Root => Ok(root(app, request)),
            Route::Health => Ok(app.health.ready().await),
            Route::PlaybackHealth => Ok(app.health.alive()),
            Route::Metrics if app.config.metrics_addr.is_none() => Ok(app.health.metrics().await),
            Route::Metrics => {
                Err(Problem::new(Code::NotFound, "metrics are served on another address"))
            }
            Route::OpenApi => Ok(openapi::serve(&request.headers)),
            Route::Page(page) => {
                pages::serve(&app.pages, &app.playback, page, request, *sender).await
            }
            _ if route.stream().is_some() => {
                playback::serve(&app.playback, route, request, sender.address).await
            }
            _ => rest::serve(&app.rest, route, request, sender.address, body).await,
        }
    }
}

/// The console for browsers, a description of the service for other clients.
fn root(app: &App, request: &Parts) -> Reply {
    let document = serde_json::json!({
        "service": "streaming-service",
        "version": runtime::program_version(),
        "openapi": "/api/openapi.json",
        "health": "/health",
    });
    let described = || reply::json_document(&request.headers, &document);
    let mut reply = app.pages.redirect(&request.headers).unwrap_or_else(described);
    if app.pages.enabled {
        reply.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    }
    reply
}

/// Requires exactly one valid `Host`, equal to the one in an absolute target (RFC 9112, 3.2).
fn host(request: &Parts) -> Result<(), Problem> {
    let invalid = |text| Err(Problem::new(Code::Malformed, text));
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return invalid("the request has more than one Host");
    }
    let target = request.uri.authority();
    let host = match host {
        Some(host) => match Authority::try_from(host.as_bytes()) {
            Ok(host) if !host.as_str().contains('@') => Some(host),
            _ => return invalid("the Host is malformed"),
        },
        None if request.version == Version::HTTP_11 => return invalid("the request has no Host"),
        None if request.version >= Version::HTTP_2 && target.is_none() => {
            return invalid("the request has no authority");
        }
        None => None,
    };
    if target.is_some_and(|target| target.as_str().contains('@')) {
        return invalid("the authority is malformed");
    }
    match (host, target) {
        (Some(host), Some(target)) if host != *target => invalid("Host and target differ"),
        _ => Ok(()),
    }
}

fn not_allowed(allow: &str) -> Reply {
    let text = format!("this resource supports {allow}");
    let mut reply = reply::problem(&Problem::new(Code::MethodNotAllowed, text));
    reply::set(&mut reply, header::ALLOW, allow);
    reply
}

/// The reply to a request whose body arrives too slowly.
fn too_slow(app: &App) -> Reply {
    app.metrics.slow("body");
    let problem = Problem::new(Code::Timeout, "the body arrived too slowly");
    reply::problem_with_status(StatusCode::REQUEST_TIMEOUT, &problem)
}

/// The reply to a request whose handler panicked. The client gets the id under which the log has
/// the details.
fn panicked(label: &'static str) -> Reply {
    let id = format!("{:016x}", rand::random::<u64>());
    tracing::error!(
        request.id = id,
        http.route = label,
        "failed to handle a request: its handler panicked"
    );
    let text = format!("internal error (request id {id})");
    let mut reply = reply::problem(&Problem::new(Code::Internal, text));
    reply::set(&mut reply, HeaderName::from_static("x-request-id"), &id);
    reply
}

/// Removes the body of a reply to HEAD and keeps its length in the headers.
fn strip(reply: &mut Reply) {
    let length = reply.body().size_hint().exact();
    if let Some(length) = length
        && reply.status() != StatusCode::NOT_MODIFIED
        && reply.status() != StatusCode::NO_CONTENT
    {
        reply.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    *reply.body_mut() = Body::empty();
}
