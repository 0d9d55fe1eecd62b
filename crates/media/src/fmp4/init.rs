//! Init segments (CMAF headers): reads FFmpeg's `moov`, writes the canonical one.
//!
//! The canonical form depends on the codec's parameters only and leaves out bit rates and dates, so
//! that it is byte-identical for all chunks of a rendition.

use super::{
    Mp4Error, TrackKind,
    audio::AudioConfig,
    boxes::{self, Reader},
    dolby::{self, DolbyConfig},
    fragment::Defaults,
    video::VideoConfig,
};
use crate::grid::{AAC_FRAME_SAMPLES, DOLBY_UNIT_SAMPLES};

/// Description of the track of an init segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitInfo {
    /// Video or audio.
    pub kind: TrackKind,
    /// RFC 6381 string, for example "avc1.64001f", "hvc1.1.6.L93.90", "av01.0.05M.08",
    /// "mp4a.40.2" or "ac-3".
    pub codec: String,
    /// Ticks per second.
    pub timescale: u32,
    /// In pixels; 0 for audio.
    pub width: u32,
    /// In pixels; 0 for audio.
    pub height: u32,
    /// Number of channels; 0 for video.
    pub channels: u32,
    /// In Hz; 0 for video.
    pub sample_rate: u32,
    /// Samples of one audio packet; 0 for video.
    pub packet_samples: u32,
}

/// Reads an init segment, or the start of a file that FFmpeg wrote.
///
/// # Errors
/// The bytes are damaged, or do not describe exactly one track of a supported codec.
pub fn init_info(init: &[u8]) -> Result<InitInfo, Mp4Error> {
    Ok(read(init)?.info())
}

/// A track's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) timescale: u32,
    pub(crate) config: Config,
    pub(crate) defaults: Defaults,
}

/// The decoder's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Config {
    Video(VideoConfig),
    Audio(AudioConfig),
    Dolby(DolbyConfig),
}

impl Header {
    pub(crate) fn info(&self) -> InitInfo {
        let timescale = self.timescale;
        match &self.config {
            Config::Video(video) => InitInfo {
                kind: TrackKind::Video,
                codec: video.rfc6381(),
                timescale,
                width: video.size().0,
                height: video.size().1,
                channels: 0,
                sample_rate: 0,
                packet_samples: 0,
            },
            Config::Audio(audio) => self.sound_info(audio.codec(), audio.channels),
            Config::Dolby(dolby) => {
                self.sound_info(dolby.format.codec().to_owned(), dolby.channels())
            }
        }
    }

    fn sound_info(&self, codec: String, channels: u8) -> InitInfo {
        InitInfo {
            kind: TrackKind::Audio,
            codec,
            timescale: self.timescale,
            width: 0,
            height: 0,
            channels: u32::from(channels),
            sample_rate: AudioConfig::SAMPLE_RATE,
            packet_samples: self.packet_samples(),
        }
    }

    /// Samples of one packet of an audio track; 0 for video.
    pub(crate) fn packet_samples(&self) -> u32 {
        match self.config {
            Config::Video(_) => 0,
            Config::Audio(_) => AAC_FRAME_SAMPLES,
            Config::Dolby(_) => DOLBY_UNIT_SAMPLES,
        }
    }

    /// Ticks from a fragment's decode time to the presentation of its first sample. The edit list
    /// removes this delay. A video frame lasts `frame_ticks`.
    pub(crate) fn presentation_delay(&self, frame_ticks: u32) -> u32 {
        match &self.config {
            Config::Video(video) => video.reorder_frames().saturating_mul(frame_ticks),
            Config::Audio(_) | Config::Dolby(_) => 0,
        }
    }

    pub(crate) fn kind(&self) -> TrackKind {
        match self.config {
            Config::Video(_) => TrackKind::Video,
            Config::Audio(_) | Config::Dolby(_) => TrackKind::Audio,
        }
    }
}

/// Reads the `moov` of `bytes` and ignores all other boxes.
pub(crate) fn read(bytes: &[u8]) -> Result<Header, Mp4Error> {
    // Stop at the first `moov`: the rest of the file may still be growing.
    let moov = boxes::find(bytes, b"moov")?.ok_or(Mp4Error::Missing("moov"))?;
    let trak = boxes::only(moov, b"trak", "trak")?;
    let mdia = boxes::only(trak, b"mdia", "mdia")?;
    let timescale = read_mdhd(boxes::only(mdia, b"mdhd", "mdhd")?)?;
    let minf = boxes::only(mdia, b"minf", "minf")?;
    let stbl = boxes::only(minf, b"stbl", "stbl")?;
    let config = read_stsd(boxes::only(stbl, b"stsd", "stsd")?)?;
    let mvex = boxes::only(moov, b"mvex", "mvex")?;
    let defaults = read_trex(boxes::only(mvex, b"trex", "trex")?)?;
    Ok(Header { timescale, config, defaults })
}

fn read_mdhd(body: &[u8]) -> Result<u32, Mp4Error> {
    let mut reader = Reader::new(body, "mdhd");
    let (version, _) = reader.version_flags()?;
    reader.take(if version == 0 { 8 } else { 16 })?;
    match reader.u32()? {
        0 => Err(Mp4Error::Invalid("timescale")),
        timescale => Ok(timescale),
    }
}

fn read_stsd(body: &[u8]) -> Result<Config, Mp4Error> {
    let mut reader = Reader::new(body, "stsd");
    reader.version_flags()?;
    if reader.u32()? != 1 {
        return Err(Mp4Error::Unsupported("several sample entries"));
    }
    let entry = boxes::box_at(reader.rest(), 0)?;
    match (VideoConfig::codec_of(&entry.kind), &entry.kind) {
        (Some(codec), _) => Ok(Config::Video(VideoConfig::read(codec, entry.body)?)),
        (None, b"mp4a") => Ok(Config::Audio(AudioConfig::read(entry.body)?)),
        (None, kind) => match dolby::Format::of_entry(kind) {
            Some(format) => Ok(Config::Dolby(DolbyConfig::read(format, entry.body)?)),
            None => Err(Mp4Error::Unsupported("codec")),
        },
    }
}

fn read_trex(body: &[u8]) -> Result<Defaults, Mp4Error> {
    let mut reader = Reader::new(body, "trex");
    reader.version_flags()?;
    reader.take(8)?;
    let (duration, size, flags) = (reader.u32()?, reader.u32()?, reader.u32()?);
    Ok(Defaults { duration, size, flags })
}
