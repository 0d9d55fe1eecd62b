//! The index: which bytes of which object hold which two seconds of which rendition.
//!
//! Control builds it from committed chunks, data planes write manifests and serve ranges from it.
//! While the video grows it is rebuilt at each commit; the final one is an object in the store.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    CaptionId, Grid, JobId, VideoId,
    captions::TextTrack,
    pictures::Pictures,
    segment::{AUDIO_CONTENT_TYPE, VIDEO_CONTENT_TYPE},
};

/// First bytes of an encoded index.
const MAGIC: [u8; 4] = *b"SVIX";
/// The version this program writes.
pub const VERSION: u16 = 3;
/// The version before it, still in stores: it ends before the list of text tracks.
const WITHOUT_CAPTIONS: u16 = 2;
/// Magic, version and digest.
const HEADER_BYTES: usize = 4 + 2 + blake3::OUT_LEN;
/// Most bytes of an encoded index: a week of film in twenty renditions is a fifth of it.
pub const INDEX_BYTES_MAX: usize = 256 << 20;

/// Why bytes are not an index that can be served.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// Shorter than the header, or longer than [`INDEX_BYTES_MAX`].
    #[error("read index: {0} bytes is no size of an index")]
    Size(usize),
    /// Something else.
    #[error("read index: not an index")]
    Magic,
    /// Written by an older or newer program.
    #[error("read index: version {0} is not supported")]
    Version(u16),
    /// Truncated or corrupt.
    #[error("read index: checksum differs")]
    Checksum,
    /// The checksum holds and yet it is not an index.
    #[error("read index: payload is malformed")]
    Malformed,
}

/// Everything a data plane needs to serve one video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The video.
    pub video: VideoId,
    /// The job that made these renditions: the version part of every media URL.
    pub version: JobId,
    /// Whose video it is; never shown to viewers.
    pub tenant: String,
    /// What people call it: downloads are named after it.
    pub title: String,
    /// Plays without a token.
    pub public: bool,
    /// Serve HLS.
    pub hls: bool,
    /// Serve DASH.
    pub dash: bool,
    /// When the first chunk was playable, in milliseconds since the Unix epoch.
    pub published_at_ms: i64,
    /// When the last chunk was indexed; `None` while the video grows.
    pub finished_at_ms: Option<i64>,
    /// The time grid of every rendition.
    pub grid: Grid,
    /// Planned video renditions, lowest first. One that has no chunk yet has no `init`.
    pub video_renditions: Vec<VideoRendition>,
    /// Planned audio renditions, in the source's order; the first is the default.
    pub audio_renditions: Vec<AudioRendition>,
    /// What has been made of them.
    pub pictures: Pictures,
    /// Text tracks, embedded ones first, the uploaded by age. They come and go while the rest stays.
    pub captions: Vec<TextTrack>,
}

/// A rung of the ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoRendition {
    /// "360p": also its part of media URLs.
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The planned bit rate, in bit/s; manifests use measured sizes.
    pub target_bitrate: u64,
    /// What has been committed.
    pub track: Track,
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioRendition {
    /// "audio-0": also its part of media URLs.
    pub name: String,
    /// What people see, unique in the video.
    pub label: String,
    /// BCP 47; "und" when unknown.
    pub language: String,
    /// Channels of the output.
    pub channels: u32,
    /// The planned bit rate, in bit/s.
    pub target_bitrate: u64,
    /// What has been committed.
    pub track: Track,
}

/// The committed part of a rendition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// RFC 6381 codec string of `init`; empty while there is none.
    pub codec: String,
    /// Ticks per second; 0 while there is no `init`.
    pub timescale: u32,
    /// The CMAF header; empty while no chunk is committed.
    pub init: Vec<u8>,
    /// Chunk by chunk from 0; `None` where a later chunk was committed first. Length up to the grid's.
    pub chunks: Vec<Option<Chunk>>,
    /// Its sample tables, once the video is finished: what downloads are laid out from.
    pub table: Option<TableObject>,
}

