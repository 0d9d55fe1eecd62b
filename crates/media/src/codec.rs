//! The video codecs that a rung may have, and what is particular about each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a rung's pictures are coded. The order is that of ladders: what every player plays comes first.
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
/// SVT-AV1's presets go from 0 to this, fastest last.
const SVT_PRESET_MAX: u32 = 13;

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 3] = [Self::H264, Self::Hevc, Self::Av1];

    /// As profiles files write it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
        }
    }

    /// Reads the text back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.text() == text)
    }

    /// FFmpeg's name of the encoder that a worker needs.
    pub const fn encoder(self) -> &'static str {
        match self {
            Self::H264 => "libx264",
            Self::Hevc => "libx265",
            Self::Av1 => "libsvtav1",
        }
    }

    /// The four characters that name the sample entry and begin the RFC 6381 string.
    pub const fn sample_entry(self) -> &'static str {
        match self {
            Self::H264 => "avc1",
            Self::Hevc => "hvc1",
            Self::Av1 => "av01",
        }
    }

    /// The codec of an RFC 6381 string that we write.
    pub fn of_rfc6381(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| text.starts_with(codec.sample_entry()))
    }

    /// A preset that keeps up with playback on a few cores.
    pub const fn default_preset(self) -> &'static str {
        match self {
            Self::H264 => "veryfast",
            Self::Hevc => "superfast",
            Self::Av1 => "10",
        }
    }

    /// Whether the encoder knows `preset`.
    pub fn has_preset(self, preset: &str) -> bool {
        match self {
            Self::H264 | Self::Hevc => X26X_PRESETS.contains(&preset),
            Self::Av1 => {
                let number: Option<u32> = preset.parse().ok();
                number.is_some_and(|n| n <= SVT_PRESET_MAX && n.to_string() == preset)
            }
        }
    }

    /// What [`Self::has_preset`] takes, for people.
    pub fn presets(self) -> String {
        match self {
            Self::H264 | Self::Hevc => X26X_PRESETS.join(", "),
            Self::Av1 => format!("0 to {SVT_PRESET_MAX}"),
        }
    }

    /// Smallest side that the encoder takes, in pixels: a macroblock of x264, a bound of SVT-AV1's own.
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
