//! Manifests: golden files for a growing and a finished video, and the rules that players rely on.
//!
//! `UPDATE_GOLDEN=1` rewrites the files.

use std::{fs, path::PathBuf};

use media::{
    Grid,
    index::{AudioRendition, Chunk, Fragment, Index, Track, VideoRendition},
    manifest::{
        Links,
        dash::mpd,
        dash_playable,
        hls::{Playlist, iframes, media, multivariant},
        hls_playable, visible,
    },
};
use proptest::prelude::*;

use crate::fixture::{empty_index, grid};

/// Ten seconds after the end of the video, when DASH becomes static.
pub(crate) const LATER_MS: i64 = 1_750_000_070_000;

fn track(index: &Index, codec: &str, timescale: u32, sizes: (u32, u32), chunks: u32) -> Track {
    let (gop_bytes, spread) = sizes;
    let chunk = |chunk: u32| {
        let fragment = |gop: u32| {
            let frames = index.grid.gop(gop);
            let share = (frames.end - frames.start) as u32 * 100 / index.grid.gop_frames();
            let bytes = (gop_bytes + gop * 7919 % spread) / 100 * share.max(10);
            Fragment { bytes, intra_bytes: gop_bytes / 16 + 1000, duration: 0 }
        };
        let fragments = index.grid.chunk_gops(chunk).map(fragment).collect();
        Some(Chunk { key: format!("key/{chunk}"), fragments })
    };
    let chunks = (0..chunks.min(index.grid.chunks())).map(chunk).collect::<Vec<_>>();
    let init = if chunks.is_empty() { Vec::new() } else { vec![0] };
    Track { codec: codec.to_owned(), timescale, init, chunks, table: None }
}

/// A video with three rungs and two audio tracks; `chunks` is the number of committed chunks of
/// each.
pub(crate) fn index(frames: u64, chunks: [u32; 5]) -> Index {
    index_on(grid(30_000, 1001, frames), chunks)
}

/// A grid with or without the rule for a short remainder.
pub(crate) fn planned(frames: u64, joined: bool) -> Grid {
    let grid = grid(30_000, 1001, frames);
    if joined { grid.with_joined_remainder() } else { grid }
}

pub(crate) fn index_on(grid: Grid, chunks: [u32; 5]) -> Index {
    let mut index = empty_index(grid);
    if chunks.iter().any(|chunks| *chunks < index.grid.chunks()) {
        index.finished_at_ms = None;
    }
    let rungs = [
        ("360p", 640, 360, 800_000, "avc1.64001e"),
        ("720p", 1280, 720, 2_800_000, "avc1.64001f"),
        ("1080p", 1920, 1080, 5_000_000, "avc1.640028"),
    ];
    for ((name, width, height, target_bitrate, codec), chunks) in rungs.into_iter().zip(chunks) {
        let gop_bytes = (target_bitrate / 4) as u32;
        let track = track(&index, codec, 30_000, (gop_bytes, gop_bytes / 4), chunks);
        let name = name.to_owned();
        index.video_renditions.push(VideoRendition { name, width, height, target_bitrate, track });
    }
    let sounds = [("audio-0", "English", "eng"), ("audio-1", "Français", "fre")];
    for ((name, label, language), chunks) in sounds.into_iter().zip(&chunks[3..]) {
        let track = track(&index, "mp4a.40.2", 48_000, (32_000, 500), *chunks);
        index.audio_renditions.push(AudioRendition {
            name: name.to_owned(),
            label: label.to_owned(),
            language: language.to_owned(),
            channels: 2,
            target_bitrate: 128_000,
            track,
        });
    }
    index
}

/// Slightly more than 64 s: chunks of 2, 10, 10 and 10 GOPs and one of half a GOP.
pub(crate) fn finished() -> Index {
    index(32 * 60 + 30, [9; 5])
}

fn growing() -> Index {
    index(32 * 60 + 30, [3, 2, 1, 4, 2])
}