/// An object with a rendition's sample tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableObject {
    /// Its key in the video's store.
    pub key: String,
    /// Size.
    pub bytes: u64,
}

/// One committed object: the fragments of one chunk, one per GOP, back to back from byte 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its key in the video's store.
    pub key: String,
    /// In order; as many as the grid's chunk has GOPs.
    pub fragments: Vec<Fragment>,
}

/// A moof and its mdat: one GOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Size in bytes, moof and mdat.
    pub bytes: u32,
    /// Bytes from the fragment's start to the end of its first sample: what an I-frame playlist names.
    pub intra_bytes: u32,
    /// Sum of the sample durations, in ticks.
    pub duration: u32,
}

impl Index {
    /// The bytes that [`Self::decode`] reads back.
    pub fn encode(&self) -> Vec<u8> {
        // Serializing into memory cannot fail: no map, no unsized sequence, no custom serializer.
        let payload = postcard::to_stdvec(self).unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(blake3::hash(&payload).as_bytes());
        out.extend_from_slice(&payload);
        out
    }

    /// Reads an index; damage is an error, never a panic or a different index.
    ///
    /// # Errors
    /// An [`IndexError`] that says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes.len() > INDEX_BYTES_MAX {
            return Err(IndexError::Size(bytes.len()));
        }
        let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(IndexError::Size(bytes.len()));
        };
        if header[..4] != MAGIC {
            return Err(IndexError::Magic);
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        if ![VERSION, WITHOUT_CAPTIONS].contains(&version) {
            return Err(IndexError::Version(version));
        }
        if header[6..] != *blake3::hash(payload).as_bytes() {
            return Err(IndexError::Checksum);
        }
        let older;
        let payload = if version == WITHOUT_CAPTIONS {
            // An empty list, as postcard writes it.
            older = [payload, &[0]].concat();
            &older
        } else {
            payload
        };
        match postcard::take_from_bytes(payload) {
            Ok((index, [])) => Ok(index),
            _ => Err(IndexError::Malformed),
        }
    }

    /// The track of a rendition, and its content type.
    pub fn track(&self, rendition: &str) -> Option<(&Track, &'static str)> {
        let video = self.video_renditions.iter().find(|r| r.name == rendition);
        let audio = self.audio_renditions.iter().find(|r| r.name == rendition);
        match (video, audio) {
            (Some(video), _) => Some((&video.track, VIDEO_CONTENT_TYPE)),
            (None, Some(audio)) => Some((&audio.track, AUDIO_CONTENT_TYPE)),
            (None, None) => None,
        }
    }

    /// The same track, to be filled.
    pub fn track_mut(&mut self, rendition: &str) -> Option<&mut Track> {
        let video = self.video_renditions.iter_mut().find(|r| r.name == rendition);
        if let Some(video) = video {
            return Some(&mut video.track);
        }
        let audio = self.audio_renditions.iter_mut().find(|r| r.name == rendition);
        audio.map(|audio| &mut audio.track)
    }

    /// A text track.
    pub fn caption(&self, id: CaptionId) -> Option<&TextTrack> {
        self.captions.iter().find(|track| track.about.id == id)
    }
}

impl Track {
    /// Has its init segment and its first chunk.
    pub fn started(&self) -> bool {
        !self.init.is_empty() && self.frontier() > 0
    }

    /// The fragments that can be played from the start without a gap.
    pub fn committed(&self) -> impl Iterator<Item = &Fragment> {
        self.chunks.iter().map_while(Option::as_ref).flat_map(|chunk| &chunk.fragments)
    }

    /// GOPs that can be played from the start without a gap.
    pub fn frontier(&self) -> u32 {
        let committed = self.chunks.iter().map_while(Option::as_ref);
        committed.map(|chunk| chunk.fragments.len() as u32).sum()
    }
}
