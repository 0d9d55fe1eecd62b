//! The sample entry of an audio track (`mp4a`): the decoder's configuration.

use super::{
    Mp4Error,
    boxes::{self, Reader, Writer},
};

/// An AAC-LC track at 48 kHz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AudioConfig {
    /// 1 or 2; 6 in a surround rendition (5.1).
    pub(crate) channels: u8,
}

impl AudioConfig {
    /// The only output sample rate, in Hz.
    pub(crate) const SAMPLE_RATE: u32 = crate::grid::AUDIO_RATE;
    /// 48 kHz as an index of an AudioSpecificConfig (ISO/IEC 14496-3, table 1.18).
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
            (channels @ (1 | 2 | 6), 0) => Ok(Self { channels: channels as u8 }),
            _ => Err(Mp4Error::Unsupported("AAC channels or frame length")),
        }
    }

    /// The codec string of RFC 6381.
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
                w.zeros(11); // buffer size and bit rates: unspecified
                w.bytes(&[5, 2]);
                w.u16(config);
                w.bytes(&[6, 1, 2]); // SL configuration for MP4
            });
        });
    }
}

/// Reads the body of the next descriptor, which must have `tag` (ISO/IEC 14496-1, 8.3.3).
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
