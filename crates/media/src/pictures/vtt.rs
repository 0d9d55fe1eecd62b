//! The storyboard as WebVTT: one cue per tile, whose text is the URL of a sheet and the tile's
//! position in it (media fragments, `#xywh=`), in the form that video.js, Shaka, Vidstack and JW
//! read.

use std::fmt::Write;

use crate::{index::Index, manifest::Links};

/// Content type of WebVTT.
pub const CONTENT_TYPE: &str = "text/vtt";

/// Writes the storyboard; `None` when the video has no storyboard.
pub fn storyboard(index: &Index, links: &Links<'_>) -> Option<String> {
    let board = index.pictures.storyboard.as_ref()?;
    let below = format!("{}/storyboard/", index.version);
    let (prefix, suffix) = (links.prefix(index, &below, &below), links.suffix());
    let grid = &index.grid;
    let per_sheet = board.columns * board.rows;
    let mut out = String::from("WEBVTT\n");
    for tile in 0..board.tiles {
        let gop = |tile: u32| grid.gop(tile.saturating_mul(board.tile_gops)).start;
        let from = grid.seconds(gop(tile));
        let to =
            if tile + 1 == board.tiles { grid.duration() } else { grid.seconds(gop(tile + 1)) };
        let (sheet, place) = (tile / per_sheet, tile % per_sheet);
        let (width, height) = (board.tile.width, board.tile.height);
        let (x, y) = (place % board.columns * width, place / board.columns * height);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n{} --> {}\n{prefix}{sheet}.jpg{suffix}#xywh={x},{y},{width},{height}\n",
            timestamp(from),
            timestamp(to),
        );
    }
    Some(out)
}

/// `hh:mm:ss.ttt`, with more digits for the hours when they are needed.
fn timestamp(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (whole, millis) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", whole / 3600, whole / 60 % 60, whole % 60)
}
