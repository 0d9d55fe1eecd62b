//! Invalid input and the responses to it: status, problem+json, a stable code and the field.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::json;

use crate::harness::{
    client::{Client, Reply},
    clip::Numbered,
    process,
    stack::Stack,
};

const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";

/// Checks a rejection's status, media type and code, and that it names `field` unless that is
/// empty.
fn assert_rejected(what: &str, reply: &Reply, status: u16, code: &str, field: &str) {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json", "{what}");
    let problem = reply.json();
    assert_eq!(problem["code"], code, "{what}: {problem:#}");
    assert_eq!(problem["status"], status, "{what}: {problem:#}");
    assert!(problem["title"].is_string() && problem["type"].is_string(), "{what}: {problem:#}");
    if !field.is_empty() {
        assert_eq!(problem["errors"][0]["field"], field, "{what}: {problem:#}");
    }
}

async fn raw(client: &Client, kind: &str, body: &str) -> Reply {
    let headers = [("content-type", kind)];
    let body = Bytes::from(body.to_owned());
    client.send(Method::POST, "/api/videos/upload", &headers, body).await.expect("upload")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_invalid_request_gets_its_error() {
    let stack = Stack::start().await;
    let client = stack.client();
    let video = client.upload_clip(&Numbered::seconds(6).file()).await;
    invalid_transcodes(&client, &video).await;
    invalid_paths(&client).await;
    invalid_tokens(&stack, &video).await;
    invalid_uploads(&client).await;
    let left = client.get("/api/videos").await.expect(200).json();
    assert_eq!(
        left["videos"].as_array().map(Vec::len),
        Some(1),
        "only the good upload is left: {left:#}"
    );
}

async fn invalid_transcodes(client: &Client, video: &str) {
    let path = format!("/api/videos/{video}/transcode");
    let reply = client.post(&path, &json!({"profiles": ["360p", "9000p"]})).await;
    assert_rejected("unknown profile", &reply, 422, "invalid_field", "profiles[1]");
    let reply = client.post(&path, &json!({"profiles": ["360p", "360p"]})).await;
    assert_rejected("repeated profile", &reply, 422, "invalid_field", "profiles[1]");
    let reply = client.post(&path, &json!({"profiles": "360p"})).await;
    assert_rejected("profiles that are not a list", &reply, 422, "invalid_field", "profiles");
    let headers = [("content-type", "application/json")];
    let reply =
        client.send(Method::POST, &path, &headers, "{\"profiles\": [".into()).await.expect("POST");
    assert_rejected("broken JSON", &reply, 400, "malformed", "");
    let headers = [("content-type", "text/plain")];
    let reply = client.send(Method::POST, &path, &headers, "{}".into()).await.expect("POST");
    assert_rejected("JSON as text", &reply, 415, "unsupported_media_type", "");
    let reply = client.post(&format!("/api/videos/{UNKNOWN}/transcode"), &json!({})).await;
    assert_rejected("unknown video", &reply, 404, "not_found", "");
    let reply = client.post("/api/videos/not-a-uuid/transcode", &json!({})).await;
    assert_rejected("no UUID", &reply, 400, "invalid_id", "");
}

async fn invalid_paths(client: &Client) {
    for path in ["/api/videos/not-a-uuid", "/api/jobs/42", "/api/stream/x/hls/playlist.m3u8"] {
        assert_rejected(path, &client.get(path).await, 400, "invalid_id", "");
    }
    for path in [
        format!("/api/videos/{UNKNOWN}"),
        format!("/api/jobs/{UNKNOWN}"),
        format!("/api/stream/{UNKNOWN}/hls/playlist.m3u8"),
        format!("/api/stream/{UNKNOWN}/dash/manifest.mpd"),
        format!("/api/stream/{UNKNOWN}/{UNKNOWN}/360p/h0.m4s"),
        "/api/nothing-here".to_owned(),
    ] {
        assert_rejected(&path, &client.get(&path).await, 404, "not_found", "");
    }
    for (method, path) in [
        (Method::DELETE, "/api/videos/upload"),
        (Method::PUT, "/health"),
        (Method::POST, &*format!("/api/stream/{UNKNOWN}/hls/playlist.m3u8")),
    ] {
        let reply = client.send(method, path, &[], Bytes::new()).await.expect("send");
        assert_rejected(path, &reply, 405, "method_not_allowed", "");
        assert!(!reply.header("allow").is_empty(), "{path}: Allow is missing");
    }
}

async fn invalid_tokens(stack: &Stack, video: &str) {
    let path = format!("/api/videos/{video}");
    for (what, client) in [
        ("no token", stack.anonymous()),
        ("a made-up token", stack.client().with_token("made-up")),
        ("a damaged token", stack.client().with_token(&stack.token[..stack.token.len() - 6])),
    ] {
        let reply = client.get(&path).await;
        assert_rejected(what, &reply, 401, "unauthenticated", "");
        assert!(
            reply.header("www-authenticate").starts_with("Bearer"),
            "{what}: {:?}",
            reply.headers
        );
        let reply = client.post(&format!("{path}/transcode"), &json!({})).await;
        assert_rejected(what, &reply, 401, "unauthenticated", "");
    }
    let viewer = stack.client().with_token(&stack.rpc().mint("viewer").await);
    assert_eq!(viewer.get(&path).await.status, 200, "viewers read");
    let reply = viewer.post(&format!("{path}/transcode"), &json!({})).await;
    assert_rejected("a viewer transcodes", &reply, 403, "permission_denied", "");
    let editor = stack.client().with_token(&stack.rpc().mint("editor").await);
    let reply = editor.send(Method::DELETE, &path, &[], Bytes::new()).await.expect("DELETE");
    assert_rejected("an editor deletes another user's video", &reply, 403, "permission_denied", "");
}

async fn invalid_uploads(client: &Client) {
    let reply = raw(client, "application/json", "{}").await;
    assert_rejected("JSON upload", &reply, 415, "unsupported_media_type", "");
    let reply = raw(client, "multipart/form-data", "x").await;
    assert_rejected("no boundary", &reply, 400, "malformed", "");
    let part = "--b\r\ncontent-disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\nhalf a fi";
    let reply = raw(client, "multipart/form-data; boundary=b", part).await;
    assert_rejected("truncated multipart", &reply, 400, "malformed", "");
    let form = "--b\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\nno video\r\n--b--\r\n";
    let reply = raw(client, "multipart/form-data; boundary=b", form).await;
    assert_rejected("no file", &reply, 422, "invalid_field", "video");
    let clip = Numbered::seconds(6).file();
    let long = "x".repeat(201);
    let reply = client.upload(&clip, &[("title", &long)]).await;
    assert_rejected("a title too long", &reply, 422, "invalid_field", "title");
    let reply = client.upload(&clip, &[("visibility", "secret")]).await;
    assert_rejected("an unknown visibility", &reply, 422, "invalid_field", "visibility");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_above_the_limit_is_413_and_stores_nothing() {
    let stack = Stack::start_with(&[("STREAMING_UPLOAD_BYTES_MAX", "100000")]).await;
    let client = stack.client();
    let clip = Numbered::seconds(66).file();
    assert!(std::fs::metadata(&clip).expect("clip").len() > 200_000);
    let reply = client.upload(&clip, &[]).await;
    assert_rejected("too large", &reply, 413, "too_large", "");
    assert_eq!(client.get("/api/videos").await.expect(200).json()["videos"], json!([]));
    assert!(stack.objects().iter().all(|key| !key.starts_with("videos/")), "{:?}", stack.objects());
}

/// 300 MB that are not a video are rejected, and the data plane never holds them in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_upload_takes_constant_memory() {
    const BYTES: usize = 300_000_000;
    const PIECE: usize = 1 << 20;
    const GROWTH_BYTES_MAX: u64 = 64 << 20;
    let stack = Stack::start().await;
    let client = stack.client();
    client.upload_clip(&Numbered::seconds(6).file()).await;
    let pid = stack.running("streaming-dataplane")[0].pid;
    let before = process::memory_bytes(pid);
    let piece = Bytes::from((0..PIECE).map(|n| ((n * 31) >> 3) as u8).collect::<Vec<u8>>());
    let pieces = futures::stream::iter((0..BYTES / PIECE).map(move |_| Ok(piece.clone())));
    let upload = client.upload_stream("large.mp4", &[], Box::pin(pieces));
    let mut peak = before;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    tokio::pin!(upload);
    let reply = loop {
        tokio::select! {
            reply = &mut upload => break reply,
            _ = ticks.tick() => peak = peak.max(process::memory_bytes(pid)),
        }
    };
    assert_rejected("large nonsense", &reply, 422, "not_a_video", "");
    let growth = peak - before;
    assert!(growth <= GROWTH_BYTES_MAX, "the data plane grew by {} MiB", growth >> 20);
}
