//! Lists, profiles, workers and the system's state: parameters, and the shapes of the replies.

use api::v1::{JobState, ListJobsRequest, ListVideosRequest, VideoState};
use serde_json::{Value, json};

use crate::{
    fake_control::FakeControl,
    support::{Plane, Reply, eventually},
};

const BEARER: &str = "Authorization: Bearer good";

async fn start() -> (Plane, FakeControl) {
    let folder = tempfile::tempdir().unwrap();
    let control = FakeControl::start(&folder).await;
    let urls = vec![control.url.clone()];
    let plane = Plane::start_in(folder, |config| config.control_urls = urls).await;
    (plane, control)
}

async fn get(plane: &Plane, path: &str) -> Reply {
    plane.send("GET", path, &[BEARER]).await
}

#[tokio::test]
async fn filters_and_order_reach_control() {
    let (plane, control) = start().await;
    let path = "/api/videos?q=50%25+of_%5C&state=ready,failed&sort=-title&pageSize=7";
    assert_eq!(get(&plane, path).await.status, 200);
    let expected = ListVideosRequest {
        page_size: 7,
        page_token: String::new(),
        q: "50% of_\\".to_owned(),
        states: vec![VideoState::Ready.into(), VideoState::Failed.into()],
        sort: "-title".to_owned(),
    };
    assert_eq!(*control.operations.videos.lock().unwrap(), Some(expected));
    let path = format!("/api/jobs?videoId={}&state=running&pageToken=x", FakeControl::ID);
    assert_eq!(get(&plane, &path).await.status, 200);
    let expected = ListJobsRequest {
        video_id: FakeControl::ID.to_owned(),
        page_size: 0,
        page_token: "x".to_owned(),
        states: vec![JobState::Running.into()],
    };
    assert_eq!(*control.operations.jobs.lock().unwrap(), Some(expected));
}

#[tokio::test]
async fn unknown_parameters_and_values_are_400_with_their_name() {
    let (plane, _control) = start().await;
    let id = FakeControl::ID;
    let captions = format!("/api/videos/{id}/captions");
    let drain = format!("/api/workers/{id}/drain");
    for (method, path, field) in [
        ("GET", "/api/videos?tenant=b", "tenant"),
        ("GET", "/api/videos?Sort=title", "Sort"),
        ("GET", "/api/videos?videoId=1", "videoId"),
        ("GET", "/api/videos?q=a&q=b", "q"),
        ("GET", "/api/videos?state=running", "state"),
        ("GET", "/api/videos?state=", "state"),
        ("GET", "/api/videos?sort=", "sort"),
        ("GET", "/api/videos?pageToken=forged", "pageToken"),
        ("GET", "/api/jobs?q=a", "q"),
        ("GET", "/api/jobs?state=ready", "state"),
        ("GET", "/api/jobs?sort=createdAt", "sort"),
        ("GET", &format!("{captions}?pageSize=5"), "pageSize"),
        ("GET", "/api/profiles?x", "x"),
        ("GET", "/api/workers?state=lost", "state"),
        ("GET", "/api/system?x=", "x"),
        ("GET", "/api/me?x=1", "x"),
        ("GET", "/api/events?token=x", "token"),
        ("GET", "/api/tokens?sort=role", "sort"),
        ("POST", &format!("{drain}?wait=1"), "wait"),
    ] {
        let reply = plane.send(method, path, &[BEARER]).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "malformed"), "{path}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{path}: {reply:?}");
        // Without a token, the reply does not depend on the parameters.
        assert_eq!(plane.send(method, path, &[]).await.status, 401, "{path}");
    }
    // Routes outside of the console ignore parameters that proxies and clients append.
    assert_eq!(get(&plane, &format!("/api/videos/{id}?cache=1")).await.status, 200);
    assert_eq!(plane.send("GET", "/health/playback?x=1", &[]).await.status, 200);
}

#[tokio::test]
async fn profiles_and_workers_have_the_fixed_shapes() {
    let (plane, _control) = start().await;
    let profiles = get(&plane, "/api/profiles").await.json();
    let profile = profiles["profiles"][0].as_object().unwrap();
    let mut names: Vec<&str> = profile.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = ["audioBitrate", "codec", "height", "name", "preset", "videoBitrate", "width"];
    assert_eq!(names, expected);
    let worker = |name: &str, state: &str, version: Value| {
        json!({
            "id": FakeControl::ID, "name": name, "state": state, "slots": 4, "running": 3,
            "version": version, "lastHeartbeatAt": "2023-11-14T22:13:20Z",
        })
    };
    let expected = [
        worker("new", "connected", "1.2.3".into()),
        worker("old", "draining", Value::Null),
        worker("killed", "lost", "1.2.3".into()),
    ];
    assert_eq!(get(&plane, "/api/workers").await.json(), json!({ "workers": expected }));
}

#[tokio::test]
async fn a_drain_is_accepted_or_the_worker_is_unknown() {
    let (plane, _control) = start().await;
    let drain =
        async |id: &str| plane.send("POST", &format!("/api/workers/{id}/drain"), &[BEARER]).await;
    assert_eq!(drain(FakeControl::ID).await.status, 202);
    let unknown = drain("01936b2e-7c1a-7d33-8b0e-000000000002").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
    assert_eq!(drain("w").await.code(), "invalid_id");
    assert_eq!(get(&plane, &format!("/api/workers/{}/drain", FakeControl::ID)).await.status, 405);
}

#[tokio::test]
async fn the_system_has_figures_of_both_planes_for_the_operator_only() {
    let (plane, control) = start().await;
    let system = async || get(&plane, "/api/system").await.json();
    let found = system().await;
    assert_eq!(found["dependencies"]["control"]["state"], "ok", "{found}");
    assert_eq!(found["dependencies"]["postgres"]["state"], "ok");
    assert_eq!(found["dependencies"]["store.0"]["state"], "ok");
    for name in ["queueDepth", "egressBytesPerSecond", "cacheHitRatio"] {
        assert_eq!(found[name], Value::Null, "{name}");
    }
    assert_eq!(found["playableSeconds"], json!({ "p50": null, "p95": null }));
    *control.operations.operator.lock().unwrap() = true;
    let missing = format!("/api/stream/{}/hls/playlist.m3u8", FakeControl::ID);
    plane.send("GET", &missing, &[]).await;
    eventually("the egress is measured", async || {
        system().await["egressBytesPerSecond"].is_number()
    })
    .await;
    let found = system().await;
    assert_eq!(found["queueDepth"], 7);
    assert_eq!(found["playableSeconds"], json!({ "p50": 2.5, "p95": 4.0 }));
    assert_eq!(found["cacheHitRatio"], Value::Null, "segments in folders need no cache");
}
