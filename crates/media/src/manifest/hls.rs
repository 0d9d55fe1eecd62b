//! HLS playlists (RFC 8216 and its successor draft).
//!
//! Within a session the type of a playlist never changes: while a video is growing, its
//! multivariant playlist links to EVENT playlists, which receive an end but stay EVENT playlists;
//! once it is final, to VOD playlists.

pub use super::playlist::Playlist;
use super::{
    Links, by_codec, captions, hls_playable, images,
    listed::listed,
    pace::{listed_segments, offered},
    playlist::{
        AutoSelected, START, head, media_prefix, playlist_file, playlist_url, push, push_extinf,
        target_duration, yes,
    },
    quoted,
    rate::{self, Planned, Rates},
    timeline::{Bytes, Timeline},
    visible, visible_rungs,
};
use crate::{
    fmp4::TrackKind,
    index::{AudioRendition, Index, Track, VideoRendition},
    language,
    segment::SegmentName,
    surround::SurroundCodec,
};

/// GROUP-ID of the audio in stereo; those of surround begin with it.
const AUDIO_GROUP: &str = "audio";
/// Attribute of every variant: no video rendition contains CEA-608 or CEA-708 captions. Without the
/// attribute players offer a captions track that does not exist.
const CLOSED_CAPTIONS: &str = "CLOSED-CAPTIONS=NONE";
/// Apple's authoring specification (1.32) recommends a first variant near this bitrate, in bit/s.
const FIRST_VARIANT_BITRATE: u64 = 2_000_000;

/// The multivariant playlist; `None` while there is nothing to play.
pub fn multivariant(index: &Index, links: &Links<'_>) -> Option<String> {
    let growing = index.finished_at_ms.is_none();
    if !hls_playable(index) {
        return None;
    }
    let target = target_duration(index);
    let mut rungs: Vec<_> =
        visible_rungs(index, links).filter(|r| offered(index, &r.track)).collect();
    if !growing {
        rungs = listed(index, &rungs);
    }
    let sounds = audio_groups(index, target);
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:1\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    if growing {
        out.push_str(START);
    }
    for sound in &sounds {
        out.push_str(&sound.media(index, links));
    }
    out.push_str(&captions::hls_media(index, links));
    if rungs.is_empty() {
        if !index.video_renditions.is_empty() || sounds.is_empty() {
            return None;
        }
        for sound in &sounds {
            out.push_str(&sound.stream_inf(index, links)?);
        }
        return Some(out);
    }
    let groups = by_codec(&rungs);
    // The first variant must be one that every player supports, so it has the codec that ladders
    // begin with.
    let first_codec = groups.first().map_or(0, Vec::len);
    let rungs = groups.into_iter().flatten();
    let mut variants: Vec<_> = rungs.map(|rung| Variant::new(index, rung, target)).collect();
    let stereo = sounds.first().map_or(0, |sound| sound.rates.average);
    let distance = |v: &Variant<'_>| (v.rates.average + stereo).abs_diff(FIRST_VARIANT_BITRATE);
    if let Some(first) = (0..first_codec).min_by_key(|i| distance(&variants[*i])) {
        variants[..=first].rotate_right(1);
    }
    if sounds.is_empty() {
        for variant in &variants {
            out.push_str(&variant.stream_inf(index, links, None));
        }
    }
    // Variants with stereo come first: players begin with one of them.
    for sound in &sounds {
        for variant in &variants {
            out.push_str(&variant.stream_inf(index, links, Some(sound)));
        }
    }
    // Last, for players on slow networks or in the background; players that cannot change between
    // video and audio alone recognize it by its CODECS and leave it out.
    if let Some(alone) = sounds.first().and_then(|stereo| stereo.stream_inf(index, links)) {
        out.push_str(&alone);
    }
    if !growing {
        for variant in &variants {
            out.push_str(&variant.iframe_stream_inf(index, links, target));
        }
        out.push_str(&images::hls_stream(index, links));
    }
    Some(out)
}

