//! The ladder: selects the profiles that fit a source and their sizes. No rendition is larger than
//! the source.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Codec, HardwareEncoder, source::VideoTrack};

/// A source up to this much smaller than a profile's box still counts as filling it (853 of 854).
const FIT_TOLERANCE: f64 = 1.02;
/// In bit/s, where no profile states one.
const AUDIO_BITRATE_DEFAULT: u64 = 128_000;

/// A named encoding setting, configured by operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// For example "720p".
    pub name: String,
    /// Width of the box for a landscape source, in pixels; for a portrait source the box is
    /// rotated.
    pub width: u32,
    /// Height of the box; see `width`.
    pub height: u32,
    /// In bit/s; see [`Rung::video_bitrate`].
    pub video_bitrate: u64,
    /// In bit/s.
    pub audio_bitrate: u64,
    /// The video codec.
    pub codec: Codec,
    /// Preset of the encoder.
    pub preset: String,
    /// See [`Rung::crf`].
    pub crf: Option<u32>,
    /// See [`Rung::hardware`].
    pub hardware: Option<HardwareEncoder>,
}

/// The encoder's highest peak rate, in percent of [`Rung::video_bitrate`]: that with an average bit
/// rate.
pub const MAXRATE_PERCENT: u64 = 120;
/// The peak rate with a constant rate factor, at which a scene that needs more looks about as it does
/// with an average bit rate (docs/profiles.md, Rate control).
const CRF_MAXRATE_PERCENT: u64 = 100;
/// The encoder's rate buffer in bits, in percent of [`Rung::video_bitrate`].
pub const BUFFER_PERCENT: u64 = 200;

/// One planned video rendition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rung {
    /// Name of the profile, and of the rendition.
    pub name: String,
    /// In pixels; even.
    pub width: u32,
    /// In pixels; even.
    pub height: u32,
    /// In bit/s: the average with an average bit rate, the cap with a constant rate factor.
    pub video_bitrate: u64,
    /// The video codec.
    #[serde(default)]
    pub codec: Codec,
    /// Preset of the encoder; empty in plans from versions that had one preset for the whole
    /// ladder.
    #[serde(default)]
    pub preset: String,
    /// The constant rate factor; `None` encodes with an average bit rate, as all plans did that do
    /// not have this field.
    #[serde(default)]
    pub crf: Option<u32>,
    /// The hardware encoder; `None` encodes in software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareEncoder>,
}

impl Rung {
    /// The encoder's peak rate in bit/s, above which only its rate buffer ([`BUFFER_PERCENT`]) goes.
    pub fn peak_bitrate(&self) -> u64 {
        let percent = if self.crf.is_some() { CRF_MAXRATE_PERCENT } else { MAXRATE_PERCENT };
        self.video_bitrate * percent / 100
    }

    /// FFmpeg's name of the encoder that a worker needs for this rung.
    pub fn encoder(&self) -> &'static str {
        self.hardware.map_or(self.codec.encoder(), HardwareEncoder::text)
    }

    /// Whether its encoder places key frames at given frames, not only at a fixed interval: SVT-AV1
    /// does so only with a constant rate factor.
    pub fn has_placed_key_frames(&self) -> bool {
        self.codec != Codec::Av1 || self.crf.is_some()
    }
}

/// The built-in profiles, lowest first.
pub fn default_profiles() -> Vec<Profile> {
    let profile = |name: &str, width, height, video_kbit: u64, audio_kbit: u64| Profile {
        name: name.to_owned(),
        width,
        height,
        video_bitrate: video_kbit * 1000,
        audio_bitrate: audio_kbit * 1000,
        codec: Codec::H264,
        preset: Codec::H264.default_preset().to_owned(),
        crf: Some(Codec::H264.default_crf()),
        hardware: None,
    };
    vec![
        profile("360p", 640, 360, 800, 96),
        profile("480p", 854, 480, 1400, 128),
        profile("720p", 1280, 720, 2800, 128),
        profile("1080p", 1920, 1080, 5000, 192),
        profile("4k", 3840, 2160, 14_000, 192),
    ]
}

/// Why a requested ladder is invalid; `index` is the position in the request.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LadderError {
    /// No profile has this name.
    #[error("unknown profile {name:?}; known are {known}")]
    Unknown {
        /// Position in the request.
        index: usize,
        /// Name as requested.
        name: String,
        /// The configured names, comma-separated.
        known: String,
    },
    /// The profile is larger than the source.
    #[error("profile {name:?} is above the source ({width}x{height})")]
    AboveSource {
        /// Position in the request.
        index: usize,
        /// Name as requested.
        name: String,
        /// Width of the source.
        width: u32,
        /// Height of the source.
        height: u32,
    },
    /// The encoder does not support a picture as small as the source's.
    #[error("profile {name:?}: {codec} does not support {width}x{height}")]
    TooSmall {
        /// Position in the request.
        index: usize,
        /// Name as requested.
        name: String,
        /// Codec of the profile.
        codec: Codec,
        /// Width of the rung.
        width: u32,
        /// Height of the rung.
        height: u32,
    },
    /// The profile is requested twice.
    #[error("profile {name:?} is listed twice")]
    Repeated {
        /// Position in the request.
        index: usize,
        /// Name as requested.
        name: String,
    },
}

