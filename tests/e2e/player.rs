//! The player on `/watch/{id}` and `/embed/{id}`, in Chromium: a growing video behaves like one that
//! is there as a whole, and everything else that viewers use.
//!
//! Times are those of docs/player.md; a test allows three times as much, because other tests run
//! beside it.

mod embeds;
mod features;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    browser::Play,
    client::Client,
    clip::Numbered,
    driver::{Driver, events, number},
    eventually, m3u8,
    script::{Behaviour, Ffmpeg},
    stack::Stack,
};

/// The long video: 10 minutes of 10 frames per second.
const SECONDS: u32 = 600;
const FRAMES_PER_SECOND: f64 = 10.0;
/// Chunks that begin at 12 % or later are held; the last one before ends at 84 s.
const HELD: u32 = 72;
/// The longest segment.
const SEGMENT_SECONDS: f64 = 10.0;
const PLAYABLE_DEADLINE: Duration = Duration::from_secs(60);
const ENCODE_DEADLINE: Duration = Duration::from_secs(180);
/// From the moment at which a segment is listed until it plays: three times 2 s.
const RESUME_DEADLINE: Duration = Duration::from_secs(6);
/// The stall of the encoder.
const STALL: Duration = Duration::from_secs(60);
/// For what a page does by itself, without the encoder.
const PAGE_DEADLINE: Duration = Duration::from_secs(20);

fn long_clip() -> Numbered {
    Numbered { rate: (10, 1), width: 160, height: 90, ..Numbered::seconds(SECONDS) }
}

/// A service whose encodes wait as `behaviour` specifies.
async fn held_stack(behaviour: Behaviour) -> (Stack, Ffmpeg) {
    let mut stack =
        Stack::new(&[("STREAMING_WORKER_SLOTS", "1"), ("STREAMING_WORKER_STALL", "10m")]);
    let script = Ffmpeg::new(stack.beside(), behaviour);
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    (stack, script)
}

/// The end of the lowest rung's playlist in seconds; 0 while nothing is playable.
async fn listed(viewer: &Client, video: &str) -> f64 {
    let path = format!("/api/stream/{video}/hls/playlist.m3u8");
    let reply = viewer.get(&path).await;
    if reply.status != 200 {
        return 0.0;
    }
    let list = m3u8::multivariant(&reply.text()).expect("multivariant playlist");
    let path = crate::harness::capture::resolve(&path, &list.variants[0].1);
    let text = viewer.get(&path).await.expect(200).text();
    let list = m3u8::media(&text).expect("media playlist");
    list.segments.iter().map(|segment| segment.duration).sum()
}

async fn wait_listed(viewer: &Client, video: &str, seconds: f64) -> Instant {
    eventually("the segments are listed", ENCODE_DEADLINE, async || {
        (listed(viewer, video).await >= seconds).then(Instant::now)
    })
    .await
}

/// Players of others on the manifests of a video of which one eighth is encoded.
async fn other_players_start_at_zero(stack: &Stack, video: &str) {
    let players = [
        ("hls.js", "hls/playlist.m3u8", None),
        ("video.js", "hls/playlist.m3u8", None),
        ("shaka", "hls/playlist.m3u8", None),
        ("shaka", "dash/manifest.mpd", Some(0.0)),
        ("dash.js", "dash/manifest.mpd", Some(0.0)),
    ];
    for (player, name, start) in players {
        let manifest = format!("/api/stream/{video}/{name}");
        let deadline = Duration::from_secs(30);
        let play = Play { player, manifest, start, switches: Vec::new(), text: None, deadline };
        let playing = play.begin(&stack.http).until("playing", 0.0).await;
        assert!(number(&playing, "time") < 0.5, "{player} {name} starts at {playing}");
    }
}

async fn the_bar_has_the_whole_length(driver: &mut Driver, video: &str) {
    let status = driver.open("watch", &format!("/watch/{video}?muted=1"), json!({})).await;
    assert_eq!(status, 200);
    let state = driver
        .until("watch", "the picture is there", PAGE_DEADLINE, |state| {
            number(state, "ready") >= 2.0
        })
        .await;
    assert!((number(&state, "duration") - f64::from(SECONDS)).abs() < 0.1, "{state:#}");
    assert!(number(&state, "time") < 0.5, "{state:#}");
    let shade = number(&state["shade"], "from") * f64::from(SECONDS);
    assert!((shade - 84.0).abs() <= SEGMENT_SECONDS, "the shade begins at {shade} s: {state:#}");
    assert!((number(&state["shade"], "to") - 1.0).abs() < 0.01, "{state:#}");
    let value = state["value"].as_str().expect("a value text");
    assert!(value.contains("10 minutes") && value.contains("encoded to 1:24"), "{value}");
    let texts: Vec<String> = serde_json::from_value(state["texts"].clone()).expect("texts");
    let live = texts.iter().find(|text| {
        text.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|word| word == "live")
    });
    assert_eq!(live, None, "{texts:?}");
    assert!(state["source"].as_str().unwrap_or_default().starts_with("blob:"), "{state:#}");
}

