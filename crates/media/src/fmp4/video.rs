//! Sample entries of video tracks (`avc1`, `hvc1`, `av01`): the decoder's configuration.

use super::{
    Mp4Error, av1, avc,
    boxes::{self, Code, Reader, Writer},
    hevc,
    record::Record,
};
use crate::Codec;

/// The configuration of a video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VideoConfig {
    codec: Codec,
    record: Record,
    /// The body of a `colr` of type nclx.
    colour: Option<Vec<u8>>,
}

impl VideoConfig {
    /// The codec of a sample entry; `None` if the entry is not supported.
    pub(crate) fn codec_of(entry: &Code) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.sample_entry().as_bytes() == entry)
    }

    /// Reads the body of a sample entry.
    pub(crate) fn read(codec: Codec, body: &[u8]) -> Result<Self, Mp4Error> {
        let mut reader = Reader::new(body, "sample entry");
        reader.take(24)?;
        let (width, height) = (reader.u16()?, reader.u16()?);
        reader.take(50)?;
        let (code, name) = record_box(codec);
        let record = boxes::only(reader.rest(), code, name)?;
        let record = match codec {
            Codec::H264 => avc::read(record)?,
            Codec::Hevc => hevc::read(record)?,
            Codec::Av1 => av1::read(record)?,
        };
        let declared = (u32::from(width), u32::from(height));
        if width == 0 || height == 0 || (record.width, record.height) != declared {
            return Err(Mp4Error::Invalid("picture size"));
        }
        let colour = boxes::find(reader.rest(), b"colr")?;
        let colour = colour.filter(|c| c.len() == 11 && c.starts_with(b"nclx"));
        Ok(Self { codec, record, colour: colour.map(<[u8]>::to_vec) })
    }

    /// Replaces the parameter sets with those of the first sample where the latter are
    /// authoritative: SVT-AV1 reports other parameter sets before it starts than it then writes.
    pub(crate) fn adopt(&mut self, first_sample: &[u8]) -> Result<(), Mp4Error> {
        if self.codec == Codec::Av1 {
            self.record = av1::adopt(&self.record.body, first_sample)?;
        }
        Ok(())
    }

    /// The codec string of RFC 6381.
    pub(crate) fn rfc6381(&self) -> String {
        self.record.rfc6381.clone()
    }

    /// Width and height in pixels.
    pub(crate) const fn size(&self) -> (u32, u32) {
        (self.record.width, self.record.height)
    }

    /// Frames by which decoding runs ahead of presentation.
    pub(crate) const fn reorder_frames(&self) -> u32 {
        self.record.reorder_frames
    }

    /// The brand of the CMAF media profile that the track conforms to.
    pub(crate) const fn brand(&self) -> Option<Code> {
        self.record.brand
    }

    /// Checks a sample and returns whether decoding may start with it.
    pub(crate) fn is_key(&self, sample: &[u8]) -> Result<bool, Mp4Error> {
        match self.codec {
            Codec::H264 => avc::is_key(sample),
            Codec::Hevc => hevc::is_key(sample),
            Codec::Av1 => av1::is_key(sample, &self.record.body),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        let entry = match self.codec {
            Codec::H264 => b"avc1",
            Codec::Hevc => b"hvc1",
            Codec::Av1 => b"av01",
        };
        w.boxed(entry, |w| {
            w.zeros(6);
            w.u16(1); // data reference
            w.zeros(16);
            w.u16(self.record.width as u16);
            w.u16(self.record.height as u16);
            w.u32(0x0048_0000); // 72 dpi
            w.u32(0x0048_0000);
            w.zeros(4);
            w.u16(1); // frames per sample
            w.zeros(32); // compressor name
            w.u16(0x0018); // colour, no alpha
            w.u16(0xffff);
            w.boxed(record_box(self.codec).0, |w| w.bytes(&self.record.body));
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

const fn record_box(codec: Codec) -> (&'static Code, &'static str) {
    match codec {
        Codec::H264 => (b"avcC", "avcC"),
        Codec::Hevc => (b"hvcC", "hvcC"),
        Codec::Av1 => (b"av1C", "av1C"),
    }
}
