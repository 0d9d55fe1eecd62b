//! Sources of unusual dimensions, lengths and tracks, and requests that turn off a manifest.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    conformance::{Phase, dash, hls},
    harness::{
        CHANGE_DEADLINE,
        capture::{Capture, Track},
        client::Client,
        clip::{self, Numbered},
        eventually, picture, program,
        stack::Stack,
    },
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);

/// Checks both manifests and every frame of a published video; returns its HLS renditions.
async fn checked(stack: &Stack, video: &str, clip: Numbered) -> Vec<Track> {
    let viewer = stack.anonymous();
    let captured = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    let manifest = format!("/api/stream/{video}/dash/manifest.mpd");
    let mpd = super::growing::settled_dash(&viewer, &manifest).await;
    dash::check(&mpd, Phase::Final).assert_none("DASH");
    let tracks = captured.hls_tracks();
    for track in tracks.iter().filter(|track| !track.is_audio()) {
        let found = picture::numbers(&track.write(stack.beside()));
        let expected: Vec<Option<u16>> = (0..clip.frames()).map(|n| Some(n as u16)).collect();
        assert_eq!(found, expected, "{clip:?} {}", track.name);
    }
    tracks
}

fn size(track: &Track) -> (u32, u32) {
    let init = crate::conformance::fmp4::init(&track.init).expect("init");
    (init.width, init.height)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_sources_are_transcoded_correctly() {
    let stack = Stack::start().await;
    let client = stack.client();
    let clip = Numbered::seconds(9);
    let portrait = Numbered { width: 480, height: 854, ..clip };
    let small = Numbered { width: 320, height: 180, ..clip };
    let silent = Numbered { audio: false, ..clip };
    // Exactly one GOP (2 s), one and a half GOPs, and exactly chunk 0 (4 s).
    let short = [2, 3, 4].map(|seconds| Numbered { seconds, ..clip });
    let mut sizes = Vec::new();
    let mut videos = Vec::new();
    for clip in [&[portrait, small, silent][..], &short].concat() {
        videos.push((client.publish(&clip.file(), JOB_DEADLINE).await.0, clip));
    }
    for (video, clip) in &videos {
        let tracks = checked(&stack, video, *clip).await;
        assert_eq!(tracks.iter().any(Track::is_audio), clip.audio, "{clip:?}");
        sizes.push(tracks.iter().filter(|t| !t.is_audio()).map(size).collect::<Vec<_>>());
    }
    assert_eq!(sizes[0], [(360, 640), (480, 854)], "the short side of a portrait video is bounded");
    assert_eq!(sizes[1], [(320, 180)], "a small video is not enlarged");
    let metadata = &client.get(&format!("/api/videos/{}", videos[0].0)).await.json()["metadata"];
    assert_eq!((&metadata["width"], &metadata["height"]), (&json!(480), &json!(854)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_replies_with_the_metadata_of_the_source() {
    let stack = Stack::start().await;
    let client = stack.client();
    let fields =
        [("title", "Big Buck Bunny"), ("description", "a rabbit"), ("visibility", "private")];
    let reply = client.upload(&clip::real(), &fields).await.expect(201).json();
    assert!(reply["message"].is_string(), "{reply:#}");
    let metadata = &reply["metadata"];
    assert_eq!(metadata["width"], 854, "{reply:#}");
    assert_eq!(metadata["height"], 480, "{reply:#}");
    assert_eq!(metadata["codec"], "h264", "{reply:#}");
    assert_eq!(metadata["fps"], 24.0, "{reply:#}");
    let near = |key: &str, value: f64, slack: f64| {
        let found = metadata[key].as_f64().unwrap_or(f64::NAN);
        assert!((found - value).abs() <= slack, "{key}: {reply:#}");
    };
    near("duration", 30.0, 0.05);
    near("bitrate", 1_104_000.0, 20_000.0);
    assert!(metadata["format"].as_str().is_some_and(|format| format.contains("mp4")), "{reply:#}");
    let id = reply["videoId"].as_str().expect("videoId");
    let video = client.get(&format!("/api/videos/{id}")).await.expect(200).json();
    for (key, value) in fields {
        assert_eq!(video[key], value, "{video:#}");
    }
    assert_eq!(video["state"], "uploaded", "{video:#}");
    assert!(video["createdAt"].is_string(), "{video:#}");
}

async fn without(
    stack: &Stack,
    client: &Client,
    video: &str,
    request: Value,
    gone: &str,
    there: &str,
) {
    let job = client.transcode(video, &request).await;
    client.wait_job(&job, "completed", JOB_DEADLINE).await;
    let viewer = stack.anonymous();
    let path = format!("/api/stream/{video}/{gone}");
    let reply = eventually("the manifest is switched off", CHANGE_DEADLINE, async || {
        let reply = viewer.get(&path).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert_eq!(reply.status, 404, "{request}: {}", reply.text());
    assert_eq!(reply.json()["code"], "manifest_disabled", "{request}: the code names the reason");
    viewer.get(&format!("/api/stream/{video}/{there}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_manifest_is_404_with_its_code() {
    let stack = Stack::start().await;
    let client = stack.client();
    let (hls, dash) = ("hls/playlist.m3u8", "dash/manifest.mpd");
    let video = client.upload_clip(&Numbered::seconds(4).file()).await;
    without(&stack, &client, &video, json!({"generateDASH": false}), dash, hls).await;
    without(&stack, &client, &video, json!({"generateHLS": false}), hls, dash).await;
}

/// Audio that starts late and stops early is padded, so that its presentation times stay the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_audio_keeps_its_time() {
    let stack = Stack::start().await;
    let clip = Numbered { audio: false, ..Numbered::seconds(9) }.file();
    let file = stack.beside().join("late.mkv");
    let args = [
        "-v",
        "error",
        "-i",
        clip.to_str().expect("path"),
        "-itsoffset",
        "2",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=1000:sample_rate=44100:duration=3",
        "-c:v",
        "copy",
        "-c:a",
        "pcm_s16le",
        file.to_str().expect("path"),
    ];
    program::output("ffmpeg", &args);
    let (video, _) = stack.client().publish(&file, JOB_DEADLINE).await;
    let captured =
        Capture::hls(&stack.anonymous(), &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    let tracks = captured.hls_tracks();
    let sound = tracks.iter().find(|track| track.is_audio()).expect("sound").write(stack.beside());
    let args = ["-v", "error", "-i", sound.to_str().expect("path"), "-f", "s16le", "-ac", "1", "-"];
    let pcm = program::output("ffmpeg", &args);
    let samples: Vec<i16> = pcm.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let loud = |level: &i16| level.saturating_abs() > 1000;
    let begin = samples.iter().position(loud).expect("a tone") as f64 / 48_000.0;
    let end = samples.iter().rposition(loud).expect("a tone") as f64 / 48_000.0;
    assert!((begin - 2.0).abs() < 0.04, "the tone begins at {begin} s");
    assert!((end - 5.0).abs() < 0.04, "the tone ends at {end} s");
    assert!((samples.len() as f64 / 48_000.0 - 9.0).abs() < 0.05, "audio is as long as the video");
}
