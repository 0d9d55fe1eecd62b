//! Sources that were joined from several recordings, each with its own clock ([`crate::joints`]).
//!
//! The recordings are shown one after the other: each begins on the frame of the grid that follows
//! the last frame of the recording before it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::VideoTrack;
use crate::{FrameRate, grid::AUDIO_RATE};

/// The video of one recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoPart {
    /// Where the recording begins in the file, in bytes.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// FFmpeg's stream index in the recording.
    pub index: u32,
    /// Presentation time of the first frame, in the track's ticks.
    pub first_pts: i64,
    /// Presentation time of the last frame.
    pub last_pts: i64,
    /// Ticks by which the recording begins before its first frame.
    pub hold_before: u64,
    /// Ticks by which it continues after its last frame.
    pub hold_after: u64,
}

/// The audio of one recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPart {
    /// Where the recording begins in the file, in bytes.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// FFmpeg's stream index in the recording; `None` if the recording has no audio.
    pub index: Option<u32>,
    /// The time at which the recording begins, in ticks of its 90 kHz clock; if absent, it begins
    /// with its first sample.
    pub origin: Option<i64>,
    /// Duration in samples of the output.
    pub samples: u64,
}

/// The video of one recording on the timeline of the whole source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The recording's byte range in the file; `None` if it is the whole file.
    pub bytes: Option<Range<u64>>,
    /// The track of this recording.
    pub track: VideoTrack,
    /// Its frames on the grid.
    pub frames: Range<u64>,
}

impl VideoTrack {
    /// The track of one recording.
    pub fn of_part(&self, part: &VideoPart) -> Self {
        let VideoPart { index, first_pts, last_pts, hold_before, hold_after, .. } = *part;
        let whole = Self { parts: Vec::new(), ..self.clone() };
        Self { index, first_pts, last_pts, hold_before, hold_after, ..whole }
    }

    /// The recordings in order, on a grid of `frames` frames at `rate`; a source that was not
    /// joined is one recording.
    pub fn spans(&self, rate: FrameRate, frames: u64) -> Vec<Span> {
        if self.parts.is_empty() {
            return vec![Span { bytes: None, track: self.clone(), frames: 0..frames }];
        }
        let mut start = 0;
        let mut spans = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let track = self.of_part(part);
            let end = track.frames_at(rate).saturating_add(start);
            spans.push(Span { bytes: Some(part.start..part.end), track, frames: start..end });
            start = end;
        }
        spans
    }
}

/// The output sample at which `frame` of a grid at `rate` begins.
pub fn sample_of(rate: FrameRate, frame: u64) -> u64 {
    let (num, den) = (u128::from(rate.num()), u128::from(rate.den()));
    let samples = u128::from(frame) * den * u128::from(AUDIO_RATE);
    u64::try_from((samples + num / 2) / num).unwrap_or(u64::MAX)
}
