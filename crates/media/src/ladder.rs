//! The ladder: which rungs a source gets, and at what size. Never above the source.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Codec, source::VideoTrack};

/// A source may be this much smaller than a profile's box and still count as filling it (853 of 854).
const FIT_TOLERANCE: f64 = 1.02;
/// In bit/s, where no profile says.
const AUDIO_BITRATE_DEFAULT: u64 = 128_000;

/// A named target that operators configure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// For example "720p".
    pub name: String,
    /// Box for a landscape source, in pixels; a portrait one turns it.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// bit/s
    pub video_bitrate: u64,
    /// bit/s
    pub audio_bitrate: u64,
    /// How the pictures are coded.
    pub codec: Codec,
    /// The encoder's.
    pub preset: String,
}

/// One rendition of one video.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rung {
    /// The profile's name; also the rendition's.
    pub name: String,
    /// Even.
    pub width: u32,
    /// Even.
    pub height: u32,
    /// bit/s
    pub video_bitrate: u64,
    /// How the pictures are coded.
    #[serde(default)]
    pub codec: Codec,
    /// The encoder's; empty in plans of programs that had one for all rungs.
    #[serde(default)]
    pub preset: String,
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
    };
    vec![
        profile("360p", 640, 360, 800, 96),
        profile("480p", 854, 480, 1400, 128),
        profile("720p", 1280, 720, 2800, 128),
        profile("1080p", 1920, 1080, 5000, 192),
        profile("4k", 3840, 2160, 14_000, 192),
    ]
}

/// Why a requested ladder cannot be made; `index` is the place in the request.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LadderError {
    /// No profile has this name.
    #[error("unknown profile {name:?}; known are {known}")]
    Unknown {
        /// Place in the request.
        index: usize,
        /// As requested.
        name: String,
        /// The configured names, comma-separated.
        known: String,
    },
    /// The profile is larger than the source.
    #[error("profile {name:?} is above the source ({width}x{height})")]
    AboveSource {
        /// Place in the request.
        index: usize,
        /// As requested.
        name: String,
        /// Of the source.
        width: u32,
        /// Of the source.
        height: u32,
    },
    /// The encoder takes no picture as small as the source's.
    #[error("profile {name:?}: {codec} takes no picture of {width}x{height}")]
    TooSmall {
        /// Place in the request.
        index: usize,
        /// As requested.
        name: String,
        /// The profile's.
        codec: Codec,
        /// Of the rung.
        width: u32,
        /// Of the rung.
        height: u32,
    },
    /// Requested twice.
    #[error("profile {name:?} is listed twice")]
    Repeated {
        /// Place in the request.
        index: usize,
        /// As requested.
        name: String,
    },
}

/// The rungs for `track`: the `requested` ones, or with none requested every profile that fits. H.264
/// comes first, then HEVC, then AV1, each lowest first: the first rung is what every player can begin
/// with. The lowest profile of each codec always fits, at the source's own size when that is smaller.
///
/// # Errors
/// A [`LadderError`] that names the offending place of the request.
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

/// Checks that every requested name is a profile's.
///
/// # Errors
/// [`LadderError::Unknown`] that names the first place that is not, and the names that are.
pub fn known(profiles: &[Profile], requested: &[String]) -> Result<(), LadderError> {
    let is_known = |name: &String| profiles.iter().any(|p| p.name == *name);
    let Some(index) = requested.iter().position(|name| !is_known(name)) else { return Ok(()) };
    let known = profiles.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(LadderError::Unknown { index, name: requested[index].clone(), known })
}

/// Audio bit rate for a ladder: that of its largest rung's profile.
pub fn audio_bitrate(profiles: &[Profile], rungs: &[Rung]) -> u64 {
    let largest = rungs.iter().max_by_key(|r| (r.width * r.height, r.video_bitrate));
    let profile = largest.and_then(|r| profiles.iter().find(|p| p.name == r.name));
    profile.map_or(AUDIO_BITRATE_DEFAULT, |p| p.audio_bitrate)
}

/// Audio bit rate of a film without pictures: the best of all profiles.
pub fn sound_bitrate(profiles: &[Profile]) -> u64 {
    profiles.iter().map(|p| p.audio_bitrate).max().unwrap_or(AUDIO_BITRATE_DEFAULT)
}

/// The "p" of a picture size: its short side, whichever way it is turned.
pub const fn lines(width: u32, height: u32) -> u32 {
    if width < height { width } else { height }
}

/// How much the source would have to grow to touch the profile's box.
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
        width: even(track.width, factor),
        height: even(track.height, factor),
        video_bitrate: profile.video_bitrate,
        codec: profile.codec,
        preset: profile.preset.clone(),
    }
}

/// Smallest side that we encode, in pixels: x264's macroblock.
const SIDE_MIN: u32 = 16;

/// The even number nearest to a scaled side, for 4:2:0 chroma, and never above the source's.
fn even(side: u32, factor: f64) -> u32 {
    let nearest = (f64::from(side) * factor / 2.0).round() as u32 * 2;
    nearest.min(side / 2 * 2).max(SIDE_MIN)
}
