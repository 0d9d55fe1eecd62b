//! Players on other sites, below a path prefix, and of private videos whose token expires during playback.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ENCODE_DEADLINE, PAGE_DEADLINE};
use crate::harness::{
    client::Client,
    clip::Numbered,
    driver::{Driver, events, number},
    eventually,
    nginx::Nginx,
    port::free_address,
    stack::Stack,
};

fn clip(seconds: u32) -> std::path::PathBuf {
    Numbered { rate: (10, 1), width: 160, height: 90, ..Numbered::seconds(seconds) }.file()
}

fn is_ready(state: &Value) -> bool {
    number(state, "ready") >= 2.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_permitted_sites_embed_the_player() {
    let address = free_address();
    let mut driver = Driver::start(&address).await;
    let mut stack = Stack::start_with(&[
        ("STREAMING_HTTP_ADDR", address.as_str()),
        ("STREAMING_EMBED_ORIGINS", "https://other.example"),
    ])
    .await;
    let video = stack.client().publish(&clip(6), ENCODE_DEADLINE).await.0;
    let path = format!("/embed/{video}?muted=1");
    driver.open("h", &path, json!({ "embedded": true })).await;
    let refused = eventually("the browser refuses the frame", PAGE_DEADLINE, async || {
        let problems = driver.act("h", "problems", json!({})).await;
        let problems = problems.as_array().cloned().unwrap_or_default();
        problems.into_iter().find(|problem| problem.to_string().contains("frame-ancestors"))
    })
    .await;
    let shown = driver.act("h", "frame", json!({})).await;
    assert_eq!(shown["players"], 0, "{refused}: {shown}");
    assert!(!shown["url"].as_str().unwrap_or_default().contains(&video), "{refused}: {shown}");
    assert_eq!(driver.act("h", "received", json!({})).await, json!([]), "no message of the player");

    stack.stop();
    stack.set("STREAMING_EMBED_ORIGINS", &format!("https://other.example,{}", driver.foreign));
    stack.up().await;
    driver.open("h", &path, json!({ "embedded": true })).await;
    driver.until("h", "the embedded picture is there", PAGE_DEADLINE, is_ready).await;
    driver.act("h", "play", json!({})).await;
    driver.until("h", "it plays", PAGE_DEADLINE, |state| number(state, "time") > 1.0).await;
    driver.assert_clean("h").await;
    // Before the service: the browser ends a moment after its driver.
    drop(driver);
}

/// The private video: much longer than its token lives and than a player buffers.
const SECONDS: u32 = 120;
/// Longer than a busy machine needs to open a page; the player renews the token in its last third.
const TOKEN_SECONDS: u32 = 24;
/// Twice the life of the token, and a margin.
const EXPIRY_DEADLINE: Duration = Duration::from_secs(2 * 24 + 10);

/// Opens a page with a fresh token, which is returned, and waits until it plays.
async fn plays_with_a_token(
    driver: &mut Driver,
    editor: &Client,
    video: &str,
    kind: &str,
) -> String {
    let path = format!("/api/videos/{video}/playback-token");
    let minted = editor.post(&path, &json!({ "ttlSeconds": TOKEN_SECONDS })).await.expect(200);
    let token = minted.json()["token"].as_str().expect("a token").to_owned();
    let page = format!("/base/{kind}/{video}?muted=1&autoplay=1&token={token}");
    let embedded = json!({ "embedded": kind == "embed" });
    assert_eq!(driver.open(kind, &page, embedded).await, 200);
    driver.until(kind, "it plays", PAGE_DEADLINE, |state| number(state, "time") > 0.5).await;
    token
}

/// Goes on far behind the buffered part after the token with which the page began has expired.
async fn plays_on_without_it(driver: &mut Driver, viewer: &Client, token: &str, kind: &str) {
    driver.act(kind, "seek", json!({ "to": 100 })).await;
    let state = driver
        .until(kind, "playback goes on", PAGE_DEADLINE, |state| number(state, "time") > 101.0)
        .await;
    assert!(state["problem"].is_null() && events(&state, "error").is_empty(), "{state:#}");
    let preview = driver.act(kind, "hover bar", json!({ "share": 0.3 })).await;
    let (_, image) = preview["url"].as_str().and_then(|url| url.split_once("/base")).expect("URL");
    assert!(!image.contains(token), "{preview}");
    viewer.get(image).await.expect(200);
    driver.assert_clean(kind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_video_below_a_path_prefix_plays_on_when_its_token_expires() {
    let (edge, folder) = (free_address(), tempfile::tempdir().expect("folder"));
    let stack = Stack::start_with(&[
        ("STREAMING_PUBLIC_URL", format!("http://{edge}/base").as_str()),
        ("STREAMING_DEFAULT_VISIBILITY", "private"),
    ])
    .await;
    let config = format!(
        "server {{\nlisten {edge};\nlocation /base/ {{\nproxy_pass http://{}/;\n\
         proxy_http_version 1.1;\nproxy_buffering off;\n}}\n}}",
        stack.http
    );
    let _nginx = Nginx::start(folder.path(), &config);
    let editor = stack.client();
    let video = editor.upload_clip(&clip(SECONDS)).await;
    let job = editor.transcode(&video, &json!({ "generateThumbnails": true })).await;
    editor.wait_job(&job, "completed", ENCODE_DEADLINE).await;
    let viewer = stack.anonymous();
    let mut driver = Driver::start(&edge).await;
    let mut tokens = Vec::new();
    for kind in ["watch", "embed"] {
        tokens.push((kind, plays_with_a_token(&mut driver, &editor, &video, kind).await));
    }
    for (kind, token) in &tokens {
        let first = format!("/api/stream/{video}/hls/playlist.m3u8?token={token}");
        eventually("the first token expires", EXPIRY_DEADLINE, async || {
            (viewer.get(&first).await.status == 403).then_some(())
        })
        .await;
        plays_on_without_it(&mut driver, &viewer, token, kind).await;
    }
}
