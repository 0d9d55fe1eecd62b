//! Maps the name of a segment to its bytes: a part of one object, or the init segment itself.
//!
//! **Invariant:** a segment exists only below its track's frontier, so exactly those segments can
//! be fetched that a playlist has listed.
//!
//! A key frame for trick play is a fragment of one sample, whose boxes are written at the time of
//! the request. A range of the stored fragment would not do: its `trun` names samples that the
//! range lacks, which Shaka Player treats as an error.

use std::{fmt, ops::Range};

use crate::{
    Grid,
    fmp4::{
        TrackKind,
        fragment::{Head, video_head_bytes},
    },
    grid::{DASH_SEGMENT_GOPS, HLS_SEGMENT_GOPS},
    index::{Fragment, Index, Track},
    progressive::TrackHead,
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
    /// `i{n}.m4s`: the key frame of GOP n, from 0; of video renditions only.
    KeyFrame(u32),
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
            "i" => Some(Self::KeyFrame(number)),
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
            Self::KeyFrame(n) => write!(f, "i{n}.m4s"),
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
        /// Bytes that precede those of the object; usually none.
        head: Vec<u8>,
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
        SegmentName::KeyFrame(n) if content_type == VIDEO_CONTENT_TYPE => {
            return key_frame(index, track, n);
        }
        SegmentName::KeyFrame(_) => return None,
    };
    object(index, track, gops, content_type)
}

/// The size of a key frame's segment in bytes, by the fragment of its GOP; 0 if the index is
/// inconsistent.
pub(crate) fn key_frame_bytes(grid: &Grid, gop: u32, fragment: &Fragment) -> u64 {
    let sample = sample_bytes(grid, gop, fragment);
    sample.map_or(0, |bytes| video_head_bytes(1) + bytes)
}

/// The size of the first sample of a fragment.
fn sample_bytes(grid: &Grid, gop: u32, fragment: &Fragment) -> Option<u64> {
    let frames = grid.gop(gop);
    let head = video_head_bytes(frames.end - frames.start);
    u64::from(fragment.intra_bytes).checked_sub(head)
}

/// The key frame of a GOP, which lasts as long as the whole GOP.
fn key_frame<'a>(index: &Index, track: &'a Track, gop: u32) -> Option<Located<'a>> {
    let whole = object(index, track, gop..gop.checked_add(1)?, VIDEO_CONTENT_TYPE)?;
    let Located::Object { key, offset, content_type, .. } = whole else { return None };
    let number = index.grid.chunk_of(gop);
    let place = gop - index.grid.chunk_gops(number).start;
    let chunk = track.chunks.get(number as usize)?.as_ref()?;
    let bytes = sample_bytes(&index.grid, gop, chunk.fragments.get(place as usize)?)?;
    let ticks = index.grid.rate().frame_ticks();
    let frames = index.grid.gop(gop);
    let count = frames.end - frames.start;
    // A key frame is the first picture of its GOP, also in presentation order.
    let delay = TrackHead::read(&track.init).ok()?.delay;
    let head = Head {
        kind: TrackKind::Video,
        gop,
        decode_time: frames.start * u64::from(ticks),
        sample_duration: u32::try_from(count * u64::from(ticks)).ok()?,
        samples: &[(u32::try_from(bytes).ok()?, delay)],
    };
    let head = head.write().ok()?;
    let offset = offset + video_head_bytes(count);
    let etag = etag(key, offset, bytes, &head);
    Some(Located::Object { head, key, offset, bytes, etag, content_type })
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
    let etag = etag(&chunk.key, offset, bytes, &[]);
    Some(Located::Object { head: Vec::new(), key: &chunk.key, offset, bytes, etag, content_type })
}

/// A key's bytes never change, so key, range and head identify the content.
fn etag(key: &str, offset: u64, bytes: u64, head: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{key}\n{offset}\n{bytes}").as_bytes());
    hasher.update(head);
    format!("\"{}\"", &hasher.finalize().to_hex()[..32])
}
