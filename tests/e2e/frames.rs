//! Every frame of every rendition appears exactly once, in order and at the correct time, across
//! all chunk boundaries, in HLS and in DASH.

use std::{path::Path, time::Duration};

use crate::{
    conformance::{self, Phase, Violations, dash, hls},
    harness::{
        capture::{Capture, Track},
        clip::Numbered,
        picture, process, program,
        stack::Stack,
    },
};

/// Time allowed for encoding one video on a busy machine.
const ENCODE_DEADLINE: Duration = Duration::from_secs(300);

async fn exact(clip: Numbered, rungs: usize) {
    let file = clip.file();
    let stack = Stack::start().await;
    let client = stack.client();
    let (video, _) = client.publish(&file, ENCODE_DEADLINE).await;
    let viewer = stack.anonymous();

    let playlist = format!("/api/stream/{video}/hls/playlist.m3u8");
    let captured = Capture::hls(&viewer, &playlist).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    let tracks = captured.hls_tracks();
    assert_eq!(tracks.iter().filter(|track| !track.is_audio()).count(), rungs, "rungs of HLS");
    assert_frames(&clip, &tracks, stack.beside());

    let manifest = format!("/api/stream/{video}/dash/manifest.mpd");
    let captured = super::growing::settled_dash(&viewer, &manifest).await;
    dash::check(&captured, Phase::Final).assert_none("DASH");
    let tracks = captured.dash_tracks();
    assert_eq!(tracks.iter().filter(|track| !track.is_audio()).count(), rungs, "rungs of DASH");
    assert_frames(&clip, &tracks, stack.beside());
    assert!(process::alive(stack.up_pid()), "the service runs on");
}

fn assert_frames(clip: &Numbered, tracks: &[Track], dir: &Path) {
    let mut violations = Violations::default();
    let parsed = conformance::parse(tracks, &mut violations);
    violations.assert_none("fragments");
    for (track, boxes) in tracks.iter().zip(&parsed) {
        let file = track.write(dir);
        if track.is_audio() {
            sound(clip, boxes);
            continue;
        }
        let expected: Vec<Option<u16>> = (0..clip.frames()).map(|n| Some(n as u16)).collect();
        let found = picture::numbers(&file);
        let wrong = expected.iter().zip(&found).position(|(a, b)| a != b);
        assert!(
            wrong.is_none(),
            "{}: frame {wrong:?} shows {:?}",
            track.name,
            found[wrong.unwrap_or(0)]
        );
        assert_eq!(found.len(), expected.len(), "{}: count of frames", track.name);
        times(clip, track, boxes, &file);
    }
}

/// Checks the frame times as this test's parser and as ffprobe read them.
fn times(clip: &Numbered, track: &Track, boxes: &conformance::Parsed, file: &Path) {
    let (num, den) = (u64::from(clip.rate.0), u64::from(clip.rate.1));
    let due = |frame: usize| frame as u64 * den * u64::from(boxes.init.timescale) / num;
    let fragments = boxes.segments.iter().flat_map(|segment| &segment.fragments);
    let mut own: Vec<i64> =
        fragments.flat_map(|fragment| fragment.times(boxes.init.delay)).collect();
    own.sort_unstable();
    let entries = ["-show_entries", "packet=pts", "-of", "csv=p=0"];
    let path = file.to_str().expect("UTF-8 path");
    let args = [&["-v", "error", "-select_streams", "v:0"][..], &entries, &[path]].concat();
    let text = String::from_utf8(program::output("ffprobe", &args)).expect("UTF-8");
    let number = |line: &str| line.trim_end_matches(',').parse().ok();
    let mut theirs: Vec<i64> = text.lines().filter_map(number).collect();
    theirs.sort_unstable();
    for (reader, times) in [("boxes", own), ("ffprobe", theirs)] {
        assert_eq!(times.len() as u64, clip.frames(), "{} by {reader}", track.name);
        for (frame, time) in times.iter().enumerate() {
            let off = (time - due(frame) as i64).abs();
            assert!(
                off <= 1,
                "{} by {reader}: frame {frame} at {time} not {}",
                track.name,
                due(frame)
            );
        }
    }
}

/// Every AAC frame has its full length, and the audio is shorter than the video by less than one
/// AAC frame.
fn sound(clip: &Numbered, boxes: &conformance::Parsed) {
    let samples = boxes.segments.iter().flat_map(|s| &s.fragments).flat_map(|f| &f.samples);
    assert!(samples.clone().all(|sample| sample.duration == 1024), "{}: AAC frames", boxes.name);
    let total: u64 = samples.map(|sample| u64::from(sample.duration)).sum();
    let due = clip.frames() as f64 * f64::from(clip.rate.1) / f64::from(clip.rate.0) * 48_000.0;
    let missing = due - total as f64;
    assert!((0.0..1024.0).contains(&missing), "{}: {total} samples instead of {due}", boxes.name);
}

/// GOPs of 40 frames: the remainder of one frame would be chunk 1, that of two frames a GOP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_where_the_last_gop_takes_a_remainder() {
    exact(Numbered { rate: (101, 5), ..Numbered::seconds(4) }, 1).await;
    exact(Numbered { rate: (101, 5), ..Numbered::seconds(10) }, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_24() {
    exact(Numbered { rate: (24, 1), ..Numbered::seconds(46) }, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_25_from_mkv() {
    exact(Numbered { container: "mkv", width: 854, height: 480, ..Numbered::seconds(46) }, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_29_97_in_three_rungs() {
    let clip = Numbered { rate: (30_000, 1001), width: 1280, height: 720, ..Numbered::seconds(46) };
    exact(clip, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_50() {
    exact(Numbered { rate: (50, 1), ..Numbered::seconds(45) }, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_60() {
    exact(Numbered { rate: (60, 1), width: 854, height: 480, ..Numbered::seconds(45) }, 2).await;
}
