//! The HLS variant without pictures.

use media::manifest::{Links, hls::multivariant};

use crate::manifests::index;

#[test]
fn the_last_variant_is_the_default_audio_alone() {
    let links = Links::default();
    for (chunks, file) in [([9; 5], "vod.m3u8"), ([2, 1, 0, 1, 0], "event.m3u8")] {
        let playlist = multivariant(&index(3000, chunks), &links).unwrap();
        let lines: Vec<&str> = playlist.lines().collect();
        let last = lines.iter().rposition(|line| line.starts_with("#EXT-X-STREAM-INF")).unwrap();
        assert!(!lines[last].contains("RESOLUTION") && !lines[last].contains("avc1"), "{playlist}");
        assert!(lines[last].contains("CODECS=\"mp4a.40.2\",AUDIO=\"audio\""), "{playlist}");
        assert!(lines[last + 1].ends_with(&format!("/audio-0/{file}")), "{playlist}");
    }
    // A video without sound has no such variant.
    let mut silent = index(3000, [9; 5]);
    silent.audio_renditions.clear();
    let playlist = multivariant(&silent, &links).unwrap();
    assert_eq!(
        playlist.matches("#EXT-X-STREAM-INF").count(),
        playlist.matches("RESOLUTION=").count() - 3
    );
}
