//! The index: maps every two seconds of every rendition to a byte range of an object.
//!
//! The control plane builds it from committed chunks; data planes write manifests and serve byte
//! ranges from it. While a video is growing, the index is rebuilt at each commit; the final index
//! is an object in the store.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    CaptionId, Grid, JobId, VideoId,
    captions::TextTrack,
    content_type::{AUDIO_CONTENT_TYPE, VIDEO_CONTENT_TYPE},
    grid::{AAC_FRAME_SAMPLES, DOLBY_UNIT_SAMPLES},
    pictures::Pictures,
    purpose::AudioPurpose,
    surround::SurroundCodec,
};

/// First bytes of an encoded index.
const MAGIC: [u8; 4] = *b"SVIX";
/// The version that this program writes.
pub const VERSION: u16 = 4;
/// An earlier version, which stores still hold: it ends before the details of the audio and
/// [`Additions`]. An index that has neither is written in this version, so that earlier releases
/// can read it, too.
const WITHOUT_ADDITIONS: u16 = 3;
/// An earlier version, which stores still hold: it ends before the list of text tracks.
const WITHOUT_CAPTIONS: u16 = 2;
/// The postcard encoding of no text tracks, no details of the audio, and no additions.
const ABSENT: [u8; 3] = [0; 3];
/// Magic, version and digest.
const HEADER_BYTES: usize = 4 + 2 + blake3::OUT_LEN;
/// Largest encoded index, in bytes: a week of video in twenty renditions needs a fifth of it.
pub const INDEX_BYTES_MAX: usize = 256 << 20;

/// Why bytes are not a usable index.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// The size is below that of the header or above [`INDEX_BYTES_MAX`].
    #[error("read index: invalid size of {0} bytes")]
    Size(usize),
    /// The bytes do not start with the magic number of an index.
    #[error("read index: not an index")]
    Magic,
    /// Written by an older or newer program, in a version that is not supported.
    #[error("read index: version {0} is not supported")]
    Version(u16),
    /// Truncated or corrupt.
    #[error("read index: checksum differs")]
    Checksum,
    /// The checksum matches, but the payload cannot be decoded.
    #[error("read index: payload is malformed")]
    Malformed,
}

/// All data that a data plane needs to serve one video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The video.
    pub video: VideoId,
    /// The job that made these renditions; the version part of every media URL.
    pub version: JobId,
    /// The tenant that owns the video; never shown to viewers.
    pub tenant: String,
    /// The user's title for the video; downloads are named after it.
    pub title: String,
    /// Whether the video plays without a token.
    pub public: bool,
    /// Whether HLS is served.
    pub hls: bool,
    /// Whether DASH is served.
    pub dash: bool,
    /// When the first chunk became playable, in milliseconds since the Unix epoch.
    pub published_at_ms: i64,
    /// When the last chunk and the audio were complete; `None` while the video is growing. The images
    /// and sample tables of a final video may be made later.
    pub finished_at_ms: Option<i64>,
    /// The time grid of every rendition.
    pub grid: Grid,
    /// Planned video renditions, lowest first. A rendition without a chunk has no `init` yet.
    pub video_renditions: Vec<VideoRendition>,
    /// Planned audio renditions, in the order of the source; the first is the default.
    pub audio_renditions: Vec<AudioRendition>,
    /// The images that have been made so far.
    pub pictures: Pictures,
    /// Text tracks: embedded ones first, then uploaded ones by age. They may change while
    /// everything else stays.
    pub captions: Vec<TextTrack>,
    /// Further properties of the audio renditions, in the same order; those past the end of this
    /// list have none.
    pub audio_details: Vec<AudioDetails>,
}

/// Further properties of an audio rendition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AudioDetails {
    /// Distinguishes the track from others of its language.
    pub purpose: AudioPurpose,
    /// Planned surround renditions of the same track, at most one per codec. Their codec is known
    /// from the beginning.
    pub surround: Vec<AudioRendition>,
}

/// A video rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoRendition {
    /// For example "360p"; also part of media URLs.
    pub name: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The planned bit rate, in bit/s; manifests use measured rates.
    pub target_bitrate: u64,
    /// The committed part.
    pub track: Track,
}

/// An audio rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioRendition {
    /// For example "audio-0"; also part of media URLs.
    pub name: String,
    /// The name that viewers see, unique in the video.
    pub label: String,
    /// BCP 47 tag; "und" when unknown.
    pub language: String,
    /// Number of output channels.
    pub channels: u32,
    /// The planned bit rate, in bit/s.
    pub target_bitrate: u64,
    /// The committed part.
    pub track: Track,
}

/// The committed part of a rendition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// RFC 6381 codec string of `init`; empty before the first chunk.
    pub codec: String,
    /// Ticks per second; 0 before the first chunk.
    pub timescale: u32,
    /// The init segment (CMAF header); empty before the first chunk is committed.
    pub init: Vec<u8>,
    /// The chunks from 0 on; `None` where a later chunk was committed first. At most as many as the
    /// grid has.
    pub chunks: Vec<Option<Chunk>>,
    /// The sample tables, once the video is finished; downloads are laid out from them.
    pub table: Option<TableObject>,
}

/// The object that contains a rendition's sample tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableObject {
    /// Its key in the video's store.
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// One committed object: the fragments of one chunk, one per GOP, concatenated from byte 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its key in the video's store.
    pub key: String,
    /// The fragments in order; as many as the chunk has GOPs on the grid.
    pub fragments: Vec<Fragment>,
}

