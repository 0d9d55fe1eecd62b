//! The fixed time grid that all renditions of a video share.
//!
//! A GOP lasts two seconds (`round(2·fps)` frames) and a chunk is ten GOPs, except that chunk 0 has
//! only two, so that playback can start early. HLS segments have at most five GOPs, DASH segments
//! at most two, and a segment never spans two chunks: it is always one byte range of one object.
//! The last GOP also takes a remainder of less than half a second, even where that remainder would
//! begin a chunk: hls.js stalls before a last segment of a single frame.

mod stored;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Highest output frame rate: the limit of rule 1.19 of Apple's HLS Authoring Specification.
pub const FRAME_RATE_MAX: u32 = 60;
/// Longest supported video: a week at 60 frames per second.
pub const FRAMES_MAX: u64 = 7 * 24 * 3600 * 60;
/// GOPs of chunk 0.
pub const FIRST_CHUNK_GOPS: u32 = 2;
/// GOPs of every other chunk.
pub const CHUNK_GOPS: u32 = 10;
/// Most GOPs of an HLS segment (about 10 s).
pub const HLS_SEGMENT_GOPS: u32 = 5;
/// Most GOPs of a DASH segment (about 4 s).
pub const DASH_SEGMENT_GOPS: u32 = 2;
/// Output sample rate of every audio rendition, in Hz.
pub const AUDIO_RATE: u32 = 48_000;
/// Samples of one AAC frame (ISO/IEC 14496-3, AAC-LC).
pub const AAC_FRAME_SAMPLES: u32 = 1024;
/// Samples of one access unit of AC-3 and E-AC-3 (ETSI TS 102 366).
pub const DOLBY_UNIT_SAMPLES: u32 = 1536;

/// Why a grid is invalid.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GridError {
    /// Zero, infinite, below one or above [`FRAME_RATE_MAX`].
    #[error("invalid frame rate {0}/{1}")]
    FrameRate(u32, u32),
    /// Zero frames, or more than [`FRAMES_MAX`].
    #[error("invalid number of frames {0}")]
    Frames(u64),
}

/// A constant frame rate from 1 to 60, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct FrameRate {
    num: u32,
    den: u32,
}

/// A source whose rate is within this fraction of a standard rate gets the standard rate.
const SNAP: f64 = 0.001;
/// Common frame rates of sources.
const STANDARD_RATES: [(u32, u32); 9] = [
    (24_000, 1001),
    (24, 1),
    (25, 1),
    (30_000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1001),
    (60, 1),
];

impl FrameRate {
    /// A rate exactly as given.
    ///
    /// # Errors
    /// [`GridError::FrameRate`] when the rate is not from 1 to 60.
    pub fn new(num: u32, den: u32) -> Result<Self, GridError> {
        let max = u64::from(den) * u64::from(FRAME_RATE_MAX);
        if den == 0 || num < den || u64::from(num) > max {
            return Err(GridError::FrameRate(num, den));
        }
        let divisor = gcd(num, den);
        Ok(Self { num: num / divisor, den: den / divisor })
    }

    /// The output rate for a source of nominally `num/den` frames per second: halved until at most
    /// 60, then the nearest standard rate when within 0.1 %, and at least one frame per second.
    ///
    /// # Errors
    /// [`GridError::FrameRate`] when the source's rate is zero, infinite or above 1000.
    pub fn for_source(num: u32, den: u32) -> Result<Self, GridError> {
        if num == 0 || den == 0 || u64::from(num) > u64::from(den) * 1000 {
            return Err(GridError::FrameRate(num, den));
        }
        let mut fps = f64::from(num) / f64::from(den);
        let mut halvings = 0;
        while fps > f64::from(FRAME_RATE_MAX) * (1.0 + SNAP) {
            fps /= 2.0;
            halvings += 1;
        }
        let distance = |(n, d): (u32, u32)| {
            let standard = f64::from(n) / f64::from(d);
            (fps - standard).abs() / standard
        };
        let nearest =
            STANDARD_RATES.into_iter().min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        if let Some((n, d)) = nearest.filter(|rate| distance(*rate) <= SNAP) {
            return Self::new(n, d);
        }
        if fps <= 1.0 {
            return Self::new(1, 1);
        }
        // Exact as long as the numbers are small, because they are factors of the tracks'
        // timescale.
        match den.checked_mul(1 << halvings) {
            Some(den) if den < 100_000 && num < 10_000_000 => Self::new(num, den),
            _ => Self::new((fps.min(f64::from(FRAME_RATE_MAX)) * 1000.0).round() as u32, 1000),
        }
    }

    /// The nominal rate of videos without a video track: one frame lasts as long as one AAC frame,
    /// so that every boundary is exact.
    pub const SOUND: Self = Self { num: 375, den: 8 };

