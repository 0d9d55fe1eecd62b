//! REST errors that do not come from the control plane, or are rewritten: token errors come first,
//! fields have their JSON names, and a change requires the version that the client has seen.

use std::sync::atomic::Ordering;

use crate::{
    fake_control::FakeControl,
    support::{Plane, eventually},
};

/// A data plane that has the keys of its control plane.
pub(crate) async fn start(change: impl FnOnce(&mut dataplane::Config)) -> (Plane, FakeControl) {
    let folder = tempfile::tempdir().unwrap();
    let control = FakeControl::start(&folder).await;
    control.user_services.introduced.store(true, Ordering::SeqCst);
    let urls = vec![control.url.clone()];
    let plane = Plane::start_in(folder, |config| {
        config.control_urls = urls;
        change(config);
    })
    .await;
    let watching = async || plane.get("/health/playback").await.json()["changes"] == "heard";
    eventually("the data plane receives changes", watching).await;
    (plane, control)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[tokio::test]
async fn an_invalid_token_is_reported_before_any_other_error() {
    let (plane, control) = start(|_| {}).await;
    let good = bearer(&control.user_services.token("ann"));
    let video = format!("/api/videos/{}", FakeControl::ID);
    let upload = format!("/api/uploads/{}", FakeControl::ID);
    let token = format!("{video}/playback-token");
    let json = "Content-Type: application/json";
    let faults: [(&str, &str, &str, &[u8], u16); 8] = [
        ("POST", "/api/videos/upload", "X: y", b"", 415),
        ("POST", "/api/videos/upload", "Content-Type: multipart/form-data", b"x", 400),
        ("POST", "/api/uploads", "X: y", b"", 412),
        ("PATCH", &upload, "Tus-Resumable: 1.0.0", b"x", 415),
        ("PATCH", &video, json, b"{", 400),
        ("PATCH", &video, json, b"{}", 422),
        ("PATCH", &video, "Content-Type: text/plain", b"x", 415),
        ("POST", &token, json, b"{\"ttlSeconds\": 0}", 422),
    ];
    for (method, path, header, body, status) in faults {
        let ask = async |authorization: &str| {
            plane.send_body(method, path, &[authorization, header], body).await
        };
        assert_eq!(ask(&good).await.status, status, "{method} {path}");
        for bad in ["garbage", "a.jwt.forged"] {
            let reply = ask(&bearer(bad)).await;
            assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{path}");
            assert!(!reply.header("www-authenticate").is_empty(), "{path}");
        }
        assert_eq!(ask(&bearer("a.jwt.bob")).await.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn fields_are_named_as_the_client_wrote_them() {
    let (plane, control) = start(|_| {}).await;
    let good = bearer(&control.user_services.token("ann"));
    let page = plane.send("GET", "/api/videos?pageToken=tampered", &[&good]).await;
    assert_eq!((page.status, page.code().as_str()), (400, "malformed"));
    assert_eq!(page.json()["errors"][0]["field"], "pageToken");
    assert!(!page.text().contains("page_token"), "{}", page.text());

    let path = format!("/api/videos/{}/playback-token", FakeControl::ID);
    let headers = [good.as_str(), "Content-Type: application/json"];
    let ask = async |body: &str| plane.send_body("POST", &path, &headers, body.as_bytes()).await;
    // In the gRPC message 0 and "" mean "any", so REST rejects them; otherwise they would disable a
    // limit.
    for (body, field) in [
        (r#"{"ttlSeconds": 0}"#, "ttlSeconds"),
        (r#"{"ttlSeconds": -1}"#, "ttlSeconds"),
        (r#"{"maxHeight": 0}"#, "maxHeight"),
        (r#"{"maxHeight": 4294967296}"#, "maxHeight"),
        (r#"{"address": ""}"#, "address"),
    ] {
        let reply = ask(body).await;
        assert_eq!(reply.status, 422, "{body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{body}");
    }
    assert_eq!(ask(r#"{"ttlSeconds": 1, "maxHeight": 1}"#).await.status, 200);
    assert_eq!(ask("").await.status, 200);
}

#[tokio::test]
async fn an_update_needs_the_current_etag() {
    let (plane, control) = start(|_| {}).await;
    let good = bearer(&control.user_services.token("ann"));
    let path = format!("/api/videos/{}", FakeControl::ID);
    let title = || control.user_services.video.lock().unwrap().title.clone();
    let seen = async |encoding: &str| {
        let reply = plane.send("GET", &path, &[&good, encoding]).await;
        format!("If-Match: {}", reply.header("etag"))
    };
    let rename = async |condition: &str, title: &str| {
        let headers = [good.as_str(), condition, "Content-Type: application/json"];
        let body = format!(r#"{{"title": "{title}"}}"#);
        plane.send_body("PATCH", &path, &headers, body.as_bytes()).await
    };
    let first = seen("X: y").await;
    assert_eq!(rename(&first, "one").await.status, 200);
    let late = rename(&first, "two").await;
    assert_eq!(
        (late.status, late.code().as_str(), title().as_str()),
        (412, "precondition_failed", "one")
    );
    let gzipped = seen("Accept-Encoding: gzip").await;
    assert_eq!(rename(&gzipped, "three").await.status, 200);
    assert_eq!(rename("If-Match: *", "four").await.status, 200);
    assert_eq!(rename("X: y", "five").await.status, 200);
    // The revision is sent with the change, so only one of three changes to the same revision
    // succeeds.
    let latest = seen("X: y").await;
    let made =
        futures::future::join_all(["six", "seven", "eight"].map(|t| rename(&latest, t))).await;
    assert_eq!(made.iter().filter(|reply| reply.status == 200).count(), 1, "{made:?}");
    assert_eq!(plane.send("DELETE", &path, &[&good, &gzipped]).await.status, 412);
    assert!(["six", "seven", "eight"].contains(&title().as_str()), "{}", title());
    assert_eq!(plane.send("DELETE", &path, &[&good, &seen("X: y").await]).await.status, 204);
    assert_eq!(title(), "deleted");
}
