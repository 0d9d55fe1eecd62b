//! DASH MPDs (ISO/IEC 23009-1): SegmentTemplate with SegmentTimeline and `$Number$`.
//!
//! A growing video has a dynamic MPD that states its whole duration. Its availability start lies in
//! the past, so that a viewer may seek to every encoded position, not only to the one that matches
//! the clock.

mod audio;
mod trick_play;

use std::{fmt::Write, ops::Range};

use super::{
    Links, by_codec, dash_playable, images,
    listed::listed,
    percent,
    playlist::planned_timelines,
    rate::{Planned, leaky_bucket},
    timeline::{Bytes, Timeline},
    visible_rungs, xml,
    xsd::{date_time, seconds},
};
use crate::{
    fmp4::TrackKind,
    index::{AudioRendition, Index, Track, VideoRendition},
};

/// How long reloads get the last dynamic MPD after the end: players that poll every two seconds must
/// see it, and some never read the static MPD.
pub const LINGER_MS: i64 = 10_000;
/// The query parameter of the URL from which players reload a dynamic MPD.
pub const RELOAD: &str = "reload";
/// The availability start precedes the time at which everything would have been published by this
/// much.
const AVAILABILITY_MARGIN_MS: i64 = 5_000;

/// The MPD for a session that begins at `now_ms` (Unix time); `None` until every rendition has
/// started. It is static once the video is final, because FFmpeg and VLC never end a session that
/// began with a dynamic MPD. It then leaves out the rungs that a higher one replaces, and has sets
/// for surround, trick play and thumbnails.
pub fn mpd(index: &Index, now_ms: i64, links: &Links<'_>) -> Option<String> {
    write(index, now_ms, links, false)
}

/// The MPD for a session that reloads a dynamic one at `now_ms`, from the URL that names [`RELOAD`]:
/// with the same sets and representations.
pub fn reloaded_mpd(index: &Index, now_ms: i64, links: &Links<'_>) -> Option<String> {
    write(index, now_ms, links, true)
}

fn write(index: &Index, now_ms: i64, links: &Links<'_>, reload: bool) -> Option<String> {
    if !dash_playable(index) {
        return None;
    }
    // The first MPD of a video with one segment is already complete, so no player has an earlier
    // one.
    let finished = index.finished_at_ms;
    let lingering = |at| reload && now_ms.saturating_sub(at) < LINGER_MS;
    let ended = last_segment(index) == 0 || finished.is_some_and(|at| !lingering(at));
    let settled = finished.is_some() && !reload;
    let buffer_ms = buffer_ms(index);
    let duration = seconds(duration_micros(index));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let buffer = seconds(buffer_ms * 1000);
    push(
        &mut out,
        format_args!(
            "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
         profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"{}\" \
         mediaPresentationDuration=\"{duration}\" minBufferTime=\"{buffer}\" \
         maxSegmentDuration=\"{buffer}\"",
            if ended { "static" } else { "dynamic" },
        ),
    );
    if ended {
        push(
            &mut out,
            format_args!(">\n  <Period id=\"0\" start=\"PT0S\" duration=\"{duration}\">\n"),
        );
    } else {
        let start = index.published_at_ms
            - duration_micros(index).div_ceil(1000) as i64
            - AVAILABILITY_MARGIN_MS;
        push(
            &mut out,
            format_args!(
                " availabilityStartTime=\"{}\" publishTime=\"{}\" minimumUpdatePeriod=\"PT2S\" \
             suggestedPresentationDelay=\"PT0S\">\n  <Location>{}</Location>\n  \
             <Period id=\"0\" start=\"PT0S\">\n",
                date_time(start),
                date_time(now_ms),
                xml(&reload_url(links)),
            ),
        );
    }
    let mut rungs: Vec<_> = visible_rungs(index, links).collect();
    if settled {
        rungs = listed(index, &rungs);
    }
    push_sets(&mut out, index, links, (&rungs, settled), buffer_ms);
    out.push_str("  </Period>\n");
    if !ended {
        push(
            &mut out,
            format_args!(
                "  <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{}\"/>\n",
                date_time(now_ms),
            ),
        );
    }
    out.push_str("</MPD>\n");
    Some(out)
}

