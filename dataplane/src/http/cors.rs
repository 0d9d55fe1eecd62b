//! Cross-origin rules. An origin is echoed only if it is configured; `*` is never combined with
//! credentials.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use crate::{
    http::reply::{self, Reply},
    route::Route,
};

const EXPOSED: &str = "Content-Range, Content-Length, Content-Encoding, ETag, Accept-Ranges, Date, \
    Retry-After, Location, WWW-Authenticate, Video-Id, X-Request-Id, \
    RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, \
    Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, \
    Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Expires";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Range, If-Range, If-Match, \
    If-None-Match, Last-Event-ID, Cache-Control, Traceparent, Tracestate, X-Requested-With, \
    X-HTTP-Method-Override, Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, \
    Upload-Defer-Length, Upload-Checksum, Upload-Concat";
/// How long a browser may cache the response to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// The configured origins.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
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

/// An entry of the list is not an origin.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" must be an origin, for example https://app.example.com or *")]
pub(crate) struct OriginError(String);

impl Cors {
    /// Parses the configured origins; empty entries are skipped.
    ///
    /// # Errors
    /// An entry is not an origin that a browser would send, for example a pattern, a path or
    /// "null".
    pub(crate) fn new(entries: &[String]) -> Result<Self, OriginError> {
        let (mut origins, mut any) = (Vec::new(), false);
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
                    origins.push(origin);
                }
                _ => return Err(OriginError(entry.to_owned())),
            }
        }
        Ok(Self { origins, any })
    }

    fn grant(&self, origin: &str, route: Option<&Route>) -> Grant {
        if self.origins.iter().any(|allowed| allowed == origin) {
            return Grant::Credentials;
        }
        let is_playback = route.is_some_and(|route| route.stream().is_some());
        if self.any || (self.origins.is_empty() && is_playback) { Grant::Any } else { Grant::None }
    }

    /// The access granted to the request's origin.
    fn granted(&self, request: &HeaderMap, route: Option<&Route>) -> Grant {
        let mut origins = request.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => {
                origin.to_str().map_or(Grant::None, |text| self.grant(text, route))
            }
            _ => Grant::None,
        }
    }

    /// Adds the CORS headers, also to error replies.
    pub(crate) fn apply(&self, request: &HeaderMap, route: Option<&Route>, reply: &mut Reply) {
        let mut vary = "Origin".to_owned();
        for other in reply.headers().get_all(header::VARY).iter().filter_map(|v| v.to_str().ok()) {
            vary.push_str(", ");
            vary.push_str(other);
        }
        reply::set(reply, header::VARY, &vary);
        let Some(origin) = request.get(header::ORIGIN) else { return };
        let headers = reply.headers_mut();
        match self.granted(request, route) {
            Grant::None => return,
            Grant::Any => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Grant::Credentials => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
        }
        let exposed = HeaderValue::from_static(EXPOSED);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Handles OPTIONS: a preflight, or a plain query of the allowed methods. An origin without access
/// gets no CORS headers.
pub(crate) fn options(cors: &Cors, request: &HeaderMap, route: &Route) -> Reply {
    let mut reply = reply::status(StatusCode::NO_CONTENT);
    let methods = format!("{}, {}", route.allow(), Method::OPTIONS);
    reply::set(&mut reply, header::ALLOW, &methods);
    let is_preflight = request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if is_preflight && cors.granted(request, Some(route)) != Grant::None {
        reply::set(&mut reply, header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
        reply::set(&mut reply, header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        reply::set(&mut reply, header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    }
    if is_preflight {
        let vary = "Access-Control-Request-Method, Access-Control-Request-Headers";
        reply::set(&mut reply, header::VARY, vary);
    }
    reply
}

/// Whether two origins are equal; the default port, which browsers omit, is ignored.
fn same(origin: &str, configured: &str) -> bool {
    let port = if origin.starts_with("https:") { ":443" } else { ":80" };
    configured.strip_suffix(port).unwrap_or(configured) == origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(configured: &[&str], origin: &str, path: &str) -> (Option<String>, bool) {
        let configured: Vec<_> = configured.iter().map(|&o| o.to_owned()).collect();
        let request = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        let route = Route::resolve(path).ok();
        let mut reply = reply::status(StatusCode::OK);
        Cors::new(&configured).unwrap().apply(&request, route.as_ref(), &mut reply);
        assert!(reply.headers()[header::VARY].to_str().unwrap().starts_with("Origin"));
        let origin = reply.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        let credentials = reply.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        (origin.map(|value| value.to_str().unwrap().to_owned()), credentials)
    }

    const STREAM: &str = "/api/stream/01936b2e-7c1a-7d33-8b0e-000000000001/hls/playlist.m3u8";

    #[test]
    fn by_default_every_origin_may_play_and_do_nothing_else() {
        assert_eq!(allowed(&[], "https://evil.com", STREAM), (Some("*".into()), false));
        assert_eq!(allowed(&[], "https://evil.com", "/api/videos"), (None, false));
        assert_eq!(allowed(&[], "null", "/api/videos"), (None, false));
    }

    #[test]
    fn configured_origins_are_echoed_exactly_and_others_get_no_headers() {
        let configured = ["https://app.example.com/", "http://localhost:3000"];
        for path in [STREAM, "/api/videos"] {
            let good = "https://app.example.com";
            assert_eq!(allowed(&configured, good, path), (Some(good.into()), true));
            for evil in [
                "https://evil.com",
                "null",
                "*",
                "",
                "https://sub.app.example.com",
                "https://app.example.com.evil.com",
                "https://evilapp.example.com",
                "http://app.example.com",
                "https://app.example.com:444",
                "https://app.example.com, https://evil.com",
                "https://app.example.com/",
            ] {
                assert_eq!(allowed(&configured, evil, path), (None, false), "{evil}");
            }
        }
    }

    #[test]
    fn a_wildcard_never_allows_credentials() {
        assert_eq!(allowed(&["*"], "https://evil.com", "/api/jobs"), (Some("*".into()), false));
    }

    #[test]
    fn invalid_origins_are_rejected_at_startup() {
        let read = |entry: &str| Cors::new(&[entry.to_owned()]);
        for good in
            ["https://a.example", "http://localhost:3000/", "HTTPS://A.example:443", "*", ""]
        {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [
            "null",
            "a.example",
            "https://*.example",
            "https://a.example/x",
            "https://u@a.example",
            "file:///x",
            "https://a.example?x",
        ] {
            assert_eq!(read(bad).unwrap_err(), OriginError(bad.to_owned()));
        }
    }

    #[test]
    fn preflights_of_unknown_origins_get_no_headers() {
        let cors = Cors::new(&["https://app.example.com".to_owned()]).unwrap();
        let route = Route::resolve("/api/videos").unwrap();
        let ask = |origin: &str| {
            let request = HeaderMap::from_iter([
                (header::ORIGIN, origin.parse().unwrap()),
                (header::ACCESS_CONTROL_REQUEST_METHOD, "GET".parse().unwrap()),
            ]);
            options(&cors, &request, &route)
        };
        let good = ask("https://app.example.com");
        let headers = good.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        for name in ["Authorization", "Range", "Upload-Offset", "Tus-Resumable"] {
            assert!(headers.contains(name), "{name}");
        }
        let evil = ask("https://evil.com");
        assert!(!evil.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS));
        assert!(!evil.headers().contains_key(header::ACCESS_CONTROL_ALLOW_HEADERS));
    }
}
