//! Playback without a control plane: the objects in the store suffice.

use std::io::Read;

use authz::{Grant, PlaybackGrant, Role, RootKeys};
use media::{JobId, VideoId, layout};
use runtime::{Clock, SystemClock};
use uuid::Uuid;

use crate::support::{Clip, Plane};

#[tokio::test]
async fn final_video_plays_while_control_is_unreachable() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let master = plane.get(&clip.path("hls/playlist.m3u8")).await;
    assert_eq!(master.status, 200, "{master:?}");
    assert_eq!(master.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(master.header("cache-control"), "public, max-age=60");
    assert_eq!(master.header("vary"), "Accept-Encoding");
    assert_eq!(master.header("x-content-type-options"), "nosniff");
    assert_eq!(master.header("surrogate-key"), format!("video-{}", clip.index.video));
    assert!(master.text().starts_with("#EXTM3U"));
    let mpd = plane.get(&clip.path("dash/manifest.mpd")).await;
    assert_eq!((mpd.status, mpd.header("content-type")), (200, "application/dash+xml"));
    for name in ["event.m3u8", "vod.m3u8", "iframes.m3u8"] {
        assert_eq!(plane.get(&clip.media(&format!("360p/{name}"))).await.status, 200, "{name}");
    }
    // All segments that the playlist lists exist and equal the bytes of the object.
    let vod = plane.get(&clip.media("360p/vod.m3u8")).await.text();
    let listed: Vec<_> = vod.lines().filter(|line| line.ends_with(".m4s")).collect();
    assert!(!listed.is_empty());
    let mut bytes = Vec::new();
    for name in listed {
        let segment = plane.get(&clip.media(&format!("360p/{name}"))).await;
        assert_eq!(segment.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(segment.header("accept-ranges"), "bytes");
        bytes.extend(segment.body);
    }
    assert!(bytes == [clip.object(0), clip.object(1)].concat());
}

#[tokio::test]
async fn a_session_that_begins_after_the_end_gets_a_static_mpd_and_a_reload_the_last_dynamic_one() {
    let plane = Plane::start().await;
    let mut clip = Clip::new(true);
    clip.index.finished_at_ms = Some(SystemClock.now_ms());
    clip.store(&plane.folder);
    let mpd = plane.get(&clip.path("dash/manifest.mpd")).await;
    assert!(mpd.text().contains("type=\"static\""), "{mpd:?}");
    assert_eq!(mpd.header("cache-control"), "public, max-age=60");
    let reload = plane.get(&clip.path("dash/manifest.mpd?reload=1")).await;
    assert!(reload.text().contains("type=\"dynamic\""), "{reload:?}");
    assert_eq!(reload.header("cache-control"), "public, max-age=1");
    clip.index.finished_at_ms = Some(SystemClock.now_ms() - 10_000);
    let clip = Clip { index: clip.index, ..Clip::new(true) };
    let plane = Plane::start().await;
    clip.store(&plane.folder);
    let late = plane.get(&clip.path("dash/manifest.mpd?reload=1")).await;
    assert!(late.text().contains("type=\"static\""), "{late:?}");
}

#[tokio::test]
async fn health_is_down_without_control_and_playback_is_not() {
    let plane = Plane::start().await;
    let health = plane.get("/health").await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["dependencies"]["control"]["state"], "down");
    assert_eq!(health.json()["dependencies"]["store.0"]["state"], "ok");
    assert_eq!(plane.get("/health/playback").await.status, 200);
    let metrics = plane.get("/metrics").await.text();
    assert!(metrics.contains("streaming_service_http_requests_total{"), "{metrics}");
    assert!(metrics.contains("route=\"/health\""), "{metrics}");
    assert!(metrics.contains("streaming_service_bandwidth_bytes_total{kind=\"segment\"}"));
}

#[tokio::test]
async fn unknown_resources_are_problems() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    for name in ["360p/h99.m4s", "720p/init.mp4", "720p/event.m3u8", "360p/nope"] {
        let reply = plane.get(&clip.media(name)).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{name}");
    }
    let bad = plane.get("/api/stream/nope/hls/playlist.m3u8").await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "invalid_id"));
    assert_eq!(bad.json()["errors"][0]["field"], "id");
    let method = plane.send("POST", &clip.path("hls/playlist.m3u8"), &[]).await;
    assert_eq!((method.status, method.header("allow")), (405, "GET, HEAD"));
    // Only the control plane knows whether the video exists.
    let unknown = format!("/api/stream/{}/hls/playlist.m3u8", Uuid::now_v7());
    assert_eq!(plane.get(&unknown).await.status, 503);
}

#[tokio::test]
async fn missing_or_short_object_is_never_an_empty_success() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let path = plane.folder.path().join(&clip.objects[0].0);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(plane.get(&clip.media("360p/h0.m4s")).await.status, 404);
    std::fs::write(&path, &clip.object(0)[..1000]).unwrap();
    assert_eq!(plane.get(&clip.media("360p/h0.m4s")).await.status, 404);
    let range = plane.send("GET", &clip.media("360p/h0.m4s"), &["Range: bytes=0-9"]).await;
    assert_eq!(range.status, 404);
    assert_eq!(plane.get(&clip.media("360p/vod.m3u8")).await.status, 200);
    let metrics = plane.get("/metrics").await.text();
    assert!(metrics.contains("streaming_service_missing_objects_total 3"), "{metrics}");
}