/// The AdaptationSets: of each codec, of audio and text and, if they are `settled`, those that a running
/// session must not see appear.
fn push_sets(
    out: &mut String,
    index: &Index,
    links: &Links<'_>,
    (rungs, settled): (&[&VideoRendition], bool),
    buffer_ms: u64,
) {
    let groups = by_codec(rungs);
    for (id, rungs) in groups.iter().enumerate() {
        push_video(out, index, links, (id, rungs), buffer_ms);
    }
    let surround: Vec<_> = index.surround().filter(|_| settled).collect();
    audio::push_sets(out, index, links, (groups.len(), &surround), buffer_ms);
    if settled {
        let first = groups.len() + index.audio_renditions.len() + surround.len();
        for (main, rungs) in groups.iter().enumerate() {
            trick_play::push_set(out, index, links, (first + main, main, rungs), buffer_ms);
        }
        images::dash_set(out, index, links, first + groups.len());
    }
}

/// The URL from which a player reloads a dynamic MPD, relative to the first one. It distinguishes
/// running sessions from new ones.
fn reload_url(links: &Links<'_>) -> String {
    match links.suffix() {
        token if token.is_empty() => format!("manifest.mpd?{RELOAD}=1"),
        token => format!("manifest.mpd{token}&{RELOAD}=1"),
    }
}

/// One AdaptationSet for the rungs of one codec.
fn push_video(
    out: &mut String,
    index: &Index,
    links: &Links<'_>,
    (id, rungs): (usize, &[&VideoRendition]),
    buffer_ms: u64,
) {
    let rate = index.grid.rate();
    let frame_rate = fraction(rate.num(), rate.den());
    let width = rungs.iter().map(|r| r.width).max().unwrap_or(0);
    let height = rungs.iter().map(|r| r.height).max().unwrap_or(0);
    push(
        out,
        format_args!(
            "    <AdaptationSet id=\"{id}\" contentType=\"video\" mimeType=\"video/mp4\" \
         segmentAlignment=\"true\" startWithSAP=\"1\" maxWidth=\"{width}\" \
         maxHeight=\"{height}\" maxFrameRate=\"{frame_rate}\">\n",
        ),
    );
    // Sets of other codecs contain the same pictures.
    push_role(out, if id == 0 { "main" } else { "alternate" });
    // Switching needs the same segments in every rung, so the rung with the fewest decides.
    let frontier = rungs.iter().map(|r| r.track.frontier()).min().unwrap_or(0);
    let timeline = Timeline::new(&index.grid, TrackKind::Video);
    push_template(out, index, links, timeline, frontier);
    for rung in rungs {
        let VideoRendition { name, width, height, target_bitrate, track } = rung;
        let planned = *target_bitrate;
        push(
            out,
            format_args!(
                "      <Representation id=\"{}\" bandwidth=\"{}\" codecs=\"{}\" width=\"{width}\" \
             height=\"{height}\" frameRate=\"{frame_rate}\" sar=\"1:1\"/>\n",
                xml(name),
                bandwidth(index, track, TrackKind::Video, planned, buffer_ms),
                xml(&track.codec),
            ),
        );
    }
    out.push_str("    </AdaptationSet>\n");
}

/// A frame rate in lowest terms, for the attribute `frameRate`.
fn fraction(num: u32, den: u32) -> String {
    let (mut a, mut b) = (num, den);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    match (num / a.max(1), den / a.max(1)) {
        (num, 1) => num.to_string(),
        (num, den) => format!("{num}/{den}"),
    }
}

fn push_role(out: &mut String, role: &str) {
    push(
        out,
        format_args!("      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>\n"),
    );
}

/// The number of the last planned segment.
fn last_segment(index: &Index) -> usize {
    index.grid.dash_segments().count().saturating_sub(1)
}

/// The segments below `frontier`, from 0 and without gaps.
fn push_template(
    out: &mut String,
    index: &Index,
    links: &Links<'_>,
    timeline: Timeline<'_>,
    frontier: u32,
) {
    let segments = index.grid.dash_segments().take_while(|gops| gops.end <= frontier);
    let last = last_segment(index);
    let template = Template { timeline, rendition: "$RepresentationID$", kind: 'd', last };
    template.push(out, index, links, &segments.collect::<Vec<_>>());
}

