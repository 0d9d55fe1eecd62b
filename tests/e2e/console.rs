//! The web console in Chromium: sign-in, uploads, the list of videos, accessibility and budgets.
//! The scripts of tests/browser/console drive the browser and judge; the tests here provide the
//! service and what scripts ask for.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::harness::{clip::Numbered, console::Script, port, program, stack::Stack};

/// Runs a script that asks for nothing.
async fn run(name: &'static str, stack: &Stack, extra: Value) {
    Script::begin(name, stack, &extra).finish().await;
}

/// A fresh one-time link of the service.
fn link(stack: &Stack) -> String {
    let output = stack.command("streaming-service").arg("console").output().expect("run console");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let link = text.split_whitespace().find(|word| word.contains("#code="));
    link.unwrap_or_else(|| panic!("no link in {text:?}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_or_a_token_begins_a_session_that_signing_out_revokes() {
    let stack = Stack::start().await;
    let links = json!({"link": link(&stack), "another": link(&stack)});
    run("session.mjs", &stack, links).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_provider_signs_in_with_pkce() {
    let mut stack = Stack::new(&[]);
    let mut script = Script::begin("provider.mjs", &stack, &json!({}));
    let asked = script.question().await.expect("the script asks for a service");
    let issuer = asked["issuer"].as_str().expect("an issuer");
    stack.set("STREAMING_JWT_ISSUER", issuer);
    stack.set("STREAMING_JWT_AUDIENCE", "streaming");
    stack.set("STREAMING_JWT_JWKS_URL", &format!("{issuer}/jwks"));
    stack.set("STREAMING_OIDC_CLIENT_ID", asked["client"].as_str().expect("a client id"));
    stack.up().await;
    let service = json!({"origin": format!("http://{}", stack.http), "token": stack.token});
    script.answer(&service).await;
    script.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_videos_follows_searches_filters_and_events() {
    let stack = Stack::start_with(&[("STREAMING_UPLOADS_OPEN_MAX", "100")]).await;
    run("videos.mjs", &stack, json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_in_the_background_leave_the_connections_to_the_others() {
    let stack = Stack::start_with(&[("STREAMING_UPLOADS_OPEN_MAX", "100")]).await;
    run("tabs.mjs", &stack, json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_file_plays_at_once_and_uploads_survive() {
    let address = port::free_address();
    let mut stack =
        Stack::start_with(&[("STREAMING_HTTP_ADDR", &address), ("STREAMING_RATE_UPLOAD", "4/20s")])
            .await;
    let small = small_files();
    let files = json!({
        "clip": Numbered::seconds(10).file(), "large": large_file("large", 6),
        "other": large_file("other", 5), "small": small.path(),
    });
    let mut script = Script::begin("upload.mjs", &stack, &files);
    let asked = script.question().await.expect("the script asks for a restart");
    assert_eq!(asked["ask"], "restart");
    stack.stop();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stack.up().await;
    script.answer(&json!({})).await;
    script.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_is_accessible_small_and_private() {
    let stack = Stack::start().await;
    run("screens.mjs", &stack, json!({"clip": Numbered::seconds(10).file()})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploading_watching_and_retrying_need_only_the_keyboard() {
    let stack = Stack::start().await;
    run("keyboard.mjs", &stack, json!({"clip": Numbered::seconds(6).file()})).await;
}

/// Six files that differ; they are not videos.
fn small_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("make folder");
    for number in 0..6 {
        let bytes = format!("not a video, number {number}").repeat(100);
        fs::write(dir.path().join(format!("small-{number}.bin")), bytes).expect("write file");
    }
    dir
}

/// A video of 48 MB: most of it is a box that players skip.
fn large_file(name: &str, seconds: u32) -> PathBuf {
    let path = program::target_dir().join(format!("test-media/{name}.mp4"));
    fs::write(&path, super::tus::padded(seconds, 48_000_000)).expect("write file");
    path
}
