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
    Watch,
    /// `/embed/{id}`
    Embed,
}

/// The origins of a policy besides the service's own. They are checked at the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// From which players load media: that of `STREAMING_CDN_BASE_URL`.
    pub(crate) cdn: Option<String>,
    /// Those of pages that may embed players; empty: every origin.
    pub(crate) embedding: Vec<String>,
}

impl Policy {
    /// The content security policy of a page that connects to the origins of `identity` to sign in.
    fn content(&self, kind: PageKind, identity: &[String]) -> HeaderValue {
        let cdn: String = self.cdn.iter().map(|origin| format!(" {origin}")).collect();
        let identity: String = identity.iter().map(|origin| format!(" {origin}")).collect();
        let ancestors = match kind {
            PageKind::Console => "; frame-ancestors 'none'".to_owned(),
            PageKind::Watch => "; frame-ancestors 'self'".to_owned(),
            PageKind::Embed if self.embedding.is_empty() => String::new(),
            PageKind::Embed => format!("; frame-ancestors 'self' {}", self.embedding.join(" ")),
        };
        // The player's controls carry their own styles.
        let policy = format!(
            "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
             img-src 'self' blob:{cdn}; media-src 'self' blob:{cdn}; worker-src 'self' blob:; \
             connect-src 'self'{cdn}{identity}; object-src 'none'; base-uri 'none'; \
             form-action 'self'{ancestors}"
        );
        // A policy that cannot be sent allows nothing.
        HeaderValue::try_from(policy)
            .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
    }

    /// Adds the headers of such a page to its reply; `identity` are the origins that it contacts to
    /// sign in.
    pub(crate) fn apply(&self, kind: PageKind, identity: &[String], reply: &mut Reply) {
        let referrer = match kind {
            // The address of a sign-in carries a code that no other request may repeat.
            PageKind::Console => "no-referrer",
            PageKind::Watch | PageKind::Embed => "strict-origin-when-cross-origin",
        };
        let policy = self.content(kind, identity);
        reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
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

    fn headers(policy: &Policy, kind: PageKind, identity: &[&str]) -> http::HeaderMap {
        let mut reply = reply::status(StatusCode::OK);
        let identity: Vec<_> = identity.iter().map(|&origin| origin.to_owned()).collect();
        policy.apply(kind, &identity, &mut reply);
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
            let headers = headers(&Policy::default(), kind, &[]);
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
        let policy = Policy { cdn: Some("https://cdn.example".to_owned()), embedding: Vec::new() };
        let identity = ["https://id.example", "https://token.example"];
        let console = headers(&policy, PageKind::Console, &identity);
        let expected = "'self' https://cdn.example https://id.example https://token.example";
        assert_eq!(directive(&console, "connect-src").unwrap(), expected);
        for kind in [PageKind::Watch, PageKind::Embed] {
            let headers = headers(&policy, kind, &[]);
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
        let any = Policy::default();
        let listed = Policy {
            embedding: vec!["https://a.example".to_owned(), "https://b.example:8443".to_owned()],
            ..Policy::default()
        };
        for (policy, kind, expected) in [
            (&any, PageKind::Console, Some("'none'")),
            (&any, PageKind::Watch, Some("'self'")),
            (&any, PageKind::Embed, None),
            (&listed, PageKind::Console, Some("'none'")),
            (&listed, PageKind::Watch, Some("'self'")),
            (&listed, PageKind::Embed, Some("'self' https://a.example https://b.example:8443")),
        ] {
            let found = directive(&headers(policy, kind, &[]), "frame-ancestors");
            assert_eq!(found.as_deref(), expected, "{kind:?}");
        }
    }
}
