//! Dolby Digital (AC-3) and Dolby Digital Plus (E-AC-3), by ETSI TS 102 366: sync frames, access
//! units and sample entries. Only 48 kHz and the surround layouts are supported.
//!
//! An access unit lasts 1536 samples. In AC-3 it is one frame. In E-AC-3 it is the frames of the
//! program that every decoder plays (the core, at most 5.1) and frames that add channels to it.

use super::{
    Mp4Error,
    bits::Bits,
    boxes::{self, Code, Reader, Writer},
};
use crate::grid::{AUDIO_RATE, DOLBY_UNIT_SAMPLES};

/// First bytes of a frame.
const SYNC: u32 = 0x0b77;
/// Samples of one audio block.
const BLOCK_SAMPLES: u32 = 256;
/// Bit rates of AC-3 in kbit/s, by half of `frmsizecod` (table 4.13).
const RATES: [u16; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// `bsid` above this value means E-AC-3 (annex E); its only value there is 16.
const BSID_AC3_MAX: u32 = 10;
const BSID_EAC3: u32 = 16;
/// `acmod` of three front and two surround channels, the only supported one.
const SURROUND: u32 = 7;
/// `fscod` of 48 kHz.
const RATE_48_KHZ: u32 = 0;
/// `strmtyp` of a frame that adds channels to the core.
const DEPENDENT: u32 = 1;

/// The two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Ac3,
    Eac3,
}

impl Format {
    /// The format of a sample entry.
    pub(crate) const fn of_entry(entry: &Code) -> Option<Self> {
        match entry {
            b"ac-3" => Some(Self::Ac3),
            b"ec-3" => Some(Self::Eac3),
            _ => None,
        }
    }

    /// The codec string of RFC 6381, which is also the code of the sample entry.
    pub(crate) const fn codec(self) -> &'static str {
        match self {
            Self::Ac3 => "ac-3",
            Self::Eac3 => "ec-3",
        }
    }

    const fn record_box(self) -> (&'static Code, &'static str) {
        match self {
            Self::Ac3 => (b"dac3", "dac3"),
            Self::Eac3 => (b"dec3", "dec3"),
        }
    }
}

/// A track's configuration, from its first access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DolbyConfig {
    pub(crate) format: Format,
    bsid: u32,
    bsmod: u32,
    lfe: bool,
    /// kbit/s
    rate: u16,
}

/// One sync frame.
struct Frame {
    bytes: usize,
    blocks: u32,
    core: bool,
    config: DolbyConfig,
}

impl DolbyConfig {
    /// The configuration of an access unit.
    pub(crate) fn of_unit(unit: &[u8]) -> Result<Self, Mp4Error> {
        let mut first: Option<Self> = None;
        let (mut rest, mut samples, mut bytes) = (unit, 0, 0);
        while !rest.is_empty() {
            let frame = frame(rest)?;
            rest = rest.get(frame.bytes..).ok_or(Mp4Error::Truncated("Dolby frame"))?;
            if !frame.core {
                continue;
            }
            samples += frame.blocks * BLOCK_SAMPLES;
            bytes += frame.bytes;
            let config = *first.get_or_insert(frame.config);
            if !config.continues(&frame.config) {
                return Err(Mp4Error::Unsupported("change of the Dolby configuration"));
            }
        }
        let config = first.ok_or(Mp4Error::Missing("Dolby frame"))?;
        if samples != DOLBY_UNIT_SAMPLES {
            return Err(Mp4Error::Invalid("length of a Dolby access unit"));
        }
        // 1536 samples last 32 ms, so a byte in each unit is a quarter of a kbit/s.
        let rate = match config.format {
            Format::Ac3 => config.rate,
            Format::Eac3 => u16::try_from(bytes / 4).unwrap_or(u16::MAX).min(0x1fff),
        };
        Ok(Self { rate, ..config })
    }

    /// Whether a decoder for this configuration plays `other` without being set up again.
    pub(crate) fn continues(&self, other: &Self) -> bool {
        let constant = self.format == Format::Eac3 || self.rate == other.rate;
        self.format == other.format && self.lfe == other.lfe && constant
    }

    /// Checks that an access unit has this configuration and contains only the core.
    pub(crate) fn admit(&self, unit: &[u8]) -> Result<(), Mp4Error> {
        if !self.continues(&Self::of_unit(unit)?) || core(unit)?.len() != unit.len() {
            return Err(Mp4Error::Unsupported("change of the Dolby configuration"));
        }
        Ok(())
    }

    pub(crate) const fn channels(&self) -> u8 {
        if self.lfe { 6 } else { 5 }
    }

    /// In kbit/s.
    pub(crate) const fn rate(&self) -> u16 {
        self.rate
    }

