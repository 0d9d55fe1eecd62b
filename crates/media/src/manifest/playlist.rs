//! The parts that all HLS playlists share: the head, segments and URLs.

use std::{collections::HashSet, fmt::Write};

use super::{Links, percent, quoted, timeline::Timeline};
use crate::{fmp4::TrackKind, index::Index};

/// Without this tag players treat a growing video as live and start near the live edge. The offset
/// is not 0 because some players treat 0 as absent.
pub(super) const START: &str = "#EXT-X-START:TIME-OFFSET=0.001\n";

/// The two media playlists of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Playlist {
    /// `event.m3u8`: grows, and stays valid after the end.
    Event,
    /// `vod.m3u8`: exists only for a final video.
    Vod,
}

/// The first lines of a media playlist; `None` while the video has no playlist of that kind.
pub(super) fn head(index: &Index, playlist: Playlist, version: u32) -> Option<String> {
    let (kind, start) = match playlist {
        Playlist::Event => ("EVENT", START),
        Playlist::Vod => index.finished_at_ms.map(|_| ("VOD", ""))?,
    };
    Some(format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:{kind}\n#EXT-X-INDEPENDENT-SEGMENTS\n{start}",
        target_duration(index),
    ))
}

/// The duration of the longest planned segment of any rendition, rounded. It is known before the
/// first segment is encoded, so it never changes.
pub(super) fn target_duration(index: &Index) -> u64 {
    let mut longest = 0;
    for gops in index.grid.hls_segments() {
        let durations = planned_timelines(index).map(|timeline| timeline.duration_micros(&gops));
        longest = durations.fold(longest, u64::max);
    }
    ((longest + 500_000) / 1_000_000).max(1)
}

/// The times of everything that is planned: video, and each audio rendition.
pub(super) fn planned_timelines(index: &Index) -> impl Iterator<Item = Timeline<'_>> {
    let audio = index.sounds().map(|r| Timeline::of(&index.grid, TrackKind::Audio, &r.track));
    std::iter::once(Timeline::new(&index.grid, TrackKind::Video)).chain(audio)
}

/// The playlist file for sessions that begin now.
pub(super) fn playlist_file(index: &Index) -> &'static str {
    if index.finished_at_ms.is_none() { "event.m3u8" } else { "vod.m3u8" }
}

/// Relative to the multivariant playlist, which is in `hls/`.
pub(super) fn playlist_url(
    index: &Index,
    links: &Links<'_>,
    rendition: &str,
    file: &str,
) -> String {
    let below = format!("{}/{}/", index.version, percent(rendition));
    let prefix = links.prefix(index, &format!("../{below}"), &below);
    quoted(&format!("{prefix}{file}{}", links.suffix()))
}

/// Relative to a media playlist, which is in the folder of its segments.
pub(super) fn media_prefix(index: &Index, rendition: &str, links: &Links<'_>) -> String {
    quoted(&links.prefix(index, "", &format!("{}/{}/", index.version, percent(rendition))))
}

/// A value of an attribute that is an enumerated string.
pub(super) const fn yes(yes: bool) -> &'static str {
    if yes { "YES" } else { "NO" }
}

/// The renditions of a group that a player may choose on its own: they should differ in language
/// and characteristics (RFC 8216, 4.3.4.1.1), so only the first of each kind is among them.
#[derive(Debug, Default)]
pub(super) struct AutoSelected(HashSet<(String, String)>);

impl AutoSelected {
    /// Whether no rendition of the same language and characteristics has been listed before.
    pub(super) fn first(&mut self, language: &str, characteristics: &str) -> bool {
        self.0.insert((language.to_owned(), characteristics.to_owned()))
    }
}

pub(super) fn push_extinf(out: &mut String, micros: u64) {
    push(out, format_args!("#EXTINF:{}.{:06},\n", micros / 1_000_000, micros % 1_000_000));
}

pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
