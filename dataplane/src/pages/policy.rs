//! Security headers of pages: which origins they may load from, and which pages may embed them.

use http::{HeaderName, HeaderValue, header};

use crate::http::reply::{self, Reply};

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// Features that no page uses; players need autoplay, fullscreen and picture-in-picture.
const UNUSED_FEATURES: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), \
    gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=()";

/// The kinds of pages, which differ in who may embed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageKind {
    /// Below `/console/`.
    Console,
    /// `/watch/{id}`
    #[allow(dead_code, reason = "the page follows")]
    Watch,
    /// `/embed/{id}`
    Embed,
}

/// The security headers of all pages, written once at the start.
#[derive(Debug)]
pub(crate) struct Policy {
    console: HeaderValue,
    watch: HeaderValue,
    embed: HeaderValue,
}

/// The origins of a policy besides the service's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicyOrigins {
    /// From which players load media: that of `STREAMING_CDN_BASE_URL`.
    pub(crate) cdn: Option<String>,
    /// To which the console connects for signing in: those of the identity provider.
    pub(crate) identity: Vec<String>,
    /// Those of pages that may embed players; empty: every origin.
    pub(crate) embedding: Vec<String>,
}

impl Policy {
    /// Writes the policies.
    pub(crate) fn new(origins: &PolicyOrigins) -> Self {
        let with = |sources: &str, more: &[&str]| {
            let more: Vec<_> = [sources].into_iter().chain(more.iter().copied()).collect();
            more.join(" ")
        };
        let cdn: Vec<&str> = origins.cdn.iter().map(String::as_str).collect();
        let identity = origins.identity.iter().map(String::as_str);
        let console: Vec<&str> = cdn.iter().copied().chain(identity).collect();
        let policy = |connect: &[&str], ancestors: Option<String>| {
            let mut directives = vec![
                "default-src 'self'".to_owned(),
                "script-src 'self'".to_owned(),
                // The player's controls carry their own styles.
                "style-src 'self' 'unsafe-inline'".to_owned(),
                with("img-src 'self' blob:", &cdn),
                with("media-src 'self' blob:", &cdn),
                "worker-src 'self' blob:".to_owned(),
                with("connect-src 'self'", connect),
                "object-src 'none'".to_owned(),
                "base-uri 'none'".to_owned(),
                "form-action 'self'".to_owned(),
            ];
            directives.extend(ancestors.map(|who| format!("frame-ancestors {who}")));
            let text = directives.join("; ");
            // The origins are checked at the start; a policy that still cannot be sent allows
            // nothing.
            HeaderValue::try_from(text)
                .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
        };
        let embedding = (!origins.embedding.is_empty())
            .then(|| format!("'self' {}", origins.embedding.join(" ")));
        Self {
            console: policy(&console, Some("'none'".to_owned())),
            watch: policy(&cdn, Some("'self'".to_owned())),
            embed: policy(&cdn, embedding),
        }
    }

    /// Adds the headers of such a page to its reply.
    pub(crate) fn apply(&self, kind: PageKind, reply: &mut Reply) {
        let (policy, referrer) = match kind {
            // The address of a sign-in carries a code that no other request may repeat.
            PageKind::Console => (&self.console, "no-referrer"),
            PageKind::Watch => (&self.watch, "strict-origin-when-cross-origin"),
            PageKind::Embed => (&self.embed, "strict-origin-when-cross-origin"),
        };
        reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        if !reply.headers().contains_key(header::REFERRER_POLICY) {
            reply::set(reply, header::REFERRER_POLICY, referrer);
        }
        reply::set(reply, PERMISSIONS_POLICY, UNUSED_FEATURES);
        if kind != PageKind::Embed {
            reply::set(reply, OPENER_POLICY, "same-origin");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn headers(origins: &PolicyOrigins, kind: PageKind) -> http::HeaderMap {
        let mut reply = reply::status(StatusCode::OK);
        Policy::new(origins).apply(kind, &mut reply);
        reply.headers().clone()
    }

    fn directive(headers: &http::HeaderMap, name: &str) -> Option<String> {
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        let mut all = policy.split("; ").filter_map(|directive| directive.split_once(' '));
        all.find(|(other, _)| *other == name).map(|(_, sources)| sources.to_owned())
    }

    #[test]
    fn pages_load_only_from_their_own_origin_unless_others_are_configured() {
        for kind in [PageKind::Console, PageKind::Watch, PageKind::Embed] {
            let headers = headers(&PolicyOrigins::default(), kind);
            let sources = |name| directive(&headers, name).unwrap();
            assert_eq!(sources("default-src"), "'self'");
            assert_eq!(sources("script-src"), "'self'");
            assert_eq!(sources("style-src"), "'self' 'unsafe-inline'");
            assert_eq!(sources("img-src"), "'self' blob:");
            assert_eq!(sources("media-src"), "'self' blob:");
            assert_eq!(sources("worker-src"), "'self' blob:");
            assert_eq!(sources("connect-src"), "'self'");
        }
    }

    #[test]
    fn media_come_from_the_cdn_and_only_the_console_connects_to_the_identity_provider() {
        let origins = PolicyOrigins {
            cdn: Some("https://cdn.example".to_owned()),
            identity: vec!["https://id.example".to_owned(), "https://token.example".to_owned()],
            embedding: Vec::new(),
        };
        let console = headers(&origins, PageKind::Console);
        let expected = "'self' https://cdn.example https://id.example https://token.example";
        assert_eq!(directive(&console, "connect-src").unwrap(), expected);
        for kind in [PageKind::Watch, PageKind::Embed] {
            let headers = headers(&origins, kind);
            assert_eq!(directive(&headers, "connect-src").unwrap(), "'self' https://cdn.example");
            assert_eq!(
                directive(&headers, "media-src").unwrap(),
                "'self' blob: https://cdn.example"
            );
            assert_eq!(directive(&headers, "img-src").unwrap(), "'self' blob: https://cdn.example");
            assert_eq!(directive(&headers, "script-src").unwrap(), "'self'");
        }
    }

    #[test]
    fn only_embeds_can_be_embedded_by_all_pages_or_the_configured_ones() {
        let listed = PolicyOrigins {
            embedding: vec!["https://a.example".to_owned(), "https://b.example:8443".to_owned()],
            ..PolicyOrigins::default()
        };
        for (origins, kind, expected) in [
            (&PolicyOrigins::default(), PageKind::Console, Some("'none'")),
            (&PolicyOrigins::default(), PageKind::Watch, Some("'self'")),
            (&PolicyOrigins::default(), PageKind::Embed, None),
            (&listed, PageKind::Console, Some("'none'")),
            (&listed, PageKind::Watch, Some("'self'")),
            (&listed, PageKind::Embed, Some("'self' https://a.example https://b.example:8443")),
        ] {
            let found = directive(&headers(origins, kind), "frame-ancestors");
            assert_eq!(found.as_deref(), expected, "{kind:?}");
        }
    }
}