    /// Reads the body of a sample entry.
    pub(crate) fn read(format: Format, body: &[u8]) -> Result<Self, Mp4Error> {
        let mut reader = Reader::new(body, "sample entry");
        reader.take(28)?;
        let (code, name) = format.record_box();
        let mut bits = Bits::new(boxes::only(reader.rest(), code, name)?);
        let rate = if format == Format::Eac3 { bits.fixed(13)? } else { 0 };
        let substreams = if format == Format::Eac3 { bits.fixed(3)? } else { 0 };
        let (fscod, bsid) = (bits.fixed(2)?, bits.fixed(5)?);
        if format == Format::Eac3 {
            bits.fixed(2)?;
        }
        let (bsmod, acmod, lfe) = (bits.fixed(3)?, bits.fixed(3)?, bits.flag()?);
        let rate = match format {
            Format::Ac3 => rate_of(bits.fixed(5)?)?,
            Format::Eac3 => rate as u16,
        };
        if fscod != RATE_48_KHZ || acmod != SURROUND || substreams != 0 {
            return Err(Mp4Error::Unsupported("Dolby sample rate, layout or substreams"));
        }
        Ok(Self { format, bsid, bsmod, lfe, rate })
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        let entry = match self.format {
            Format::Ac3 => b"ac-3",
            Format::Eac3 => b"ec-3",
        };
        w.boxed(entry, |w| {
            w.zeros(6);
            w.u16(1); // data reference
            w.zeros(8);
            w.u16(2); // channels: a fixed value, the record has the real one
            w.u16(16); // bits per sample, by convention
            w.zeros(4);
            w.u32(AUDIO_RATE << 16);
            w.boxed(self.format.record_box().0, |w| self.record(w));
        });
    }

    /// Annexes F.4 (`dac3`) and F.6 (`dec3`): one independent substream, without dependent ones.
    fn record(&self, w: &mut Writer) {
        let lfe = u32::from(self.lfe);
        let layout = self.bsmod << 4 | SURROUND << 1 | lfe;
        match self.format {
            Format::Ac3 => {
                let code = RATES.iter().position(|rate| *rate == self.rate).unwrap_or(0) as u32;
                let bits = RATE_48_KHZ << 22 | self.bsid << 17 | layout << 10 | code << 5;
                w.bytes(&bits.to_be_bytes()[1..]);
            }
            Format::Eac3 => {
                w.u16(self.rate << 3);
                let bits = RATE_48_KHZ << 22 | self.bsid << 17 | layout << 8;
                w.bytes(&bits.to_be_bytes()[1..]);
            }
        }
    }
}

/// The core of an access unit: without the frames that add channels to it.
pub(crate) fn core(unit: &[u8]) -> Result<Vec<u8>, Mp4Error> {
    let (mut rest, mut core) = (unit, Vec::with_capacity(unit.len()));
    while !rest.is_empty() {
        let frame = frame(rest)?;
        let (own, after) =
            rest.split_at_checked(frame.bytes).ok_or(Mp4Error::Truncated("Dolby frame"))?;
        if frame.core {
            core.extend_from_slice(own);
        }
        rest = after;
    }
    Ok(core)
}

/// Reads the head of the frame at the start of `bytes`.
fn frame(bytes: &[u8]) -> Result<Frame, Mp4Error> {
    let invalid = |_| Mp4Error::Truncated("Dolby frame");
    let mut bits = Bits::new(bytes);
    if bits.fixed(16).map_err(invalid)? != SYNC {
        return Err(Mp4Error::Invalid("Dolby frame"));
    }
    // Both formats have `bsid` at the same place.
    let bsid = u32::from(*bytes.get(5).ok_or(Mp4Error::Truncated("Dolby frame"))?) >> 3;
    match bsid {
        0..=BSID_AC3_MAX => ac3_frame(&mut bits),
        BSID_EAC3 => eac3_frame(&mut bits),
        _ => Err(Mp4Error::Unsupported("Dolby bitstream version")),
    }
}

/// Section 4.3, after the sync word.
fn ac3_frame(bits: &mut Bits<'_>) -> Result<Frame, Mp4Error> {
    bits.fixed(16)?; // checksum
    let (fscod, size, bsid) = (bits.fixed(2)?, bits.fixed(6)?, bits.fixed(5)?);
    let (bsmod, acmod) = (bits.fixed(3)?, bits.fixed(3)?);
    if fscod != RATE_48_KHZ || acmod != SURROUND {
        return Err(Mp4Error::Unsupported("Dolby sample rate or layout"));
    }
    bits.fixed(4)?; // levels of the centre and the surround channels
    let lfe = bits.flag()?;
    let rate = rate_of(size >> 1)?;
    let config = DolbyConfig { format: Format::Ac3, bsid, bsmod, lfe, rate };
    Ok(Frame { bytes: usize::from(rate) * 4, blocks: 6, core: true, config })
}

