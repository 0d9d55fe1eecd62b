//! Pure media logic, shared by all planes: identifiers, the time grid, the ladder, fMP4, the index,
//! the HLS and DASH writers, and byte ranges.
//!
//! **Invariant:** this crate does no I/O, reads no clock and uses no network; it maps bytes to
//! bytes.

pub mod admission;
pub mod captions;
pub mod codec;
mod content_type;
pub mod download;
pub mod excerpt;
pub mod fmp4;
pub mod grid;
pub mod hardware;
pub mod ids;
pub mod index;
pub mod joints;
pub mod jpeg;
pub mod ladder;
pub mod language;
pub mod layout;
pub mod manifest;
pub mod movie;
pub mod pictures;
pub mod profiles;
pub mod progressive;
pub mod purpose;
pub mod range;
pub mod segment;
pub mod source;
pub mod surround;
pub mod tables;
pub mod urls;

pub use codec::Codec;
pub use grid::{FrameRate, Grid};
pub use hardware::HardwareEncoder;
pub use ids::{CaptionId, JobId, TaskId, TokenId, UploadId, VideoId, WorkerId};

/// The SHA-256 digest of an object's bytes.
pub type Sha256Digest = [u8; 32];