    /// Numerator in lowest terms.
    pub const fn num(self) -> u32 {
        self.num
    }

    /// Denominator in lowest terms.
    pub const fn den(self) -> u32 {
        self.den
    }

    /// Frames per second.
    pub fn fps(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Ticks per second of the video tracks: exact for this rate, at least 10 000.
    pub const fn timescale(self) -> u32 {
        self.num * 10_000_u32.div_ceil(self.num)
    }

    /// Ticks per frame in [`Self::timescale`] units.
    pub const fn frame_ticks(self) -> u32 {
        self.den * 10_000_u32.div_ceil(self.num)
    }
}

impl TryFrom<(u32, u32)> for FrameRate {
    type Error = GridError;

    fn try_from((num, den): (u32, u32)) -> Result<Self, GridError> {
        Self::new(num, den)
    }
}

impl From<FrameRate> for (u32, u32) {
    fn from(rate: FrameRate) -> Self {
        (rate.num, rate.den)
    }
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The grid of a video: its frame rate and its number of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    rate: FrameRate,
    frames: u64,
    /// Whether the last GOP takes a short remainder; see [`Self::with_joined_remainder`].
    joined: bool,
}

impl Grid {
    /// A grid of `frames` frames whose last GOP may be as short as one frame.
    ///
    /// # Errors
    /// [`GridError::Frames`] when `frames` is 0 or above [`FRAMES_MAX`].
    pub fn new(rate: FrameRate, frames: u64) -> Result<Self, GridError> {
        if frames == 0 || frames > FRAMES_MAX {
            return Err(GridError::Frames(frames));
        }
        Ok(Self { rate, frames, joined: false })
    }

    /// The same grid, except that a remainder of less than 0.5 s belongs to the last full GOP
    /// instead of being a GOP. Grids are planned so if all encoders can place the key frames; versions
    /// that were encoded before this rule keep their short last GOP.
    #[must_use]
    pub const fn with_joined_remainder(self) -> Self {
        let full = self.frames / self.gop_frames() as u64;
        let rest = self.frames % self.gop_frames() as u64;
        let short = rest * 2 * (self.rate.den as u64) < self.rate.num as u64;
        Self { joined: full > 0 && rest > 0 && short, ..self }
    }

    /// The same grid, except that any remainder is a GOP of its own.
    #[must_use]
    pub const fn without_joined_remainder(self) -> Self {
        Self { joined: false, ..self }
    }

    /// Whether the last GOP has more frames than the others.
    pub const fn has_joined_remainder(&self) -> bool {
        self.joined
    }

    /// The grid of a video without a video track that lasts `seconds`.
    ///
    /// # Errors
    /// [`GridError::Frames`] when `seconds` is not a valid duration.
    pub fn of_sound(seconds: f64) -> Result<Self, GridError> {
        // Rounding must not add a frame of silence to an exact duration.
        let frames = (seconds * FrameRate::SOUND.fps() - 1e-6).ceil();
        Self::new(FrameRate::SOUND, if frames.is_finite() { frames.max(0.0) as u64 } else { 0 })
    }

    /// The constant frame rate.
    pub const fn rate(&self) -> FrameRate {
        self.rate
    }

    /// Number of frames of the whole video.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Duration of the whole video in seconds.
    pub fn duration(&self) -> f64 {
        self.seconds(self.frames)
    }

    /// The time at which `frame` begins, in seconds.
    pub fn seconds(&self, frame: u64) -> f64 {
        frame as f64 * f64::from(self.rate.den) / f64::from(self.rate.num)
    }

    /// Frames of every GOP except the last: `round(2·fps)`.
    pub const fn gop_frames(&self) -> u32 {
        let doubled = 2 * self.rate.num as u64;
        let den = self.rate.den as u64;
        // A rate is at least one frame per second.
        ((doubled + den / 2) / den) as u32
    }

    /// Number of GOPs; the last one may be shorter than the others, or up to 0.5 s longer.
    pub fn gops(&self) -> u32 {
        let size = u64::from(self.gop_frames());
        let gops = if self.joined { self.frames / size } else { self.frames.div_ceil(size) };
        gops as u32
    }

    /// The frames of GOP `gop`; empty past the end.
    pub fn gop(&self, gop: u32) -> Range<u64> {
        let start = |gop: u64| match gop < u64::from(self.gops()) {
            true => gop * u64::from(self.gop_frames()),
            false => self.frames,
        };
        start(gop.into())..start(u64::from(gop) + 1)
    }

    /// The GOP that contains `frame`; the last one for frames past the end.
    pub fn gop_of(&self, frame: u64) -> u32 {
        let gop = frame / u64::from(self.gop_frames());
        gop.min(u64::from(self.gops()) - 1) as u32
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        let gops = self.gops();
        1 + gops.saturating_sub(FIRST_CHUNK_GOPS).div_ceil(CHUNK_GOPS)
    }

