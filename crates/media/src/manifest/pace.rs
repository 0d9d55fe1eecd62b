//! How far the HLS playlists of a growing video are listed.
//!
//! The playlists of a session may differ at their ends by at most one segment (RFC 8216, section
//! 6.2.4); Chromium's own player fails when one is further ahead. So the renditions that every
//! session needs, the lowest video rung and the default audio, set the pace: no playlist lists more.
//! A rendition that is further behind than one segment is not offered to new sessions. The pace
//! never falls when a chunk is committed, so a listed segment is never removed.

use std::ops::Range;

use crate::index::{Index, Track};

/// Number of GOPs that every session can play: the lower frontier of the lowest video rung and the
/// default audio, at least chunk 0. In a final video, all of them.
pub(super) fn pace(index: &Index) -> u32 {
    if index.finished_at_ms.is_some() {
        return index.grid.gops();
    }
    let video = index.video_renditions.first().map(|r| &r.track);
    let audio = index.audio_renditions.first().map(|r| &r.track);
    // Playback may start with another rung before the lowest one has begun. It then waits after
    // chunk 0, because the pace must not fall when the lowest rung begins.
    let first_chunk = index.grid.chunk_gops(0).end;
    video.into_iter().chain(audio).map(Track::frontier).min().unwrap_or(0).max(first_chunk)
}

/// The segments that the playlist of `track` lists.
pub(super) fn listed_segments(index: &Index, track: &Track) -> Vec<Range<u32>> {
    segments_below(index, track.frontier().min(pace(index))).collect()
}

/// Whether sessions that begin now may use `track`: it has begun and is at most one segment behind
/// the pace. The playlists of sessions that use it already go on.
pub(super) fn offered(index: &Index, track: &Track) -> bool {
    let behind = segments_below(index, pace(index)).filter(|gops| gops.end > track.frontier());
    track.started() && behind.count() <= 1
}

/// The segments that end at or before GOP `end`.
pub(super) fn segments_below(index: &Index, end: u32) -> impl Iterator<Item = Range<u32>> + use<> {
    index.grid.hls_segments().take_while(move |gops| gops.end <= end)
}
