//! Times and bytes of a track on the grid: the start and the size of each GOP.

use std::ops::Range;

use crate::{
    Grid,
    fmp4::{TrackKind, fragment::video_head_bytes},
    grid::{AAC_FRAME_SAMPLES, AUDIO_RATE},
    index::{Fragment, Track},
    segment::key_frame_bytes,
};

/// The times of all planned GOPs of one kind of track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline<'a> {
    grid: &'a Grid,
    kind: TrackKind,
    /// Samples of one packet of audio.
    packet_samples: u32,
}

impl<'a> Timeline<'a> {
    /// The times of video or of AAC.
    pub(super) const fn new(grid: &'a Grid, kind: TrackKind) -> Self {
        Self { grid, kind, packet_samples: AAC_FRAME_SAMPLES }
    }

    /// The times of `track`.
    pub(super) fn of(grid: &'a Grid, kind: TrackKind, track: &Track) -> Self {
        Self { grid, kind, packet_samples: track.packet_samples() }
    }

    pub(super) const fn kind(&self) -> TrackKind {
        self.kind
    }

    /// Ticks per second.
    pub(super) const fn timescale(&self) -> u32 {
        match self.kind {
            TrackKind::Video => self.grid.rate().timescale(),
            TrackKind::Audio => AUDIO_RATE,
        }
    }

    /// The tick at which `gop` starts; for the number after the last GOP, the end.
    pub(super) fn start(&self, gop: u32) -> u64 {
        match self.kind {
            TrackKind::Video => {
                self.grid.gop(gop).start * u64::from(self.grid.rate().frame_ticks())
            }
            TrackKind::Audio => {
                let samples = self.packet_samples;
                self.grid.sound_frames(gop, samples).start * u64::from(samples)
            }
        }
    }

    pub(super) fn ticks(&self, gops: &Range<u32>) -> u64 {
        self.start(gops.end) - self.start(gops.start)
    }

    /// Number of chunks that a range of GOPs touches.
    pub(super) fn chunks(&self, gops: &Range<u32>) -> u32 {
        let last = gops.end.saturating_sub(1).max(gops.start);
        1 + self.grid.chunk_of(last) - self.grid.chunk_of(gops.start)
    }

    /// Bytes of a range of GOPs that are not samples.
    pub(super) fn head_bytes(&self, gops: &Range<u32>) -> u64 {
        let samples = match self.kind {
            TrackKind::Video => self.grid.gop(gops.end).start - self.grid.gop(gops.start).start,
            TrackKind::Audio => self.ticks(gops) / u64::from(AAC_FRAME_SAMPLES),
        };
        // Audio heads are smaller.
        let fixed = video_head_bytes(0);
        fixed * u64::from(gops.end - gops.start) + (video_head_bytes(1) - fixed) * samples
    }

    /// The microsecond nearest to the start of `gop`.
    pub(super) fn micros(&self, gop: u32) -> u64 {
        let timescale = u128::from(self.timescale());
        let scaled = u128::from(self.start(gop)) * 1_000_000;
        ((scaled + timescale / 2) / timescale) as u64
    }

    /// Duration of a range of GOPs in microseconds, such that adjacent ranges add up without drift.
    pub(super) fn duration_micros(&self, gops: &Range<u32>) -> u64 {
        self.micros(gops.end) - self.micros(gops.start)
    }
}

/// Cumulative sizes of a track's committed fragments, by GOP.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    /// Bytes before each GOP; one more entry than there are GOPs.
    totals: Vec<u64>,
}

impl Bytes {
    /// Whole fragments.
    pub(super) fn of(track: &Track) -> Self {
        Self::sum(track, |_, fragment| u64::from(fragment.bytes))
    }

    /// The segments of key frames.
    pub(super) fn key_frames(track: &Track, grid: &Grid) -> Self {
        Self::sum(track, |gop, fragment| key_frame_bytes(grid, gop, fragment))
    }

    fn sum(track: &Track, size: impl Fn(u32, &Fragment) -> u64) -> Self {
        let mut totals = vec![0];
        let mut total = 0;
        for (gop, fragment) in (0..).zip(track.committed()) {
            total += size(gop, fragment);
            totals.push(total);
        }
        Self { totals }
    }

    /// Number of committed GOPs.
    pub(super) fn gops(&self) -> u32 {
        (self.totals.len() - 1) as u32
    }

    /// Bytes of a range of committed GOPs.
    pub(super) fn within(&self, gops: &Range<u32>) -> u64 {
        let at = |gop: u32| self.totals.get(gop as usize).copied().unwrap_or(0);
        at(gops.end).saturating_sub(at(gops.start))
    }
}
