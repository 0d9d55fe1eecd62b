//! The storyboard in manifests: its sheets as an image playlist of HLS (the proposal *Image Media
//! Playlist*, which Shaka Player and Roku read) and as thumbnail tiles of DASH (DASH-IF
//! Interoperability Points, 6.2.6).

use std::fmt::Write;

use super::{
    Links,
    playlist::{media_prefix, playlist_url, push_extinf},
    timeline::Timeline,
    xml,
};
use crate::{
    fmp4::TrackKind,
    index::Index,
    pictures::{JPEG_CONTENT_TYPE, Storyboard},
};

/// The name under which sheets and their playlist are served, and the id of their Representation.
pub const RENDITION: &str = "storyboard";
/// The file name of the HLS playlist of sheets.
pub const PLAYLIST: &str = "images.m3u8";

/// The times of the tiles: equal intervals that together reach the end of the video.
struct Tiles<'a> {
    board: &'a Storyboard,
    timescale: u64,
    /// Ticks of one tile.
    tile: u64,
    /// Ticks of the whole video.
    total: u64,
}

impl<'a> Tiles<'a> {
    fn of(index: &'a Index) -> Option<Self> {
        let board = index.pictures.storyboard.as_ref()?;
        let grid = &index.grid;
        let timeline = Timeline::new(grid, TrackKind::Video);
        let frames = u64::from(board.tile_gops) * u64::from(grid.gop_frames());
        let planned = frames * u64::from(grid.rate().frame_ticks());
        let total = timeline.start(grid.gops());
        // Where the last GOP takes a remainder, every tile lasts a little longer: players look for
        // one more tile otherwise.
        let tile = planned.max(total.div_ceil(u64::from(board.tiles.max(1))));
        Some(Self { board, timescale: timeline.timescale().into(), tile, total })
    }

    /// Ticks of a sheet whose tiles are all used.
    fn sheet(&self) -> u64 {
        self.tile * u64::from(self.board.columns) * u64::from(self.board.rows)
    }

    /// The microsecond at which sheet `number` begins; for the number after the last, the end.
    fn micros(&self, number: u64) -> u64 {
        let ticks = (number * self.sheet()).min(self.total);
        (u128::from(ticks) * 1_000_000 / u128::from(self.timescale)) as u64
    }

    /// The duration of every sheet, in microseconds.
    fn durations(&self) -> impl Iterator<Item = u64> {
        (0..self.board.sheets.len() as u64).map(|n| self.micros(n + 1) - self.micros(n))
    }

    /// The highest bit rate of a sheet, in bit/s.
    fn bandwidth(&self) -> u64 {
        let sheets = self.board.sheets.iter().zip(self.durations());
        let rates = sheets.map(|(sheet, micros)| (sheet.bytes * 8_000_000).div_ceil(micros.max(1)));
        rates.max().unwrap_or(0).max(1)
    }
}

/// The EXT-X-IMAGE-STREAM-INF tag; empty when the video has no storyboard.
pub(super) fn hls_stream(index: &Index, links: &Links<'_>) -> String {
    let Some(tiles) = Tiles::of(index) else { return String::new() };
    let size = tiles.board.tile;
    format!(
        "#EXT-X-IMAGE-STREAM-INF:BANDWIDTH={},RESOLUTION={}x{},CODECS=\"jpeg\",URI=\"{}\"\n",
        tiles.bandwidth(),
        size.width,
        size.height,
        playlist_url(index, links, RENDITION, PLAYLIST),
    )
}

/// The HLS playlist of sheets; `None` when the video is growing or has no storyboard.
pub fn playlist(index: &Index, links: &Links<'_>) -> Option<String> {
    index.finished_at_ms.filter(|_| index.hls)?;
    let tiles = Tiles::of(index)?;
    let longest = tiles.durations().max().unwrap_or(0);
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-IMAGES-ONLY\n",
        longest.div_ceil(1_000_000).max(1),
    );
    let Storyboard { tile: size, columns, rows, .. } = tiles.board;
    let tile = tiles.tile as f64 / tiles.timescale as f64;
    let (prefix, suffix) = (media_prefix(index, RENDITION, links), links.suffix());
    for (number, micros) in tiles.durations().enumerate() {
        push_extinf(&mut out, micros);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "#EXT-X-TILES:RESOLUTION={}x{},LAYOUT={columns}x{rows},DURATION={tile:.6}\n\
             {prefix}{number}.jpg{suffix}",
            size.width, size.height,
        );
    }
    out.push_str("#EXT-X-ENDLIST\n");
    Some(out)
}

/// The AdaptationSet of the sheets; nothing when the video has no storyboard.
pub(super) fn dash_set(out: &mut String, index: &Index, links: &Links<'_>, id: usize) {
    let Some(tiles) = Tiles::of(index) else { return };
    let Storyboard { sheets, tile: size, columns, rows, .. } = tiles.board;
    let below = format!("{}/{RENDITION}/", index.version);
    let prefix = links.prefix(index, &format!("../{below}"), &below);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "    <AdaptationSet id=\"{id}\" contentType=\"image\" mimeType=\"{JPEG_CONTENT_TYPE}\">\n      \
         <SegmentTemplate timescale=\"{}\" duration=\"{}\" startNumber=\"0\" endNumber=\"{}\" \
         media=\"{}$Number$.jpg{}\"/>\n      \
         <Representation id=\"{RENDITION}\" bandwidth=\"{}\" width=\"{}\" height=\"{}\">\n        \
         <EssentialProperty schemeIdUri=\"http://dashif.org/guidelines/thumbnail_tile\" \
         value=\"{columns}x{rows}\"/>\n      </Representation>\n    </AdaptationSet>\n",
        tiles.timescale,
        tiles.sheet(),
        sheets.len().saturating_sub(1),
        xml(&prefix),
        links.suffix(),
        tiles.bandwidth(),
        size.width * columns,
        size.height * rows,
    );
}
