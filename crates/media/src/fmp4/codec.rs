//! Sample entries: what a decoder must know before the first sample (`avc1`, `mp4a`).

use super::{
    Mp4Error,
    boxes::{self, Reader, Writer},
    sps::{self, Sps},
};

/// An H.264 track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VideoConfig {
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Frames that decoding runs ahead of presentation.
    pub(crate) reorder_frames: u32,
    /// The body of `avcC`, checked.
    avcc: Vec<u8>,
    /// The body of a `colr` of type nclx.
    colour: Option<Vec<u8>>,
}

impl VideoConfig {
    /// Reads the body of an `avc1` box.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Mp4Error> {
        let mut reader = Reader::new(body, "avc1");
        reader.take(24)?;
        let (width, height) = (reader.u16()?, reader.u16()?);
        if width == 0 || height == 0 {
            return Err(Mp4Error::Invalid("picture size"));
        }
        reader.take(50)?;
        let avcc = boxes::only(reader.rest(), b"avcC", "avcC")?;
        let sps = check_avcc(avcc)?;
        if (sps.width, sps.height) != (u32::from(width), u32::from(height)) {
            return Err(Mp4Error::Invalid("picture size"));
        }
        let colour = boxes::find(reader.rest(), b"colr")?;
        let colour = colour.filter(|c| c.len() == 11 && c.starts_with(b"nclx"));
        Ok(Self {
            width,
            height,
            reorder_frames: sps.reorder_frames,
            avcc: avcc.to_vec(),
            colour: colour.map(<[u8]>::to_vec),
        })
    }

    /// RFC 6381.
    pub(crate) fn codec(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.avcc[1], self.avcc[2], self.avcc[3])
    }

    /// Within CMAF's `cfhd` media profile: at most 1920x1080, level 4, Baseline to High.
    pub(crate) fn is_cfhd(&self) -> bool {
        let profile = matches!(self.avcc[1], 66 | 77 | 100);
        profile && self.avcc[3] <= 40 && self.width <= 1920 && self.height <= 1080
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.boxed(b"avc1", |w| {
            w.zeros(6);
            w.u16(1); // data reference
            w.zeros(16);
            w.u16(self.width);
            w.u16(self.height);
            w.u32(0x0048_0000); // 72 dpi
            w.u32(0x0048_0000);
            w.zeros(4);
            w.u16(1); // frames per sample
            w.zeros(32); // compressor name
            w.u16(0x0018); // colour, no alpha
            w.u16(0xffff);
            w.boxed(b"avcC", |w| w.bytes(&self.avcc));
            if let Some(colour) = &self.colour {
                w.boxed(b"colr", |w| w.bytes(colour));
            }
            w.boxed(b"pasp", |w| {
                w.u32(1);
                w.u32(1);
            });
        });
    }
}

/// ISO/IEC 14496-15, 5.3.3: version 1, four-byte lengths, one SPS of the same profile and level, at
/// least one PPS.
fn check_avcc(body: &[u8]) -> Result<Sps, Mp4Error> {
    let mut reader = Reader::new(body, "avcC");
    if reader.u8()? != 1 {
        return Err(Mp4Error::Unsupported("avcC version"));
    }
    let profile = reader.take(3)?;
    if reader.u8()? & 0x03 != 3 {
        return Err(Mp4Error::Unsupported("NAL unit length size"));
    }
    if reader.u8()? & 0x1f != 1 {
        return Err(Mp4Error::Unsupported("number of parameter sets"));
    }
    let sps = parameter_set(&mut reader, 7)?;
    if sps.get(1..4) != Some(profile) {
        return Err(Mp4Error::Invalid("avcC profile"));
    }
    let pps_count = reader.u8()?;
    for _ in 0..pps_count {
        parameter_set(&mut reader, 8)?;
    }
    if pps_count == 0 {
        return Err(Mp4Error::Missing("parameter sets"));
    }
    sps::read(sps)
}