/// A `moof` and its `mdat`: one GOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Size of `moof` and `mdat` in bytes.
    pub bytes: u32,
    /// Bytes from the fragment's start to the end of its first sample: the range in an I-frame
    /// playlist.
    pub intra_bytes: u32,
    /// Sum of the sample durations, in ticks.
    pub duration: u32,
}

/// The values that [`VERSION`] stores after the index proper.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Additions {
    /// Whether the grid's last GOP takes a short remainder.
    joined_remainder: bool,
}

impl Index {
    /// Encodes the index for [`Self::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let additions = Additions { joined_remainder: self.grid.has_joined_remainder() };
        // Serializing into memory cannot fail: it contains no maps or unsized sequences.
        let mut payload = postcard::to_stdvec(&(self, additions)).unwrap_or_default();
        let version = if self.audio_details.is_empty() && !self.grid.has_joined_remainder() {
            payload.truncate(payload.len().saturating_sub(2));
            WITHOUT_ADDITIONS
        } else {
            VERSION
        };
        let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(blake3::hash(&payload).as_bytes());
        out.extend_from_slice(&payload);
        out
    }

    /// Decodes an index. Damaged bytes cause an error, never a panic or a different index.
    ///
    /// # Errors
    /// The size, magic number, version, checksum or payload is invalid.
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
        let absent = match version {
            VERSION => 0,
            WITHOUT_ADDITIONS => 2,
            WITHOUT_CAPTIONS => 3,
            _ => return Err(IndexError::Version(version)),
        };
        if header[6..] != *blake3::hash(payload).as_bytes() {
            return Err(IndexError::Checksum);
        }
        let payload = [payload, &ABSENT[..absent]].concat();
        let Ok(((mut index, additions), [])) = postcard::take_from_bytes::<(Self, _)>(&payload)
        else {
            return Err(IndexError::Malformed);
        };
        let Additions { joined_remainder } = additions;
        if joined_remainder {
            index.grid = index.grid.with_joined_remainder();
        }
        Ok(index)
    }

    /// The track of a rendition, and the content type of its segments.
    pub fn track(&self, rendition: &str) -> Option<(&Track, &'static str)> {
        let video = self.video_renditions.iter().find(|r| r.name == rendition);
        let audio = self.sounds().find(|r| r.name == rendition);
        match (video, audio) {
            (Some(video), _) => Some((&video.track, VIDEO_CONTENT_TYPE)),
            (None, Some(audio)) => Some((&audio.track, AUDIO_CONTENT_TYPE)),
            (None, None) => None,
        }
    }

    /// The track of a rendition, for writing.
    pub fn track_mut(&mut self, rendition: &str) -> Option<&mut Track> {
        let video = self.video_renditions.iter_mut().find(|r| r.name == rendition);
        if let Some(video) = video {
            return Some(&mut video.track);
        }
        let surround = self.audio_details.iter_mut().flat_map(|details| &mut details.surround);
        let mut audio = self.audio_renditions.iter_mut().chain(surround);
        let audio = audio.find(|r| r.name == rendition);
        audio.map(|audio| &mut audio.track)
    }

    /// All planned audio renditions, in stereo and in surround.
    pub fn sounds(&self) -> impl Iterator<Item = &AudioRendition> {
        let surround = self.audio_details.iter().flat_map(|details| &details.surround);
        self.audio_renditions.iter().chain(surround)
    }

    /// The surround renditions of a final video that are complete, each with the place of its
    /// track among the audio renditions. Others are not listed: their task is optional and may end
    /// after the video is final, or fail.
    pub fn surround(&self) -> impl Iterator<Item = (usize, &AudioRendition)> {
        let details = self.audio_details.iter().enumerate();
        let all = details.flat_map(|(place, d)| d.surround.iter().map(move |r| (place, r)));
        let complete = |r: &AudioRendition| {
            self.finished_at_ms.is_some() && r.track.frontier() == self.grid.gops()
        };
        all.filter(move |(_, r)| complete(r))
    }

    /// The purpose of the audio rendition at this place in the list.
    pub fn purpose(&self, place: usize) -> AudioPurpose {
        self.audio_details.get(place).map(|details| details.purpose).unwrap_or_default()
    }

    /// The text track with this id.
    pub fn caption(&self, id: CaptionId) -> Option<&TextTrack> {
        self.captions.iter().find(|track| track.about.id == id)
    }
}

impl Track {
    /// Whether the init segment and the first chunk are committed.
    pub fn started(&self) -> bool {
        !self.init.is_empty() && self.frontier() > 0
    }

    /// The fragments that can be played from the start without a gap.
    pub fn committed(&self) -> impl Iterator<Item = &Fragment> {
        self.chunks.iter().map_while(Option::as_ref).flat_map(|chunk| &chunk.fragments)
    }

    /// Samples of one packet of an audio track.
    pub fn packet_samples(&self) -> u32 {
        match SurroundCodec::of_rfc6381(&self.codec) {
            Some(SurroundCodec::Ac3 | SurroundCodec::Eac3) => DOLBY_UNIT_SAMPLES,
            Some(SurroundCodec::Aac) | None => AAC_FRAME_SAMPLES,
        }
    }

    /// Number of GOPs that can be played from the start without a gap.
    pub fn frontier(&self) -> u32 {
        let committed = self.chunks.iter().map_while(Option::as_ref);
        committed.map(|chunk| chunk.fragments.len() as u32).sum()
    }
}
