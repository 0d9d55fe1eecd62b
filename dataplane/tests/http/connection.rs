//! Rules of connections: framing, hosts, limits, methods, origins.

use std::io::Write;

use uuid::Uuid;

use crate::{
    h2::{self, Client},
    support::{Plane, Reply},
};

/// The statuses of all replies on one connection.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let replies = text.match_indices("HTTP/1.1 ");
    replies.map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect()
}

#[tokio::test]
async fn ambiguous_framing_is_rejected_and_ends_the_connection() {
    let plane = Plane::start().await;
    let next = "GET /health/playback HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let framings = [
        format!("Content-Length: 5\r\n{chunked}"),
        format!("{chunked}Content-Length: 5\r\n"),
        format!("{chunked}{chunked}"),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\t\r\n".to_owned(),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Content-Length: 5, 5\r\n".to_owned(),
        "Content-Length: 5\r\nContent-Length: 6\r\n".to_owned(),
        "Content-Length : 5\r\n".to_owned(),
        "X-Folded: a\r\n b\r\n".to_owned(),
    ];
    for framing in framings {
        let request =
            format!("POST /api/auth/exchange HTTP/1.1\r\nHost: x\r\n{framing}\r\n0\r\n\r\n{next}");
        assert_eq!(statuses(&plane.raw(request.as_bytes()).await), [400], "{framing}");
    }
    let bare = "GET / HTTP/1.1\nHost: x\n\n".to_owned() + next;
    assert_eq!(statuses(&plane.raw(bare.as_bytes()).await), [400]);
    // The same after a valid request on the same connection.
    let second = format!(
        "{next}POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n{chunked}\r\n0\r\n\r\n{next}"
    );
    let seen = statuses(&plane.raw(second.as_bytes()).await);
    assert!(seen == [200, 400] || seen == [400], "{seen:?}");
}

#[tokio::test]
async fn invalid_chunks_are_rejected_and_end_the_connection() {
    let plane = Plane::start().await;
    let next = "GET /health/playback HTTP/1.1\r\nHost: x\r\n\r\n";
    let id = uuid::Uuid::now_v7();
    for chunks in ["10000000000000000\r\n{}\r\n0\r\n\r\n", "-2\r\n{}", "2\r\n{}X\r\n", "2\n{}\n"] {
        let request = format!(
            "PATCH /api/videos/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{next}"
        );
        assert_eq!(statuses(&plane.raw(request.as_bytes()).await), [400], "{chunks}");
    }
}

/// Request bodies are not decompressed: 10 MB of blanks count as the 10 kB that were received.
#[tokio::test]
async fn compressed_bodies_are_not_decompressed() {
    let plane = Plane::start().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 10 << 20]).unwrap();
    packed.write_all(b"{}").unwrap();
    let packed = packed.finish().unwrap();
    let headers =
        ["Authorization: Bearer x", "Content-Type: application/json", "Content-Encoding: gzip"];
    let path = format!("/api/videos/{}", uuid::Uuid::now_v7());
    let reply = plane.send_body("PATCH", &path, &headers, &packed).await;
    assert!(matches!(reply.status, 400 | 415), "{reply:?}");
}

#[tokio::test]
async fn multiplexed_requests_follow_the_same_rules() {
    let plane = Plane::start().await;
    let status = async |method: &str, path: &str, authority: Option<&str>| {
        let mut client = Client::connect(plane.addr, 65_535).await;
        let flags = h2::END_STREAM | h2::END_HEADERS;
        let head = h2::frame(h2::HEADERS, flags, 1, &h2::head(method, path, authority));
        assert!(client.send(&head).await);
        let frame = client.next().await;
        match frame {
            Some(frame) if frame.kind == h2::HEADERS => h2::status(&frame),
            // Malformed at the level of the protocol (RFC 9113, 8.1.1).
            Some(frame) if matches!(frame.kind, h2::RST_STREAM | h2::GOAWAY) => 0,
            frame => panic!("{method} {path}: {frame:?}"),
        }
    };
    assert_eq!(status("GET", "/health/playback", Some("x")).await, 200);
    assert_eq!(status("TRACE", "/", Some("x")).await, 405);
    assert_eq!(status("BREW", "/", Some("x")).await, 405);
    assert!(matches!(status("GET", "/", None).await, 0 | 400));
    assert!(matches!(status("GET", "/", Some("u@h")).await, 0 | 400));
    assert!(matches!(status("GET", "no-slash", Some("x")).await, 0 | 400));
}

