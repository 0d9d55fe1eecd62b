//! Rate limits, caches and CORS, and the complete removal of a deleted video.

use std::time::Duration;

use hyper::Method;
use serde_json::json;

use crate::harness::{
    backing::{PurgeReceiver, redis, sql},
    clip::Numbered,
    eventually,
    stack::Stack,
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(20);

fn ttl(stack: &Stack, key: &str) -> i64 {
    redis(stack, &["TTL", key])[0].parse().expect("a number")
}

/// All Redis keys with cached data of this video.
fn cached(stack: &Stack, video: &str) -> Vec<String> {
    let mut keys = redis(stack, &["KEYS", &format!("streaming:manifest:*{video}*")]);
    keys.extend(redis(stack, &["KEYS", &format!("streaming:metadata:*{video}*")]));
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_follow_every_change_and_deletion_removes_all_data() {
    let receiver = PurgeReceiver::start(Box::new(|_| {})).await;
    let env = [
        ("STREAMING_PURGE_URL", receiver.url.as_str()),
        // After twice the lease, control deletes objects that a deleted video's workers may still
        // have written.
        ("STREAMING_LEASE", "2s"),
        ("STREAMING_HEARTBEAT", "500ms"),
    ];
    let stack = Stack::start_with(&env).await;
    let (client, viewer) = (stack.client(), stack.anonymous());
    let (video, _) = client.publish(&Numbered::seconds(6).file(), JOB_DEADLINE).await;
    let (playlist, about) =
        (format!("/api/stream/{video}/hls/playlist.m3u8"), format!("/api/videos/{video}"));
    let look = async || {
        viewer.get(&playlist).await.expect(200);
        client.get(&about).await.expect(200).json()
    };
    let expected = [format!("streaming:manifest:{video}"), format!("streaming:metadata:{video}")];
    let both = async || {
        let seen = look().await;
        (cached(&stack, &video) == expected).then_some(seen)
    };
    let seen = eventually("manifest and metadata are cached", SOON, both).await;
    assert_eq!(seen["title"], "e2e");
    let (manifest, metadata) = (ttl(&stack, &expected[0]), ttl(&stack, &expected[1]));
    assert!((3500..=3600).contains(&manifest), "manifests for an hour: {manifest}");
    assert!((86_300..=86_400).contains(&metadata), "metadata for a day: {metadata}");

    // A change is visible immediately over REST and gRPC, and requests without a token are
    // rejected.
    let body = json!({ "title": "renamed" }).to_string();
    let headers = [("content-type", "application/json")];
    client.send(Method::PATCH, &about, &headers, body.into()).await.expect("PATCH").expect(200);
    for _ in 0..3 {
        assert_eq!(look().await["title"], "renamed");
    }
    let update = api::v1::UpdateVideoRequest {
        video_id: video.clone(),
        title: "again".to_owned(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["title".to_owned()] }),
        ..api::v1::UpdateVideoRequest::default()
    };
    stack.rpc().videos().update_video(update).await.expect("update");
    assert_eq!(look().await["title"], "again");
    assert_eq!(viewer.get(&about).await.status, 401);

    // When the data in Redis is lost, the service keeps working and fills the cache again.
    redis(&stack, &["FLUSHALL"]);
    assert_eq!(look().await["title"], "again");
    let metadata = async || {
        client.get(&about).await.expect(200);
        cached(&stack, &video).contains(&expected[1]).then_some(())
    };
    eventually("metadata is cached again", SOON, metadata).await;

    // Deleted in the middle of a transcode: none of the video's objects, rows or replies remain.
    let deleted = transcoding(&stack).await;
    for id in [&video, &deleted] {
        delete(&stack, id).await;
    }
    for id in [&video, &deleted] {
        assert_removed(&stack, &receiver, id).await;
    }
    // A worker that had not been notified of the deletion leaves no objects.
    assert!(stack.objects().iter().all(|key| !key.contains(&deleted)), "{:?}", stack.objects());
}

/// Uploads a video and returns once its transcode has begun.
async fn transcoding(stack: &Stack) -> String {
    let client = stack.client();
    let long = Numbered { width: 854, height: 480, ..Numbered::seconds(40) }.file();
    let video = client.upload_clip(&long).await;
    let job = client.transcode(&video, &json!({})).await;
    let begun = async || {
        let job = client.job(&job).await;
        let progress = job["progress"].as_f64().expect("progress");
        (progress > 0.0 || job["state"] == "completed").then_some(())
    };
    eventually("the transcode has begun", JOB_DEADLINE, begun).await;
    video
}

/// Deletes a video and checks that it can no longer be read or played.
async fn delete(stack: &Stack, id: &str) {
    let (client, viewer) = (stack.client(), stack.anonymous());
    let path = format!("/api/videos/{id}");
    let reply = client.send(Method::DELETE, &path, &[], Default::default()).await;
    reply.expect("DELETE").expect(204);
    assert_eq!(client.get(&path).await.status, 404);
    assert_eq!(cached(stack, id), Vec::<String>::new(), "redis has none of its entries");
    eventually("the playlist is 404", Duration::from_secs(2), async || {
        let path = format!("/api/stream/{id}/hls/playlist.m3u8");
        (viewer.get(&path).await.status == 404).then_some(())
    })
    .await;
}

/// The video's objects and rows are deleted, and the CDN has been sent the purge.
async fn assert_removed(stack: &Stack, receiver: &PurgeReceiver, id: &str) {
    eventually("its objects are deleted", SOON, async || {
        stack.objects().iter().all(|key| !key.contains(id)).then_some(())
    })
    .await;
    let tables = ["videos WHERE id =", "jobs WHERE video_id =", "tasks WHERE video_id ="];
    eventually("its rows are deleted", SOON, async || {
        let rows = tables
            .map(|table| sql(stack, &format!("SELECT count(*) FROM {table} '{id}'"))[0].clone());
        rows.iter().all(|count| count == "0").then_some(())
    })
    .await;
    let tag = format!("video-{id}");
    eventually("the CDN receives two purge requests", SOON, async || {
        (receiver.count(&tag) >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_limits_apply_to_all_routes_except_health() {
    let mut stack = Stack::new(&[]);
    for name in ["GENERAL", "UPLOAD", "STREAM"] {
        // The harness turns the limits off; an empty variable counts as unset.
        stack.set(&format!("STREAMING_RATE_{name}"), "");
    }
    stack.set("STREAMING_CORS_ORIGINS", "https://app.example.com");
    stack.up().await;
    let (client, viewer) = (stack.client(), stack.anonymous());
    for (path, limit) in [("/api/videos", "100"), ("/api/stream/x/hls/playlist.m3u8", "1000")] {
        assert_eq!(viewer.get(path).await.header("ratelimit-limit"), limit, "{path}");
    }
    let upload = async || {
        let headers = [("content-type", "text/plain")];
        client.send(Method::POST, "/api/videos/upload", &headers, Default::default()).await
    };
    let statuses: Vec<u16> = {
        let mut statuses = Vec::new();
        for _ in 0..11 {
            statuses.push(upload().await.expect("POST").status);
        }
        statuses
    };
    assert_eq!(statuses[10], 429, "{statuses:?}");
    assert!(statuses[..10].iter().all(|status| *status != 429), "{statuses:?}");
    // The admin has exceeded only the upload limit and may make any other request.
    client.get("/api/videos").await.expect(200);
    let mut last = viewer.get("/api/videos").await;
    for _ in 0..110 {
        last = viewer.get_with("/api/videos", &[("origin", "https://app.example.com")]).await;
    }
    assert_eq!(last.status, 429, "{}", last.text());
    assert_eq!(last.header("content-type"), "application/problem+json");
    assert_eq!(last.json()["code"], "rate_limited");
    let retry: u64 = last.header("retry-after").parse().expect("seconds");
    assert!((1..=9).contains(&retry), "one request becomes available every nine seconds: {retry}");
    assert_eq!(last.header("access-control-allow-origin"), "https://app.example.com");
    assert!(last.header("access-control-expose-headers").contains("RateLimit-Remaining"));
    for path in ["/health", "/metrics"] {
        let reply = viewer.get(path).await.expect(200);
        assert_eq!(reply.header("ratelimit-limit"), "", "{path}");
    }
    let keys = redis(&stack, &["KEYS", "streaming:limit:*"]);
    assert!(keys.len() >= 3, "{keys:?}");
    assert!(keys.iter().all(|key| ttl(&stack, key) > 0), "{keys:?}");
    for evil in ["null", "https://evil.example", "https://app.example.com.evil.example"] {
        let reply = client.get_with("/api/videos", &[("origin", evil)]).await;
        assert_eq!(reply.header("access-control-allow-origin"), "", "{evil}");
        assert!(reply.header("vary").contains("Origin"), "{}", reply.header("vary"));
    }
}

#[test]
fn an_invalid_rate_is_reported_before_anything_starts() {
    let stack = Stack::new(&[
        ("STREAMING_RATE_GENERAL", "many"),
        ("STREAMING_TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
        ("STREAMING_CORS_ORIGINS", "https://*.example.com"),
        ("STREAMING_PLAYBACK_ORIGINS", "app.example.com"),
        ("STREAMING_CDN_BASE_URL", "cdn.example.com"),
        ("STREAMING_STORES", "file:///nonexistent"),
    ]);
    let ended = stack.command("streaming-dataplane").arg("serve").output().expect("start");
    assert!(!ended.status.success());
    let text = String::from_utf8_lossy(&ended.stderr);
    let names =
        ["RATE_GENERAL", "TRUSTED_PROXIES", "CORS_ORIGINS", "PLAYBACK_ORIGINS", "CDN_BASE_URL"];
    for name in names {
        assert!(text.contains(&format!("STREAMING_{name}")), "{name}: {text}");
    }
    assert_eq!(text.trim().lines().count(), 1, "{text}");
}
