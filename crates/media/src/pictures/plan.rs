//! Plans the images of a video from its grid and its rungs alone.

use serde::{Deserialize, Serialize};

use super::{
    POSTER, Picture, Pictures, Size, Storyboard, Thumbnail, decodable, sheet_name, thumbnail_name,
};
use crate::{
    Grid,
    index::{Fragment, Index, Track, VideoRendition},
    ladder::{Rung, lines},
};

/// Maximum number of thumbnails of a video.
pub const THUMBNAILS_MAX: u32 = 100;
/// Longer side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 320;
/// Longer side of a storyboard's tile, in pixels.
const TILE_SIDE: u32 = 160;
/// Maximum number of tiles of a storyboard: a video of up to 13 minutes has a tile every two
/// seconds, a longer one has as many tiles at wider intervals.
const TILES_MAX: u32 = 400;
/// Tiles in a row and in a column of a sheet.
const SHEET_SIDE: u32 = 10;
/// Shorter side of the poster, in pixels.
const POSTER_LINES: u32 = 720;
/// Maximum number of frames that the poster is chosen from.
const CANDIDATES_MAX: u32 = 16;
/// A key frame with fewer bits per pixel is nearly blank: black takes a tenth of this, typical
/// pictures ten times as much.
const BLANK_BITS_PER_PIXEL: f64 = 0.1;
/// Allowance for the encoder's own metadata, in bits.
const BLANK_BITS: f64 = 8.0 * 1024.0;

/// The output of a job's task `thumbnails`, fixed when the job is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PicturePlan {
    /// The rendition that thumbnails and storyboard are taken from: the lowest.
    pub strip: String,
    /// The GOPs whose key frames become thumbnails, ascending.
    pub thumbnails: Vec<u32>,
    /// Size of a thumbnail.
    pub thumbnail: Size,
    /// Size of a storyboard's tile.
    pub tile: Size,
    /// GOPs from one tile to the next.
    pub tile_gops: u32,
    /// Tiles in total.
    pub tiles: u32,
    /// Tiles in a row of a sheet.
    pub columns: u32,
    /// Rows of a sheet.
    pub rows: u32,
    /// The rendition that the poster is taken from.
    pub poster_from: String,
    /// Size of the poster.
    pub poster: Size,
    /// Frames that the poster is chosen from.
    pub candidates: u32,
}

/// The size of the poster of this video, by the same rule as [`PicturePlan::new`]; `None` without
/// video renditions.
pub fn poster_size(index: &Index) -> Option<Size> {
    let sizes = |rung: &VideoRendition| (rung.width, rung.height);
    let h264 = index.video_renditions.iter().filter(|rung| rung.track.codec.starts_with("avc"));
    let mut rungs: Vec<_> = h264.map(sizes).collect();
    if rungs.is_empty() {
        rungs = index.video_renditions.iter().map(sizes).collect();
    }
    let fits = |size: &&(u32, u32)| lines(size.0, size.1) <= POSTER_LINES;
    let (width, height) = *rungs.iter().rev().find(fits).or(rungs.first())?;
    Some(Size::within_short(width, height, POSTER_LINES))
}

impl PicturePlan {
    /// Plans up to `count` thumbnails, a storyboard and a poster; `None` without rungs. `rungs` are
    /// sorted lowest first.
    pub fn new(grid: &Grid, rungs: &[Rung], count: u32) -> Option<Self> {
        let rungs = decodable(rungs);
        let strip = *rungs.first()?;
        let fits = |rung: &&&Rung| lines(rung.width, rung.height) <= POSTER_LINES;
        let best = rungs.iter().rev().find(fits).map_or(strip, |rung| *rung);
        let gops = grid.gops();
        let tile_gops = gops.div_ceil(TILES_MAX);
        let tiles = gops.div_ceil(tile_gops);
        let columns = tiles.min(SHEET_SIDE);
        Some(Self {
            strip: strip.name.clone(),
            thumbnails: spread(gops, count.clamp(1, THUMBNAILS_MAX)),
            thumbnail: Size::within_long(strip.width, strip.height, THUMBNAIL_SIDE),
            tile: Size::within_long(strip.width, strip.height, TILE_SIDE),
            tile_gops,
            tiles,
            columns,
            rows: tiles.div_ceil(columns).min(SHEET_SIDE),
            poster_from: best.name.clone(),
            poster: Size::within_short(best.width, best.height, POSTER_LINES),
            candidates: gops.min(CANDIDATES_MAX),
        })
    }

