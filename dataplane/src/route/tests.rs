//! Every path that is a route, and many that are not.

use super::*;

const ID: &str = "01936b2e-7c1a-7d33-8b0e-000000000001";

fn pattern(path: &str) -> &'static str {
    Route::resolve(&path.replace(":id", ID)).map_or("-", |route| route.pattern())
}

#[test]
fn every_fixed_route_resolves() {
    let routes = [
        ("/api/videos/upload", "/api/videos/upload", "POST"),
        ("/api/videos/:id/transcode", "/api/videos/{id}/transcode", "POST"),
        ("/api/jobs/:id", "/api/jobs/{id}", "GET"),
        ("/api/stream/:id/hls/playlist.m3u8", "/api/stream/{id}/hls/playlist.m3u8", "GET"),
        ("/api/stream/:id/dash/manifest.mpd", "/api/stream/{id}/dash/manifest.mpd", "GET"),
        ("/health", "/health", "GET"),
        ("/metrics", "/metrics", "GET"),
        ("/api/videos", "/api/videos", "GET"),
        ("/api/videos/:id", "/api/videos/{id}", "PATCH"),
        ("/api/videos/:id", "/api/videos/{id}", "DELETE"),
        ("/api/videos/:id/source", "/api/videos/{id}/source", "PUT"),
        ("/api/videos/:id/playback-token", "/api/videos/{id}/playback-token", "POST"),
        ("/api/uploads", "/api/uploads", "POST"),
        ("/api/uploads/", "/api/uploads", "POST"),
        ("/api/uploads/:id", "/api/uploads/{id}", "PATCH"),
        ("/api/videos/:id/captions", "/api/videos/{id}/captions", "GET"),
        ("/api/videos/:id/captions", "/api/videos/{id}/captions", "POST"),
        ("/api/videos/:id/captions/:id", "/api/videos/{id}/captions/{caption}", "DELETE"),
        ("/api/stream/:id/captions/:id.vtt", "/api/stream/{id}/captions/{caption}.vtt", "GET"),
        ("/api/jobs", "/api/jobs", "GET"),
        ("/api/jobs/:id", "/api/jobs/{id}", "DELETE"),
        ("/api/jobs/:id/retry", "/api/jobs/{id}/retry", "POST"),
        ("/api/jobs/:id/events", "/api/jobs/{id}/events", "GET"),
        ("/api/events", "/api/events", "GET"),
        ("/api/stream/:id/events", "/api/stream/{id}/events", "GET"),
        ("/api/profiles", "/api/profiles", "GET"),
        ("/api/workers", "/api/workers", "GET"),
        ("/api/workers/:id/drain", "/api/workers/{id}/drain", "POST"),
        ("/api/system", "/api/system", "GET"),
        ("/api/auth/exchange", "/api/auth/exchange", "POST"),
        ("/api/auth/sign-in", "/api/auth/sign-in", "POST"),
        ("/api/auth/session", "/api/auth/session", "POST"),
        ("/api/auth/sign-out", "/api/auth/sign-out", "POST"),
        ("/api/me", "/api/me", "GET"),
        ("/api/tokens", "/api/tokens", "POST"),
        ("/api/tokens/:id", "/api/tokens/{id}", "DELETE"),
        ("/api/playback-token/renew", "/api/playback-token/renew", "POST"),
        ("/api/openapi.json", "/api/openapi.json", "GET"),
        ("/health/playback", "/health/playback", "GET"),
        ("/", "/", "GET"),
        ("/console", "/console", "GET"),
        ("/console/", "/console/{path}", "GET"),
        ("/console/_app/immutable/chunks/a/b/c/d/e.js", "/console/{path}", "GET"),
        ("/console/videos/:id", "/console/{path}", "GET"),
        ("/watch/:id", "/watch/{id}", "GET"),
        ("/watch/nope", "/watch/{id}", "GET"),
        ("/embed/:id", "/embed/{id}", "GET"),
        ("/oembed", "/oembed", "GET"),
        ("/player/player-1a2b.js", "/player/{file}", "GET"),
    ];
    for (path, expected, method) in routes {
        assert_eq!(pattern(path), expected);
        let route = Route::resolve(&path.replace(":id", ID)).unwrap();
        assert!(route.allows(&Method::from_bytes(method.as_bytes()).unwrap()), "{path}");
        assert!(!route.allows(&Method::TRACE));
    }
}

#[test]
fn paths_of_media_files_are_accepted_only_in_canonical_form() {
    let file = |name: &str| match Route::resolve(&format!("/api/stream/{ID}/{ID}/720p/{name}")) {
        Ok(Route::Media { file, .. }) => Some(file),
        _ => None,
    };
    assert_eq!(file("init.mp4"), Some(MediaFile::Segment(SegmentName::Init)));
    assert_eq!(file("event.m3u8"), Some(MediaFile::Event));
    assert_eq!(file("vod.m3u8"), Some(MediaFile::Vod));
    assert_eq!(file("iframes.m3u8"), Some(MediaFile::IFrames));
    assert_eq!(file("h0.m4s"), Some(MediaFile::Segment(SegmentName::Hls(0))));
    assert_eq!(file("d17.m4s"), Some(MediaFile::Segment(SegmentName::Dash(17))));
    assert_eq!(file("i3.m4s"), Some(MediaFile::Segment(SegmentName::KeyFrame(3))));
    let sheets = Route::resolve(&format!("/api/stream/{ID}/{ID}/storyboard/images.m3u8"));
    assert!(matches!(sheets, Ok(Route::Media { file: MediaFile::Sheets, .. })));
    for bad in [
        "images.m3u8",
        "0.jpg",
        "i00.m4s",
        "h00.m4s",
        "h+1.m4s",
        "h.m4s",
        "h4294967296.m4s",
        "x1.m4s",
        "é.m4s",
        "h1",
        "",
    ] {
        assert_eq!(file(bad), None, "{bad}");
    }
}

#[test]
fn ids_must_be_uuids_in_canonical_form() {
    for bad in ["1", "nope", "01936b2e7c1a7d338b0e000000000001", "..%2f", "%00"] {
        let found = Route::resolve(&format!("/api/videos/{bad}"));
        assert_eq!(found, Err(RouteError::InvalidId("id")), "{bad}");
    }
}

#[test]
fn other_paths_are_unknown() {
    let paths = [
        "",
        "x",
        "//",
        "/health/",
        "/api",
        "/api/",
        "/api/videos/",
        "/a/b/c/d/e/f/g/h",
        "/consoles",
        "/player",
        "/player/",
        "/watch",
        "/oembed/",
        "/player/a/b.js",
    ];
    for path in paths {
        assert_eq!(Route::resolve(path), Err(RouteError::Unknown), "{path}");
    }
    for name in ["..", ".", "a%2fb", "a b", "ä", ""] {
        let path = format!("/api/stream/{ID}/{ID}/{name}/init.mp4");
        assert_eq!(Route::resolve(&path), Err(RouteError::Unknown), "{path}");
    }
}
