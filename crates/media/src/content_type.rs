//! Media types of the served files.

/// Content type of video segments and their init segment, previews and downloads.
pub const VIDEO_CONTENT_TYPE: &str = "video/mp4";
/// Content type of audio segments and their init segment.
pub const AUDIO_CONTENT_TYPE: &str = "audio/mp4";
