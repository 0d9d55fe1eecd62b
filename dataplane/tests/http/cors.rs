//! Cross-origin headers: one form of every playback reply for all sites, configured origins for the
//! API.

use uuid::Uuid;

use crate::support::{Clip, Plane, Reply};

const APP: &str = "https://app.example.com";
const HEADERS: [&str; 5] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "timing-allow-origin",
    "vary",
];

fn headers(reply: &Reply) -> [String; 5] {
    HEADERS.map(|name| reply.header(name).to_owned())
}

/// One request of each kind of reply below `/api/stream`, and its status.
fn requests(public: &Clip, private: &Clip) -> Vec<(&'static str, String, &'static str, u16)> {
    let unknown = format!("/api/stream/{}/hls/playlist.m3u8", Uuid::now_v7());
    vec![
        ("GET", public.path("hls/playlist.m3u8"), "X: y", 200),
        ("GET", public.path("dash/manifest.mpd"), "X: y", 200),
        ("HEAD", public.media("360p/vod.m3u8"), "X: y", 200),
        ("GET", public.media("360p/h0.m4s"), "X: y", 200),
        ("GET", public.media("360p/h0.m4s"), "Range: bytes=0-9", 206),
        ("GET", public.media("360p/h0.m4s"), "Range: bytes=99999999-", 416),
        ("GET", public.media("360p/h0.m4s"), "If-Match: \"other\"", 412),
        ("GET", public.media("360p/h0.m4s"), "If-None-Match: *", 304),
        ("GET", public.media("360p/h99.m4s"), "X: y", 404),
        ("POST", public.path("hls/playlist.m3u8"), "X: y", 405),
        ("GET", private.path("hls/playlist.m3u8"), "X: y", 404),
        ("GET", private.path("hls/playlist.m3u8?token=bad"), "X: y", 403),
        ("GET", private.media("360p/h0.m4s"), "Authorization: Bearer bad", 403),
        // No control plane answers.
        ("GET", unknown, "X: y", 503),
        ("GET", "/api/stream/nope/hls/playlist.m3u8".to_owned(), "X: y", 400),
        ("GET", "/api/stream/nope".to_owned(), "X: y", 404),
        ("GET", "/api/stream".to_owned(), "X: y", 404),
        ("GET", public.path("hls/playlist.m3u8"), "Host: other", 400),
    ]
}

#[tokio::test]
async fn every_playback_reply_is_the_same_for_all_sites_and_for_caches() {
    // The origins of the API do not matter for playback.
    for api in [vec![], vec![APP.to_owned()]] {
        let plane = Plane::start_with(|config| config.cors_origins = api).await;
        let (public, private) = (Clip::new(true), Clip::new(false));
        public.store(&plane.folder);
        private.store(&plane.folder);
        for (method, path, header, status) in requests(&public, &private) {
            let plain = plane.send(method, &path, &[header]).await;
            assert_eq!(plain.status, status, "{method} {path} {header}");
            let [allowed, credentials, exposed, timing, vary] = headers(&plain);
            assert_eq!((allowed.as_str(), timing.as_str()), ("*", "*"), "{method} {path}");
            assert_eq!(credentials, "", "{method} {path}");
            assert!(exposed.contains("Content-Range") && exposed.contains("ETag"));
            assert!(!vary.contains("Origin"), "{method} {path}: {vary}");
            for origin in [APP, "https://evil.com", "null"] {
                let origin = format!("Origin: {origin}");
                let reply = plane.send(method, &path, &[header, &origin]).await;
                assert_eq!(reply.status, status, "{origin} {method} {path}");
                assert_eq!(headers(&reply), headers(&plain), "{origin} {method} {path}");
                assert_eq!(reply.body, plain.body, "{origin} {method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn private_and_unknown_videos_differ_in_no_header() {
    let plane = Plane::start().await;
    let (private, public) = (Clip::new(false), Clip::new(true));
    private.store(&plane.folder);
    public.store(&plane.folder);
    let hidden = plane.send("GET", &private.media("360p/h0.m4s"), &["Origin: null"]).await;
    let missing = plane.send("GET", &public.media("360p/h99.m4s"), &["Origin: null"]).await;
    assert_eq!((hidden.status, missing.status), (404, 404));
    assert_eq!(headers(&hidden), headers(&missing));
}

#[tokio::test]
async fn preflights_of_playback_succeed_for_every_site_and_path() {
    let plane = Plane::start().await;
    let clip = Clip::new(false);
    for path in [clip.path("hls/playlist.m3u8"), "/api/stream/nope".to_owned()] {
        let ask = [
            "Origin: https://evil.com",
            "Access-Control-Request-Method: GET",
            "Access-Control-Request-Headers: cmcd-object,cmcd-request,cmcd-session,cmcd-status",
        ];
        let reply = plane.send("OPTIONS", &path, &ask).await;
        assert_eq!(reply.status, 204, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        let allowed = reply.header("access-control-allow-headers");
        for name in ["CMCD-Object", "CMCD-Request", "CMCD-Session", "CMCD-Status", "Range"] {
            assert!(allowed.split(", ").any(|header| header == name), "{name}: {allowed}");
        }
        assert!(reply.header("access-control-allow-methods").contains("GET"));
        assert!(!reply.header("vary").contains("Origin"));
    }
    assert_eq!(plane.send("OPTIONS", "/api/stream/nope", &[]).await.status, 404);
}

#[tokio::test]
async fn configured_playback_origins_are_the_only_ones_and_may_send_credentials() {
    let plane = Plane::start_with(|config| config.playback_origins = vec![APP.to_owned()]).await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    for path in [clip.path("hls/playlist.m3u8"), clip.media("360p/h9.m4s")] {
        let reply = plane.send("GET", &path, &[&format!("Origin: {APP}")]).await;
        let [allowed, credentials, _, timing, vary] = headers(&reply);
        assert_eq!([&*allowed, &*credentials, &*timing], [APP, "true", APP], "{path}");
        assert!(vary.starts_with("Origin"), "{path}: {vary}");
        for other in ["Origin: https://evil.com", "Origin: null", "X: y"] {
            let reply = plane.send("GET", &path, &[other]).await;
            let [allowed, credentials, exposed, timing, vary] = headers(&reply);
            assert_eq!([allowed, credentials, exposed, timing].concat(), "", "{other} {path}");
            assert!(vary.starts_with("Origin"), "{path}: {vary}");
        }
    }
    let api = plane.send("GET", "/api/videos", &[&format!("Origin: {APP}")]).await;
    assert_eq!(api.header("access-control-allow-origin"), "");
}