fn parameter_set<'a>(reader: &mut Reader<'a>, nal_type: u8) -> Result<&'a [u8], Mp4Error> {
    let length = reader.u16()?;
    let set = reader.take(usize::from(length))?;
    match set.first() {
        Some(first) if first & 0x9f == nal_type => Ok(set),
        _ => Err(Mp4Error::Invalid("parameter set")),
    }
}

/// An AAC-LC track at 48 kHz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AudioConfig {
    /// 1 or 2.
    pub(crate) channels: u8,
}

impl AudioConfig {
    /// The one rate that we serve, in Hz.
    pub(crate) const SAMPLE_RATE: u32 = crate::grid::AUDIO_RATE;
    /// 48 kHz in an AudioSpecificConfig (ISO/IEC 14496-3, table 1.18).
    const RATE_INDEX: u16 = 3;
    /// AAC-LC.
    const OBJECT_TYPE: u16 = 2;

    /// Reads the body of an `mp4a` box.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Mp4Error> {
        let mut reader = Reader::new(body, "mp4a");
        reader.take(28)?;
        let mut esds = Reader::new(boxes::only(reader.rest(), b"esds", "esds")?, "esds");
        esds.version_flags()?;
        let mut stream = Reader::new(descriptor(&mut esds, 3)?, "esds");
        stream.take(2)?;
        let flags = stream.u8()?;
        if flags & 0xe0 != 0 {
            return Err(Mp4Error::Unsupported("elementary stream flags"));
        }
        let mut decoder = Reader::new(descriptor(&mut stream, 4)?, "esds");
        if decoder.u8()? != 0x40 {
            return Err(Mp4Error::Unsupported("codec"));
        }
        decoder.take(12)?;
        let mut config = Reader::new(descriptor(&mut decoder, 5)?, "AudioSpecificConfig");
        let config = config.u16()?;
        if config >> 11 != Self::OBJECT_TYPE || config >> 7 & 0x0f != Self::RATE_INDEX {
            return Err(Mp4Error::Unsupported("AAC profile or sample rate"));
        }
        // The last three bits: 1024 samples per frame, no core coder, no extension.
        match (config >> 3 & 0x0f, config & 0x07) {
            (channels @ 1..=2, 0) => Ok(Self { channels: channels as u8 }),
            _ => Err(Mp4Error::Unsupported("AAC channels or frame length")),
        }
    }

    /// RFC 6381.
    pub(crate) fn codec(&self) -> String {
        format!("mp4a.40.{}", Self::OBJECT_TYPE)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        let channels = u16::from(self.channels);
        let config = Self::OBJECT_TYPE << 11 | Self::RATE_INDEX << 7 | channels << 3;
        w.boxed(b"mp4a", |w| {
            w.zeros(6);
            w.u16(1); // data reference
            w.zeros(8);
            w.u16(channels);
            w.u16(16); // bits per sample, by convention
            w.zeros(4);
            w.u32(Self::SAMPLE_RATE << 16);
            w.full(b"esds", 0, 0, |w| {
                w.bytes(&[3, 25, 0, 0, 0]); // ES descriptor, id 0 in files
                w.bytes(&[4, 17, 0x40, 0x15]); // MPEG-4 audio stream
                w.zeros(11); // buffer size and bit rates: not told
                w.bytes(&[5, 2]);
                w.u16(config);
                w.bytes(&[6, 1, 2]); // SL configuration for MP4
            });
        });
    }
}

/// The body of the descriptor that comes next; it must have `tag` (ISO/IEC 14496-1, 8.3.3).
fn descriptor<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<&'a [u8], Mp4Error> {
    if reader.u8()? != tag {
        return Err(Mp4Error::Invalid("descriptor"));
    }
    let mut length = 0_usize;
    for _ in 0..4 {
        let byte = reader.u8()?;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return reader.take(length);
        }
    }
    Err(Mp4Error::Invalid("descriptor length"))
}