pub(crate) fn golden(name: &str, text: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "{name} differs; UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn manifests_of_a_finished_video() {
    let (index, links) = (finished(), Links::default());
    golden("final.m3u8", &multivariant(&index, &links).unwrap());
    golden("final-video.m3u8", &media(&index, "720p", Playlist::Vod, &links).unwrap());
    golden("final-event.m3u8", &media(&index, "720p", Playlist::Event, &links).unwrap());
    golden("final-audio.m3u8", &media(&index, "audio-0", Playlist::Vod, &links).unwrap());
    golden("final-iframes.m3u8", &iframes(&index, "360p", &links).unwrap());
    golden("final.mpd", &mpd(&index, LATER_MS, &links).unwrap());
}

#[test]
fn manifests_of_a_growing_video() {
    let (index, links) = (growing(), Links::default());
    let together = self::index(32 * 60 + 30, [3, 3, 3, 4, 3]);
    golden("growing.m3u8", &multivariant(&together, &links).unwrap());
    golden("growing-video.m3u8", &media(&index, "720p", Playlist::Event, &links).unwrap());
    golden("growing-audio.m3u8", &media(&index, "audio-1", Playlist::Event, &links).unwrap());
    golden("growing.mpd", &mpd(&index, 1_750_000_012_345, &links).unwrap());
    assert_eq!(media(&index, "720p", Playlist::Vod, &links), None);
    assert_eq!(iframes(&index, "720p", &links), None);
}

/// Two rungs of H.264, one of HEVC, two of AV1.
pub(crate) fn mixed(chunks: [u32; 6]) -> Index {
    let mut index = index(32 * 60 + 30, [chunks[0], chunks[1], 0, chunks[5], chunks[5]]);
    index.video_renditions.truncate(2);
    let rungs = [
        ("720p-hevc", 1280, 720, 1_700_000, "hvc1.1.6.L93.90"),
        ("360p-av1", 640, 360, 400_000, "av01.0.01M.08"),
        ("720p-av1", 1280, 720, 1_300_000, "av01.0.05M.08"),
    ];
    for ((name, width, height, target_bitrate, codec), chunks) in
        rungs.into_iter().zip(&chunks[2..])
    {
        let gop_bytes = (target_bitrate / 4) as u32;
        // The codec is known from the first chunk on.
        let codec = if *chunks == 0 { "" } else { codec };
        let track = track(&index, codec, 30_000, (gop_bytes, gop_bytes / 4), *chunks);
        let name = name.to_owned();
        index.video_renditions.push(VideoRendition { name, width, height, target_bitrate, track });
    }
    let all = chunks.iter().all(|chunks| *chunks >= index.grid.chunks());
    index.finished_at_ms = all.then_some(1_750_000_060_000);
    index
}

#[test]
fn manifests_of_a_video_in_three_codecs() {
    let (index, links) = (mixed([9; 6]), Links::default());
    let playlist = multivariant(&index, &links).unwrap();
    golden("mixed.m3u8", &playlist);
    golden("mixed.mpd", &mpd(&index, LATER_MS, &links).unwrap());
    let first = playlist.lines().find(|line| line.starts_with("#EXT-X-STREAM-INF")).unwrap();
    assert!(first.contains("avc1."), "every player can begin: {first}");
    // A viewer limited to 480 lines gets one set per codec that has such a rung.
    let small = Links { max_height: Some(480), ..links };
    let mpd = mpd(&index, LATER_MS, &small).unwrap();
    assert_eq!(mpd.matches("maxHeight=").count(), 2, "{mpd}");
    assert!(mpd.contains("id=\"360p\"") && mpd.contains("id=\"360p-av1\""), "{mpd}");
}

#[test]
fn a_video_in_three_codecs_opens_with_h264() {
    let links = Links::default();
    let opened = |chunks| multivariant(&mixed(chunks), &links).is_some();
    assert!(!opened([0, 0, 1, 1, 1, 1]), "no rung that every player supports");
    assert!(opened([1, 0, 0, 0, 0, 1]) && opened([0, 1, 0, 0, 0, 1]));
    let growing = mixed([2, 1, 0, 0, 0, 1]);
    let playlist = multivariant(&growing, &links).unwrap();
    assert!(!playlist.contains("hvc1") && !playlist.contains("av01"), "{playlist}");
    assert_eq!(mpd(&growing, LATER_MS, &links), None);
    let mut without = mixed([1, 1, 1, 0, 0, 1]);
    without.video_renditions.drain(..2);
    assert!(multivariant(&without, &links).is_some(), "a ladder without H.264 opens, too");
}

