//! A real clip plays to its end in Chromium with three players, without errors or stalls, and the
//! rung changes when the viewer selects another one.

use std::time::Duration;

use serde_json::json;

use crate::{
    growing::settled_dash,
    harness::{browser::Play, clip, stack::Stack},
};

const SECONDS: f64 = 30.0;

async fn plays(stack: &Stack, video: &str, player: &'static str, name: &str) {
    let play = Play {
        player,
        manifest: format!("/api/stream/{video}/{name}"),
        start: name.ends_with("mpd").then_some(0.0),
        // Back to the lower rung well before the end, so that both switches are observed.
        switches: vec![(2.0, 480), (14.0, 360)],
        text: None,
        deadline: Duration::from_secs(75),
    };
    let report = play.run(&stack.http).await;
    report.assert_clean(SECONDS);
    assert_eq!(report.heights(), [360, 480, 360], "{player} switches: {:#?}", report.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clip_plays_to_its_end_and_switches_by_hls() {
    let stack = Stack::start().await;
    let (video, _) = stack.client().publish(&clip::real(), Duration::from_secs(180)).await;
    // One after another: several decoders on few cores would stall each other and hide stalls that
    // the service causes.
    plays(&stack, &video, "hls.js", "hls/playlist.m3u8").await;
    plays(&stack, &video, "shaka", "hls/playlist.m3u8").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clip_plays_to_its_end_and_switches_by_dash() {
    let stack = Stack::start().await;
    let (video, _) = stack.client().publish(&clip::real(), Duration::from_secs(180)).await;
    settled_dash(&stack.anonymous(), &format!("/api/stream/{video}/dash/manifest.mpd")).await;
    plays(&stack, &video, "shaka", "dash/manifest.mpd").await;
    plays(&stack, &video, "dash.js", "dash/manifest.mpd").await;
}

/// Plays a private clip with a token that lives for less than the clip lasts.
async fn outlasts_its_token(stack: &Stack, video: &str, player: &'static str, manifest: &str) {
    let path = format!("/api/videos/{video}/playback-token");
    let minted = stack.client().post(&path, &json!({"ttlSeconds": 24})).await.expect(200).json();
    let play = Play {
        player,
        manifest: minted[manifest].as_str().expect("a URL").to_owned(),
        start: (manifest == "dash").then_some(0.0),
        switches: Vec::new(),
        text: None,
        deadline: Duration::from_secs(75),
    };
    play.begin_renewing(&stack.http, &minted).finish().await.assert_clean(SECONDS);
    // The first token has expired, so the player has used renewed ones.
    let first = minted[manifest].as_str().expect("a URL");
    assert_eq!(stack.anonymous().get(first).await.status, 403, "{player}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_renews_its_token_plays_a_private_clip_that_outlasts_the_first_one() {
    let stack = Stack::start_with(&[("STREAMING_DEFAULT_VISIBILITY", "private")]).await;
    let (video, _) = stack.client().publish(&clip::real(), Duration::from_secs(180)).await;
    for (player, manifest) in
        [("hls.js", "hls"), ("shaka", "hls"), ("shaka", "dash"), ("dash.js", "dash")]
    {
        outlasts_its_token(&stack, &video, player, manifest).await;
    }
}
