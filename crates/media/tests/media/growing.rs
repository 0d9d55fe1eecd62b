//! Manifests of a growing video. HLS playlists only grow, for any order in which chunks are
//! committed, and those of a session end within one segment of each other.

use media::{
    CaptionId,
    captions::{CaptionKind, Described, TextTrack, rendition},
    index::Index,
    manifest::{
        Links,
        captions::playlist,
        dash::{mpd, reloaded_mpd},
        edge,
        hls::{Playlist, media, multivariant},
    },
    pictures::Picture,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::manifests::{LATER_MS, finished, index};

/// Five chunks: 2, 10, 10, 10 and 2 GOPs, of which the HLS segments have 2, 5, 5, 5, 5, 5, 5, 2.
const FRAMES: u64 = 34 * 60;
const CHUNKS: u32 = 5;
/// The segments of that many chunks.
const SEGMENTS: [usize; 6] = [0, 1, 3, 5, 7, 8];
const NAMES: [&str; 5] = ["360p", "720p", "1080p", "audio-0", "audio-1"];

fn text() -> TextTrack {
    let about = Described {
        id: CaptionId::new(Uuid::from_u128(9)),
        language: "en".to_owned(),
        label: "English".to_owned(),
        kind: CaptionKind::Subtitles,
        default: false,
        forced: false,
    };
    TextTrack { about, object: Picture { key: "text".to_owned(), bytes: 9, sha256: [0; 32] } }
}

/// A growing video of which so many chunks of each rendition are committed.
fn growing(chunks: [u32; 5]) -> Index {
    let mut index = index(FRAMES, chunks);
    index.finished_at_ms = None;
    index.captions = vec![text()];
    index
}

/// The number of segments that each playlist lists, the text track's last; 0 without a playlist.
fn lists(index: &Index) -> [usize; 6] {
    let links = Links::default();
    let segments = |text: Option<String>| {
        text.map_or(0, |text| text.lines().filter(|line| !line.starts_with('#')).count())
    };
    let mut lists = [0; 6];
    for (list, name) in lists.iter_mut().zip(NAMES) {
        *list = segments(media(index, name, Playlist::Event, &links));
    }
    lists[5] = segments(playlist(index, text().about.id, Playlist::Event, &links));
    lists
}

/// The playlists that the multivariant playlist links, by their place in [`lists`].
fn linked(index: &Index) -> Vec<usize> {
    let Some(text) = multivariant(index, &Links::default()) else { return Vec::new() };
    let track = rendition(self::text().about.id);
    let names = NAMES.into_iter().chain([track.as_str()]).enumerate();
    names
        .filter(|(_, name)| text.contains(&format!("/{name}/event.m3u8")))
        .map(|(i, _)| i)
        .collect()
}

#[test]
fn sound_and_text_end_with_the_lowest_rung() {
    // Audio is complete while the video has 4 s.
    let index = growing([1, 1, 1, CHUNKS, CHUNKS]);
    assert_eq!(lists(&index), [1; 6]);
    assert_eq!(linked(&index), [0, 1, 2, 3, 4, 5]);
    let index = growing([3, 3, 3, CHUNKS, CHUNKS]);
    assert_eq!(lists(&index), [5; 6]);
}

#[test]
fn a_slow_rung_holds_back_no_lower_one_and_is_not_offered_to_new_sessions() {
    let index = growing([4, 2, 1, CHUNKS, CHUNKS]);
    assert_eq!(lists(&index), [7, 3, 1, 7, 7, 7]);
    assert_eq!(linked(&index), [0, 3, 4, 5]);
    // One segment behind: the last one, of two GOPs.
    let index = growing([CHUNKS, CHUNKS - 1, 2, CHUNKS, CHUNKS]);
    assert_eq!(lists(&index), [8, 7, 3, 8, 8, 8]);
    assert_eq!(linked(&index), [0, 1, 3, 4, 5]);
}

#[test]
fn the_lowest_rung_and_the_default_audio_hold_back_the_others() {
    assert_eq!(lists(&growing([1, 4, 4, CHUNKS, CHUNKS])), [1; 6]);
    // Before the lowest rung has begun, playback waits after chunk 0.
    let index = growing([0, 4, 1, CHUNKS, CHUNKS]);
    assert_eq!(lists(&index), [0, 1, 1, 1, 1, 1]);
    assert_eq!(linked(&index), [1, 2, 3, 4, 5]);
    let index = growing([4, 4, 4, 2, CHUNKS]);
    assert_eq!(lists(&index), [3; 6]);
    // Another audio track that is late is offered again once it has caught up.
    assert_eq!(linked(&growing([4, 4, 4, 4, 1])), [0, 1, 2, 3, 5]);
    assert_eq!(linked(&growing([4, 4, 4, 4, 4])), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_edge_is_the_end_of_the_lowest_playlist() {
    for chunks in [
        [0, 0, 0, 0, 0],
        [1, 1, 1, CHUNKS, CHUNKS],
        [3, 1, 0, CHUNKS, CHUNKS],
        [4, 4, 4, 2, CHUNKS],
        [0, 4, 1, CHUNKS, CHUNKS],
        [CHUNKS; 5],
    ] {
        let index = growing(chunks);
        let lowest = NAMES.iter().find(|name| index.track(name).is_some_and(|(t, _)| t.started()));
        let lowest = lowest.filter(|_| chunks[0] + chunks[1] > 0);
        let text = lowest.and_then(|name| media(&index, name, Playlist::Event, &Links::default()));
        let seconds = text.unwrap_or_default();
        let seconds = seconds.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
        let seconds: f64 = seconds.map(|s| s.trim_end_matches(',').parse::<f64>().unwrap()).sum();
        assert!((edge(&index) - seconds).abs() < 0.01, "{chunks:?}: {} {seconds}", edge(&index));
    }
}

#[test]
fn every_committed_segment_of_a_final_video_is_listed() {
    let mut index = growing([CHUNKS; 5]);
    assert_eq!(lists(&index), [8; 6]);
    index.finished_at_ms = Some(1_750_000_060_000);
    assert_eq!(lists(&index), [8; 6]);
}

#[test]
fn reloads_see_the_last_dynamic_mpd_and_new_sessions_a_static_one() {
    let (index, links) = (finished(), Links::default());
    let before = reloaded_mpd(&index, LATER_MS - 1, &links).unwrap();
    let after = reloaded_mpd(&index, LATER_MS, &links).unwrap();
    assert!(before.contains("type=\"dynamic\"") && after.contains("type=\"static\""));
    // A new session also gets sets for trick play and thumbnails.
    let (sets, _) = after.split_once("  </Period>").unwrap();
    assert!(mpd(&index, 0, &links).unwrap().starts_with(sets));
    let location = |links| {
        let growing = mpd(&growing([1; 5]), 0, links).unwrap();
        growing.split("Location>").nth(1).map(|url| url.trim_end_matches("</").to_owned())
    };
    assert_eq!(location(&links).unwrap(), "manifest.mpd?reload=1");
    let links = Links { token: Some("a+b"), ..links };
    assert_eq!(location(&links).unwrap(), "manifest.mpd?token=a%2Bb&amp;reload=1");
    let timeline = |mpd: &str| -> Vec<String> {
        mpd.lines().filter(|line| line.contains("<S ")).map(str::to_owned).collect()
    };
    assert_eq!(timeline(&before), timeline(&after));
}

proptest! {
    /// `order` names the rendition whose next chunk is committed.
    #[test]
    fn playlists_only_grow_and_stay_together(order in prop::collection::vec(0..5_usize, 1..40)) {
        let mut chunks = [0; 5];
        let mut before = lists(&growing(chunks));
        for rendition in order {
            chunks[rendition] = (chunks[rendition] + 1).min(CHUNKS);
            let index = growing(chunks);
            let now = lists(&index);
            let grown = before.iter().zip(&now).all(|(before, now)| now >= before);
            prop_assert!(grown, "{chunks:?}: {before:?} became {now:?}");
            for (list, committed) in now.iter().zip(chunks) {
                prop_assert!(*list <= SEGMENTS[committed as usize], "{chunks:?}: {now:?}");
            }
            let ends: Vec<usize> = linked(&index).into_iter().map(|place| now[place]).collect();
            if let (Some(first), Some(last)) = (ends.iter().min(), ends.iter().max()) {
                prop_assert!(last - first <= 1, "{chunks:?}: {ends:?}");
            }
            before = now;
        }
    }
}
