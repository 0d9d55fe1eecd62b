//! Cross-origin rules. An origin is echoed only when it is configured; `*` never comes with credentials.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{reply, reply::Reply, route::Route};

const EXPOSED: &str = "Content-Range, Content-Length, ETag, Accept-Ranges, Retry-After, Location, \
    WWW-Authenticate, Video-Id, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Range, If-Range, If-Match, \
    If-None-Match, Last-Event-ID, Cache-Control";
/// How long a browser may keep a preflight's answer, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// The configured origins.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
    any: bool,
}

/// What an origin may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// Nothing: no CORS header.
    None,
    /// Anything that needs no credentials.
    Any,
    /// Everything, with credentials.
    Credentials,
}

impl Cors {
    /// Origins as configured; empty entries are skipped.
    pub(crate) fn new(origins: &[String]) -> Self {
        let origins = origins.iter().map(|o| o.trim().trim_end_matches('/').to_ascii_lowercase());
        let (any, origins): (Vec<_>, Vec<_>) =
            origins.filter(|o| !o.is_empty()).partition(|o| o == "*");
        Self { origins, any: !any.is_empty() }
    }

    fn grant(&self, origin: &str, route: Option<&Route>) -> Grant {
        if self.origins.iter().any(|allowed| allowed == origin) {
            return Grant::Credentials;
        }
        let plays = route.is_some_and(|route| route.stream().is_some());
        if self.any || (self.origins.is_empty() && plays) { Grant::Any } else { Grant::None }
    }

    /// Adds what a browser must see, on refusals too.
    pub(crate) fn apply(&self, request: &HeaderMap, route: Option<&Route>, reply: &mut Reply) {
        let mut vary = "Origin".to_owned();
        for other in reply.headers().get_all(header::VARY).iter().filter_map(|v| v.to_str().ok()) {
            vary.push_str(", ");
            vary.push_str(other);
        }
        reply::set(reply, header::VARY, &vary);
        let Some(origin) = request.get(header::ORIGIN) else { return };
        let grant = origin.to_str().map_or(Grant::None, |text| self.grant(text, route));
        let headers = reply.headers_mut();
        match grant {
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

/// Answers OPTIONS: a preflight or a plain question for the methods.
pub(crate) fn options(request: &HeaderMap, route: &Route) -> Reply {
    let mut reply = reply::status(StatusCode::NO_CONTENT);
    let methods = format!("{}, {}", route.allow(), Method::OPTIONS);
    reply::set(&mut reply, header::ALLOW, &methods);
    if request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        reply::set(&mut reply, header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
        reply::set(&mut reply, header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        reply::set(&mut reply, header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(configured: &[&str], origin: &str, path: &str) -> (Option<String>, bool) {
        let configured: Vec<_> = configured.iter().map(|&o| o.to_owned()).collect();
        let request = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        let route = Route::resolve(path).ok();
        let mut reply = reply::status(StatusCode::OK);
        Cors::new(&configured).apply(&request, route.as_ref(), &mut reply);
        assert!(reply.headers()[header::VARY].to_str().unwrap().starts_with("Origin"));
        let origin = reply.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        let credentials = reply.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        (origin.map(|value| value.to_str().unwrap().to_owned()), credentials)
    }

    const STREAM: &str = "/api/stream/01936b2e-7c1a-7d33-8b0e-000000000001/hls/playlist.m3u8";

    #[test]
    fn by_default_everybody_plays_and_nobody_else_does_anything() {
        assert_eq!(allowed(&[], "https://evil.com", STREAM), (Some("*".into()), false));
        assert_eq!(allowed(&[], "https://evil.com", "/api/videos"), (None, false));
        assert_eq!(allowed(&[], "null", "/api/videos"), (None, false));
    }

    #[test]
    fn configured_origins_are_echoed_exactly_and_others_get_nothing() {
        let configured = ["https://app.example.com/", "http://localhost:3000"];
        for path in [STREAM, "/api/videos"] {
            let good = "https://app.example.com";
            assert_eq!(allowed(&configured, good, path), (Some(good.into()), true));
            for evil in ["https://evil.com", "null", "https://sub.app.example.com", "*"] {
                assert_eq!(allowed(&configured, evil, path), (None, false), "{evil}");
            }
        }
    }

    #[test]
    fn star_never_has_credentials() {
        assert_eq!(allowed(&["*"], "https://evil.com", "/api/jobs"), (Some("*".into()), false));
    }
}
