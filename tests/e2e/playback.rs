//! A real clip plays to its end in Chromium with three players, without errors or stalls, and the
//! rung changes when the viewer selects another one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    growing::{last_dash, settled_dash},
    harness::{
        browser::{Play, Report},
        clip,
        clip::Numbered,
        stack::Stack,
    },
};

const SECONDS: u32 = 26;

async fn plays(stack: &Stack, video: &str, player: &'static str, name: &str) {
    let play = Play {
        player,
        manifest: format!("/api/stream/{video}/{name}"),
        start: name.ends_with("mpd").then_some(0.0),
        // hls.js keeps the segment behind the one that plays, so it switches at 14 s and at 24 s.
        switches: vec![(2.0, 480), (14.0, 360)],
        text: None,
        deadline: Duration::from_secs(75),
    };
    let report = play.run(&stack.http).await;
    report.assert_clean(f64::from(SECONDS));
    assert_eq!(report.heights(), [360, 480, 360], "{player} switches: {:#?}", report.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clip_plays_to_its_end_and_switches_by_hls() {
    let stack = Stack::start().await;
    let (video, _) =
        stack.client().publish(&clip::real_beginning(SECONDS), Duration::from_secs(180)).await;
    // One after another: several decoders on few cores would stall each other and hide stalls that
    // the service causes.
    plays(&stack, &video, "hls.js", "hls/playlist.m3u8").await;
    plays(&stack, &video, "shaka", "hls/playlist.m3u8").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clip_plays_to_its_end_and_switches_by_dash() {
    let stack = Stack::start().await;
    let (video, _) =
        stack.client().publish(&clip::real_beginning(SECONDS), Duration::from_secs(180)).await;
    settled_dash(&stack.anonymous(), &format!("/api/stream/{video}/dash/manifest.mpd")).await;
    plays(&stack, &video, "shaka", "dash/manifest.mpd").await;
    plays(&stack, &video, "dash.js", "dash/manifest.mpd").await;
}

/// The private clip. Its last segment of ten seconds is requested at 8 s, with [`Play::begin_renewing`]'s buffer.
const PRIVATE_SECONDS: u32 = 16;
/// The token has expired by then.
const TOKEN_SECONDS: u32 = 8;

/// Plays a private clip with a token that lives for less than the clip lasts.
async fn outlasts_its_token(stack: &Stack, video: &str, player: &'static str, manifest: &str) {
    let path = format!("/api/videos/{video}/playback-token");
    let minted =
        stack.client().post(&path, &json!({"ttlSeconds": TOKEN_SECONDS})).await.expect(200).json();
    let play = Play {
        player,
        manifest: minted[manifest].as_str().expect("a URL").to_owned(),
        start: (manifest == "dash").then_some(0.0),
        switches: Vec::new(),
        text: None,
        deadline: Duration::from_secs(75),
    };
    let report = play.begin_renewing(&stack.http, &minted).finish().await;
    report.assert_clean(f64::from(PRIVATE_SECONDS));
    let tokens = report.summary["tokens"].as_u64();
    assert!(tokens >= Some(2), "{player} read segments with {tokens:?} tokens");
    let first = minted[manifest].as_str().expect("a URL");
    assert_eq!(stack.anonymous().get(first).await.status, 403, "{player}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_renews_its_token_plays_a_private_clip_that_outlasts_the_first_one() {
    let stack = Stack::start_with(&[("STREAMING_DEFAULT_VISIBILITY", "private")]).await;
    let small =
        clip::Numbered { width: 320, height: 180, ..clip::Numbered::seconds(PRIVATE_SECONDS) };
    let (video, _) = stack.client().publish(&small.file(), Duration::from_secs(180)).await;
    for (player, manifest) in
        [("hls.js", "hls"), ("shaka", "hls"), ("shaka", "dash"), ("dash.js", "dash")]
    {
        outlasts_its_token(&stack, &video, player, manifest).await;
    }
}

fn play(player: &'static str, video: &str, name: &str) -> Play {
    Play {
        player,
        manifest: format!("/api/stream/{video}/{name}"),
        start: name.ends_with("mpd").then_some(0.0),
        switches: Vec::new(),
        text: None,
        deadline: Duration::from_secs(75),
    }
}

/// 81 frames at 20.2 frames per second: two GOPs of 40, and one frame, which hls.js does not play as a
/// segment of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_frame_after_the_last_full_gop_is_played() {
    let stack = Stack::start().await;
    let clip = Numbered { rate: (101, 5), ..Numbered::seconds(4) };
    let (video, _) = stack.client().publish(&clip.file(), Duration::from_secs(120)).await;
    settled_dash(&stack.anonymous(), &format!("/api/stream/{video}/dash/manifest.mpd")).await;
    for (player, name) in [
        ("hls.js", "hls/playlist.m3u8"),
        ("shaka", "hls/playlist.m3u8"),
        ("shaka", "dash/manifest.mpd"),
        ("dash.js", "dash/manifest.mpd"),
    ] {
        play(player, &video, name).run(&stack.http).await.assert_clean(81.0 * 5.0 / 101.0);
    }
}

/// Checks the thumbnails that a player found: the video has 15 tiles of two seconds, ten in a row.
fn assert_thumbnails(report: &Report, place: &str) {
    let found = report.summary["thumbnails"].as_array().cloned().unwrap_or_default();
    assert_eq!(found.len(), 3, "{place}: {:#}", report.summary);
    let number = |tile: &Value, name: &str| tile[name].as_f64().unwrap_or(-1.0);
    for (tile, (column, row)) in found.iter().zip([(0.0, 0.0), (2.0, 0.0), (4.0, 1.0)]) {
        let (width, height) = (number(tile, "width"), number(tile, "height"));
        assert_eq!(
            (number(tile, "x"), number(tile, "y")),
            (column * width, row * height),
            "{place}"
        );
        assert!(width.max(height) == 160.0, "{place}: {tile}");
        let url = tile["url"].as_str().unwrap_or_default();
        assert!(url.ends_with("/storyboard/0.jpg"), "{place}: {url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trick_play_and_thumbnails_are_found_in_both_manifests() {
    const SECONDS: u32 = 30;
    const THUMBNAILS: [f64; 3] = [0.5, 5.0, 29.5];
    let stack = Stack::start().await;
    let client = stack.client();
    let video = client.upload_clip(&Numbered::seconds(SECONDS).file()).await;
    let job = client.transcode(&video, &json!({"generateThumbnails": true})).await;
    client.wait_job(&job, "completed", Duration::from_secs(180)).await;
    last_dash(&stack.anonymous(), &format!("/api/stream/{video}/dash/manifest.mpd")).await;
    for name in ["hls/playlist.m3u8", "dash/manifest.mpd"] {
        let report = play("shaka", &video, name).run_fast(&stack.http, 4.0, &THUMBNAILS).await;
        report.assert_played(f64::from(SECONDS));
        assert_thumbnails(&report, name);
        assert!(report.summary["keyFrames"].as_u64() > Some(5), "{name}: {:#}", report.summary);
    }
    // The widths of the pictures that hls.js shows in an element for key frames.
    let report = play("hls.js", &video, "hls/playlist.m3u8");
    let report = report.run_fast(&stack.http, 2.0, &THUMBNAILS).await;
    report.assert_played(f64::from(SECONDS));
    let shown = report.summary["thumbnails"].as_array().into_iter().flatten();
    let widths: Vec<Option<u64>> = shown.map(|frame| frame["width"].as_u64()).collect();
    assert_eq!(widths, [Some(640); 3], "{:#}", report.summary);
    assert!(report.summary["keyFrames"].as_u64() >= Some(3), "{:#}", report.summary);
    let report = play("dash.js", &video, "dash/manifest.mpd");
    let report = report.run_fast(&stack.http, 2.0, &THUMBNAILS).await;
    report.assert_played(f64::from(SECONDS));
    assert_thumbnails(&report, "dash.js");
}
