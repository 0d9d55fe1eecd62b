//! Ladders with several codecs, and videos without a video track, through the whole service.

use std::{fs, path::Path, time::Duration};

use serde_json::json;

use crate::{
    conformance::{Phase, dash, hls},
    growing::settled_dash,
    harness::{
        browser::Play,
        capture::{Capture, Track},
        clip::Numbered,
        picture, program,
        stack::Stack,
    },
};

const JOB_DEADLINE: Duration = Duration::from_secs(180);
const PLAY_DEADLINE: Duration = Duration::from_secs(60);

/// One rung per codec, each with its own height, with fast presets.
const LADDER: &str = r#"
[[profile]]
name = "low"
width = 320
height = 180
video_bitrate = "400k"
audio_bitrate = "64k"

[[profile]]
name = "mid-hevc"
width = 480
height = 270
video_bitrate = "350k"
audio_bitrate = "64k"
codec = "hevc"
preset = "ultrafast"

[[profile]]
name = "high-av1"
width = 640
height = 360
video_bitrate = "300k"
audio_bitrate = "64k"
codec = "av1"
preset = 12
"#;

async fn captured(stack: &Stack, video: &str) -> (Capture, Capture) {
    let viewer = stack.anonymous();
    let by_hls = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    hls::check(&by_hls, Phase::Final).assert_none("HLS");
    let by_dash = settled_dash(&viewer, &format!("/api/stream/{video}/dash/manifest.mpd")).await;
    dash::check(&by_dash, Phase::Final).assert_none("DASH");
    (by_hls, by_dash)
}

/// FFmpeg's name for a rendition's codec.
fn codec(track: &Track, dir: &Path) -> String {
    let file = track.write(dir);
    let entries = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"];
    let args = [&entries[..], &[file.to_str().expect("UTF-8 path")]].concat();
    String::from_utf8(program::output("ffprobe", &args)).expect("UTF-8").trim().to_owned()
}

