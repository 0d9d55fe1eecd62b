//! Key frames as an AdaptationSet of their own, for fast playback in both directions (DASH-IF
//! Interoperability Points, 3.2.9).

use super::{
    super::{
        Links, percent,
        rate::leaky_bucket,
        timeline::{Bytes, Timeline},
        xml,
    },
    Template, fraction, push,
};
use crate::{
    fmp4::TrackKind,
    index::{Index, VideoRendition},
    ladder::lines,
};

/// Trick play shows a rung of at most this many lines, if there is one: several key frames per
/// second are fetched and decoded.
const TRICK_PLAY_LINES: u32 = 480;

/// The key frames of one rung of the set `main`, which has one codec. One rung suffices, and FFmpeg
/// opens every Representation of an MPD.
pub(super) fn push_set(
    out: &mut String,
    index: &Index,
    links: &Links<'_>,
    (id, main, rungs): (usize, usize, &[&VideoRendition]),
    buffer_ms: u64,
) {
    let small = |r: &&&VideoRendition| lines(r.width, r.height) <= TRICK_PLAY_LINES;
    let Some(rung) = rungs.iter().rev().find(small).or(rungs.first()) else { return };
    let VideoRendition { name, width, height, track, .. } = rung;
    let grid = &index.grid;
    let timeline = Timeline::new(grid, TrackKind::Video);
    let gops: Vec<_> = (0..track.frontier()).map(|gop| gop..gop + 1).collect();
    push(
        out,
        format_args!(
            "    <AdaptationSet id=\"{id}\" contentType=\"video\" mimeType=\"video/mp4\" \
             segmentAlignment=\"true\" startWithSAP=\"1\">\n      <EssentialProperty \
             schemeIdUri=\"http://dashif.org/guidelines/trickmode\" value=\"{main}\"/>\n",
        ),
    );
    let last = grid.gops().saturating_sub(1) as usize;
    let template = Template { timeline, rendition: &percent(name), kind: 'i', last };
    template.push(out, index, links, &gops);
    let bytes = Bytes::key_frames(track, grid);
    let buffer_ticks = buffer_ms * u64::from(timeline.timescale()) / 1000;
    // At the greatest rate key frames follow one another as quickly as frames do otherwise.
    let (gop_frames, rate) = (grid.gop_frames(), grid.rate());
    push(
        out,
        format_args!(
            "      <Representation id=\"{}-iframes\" bandwidth=\"{}\" codecs=\"{}\" \
             width=\"{width}\" height=\"{height}\" frameRate=\"{}\" sar=\"1:1\" \
             maxPlayoutRate=\"{gop_frames}\" codingDependency=\"false\"/>\n    \
             </AdaptationSet>\n",
            xml(name),
            leaky_bucket(timeline, &bytes, &gops, buffer_ticks).max(1),
            xml(&track.codec),
            fraction(rate.num(), rate.den().saturating_mul(gop_frames)),
        ),
    );
}
