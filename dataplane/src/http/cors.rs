//! Cross-origin rules, which differ by path.
//!
//! Replies below `/api/stream` are for caches: unless origins are configured for playback, they
//! carry the same headers for every request, with and without `Origin`, so that one cached copy
//! serves the pages of all sites. Elsewhere an origin is echoed only if it is configured. `*` is
//! never combined with credentials.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use url::Url;

use crate::http::reply::{self, Reply};

/// Headers of playback that a page may read.
const PLAYBACK_EXPOSED: &str = "Content-Range, Content-Length, Content-Encoding, ETag, \
    Accept-Ranges, Age, Date, Retry-After, X-Request-Id, \
    RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset";
/// Headers of the API that a page may read.
const API_EXPOSED: &str = "Content-Range, Content-Length, Content-Encoding, ETag, Accept-Ranges, Date, \
    Retry-After, Location, WWW-Authenticate, Video-Id, X-Request-Id, \
    RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, \
    Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, \
    Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Expires";
/// Headers that a page may send; players send those of CTA-5004 (CMCD) with media requests.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Range, If-Range, If-Match, \
    If-None-Match, Last-Event-ID, Cache-Control, Traceparent, Tracestate, X-Requested-With, \
    X-HTTP-Method-Override, Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, \
    Upload-Defer-Length, Upload-Checksum, Upload-Concat, Idempotency-Key, \
    CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status";
/// How long a browser may cache the response to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";
/// Whether pages of other origins see the details of a request's timing, by which players measure
/// the bandwidth.
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// The configured origins.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    /// `STREAMING_CORS_ORIGINS`
    pub(crate) api: Origins,
    /// `STREAMING_PLAYBACK_ORIGINS`; empty: every origin may play, without credentials.
    pub(crate) playback: Origins,
}

/// A list of origins.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    listed: Vec<String>,
    any: bool,
}

/// The access granted to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// No access: no CORS headers.
    None,
    /// Access without credentials.
    Any,
    /// Full access, with credentials.
    Credentials,
}

/// The parts of the HTTP interface with rules of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    /// Everything below `/api/stream`.
    Playback,
    /// The renewal of playback tokens, which players request from the pages that may play.
    Renewal,
    /// Files of the player, which a sandboxed page requests from the origin "null"; oEmbed.
    Open,
    /// All other paths.
    Api,
}

/// An entry of the list is not an origin.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" must be an origin, for example https://app.example.com or *")]
pub(crate) struct OriginError(String);

impl Area {
    /// Decides by the path alone, so that a reply does not depend on whether the path is known.
    fn of(path: &str) -> Self {
        match path.strip_prefix("/api/stream") {
            Some(below) if below.is_empty() || below.starts_with('/') => Self::Playback,
            _ if path == "/api/playback-token/renew" => Self::Renewal,
            _ if path == "/oembed" || path.starts_with("/player/") => Self::Open,
            _ => Self::Api,
        }
    }
}

impl Origins {
    /// Parses the configured origins; empty entries are skipped.
    ///
    /// # Errors
    /// An entry is not an origin that a browser would send, for example a pattern, a path or
    /// "null".
    pub(crate) fn parse(entries: &[String]) -> Result<Self, OriginError> {
        let (mut listed, mut any) = (Vec::new(), false);
        for entry in entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                any = true;
                continue;
            }
            let url = Url::parse(entry).ok();
            let origin = url.map(|url| url.origin()).filter(|origin| origin.is_tuple());
            let serialized = origin.map(|origin| origin.ascii_serialization());
            // Only a bare origin is accepted: no path, no credentials, no pattern.
            let plain = entry.trim_end_matches('/').to_ascii_lowercase();
            match serialized {
                Some(origin) if same(&origin, &plain) && !plain.contains('*') => {
                    listed.push(origin);
                }
                _ => return Err(OriginError(entry.to_owned())),
            }
        }
        Ok(Self { listed, any })
    }

    /// The listed origins; none if the list allows every origin.
    pub(crate) fn into_listed(self) -> Vec<String> {
        if self.any { Vec::new() } else { self.listed }
    }

    fn grant(&self, origin: &str) -> Grant {
        if self.listed.iter().any(|allowed| allowed == origin) {
            Grant::Credentials
        } else if self.any {
            Grant::Any
        } else {
            Grant::None
        }
    }

    /// The access granted to the request's origin.
    fn granted(&self, request: &HeaderMap) -> Grant {
        let mut origins = request.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => origin.to_str().map_or(Grant::None, |text| self.grant(text)),
            _ => Grant::None,
        }
    }
}

impl Cors {
    /// The access granted to the request, and whether it depends on the request's origin.
    fn granted(&self, request: &Parts) -> (Grant, bool) {
        match Area::of(request.uri.path()) {
            Area::Open => (Grant::Any, false),
            Area::Api => (self.api.granted(&request.headers), true),
            area if self.playback.listed.is_empty() => (Grant::Any, area == Area::Renewal),
            _ => (self.playback.granted(&request.headers), true),
        }
    }

    /// Adds the CORS headers, also to error replies.
    pub(crate) fn apply(&self, request: &Parts, reply: &mut Reply) {
        let (grant, varies) = self.granted(request);
        let vary = reply.headers().get_all(header::VARY).iter().filter_map(|v| v.to_str().ok());
        let vary: Vec<_> = varies.then_some("Origin").into_iter().chain(vary).collect();
        let vary = vary.join(", ");
        if !vary.is_empty() {
            reply::set(reply, header::VARY, &vary);
        }
        let origin = match grant {
            Grant::None => return,
            Grant::Any => HeaderValue::from_static("*"),
            Grant::Credentials => match request.headers.get(header::ORIGIN) {
                Some(origin) => origin.clone(),
                None => return,
            },
        };
        let area = Area::of(request.uri.path());
        let exposed = if area == Area::Api { API_EXPOSED } else { PLAYBACK_EXPOSED };
        let headers = reply.headers_mut();
        if area == Area::Playback {
            headers.insert(TIMING_ALLOW_ORIGIN, origin.clone());
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if grant == Grant::Credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        let exposed = HeaderValue::from_static(exposed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// Handles OPTIONS for a resource that supports the methods of `allow`: a preflight, or a plain
    /// query of these methods. An origin without access gets no CORS headers.
    pub(crate) fn options(&self, request: &Parts, allow: &str) -> Reply {
        let mut reply = reply::status(StatusCode::NO_CONTENT);
        let methods = format!("{allow}, {}", Method::OPTIONS);
        reply::set(&mut reply, header::ALLOW, &methods);
        let preflight = is_preflight(request);
        if preflight && self.granted(request).0 != Grant::None {
            reply::set(&mut reply, header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
            reply::set(&mut reply, header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            reply::set(&mut reply, header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
        }
        if preflight {
            let vary = "Access-Control-Request-Method, Access-Control-Request-Headers";
            reply::set(&mut reply, header::VARY, vary);
        }
        reply
    }
}

/// Whether the request is the preflight of a playback request. It succeeds for every path, because
/// a browser shows a page the error of the request itself only after a successful preflight.
pub(crate) fn is_playback_preflight(request: &Parts) -> bool {
    Area::of(request.uri.path()) == Area::Playback && is_preflight(request)
}

fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether two origins are equal; the default port, which browsers omit, is ignored.
fn same(origin: &str, configured: &str) -> bool {
    let port = if origin.starts_with("https:") { ":443" } else { ":80" };
    configured.strip_suffix(port).unwrap_or(configured) == origin
}