/// Annex E.1.2, after the sync word.
fn eac3_frame(bits: &mut Bits<'_>) -> Result<Frame, Mp4Error> {
    let (stream_type, substream) = (bits.fixed(2)?, bits.fixed(3)?);
    let words = bits.fixed(11)? + 1;
    let (fscod, blocks) = (bits.fixed(2)?, bits.fixed(2)?);
    let blocks = [1, 2, 3, 6][blocks as usize & 3];
    let (acmod, lfe, bsid) = (bits.fixed(3)?, bits.flag()?, bits.fixed(5)?);
    let core = stream_type != DEPENDENT && substream == 0;
    if fscod != RATE_48_KHZ || core && acmod != SURROUND {
        return Err(Mp4Error::Unsupported("Dolby sample rate or layout"));
    }
    let config = DolbyConfig { format: Format::Eac3, bsid, bsmod: 0, lfe, rate: 0 };
    Ok(Frame { bytes: words as usize * 2, blocks, core, config })
}

fn rate_of(code: u32) -> Result<u16, Mp4Error> {
    RATES.get(code as usize).copied().ok_or(Mp4Error::Invalid("Dolby bit rate"))
}

/// The access unit at the start of a stream of frames.
pub(crate) fn first_unit(stream: &[u8]) -> Result<&[u8], Mp4Error> {
    let (mut end, mut samples) = (0, 0);
    while samples < DOLBY_UNIT_SAMPLES {
        let next = frame(stream.get(end..).unwrap_or_default())?;
        (end, samples) = (end + next.bytes, samples + next.blocks * BLOCK_SAMPLES);
    }
    stream.get(..end).ok_or(Mp4Error::Truncated("Dolby frame"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of E-AC-3 with these values of `strmtyp`, `substreamid`, `numblkscd` and `acmod`.
    fn eac3(kind: u32, substream: u32, blocks: u32, acmod: u32, words: u32) -> Vec<u8> {
        let head = kind << 14 | substream << 11 | (words - 1);
        let layout = RATE_48_KHZ << 14 | blocks << 12 | acmod << 9 | 1 << 8 | BSID_EAC3 << 3;
        let mut frame = vec![0x0b, 0x77];
        frame.extend_from_slice(&(head as u16).to_be_bytes());
        frame.extend_from_slice(&(layout as u16).to_be_bytes());
        frame.resize(words as usize * 2, 0xaa);
        frame
    }

    #[test]
    fn the_core_of_a_unit_in_7_1_is_kept_without_its_additional_channels() {
        let unit = [eac3(0, 0, 3, 7, 300), eac3(1, 0, 3, 2, 100)].concat();
        let config = DolbyConfig::of_unit(&unit).unwrap();
        assert_eq!((config.channels(), config.rate(), config.format.codec()), (6, 150, "ec-3"));
        assert_eq!(core(&unit).unwrap(), eac3(0, 0, 3, 7, 300));
        assert!(config.admit(&unit).is_err() && config.admit(&core(&unit).unwrap()) == Ok(()));
    }

    #[test]
    fn a_unit_has_as_many_frames_as_fill_its_time() {
        let short = eac3(0, 0, 1, 7, 50);
        let unit = short.repeat(3);
        assert!(DolbyConfig::of_unit(&unit).is_ok());
        assert_eq!(first_unit(&short.repeat(5)), Ok(&unit[..]));
        for unit in [short.repeat(2), short.repeat(4), Vec::new(), vec![0x0b], unit[1..].to_vec()] {
            assert!(DolbyConfig::of_unit(&unit).is_err(), "{} bytes", unit.len());
        }
        for end in 0..unit.len() {
            assert!(DolbyConfig::of_unit(&unit[..end]).is_err(), "{end} bytes");
        }
        let stereo = eac3(0, 0, 3, 2, 100);
        assert!(matches!(DolbyConfig::of_unit(&stereo), Err(Mp4Error::Unsupported(_))));
    }

    #[test]
    fn a_written_sample_entry_is_read_back() {
        for (format, rate) in [(Format::Ac3, 448), (Format::Ac3, 640), (Format::Eac3, 768)] {
            for lfe in [false, true] {
                let bsid = if format == Format::Ac3 { 8 } else { BSID_EAC3 };
                let config = DolbyConfig { format, bsid, bsmod: 2, lfe, rate };
                let mut w = Writer::default();
                config.write(&mut w);
                let entry = w.finish();
                assert_eq!(DolbyConfig::read(format, &entry[8..]), Ok(config));
                let record = boxes::only(&entry[36..], format.record_box().0, "record").unwrap();
                assert_eq!(record.len(), if format == Format::Ac3 { 3 } else { 5 });
            }
        }
    }
}
