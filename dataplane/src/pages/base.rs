//! The base of absolute URLs: `STREAMING_PUBLIC_URL`, or else the address that the client used.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header, request::Parts, uri::Authority};

use crate::http::client_address::TrustedProxies;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How the base is determined.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl {
    /// `STREAMING_PUBLIC_URL` without its trailing slash.
    pub(crate) fixed: Option<String>,
    /// Whether the listener serves TLS.
    pub(crate) tls: bool,
    /// The proxies whose `X-Forwarded-Host` and `X-Forwarded-Proto` are trusted.
    pub(crate) proxies: TrustedProxies,
}

impl BaseUrl {
    /// The base for a request from `peer`, without a trailing slash, for example
    /// `https://video.example.com`; `None` for a request that names no host.
    pub(super) fn of(&self, request: &Parts, peer: IpAddr) -> Option<String> {
        if let Some(fixed) = &self.fixed {
            return Some(fixed.clone());
        }
        let trusted = self.proxies.trusts(peer);
        let forwarded = |name| if trusted { last(&request.headers, &name) } else { None };
        let host = forwarded(FORWARDED_HOST).and_then(|host| Authority::try_from(host).ok());
        let named = || request.headers.get(header::HOST)?.to_str().ok()?.parse().ok();
        let host = host.or_else(|| request.uri.authority().cloned()).or_else(named)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if !host.as_str().bytes().all(plain) {
            return None;
        }
        let scheme = match forwarded(FORWARDED_PROTO) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => "http",
            _ if self.tls => "https",
            _ => "http",
        };
        Some(format!("{scheme}://{}", host.as_str().to_ascii_lowercase()))
    }
}

/// The last value of a header: the trusted proxy wrote it, the client may have written the others.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(peer: &str, fixed: Option<&str>, headers: &[(&str, &str)]) -> Option<String> {
        let proxies = TrustedProxies::parse(&["10.0.0.0/8".to_owned()]).unwrap();
        let base = BaseUrl { fixed: fixed.map(str::to_owned), tls: false, proxies };
        let request = http::Request::builder().uri("/watch/x");
        let request = headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        base.of(&request.body(()).unwrap().into_parts().0, peer.parse().unwrap())
    }

    #[test]
    fn only_trusted_proxies_change_the_base() {
        let headers = [
            ("host", "Inner:8080"),
            ("x-forwarded-host", "evil.example, video.example"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(base("10.0.0.1", None, &headers).unwrap(), "https://video.example");
        assert_eq!(base("192.0.2.1", None, &headers).unwrap(), "http://inner:8080");
        let fixed = Some("https://public.example/base");
        assert_eq!(base("10.0.0.1", fixed, &headers), fixed.map(str::to_owned));
        assert_eq!(base("10.0.0.1", None, &headers[..1]).unwrap(), "http://inner:8080");
        let odd = [("host", "a"), ("x-forwarded-proto", "javascript")];
        assert_eq!(base("10.0.0.1", None, &odd).unwrap(), "http://a");
    }

    #[test]
    fn hosts_that_are_not_plain_give_no_base() {
        for host in ["a'b", "a;b", "user@a", ""] {
            assert_eq!(base("192.0.2.1", None, &[("host", host)]), None, "{host}");
        }
        assert_eq!(base("192.0.2.1", None, &[("host", "[::1]:80")]).unwrap(), "http://[::1]:80");
    }
}