    /// The GOPs that the storyboard's tiles show.
    pub fn tile_gops(&self) -> impl Iterator<Item = u32> + use<> {
        let step = self.tile_gops;
        (0..self.tiles).map(move |tile| tile * step)
    }

    /// Number of sheets of the storyboard.
    pub fn sheets(&self) -> u32 {
        self.tiles.div_ceil(self.columns * self.rows)
    }

    /// Every image by name, with its size.
    pub fn wanted(&self) -> Vec<(String, Size)> {
        let sheet =
            Size { width: self.tile.width * self.columns, height: self.tile.height * self.rows };
        let thumbnails = (0..self.thumbnails.len() as u32).map(thumbnail_name);
        let sheets = (0..self.sheets()).map(sheet_name);
        let mut wanted = vec![(POSTER.to_owned(), self.poster)];
        wanted.extend(thumbnails.map(|name| (name, self.thumbnail)));
        wanted.extend(sheets.map(|name| (name, sheet)));
        wanted
    }

    /// The position of an image in the video, in seconds, if it has one.
    pub fn seconds(&self, grid: &Grid, name: &str) -> Option<f64> {
        let number: usize = name.strip_prefix("thumbnails/")?.parse().ok()?;
        let gop = self.thumbnails.get(number)?;
        Some(grid.seconds(grid.gop(*gop).start))
    }

    /// The GOPs among which the poster is chosen: the video is divided into equal parts, and each
    /// part contributes the GOP whose key frame has the most bytes. Black, blank and faded pictures
    /// take very few bytes, so one bright scene in a dark video is found without decoding all of
    /// it.
    pub fn candidates(&self, track: &Track) -> Vec<u32> {
        let sizes: Vec<u32> = track.committed().map(|fragment| fragment.intra_bytes).collect();
        let (gops, parts) = (sizes.len() as u64, u64::from(self.candidates));
        let part = |n: u64| (n * gops / parts.max(1)) as usize;
        let richest = |n: u64| {
            let from = part(n);
            let own = sizes.get(from..part(n + 1))?;
            // The first one if several are equal.
            let place = (0..own.len()).rev().max_by_key(|place| own[*place])?;
            Some((from + place) as u32)
        };
        (0..parts).filter_map(richest).collect()
    }

    /// A GOP all of whose frames are also candidates for the poster: if all key frames are nearly
    /// blank, the GOP with the most bytes outside its key frame. In a nearly black video the
    /// visible moment need not be on a key frame.
    pub fn moving(&self, track: &Track) -> Option<u32> {
        let richest = track.committed().map(|fragment| fragment.intra_bytes).max()?;
        let pixels = f64::from(self.poster.width) * f64::from(self.poster.height);
        if f64::from(richest) * 8.0 > pixels * BLANK_BITS_PER_PIXEL + BLANK_BITS {
            return None;
        }
        let beside = |fragment: &Fragment| fragment.bytes.saturating_sub(fragment.intra_bytes);
        // The first one if several are equal.
        let all: Vec<u32> = track.committed().map(beside).collect();
        (0..all.len()).rev().max_by_key(|gop| all[*gop]).map(|gop| gop as u32)
    }

    /// Assembles the committed images; `find` looks up an image by name.
    pub fn gather(&self, find: impl Fn(&str) -> Option<Picture>) -> Pictures {
        let thumbnail = |(number, gop): (u32, &u32)| {
            Some(Thumbnail { gop: *gop, picture: find(&thumbnail_name(number))? })
        };
        let sheets: Option<Vec<_>> = (0..self.sheets()).map(|n| find(&sheet_name(n))).collect();
        Pictures {
            poster: find(POSTER),
            thumbnails: (0..).zip(&self.thumbnails).filter_map(thumbnail).collect(),
            storyboard: sheets.map(|sheets| Storyboard {
                sheets,
                tile: self.tile,
                columns: self.columns,
                rows: self.rows,
                tiles: self.tiles,
                tile_gops: self.tile_gops,
            }),
            preview: None,
        }
    }
}

/// The middle GOPs of `count` equal parts of the video; every GOP if there are fewer.
fn spread(gops: u32, count: u32) -> Vec<u32> {
    if gops <= count {
        return (0..gops).collect();
    }
    let place = |n: u32| (2 * u64::from(n) + 1) * u64::from(gops) / (2 * u64::from(count));
    (0..count).map(|n| place(n) as u32).collect()
}
