//! H.264: the configuration record and samples.

use super::{Mp4Error, boxes::Reader, nal, record::Record, sps};

/// Reads the body of an `avcC` (ISO/IEC 14496-15, 5.3.3): version 1, four-byte lengths, one SPS of
/// the same profile and level, at least one PPS.
pub(super) fn read(body: &[u8]) -> Result<Record, Mp4Error> {
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
    let sps = sps::read(sps)?;
    // CMAF's `cfhd`: at most 1920x1080, level 4, Baseline to High.
    let known = matches!(profile[0], 66 | 77 | 100) && profile[2] <= 40;
    let hd = known && sps.width <= 1920 && sps.height <= 1080;
    Ok(Record {
        body: body.to_vec(),
        width: sps.width,
        height: sps.height,
        reorder_frames: sps.reorder_frames,
        rfc6381: format!("avc1.{:02x}{:02x}{:02x}", profile[0], profile[1], profile[2]),
        brand: hd.then_some(*b"cfhd"),
    })
}

fn parameter_set<'a>(reader: &mut Reader<'a>, nal_type: u8) -> Result<&'a [u8], Mp4Error> {
    let length = reader.u16()?;
    let set = reader.take(usize::from(length))?;
    match set.first() {
        Some(first) if first & 0x9f == nal_type => Ok(set),
        _ => Err(Mp4Error::Invalid("parameter set")),
    }
}

/// Checks a sample and returns whether its picture is an IDR picture.
pub(super) fn is_key(sample: &[u8]) -> Result<bool, Mp4Error> {
    let mut idr = None;
    for unit in nal::units(sample) {
        let first = *unit?.first().ok_or(nal::BROKEN)?;
        if first & 0x80 != 0 {
            return Err(nal::BROKEN);
        }
        match first & 0x1f {
            // The slices of a picture are either all IDR or all non-IDR.
            slice @ (1 | 5) => match idr.replace(slice == 5) {
                Some(before) if before != (slice == 5) => return Err(nal::BROKEN),
                _ => {}
            },
            6 | 9 | 12 => {}
            7 | 8 => return Err(Mp4Error::Unsupported("parameter set outside the init segment")),
            _ => return Err(nal::BROKEN),
        }
    }
    idr.ok_or(Mp4Error::Missing("coded picture"))
}
