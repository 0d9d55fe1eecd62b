//! The video codecs of renditions, and the properties of each.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// Video codec of a rendition. The order is that of ladders: the codec that every player supports
/// comes first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264 High, `avc1`.
    #[default]
    H264,
    /// HEVC Main, `hvc1`.
    Hevc,
    /// AV1 Main, `av01`.
    Av1,
}

/// The presets that x264 and x265 share, fastest first.
const X26X_PRESETS: [&str; 10] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
];
/// SVT-AV1's presets go from 0 to this number; the highest is the fastest.
const SVT_PRESET_MAX: u32 = 13;

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 3] = [Self::H264, Self::Hevc, Self::Av1];

    /// The name in profiles files.
    pub const fn text(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
        }
    }

    /// Parses the name that [`Self::text`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.text() == text)
    }

    /// FFmpeg's name of the encoder that a worker needs for this codec.
    pub const fn encoder(self) -> &'static str {
        match self {
            Self::H264 => "libx264",
            Self::Hevc => "libx265",
            Self::Av1 => "libsvtav1",
        }
    }

    /// The four characters that name the sample entry and start the RFC 6381 string.
    pub const fn sample_entry(self) -> &'static str {
        match self {
            Self::H264 => "avc1",
            Self::Hevc => "hvc1",
            Self::Av1 => "av01",
        }
    }

    /// The codec of an RFC 6381 string that this crate has written.
    pub fn of_rfc6381(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| text.starts_with(codec.sample_entry()))
    }

    /// Default preset: fast enough for real time on a few cores.
    pub const fn default_preset(self) -> &'static str {
        match self {
            Self::H264 => "veryfast",
            Self::Hevc => "superfast",
            Self::Av1 => "10",
        }
    }

    /// The default constant rate factor: at the built-in bit rates, a scene that needs them looks as
    /// it does at an average rate, and easier scenes need less (docs/profiles.md, Rate control).
    pub const fn default_crf(self) -> u32 {
        match self {
            Self::H264 => 21,
            Self::Hevc => 23,
            Self::Av1 => 34,
        }
    }

    /// The constant rate factors that the encoder accepts: a lower one means a higher quality. x264
    /// is lossless at 0, which its profile High does not allow.
    pub const fn crfs(self) -> RangeInclusive<u32> {
        match self {
            Self::H264 | Self::Hevc => 1..=51,
            Self::Av1 => 1..=63,
        }
    }

    /// Whether the encoder has a preset of this name.
    pub fn has_preset(self, preset: &str) -> bool {
        match self {
            Self::H264 | Self::Hevc => X26X_PRESETS.contains(&preset),
            Self::Av1 => {
                let number: Option<u32> = preset.parse().ok();
                number.is_some_and(|n| n <= SVT_PRESET_MAX && n.to_string() == preset)
            }
        }
    }

    /// The presets that [`Self::has_preset`] accepts, as text for error messages.
    pub fn presets(self) -> String {
        match self {
            Self::H264 | Self::Hevc => X26X_PRESETS.join(", "),
            Self::Av1 => format!("0 to {SVT_PRESET_MAX}"),
        }
    }

    /// Smallest width or height that the encoder accepts, in pixels: a macroblock for x264,
    /// SVT-AV1's own limit for AV1.
    pub const fn side_min(self) -> u32 {
        match self {
            Self::H264 | Self::Hevc => 16,
            Self::Av1 => 64,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