    /// The GOPs of chunk `chunk`; empty past the end.
    pub fn chunk_gops(&self, chunk: u32) -> Range<u32> {
        let gops = self.gops();
        let start = match chunk {
            0 => 0,
            n => u64::from(FIRST_CHUNK_GOPS) + u64::from(n - 1) * u64::from(CHUNK_GOPS),
        };
        let size = if chunk == 0 { FIRST_CHUNK_GOPS } else { CHUNK_GOPS };
        let start = start.min(u64::from(gops)) as u32;
        start..(start + size).min(gops)
    }

    /// The chunk that contains GOP `gop`.
    pub const fn chunk_of(&self, gop: u32) -> u32 {
        match gop.checked_sub(FIRST_CHUNK_GOPS) {
            None => 0,
            Some(rest) => 1 + rest / CHUNK_GOPS,
        }
    }

    /// The frames of chunk `chunk`; empty past the end.
    pub fn chunk_frames(&self, chunk: u32) -> Range<u64> {
        let gops = self.chunk_gops(chunk);
        self.gop(gops.start).start..self.gop(gops.end).start
    }

    /// The AAC frames of GOP `gop`: from the AAC frame boundary nearest to the GOP's start up to
    /// the one nearest to its end, so that audio segments end within half an AAC frame of the
    /// video's. The audio of the last GOP ends with its video or less than one AAC frame before it,
    /// because dash.js seeks back at the end when audio outlasts the stated duration. Every GOP has
    /// audio, however short the GOP is.
    pub fn audio_frames(&self, gop: u32) -> Range<u64> {
        self.sound_frames(gop, AAC_FRAME_SAMPLES)
    }

    /// AAC frames of the whole track.
    pub fn audio_frames_total(&self) -> u64 {
        self.sound_frames_total(AAC_FRAME_SAMPLES)
    }

    /// Like [`Self::audio_frames`], for a codec whose frames have `samples` samples.
    pub fn sound_frames(&self, gop: u32, samples: u32) -> Range<u64> {
        let frames = self.gop(gop);
        self.sound_boundary(frames.start, samples)..self.sound_boundary(frames.end, samples)
    }

    /// Like [`Self::audio_frames_total`], for a codec whose frames have `samples` samples.
    pub fn sound_frames_total(&self, samples: u32) -> u64 {
        let (num, den) = self.sound_position(self.frames, samples);
        let last_gop = self.nearest_sound_frame(self.gop(self.gops() - 1).start, samples);
        ((num / den) as u64).max(last_gop + 1)
    }

    fn sound_boundary(&self, frame: u64, samples: u32) -> u64 {
        if frame < self.frames {
            self.nearest_sound_frame(frame, samples)
        } else {
            self.sound_frames_total(samples)
        }
    }

    fn nearest_sound_frame(&self, frame: u64, samples: u32) -> u64 {
        let (num, den) = self.sound_position(frame, samples);
        ((num + den / 2) / den) as u64
    }

    /// Where a video frame begins, in frames of `samples` samples, as a fraction.
    fn sound_position(&self, frame: u64, samples: u32) -> (u128, u128) {
        let num = u128::from(frame) * u128::from(self.rate.den) * u128::from(AUDIO_RATE);
        let den = u128::from(self.rate.num) * u128::from(samples.max(1));
        (num, den)
    }

    /// The HLS segments as GOP ranges, in order.
    pub fn hls_segments(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        self.segments(HLS_SEGMENT_GOPS)
    }

    /// The DASH segments as GOP ranges, in order.
    pub fn dash_segments(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        self.segments(DASH_SEGMENT_GOPS)
    }

    /// The GOPs of segment `number` when segments have at most `size` GOPs; `None` past the end.
    pub(crate) fn segment(&self, number: u32, size: u32) -> Option<Range<u32>> {
        let (first, others) = (FIRST_CHUNK_GOPS.div_ceil(size), CHUNK_GOPS.div_ceil(size));
        let (chunk, within) = match number.checked_sub(first) {
            None => (0, number),
            Some(rest) => (1 + rest / others, rest % others),
        };
        let gops = self.chunk_gops(chunk);
        let start = gops.start.checked_add(within * size).filter(|start| *start < gops.end)?;
        Some(start..(start + size).min(gops.end))
    }

    fn segments(&self, size: u32) -> impl Iterator<Item = Range<u32>> + use<> {
        let grid = *self;
        (0..grid.chunks()).flat_map(move |chunk| {
            let gops = grid.chunk_gops(chunk);
            let end = gops.end;
            gops.step_by(size as usize).map(move |start| start..(start + size).min(end))
        })
    }
}
