//! Sets for trick play and thumbnails in manifests.

use media::{
    index::Index,
    manifest::{
        Links,
        dash::{mpd, reloaded_mpd},
        hls::multivariant,
        images,
    },
    pictures::{Picture, Size, Storyboard},
};

use crate::manifests::{
    LATER_MS, attribute, extinf, finished, golden, index_on, mixed, planned, tag,
};

/// When the video ended.
const END_MS: i64 = 1_750_000_060_000;

/// A storyboard of `tiles` tiles of one GOP each.
fn with_storyboard(mut index: Index, tiles: u32) -> Index {
    let columns = tiles.min(10);
    let rows = tiles.div_ceil(columns).min(10);
    let sheet =
        |n: u32| Picture { key: format!("sheet/{n}"), bytes: 25_000, sha256: [n as u8; 32] };
    index.pictures.storyboard = Some(Storyboard {
        sheets: (0..tiles.div_ceil(columns * rows)).map(sheet).collect(),
        tile: Size { width: 160, height: 90 },
        columns,
        rows,
        tiles,
        tile_gops: 1,
    });
    index
}

#[test]
fn manifests_of_a_finished_video_list_trick_play_and_thumbnails() {
    let index = with_storyboard(finished(), 33);
    let links = Links { token: Some("a"), ..Links::default() };
    golden("thumbnails.m3u8", &multivariant(&index, &links).unwrap());
    golden("thumbnails-images.m3u8", &images::playlist(&index, &links).unwrap());
    golden("thumbnails.mpd", &mpd(&index, END_MS, &links).unwrap());
    let growing = Index { finished_at_ms: None, ..index.clone() };
    assert_eq!(images::playlist(&growing, &links), None);
    assert!(!multivariant(&growing, &links).unwrap().contains("IMAGE-STREAM"));
    assert_eq!(images::playlist(&Index { hls: false, ..index }, &links), None);
    assert_eq!(images::playlist(&finished(), &links), None);
}

/// A session that began while the video was growing never sees a set appear.
#[test]
fn only_new_sessions_get_sets_for_trick_play_and_thumbnails() {
    let index = with_storyboard(finished(), 33);
    let seen = |text: Option<String>| {
        let text = text.unwrap();
        (text.contains("type=\"static\""), text.matches("<AdaptationSet ").count())
    };
    let links = Links::default();
    assert_eq!(seen(mpd(&index, END_MS, &links)), (true, 5));
    assert_eq!(seen(reloaded_mpd(&index, LATER_MS - 1, &links)), (false, 3));
    assert_eq!(seen(reloaded_mpd(&index, LATER_MS, &links)), (true, 3));
    let growing = Index { finished_at_ms: None, ..index };
    assert_eq!(seen(mpd(&growing, END_MS, &links)), (false, 3));
}

#[test]
fn every_codec_has_its_own_trick_play_within_the_viewers_height() {
    let mpd = |links: &Links<'_>| mpd(&mixed([9; 6]), END_MS, links).unwrap();
    let all = mpd(&Links::default());
    for (main, rung) in ["360p", "720p-hevc", "360p-av1"].iter().enumerate() {
        let set = format!("guidelines/trickmode\" value=\"{main}\"/>");
        let set = all.split_once(&set).unwrap().1.split_once("</AdaptationSet>").unwrap().0;
        assert!(set.contains(&format!("/{rung}/i$Number$.m4s\"")), "{set}");
        assert!(set.contains(&format!("id=\"{rung}-iframes\"")), "{set}");
    }
    assert_eq!(all.matches("value=\"main\"").count(), 2, "one of video, one of audio");
    let small = mpd(&Links { max_height: Some(480), ..Links::default() });
    assert_eq!(small.matches("trickmode").count(), 2);
    assert!(!small.contains("720p"), "{small}");
}

/// The times of tiles cover the video exactly, also where its last GOP takes a remainder.
#[test]
fn sheets_and_tiles_end_with_the_video() {
    for (frames, tiles, sheets) in
        [(100 * 60, 100, 1), (100 * 60 + 14, 100, 1), (123 * 60 + 40, 124, 2)]
    {
        let index = with_storyboard(index_on(planned(frames, true), [99; 5]), tiles);
        let list = images::playlist(&index, &Links::default()).unwrap();
        let durations = extinf(&list);
        assert_eq!(durations.len(), sheets);
        let total = (index.grid.duration() * 1e6) as u64;
        assert!(durations.iter().sum::<u64>().abs_diff(total) <= 1, "{durations:?} {total}");
        assert!(
            durations.iter().all(|d| d.div_ceil(1_000_000) <= tag(&list, "#EXT-X-TARGETDURATION:"))
        );
        // DASH players count the sheets of the Period by their duration.
        let text = mpd(&index, END_MS, &Links::default()).unwrap();
        let set = text.split_once("contentType=\"image\"").unwrap().1;
        let seconds = attribute(set, " duration") as f64 / attribute(set, "timescale") as f64;
        assert_eq!((index.grid.duration() / seconds - 1e-9).ceil() as usize, sheets, "{set}");
        assert_eq!(attribute(set, "endNumber") as usize + 1, sheets);
    }
}