/// A media playlist of a video or audio rendition; `None` if it does not exist (yet).
pub fn media(
    index: &Index,
    rendition: &str,
    playlist: Playlist,
    links: &Links<'_>,
) -> Option<String> {
    let (track, timeline) = servable(index, rendition, links)?;
    let mut out = head(index, playlist, 6)?;
    let (prefix, suffix) = (media_prefix(index, rendition, links), links.suffix());
    push(&mut out, format_args!("#EXT-X-MAP:URI=\"{prefix}init.mp4{suffix}\"\n"));
    for (number, gops) in listed_segments(index, track).into_iter().enumerate() {
        push_extinf(&mut out, timeline.duration_micros(&gops));
        let name = SegmentName::Hls(number as u32);
        push(&mut out, format_args!("{prefix}{name}{suffix}\n"));
    }
    if index.finished_at_ms.is_some() {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    Some(out)
}

/// The I-frame playlist of a video rendition: one segment per key frame. `None` while the video is
/// growing.
pub fn iframes(index: &Index, rendition: &str, links: &Links<'_>) -> Option<String> {
    index.finished_at_ms?;
    index.video_renditions.iter().find(|r| r.name == rendition)?;
    let (track, timeline) = servable(index, rendition, links)?;
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:5\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-I-FRAMES-ONLY\n",
        target_duration(index),
    );
    let (prefix, suffix) = (media_prefix(index, rendition, links), links.suffix());
    push(&mut out, format_args!("#EXT-X-MAP:URI=\"{prefix}init.mp4{suffix}\"\n"));
    for gop in 0..track.frontier() {
        push_extinf(&mut out, timeline.duration_micros(&(gop..gop + 1)));
        let name = SegmentName::KeyFrame(gop);
        push(&mut out, format_args!("{prefix}{name}{suffix}\n"));
    }
    out.push_str("#EXT-X-ENDLIST\n");
    Some(out)
}

/// The track of a rendition, if it has begun and this viewer may play it.
fn servable<'a>(
    index: &'a Index,
    rendition: &str,
    links: &Links<'_>,
) -> Option<(&'a Track, Timeline<'a>)> {
    let video = index.video_renditions.iter().any(|r| r.name == rendition);
    let kind = if video { TrackKind::Video } else { TrackKind::Audio };
    let (track, _) = index.track(rendition)?;
    let servable = index.hls && track.started() && visible(index, rendition, links.max_height);
    servable.then(|| (track, Timeline::of(&index.grid, kind, track)))
}

fn rates(index: &Index, track: &Track, kind: TrackKind, planned: u64, target: u64) -> Rates {
    let segments = listed_segments(index, track);
    let timeline = Timeline::of(&index.grid, kind, track);
    let measured = rate::measure(timeline, &Bytes::of(track), &segments, target);
    let planned = index.finished_at_ms.is_none().then(|| {
        let segments: Vec<_> = index.grid.hls_segments().collect();
        Planned { timeline, bitrate: planned }.rates(&segments, target)
    });
    measured.at_least(planned)
}

/// An audio group, which accompanies some of the variants.
struct Sound<'a> {
    group: String,
    /// Each with the place of its track among the audio renditions; the first is the default.
    members: Vec<(usize, &'a AudioRendition)>,
    /// In the form for CODECS, with a leading comma.
    codecs: String,
    /// The maximum over all members.
    rates: Rates,
}

/// The audio groups: stereo, then one for each codec of surround renditions. All groups have the
/// same tracks (RFC 8216, 4.3.4.1.1), so a track without surround in a codec is in stereo there,
/// too. None if no audio is offered.
fn audio_groups(index: &Index, target: u64) -> Vec<Sound<'_>> {
    let all = index.audio_renditions.iter().enumerate();
    let stereo: Vec<_> = all.filter(|(_, r)| offered(index, &r.track)).collect();
    let mut groups = vec![(AUDIO_GROUP.to_owned(), stereo.clone())];
    for codec in SurroundCodec::ALL {
        let surround = |place: usize| {
            let mut all = index.surround();
            let found = all.find(|(of, r)| *of == place && r.track.codec == codec.rfc6381());
            found.map(|(_, rendition)| rendition)
        };
        if stereo.iter().any(|(place, _)| surround(*place).is_some()) {
            let member = |(place, r): &(usize, _)| (*place, surround(*place).unwrap_or(*r));
            let members = stereo.iter().map(member).collect();
            groups.push((format!("{AUDIO_GROUP}-surround-{}", codec.text()), members));
        }
    }
    let groups = groups.into_iter().filter(|(_, members)| !members.is_empty());
    groups.map(|(group, members)| Sound::new(index, group, members, target)).collect()
}

