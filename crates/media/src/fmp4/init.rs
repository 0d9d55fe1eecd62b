//! stub
use super::{Mp4Error, TrackKind};
/// What an init segment says about its track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitInfo {
    /// Video or audio.
    pub kind: TrackKind,
    /// RFC 6381, for example "avc1.64001f" or "mp4a.40.2".
    pub codec: String,
    /// Ticks per second.
    pub timescale: u32,
    /// Pixels; 0 for audio.
    pub width: u32,
    /// Pixels; 0 for audio.
    pub height: u32,
    /// Channels; 0 for video.
    pub channels: u32,
    /// Hz; 0 for video.
    pub sample_rate: u32,
}
/// Reads an init segment, or the head of a file that ffmpeg wrote.
///
/// # Errors
/// An [`Mp4Error`] when it is damaged or holds something else than one H.264 or AAC-LC track.
pub fn init_info(_init: &[u8]) -> Result<InitInfo, Mp4Error> {
    Err(Mp4Error::Missing("moov"))
}