async fn native_support_is_not_believed(driver: &mut Driver, video: &str) {
    let path = format!("/watch/{video}?muted=1");
    driver.open("native", &path, json!({ "native": true })).await;
    let state = driver
        .until("native", "the picture is there", PAGE_DEADLINE, |state| {
            number(state, "ready") >= 2.0
        })
        .await;
    assert!(state["source"].as_str().unwrap_or_default().starts_with("blob:"), "{state:#}");
    driver.act("native", "close", json!({})).await;
}

/// Plays into the edge, stays there for the length of the stall, and goes on.
async fn a_stall_keeps_the_position(
    driver: &mut Driver,
    stack: &Stack,
    script: &Ffmpeg,
    video: &str,
) {
    let begun = Instant::now();
    driver.act("watch", "seek", json!({ "to": 82 })).await;
    driver.act("watch", "play", json!({})).await;
    let waiting = |state: &Value| state["status"] == "Waiting for the encoder";
    let before = driver.until("watch", "playback waits", PAGE_DEADLINE, waiting).await;
    assert!((number(&before, "time") - 84.0).abs() < 0.5, "{before:#}");
    other_players_start_at_zero(stack, video).await;
    tokio::time::sleep(STALL.saturating_sub(begun.elapsed())).await;
    let after = driver.state("watch").await;
    assert!(waiting(&after) && after["problem"].is_null(), "{after:#}");
    assert!((number(&after, "time") - number(&before, "time")).abs() < 0.1, "{after:#}");
    script.set(Behaviour::Until(HELD + 20));
    let listed = wait_listed(&stack.anonymous(), video, 100.0).await;
    let on = driver
        .until("watch", "playback goes on", PAGE_DEADLINE, |state| number(state, "time") > 84.3)
        .await;
    assert!(listed.elapsed() < RESUME_DEADLINE, "{:?}: {on:#}", listed.elapsed());
    for kind in ["jump", "error"] {
        assert!(events(&on, kind).is_empty(), "{on:#}");
    }
}

/// A click behind the edge is remembered, and playback jumps there when the position is listed.
async fn a_seek_beyond_the_edge_waits(
    driver: &mut Driver,
    stack: &Stack,
    script: &Ffmpeg,
    video: &str,
) {
    driver.act("watch", "click bar", json!({ "share": 0.8 })).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = driver.state("watch").await;
    assert!(number(&state, "time") < 105.0, "{state:#}");
    let status = state["status"].as_str().unwrap_or_default();
    assert!(status.starts_with("8:0") || status.starts_with("7:59"), "{status}");
    script.set(Behaviour::Until(500));
    let listed = wait_listed(&stack.anonymous(), video, 485.0).await;
    let state = driver
        .until("watch", "playback jumps to 80 %", PAGE_DEADLINE, |state| {
            number(state, "time") > 475.0
        })
        .await;
    assert!(listed.elapsed() < RESUME_DEADLINE, "{:?}: {state:#}", listed.elapsed());
    assert!((number(&state, "time") - 480.0).abs() < 8.0 && state["paused"] == false, "{state:#}");
    assert!(state["status"].is_null(), "the notice is gone: {state:#}");
}

