//! Features for viewers of a complete video: parameters, keys, settings, resuming, error messages, embedding.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::PAGE_DEADLINE;
use crate::harness::{
    client::Client,
    clip::Numbered,
    driver::{Driver, events, number},
    program,
    stack::Stack,
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
const SECONDS: u32 = 40;

async fn publish(client: &Client, file: &std::path::Path) -> String {
    client.publish(file, JOB_DEADLINE).await.0
}

fn clip() -> PathBuf {
    Numbered { rate: (10, 1), width: 160, height: 90, ..Numbered::seconds(SECONDS) }.file()
}

fn near(state: &Value, seconds: f64) -> bool {
    (number(state, "time") - seconds).abs() < 0.5
}

async fn opened(driver: &mut Driver, page: &str, path: &str) -> Value {
    assert_eq!(driver.open(page, path, json!({})).await, 200, "{path}");
    driver
        .until(page, "the picture is there", PAGE_DEADLINE, |state| number(state, "ready") >= 2.0)
        .await
}

async fn press(driver: &mut Driver, page: &str, keys: &[&str]) -> Value {
    for key in keys {
        driver.act(page, "press", json!({ "key": key })).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    driver.state(page).await
}

async fn parameters_of_the_page(driver: &mut Driver, video: &str) {
    let state = opened(driver, "p", &format!("/watch/{video}?t=5&end=8&autoplay=1")).await;
    assert!(state["muted"] == true && number(&state, "time") >= 4.9, "{state:#}");
    let state =
        driver.until("p", "playback stops", PAGE_DEADLINE, |state| state["paused"] == true).await;
    assert!(near(&state, 8.0), "{state:#}");
    let state =
        opened(driver, "p", &format!("/watch/{video}?t=0m20s&controls=0&loop=1&lang=de")).await;
    assert!(near(&state, 20.0) && state["controls"] == false && state["loop"] == true, "{state:#}");
    let value = state["value"].as_str().expect("a value text");
    assert!(value.contains("20 Sekunden von 40 Sekunden"), "{value}");
    driver.assert_clean("p").await;
}

async fn keys_work_within_the_player_and_can_be_turned_off(driver: &mut Driver, video: &str) {
    opened(driver, "k", &format!("/watch/{video}?muted=1")).await;
    let state = press(driver, "k", &["ArrowRight", "k", "m", "5"]).await;
    assert!(
        near(&state, 0.0) && state["paused"] == true && state["muted"] == true,
        "without focus: {state:#}"
    );
    driver.act("k", "focus", json!({ "selector": "media-controller" })).await;
    let state = press(driver, "k", &["ArrowRight", "ArrowRight", "j", "l", "m"]).await;
    assert!(near(&state, 10.0) && state["muted"] == false, "{state:#}");
    let state = press(driver, "k", &["5", "ArrowLeft", ">", "ArrowDown"]).await;
    assert!(near(&state, 15.0) && number(&state, "rate") > 1.2, "{state:#}");
    assert!(number(&state, "volume") < 0.99, "{state:#}");
    let state = press(driver, "k", &["<", "k"]).await;
    assert_eq!(state["paused"], false, "{state:#}");
    press(driver, "k", &["k"]).await;
    driver.act("k", "click", json!({ "selector": "[data-part=settings]" })).await;
    driver.act("k", "click", json!({ "selector": "input[name=shortcuts]" })).await;
    driver.act("k", "press", json!({ "key": "Escape" })).await;
    driver.act("k", "focus", json!({ "selector": "media-controller" })).await;
    let before = driver.state("k").await;
    let state = press(driver, "k", &["ArrowRight", "m", "0"]).await;
    assert_eq!((&state["time"], &state["muted"]), (&before["time"], &before["muted"]), "{state:#}");
    driver.assert_clean("k").await;
}

async fn the_position_is_offered_when_the_video_is_opened_again(driver: &mut Driver, video: &str) {
    let path = format!("/watch/{video}?muted=1");
    let state = opened(driver, "r", &path).await;
    assert_eq!(state["offer"], Value::Null);
    driver.act("r", "seek", json!({ "to": 15 })).await;
    driver.act("r", "play", json!({})).await;
    driver
        .until("r", "some of it is played", PAGE_DEADLINE, |state| number(state, "time") > 15.5)
        .await;
    driver.act("r", "pause", json!({})).await;
    let state = opened(driver, "r", &path).await;
    assert!(near(&state, 0.0), "the position is only offered: {state:#}");
    assert!(
        state["offer"].as_str().unwrap_or_default().starts_with("Continue at 0:1"),
        "{state:#}"
    );
    driver.act("r", "click", json!({ "selector": "[data-part=continue]" })).await;
    let on = |state: &Value| number(state, "time") > 15.4 && state["paused"] == false;
    let state = driver.until("r", "playback goes on there", PAGE_DEADLINE, on).await;
    assert_eq!(state["offer"], Value::Null, "{state:#}");
    // Watched to the end, nothing is offered.
    driver.act("r", "seek", json!({ "to": SECONDS - 1 })).await;
    driver.until("r", "the video ends", PAGE_DEADLINE, |state| state["ended"] == true).await;
    let state = opened(driver, "r", &path).await;
    assert_eq!(state["offer"], Value::Null, "{state:#}");
}

async fn errors_have_messages_and_can_be_retried(driver: &mut Driver, video: &str) {
    let path = format!("/watch/{video}?muted=1&t=1");
    for (status, words) in
        [(403, "link has expired"), (404, "not found"), (0, "connection was lost")]
    {
        // Everything behind the first 14 s fails.
        let fail = json!({ "pattern": r"/h([2-9]|\d\d)\.m4s", "status": status });
        driver.open("e", &path, json!({ "fail": fail })).await;
        driver
            .until("e", "the picture is there", PAGE_DEADLINE, |state| {
                number(state, "ready") >= 2.0
            })
            .await;
        driver.act("e", "seek", json!({ "to": 35 })).await;
        driver.act("e", "play", json!({})).await;
        let shown =
            |state: &Value| state["problem"].as_str().is_some_and(|text| text.contains(words));
        let state = driver.until("e", words, Duration::from_secs(90), shown).await;
        assert!(near(&state, 35.0), "the position is kept: {state:#}");
        driver.act("e", "heal", json!({})).await;
        if status != 0 {
            driver.act("e", "click", json!({ "selector": "[data-part=retry]" })).await;
        }
        let on = |state: &Value| number(state, "time") > 35.3 && state["problem"].is_null();
        let state = driver.until("e", "playback goes on", Duration::from_secs(60), on).await;
        assert!(events(&state, "jump").is_empty(), "{state:#}");
    }
}

async fn a_video_without_pictures_has_a_label(driver: &mut Driver, client: &Client) {
    let file = client_clip(
        &["-f", "lavfi", "-i", "sine=frequency=440:duration=6", "-c:a", "aac"],
        "sound.m4a",
    );
    let video = publish(client, &file.0).await;
    let state = opened(driver, "s", &format!("/watch/{video}?muted=1&autoplay=1")).await;
    assert!(state["sound"].is_string(), "{state:#}");
    driver.until("s", "the sound plays", PAGE_DEADLINE, |state| number(state, "time") > 1.0).await;
    driver.assert_clean("s").await;
}

fn client_clip(args: &[&str], name: &str) -> (PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("make folder");
    let file = dir.path().join(name);
    let mut all = vec!["-v", "error", "-y"];
    all.extend(args);
    all.push(file.to_str().expect("path"));
    program::output("ffmpeg", &all);
    (file, dir)
}

/// Player.js: a page of another site controls the player; a frame of a third site does not.
async fn an_embedding_page_controls_the_player(driver: &mut Driver, video: &str) {
    let path = format!("/embed/{video}?t=5&muted=1&loop=1");
    driver.open("h", &path, json!({ "embedded": true })).await;
    let state = driver
        .until("h", "the embedded picture is there", PAGE_DEADLINE, |state| {
            number(state, "ready") >= 2.0
        })
        .await;
    assert!(near(&state, 5.0) && state["muted"] == true && state["loop"] == true, "{state:#}");
    let ready = received(driver, "ready").await;
    assert!(ready["value"]["methods"].as_array().is_some_and(|all| all.len() >= 15), "{ready}");
    // The library takes a frame for ready only if this is the address that the page gave it.
    assert!(ready["value"]["src"].as_str().is_some_and(|src| src.ends_with(&path)), "{ready}");
    for event in ["play", "timeupdate", "seeked"] {
        call(driver, "addEventListener", json!(event)).await;
    }
    call(driver, "setCurrentTime", json!(12)).await;
    received(driver, "seeked").await;
    call(driver, "play", Value::Null).await;
    received(driver, "play").await;
    let time = received(driver, "timeupdate").await;
    assert!(number(&time["value"], "seconds") >= 11.9, "{time}");
    assert!((number(&time["value"], "duration") - f64::from(SECONDS)).abs() < 0.1, "{time}");
    call(driver, "pause", Value::Null).await;
    call(driver, "getPaused", Value::Null).await;
    assert_eq!(received(driver, "getPaused").await["value"], true);
    let before = driver.state("h").await;
    let seek = json!({ "context": "player.js", "version": "0.0.11", "method": "setCurrentTime", "value": 30 });
    driver.act("h", "post as stranger", json!({ "message": seek })).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = driver.state("h").await;
    assert_eq!(state["time"], before["time"], "a third site has moved the player");
    driver.assert_clean("h").await;
}

async fn call(driver: &mut Driver, method: &str, value: Value) {
    let message =
        json!({ "context": "player.js", "version": "0.0.11", "method": method, "value": value });
    driver.act("h", "post", json!({ "message": message })).await;
}

/// Waits for a message of the player and returns it.
async fn received(driver: &mut Driver, event: &str) -> Value {
    for _ in 0..100 {
        let all = driver.act("h", "received", json!({})).await;
        let found =
            all.as_array().expect("a list").iter().find(|got| got["data"]["event"] == event);
        if let Some(found) = found {
            return found["data"].clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the player never sent {event}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_use_parameters_keys_settings_and_resuming() {
    let stack = Stack::start().await;
    let video = publish(&stack.client(), &clip()).await;
    let mut driver = Driver::start(&stack.http).await;
    parameters_of_the_page(&mut driver, &video).await;
    keys_work_within_the_player_and_can_be_turned_off(&mut driver, &video).await;
    the_position_is_offered_when_the_video_is_opened_again(&mut driver, &video).await;
    a_video_without_pictures_has_a_label(&mut driver, &stack.client()).await;
    an_embedding_page_controls_the_player(&mut driver, &video).await;
    errors_have_messages_and_can_be_retried(&mut driver, &video).await;
}
