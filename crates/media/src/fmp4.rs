//! Fragmented MP4: reads FFmpeg's output and writes the form that is served.
//!
//! FFmpeg's boxes never reach a viewer. Its samples are extracted and written again in one
//! canonical form, so that every chunk of a rendition has the same init segment and every fragment
//! starts exactly on the grid. Admission can then compare bytes instead of interpreting them.

mod audio;
mod av1;
mod avc;
mod bits;
pub(crate) mod boxes;
pub mod copied;
mod dolby;
pub(crate) mod fragment;
mod header;
mod hevc;
pub(crate) mod init;
mod nal;
mod packets;
mod record;
pub mod rewrite;
mod rewritten;
pub(crate) mod sample;
mod sps;
#[cfg(test)]
mod tests;
mod video;

pub use init::{InitInfo, init_info};
pub use sample::{SampleView, samples};

use thiserror::Error;

/// Maximum number of samples of one fragment or track run that are read: far above ten minutes of
/// video.
pub(crate) const SAMPLES_MAX: usize = 1 << 20;

/// The kind of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Video: H.264, HEVC or AV1.
    Video,
    /// Audio: AAC-LC, AC-3 or E-AC-3.
    Audio,
}

/// Why bytes are not the expected MP4.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Mp4Error {
    /// A box or field extends past the end of its container.
    #[error("read mp4: truncated {0}")]
    Truncated(&'static str),
    /// A required box is missing.
    #[error("read mp4: missing {0}")]
    Missing(&'static str),
    /// A field has an invalid value.
    #[error("read mp4: invalid {0}")]
    Invalid(&'static str),
    /// Valid MP4, but not a form that the worker's encoders write.
    #[error("read mp4: unsupported {0}")]
    Unsupported(&'static str),
    /// The number of frames or packets differs from the grid's.
    #[error("match grid: {found} samples, expected {expected}")]
    SampleCount {
        /// Samples by the grid.
        expected: u64,
        /// Samples in the file.
        found: u64,
    },
    /// A sample's time is not on the grid.
    #[error("match grid: sample {sample} is off the grid")]
    OffGrid {
        /// Number of the sample in decode order, from 0.
        sample: u64,
    },
    /// A key frame is not where a GOP of the grid starts, or is missing there.
    #[error("match grid: key frame misplaced at sample {sample}")]
    KeyFrame {
        /// Number of the sample in decode order, from 0.
        sample: u64,
    },
}