/// The end of the encoding changes nothing; then the video ends at its end.
async fn the_end_of_the_encoding_is_silent(
    driver: &mut Driver,
    script: &Ffmpeg,
    client: &Client,
    job: &str,
) {
    driver.state("watch").await;
    script.set(Behaviour::Unchanged);
    client.wait_job(job, "completed", ENCODE_DEADLINE).await;
    let state = driver
        .until("watch", "the shade is gone", PAGE_DEADLINE, |state| state["shade"].is_null())
        .await;
    for kind in ["seeking", "jump", "waiting", "error"] {
        assert!(events(&state, kind).is_empty(), "{state:#}");
    }
    assert_eq!(state["paused"], false, "{state:#}");
    driver.act("watch", "seek", json!({ "to": SECONDS - 1 })).await;
    let end = driver
        .until("watch", "the video ends", PAGE_DEADLINE, |state| state["ended"] == true)
        .await;
    assert_eq!(events(&end, "ended").len(), 1, "{end:#}");
    let shown = driver.number("watch", Value::Null).await;
    assert_eq!(shown, Some(SECONDS as u16 * 10 - 1), "the last picture");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_of_which_an_eighth_is_encoded_plays_as_if_it_were_complete() {
    let (stack, script) = held_stack(Behaviour::Until(HELD)).await;
    let video = stack.client().upload_clip(&long_clip().file()).await;
    let job = stack.client().transcode(&video, &json!({ "generateThumbnails": true })).await;
    let mut driver = Driver::start(&stack.http).await;
    wait_listed(&stack.anonymous(), &video, 84.0).await;
    the_bar_has_the_whole_length(&mut driver, &video).await;
    native_support_is_not_believed(&mut driver, &video).await;
    a_stall_keeps_the_position(&mut driver, &stack, &script, &video).await;
    a_seek_beyond_the_edge_waits(&mut driver, &stack, &script, &video).await;
    the_end_of_the_encoding_is_silent(&mut driver, &script, &stack.client(), &job).await;
    driver.assert_clean("watch").await;
    a_storyboard_tile_shows_its_frame(&mut driver, &video).await;
}

/// The time between two tiles of the long video.
const TILE_SECONDS: f64 = 2.0;

async fn a_storyboard_tile_shows_its_frame(driver: &mut Driver, video: &str) {
    driver.open("story", &format!("/watch/{video}?muted=1"), json!({})).await;
    driver
        .until("story", "the picture is there", PAGE_DEADLINE, |state| {
            number(state, "ready") >= 2.0
        })
        .await;
    for share in [0.1, 0.37, 0.5, 0.93] {
        let preview = driver.act("story", "hover bar", json!({ "share": share })).await;
        let tile = json!({ "url": preview["url"], "box": preview["box"] });
        let shown = driver.number("story", tile).await.expect("a readable tile");
        let (shown, pointed) = (f64::from(shown) / FRAMES_PER_SECOND, number(&preview, "time"));
        assert!((pointed - share * f64::from(SECONDS)).abs() < 5.0, "{preview}");
        assert!((shown - pointed).abs() <= 2.0 * TILE_SECONDS, "{shown} s at {pointed} s");
    }
    driver.assert_clean("story").await;
}

/// The rung that is held, beside 360p.
const LATE_RUNG: &str = "480p";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rungs_and_text_tracks_that_appear_later_are_offered_in_the_same_session() {
    let (stack, script) = held_stack(Behaviour::HoldRung(LATE_RUNG)).await;
    let clip = Numbered { rate: (10, 1), width: 854, height: 480, ..Numbered::seconds(24) };
    let video = stack.client().upload_clip(&clip.file()).await;
    let job = stack.client().transcode(&video, &json!({})).await;
    let mut driver = Driver::start(&stack.http).await;
    // The page is open before anything is playable, and fills itself.
    let page = format!("/watch/{video}?muted=1&autoplay=1&cc=de");
    assert_eq!(driver.open("a", &page, json!({})).await, 200);
    wait_listed(&stack.anonymous(), &video, 4.0).await;
    driver
        .until("a", "the first part plays", PLAYABLE_DEADLINE, |state| number(state, "time") > 1.0)
        .await;
    driver.act("a", "click", json!({ "selector": "[data-part=settings]" })).await;
    let options = driver.act("a", "options", json!({ "name": "quality" })).await;
    assert_eq!(options, json!(["Auto (360p)", "360p"]));
    let path = format!("/api/videos/{video}/captions?language=de");
    let text = "WEBVTT\n\n00:00.000 --> 00:30.000\nspäter\n";
    let headers = [("content-type", "text/vtt")];
    let sent = stack.client().send(hyper::Method::POST, &path, &headers, text.into()).await;
    sent.expect("POST").expect(201);
    driver.state("a").await;
    script.set(Behaviour::Unchanged);
    stack.client().wait_job(&job, "completed", ENCODE_DEADLINE).await;
    let state = driver
        .until("a", "the text is shown", PAGE_DEADLINE, |state| {
            state["tracks"][0]["cues"] == json!(["später"]) && state["shade"].is_null()
        })
        .await;
    for kind in ["seeking", "jump", "error"] {
        assert!(events(&state, kind).is_empty(), "{state:#}");
    }
    let options = driver.act("a", "options", json!({ "name": "quality" })).await;
    let names: Vec<&str> =
        options.as_array().expect("options").iter().filter_map(Value::as_str).collect();
    assert_eq!(names[1..], ["480p", "360p"], "{options}");
    // The buffered part behind the playhead stays.
    driver.act("a", "seek", json!({ "to": 2 })).await;
    driver.act("a", "choose", json!({ "name": "quality", "label": LATE_RUNG })).await;
    driver.act("a", "play", json!({})).await;
    driver
        .until("a", "the chosen rung is shown", PAGE_DEADLINE, |state| state["height"] == 480)
        .await;
    driver.assert_clean("a").await;
}
