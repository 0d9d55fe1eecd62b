//! The headers of replies and preflights by area and configured origins.

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
    for good in ["https://a.example", "http://localhost:3000/", "HTTPS://A.example:443", "*", ""] {
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
