//! Lays out a finished rendition and its audio, or an audio rendition alone, as one progressive MP4
//! that is never stored: a header built from sample tables, then the samples of the stored fragments, GOP by GOP, video
//! before audio.
//!
//! **Invariant:** the layout depends on the index and the tables alone, so every data plane returns
//! the same bytes for the same range at any time.

use std::ops::Range;

use crate::{
    fmp4::Mp4Error,
    grid::AAC_FRAME_SAMPLES,
    index::{Index, Track},
    progressive::{self, MovieTrack, Sample, TrackHead},
    tables::{ChunkTable, GopTable},
};

/// Raised whenever the layout of a file changes; part of the ETag.
const LAYOUT_VERSION: u32 = 1;

/// The index entry and the sample tables of one track.
#[derive(Clone, Copy, Debug)]
pub struct Rendition<'a> {
    /// The track in the index.
    pub track: &'a Track,
    /// Its sample tables, one per chunk.
    pub tables: &'a [ChunkTable],
}

/// The layout of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    header: Vec<u8>,
    /// The payload, in order. Header and pieces together cover the file without gaps.
    pieces: Vec<Piece>,
    /// Keys of the objects, which pieces refer to by position.
    keys: Vec<String>,
}

/// The samples of one fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Offset in the file just past the last byte of this piece.
    end: u64,
    /// Offset of the first byte in the object.
    offset: u64,
    bytes: u32,
    key: u32,
}

/// Where a part of the file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice<'a> {
    /// The bytes themselves, a part of the header.
    Header(&'a [u8]),
    /// A byte range of an object in the store.
    Object {
        /// The object's key.
        key: &'a str,
        /// The byte range in the object.
        range: Range<u64>,
    },
}

impl Download {
    /// Lays out a rendition, and the audio that goes with it if it is video.
    ///
    /// # Errors
    /// The tables do not match the index, or the video is not finished.
    pub fn new(
        index: &Index,
        rendition: Rendition<'_>,
        audio: Option<Rendition<'_>>,
    ) -> Result<Self, Mp4Error> {
        let gops = index.grid.gops() as usize;
        let picture_ticks = index.grid.rate().frame_ticks();
        let mut tracks = Vec::with_capacity(2);
        let mut parts = Vec::with_capacity(2);
        let mut keys = Vec::new();
        for rendition in std::iter::once(rendition).chain(audio) {
            let (track, track_pieces) = read(rendition, picture_ticks, &mut keys)?;
            if track_pieces.len() != gops {
                return Err(Mp4Error::Invalid("sample tables"));
            }
            tracks.push(track);
            parts.push(track_pieces);
        }
        let order: Vec<usize> = (0..gops).flat_map(|_| 0..tracks.len()).collect();
        let header = progressive::header(&tracks, &order)?;
        let mut pieces = Vec::with_capacity(order.len());
        let mut end = header.len() as u64;
        for gop in 0..gops {
            for track_pieces in &parts {
                let piece: Piece = track_pieces[gop];
                end += u64::from(piece.bytes);
                pieces.push(Piece { end, ..piece });
            }
        }
        Ok(Self { header, pieces, keys })
    }

    /// Size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.pieces.last().map_or(self.header.len() as u64, |piece| piece.end)
    }

    /// Approximate memory use of this layout, in bytes.
    pub fn weight(&self) -> u64 {
        let keys: usize = self.keys.iter().map(|key| key.len() + size_of::<String>()).sum();
        (self.header.len() + self.pieces.len() * size_of::<Piece>() + keys) as u64
    }

    /// The parts that make up bytes `range` of the file, in order; bytes past the end of the file
    /// are left out.
    pub fn slices(&self, range: Range<u64>) -> impl Iterator<Item = Slice<'_>> {
        let head = self.header.len() as u64;
        let in_header = range.start.min(head) as usize..range.end.min(head) as usize;
        let header = Some(&self.header[in_header]).filter(|bytes| !bytes.is_empty());
        let first = self.pieces.partition_point(|piece| piece.end <= range.start);
        let pieces = self.pieces[first..].iter();
        let objects = pieces.map_while(move |piece| {
            let start = piece.end - u64::from(piece.bytes);
            let (from, to) = (range.start.max(start), range.end.min(piece.end));
            (from < to).then(|| Slice::Object {
                key: &self.keys[piece.key as usize],
                range: piece.offset + (from - start)..piece.offset + (to - start),
            })
        });
        header.map(Slice::Header).into_iter().chain(objects)
    }
}

/// The strong ETag of a download, quotes included, computed from the inputs of its layout.
pub fn etag(index: &Index, table: &str, audio_table: Option<&str>) -> String {
    let audio_table = audio_table.unwrap_or_default();
    let text = format!("{LAYOUT_VERSION}\n{}\n{table}\n{audio_table}", index.version);
    format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..32])
}

/// Reads a rendition: its track for the header, and the position of each fragment's samples.
/// `picture_ticks` is the duration of a picture in the time scale of video.
fn read(
    rendition: Rendition<'_>,
    picture_ticks: u32,
    keys: &mut Vec<String>,
) -> Result<(MovieTrack, Vec<Piece>), Mp4Error> {
    let Rendition { track, tables } = rendition;
    let mismatch = || Mp4Error::Invalid("sample tables");
    if track.chunks.len() != tables.len() {
        return Err(mismatch());
    }
    let head = TrackHead::read(&track.init)?;
    let ticks = if head.is_video() { picture_ticks } else { AAC_FRAME_SAMPLES };
    let mut movie = MovieTrack { head, samples: Vec::new(), runs: Vec::new() };
    let mut pieces = Vec::new();
    for (chunk, table) in track.chunks.iter().zip(tables) {
        let chunk = chunk.as_ref().ok_or_else(mismatch)?;
        if chunk.fragments.len() != table.len() {
            return Err(mismatch());
        }
        let key = keys.len() as u32;
        keys.push(chunk.key.clone());
        let mut start = 0;
        for (fragment, gop) in chunk.fragments.iter().zip(table) {
            let payload: u64 = gop.sizes.iter().map(|size| u64::from(*size)).sum();
            if u64::from(gop.head) + payload != u64::from(fragment.bytes) {
                return Err(mismatch());
            }
            append(&mut movie, gop, ticks)?;
            let (offset, bytes) = (start + u64::from(gop.head), payload as u32);
            pieces.push(Piece { end: 0, offset, bytes, key });
            start += u64::from(fragment.bytes);
        }
    }
    Ok((movie, pieces))
}

fn append(movie: &mut MovieTrack, gop: &GopTable, ticks: u32) -> Result<(), Mp4Error> {
    if !gop.compositions.is_empty() && gop.compositions.len() != gop.sizes.len() {
        return Err(Mp4Error::Invalid("sample tables"));
    }
    let video = movie.head.is_video();
    for (number, size) in gop.sizes.iter().enumerate() {
        let composition = gop.compositions.get(number).copied().unwrap_or(0);
        let composition = composition.saturating_mul(ticks);
        let sync = number == 0 || !video;
        movie.samples.push(Sample { size: *size, duration: ticks, composition, sync });
    }
    movie.runs.push(gop.sizes.len() as u32);
    Ok(())
}