#[tokio::test]
async fn damaged_index_is_an_error_and_no_panic() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let path = plane.folder.path().join(layout::index(clip.index.video));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&path, bytes).unwrap();
    let reply = plane.get(&clip.path("hls/playlist.m3u8")).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "internal"));
    assert_eq!(plane.get("/health/playback").await.status, 200);
}

#[tokio::test]
async fn older_version_keeps_its_urls() {
    let plane = Plane::start().await;
    let video = VideoId::new(Uuid::now_v7());
    let old = Clip::of(video, JobId::new(Uuid::now_v7()), true);
    old.store(&plane.folder);
    let new = Clip::of(video, JobId::new(Uuid::now_v7()), true);
    new.store(&plane.folder);
    assert!(
        plane
            .get(&new.path("hls/playlist.m3u8"))
            .await
            .text()
            .contains(&new.index.version.to_string())
    );
    assert_eq!(plane.get(&old.media("360p/vod.m3u8")).await.status, 200);
    assert!(plane.get(&old.media("360p/h0.m4s")).await.body == old.object(0));
    let other = JobId::new(Uuid::now_v7());
    assert_eq!(plane.get(&old.path(&format!("{other}/360p/h0.m4s"))).await.status, 404);
}

#[tokio::test]
async fn playlists_are_gzipped_when_accepted() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let path = clip.media("360p/vod.m3u8");
    let plain = plane.get(&path).await;
    let zipped = plane.send("GET", &path, &["Accept-Encoding: gzip"]).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert_ne!(zipped.header("etag"), plain.header("etag"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text());
    for (reply, accepts) in [(&plain, "identity"), (&zipped, "gzip")] {
        let again = format!("If-None-Match: {}", reply.header("etag"));
        let lines = [&*again, &*format!("Accept-Encoding: {accepts}")];
        let again = plane.send("GET", &path, &lines).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    assert_eq!(plane.send("GET", &path, &["If-Match: \"other\""]).await.status, 412);
    let segment = plane.send("GET", &clip.media("360p/h0.m4s"), &["Accept-Encoding: gzip"]).await;
    assert_eq!(segment.header("content-encoding"), "");
}

#[tokio::test]
async fn private_video_plays_with_its_token_only() {
    let keys = RootKeys::generate();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let public = serde_json::to_vec(&keys.public()).unwrap();
    std::fs::write(folder.path().join("keys/public.json"), public).unwrap();
    let clip = Clip::new(false);
    let now = SystemClock.now_unix();
    let grant = |video| PlaybackGrant { video, max_height: None, address: None };
    // Revoked while this data plane was not running; no control plane is available to report it.
    let revoked = keys.mint_playback(&grant(clip.index.video), now, now + 61).unwrap();
    let ids = authz::Verifier::new(keys.public()).revocation_ids(&revoked).unwrap().0;
    let ids = format!("[\"{}\"]", hex::encode(&ids[0]));
    std::fs::write(folder.path().join("keys/revoked.json"), ids).unwrap();
    let plane = Plane::start_in(folder, |_| {}).await;
    clip.store(&plane.folder);
    let token = keys.mint_playback(&grant(clip.index.video), now, now + 60).unwrap();
    let path = clip.path("hls/playlist.m3u8");
    let revoked = plane.get(&format!("{path}?token={revoked}")).await;
    assert_eq!((revoked.status, revoked.code().as_str()), (403, "permission_denied"));

    let hidden = plane.get(&path).await;
    assert_eq!((hidden.status, hidden.code().as_str()), (404, "not_found"));
    let shown = plane.get(&format!("{path}?token={token}")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(shown.header("cache-control"), "private, max-age=60");
    assert!(shown.text().contains("?token="), "{}", shown.text());
    let segment = clip.media("360p/h0.m4s");
    assert_eq!(plane.get(&segment).await.status, 404);
    let bytes = plane.get(&format!("{segment}?token={token}")).await;
    assert_eq!(bytes.header("cache-control"), "private, max-age=31536000, immutable");

    let expired = keys.mint_playback(&grant(clip.index.video), now, now - 1).unwrap();
    let other = keys.mint_playback(&grant(VideoId::new(Uuid::now_v7())), now, now + 60).unwrap();
    let foreign =
        RootKeys::generate().mint_playback(&grant(clip.index.video), now, now + 60).unwrap();
    let elsewhere =
        PlaybackGrant { address: Some("192.0.2.1".parse().unwrap()), ..grant(clip.index.video) };
    let elsewhere = keys.mint_playback(&elsewhere, now, now + 60).unwrap();
    for bad in [&expired, &other, &foreign, &elsewhere, "garbage", &"x".repeat(9000)] {
        let reply = plane.get(&format!("{path}?token={bad}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "permission_denied"), "{bad}");
        assert!(!reply.text().contains(bad));
    }

    let bearer = |tenant: &str| {
        let (subject, tenant) = ("ana".to_owned(), tenant.to_owned());
        let token = keys.mint(&Grant { subject, tenant, role: Role::Viewer }, now + 60).unwrap();
        format!("Authorization: Bearer {token}")
    };
    assert_eq!(plane.send("GET", &path, &[&bearer("default")]).await.status, 200);
    assert_eq!(plane.send("GET", &path, &[&bearer("stranger")]).await.status, 404);
}

#[tokio::test]
async fn manifests_point_to_the_cdn_when_there_is_one() {
    let cdn = "https://cdn.example.com/x";
    let plane = Plane::start_with(|config| config.cdn_base_url = Some(format!("{cdn}/"))).await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let master = plane.get(&clip.path("hls/playlist.m3u8")).await.text();
    assert!(master.contains(&format!("{cdn}{}", clip.media("360p/vod.m3u8"))), "{master}");
}
