//! Bit rates, measured on the stored fragments.

use std::ops::Range;

use super::timeline::{Bytes, Timeline};
use crate::{
    fmp4::TrackKind,
    ladder::{BUFFER_PERCENT, MAXRATE_PERCENT},
};

/// How full an encoder's rate buffer is at most at the start of a chunk, in percent: x264's and
/// x265's default (`vbv-init`), which holds with an average bit rate. With a constant rate factor it
/// is less, but the index does not state the rate control, and earlier releases do not differ.
const BUFFER_FILLED_PERCENT: u64 = 90;
/// The highest rate of any two seconds from FFmpeg's AAC encoder, in percent of the planned rate: 103
/// at most in tones, noise and bursts at 96 to 192 kbit/s (measured with FFmpeg 5.1).
const AUDIO_PERCENT: u64 = 105;

/// Bit rates of a rendition, in bit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    /// Peak segment bit rate (RFC 8216, section 4.1).
    pub(super) peak: u64,
    pub(super) average: u64,
}

impl Rates {
    /// While the video is growing, segments to come may need more than those that are committed.
    pub(super) fn at_least(self, planned: Option<Self>) -> Self {
        let planned = planned.unwrap_or(Self { peak: 0, average: 0 });
        Self { peak: self.peak.max(planned.peak), average: self.average.max(planned.average) }
    }
}

/// The runs of `segments` over which the peak segment bit rate is defined (RFC 8216, section 4.1):
/// those that last between half and one and a half target durations. Each comes with its ticks.
fn runs<'a>(
    timeline: Timeline<'a>,
    segments: &'a [Range<u32>],
    target_seconds: u64,
) -> impl Iterator<Item = (Range<u32>, u64)> + 'a {
    let second = u64::from(timeline.timescale());
    let (least, most) = (target_seconds * second / 2, target_seconds * second * 3 / 2);
    (0..segments.len()).flat_map(move |first| {
        let start = segments[first].start;
        let from_here = segments[first..].iter().map(move |last| {
            let run = start..last.end;
            let ticks = timeline.ticks(&run);
            (run, ticks)
        });
        from_here.take_while(move |(_, ticks)| *ticks <= most).filter(move |(_, t)| *t >= least)
    })
}

/// Rates over `segments`, which must be contiguous and committed. A video that is too short for any
/// run has its average rate as its peak.
pub(super) fn measure(
    timeline: Timeline<'_>,
    bytes: &Bytes,
    segments: &[Range<u32>],
    target_seconds: u64,
) -> Rates {
    let second = u64::from(timeline.timescale());
    let of_run = |(run, ticks)| rate(bytes.within(&run), ticks, second);
    let peak = runs(timeline, segments, target_seconds).map(of_run).max().unwrap_or(0);
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Rates { peak: 0, average: 0 };
    };
    let all = first.start..last.end;
    let average = rate(bytes.within(&all), timeline.ticks(&all), second);
    Rates { peak: peak.max(average), average }
}

/// A rendition that is still being encoded: what its encoder may spend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned<'a> {
    pub(super) timeline: Timeline<'a>,
    /// In bit/s.
    pub(super) bitrate: u64,
}

impl Planned<'_> {
    /// The highest rates that the playlist of all planned `segments` can have.
    pub(super) fn rates(&self, segments: &[Range<u32>], target_seconds: u64) -> Rates {
        let runs = runs(self.timeline, segments, target_seconds);
        let peak = runs.map(|(run, ticks)| self.rate(&run, ticks)).max();
        Rates { peak: peak.unwrap_or(0).max(self.bitrate), average: self.bitrate }
    }

    /// The rate in bit/s that `run` needs at most, if it is delivered in `ticks`. A video encoder
    /// keeps to its peak rate, except for a buffer that is full again at the start of each chunk; an
    /// audio encoder keeps to its rate, approximately.
    pub(super) fn rate(&self, run: &Range<u32>, ticks: u64) -> u64 {
        let second = u64::from(self.timeline.timescale());
        let stream = |bitrate: u64| u128::from(bitrate) * u128::from(self.timeline.ticks(run));
        let bits = match self.timeline.kind() {
            TrackKind::Audio => {
                stream(self.bitrate * AUDIO_PERCENT / 100).div_ceil(u128::from(second))
            }
            TrackKind::Video => {
                let chunks = self.timeline.chunks(run);
                let buffer = self.bitrate * BUFFER_PERCENT / 100 * BUFFER_FILLED_PERCENT / 100;
                stream(self.bitrate * MAXRATE_PERCENT / 100).div_ceil(u128::from(second))
                    + u128::from(buffer) * u128::from(chunks)
            }
        };
        let bytes = (bits as u64).div_ceil(8) + self.timeline.head_bytes(run);
        rate(bytes, ticks, second)
    }
}

/// The lowest bandwidth with which a client that has buffered `buffer_ticks` never runs empty,
/// wherever it starts (ISO/IEC 23009-1, 5.3.5.4). `buffer_ticks` is at least the longest segment,
/// so the result is the rate of the worst segment, where only the last may be shorter than its
/// buffer.
pub(super) fn leaky_bucket(
    timeline: Timeline<'_>,
    bytes: &Bytes,
    segments: &[Range<u32>],
    buffer_ticks: u64,
) -> u64 {
    let second = u64::from(timeline.timescale());
    let mut worst = 0;
    for (index, gops) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        let ticks = timeline.ticks(gops);
        let ticks = if last { ticks.max(buffer_ticks) } else { ticks };
        worst = worst.max(rate(bytes.within(gops), ticks, second));
    }
    worst
}

/// The rate in bit/s, rounded up.
fn rate(bytes: u64, ticks: u64, timescale: u64) -> u64 {
    let bits = u128::from(bytes) * 8 * u128::from(timescale);
    bits.div_ceil(u128::from(ticks.max(1))) as u64
}
