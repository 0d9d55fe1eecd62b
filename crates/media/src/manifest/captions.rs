//! Text tracks in manifests. HLS cuts them on the film's own segment grid; DASH names the whole file.

use std::fmt::Write;

use super::{Links, hls, hls::Playlist, percent, quoted, timeline::Timeline, xml};
use crate::{
    CaptionId,
    captions::{CaptionKind, Described, TextTrack, VTT_CONTENT_TYPE, rendition},
    fmp4::TrackKind,
    index::{Index, Track},
    language,
};

/// GROUP-ID of the text of every variant.
const GROUP: &str = "text";
/// What captions are to Apple's players; plain subtitles have no characteristics.
const CHARACTERISTICS: &str = ",CHARACTERISTICS=\"public.accessibility.transcribes-spoken-dialog,\
                               public.accessibility.describes-music-and-sound\"";

/// EXT-X-MEDIA of every text track.
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
            hls::playlist_url(index, links, &rendition(*id), hls::playlist_file(index)),
        );
    }
    out
}

/// The attribute of every variant that these tracks go with, with its comma.
pub(super) fn hls_group(index: &Index) -> String {
    if index.captions.is_empty() { String::new() } else { format!(",SUBTITLES=\"{GROUP}\"") }
}

/// The media playlist of a text track: as long as that of what it goes with, so that no player waits for
/// one or the other. `None` when it does not exist (yet).
pub fn playlist(
    index: &Index,
    id: CaptionId,
    playlist: Playlist,
    links: &Links<'_>,
) -> Option<String> {
    let track = leading(index).filter(|track| index.hls && track.started())?;
    // Decimal durations are all that is new in it.
    let mut out = hls::head(index, playlist, 3)?;
    let prefix = hls::media_prefix(index, &rendition(id), links);
    let (timeline, suffix) = (timeline(index), links.suffix());
    for (number, gops) in hls::committed_segments(index, track).into_iter().enumerate() {
        hls::push_extinf(&mut out, timeline.duration_micros(&gops));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{prefix}h{number}.vtt{suffix}");
    }
    if index.finished_at_ms.is_some() {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    Some(out)
}

/// Where HLS segment `number` of every text track lies on the film's time line, in milliseconds; the last
/// one goes on to the end of whatever text there is.
pub fn segment(index: &Index, number: u32) -> Option<(u64, u64)> {
    let gops = index.grid.segment(number, crate::grid::HLS_SEGMENT_GOPS)?;
    let timeline = timeline(index);
    let end =
        if gops.end >= index.grid.gops() { u64::MAX } else { timeline.micros(gops.end) / 1000 };
    Some((timeline.micros(gops.start) / 1000, end))
}

/// What text is cut along: the pictures, or the sound of a film without.
fn leading(index: &Index) -> Option<&Track> {
    let video = index.video_renditions.iter().map(|r| &r.track);
    let audio = index.audio_renditions.first().map(|r| &r.track);
    // The lowest may come late where it is of a rare codec.
    let begun = video.max_by_key(|track| track.frontier());
    begun.or(audio)
}

fn timeline(index: &Index) -> Timeline<'_> {
    let kind = if index.video_renditions.is_empty() { TrackKind::Audio } else { TrackKind::Video };
    Timeline::new(&index.grid, kind)
}

/// The whole text of a track, below `/api/stream/{id}/`.
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

/// A track keeps its number whatever other tracks come and go, and it is none of the other sets'.
fn set_id(id: CaptionId) -> u32 {
    let bytes = id.uuid().into_bytes();
    u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) | 0x8000_0000
}
