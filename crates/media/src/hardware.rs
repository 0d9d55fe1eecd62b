//! Hardware encoders. A rung that names one falls back to the software encoder of its codec where
//! no worker has the hardware.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Codec;

/// A hardware encoder of FFmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HardwareEncoder {
    /// NVIDIA's encoder.
    #[serde(rename = "h264_nvenc")]
    Nvenc,
    /// Encoders behind VA-API: Intel, AMD.
    #[serde(rename = "h264_vaapi")]
    Vaapi,
    /// Intel's Quick Sync Video.
    #[serde(rename = "h264_qsv")]
    Qsv,
}

impl HardwareEncoder {
    /// Every hardware encoder.
    pub const ALL: [Self; 3] = [Self::Nvenc, Self::Vaapi, Self::Qsv];

    /// FFmpeg's name of the encoder, which is also the name in profiles files.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nvenc => "h264_nvenc",
            Self::Vaapi => "h264_vaapi",
            Self::Qsv => "h264_qsv",
        }
    }

    /// Parses the name that [`Self::text`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoder| encoder.text() == text)
    }

    /// The codec that it encodes.
    pub const fn codec(self) -> Codec {
        match self {
            Self::Nvenc | Self::Vaapi | Self::Qsv => Codec::H264,
        }
    }
}

impl fmt::Display for HardwareEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
