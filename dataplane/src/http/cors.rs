//! Cross-origin rules, which differ by path.
//!
//! Replies below `/api/stream` are for caches: unless origins are configured for playback, they
//! carry the same headers for every request, with and without `Origin`, so that one cached copy
//! serves the pages of all sites. Elsewhere an origin is echoed only if it is configured. `*` is
//! never combined with credentials.

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
    Upload-Defer-Length, Upload-Checksum, Upload-Concat, \
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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const STREAM: &str = "/api/stream/01936b2e-7c1a-7d33-8b0e-000000000001/hls/playlist.m3u8";
    const APP: &str = "https://app.example.com";

    fn origins(listed: &[&str]) -> Origins {
        let listed: Vec<_> = listed.iter().map(|&origin| origin.to_owned()).collect();
        Origins::parse(&listed).unwrap()
    }

    fn cors(api: &[&str], playback: &[&str]) -> Cors {
        Cors { api: origins(api), playback: origins(playback) }
    }

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    /// The headers of a reply that depends on `Accept-Encoding`; `origin` may be absent.
    fn headers(cors: &Cors, path: &str, origin: Option<&str>) -> HeaderMap {
        let origin = origin.map(|origin| ("origin", origin));
        let request = request("GET", path, origin.as_slice());
        let mut reply = reply::status(StatusCode::OK);
        reply::set(&mut reply, header::VARY, "Accept-Encoding");
        cors.apply(&request, &mut reply);
        reply.headers().clone()
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn allowed(cors: &Cors, origin: &str, path: &str) -> (Option<String>, bool) {
        let headers = headers(cors, path, Some(origin));
        assert_eq!(text(&headers, "vary"), Some("Origin, Accept-Encoding"));
        let credentials = headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        (text(&headers, "access-control-allow-origin").map(str::to_owned), credentials)
    }

    #[test]
    fn replies_of_playback_are_the_same_for_every_origin_and_without_one() {
        for cors in [cors(&[], &[]), cors(&[APP], &[]), cors(&["*"], &[]), cors(&[APP], &["*"])] {
            for path in [STREAM, "/api/stream/nope", "/api/stream/", "/api/stream"] {
                let plain = headers(&cors, path, None);
                assert_eq!(text(&plain, "access-control-allow-origin"), Some("*"), "{path}");
                assert_eq!(text(&plain, "timing-allow-origin"), Some("*"));
                assert_eq!(text(&plain, "vary"), Some("Accept-Encoding"));
                assert!(!plain.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
                for origin in [APP, "https://evil.com", "null"] {
                    assert_eq!(headers(&cors, path, Some(origin)), plain, "{origin} {path}");
                }
            }
        }
    }

    #[test]
    fn playback_tokens_are_renewed_by_the_pages_that_may_play() {
        let path = "/api/playback-token/renew";
        assert_eq!(allowed(&cors(&[], &[]), APP, path), (Some("*".into()), false));
        let cors = cors(&["https://api.example"], &[APP]);
        assert_eq!(allowed(&cors, APP, path), (Some(APP.into()), true));
        assert_eq!(allowed(&cors, "https://api.example", path), (None, false));
    }

    #[test]
    fn every_site_may_load_the_player_and_oembed_documents() {
        for (path, origin) in [("/player/page-1.js", Some("null")), ("/oembed", Some(APP))] {
            let headers = headers(&cors(&[APP], &[APP]), path, origin);
            assert_eq!(text(&headers, "access-control-allow-origin"), Some("*"), "{path}");
            assert_eq!(text(&headers, "vary"), Some("Accept-Encoding"));
        }
    }

    #[test]
    fn by_default_no_origin_may_use_the_api() {
        for path in ["/api/videos", "/api/streams", "/api/playback-token", "/"] {
            for origin in ["https://evil.com", "null"] {
                assert_eq!(allowed(&cors(&[], &[]), origin, path), (None, false), "{path}");
            }
        }
    }

    #[test]
    fn configured_origins_are_echoed_exactly_and_others_get_no_headers() {
        let listed = ["https://app.example.com/", "http://localhost:3000"];
        for (cors, path) in [(cors(&listed, &[]), "/api/videos"), (cors(&[], &listed), STREAM)] {
            assert_eq!(allowed(&cors, APP, path), (Some(APP.into()), true));
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
                assert_eq!(allowed(&cors, evil, path), (None, false), "{evil}");
            }
            assert!(!headers(&cors, path, None).contains_key("access-control-allow-origin"));
        }
        let playback = headers(&cors(&[], &[APP]), STREAM, Some(APP));
        assert_eq!(text(&playback, "timing-allow-origin"), Some(APP));
    }

    #[test]
    fn each_list_is_for_its_own_area() {
        let cors = cors(&["https://api.example"], &[APP]);
        assert_eq!(allowed(&cors, APP, "/api/videos"), (None, false));
        assert_eq!(allowed(&cors, "https://api.example", STREAM), (None, false));
    }

    #[test]
    fn a_wildcard_never_allows_credentials() {
        let (any, evil) = (Some("*".into()), "https://evil.com");
        assert_eq!(allowed(&cors(&["*"], &[]), evil, "/api/jobs"), (any.clone(), false));
        assert_eq!(allowed(&cors(&[], &[APP, "*"]), evil, STREAM), (any, false));
        assert_eq!(allowed(&cors(&[], &[APP, "*"]), APP, STREAM), (Some(APP.into()), true));
    }

    #[test]
    fn invalid_origins_are_rejected_at_startup() {
        let read = |entry: &str| Origins::parse(&[entry.to_owned()]);
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
    fn preflights_list_the_headers_of_uploads_and_players_except_for_unknown_origins() {
        let cors = cors(&[APP], &[]);
        let preflight = |origin: &str, path: &str| {
            let method = ("access-control-request-method", "GET");
            let request = request("OPTIONS", path, &[("origin", origin), method]);
            cors.options(&request, "GET, HEAD")
        };
        let names = ["Authorization", "Range", "Upload-Offset", "Tus-Resumable"];
        let cmcd = ["CMCD-Object", "CMCD-Request", "CMCD-Session", "CMCD-Status"];
        for (origin, path) in [(APP, "/api/videos"), ("https://evil.com", STREAM)] {
            let good = preflight(origin, path);
            let allowed: Vec<_> = text(good.headers(), "access-control-allow-headers")
                .unwrap()
                .split(',')
                .map(str::trim)
                .collect();
            for name in names.iter().chain(&cmcd) {
                assert!(allowed.contains(name), "{name}");
            }
        }
        let evil = preflight("https://evil.com", "/api/videos");
        assert!(!evil.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS));
        assert!(!evil.headers().contains_key(header::ACCESS_CONTROL_ALLOW_HEADERS));
    }
}