/// The parts of a SegmentTemplate that differ between sets.
struct Template<'a> {
    timeline: Timeline<'a>,
    /// Percent-encoded, or the identifier that stands for it.
    rendition: &'a str,
    /// The letter before the number in a segment's name.
    kind: char,
    /// The number of the last planned segment. It is stated from the first MPD on: a player that has
    /// the last segment knows that it has everything, and does not depend on seeing the MPD become
    /// static in time.
    last: usize,
}

impl Template<'_> {
    fn push(&self, out: &mut String, index: &Index, links: &Links<'_>, segments: &[Range<u32>]) {
        let Self { timeline, rendition, kind, last } = self;
        let version = percent(&index.version.to_string());
        let prefix = links.prefix(index, &format!("../{version}/"), &format!("{version}/"));
        let (prefix, suffix) = (xml(&prefix), links.suffix());
        push(
            out,
            format_args!(
                "      <SegmentTemplate timescale=\"{}\" startNumber=\"0\" endNumber=\"{last}\" \
                 initialization=\"{prefix}{rendition}/init.mp4{suffix}\" \
                 media=\"{prefix}{rendition}/{kind}$Number$.m4s{suffix}\">\n        \
                 <SegmentTimeline>\n",
                timeline.timescale(),
            ),
        );
        let ticks: Vec<u64> = segments.iter().map(|gops| timeline.ticks(gops)).collect();
        let mut start = " t=\"0\"";
        for run in ticks.chunk_by(|a, b| a == b) {
            let repeat = match run.len() - 1 {
                0 => String::new(),
                repeats => format!(" r=\"{repeats}\""),
            };
            push(out, format_args!("          <S{start} d=\"{}\"{repeat}/>\n", run[0]));
            start = "";
        }
        out.push_str("        </SegmentTimeline>\n      </SegmentTemplate>\n");
    }
}

fn bandwidth(index: &Index, track: &Track, kind: TrackKind, planned: u64, buffer_ms: u64) -> u64 {
    let timeline = Timeline::of(&index.grid, kind, track);
    let bytes = Bytes::of(track);
    let segments: Vec<_> =
        index.grid.dash_segments().take_while(|gops| gops.end <= bytes.gops()).collect();
    let buffer_ticks = buffer_ms * u64::from(timeline.timescale()) / 1000;
    let measured = leaky_bucket(timeline, &bytes, &segments, buffer_ticks);
    let planned = Planned { timeline, bitrate: planned };
    let of_segment = |gops: Range<u32>| {
        let last = gops.end == index.grid.gops();
        let ticks = timeline.ticks(&gops);
        planned.rate(&gops, if last { ticks.max(buffer_ticks) } else { ticks })
    };
    let planned = match index.finished_at_ms {
        Some(_) => 0,
        None => index.grid.dash_segments().map(of_segment).max().unwrap_or(0),
    };
    measured.max(planned).max(1)
}

/// Duration of the longest planned segment of all renditions, in milliseconds, rounded up. It is
/// both the time that a player buffers before it starts and the upper bound of segment durations.
fn buffer_ms(index: &Index) -> u64 {
    let aac = Timeline::new(&index.grid, TrackKind::Audio);
    let mut longest = 1;
    for gops in index.grid.dash_segments() {
        let ms = |t: Timeline<'_>| (t.ticks(&gops) * 1000).div_ceil(u64::from(t.timescale()));
        longest = planned_timelines(index).map(ms).fold(longest.max(ms(aac)), u64::max);
    }
    longest
}

/// Duration of the longest rendition, rounded down, so that the last segment always reaches the end
/// of the Period. It must not be shorter by as much as a packet: dash.js seeks back at the end of
/// media that outlasts its Period.
fn duration_micros(index: &Index) -> u64 {
    let micros = |timeline: Timeline<'_>| {
        let ticks = u128::from(timeline.ticks(&(0..index.grid.gops())));
        (ticks * 1_000_000 / u128::from(timeline.timescale())) as u64
    };
    let timeline = |r: &AudioRendition| Timeline::of(&index.grid, TrackKind::Audio, &r.track);
    let sound = index.audio_renditions.iter().chain(index.surround().map(|(_, r)| r));
    let video = micros(Timeline::new(&index.grid, TrackKind::Video));
    sound.map(|r| micros(timeline(r))).fold(video, u64::max)
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
