//! Surround renditions, which a track has beside its stereo rendition.

use serde::{Deserialize, Serialize};

/// Channels of an encoded surround rendition: 5.1.
pub const CHANNELS: u32 = 6;
/// The prefix of every surround rendition's name; no profile's name may begin with it.
pub const RENDITION_PREFIX: &str = "surround-";

/// The name of a surround rendition.
pub fn rendition(number: u32) -> String {
    format!("{RENDITION_PREFIX}{number}")
}

/// The codec of a surround rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SurroundCodec {
    /// AAC-LC, encoded.
    Aac,
    /// Dolby Digital, copied from the source.
    Ac3,
    /// Dolby Digital Plus, copied from the source.
    Eac3,
}

impl SurroundCodec {
    /// Every codec, in the order of the audio groups of HLS.
    pub const ALL: [Self; 3] = [Self::Aac, Self::Ac3, Self::Eac3];

    /// The name in plans and leases, which is also FFmpeg's.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
        }
    }

    /// Parses the name that [`Self::text`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.text() == text)
    }

    /// The codec string of RFC 6381.
    pub const fn rfc6381(self) -> &'static str {
        match self {
            Self::Aac => "mp4a.40.2",
            Self::Ac3 => "ac-3",
            Self::Eac3 => "ec-3",
        }
    }

    /// The codec of an RFC 6381 string that this crate has written.
    pub fn of_rfc6381(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.rfc6381() == text)
    }
}
