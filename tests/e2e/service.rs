//! Health, metrics and logs for operators; tokens that protect private videos; delivery.

use std::{fs, time::Duration};

use api::v1::MintPlaybackTokenRequest;
use hyper::Method;
use serde_json::json;

use crate::harness::{
    CHANGE_DEADLINE, capture::Capture, client::Client, clip::Numbered, eventually, stack::Stack,
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
/// Metric names that dashboards rely on; they must not change.
const METRICS: [(&str, &str); 6] = [
    ("streaming_service_http_requests_total", "counter"),
    ("streaming_service_http_request_duration_seconds", "histogram"),
    ("streaming_service_active_transcoding_jobs", "gauge"),
    ("streaming_service_videos_uploaded_total", "counter"),
    ("streaming_service_bandwidth_bytes_total", "counter"),
    ("streaming_service_transcoding_duration_seconds", "histogram"),
];

fn value(metrics: &str, name: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_health_and_logs_record_a_job() {
    let stack = Stack::start().await;
    let client = stack.client();
    let (video, _) = client.publish(&Numbered::seconds(6).file(), JOB_DEADLINE).await;
    let path = format!("/api/stream/{video}/hls/playlist.m3u8");
    let captured = Capture::hls(&stack.anonymous(), &path).await;
    let gauge = "streaming_service_active_transcoding_jobs";
    let ended = "streaming_service_transcoding_duration_seconds_count";
    // Control counts running jobs from the rows, and records a job's duration after it has updated
    // the row.
    let what = "the gauge of jobs falls to 0, and the job's duration is recorded";
    let text = eventually(what, CHANGE_DEADLINE, async || {
        let text = stack.anonymous().get("/metrics").await.expect(200).text();
        (value(&text, gauge) == 0.0 && value(&text, ended) > 0.0).then_some(text)
    })
    .await;
    for (name, kind) in METRICS {
        assert!(text.contains(&format!("# TYPE {name} {kind}")), "{name} as {kind}:\n{text}");
    }
    assert!(!text.contains("otel_scope"), "no scope labels:\n{text}");
    assert!(!text.contains(&video), "labels must not contain ids:\n{text}");
    assert_eq!(value(&text, "streaming_service_videos_uploaded_total"), 1.0, "{text}");
    assert_eq!(value(&text, ended), 1.0, "{text}");
    let sent: usize = captured.media.values().map(bytes::Bytes::len).sum();
    assert!(value(&text, "streaming_service_bandwidth_bytes_total") >= sent as f64, "{text}");
    assert!(value(&text, "streaming_service_http_requests_total") >= 5.0, "{text}");

    let health = stack.anonymous().get("/health").await.expect(200).json();
    let text = health.to_string();
    for dependency in ["control", "postgres", "redis", "store"] {
        assert!(text.contains(dependency), "{dependency}: {health:#}");
    }
    for plane in ["control", "dataplane", "worker"] {
        let logs = fs::read_dir(stack.data().join("logs")).expect("logs").flatten();
        let log = logs.map(|e| e.path()).find(|p| p.to_string_lossy().contains(plane));
        let log = log.unwrap_or_else(|| panic!("{plane} has no log"));
        let text = fs::read_to_string(log).expect("read log");
        let first = text.lines().next().unwrap_or_default();
        assert!(
            serde_json::from_str::<serde_json::Value>(first).is_ok(),
            "{plane} logs JSON: {first}"
        );
        assert!(!text.contains(&stack.token), "{plane} logs a token");
    }
}

async fn playback_token(stack: &Stack, video: &str, max_height: u32) -> String {
    let request = MintPlaybackTokenRequest {
        video_id: video.to_owned(),
        ttl_seconds: 600,
        max_height,
        address: String::new(),
    };
    stack.rpc().auth().mint_playback_token(request).await.expect("mint").into_inner().token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_video_plays_only_with_its_token() {
    let stack = Stack::start().await;
    let client = stack.client();
    let clip = Numbered { width: 854, height: 480, ..Numbered::seconds(6) }.file();
    let mut videos = Vec::new();
    for _ in 0..2 {
        let reply = client.upload(&clip, &[("visibility", "private")]).await.expect(201).json();
        let video = reply["videoId"].as_str().expect("videoId").to_owned();
        let job = client.transcode(&video, &json!({})).await;
        client.wait_job(&job, "completed", JOB_DEADLINE).await;
        videos.push((video, job));
    }
    let [(video, job), (other, _)] = &videos[..] else { panic!("two videos") };
    let viewer = stack.anonymous();
    let token = playback_token(&stack, video, 0).await;
    let with = |path: &str| format!("/api/stream/{video}/{path}?token={token}");

    // Every URL that a session needs follows from the one with the token; without the token nothing
    // plays.
    let captured = Capture::hls(&viewer, &with("hls/playlist.m3u8")).await;
    assert_eq!(captured.hls_tracks().len(), 3);
    assert!(!Capture::dash(&viewer, &with("dash/manifest.mpd")).await.media.is_empty());
    let segment = format!("{job}/360p/h0.m4s");
    for path in
        ["hls/playlist.m3u8", "dash/manifest.mpd", &format!("{job}/360p/vod.m3u8"), &segment]
    {
        let reply = viewer.get(&format!("/api/stream/{video}/{path}")).await;
        assert_eq!(reply.status, 404, "{path} without a token: {}", reply.text());
        let reply = viewer.get(&format!("/api/stream/{other}/{path}?token={token}")).await;
        assert_eq!(reply.status, 403, "{path} with another video's token: {}", reply.text());
        let damaged = &token[..token.len() - 8];
        let reply = viewer.get(&format!("/api/stream/{video}/{path}?token={damaged}")).await;
        assert_eq!(reply.status, 403, "{path} with a damaged token: {}", reply.text());
    }
    let reply = viewer.get(&with(&segment)).await.expect(200);
    assert!(
        !reply.header("cache-control").contains("public"),
        "private replies must not be stored by shared caches"
    );
    let reply = Client::new(&stack.http, Some(&token)).get(&format!("/api/videos/{video}")).await;
    assert!(
        [401, 403].contains(&reply.status),
        "a playback token must not permit anything else: {}",
        reply.text()
    );

    let low = playback_token(&stack, video, 360).await;
    let text = viewer
        .get(&format!("/api/stream/{video}/hls/playlist.m3u8?token={low}"))
        .await
        .expect(200)
        .text();
    assert!(text.contains("640x360") && !text.contains("854x480"), "bounded by height:\n{text}");
    let above = viewer.get(&format!("/api/stream/{video}/{job}/480p/h0.m4s?token={low}")).await;
    assert_eq!(above.status, 403, "{}", above.text());
    let logs: String = fs::read_dir(stack.data().join("logs"))
        .expect("logs")
        .flatten()
        .map(|entry| fs::read_to_string(entry.path()).unwrap_or_default())
        .collect();
    assert!(!logs.contains(&token), "a playback token reached a log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_follows_http() {
    let stack = Stack::start().await;
    let (video, job) = stack.client().publish(&Numbered::seconds(6).file(), JOB_DEADLINE).await;
    let viewer = stack.anonymous();
    let segment = format!("/api/stream/{video}/{job}/360p/h0.m4s");
    let whole = viewer.get(&segment).await.expect(200);
    let etag = whole.header("etag").to_owned();
    assert!(
        etag.starts_with('"') && whole.header("accept-ranges") == "bytes",
        "{:?}",
        whole.headers
    );
    assert!(whole.header("cache-control").contains("immutable"), "{:?}", whole.headers);
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    let size = whole.body.len();
    for (range, status, expected) in [
        ("bytes=0-99", 206, &whole.body[..100]),
        ("bytes=100-", 206, &whole.body[100..]),
        ("bytes=-50", 206, &whole.body[size - 50..]),
        ("bytes=0-99999999", 206, &whole.body[..]),
        ("bytes=5-2", 200, &whole.body[..]),
        ("lines=1-2", 200, &whole.body[..]),
    ] {
        let reply = viewer.get_with(&segment, &[("range", range)]).await;
        assert_eq!((reply.status, &reply.body[..]), (status, expected), "{range}");
    }
    for range in ["bytes=-0", &format!("bytes={size}-")] {
        let reply = viewer.get_with(&segment, &[("range", range)]).await;
        assert_eq!(reply.status, 416, "{range}");
        assert_eq!(reply.header("content-range"), format!("bytes */{size}"), "{range}");
    }
    let reply = viewer.get_with(&segment, &[("if-none-match", &etag)]).await;
    assert_eq!((reply.status, reply.body.len()), (304, 0));
    let reply =
        viewer.get_with(&segment, &[("range", "bytes=0-9"), ("if-range", "\"stale\"")]).await;
    assert_eq!((reply.status, reply.body.len()), (200, size));
    let head = viewer.send(Method::HEAD, &segment, &[], "".into()).await.expect("HEAD");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), size.to_string());
    assert_eq!(head.header("etag"), etag);
    for name in ["hls/playlist.m3u8", "dash/manifest.mpd"] {
        let path = format!("/api/stream/{video}/{name}");
        let zipped = viewer.get_with(&path, &[("accept-encoding", "gzip")]).await.expect(200);
        assert_eq!(zipped.header("content-encoding"), "gzip", "{name}");
        assert_eq!(&zipped.body[..2], &[0x1f, 0x8b], "{name}");
        assert_eq!(viewer.get(&path).await.expect(200).header("content-encoding"), "", "{name}");
    }
}
