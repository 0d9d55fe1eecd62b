//! Bit rates, measured on the stored fragments.

use std::ops::Range;

use super::timeline::{Bytes, Timeline};

/// Bit rates of a rendition, in bit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    /// Peak segment bit rate (RFC 8216, section 4.1).
    pub(super) peak: u64,
    pub(super) average: u64,
}

impl Rates {
    /// While the video is growing, the planned rate is the better estimate of the segments to come.
    pub(super) fn at_least(self, planned: Option<u64>) -> Self {
        let planned = planned.unwrap_or(0);
        Self { peak: self.peak.max(planned), average: self.average.max(planned) }
    }
}

/// Rates over `segments`, which must be contiguous and committed.
///
/// The peak is defined as in the RFC: over runs of segments that last between half and one and a
/// half target durations. The first segment is shorter than that, but every session loads it first,
/// so single complete GOPs count too; a last segment of a few frames does not.
pub(super) fn measure(
    timeline: Timeline<'_>,
    bytes: &Bytes,
    segments: &[Range<u32>],
    target_seconds: u64,
) -> Rates {
    let second = u64::from(timeline.timescale());
    let (least, most) = (target_seconds * second / 2, target_seconds * second * 3 / 2);
    let gop = timeline.ticks(&(0..1));
    let mut peak = 0;
    for (index, first) in segments.iter().enumerate() {
        for last in &segments[index..] {
            let run = first.start..last.end;
            let ticks = timeline.ticks(&run);
            if ticks > most && first != last {
                break;
            }
            if ticks >= least || (first == last && ticks >= gop) {
                peak = peak.max(rate(bytes.within(&run), ticks, second));
            }
        }
    }
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Rates { peak: 0, average: 0 };
    };
    let all = first.start..last.end;
    let average = rate(bytes.within(&all), timeline.ticks(&all), second);
    Rates { peak: peak.max(average), average }
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
