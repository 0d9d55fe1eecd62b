//! The start and the end of a track, as ffprobe lists its first frames and its packets.

use super::fields::{field, value};

/// The start of the video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) pts: i64,
    /// The offset from decode time to presentation time, for packets without a presentation time.
    pub(super) reorder: i64,
    pub(super) interlaced: bool,
}

/// The end of the video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Last {
    /// The highest presentation time of a packet that is shown.
    pub(super) pts: Option<i64>,
    /// The highest decode time.
    pub(super) dts: Option<i64>,
    /// The duration of the last packet in ticks.
    pub(super) duration: i64,
    /// Some packets have no presentation time.
    pub(super) untimed: bool,
    /// The number of the video's packets that were read.
    pub(super) packets: u64,
    /// The shortest interval between two presentation times.
    pub(super) step: Option<i64>,
}

impl Last {
    /// The duration of the last packet.
    pub(super) fn ticks(&self) -> i64 {
        self.duration.max(0)
    }

    /// The one of two findings that ends later.
    pub(super) fn later(self, other: Self) -> Self {
        let end = |last: &Self| (last.pts, last.dts);
        if end(&other) > end(&self) { other } else { self }
    }

    /// The end of the last packet in the source's seconds, if one tick is `tick` seconds.
    pub(super) fn seconds(&self, tick: f64) -> Option<f64> {
        let last = self.pts.or(self.dts)?;
        Some(last.saturating_add(self.ticks()) as f64 * tick)
    }
}

pub(super) struct Ends {
    pub(super) first: First,
    pub(super) last: Last,
}

impl Ends {
    /// Presentation times of the first and the last frame.
    pub(super) fn pts(&self) -> (i64, i64) {
        let first = self.first.pts;
        // If some packets have no presentation time, the last frame may be one of those.
        let by_decode_time = || self.last.dts.map(|dts| dts.saturating_add(self.first.reorder));
        let by_decode_time = by_decode_time().filter(|_| self.last.untimed);
        let last = self.last.pts.max(by_decode_time).unwrap_or(first);
        (first, last.max(first))
    }

    /// Whether the video is a single picture.
    pub(super) fn is_lone(&self) -> bool {
        let (first, last) = self.pts();
        self.last.packets == 1 && first == last
    }

    /// The start of the first frame and the end of the last one in the source's seconds, if one
    /// tick is `tick` seconds.
    pub(super) fn seconds(&self, tick: f64) -> (f64, f64) {
        let (first, last) = self.pts();
        (first as f64 * tick, last.saturating_add(self.last.ticks()) as f64 * tick)
    }
}

/// Parses ffprobe's output for the first frames: the start, and the number of frames. If none of
/// them has a time, the track starts at `start_pts`.
pub(super) fn first_pts(output: &[u8], start_pts: i64) -> Option<(First, u32)> {
    let text = String::from_utf8_lossy(output);
    let (mut pts, mut interlaced, mut frames) = (None::<i64>, false, 0);
    for line in text.lines() {
        if value(line, "best_effort_timestamp").is_none() {
            continue;
        }
        frames += 1;
        let own = field(line, "best_effort_timestamp");
        pts = pts.into_iter().chain(own).min();
        interlaced |= field(line, "interlaced_frame") == Some(1);
    }
    let pts = pts.unwrap_or(start_pts);
    let first = First { pts, reorder: pts.saturating_sub(start_pts).max(0), interlaced };
    (frames > 0).then_some((first, frames))
}
