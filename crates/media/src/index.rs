//! The index: which bytes of which object hold which two seconds of which rendition.
//!
//! Control builds it from committed chunks, data planes write manifests and serve ranges from it.
//! While the video grows it is rebuilt at each commit; the final one is an object in the store.

use serde::{Deserialize, Serialize};

use crate::{Grid, JobId, VideoId};

/// Everything a data plane needs to serve one video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The video.
    pub video: VideoId,
    /// The job that made these renditions: the version part of every media URL.
    pub version: JobId,
    /// Whose video it is; never shown to viewers.
    pub tenant: String,
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

impl Track {
    /// GOPs that can be played from the start without a gap.
    pub fn frontier(&self) -> u32 {
        let committed = self.chunks.iter().map_while(Option::as_ref);
        committed.map(|chunk| chunk.fragments.len() as u32).sum()
    }
}
