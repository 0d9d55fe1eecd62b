//! A source in surround: its renditions follow the rules, copied sound keeps its bytes, and every
//! player plays the video in stereo by default.

use std::{path::Path, time::Duration};

use crate::{
    conformance::{self, Phase},
    growing::settled_dash,
    harness::{
        browser::Play,
        capture::{Capture, Track},
        clip, program,
        stack::Stack,
    },
};

/// Two chunks.
const SECONDS: u32 = 12;

/// The audio renditions that a player has read.
async fn read_by(stack: &Stack, video: &str, player: &'static str, name: &str) -> Vec<String> {
    let play = Play {
        player,
        manifest: format!("/api/stream/{video}/{name}"),
        start: name.ends_with("mpd").then_some(0.0),
        switches: Vec::new(),
        text: None,
        deadline: Duration::from_secs(75),
    };
    let report = play.run(&stack.http).await;
    report.assert_clean(f64::from(SECONDS));
    let read = report.summary["renditions"].as_array().cloned().unwrap_or_default();
    let read = read.iter().filter_map(|name| name.as_str());
    read.filter(|name| !name.ends_with('p')).map(str::to_owned).collect()
}

/// The units of a Dolby track in the order of the file.
fn units(file: &Path, format: &str) -> Vec<u8> {
    let path = file.to_str().expect("UTF-8 path");
    program::output(
        "ffmpeg",
        &["-v", "error", "-i", path, "-map", "0:a", "-c", "copy", "-f", format, "-"],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surround_plays_beside_stereo_in_every_player() {
    let file = clip::surround("ac3", SECONDS);
    let stack = Stack::start().await;
    let (video, _) = stack.client().publish(&file, Duration::from_secs(180)).await;
    let viewer = stack.anonymous();
    let hls = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    conformance::hls::check(&hls, Phase::Final).assert_none("HLS");
    let dash = settled_dash(&viewer, &format!("/api/stream/{video}/dash/manifest.mpd")).await;
    conformance::dash::check(&dash, Phase::Final).assert_none("DASH");
    for tracks in [hls.hls_tracks(), dash.dash_tracks()] {
        let sounds: Vec<&str> =
            tracks.iter().filter(|t| t.is_audio()).map(|t| t.name.as_str()).collect();
        assert_eq!(sounds, ["audio-0", "surround-0", "surround-1"]);
    }
    for (player, name) in [
        ("hls.js", "hls/playlist.m3u8"),
        ("shaka", "hls/playlist.m3u8"),
        ("shaka", "dash/manifest.mpd"),
        ("dash.js", "dash/manifest.mpd"),
    ] {
        let read = read_by(&stack, &video, player, name).await;
        assert_eq!(read, ["audio-0"], "{player} plays stereo of {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copied_sound_keeps_its_bytes() {
    let stack = Stack::start().await;
    for (codec, rfc6381) in [("ac3", "ac-3"), ("eac3", "ec-3")] {
        let file = clip::surround(codec, SECONDS);
        let (video, _) = stack.client().publish(&file, Duration::from_secs(180)).await;
        let path = format!("/api/stream/{video}/hls/playlist.m3u8");
        let captured = Capture::hls(&stack.anonymous(), &path).await;
        conformance::hls::check(&captured, Phase::Final).assert_none(codec);
        let playlist = captured.manifest_text();
        let group = format!("AUDIO=\"audio-surround-{codec}\"");
        let listed = |line: &&str| line.contains(&group) && line.contains(rfc6381);
        assert!(playlist.lines().any(|line| listed(&line)), "{playlist}");
        let tracks = captured.hls_tracks();
        let copied = tracks.iter().find(|track: &&Track| track.name == "surround-1");
        let served = units(&copied.expect("a copy").write(stack.beside()), codec);
        let source = units(&file, codec);
        // The last unit may be past the end of the video.
        let same = served.len().min(source.len());
        assert!(served[..same] == source[..same], "{codec}: the bytes differ");
        assert!(same + 2 * 4096 > source.len(), "{codec}: {same} of {} bytes", source.len());
    }
}
