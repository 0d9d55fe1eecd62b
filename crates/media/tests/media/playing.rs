//! Reads generated HLS and DASH with FFmpeg: every frame once, from 0, without drift.

use std::path::Path;

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