impl<'a> Sound<'a> {
    fn new(
        index: &Index,
        group: String,
        members: Vec<(usize, &'a AudioRendition)>,
        target: u64,
    ) -> Self {
        let (mut codecs, mut highest) = (String::new(), Rates { peak: 0, average: 0 });
        for (_, AudioRendition { track, target_bitrate, .. }) in &members {
            let rates = rates(index, track, TrackKind::Audio, *target_bitrate, target);
            highest.peak = highest.peak.max(rates.peak);
            highest.average = highest.average.max(rates.average);
            let codec = format!(",{}", quoted(&track.codec));
            if !codecs.contains(&codec) {
                codecs.push_str(&codec);
            }
        }
        Self { group, members, codecs, rates: highest }
    }

    /// The variant without video: the default audio of the group. A video without a video track has
    /// only such variants.
    fn stream_inf(&self, index: &Index, links: &Links<'_>) -> Option<String> {
        let (_, default) = self.members.first()?;
        Some(format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",\
             AUDIO=\"{}\"{},{CLOSED_CAPTIONS}\n{}\n",
            self.rates.peak,
            self.rates.average,
            self.codecs.trim_start_matches(','),
            self.group,
            captions::hls_group(index),
            playlist_url(index, links, &default.name, playlist_file(index)),
        ))
    }

    /// The EXT-X-MEDIA tags of the group.
    fn media(&self, index: &Index, links: &Links<'_>) -> String {
        let mut out = String::new();
        let mut selected = AutoSelected::default();
        for (place, (number, rendition)) in self.members.iter().enumerate() {
            let purpose = index.purpose(*number);
            let (language, characteristics) =
                (language::tag(&rendition.language), purpose.characteristics().join(","));
            let default = place == 0;
            // A commentary plays only if the viewer chooses it.
            let automatic = selected.first(&language, &characteristics) && !purpose.commentary;
            let characteristics = match characteristics.as_str() {
                "" => String::new(),
                names => format!(",CHARACTERISTICS=\"{names}\""),
            };
            push(
                &mut out,
                format_args!(
                    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"{}\",\
                     LANGUAGE=\"{language}\",DEFAULT={},AUTOSELECT={}{characteristics},\
                     CHANNELS=\"{}\",URI=\"{}\"\n",
                    self.group,
                    quoted(&rendition.label),
                    yes(default),
                    yes(default || automatic),
                    rendition.channels,
                    playlist_url(index, links, &rendition.name, playlist_file(index)),
                ),
            );
        }
        out
    }
}

struct Variant<'a> {
    rung: &'a VideoRendition,
    rates: Rates,
}

impl<'a> Variant<'a> {
    fn new(index: &Index, rung: &'a VideoRendition, target: u64) -> Self {
        let rates = rates(index, &rung.track, TrackKind::Video, rung.target_bitrate, target);
        Self { rung, rates }
    }

    fn stream_inf(&self, index: &Index, links: &Links<'_>, sound: Option<&Sound<'_>>) -> String {
        let VideoRendition { name, width, height, track, .. } = self.rung;
        let audio = sound.map_or_else(String::new, |sound| format!(",AUDIO=\"{}\"", sound.group));
        let codecs = sound.map_or("", |sound| &sound.codecs);
        let rates = sound.map_or(Rates { peak: 0, average: 0 }, |sound| sound.rates);
        format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}{}\",\
             RESOLUTION={width}x{height},FRAME-RATE={:.3},VIDEO-RANGE=SDR{audio}{},{CLOSED_CAPTIONS}\n{}\n",
            self.rates.peak + rates.peak,
            self.rates.average + rates.average,
            quoted(&track.codec),
            codecs,
            index.grid.rate().fps(),
            captions::hls_group(index),
            playlist_url(index, links, name, playlist_file(index)),
        )
    }

    fn iframe_stream_inf(&self, index: &Index, links: &Links<'_>, target: u64) -> String {
        let VideoRendition { name, width, height, track, .. } = self.rung;
        let gops: Vec<_> = (0..track.frontier()).map(|gop| gop..gop + 1).collect();
        let timeline = Timeline::new(&index.grid, TrackKind::Video);
        let rates = rate::measure(timeline, &Bytes::key_frames(track, &index.grid), &gops, target);
        format!(
            "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",\
             RESOLUTION={width}x{height},VIDEO-RANGE=SDR,URI=\"{}\"\n",
            rates.peak,
            rates.average,
            quoted(&track.codec),
            playlist_url(index, links, name, "iframes.m3u8"),
        )
    }
}