#[tokio::test]
async fn host_header_must_occur_once_and_be_valid() {
    let plane = Plane::start().await;
    let status = async |head: &str| {
        let bytes = plane.raw(format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        Reply::parse(&bytes).status
    };
    let line = "GET /health/playback HTTP/1.1\r\n";
    assert_eq!(status(&format!("{line}Host: x\r\n")).await, 200);
    assert_eq!(status(line).await, 400);
    assert_eq!(status(&format!("{line}Host: a\r\nHost: b\r\n")).await, 400);
    assert_eq!(status(&format!("{line}Host: a b\r\n")).await, 400);
    assert_eq!(status(&format!("{line}Host: u@h\r\n")).await, 400);
    assert_eq!(status(&format!("{line}Host: http://x/\r\n")).await, 400);
    let absolute = "GET http://x/health/playback HTTP/1.1\r\n";
    assert_eq!(status(&format!("{absolute}Host: x\r\n")).await, 200);
    assert_eq!(status(&format!("{absolute}Host: y\r\n")).await, 400);
    assert_eq!(status("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n").await, 405);
    assert_eq!(status("TRACE / HTTP/1.1\r\nHost: x\r\n").await, 405);
    assert_eq!(status("OPTIONS * HTTP/1.1\r\nHost: x\r\n").await, 204);
    assert_eq!(status("GET * HTTP/1.1\r\nHost: x\r\n").await, 404);
    assert_eq!(status("BREW / HTTP/1.1\r\nHost: x\r\n").await, 405);
}

#[tokio::test]
async fn large_heads_are_rejected() {
    let plane = Plane::start().await;
    let many: Vec<_> = (0..101).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(plane.send("GET", "/", &many).await.status, 431);
    let long = format!("X: {}", "y".repeat(100_000));
    assert_eq!(plane.send("GET", "/", &[&long]).await.status, 431);
    let uri = format!("/{}", "y".repeat(100_000));
    let status = plane.get(&uri).await.status;
    assert!(status == 414 || status == 431, "{status}");
}

#[tokio::test]
async fn the_rest_api_checks_the_bearer_token_first() {
    let plane = Plane::start().await;
    let id = uuid::Uuid::now_v7();
    for (method, path) in [
        ("POST", "/api/videos/upload".to_owned()),
        ("GET", "/api/videos".to_owned()),
        ("PATCH", format!("/api/videos/{id}")),
        ("POST", format!("/api/videos/{id}/transcode")),
        ("GET", format!("/api/jobs/{id}")),
        ("POST", "/api/auth/exchange".to_owned()),
    ] {
        let reply = plane.send(method, &path, &[]).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{path}");
        assert!(reply.header("www-authenticate").starts_with("Bearer"), "{path}");
        let basic = plane.send(method, &path, &["Authorization: Basic eA=="]).await;
        assert_eq!(basic.status, 401);
    }
    let away = plane.send("GET", "/api/videos", &["Authorization: Bearer x"]).await;
    assert_eq!((away.status, away.code().as_str()), (503, "unavailable"));
    assert!(!away.header("retry-after").is_empty());
    let patch = format!("/api/videos/{id}");
    let headers = ["Authorization: Bearer x", "Content-Type: text/plain"];
    assert_eq!(plane.send_body("PATCH", &patch, &headers, b"{}").await.status, 415);
    let headers = ["Authorization: Bearer x", "Content-Type: application/json"];
    let unknown = plane.send_body("PATCH", &patch, &headers, br#"{"owner": "me"}"#).await;
    assert_eq!(
        (unknown.status, unknown.json()["errors"][0]["field"].clone()),
        (422, "owner".into())
    );
    assert_eq!(plane.send_body("PATCH", &patch, &headers, b"{").await.status, 400);
    let large = vec![b' '; 70_000];
    assert_eq!(plane.send_body("PATCH", &patch, &headers, &large).await.status, 413);
}

#[tokio::test]
async fn errors_of_the_api_have_cors_headers_for_configured_origins_only() {
    let allowed = "https://app.example.com";
    let plane = Plane::start_with(|config| config.cors_origins = vec![allowed.to_owned()]).await;
    for path in ["/api/videos", "/api/jobs/nope", "/api/streams"] {
        let reply = plane.send("GET", path, &[&format!("Origin: {allowed}")]).await;
        assert!(reply.status >= 400, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), allowed, "{path}");
        assert_eq!(reply.header("access-control-allow-credentials"), "true");
        let exposed = reply.header("access-control-expose-headers");
        assert!(exposed.contains("Content-Range") && exposed.contains("ETag"));
        let evil = plane.send("GET", path, &["Origin: https://evil.com"]).await;
        assert_eq!(evil.header("access-control-allow-origin"), "");
        assert!(evil.header("vary").starts_with("Origin"));
    }
    let ask = [
        &*format!("Origin: {allowed}"),
        "Access-Control-Request-Method: PATCH",
        "Access-Control-Request-Headers: authorization",
    ];
    let preflight = plane.send("OPTIONS", &format!("/api/videos/{}", Uuid::now_v7()), &ask).await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    assert!(preflight.header("access-control-allow-headers").contains("Authorization"));
    assert_eq!(preflight.header("access-control-allow-origin"), allowed);
}

#[tokio::test]
async fn openapi_is_public() {
    let plane = Plane::start().await;
    let reply = plane.get("/api/openapi.json").await;
    assert_eq!((reply.status, reply.json()["openapi"].clone()), (200, "3.1.0".into()));
}
