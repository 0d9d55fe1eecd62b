//! Reads generated HLS and DASH with FFmpeg: every frame once, from 0, without drift.

use std::path::Path;

use media::{fmp4::samples, segment::SegmentName};

use crate::{
    ffmpeg::{Folder, run},
    fixture::{fixture, grid},
};

/// Sorted presentation times of one stream of `url`, in microseconds.
fn micros(url: &str, stream: &str, root: &Path) -> Vec<i64> {
    // FFmpeg's DASH reader resolves relative URLs against absolute paths only.
    let url = root.join(url).display().to_string();
    #[rustfmt::skip]
    let arguments = [
        "-v", "error", "-select_streams", stream, "-show_entries", "packet=pts_time",
        "-of", "csv=p=0", &url,
    ];
    let out = String::from_utf8(run("ffprobe", &arguments, root)).unwrap();
    let lines = out.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty());
    let mut times: Vec<i64> =
        lines.map(|line| (line.parse::<f64>().unwrap() * 1e6).round() as i64).collect();
    times.sort_unstable();
    times
}

#[test]
fn players_show_every_frame_from_zero_without_drift() {
    let rates = [(24, 1), (25, 1), (30_000, 1001), (50, 1), (60, 1)];
    let one_second = rates.map(|(num, den)| grid(num, den, u64::from(num / den) * 5 + 1));
    // The last GOP of chunk 0 takes a frame that would otherwise be chunk 1.
    let one_frame = grid(25, 1, 101).with_joined_remainder();
    for grid in one_second.into_iter().chain([one_frame]) {
        let (num, den) = (grid.rate().num(), grid.rate().den());
        let folder = Folder::new();
        fixture(grid, &folder).lay_out(folder.path(), i64::MAX);
        let sound: Vec<i64> = (0..grid.audio_frames_total() as i64)
            .map(|n| (n * 1024 * 1_000_000 + 24_000) / 48_000)
            .collect();
        let picture: Vec<i64> =
            (0..grid.frames()).map(|n| (grid.seconds(n) * 1e6).round() as i64).collect();
        for url in ["hls/playlist.m3u8", "dash/manifest.mpd"] {
            for (stream, expected) in [("v:0", &picture), ("v:1", &picture), ("a:0", &sound)] {
                let found = micros(url, stream, folder.path());
                assert_eq!(found.len(), expected.len(), "{url} {stream} at {num}/{den}");
                for (found, expected) in found.iter().zip(expected) {
                    assert!(found.abs_diff(*expected) <= 1, "{url} {stream}: {found} {expected}");
                }
            }
        }
        let decode = ["-v", "error", "-xerror", "-i", "hls/playlist.m3u8", "-f", "null", "-"];
        run("ffmpeg", &decode, folder.path());
    }
}

/// A player appends only key frames, one after another.
#[test]
fn key_frames_are_complete_fragments_that_fill_the_time_of_their_gops() {
    let folder = Folder::new();
    let grid = grid(25, 1, 12 * 50 + 7).with_joined_remainder();
    let fixture = fixture(grid, &folder);
    let mut all = fixture.bytes("90p", SegmentName::Init).unwrap();
    for gop in 0..grid.gops() {
        let frame = fixture.bytes("90p", SegmentName::KeyFrame(gop)).unwrap();
        let whole = [all.as_slice(), &frame].concat();
        let samples = samples(&whole).unwrap();
        let sample = samples.last().unwrap();
        assert_eq!(samples.len(), gop as usize + 1, "one sample each");
        let (frames, ticks) = (grid.gop(gop), u64::from(grid.rate().frame_ticks()));
        assert_eq!(sample.decode_time, frames.start * ticks);
        assert_eq!(u64::from(sample.duration), (frames.end - frames.start) * ticks);
        assert!(sample.sync && !sample.data.is_empty());
        all = whole;
    }
    assert_eq!(fixture.bytes("90p", SegmentName::KeyFrame(grid.gops())), None);
    assert_eq!(fixture.bytes("audio-0", SegmentName::KeyFrame(0)), None);
    std::fs::write(folder.path().join("frames.mp4"), &all).unwrap();
    let expected: Vec<i64> = (0..i64::from(grid.gops())).map(|gop| gop * 2_000_000).collect();
    assert_eq!(micros("frames.mp4", "v:0", folder.path()), expected);
    // Each picture equals the one in the rendition.
    fixture.lay_out(folder.path(), i64::MAX);
    let hashes = |input: &str, filter: &str| {
        #[rustfmt::skip]
        let arguments = [
            "-v", "error", "-xerror", "-i", input, "-map", "0:v:0", "-vf", filter,
            "-fps_mode", "passthrough", "-f", "framehash", "-",
        ];
        let out = String::from_utf8(run("ffmpeg", &arguments, folder.path())).unwrap();
        let lines = out.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    let playlist = format!("{}/90p/vod.m3u8", fixture.index.version);
    let own = hashes("frames.mp4", "null");
    assert_eq!(own.len(), grid.gops() as usize);
    assert_eq!(own, hashes(&playlist, "select='not(mod(n,50))*lt(n,600)'"));
}