/// Selects the rungs for `track`: the `requested` profiles, or every profile that fits if none is
/// requested. H.264 comes first, then HEVC, then AV1, each lowest first, so that every player can
/// start with the first rung. The lowest profile of each codec always fits; its rung has the
/// source's own size when the source is smaller.
///
/// # Errors
/// A requested profile is unknown, too large, too small for its encoder, or listed twice.
pub fn select(
    track: &VideoTrack,
    profiles: &[Profile],
    requested: &[String],
) -> Result<Vec<Rung>, LadderError> {
    known(profiles, requested)?;
    let lowest =
        |codec: Codec| profiles.iter().filter(|p| p.codec == codec).map(|p| p.video_bitrate).min();
    let fits =
        |p: &Profile| scale(track, p) <= FIT_TOLERANCE || Some(p.video_bitrate) == lowest(p.codec);
    let mut chosen: Vec<&Profile> = Vec::new();
    for (index, name) in requested.iter().enumerate() {
        let Some(profile) = profiles.iter().find(|p| p.name == *name) else { continue };
        let name = name.clone();
        if !fits(profile) {
            let (width, height) = (track.width, track.height);
            return Err(LadderError::AboveSource { index, name, width, height });
        }
        let Rung { width, height, codec, .. } = rung(track, profile);
        if width.min(height) < codec.side_min() {
            return Err(LadderError::TooSmall { index, name, codec, width, height });
        }
        if chosen.iter().any(|p| p.name == name) {
            return Err(LadderError::Repeated { index, name });
        }
        chosen.push(profile);
    }
    if requested.is_empty() {
        chosen = profiles.iter().filter(|p| fits(p)).collect();
    }
    chosen.sort_by_key(|p| (p.codec, p.video_bitrate));
    let rungs = chosen.into_iter().map(|p| rung(track, p));
    Ok(rungs.filter(|r| r.width.min(r.height) >= r.codec.side_min()).collect())
}

/// Checks that there is a profile for every requested name.
///
/// # Errors
/// [`LadderError::Unknown`] with the first unknown name and the names of all profiles.
pub fn known(profiles: &[Profile], requested: &[String]) -> Result<(), LadderError> {
    let is_known = |name: &String| profiles.iter().any(|p| p.name == *name);
    let Some(index) = requested.iter().position(|name| !is_known(name)) else { return Ok(()) };
    let known = profiles.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(LadderError::Unknown { index, name: requested[index].clone(), known })
}

/// Audio bit rate for a ladder: that of the profile of its largest rung.
pub fn audio_bitrate(profiles: &[Profile], rungs: &[Rung]) -> u64 {
    let largest = rungs.iter().max_by_key(|r| (r.width * r.height, r.video_bitrate));
    let profile = largest.and_then(|r| profiles.iter().find(|p| p.name == r.name));
    profile.map_or(AUDIO_BITRATE_DEFAULT, |p| p.audio_bitrate)
}

/// Audio bit rate of a video without a video track: the highest of all profiles.
pub fn sound_bitrate(profiles: &[Profile]) -> u64 {
    profiles.iter().map(|p| p.audio_bitrate).max().unwrap_or(AUDIO_BITRATE_DEFAULT)
}

/// The "p" of a picture size: its shorter side in either orientation.
pub const fn lines(width: u32, height: u32) -> u32 {
    if width < height { width } else { height }
}

/// The factor by which the source would have to be scaled to touch the profile's box.
fn scale(track: &VideoTrack, profile: &Profile) -> f64 {
    let (long, short) = (profile.width.max(profile.height), profile.width.min(profile.height));
    let (source_long, source_short) =
        (track.width.max(track.height), track.width.min(track.height));
    let by_long = f64::from(long) / f64::from(source_long.max(1));
    let by_short = f64::from(short) / f64::from(source_short.max(1));
    by_long.min(by_short)
}

fn rung(track: &VideoTrack, profile: &Profile) -> Rung {
    let factor = scale(track, profile).min(1.0);
    Rung {
        name: profile.name.clone(),
        width: scale_to_even(track.width, factor),
        height: scale_to_even(track.height, factor),
        video_bitrate: profile.video_bitrate,
        codec: profile.codec,
        preset: profile.preset.clone(),
        crf: profile.crf,
        hardware: profile.hardware,
    }
}

/// Smallest side that is encoded, in pixels: x264's macroblock.
const SIDE_MIN: u32 = 16;

/// The even number nearest to the scaled side, for 4:2:0 chroma, and never above the source's side.
fn scale_to_even(side: u32, factor: f64) -> u32 {
    let nearest = (f64::from(side) * factor / 2.0).round() as u32 * 2;
    nearest.min(side / 2 * 2).max(SIDE_MIN)
}
