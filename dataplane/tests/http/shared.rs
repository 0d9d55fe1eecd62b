//! Replies that data planes share in a real Redis.

use std::path::PathBuf;

use runtime::Secret;

use crate::{
    redis_server::RedisServer,
    support::{Clip, Plane, eventually},
};

/// A data plane that is connected to Redis, with the video in its store.
async fn plane_with(redis: &RedisServer, clip: &Clip) -> Plane {
    let url = redis.url();
    let plane = Plane::start_with(move |config| {
        config.redis_url = url;
        // The limit shows that it is connected.
        config.rate_general = "1000/1h".to_owned();
    })
    .await;
    clip.store(&plane.folder);
    let limits = "streaming:limit:*";
    let connected = async || {
        for key in redis.ask(&["KEYS", limits]) {
            drop(redis.ask(&["DEL", &key]));
        }
        plane.get("/api/nothing").await;
        redis.ask(&["KEYS", limits]).iter().any(|key| !key.is_empty())
    };
    eventually("the data plane is connected to redis", connected).await;
    plane
}

#[tokio::test]
async fn manifests_of_final_videos_are_shared_for_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start(folder.path());
    eventually("redis responds", async || redis.answers()).await;
    let clip = Clip::new(true);
    let plane = plane_with(&redis, &clip).await;
    let path = clip.media("360p/vod.m3u8");
    let written = plane.get(&path).await;
    assert_eq!(written.status, 200);
    assert_eq!(plane.get(&clip.path("hls/playlist.m3u8")).await.status, 200);

    let key = format!("streaming:manifest:{}", clip.index.video);
    let ttl: i64 = redis.ask(&["TTL", &key])[0].parse().unwrap();
    assert!((3590..=3600).contains(&ttl), "{ttl}");
    let fields = redis.ask(&["HKEYS", &key]);
    assert_eq!(fields.len(), 2, "{fields:?}");
    let version = clip.index.version.to_string();
    assert!(fields.iter().all(|field| field.starts_with(&version)), "{fields:?}");

    // Another data plane uses the stored manifest.
    let field = fields.iter().find(|field| field.contains("vod/360p")).unwrap();
    redis.ask(&["HSET", &key, field, "#EXTM3U by the first"]);
    let second = plane_with(&redis, &clip).await;
    assert_eq!(second.get(&path).await.text(), "#EXTM3U by the first");
    // It writes its own manifest when none is stored, or without Redis.
    drop(redis.ask(&["FLUSHALL"]));
    let third = plane_with(&redis, &clip).await;
    assert_eq!(third.get(&path).await.body, written.body);
    assert_eq!(redis.ask(&["EXISTS", &key]), ["1"]);
    redis.stop();
    let event = clip.media("360p/event.m3u8");
    for plane in [&plane, &second, &third] {
        assert_eq!(plane.get(&event).await.status, 200);
    }
}

#[tokio::test]
async fn growing_manifests_are_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start(folder.path());
    eventually("redis responds", async || redis.answers()).await;
    let mut clip = Clip::new(true);
    clip.index.finished_at_ms = None;
    let plane = plane_with(&redis, &clip).await;
    for path in [clip.media("360p/event.m3u8"), clip.path("hls/playlist.m3u8")] {
        let reply = plane.get(&path).await;
        assert_eq!(reply.header("cache-control"), "public, max-age=1", "{reply:?}");
    }
    // A growing manifest is not stored, because it changes soon.
    let kept = redis.ask(&["KEYS", "streaming:manifest:*"]);
    assert!(kept.iter().all(String::is_empty), "{kept:?}");
    redis.stop();
}

/// TLS by the URL's scheme, only with a server whose certificate the file contains.
#[tokio::test]
async fn redis_over_tls_is_verified_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (redis, port) = RedisServer::start_tls(folder.path());
    eventually("redis responds", async || redis.answers()).await;
    let start = async |ca_file: Option<PathBuf>| {
        Plane::start_with(|config| {
            config.redis_url = Some(Secret::new(format!("rediss://127.0.0.1:{port}")));
            config.redis_ca_file = ca_file;
            config.rate_general = "1000/1h".to_owned();
        })
        .await
    };
    let counted = || redis.ask(&["KEYS", "streaming:limit:*"]).iter().any(|key| !key.is_empty());
    // The certificate is self-signed.
    let without_redis = start(None).await;
    let known = start(Some(folder.path().join("redis.pem"))).await;
    for _ in 0..5 {
        assert_eq!(without_redis.get("/api/nothing").await.status, 404, "it works without redis");
        assert!(!counted());
    }
    eventually("the data plane counts in redis", async || {
        known.get("/api/nothing").await;
        counted()
    })
    .await;
    redis.stop();
}
