//! Rules that depend on the codec: its RFC 6381 string, and the samples at which a decoder may
//! start.

use anyhow::{Context, bail};

use super::boxes::Reader;

/// The codec string of ISO/IEC 14496-15, annex E, in lower case.
pub(super) fn hevc_codec(hvcc: &[u8]) -> String {
    let compatible = u32::from_be_bytes([hvcc[2], hvcc[3], hvcc[4], hvcc[5]]);
    let tier = if hvcc[1] & 0x20 == 0 { 'l' } else { 'h' };
    let mut codec =
        format!("hvc1.{}.{:x}.{tier}{}", hvcc[1] & 0x1f, compatible.reverse_bits(), hvcc[12]);
    let mut constraints = hvcc[6..12].to_vec();
    while constraints.last() == Some(&0) {
        constraints.pop();
    }
    constraints.iter().for_each(|byte| codec += &format!(".{byte:x}"));
    codec
}

/// The codec string from the object types of an esds box, such as `mp4a.40.2`.
pub(super) fn audio_codec(esds: &[u8]) -> anyhow::Result<String> {
    let mut reader = Reader::new(esds);
    reader.take(4)?;
    let (mut object, mut specific) = (None, None);
    while reader.left() > 0 && specific.is_none() {
        let tag = reader.u8()?;
        while reader.u8()? & 0x80 != 0 {}
        match tag {
            3 => drop(reader.take(3)?),
            4 => {
                object = Some(reader.u8()?);
                reader.take(12)?;
            }
            5 => specific = Some(reader.u8()? >> 3),
            _ => bail!("descriptor {tag} in esds"),
        }
    }
    let (object, specific) = object.zip(specific).context("esds without configuration")?;
    Ok(format!("mp4a.{object:02x}.{specific}"))
}

/// The number of channels by `acmod`, which begins at bit `at` of a Dolby record, and `lfeon`.
pub(super) fn dolby_channels(record: &[u8], at: usize) -> anyhow::Result<u32> {
    let bit =
        |place: usize| record.get(place / 8).map(|byte| u32::from(byte >> (7 - place % 8) & 1));
    let bits: Option<Vec<u32>> = (at..at + 4).map(bit).collect();
    let bits = bits.context("short Dolby record")?;
    let full = [2, 1, 2, 3, 3, 4, 4, 5][(bits[0] << 2 | bits[1] << 1 | bits[2]) as usize];
    Ok(full + bits[3])
}

/// Whether a decoder may start at a sample: an IDR picture, or AV1's sequence header and key frame.
pub(super) fn is_clean_start(codec: &str, sample: &[u8]) -> bool {
    if codec.starts_with("av01") {
        // The sequence header's size takes one byte; a shown key frame with its size follows the
        // header.
        let after = sample.get(1).map_or(0, |size| 2 + usize::from(*size));
        let frame = sample.get(after..).unwrap_or_default();
        let sizes = frame.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count();
        let bits = frame.get(sizes + 2).copied().unwrap_or(0xff);
        return sample.first() == Some(&0x0a)
            && frame.first() == Some(&0x32)
            && bits & 0xf0 == 0x10;
    }
    let mut reader = Reader::new(sample);
    while reader.left() > 4 {
        let Ok(length) = reader.u32() else { return false };
        let Some(head) = reader.take(length as usize).ok().and_then(<[u8]>::first) else {
            return false;
        };
        match (codec.starts_with("hvc1"), head & 0x1f, head >> 1) {
            (false, kind @ 1..=5, _) => return kind == 5,
            (true, _, kind @ 0..=31) => return kind == 19 || kind == 20,
            _ => {}
        }
    }
    false
}

/// Whether samples of H.264 or HEVC contain closed captions: user data registered by ITU-T T.35
/// (SEI payload type 4).
pub(super) fn holds_captions(codec: &str, samples: &[u8]) -> bool {
    if codec.starts_with("av01") {
        return false;
    }
    let mut reader = Reader::new(samples);
    while reader.left() > 4 {
        let unit = reader.u32().and_then(|length| reader.take(length as usize));
        let Ok(unit) = unit else { return false };
        let payload = match (codec.starts_with("hvc1"), unit) {
            (false, [head, payload, ..]) if head & 0x1f == 6 => payload,
            (true, [head, _, payload, ..]) if matches!(head >> 1 & 0x3f, 39 | 40) => payload,
            _ => continue,
        };
        if *payload == 4 {
            return true;
        }
    }
    false
}
