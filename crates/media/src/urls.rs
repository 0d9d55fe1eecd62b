//! Paths of the files that data planes serve for playback.

use std::fmt::Display;

/// The path of a file of a video; `file` is relative to the video's folder.
pub fn stream(video: impl Display, file: impl Display) -> String {
    format!("/api/stream/{video}/{file}")
}

/// The path of the multivariant HLS playlist.
pub fn hls(video: impl Display) -> String {
    stream(video, "hls/playlist.m3u8")
}

/// The path of the DASH manifest.
pub fn dash(video: impl Display) -> String {
    stream(video, "dash/manifest.mpd")
}

/// The path of a rendition as one file.
pub fn download(video: impl Display, profile: &str) -> String {
    stream(video, format_args!("download/{profile}.mp4"))
}

/// The path of a thumbnail; `number` counts from 0.
pub fn thumbnail(video: impl Display, number: u32) -> String {
    stream(video, format_args!("thumbnails/{number}.jpg"))
}

#[cfg(test)]
mod tests {
    use super::{dash, download, hls, stream, thumbnail};

    #[test]
    fn files_of_a_video_are_below_its_folder() {
        assert_eq!(stream("v", "poster.jpg"), "/api/stream/v/poster.jpg");
        assert_eq!(hls("v"), "/api/stream/v/hls/playlist.m3u8");
        assert_eq!(dash("v"), "/api/stream/v/dash/manifest.mpd");
        assert_eq!(download("v", "720p"), "/api/stream/v/download/720p.mp4");
        assert_eq!(thumbnail("v", 3), "/api/stream/v/thumbnails/3.jpg");
    }
}