#[test]
fn manifests_of_a_video_without_pictures() {
    let mut index = empty_index(Grid::of_sound(65.5).unwrap());
    for (name, label, language) in [("audio-0", "English", "en"), ("audio-1", "Deutsch", "de")] {
        let track = track(&index, "mp4a.40.2", 48_000, (48_000, 500), u32::MAX);
        index.audio_renditions.push(AudioRendition {
            name: name.to_owned(),
            label: label.to_owned(),
            language: language.to_owned(),
            channels: 2,
            target_bitrate: 192_000,
            track,
        });
    }
    let links = Links::default();
    assert!(hls_playable(&index) && dash_playable(&index));
    golden("sound.m3u8", &multivariant(&index, &links).unwrap());
    golden("sound-audio.m3u8", &media(&index, "audio-0", Playlist::Vod, &links).unwrap());
    golden("sound.mpd", &mpd(&index, LATER_MS, &links).unwrap());
    assert_eq!(iframes(&index, "audio-0", &links), None);
    index.audio_renditions[0].track = Track::default();
    assert!(!hls_playable(&index) && !dash_playable(&index));
    index.audio_renditions.clear();
    assert!(!hls_playable(&index) && !dash_playable(&index), "neither is playable");
}

#[test]
fn mpd_of_one_segment_is_final_from_the_start() {
    let index = Index { finished_at_ms: None, ..index(2 * 60, [9; 5]) };
    assert!(mpd(&index, 0, &Links::default()).unwrap().contains(" type=\"static\""));
}

#[test]
fn urls_carry_the_token_and_the_cdn() {
    let token = Some("a+b/c=&\"$<");
    let links = Links { token, base: Some("https://cdn.example.com/x"), max_height: Some(720) };
    let index = finished();
    golden("links.m3u8", &multivariant(&index, &links).unwrap());
    golden("links.mpd", &mpd(&index, LATER_MS, &links).unwrap());
    let list = media(&index, "720p", Playlist::Vod, &links).unwrap();
    let urls = list.lines().filter(|line| !line.starts_with('#'));
    let folder = format!("/api/stream/{}/{}/720p/h", index.video, index.version);
    for url in urls {
        assert!(url.starts_with(&format!("https://cdn.example.com/x{folder}")), "{url}");
        assert!(url.ends_with("?token=a%2Bb%2Fc%3D%26%22%24%3C"), "{url}");
    }
    assert_eq!(media(&index, "1080p", Playlist::Vod, &links), None);
    assert_eq!(iframes(&index, "1080p", &links), None);
}

#[test]
fn the_lowest_rung_and_sound_are_never_hidden() {
    let index = finished();
    let seen = |max| {
        let names = ["360p", "720p", "1080p", "audio-0"];
        names.into_iter().filter(|name| visible(&index, name, max)).collect::<Vec<_>>()
    };
    assert_eq!(seen(None), ["360p", "720p", "1080p", "audio-0"]);
    assert_eq!(seen(Some(720)), ["360p", "720p", "audio-0"]);
    assert_eq!(seen(Some(100)), ["360p", "audio-0"]);
}

#[test]
fn manifests_do_not_exist_before_the_first_playable_segment() {
    let frames = 3000;
    let links = Links::default();
    let opens = |chunks| {
        let index = index(frames, chunks);
        let hls = multivariant(&index, &links).is_some();
        let dash = mpd(&index, LATER_MS, &links).is_some();
        assert_eq!((hls, dash), (hls_playable(&index), dash_playable(&index)), "{chunks:?}");
        (hls, dash)
    };
    assert_eq!(opens([0, 0, 0, 0, 0]), (false, false));
    assert_eq!(opens([1, 0, 0, 0, 0]), (false, false));
    assert_eq!(opens([0, 0, 0, 1, 1]), (false, false));
    assert_eq!(opens([1, 0, 0, 1, 0]), (true, false));
    assert_eq!(opens([0, 1, 0, 1, 0]), (true, false));
    assert_eq!(opens([1, 1, 1, 1, 0]), (true, false));
    assert_eq!(opens([1, 1, 1, 1, 1]), (true, true));
    let mut neither = index(frames, [1; 5]);
    (neither.hls, neither.dash) = (false, false);
    assert_eq!(multivariant(&neither, &links), None);
    assert_eq!(media(&neither, "360p", Playlist::Event, &links), None);
    assert_eq!(mpd(&neither, LATER_MS, &links), None);
    assert_eq!(media(&index(frames, [0; 5]), "360p", Playlist::Event, &links), None);
    assert_eq!(media(&index(frames, [1; 5]), "8k", Playlist::Event, &links), None);
}

