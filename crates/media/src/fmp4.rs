//! Fragmented MP4: reading what ffmpeg writes, writing what we serve.
//!
//! ffmpeg's boxes never reach a viewer. Samples are taken out of them and written again in one
//! canonical form, so that every chunk of a rendition has the same init segment and every fragment
//! starts exactly on the grid; admission can then compare bytes instead of interpreting them.

mod audio;
mod av1;
mod avc;
mod bits;
pub(crate) mod boxes;
pub(crate) mod fragment;
mod header;
mod hevc;
pub(crate) mod init;
mod nal;
pub mod rewrite;
pub(crate) mod sample;
mod sps;
#[cfg(test)]
mod tests;
mod video;

pub use init::{InitInfo, init_info};
pub use sample::{SampleView, samples};

use thiserror::Error;

/// Most samples of one fragment or track run that we read: far above ten minutes of video.
pub(crate) const SAMPLES_MAX: usize = 1 << 20;

/// What a track holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures: H.264, HEVC or AV1.
    Video,
    /// AAC-LC audio.
    Audio,
}

/// Why bytes are not the MP4 that they should be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Mp4Error {
    /// A box or field reaches past its container.
    #[error("read mp4: truncated {0}")]
    Truncated(&'static str),
    /// A required box is not there.
    #[error("read mp4: missing {0}")]
    Missing(&'static str),
    /// A field has a value that it cannot have.
    #[error("read mp4: invalid {0}")]
    Invalid(&'static str),
    /// Legal, but not what our encoders write.
    #[error("read mp4: unsupported {0}")]
    Unsupported(&'static str),
    /// The number of frames or packets differs from the grid's.
    #[error("match grid: {found} samples, expected {expected}")]
    SampleCount {
        /// By the grid.
        expected: u64,
        /// In the file.
        found: u64,
    },
    /// A time that is not on the grid.
    #[error("match grid: sample {sample} is off the grid")]
    OffGrid {
        /// In decode order, from 0.
        sample: u64,
    },
    /// The key frames are not where the grid's GOPs start.
    #[error("match grid: key frame misplaced at sample {sample}")]
    KeyFrame {
        /// In decode order, from 0.
        sample: u64,
    },
}
