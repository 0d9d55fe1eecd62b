//! Text tracks in manifests. HLS cuts them on the video's own segment grid; DASH links the whole
//! file.

use std::fmt::Write;

use super::{
    Links, hls_playable,
    pace::{pace, segments_below},
    percent,
    playlist::{self, Playlist},
    quoted,
    timeline::Timeline,
    xml,
};
use crate::{
    CaptionId,
    captions::{CaptionKind, Described, TextTrack, VTT_CONTENT_TYPE, rendition},
    fmp4::TrackKind,
    index::Index,
    language,
};

/// GROUP-ID of the text tracks of every variant.
const GROUP: &str = "text";
/// The characteristics that Apple's players expect of captions; plain subtitles have no
/// characteristics.
const CHARACTERISTICS: &str = ",CHARACTERISTICS=\"public.accessibility.transcribes-spoken-dialog,\
                               public.accessibility.describes-music-and-sound\"";

/// The EXT-X-MEDIA tags of all text tracks.
pub(super) fn hls_media(index: &Index, links: &Links<'_>) -> String {
    let yes = |yes: bool| if yes { "YES" } else { "NO" };
    let mut out = String::new();
    for track in &index.captions {
        let Described { id, language, label, kind, default, forced } = &track.about;
        let characteristics = match kind {
            CaptionKind::Captions => CHARACTERISTICS,
            CaptionKind::Subtitles => "",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"{GROUP}\",NAME=\"{}\",LANGUAGE=\"{}\",\
             DEFAULT={},AUTOSELECT=YES,FORCED={}{characteristics},URI=\"{}\"",
            quoted(label),
            language::tag(language),
            yes(*default),
            yes(*forced),
            playlist::playlist_url(index, links, &rendition(*id), playlist::playlist_file(index)),
        );
    }
    out
}

/// The attribute that links a variant to the text tracks, with its leading comma.
pub(super) fn hls_group(index: &Index) -> String {
    if index.captions.is_empty() { String::new() } else { format!(",SUBTITLES=\"{GROUP}\"") }
}

/// The media playlist of a text track. It lists what every session can play, so that a player waits
/// for neither text nor video. `None` when it does not exist (yet).
pub fn playlist(
    index: &Index,
    id: CaptionId,
    playlist: Playlist,
    links: &Links<'_>,
) -> Option<String> {
    if !hls_playable(index) {
        return None;
    }
    // Decimal durations are the only feature that needs version 3.
    let mut out = playlist::head(index, playlist, 3)?;
    let prefix = playlist::media_prefix(index, &rendition(id), links);
    let (timeline, suffix) = (timeline(index), links.suffix());
    for (number, gops) in segments_below(index, pace(index)).enumerate() {
        playlist::push_extinf(&mut out, timeline.duration_micros(&gops));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{prefix}h{number}.vtt{suffix}");
    }
    if index.finished_at_ms.is_some() {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    Some(out)
}

/// The interval of HLS segment `number` of every text track on the video's timeline, in
/// milliseconds. The last segment has no upper bound, so that it includes all remaining text.
pub fn segment(index: &Index, number: u32) -> Option<(u64, u64)> {
    let gops = index.grid.segment(number, crate::grid::HLS_SEGMENT_GOPS)?;
    let timeline = timeline(index);
    let end =
        if gops.end >= index.grid.gops() { u64::MAX } else { timeline.micros(gops.end) / 1000 };
    Some((timeline.micros(gops.start) / 1000, end))
}

/// The timeline of the segments that text is cut along: the video's, or that of the audio if the
/// video has no video track.
fn timeline(index: &Index) -> Timeline<'_> {
    let kind = if index.video_renditions.is_empty() { TrackKind::Audio } else { TrackKind::Video };
    Timeline::new(&index.grid, kind)
}

/// The path of the whole text of a track, below `/api/stream/{id}/`.
pub fn file(id: CaptionId) -> String {
    format!("captions/{id}.vtt")
}

/// One AdaptationSet per text track.
pub(super) fn dash_sets(out: &mut String, index: &Index, links: &Links<'_>, duration_ms: u64) {
    for TextTrack { about, object } in &index.captions {
        let role = match about.kind {
            _ if about.forced => "forced-subtitle",
            CaptionKind::Subtitles => "subtitle",
            CaptionKind::Captions => "caption",
        };
        let below = file(about.id);
        let url =
            format!("{}{}", links.prefix(index, &format!("../{below}"), &below), links.suffix());
        let main = if about.default {
            "      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"main\"/>\n"
        } else {
            ""
        };
        let bandwidth = (object.bytes * 8000).div_ceil(duration_ms.max(1)).max(1);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "    <AdaptationSet id=\"{}\" contentType=\"text\" mimeType=\"{VTT_CONTENT_TYPE}\" \
             lang=\"{}\">\n      <Label>{}</Label>\n      \
             <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>\n{main}      \
             <Representation id=\"{}\" bandwidth=\"{bandwidth}\">\n        \
             <BaseURL>{}</BaseURL>\n      </Representation>\n    </AdaptationSet>\n",
            set_id(about.id),
            language::tag(&about.language),
            xml(&about.label),
            percent(&rendition(about.id)),
            xml(&url),
        );
    }
}

/// A track's number does not depend on the other text tracks, and differs from the numbers of all
/// other sets.
fn set_id(id: CaptionId) -> u32 {
    let bytes = id.uuid().into_bytes();
    u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) | 0x8000_0000
}