async fn play(
    stack: &Stack,
    video: &str,
    player: &'static str,
    name: &str,
    seconds: f64,
) -> Vec<u64> {
    let play = Play {
        player,
        manifest: format!("/api/stream/{video}/{name}"),
        start: name.ends_with("mpd").then_some(0.0),
        switches: Vec::new(),
        text: None,
        deadline: PLAY_DEADLINE,
    };
    let report = play.run(&stack.http).await;
    report.assert_clean(seconds);
    report.heights()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_ladder_of_h264_hevc_and_av1_is_exact_and_plays() {
    let mut stack = Stack::new(&[]);
    let file = stack.beside().join("profiles.toml");
    fs::write(&file, LADDER).expect("write profiles");
    stack.set("STREAMING_PROFILES_FILE", file.to_str().expect("UTF-8 path"));
    stack.up().await;
    let client = stack.client();
    let clip = Numbered::seconds(6);
    let (video, job) = client.publish(&clip.file(), JOB_DEADLINE).await;
    let described = client.job(&job).await;
    assert_eq!(described["profiles"], json!(["low", "mid-hevc", "high-av1"]), "{described:#}");
    assert_eq!(described["preset"], "veryfast, ultrafast, 12", "{described:#}");
    let (by_hls, by_dash) = captured(&stack, &video).await;
    for tracks in [by_hls.hls_tracks(), by_dash.dash_tracks()] {
        let mut codecs = Vec::new();
        for track in &tracks {
            codecs.push((track.name.clone(), codec(track, stack.beside())));
            if !track.is_audio() {
                let found = picture::numbers(&track.write(stack.beside()));
                let expected: Vec<Option<u16>> =
                    (0..clip.frames()).map(|n| Some(n as u16)).collect();
                assert_eq!(found, expected, "{}", track.name);
            }
        }
        codecs.sort();
        let expected =
            [("audio-0", "aac"), ("high-av1", "av1"), ("low", "h264"), ("mid-hevc", "hevc")];
        assert_eq!(codecs, expected.map(|(name, codec)| (name.to_owned(), codec.to_owned())));
    }
    let playlist = by_hls.manifest_text();
    let first = playlist.lines().find(|line| line.starts_with("#EXT-X-STREAM-INF"));
    assert!(first.is_some_and(|line| line.contains("avc1.")), "{playlist}");
    // Chromium does not support HEVC: players skip that rung and use only one of the other codecs.
    for (player, name) in [("hls.js", "hls/playlist.m3u8"), ("shaka", "dash/manifest.mpd")] {
        let heights = play(&stack, &video, player, name, 6.0).await;
        assert!(heights == [180] || heights == [360], "{player}: {heights:?}");
    }
    let rejected = client
        .post(&format!("/api/videos/{video}/transcode"), &json!({"profiles": ["low", "720p"]}))
        .await
        .expect(422);
    assert!(rejected.text().contains("profiles[1]"), "{}", rejected.text());
    assert!(rejected.text().contains("low, mid-hevc, high-av1"), "{}", rejected.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audio_with_cover_art_plays_without_a_video_track() {
    let stack = Stack::start().await;
    let file = stack.beside().join("song.m4a");
    let path = file.to_str().expect("UTF-8 path");
    let cover = stack.beside().join("cover.png");
    let cover = cover.to_str().expect("UTF-8 path");
    program::output(
        "ffmpeg",
        &["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", cover],
    );
    let tone =
        ["-v", "error", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=7.3"];
    let attached = ["-i", cover, "-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "copy"];
    let rest = ["-ac", "2", "-disposition:v:0", "attached_pic", path];
    program::output("ffmpeg", &[&tone[..], &attached, &rest].concat());
    let client = stack.client();
    let reply = client.upload(&file, &[("title", "a song")]).await.expect(201).json();
    let metadata = &reply["metadata"];
    assert_eq!((&metadata["width"], &metadata["height"]), (&json!(0), &json!(0)), "{reply:#}");
    assert_eq!((&metadata["codec"], &metadata["fps"]), (&json!("aac"), &json!(0.0)), "{reply:#}");
    let video = reply["videoId"].as_str().expect("videoId");
    let job = client.transcode(video, &json!({"profiles": ["360p"]})).await;
    let job = client.wait_job(&job, "completed", JOB_DEADLINE).await;
    assert_eq!((&job["progress"], &job["profiles"]), (&json!(100.0), &json!([])), "{job:#}");
    assert!(
        job["notes"][0].as_str().is_some_and(|note| note.contains("no video track")),
        "{job:#}"
    );
    let (by_hls, by_dash) = captured(&stack, video).await;
    for tracks in [by_hls.hls_tracks(), by_dash.dash_tracks()] {
        let names: Vec<&str> = tracks.iter().map(|track| track.name.as_str()).collect();
        assert_eq!(names, ["audio-0"]);
    }
    let expected = metadata["duration"].as_f64().expect("duration");
    assert!((expected - 7.3).abs() < 0.06, "{metadata:#}");
    let listed = client.get(&format!("/api/videos/{video}")).await.expect(200).json();
    let [download] = listed["downloads"].as_array().expect("downloads").as_slice() else {
        panic!("one download: {listed:#}")
    };
    assert_eq!(download["profile"], "audio-0");
    let url = download["url"].as_str().expect("url");
    let reply = stack.anonymous().get(url).await.expect(200);
    assert_eq!(reply.header("content-type"), "audio/mp4");
    assert_eq!(reply.body.len() as u64, download["bytes"].as_u64().expect("bytes"));
    let downloaded = stack.beside().join("download.mp4");
    std::fs::write(&downloaded, &reply.body).expect("write");
    let seconds = program::output(
        "ffprobe",
        &[
            "-v",
            "error",
            "-show_entries",
            "format=duration:stream=codec_name",
            "-of",
            "csv=p=0",
            downloaded.to_str().expect("UTF-8 path"),
        ],
    );
    let seconds = String::from_utf8_lossy(&seconds).into_owned();
    let mut lines = seconds.lines();
    assert_eq!(lines.next(), Some("aac"), "{seconds}");
    let length: f64 = lines.next().and_then(|line| line.parse().ok()).expect("a duration");
    assert!((length - expected).abs() < 0.06, "{length} s of {expected} s");
    for (player, name) in [("hls.js", "hls/playlist.m3u8"), ("shaka", "dash/manifest.mpd")] {
        let heights = play(&stack, video, player, name, expected).await;
        assert!(heights.is_empty(), "{player}: {heights:?}");
    }
}
