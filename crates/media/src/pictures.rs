//! Pictures of a film: which frames they show, how large they are, where they are kept.
//!
//! All of them come from the finished renditions, never from the upload: a rendition's key frames lie
//! at every GOP of the grid, upright, in SDR, with square pixels, and have been proven. So what is
//! planned here needs no look at any medium.

pub mod clip;
pub mod plan;
pub mod vtt;

use serde::{Deserialize, Serialize};

use crate::{Codec, Grid, ladder::Rung};
pub use clip::ClipPlan;
pub use plan::PicturePlan;

/// Content type of every picture.
pub const JPEG_CONTENT_TYPE: &str = "image/jpeg";
/// Name of the poster.
pub const POSTER: &str = "poster";
/// Name of the preview clip.
pub const PREVIEW: &str = "preview";

/// The name of a thumbnail.
pub fn thumbnail_name(number: u32) -> String {
    format!("thumbnails/{number}")
}

/// The name of a storyboard's sheet.
pub fn sheet_name(number: u32) -> String {
    format!("storyboard/{number}")
}

/// The rungs that pictures are taken from, lowest first: of H.264, the cheapest to decode, where the ladder
/// has it.
fn decodable(rungs: &[Rung]) -> Vec<&Rung> {
    let h264: Vec<&Rung> = rungs.iter().filter(|rung| rung.codec == Codec::H264).collect();
    if h264.is_empty() { rungs.iter().collect() } else { h264 }
}

/// Pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Even.
    pub width: u32,
    /// Even.
    pub height: u32,
}

impl Size {
    /// `width`×`height` shrunk until its long side is at most `long`; never enlarged.
    pub fn within_long(width: u32, height: u32, long: u32) -> Self {
        Self::shrunk(width, height, f64::from(long) / f64::from(width.max(height).max(1)))
    }

    /// `width`×`height` shrunk until its short side is at most `short`; never enlarged.
    pub fn within_short(width: u32, height: u32, short: u32) -> Self {
        Self::shrunk(width, height, f64::from(short) / f64::from(width.min(height).max(1)))
    }

    fn shrunk(width: u32, height: u32, factor: f64) -> Self {
        let even =
            |side: u32| ((f64::from(side) * factor.min(1.0) / 2.0).round() as u32 * 2).max(2);
        Self { width: even(width), height: even(height) }
    }
}

/// What there is of a film's pictures; part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures {
    /// The one picture that stands for the film.
    pub poster: Option<Picture>,
    /// Spread over the film, in order.
    pub thumbnails: Vec<Thumbnail>,
    /// For seeking.
    pub storyboard: Option<Storyboard>,
    /// A short clip.
    pub preview: Option<Picture>,
}

/// One proven object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Its key in the video's store.
    pub key: String,
    /// Size.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: [u8; 32],
}

impl Picture {
    /// Strong, with its quotes.
    pub fn etag(&self) -> String {
        let hash = blake3::hash(&self.sha256);
        format!("\"{}\"", &hash.to_hex()[..32])
    }
}

/// A picture and its moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// The GOP that it shows the first frame of.
    pub gop: u32,
    /// The picture.
    pub picture: Picture,
}

impl Thumbnail {
    /// Where in the film it is, in seconds.
    pub fn seconds(&self, grid: &Grid) -> f64 {
        grid.seconds(grid.gop(self.gop).start)
    }
}

/// Small pictures at a fixed interval, in sheets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storyboard {
    /// In order; all of the same size.
    pub sheets: Vec<Picture>,
    /// Of one picture.
    pub tile: Size,
    /// Pictures in a row of a sheet.
    pub columns: u32,
    /// Rows of a sheet.
    pub rows: u32,
    /// Pictures in all.
    pub tiles: u32,
    /// GOPs that one picture stands for.
    pub tile_gops: u32,
}
