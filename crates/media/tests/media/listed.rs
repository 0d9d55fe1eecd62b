//! Rungs that cost at least as much as the next higher one are not offered to new sessions.

use media::{
    index::{Chunk, Fragment, Index, Track, VideoRendition},
    manifest::{
        Links,
        dash::{LINGER_MS, mpd, reloaded_mpd},
        hls::{Playlist, media, multivariant},
        replaced,
    },
};

use crate::fixture::{empty_index, grid};

const HEVC: &str = "hvc1.1.6.L93.90";
const H264: &str = "avc1.64001f";

/// A finished video of four seconds with rungs of the given lines, codec and kbit/s.
fn index(rungs: &[(u32, &str, u32)]) -> Index {
    let mut index = empty_index(grid(25, 1, 100));
    for (lines, codec, kbits) in rungs {
        let bytes = kbits * 250;
        let fragment = Fragment { bytes, intra_bytes: bytes / 4, duration: 50 };
        let chunk = Chunk { key: "key".to_owned(), fragments: vec![fragment; 2] };
        let suffix = if *codec == H264 { "" } else { "-hevc" };
        index.video_renditions.push(VideoRendition {
            name: format!("{lines}p{suffix}"),
            width: lines * 16 / 9 / 2 * 2,
            height: *lines,
            target_bitrate: 1_000_000,
            track: Track {
                codec: (*codec).to_owned(),
                timescale: 25,
                init: vec![0],
                chunks: vec![Some(chunk)],
                table: None,
            },
        });
    }
    index
}

fn left_out(index: &Index) -> Vec<(&str, &str)> {
    replaced(index).into_iter().map(|(a, b)| (a.name.as_str(), b.name.as_str())).collect()
}

/// The names in a manifest, in the order of the index.
fn named(index: &Index, manifest: &str) -> Vec<String> {
    let listed = |name: &&str| {
        manifest.contains(&format!("/{name}/vod.m3u8")) || manifest.contains(&format!("\"{name}\""))
    };
    let names = index.video_renditions.iter().map(|r| r.name.as_str());
    names.filter(listed).map(str::to_owned).collect()
}

fn finished_at(index: &Index) -> i64 {
    index.finished_at_ms.unwrap()
}

#[test]
fn a_rung_with_at_least_the_bit_rate_of_the_next_higher_one_is_left_out_of_new_sessions() {
    let index = index(&[(360, H264, 500), (480, H264, 900), (720, H264, 900)]);
    assert_eq!(left_out(&index), [("480p", "720p")]);
    let links = Links::default();
    assert_eq!(named(&index, &multivariant(&index, &links).unwrap()), ["360p", "720p"]);
    let dash = mpd(&index, finished_at(&index), &links).unwrap();
    assert_eq!(named(&index, &dash), ["360p", "720p"]);
}

#[test]
fn running_sessions_keep_a_rung_that_new_ones_are_not_offered() {
    let index = index(&[(360, H264, 500), (480, H264, 900), (720, H264, 800)]);
    let links = Links::default();
    assert!(media(&index, "480p", Playlist::Event, &links).is_some());
    assert!(media(&index, "480p", Playlist::Vod, &links).is_some());
    let all = ["360p", "480p", "720p"];
    for after in [0, LINGER_MS, 60_000] {
        let text = reloaded_mpd(&index, finished_at(&index) + after, &links).unwrap();
        assert_eq!(named(&index, &text), all, "{after} ms after the end");
    }
}

#[test]
fn a_growing_video_offers_every_rung() {
    let mut index = index(&[(360, H264, 900), (480, H264, 500)]);
    index.finished_at_ms = None;
    let text = multivariant(&index, &Links::default()).unwrap();
    assert!(text.contains("/360p/") && text.contains("/480p/"), "{text}");
}

#[test]
fn a_rung_is_compared_with_the_next_higher_one_that_is_listed() {
    // 480p needs less than 720p, but 720p itself is replaced by the smaller 1080p.
    let index = index(&[(360, H264, 650), (480, H264, 700), (720, H264, 800), (1080, H264, 660)]);
    assert_eq!(left_out(&index), [("480p", "1080p"), ("720p", "1080p")]);
    let still = self::index(&[(360, H264, 100), (480, H264, 100), (720, H264, 100)]);
    assert_eq!(left_out(&still), [("360p", "720p"), ("480p", "720p")]);
}

#[test]
fn codecs_are_compared_only_with_themselves() {
    let index = index(&[(360, H264, 900), (720, H264, 950), (360, HEVC, 700), (720, HEVC, 600)]);
    assert_eq!(left_out(&index), [("360p-hevc", "720p-hevc")]);
}

#[test]
fn more_than_1080_lines_replace_no_rung_that_more_devices_decode() {
    let index = index(&[(720, H264, 900), (1080, H264, 950), (1440, H264, 940), (2160, H264, 930)]);
    assert_eq!(left_out(&index), [("1440p", "2160p")]);
}

#[test]
fn a_viewer_limited_to_fewer_lines_is_offered_the_best_visible_rung() {
    let index = index(&[(360, H264, 500), (480, H264, 900), (720, H264, 800)]);
    let links = Links { max_height: Some(480), ..Links::default() };
    assert_eq!(named(&index, &multivariant(&index, &links).unwrap()), ["360p", "480p"]);
}

#[test]
fn rungs_that_need_less_than_their_audio_are_all_listed() {
    let index = index(&[(360, H264, 99), (480, H264, 50), (720, H264, 20)]);
    assert_eq!(left_out(&index), []);
}
