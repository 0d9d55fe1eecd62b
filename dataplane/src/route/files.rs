//! Routes directly below `/api/stream/{id}/` other than the manifests: images, previews, downloads
//! and text tracks.

use media::{VideoId, manifest::hls::Playlist};

use super::{Route, RouteError, id, plain};

/// An image or preview of a video, by a name that does not change between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageFile {
    /// `poster.jpg`
    Poster,
    /// `thumbnails`: their list.
    Thumbnails,
    /// `thumbnails/{n}.jpg`
    Thumbnail(u32),
    /// `storyboard.vtt`
    Storyboard,
    /// `preview.mp4`
    Preview,
}

/// A file of a text track's rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFile {
    /// `event.m3u8`, `vod.m3u8`
    Playlist(Playlist),
    /// `h{n}.vtt`
    Segment(u32),
}

impl TextFile {
    /// Parses a file name; each file has exactly one spelling.
    pub(super) fn parse(file: &str) -> Option<Self> {
        match file {
            "event.m3u8" => Some(Self::Playlist(Playlist::Event)),
            "vod.m3u8" => Some(Self::Playlist(Playlist::Vod)),
            _ => number(file.strip_prefix('h')?.strip_suffix(".vtt")?).map(Self::Segment),
        }
    }
}

impl ImageFile {
    /// The route's path pattern.
    pub(super) const fn pattern(self) -> &'static str {
        match self {
            Self::Poster => "/api/stream/{id}/poster.jpg",
            Self::Thumbnails => "/api/stream/{id}/thumbnails",
            Self::Thumbnail(_) => "/api/stream/{id}/thumbnails/{n}.jpg",
            Self::Storyboard => "/api/stream/{id}/storyboard.vtt",
            Self::Preview => "/api/stream/{id}/preview.mp4",
        }
    }
}

/// Resolves one or two path parts below `/api/stream/{video}/`, except for the manifests.
pub(super) fn below_video(video: &str, parts: &[&str]) -> Result<Route, RouteError> {
    let file = match parts {
        ["poster.jpg"] => ImageFile::Poster,
        ["thumbnails"] => ImageFile::Thumbnails,
        ["thumbnails", file] => ImageFile::Thumbnail(numbered(file).ok_or(RouteError::Unknown)?),
        ["storyboard.vtt"] => ImageFile::Storyboard,
        ["preview.mp4"] => ImageFile::Preview,
        ["captions", file] => {
            let caption = file.strip_suffix(".vtt").ok_or(RouteError::Unknown)?;
            let (video, caption) = (id("id", video)?, id("caption", caption)?);
            return Ok(Route::CaptionFile { video, caption });
        }
        ["download", file] => {
            let rung = file.strip_suffix(".mp4").filter(|rung| plain(rung));
            let rung = rung.ok_or(RouteError::Unknown)?.to_owned();
            return Ok(Route::Download { video: id("id", video)?, rung });
        }
        _ => return Err(RouteError::Unknown),
    };
    let video: VideoId = id("id", video)?;
    Ok(Route::Image { video, file })
}

/// Parses `{n}.jpg`; each number has exactly one spelling.
pub(super) fn numbered(file: &str) -> Option<u32> {
    number(file.strip_suffix(".jpg")?)
}

/// Parses a number without leading zeros or a sign.
fn number(number: &str) -> Option<u32> {
    let canonical = number == "0" || !number.starts_with('0');
    if !canonical || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01936b2e-7c1a-7d33-8b0e-000000000001";

    fn route(path: &str) -> Result<Route, RouteError> {
        Route::resolve(&format!("/api/stream/{ID}/{path}"))
    }

    #[test]
    fn paths_of_text_tracks_are_accepted_only_in_canonical_form() {
        let text = |file: &str| match route(&format!("{ID}/text-{ID}/{file}")) {
            Ok(Route::Text { file, .. }) => Some(file),
            _ => None,
        };
        assert_eq!(text("event.m3u8"), Some(TextFile::Playlist(Playlist::Event)));
        assert_eq!(text("vod.m3u8"), Some(TextFile::Playlist(Playlist::Vod)));
        assert_eq!(text("h12.vtt"), Some(TextFile::Segment(12)));
        for bad in ["h01.vtt", "h.vtt", "h1.m4s", "init.mp4", "iframes.m3u8", "1.vtt"] {
            assert_eq!(text(bad), None, "{bad}");
        }
        assert!(matches!(route(&format!("captions/{ID}.vtt")), Ok(Route::CaptionFile { .. })));
        assert_eq!(route("captions/1.vtt"), Err(RouteError::InvalidId("caption")));
        assert_eq!(route(&format!("captions/{ID}")), Err(RouteError::Unknown));
    }

    #[test]
    fn paths_of_images_and_downloads_are_accepted_only_in_canonical_form() {
        let file = |path: &str| match route(path) {
            Ok(Route::Image { file, .. }) => Some(file),
            _ => None,
        };
        assert_eq!(file("poster.jpg"), Some(ImageFile::Poster));
        assert_eq!(file("thumbnails"), Some(ImageFile::Thumbnails));
        assert_eq!(file("thumbnails/17.jpg"), Some(ImageFile::Thumbnail(17)));
        assert_eq!(file("storyboard.vtt"), Some(ImageFile::Storyboard));
        assert_eq!(file("preview.mp4"), Some(ImageFile::Preview));
        for bad in ["thumbnails/", "thumbnails/01.jpg", "thumbnails/-1.jpg", "thumbnails/1.png"] {
            assert_eq!(route(bad), Err(RouteError::Unknown), "{bad}");
        }
        assert!(
            matches!(route("download/720p.mp4"), Ok(Route::Download { rung, .. }) if rung == "720p")
        );
        for bad in ["download/.mp4", "download/720p", "download/..%2f.mp4", "download"] {
            assert_eq!(route(bad), Err(RouteError::Unknown), "{bad}");
        }
        let invalid = Route::resolve("/api/stream/nope/poster.jpg");
        assert_eq!(invalid, Err(RouteError::InvalidId("id")));
    }
}
