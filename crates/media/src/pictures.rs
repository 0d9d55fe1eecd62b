//! Images of a video: the frames that they show, their sizes and where they are stored.
//!
//! All images are made from the finished renditions, never from the source. A rendition has a key
//! frame at every GOP of the grid; its pictures are upright, in SDR, with square pixels, and have
//! passed admission. Planning images therefore does not need to inspect any media.

pub mod clip;
pub mod plan;
pub mod vtt;

use serde::{Deserialize, Serialize};

use crate::{Codec, Grid, ladder::Rung};
pub use clip::ClipPlan;
pub use plan::PicturePlan;

/// Content type of every image.
pub const JPEG_CONTENT_TYPE: &str = "image/jpeg";
/// Name of the poster.
pub const POSTER: &str = "poster";
/// Name of the preview clip.
pub const PREVIEW: &str = "preview";

/// The name of thumbnail `number`.
pub fn thumbnail_name(number: u32) -> String {
    format!("thumbnails/{number}")
}

/// The name of sheet `number` of the storyboard.
pub fn sheet_name(number: u32) -> String {
    format!("storyboard/{number}")
}

/// The rungs that images are taken from, lowest first: those of H.264, the codec that is cheapest
/// to decode, if the ladder has any.
fn decodable(rungs: &[Rung]) -> Vec<&Rung> {
    let h264: Vec<&Rung> = rungs.iter().filter(|rung| rung.codec == Codec::H264).collect();
    if h264.is_empty() { rungs.iter().collect() } else { h264 }
}

/// Size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Even.
    pub width: u32,
    /// Even.
    pub height: u32,
}

impl Size {
    /// `width`×`height`, scaled down until the longer side is at most `long`; never scaled up.
    pub fn within_long(width: u32, height: u32, long: u32) -> Self {
        Self::scaled(width, height, f64::from(long) / f64::from(width.max(height).max(1)))
    }

    /// `width`×`height`, scaled down until the shorter side is at most `short`; never scaled up.
    pub fn within_short(width: u32, height: u32, short: u32) -> Self {
        Self::scaled(width, height, f64::from(short) / f64::from(width.min(height).max(1)))
    }

    fn scaled(width: u32, height: u32, factor: f64) -> Self {
        let even =
            |side: u32| ((f64::from(side) * factor.min(1.0) / 2.0).round() as u32 * 2).max(2);
        Self { width: even(width), height: even(height) }
    }
}

/// The images of a video that exist; part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures {
    /// The image that represents the video.
    pub poster: Option<Picture>,
    /// Spread over the video, in order.
    pub thumbnails: Vec<Thumbnail>,
    /// Sheets of tiles for seeking.
    pub storyboard: Option<Storyboard>,
    /// A short clip.
    pub preview: Option<Picture>,
}

/// One object that has passed admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Its key in the video's store.
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Picture {
    /// A strong ETag, quotes included.
    pub fn etag(&self) -> String {
        let hash = blake3::hash(&self.sha256);
        format!("\"{}\"", &hash.to_hex()[..32])
    }
}

/// An image and its position in the video.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// The GOP whose first frame it shows.
    pub gop: u32,
    /// The image.
    pub picture: Picture,
}

impl Thumbnail {
    /// Position in the video, in seconds.
    pub fn seconds(&self, grid: &Grid) -> f64 {
        grid.seconds(grid.gop(self.gop).start)
    }
}

/// Small images at a fixed interval, arranged in sheets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storyboard {
    /// The sheets in order; all have the same size.
    pub sheets: Vec<Picture>,
    /// Size of one tile.
    pub tile: Size,
    /// Tiles in a row of a sheet.
    pub columns: u32,
    /// Rows of a sheet.
    pub rows: u32,
    /// Tiles in total.
    pub tiles: u32,
    /// GOPs that one tile covers.
    pub tile_gops: u32,
}
