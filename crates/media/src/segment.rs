//! Maps the name of a segment to its bytes: a part of one object, or the init segment itself.
//!
//! **Invariant:** a segment exists only below its track's frontier, so exactly those segments can
//! be fetched that a playlist has listed.

use std::{fmt, ops::Range};

use crate::{
    grid::{DASH_SEGMENT_GOPS, HLS_SEGMENT_GOPS},
    index::{Index, Track},
};

pub use crate::content_type::{AUDIO_CONTENT_TYPE, VIDEO_CONTENT_TYPE};

/// The last part of a segment's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentName {
    /// `init.mp4`
    Init,
    /// `h{n}.m4s`: HLS segment n, from 0.
    Hls(u32),
    /// `d{n}.m4s`: DASH segment n, from 0.
    Dash(u32),
}

impl SegmentName {
    /// Parses a file name; accepts only the form that [`fmt::Display`] writes.
    pub fn parse(file: &str) -> Option<Self> {
        if file == "init.mp4" {
            return Some(Self::Init);
        }
        let (kind, number) = file.strip_suffix(".m4s")?.split_at_checked(1)?;
        let canonical = number == "0" || !number.starts_with('0');
        if !canonical || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number = number.parse().ok()?;
        match kind {
            "h" => Some(Self::Hls(number)),
            "d" => Some(Self::Dash(number)),
            _ => None,
        }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init => f.write_str("init.mp4"),
            Self::Hls(n) => write!(f, "h{n}.m4s"),
            Self::Dash(n) => write!(f, "d{n}.m4s"),
        }
    }
}

/// Where the bytes of a segment are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located<'a> {
    /// In the index.
    Inline(&'a [u8]),
    /// In an object of the video's store.
    Object {
        /// The object's key.
        key: &'a str,
        /// Offset of the first byte in the object.
        offset: u64,
        /// Number of bytes; at least one.
        bytes: u64,
        /// A strong ETag, quotes included.
        etag: String,
        /// Media type.
        content_type: &'static str,
    },
}

/// Finds a segment of `rendition`; `None` when it does not exist (yet).
pub fn locate<'a>(index: &'a Index, rendition: &str, name: SegmentName) -> Option<Located<'a>> {
    let (track, content_type) = index.track(rendition)?;
    let gops = match name {
        SegmentName::Init if track.init.is_empty() => return None,
        SegmentName::Init => return Some(Located::Inline(&track.init)),
        SegmentName::Hls(n) => index.grid.segment(n, HLS_SEGMENT_GOPS)?,
        SegmentName::Dash(n) => index.grid.segment(n, DASH_SEGMENT_GOPS)?,
    };
    object(index, track, gops, content_type)
}

fn object<'a>(
    index: &Index,
    track: &'a Track,
    gops: Range<u32>,
    content_type: &'static str,
) -> Option<Located<'a>> {
    if track.init.is_empty() || gops.end > track.frontier() {
        return None;
    }
    let number = index.grid.chunk_of(gops.start);
    let chunk = track.chunks.get(number as usize)?.as_ref()?;
    let first = gops.start - index.grid.chunk_gops(number).start;
    let last = first + (gops.end - gops.start);
    let before = chunk.fragments.get(..first as usize)?;
    let within = chunk.fragments.get(first as usize..last as usize)?;
    let offset = before.iter().map(|f| u64::from(f.bytes)).sum();
    let bytes = within.iter().map(|f| u64::from(f.bytes)).sum();
    let etag = etag(&chunk.key, offset, bytes);
    Some(Located::Object { key: &chunk.key, offset, bytes, etag, content_type })
}

/// A key's bytes never change, so key and range identify the content.
fn etag(key: &str, offset: u64, bytes: u64) -> String {
    let hash = blake3::hash(format!("{key}\n{offset}\n{bytes}").as_bytes());
    format!("\"{}\"", &hash.to_hex()[..32])
}
