//! With a control plane: growing videos, changes, jobs.

use media::{VideoId, index::Index};
use uuid::Uuid;

use crate::{
    fake_control::FakeControl,
    support::{Clip, Plane, eventually},
};

async fn start() -> (Plane, FakeControl) {
    let folder = tempfile::tempdir().unwrap();
    let control = FakeControl::start(&folder).await;
    let urls = vec!["http://127.0.0.1:9".to_owned(), control.url.clone()];
    let plane = Plane::start_in(folder, |config| {
        config.control_urls = urls;
        config.metrics_include_control = true;
    })
    .await;
    let watching = async || plane.get("/health/playback").await.json()["changes"] == "heard";
    eventually("the data plane receives changes", watching).await;
    (plane, control)
}

/// The video while only its first chunk is committed.
fn growing(clip: &Clip) -> Index {
    let mut index = clip.index.clone();
    index.finished_at_ms = None;
    index.video_renditions[0].track.chunks.truncate(1);
    index.audio_renditions[0].track.chunks.truncate(1);
    index
}

#[tokio::test]
async fn index_of_a_growing_video_is_fetched_once_and_again_after_each_change() {
    let (plane, control) = start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    *control.index.lock().unwrap() = Some(growing(&clip));
    let path = clip.media("360p/event.m3u8");
    let requests = (0..40).map(|_| plane.get(&path));
    for reply in futures::future::join_all(requests).await {
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("cache-control"), "public, max-age=1");
        assert!(!reply.text().contains("ENDLIST"));
    }
    assert_eq!(control.index_calls(clip.index.video), 1);
    // A missing video is requested again after the time for which the index would be cached without
    // change events.
    let missing = VideoId::new(Uuid::now_v7());
    let expired = async || {
        plane.get(&format!("/api/stream/{missing}/hls/playlist.m3u8")).await;
        control.index_calls(missing) > 1
    };
    eventually("the missing video is requested again", expired).await;
    assert_eq!(plane.get(&path).await.status, 200);
    assert_eq!(control.index_calls(clip.index.video), 1);
    assert_eq!(plane.get(&clip.media("360p/h1.m4s")).await.status, 404);

    control.publish(Some(clip.index.clone()));
    let ended = async || plane.get(&path).await.text().contains("ENDLIST");
    eventually("the playlist ends", ended).await;
    assert_eq!(plane.get(&clip.media("360p/h1.m4s")).await.status, 200);
    assert_eq!(control.index_calls(clip.index.video), 2);

    control.publish(None);
    let gone = async || plane.get(&path).await.status == 404;
    eventually("the deleted video is not found", gone).await;
}

#[tokio::test]
async fn a_disabled_manifest_is_reported_as_manifest_disabled() {
    let (plane, control) = start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    control.publish(Some(Index { dash: false, ..clip.index.clone() }));
    let mpd = plane.get(&clip.path("dash/manifest.mpd")).await;
    assert_eq!((mpd.status, mpd.code().as_str()), (404, "manifest_disabled"));
    assert_eq!(plane.get(&clip.path("hls/playlist.m3u8")).await.status, 200);
}

#[tokio::test]
async fn health_and_metrics_include_control() {
    let (plane, _control) = start().await;
    let health = plane.get("/health").await;
    assert_eq!(health.status, 200, "{health:?}");
    assert_eq!(health.json()["dependencies"]["postgres"]["state"], "ok");
    assert!(plane.get("/metrics").await.text().contains("\nfrom_control 7\n"));
}

#[tokio::test]
async fn jobs_are_created_shown_and_watched() {
    let (plane, control) = start().await;
    let bearer = "Authorization: Bearer good";
    let json = [bearer, "Content-Type: application/json"];
    let path = format!("/api/videos/{}/transcode", FakeControl::ID);
    let body = br#"{"profiles": ["720p"], "generateHLS": true, "generateDASH": false}"#;
    let reply = plane.send_body("POST", &path, &json, body).await;
    assert_eq!((reply.status, reply.json()["jobId"].clone()), (202, FakeControl::ID.into()));
    let created = control.created.lock().unwrap().clone().unwrap();
    assert_eq!(created.profiles, ["720p"]);
    assert_eq!((created.generate_hls, created.generate_dash), (Some(true), Some(false)));
    assert_eq!(created.generate_preview, None);
    let bad = plane.send_body("POST", &path, &json, br#"{"profiles": ["a", 1]}"#).await;
    assert_eq!((bad.status, bad.json()["errors"][0]["field"].clone()), (422, "profiles[1]".into()));

    let job = format!("/api/jobs/{}", FakeControl::ID);
    assert_eq!(plane.send("GET", &job, &[bearer]).await.json()["progress"], 50.0);
    assert_eq!(plane.send("DELETE", &job, &[bearer]).await.status, 202);
    let retry = plane.send("POST", &format!("{job}/retry"), &[bearer]).await;
    assert_eq!((retry.status, retry.code().as_str()), (409, "conflict"));

    let events = plane.send("GET", &format!("{job}/events"), &[bearer, "Last-Event-ID: 7"]).await;
    assert_eq!((events.status, events.header("content-type")), (200, "text/event-stream"));
    let text = events.text();
    assert_eq!(text.matches("event: job").count(), 3, "{text}");
    assert!(text.contains("\"progress\":100.0") && text.contains("id: end-completed"), "{text}");
    let last = [bearer, "Last-Event-ID: end-completed"];
    assert_eq!(plane.send("GET", &format!("{job}/events"), &last).await.status, 204);
}