#[test]
fn labels_are_escaped() {
    let mut index = finished();
    "a\"b<c>&'\r\n#EXT-X-ENDLIST\u{0}\u{2028}]]>".clone_into(&mut index.audio_renditions[0].label);
    "e\"n\n".clone_into(&mut index.audio_renditions[0].language);
    "en-US-x-\"".clone_into(&mut index.audio_renditions[1].language);
    let hls = multivariant(&index, &Links::default()).unwrap();
    assert!(hls.contains("NAME=\"a'b<c>&'  #EXT-X-ENDLIST  ]]>\",LANGUAGE=\"und\""), "{hls}");
    assert_eq!(
        hls.lines().count(),
        multivariant(&finished(), &Links::default()).unwrap().lines().count()
    );
    let dash = mpd(&index, LATER_MS, &Links::default()).unwrap();
    let label = "<Label>a&quot;b&lt;c&gt;&amp;&apos;  #EXT-X-ENDLIST \u{2028}]]&gt;</Label>";
    assert!(dash.contains(label), "{dash}");
    assert_eq!(dash.matches("lang=\"und\"").count(), 2);
}

/// The values of the EXTINF tags, in microseconds.
pub(crate) fn extinf(list: &str) -> Vec<u64> {
    let tags = list.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    tags.map(|tag| tag.trim_end_matches(',').replace('.', "").parse().unwrap()).collect()
}

pub(crate) fn tag(list: &str, name: &str) -> u64 {
    let line = list.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {list}")).parse().unwrap()
}

pub(crate) fn attribute(line: &str, name: &str) -> u64 {
    let start = line.find(&format!("{name}=")).unwrap() + name.len() + 1;
    let digits = line[start..].trim_start_matches('"');
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn playlists_agree_on_durations(
        frames in 1_u64..60_000, joined: bool, ended: bool, part in 1_u32..60,
    ) {
        let chunks = if ended { u32::MAX } else { part };
        let index = index_on(planned(frames, joined), [chunks; 5]);
        let links = Links::default();
        let mut targets = Vec::new();
        for name in ["360p", "1080p", "audio-0", "audio-1"] {
            let list = media(&index, name, Playlist::Event, &links).unwrap();
            let target = tag(&list, "#EXT-X-TARGETDURATION:");
            targets.push(target);
            let durations = extinf(&list);
            prop_assert!(durations.iter().all(|d| (d + 500_000) / 1_000_000 <= target));
            // The sum of a run is exact to the microsecond, so times do not drift.
            let gops = index.grid.hls_segments().nth(durations.len() - 1).unwrap();
            let truth = index.grid.seconds(index.grid.gop(gops.end - 1).end);
            let sum = durations.iter().sum::<u64>() as f64 / 1e6;
            prop_assert!((sum - truth).abs() < 0.022, "{sum} {truth}");
            if !name.starts_with('a') {
                prop_assert!((sum - truth).abs() < 1e-6, "{sum} {truth}");
            }
            prop_assert_eq!(list.ends_with("#EXT-X-ENDLIST\n"), index.finished_at_ms.is_some());
        }
        targets.dedup();
        prop_assert_eq!(targets.len(), 1);
    }

    #[test]
    fn listed_segments_are_never_removed(frames in 1000_u64..30_000, part in 1_u32..40) {
        let links = Links::default();
        let list = |chunks| media(&index(frames, [chunks; 5]), "720p", Playlist::Event, &links);
        let (before, after) = (list(part).unwrap(), list(part + 1).unwrap());
        prop_assert!(after.starts_with(before.trim_end_matches("#EXT-X-ENDLIST\n")));
    }
}
