//! AV1 (bitstream specification 1.0.0 and its ISOBMFF binding 1.2): the configuration record,
//! sequence headers and samples.

use super::{Mp4Error, bits::Bits, record::Record};

const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const TILE_GROUP: u8 = 4;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
/// Bytes of an `av1C` before its OBUs.
const HEAD_BYTES: usize = 4;
const BROKEN: Mp4Error = Mp4Error::Invalid("OBU");

/// Reads the body of an `av1C`: version 1, Main profile, 8 bits, 4:2:0, and the sequence header.
pub(super) fn read(body: &[u8]) -> Result<Record, Mp4Error> {
    let (head, units) = body.split_at_checked(HEAD_BYTES).ok_or(Mp4Error::Truncated("av1C"))?;
    if head[0] != 0x81 {
        return Err(Mp4Error::Unsupported("av1C version"));
    }
    if head[2] & 0x7c != 0x0c {
        return Err(Mp4Error::Unsupported("pixel format"));
    }
    let mut found = Units(units);
    let unit = found.next().ok_or(Mp4Error::Missing("parameter sets"))??;
    if unit.kind != SEQUENCE_HEADER || found.next().is_some() {
        return Err(Mp4Error::Unsupported("number of parameter sets"));
    }
    let header = SequenceHeader::read(unit.body)?;
    let (profile, level, tier) = (head[1] >> 5, head[1] & 0x1f, head[2] >> 7);
    if (profile, level, tier) != (header.profile, header.level, header.tier) {
        return Err(Mp4Error::Invalid("av1C profile"));
    }
    let tier = if tier == 0 { 'M' } else { 'H' };
    Ok(Record {
        body: body.to_vec(),
        width: header.width,
        height: header.height,
        // A sample is a temporal unit: it already contains the frames that are decoded ahead of
        // presentation.
        reorder_frames: 0,
        rfc6381: format!("av01.{profile}.{level:02}{tier}.08"),
        brand: Some(*b"av01"),
    })
}

/// The record with the sequence header at the start of `sample`, or the same record if the sample
/// has none.
pub(super) fn adopt(record: &[u8], sample: &[u8]) -> Result<Record, Mp4Error> {
    let first = Units(sample).next().transpose()?;
    let Some(unit) = first.filter(|unit| unit.kind == SEQUENCE_HEADER) else { return read(record) };
    let head = record.get(..HEAD_BYTES).ok_or(Mp4Error::Truncated("av1C"))?;
    read(&[head, unit.whole].concat())
}

/// The fields of a sequence header (5.5) that are used here.
struct SequenceHeader {
    profile: u8,
    level: u8,
    tier: u8,
    width: u32,
    height: u32,
}

impl SequenceHeader {
    fn read(body: &[u8]) -> Result<Self, Mp4Error> {
        let mut bits = Bits::new(body);
        let profile = bits.fixed(3)? as u8;
        // still_picture, reduced_still_picture_header
        if bits.fixed(2)? != 0 {
            return Err(Mp4Error::Unsupported("still picture"));
        }
        let delay_bits = timing(&mut bits)?;
        let display_delays = bits.flag()?;
        let (mut level, mut tier) = (0, 0);
        for point in 0..=bits.fixed(5)? {
            bits.fixed(12)?; // operating_point_idc
            let own_level = bits.fixed(5)? as u8;
            let own_tier = if own_level > 7 { bits.fixed(1)? as u8 } else { 0 };
            if point == 0 {
                (level, tier) = (own_level, own_tier);
            }
            if let Some(length) = delay_bits
                && bits.flag()?
            {
                bits.fixed(length)?;
                bits.fixed(length)?;
                bits.fixed(1)?;
            }
            if display_delays && bits.flag()? {
                bits.fixed(4)?;
            }
        }
        let (width_bits, height_bits) = (bits.fixed(4)? + 1, bits.fixed(4)? + 1);
        let (width, height) = (bits.fixed(width_bits)? + 1, bits.fixed(height_bits)? + 1);
        Ok(Self { profile, level, tier, width, height })
    }
}

/// Skips timing and decoder model; returns the length of the delay fields when there is a decoder
/// model.
fn timing(bits: &mut Bits<'_>) -> Result<Option<u32>, Mp4Error> {
    if !bits.flag()? {
        return Ok(None);
    }
    bits.fixed(32)?; // num_units_in_display_tick
    bits.fixed(32)?; // time_scale
    if bits.flag()? {
        bits.unsigned()?; // num_ticks_per_picture_minus_1
    }
    if !bits.flag()? {
        return Ok(None);
    }
    let length = bits.fixed(5)? + 1;
    bits.fixed(32)?; // num_units_in_decoding_tick
    bits.fixed(10)?; // lengths of removal and presentation times
    Ok(Some(length))
}

/// An open bitstream unit (OBU).
#[derive(Clone, Copy)]
struct Unit<'a> {
    kind: u8,
    /// Including its header.
    whole: &'a [u8],
    body: &'a [u8],
}

/// The OBUs of a sample; ends with an error where a size does not fit.
struct Units<'a>(&'a [u8]);

impl<'a> Iterator for Units<'a> {
    type Item = Result<Unit<'a>, Mp4Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((unit, rest)) = split(self.0) else {
            self.0 = &[];
            return Some(Err(BROKEN));
        };
        self.0 = rest;
        Some(Ok(unit))
    }
}

/// Splits off the OBU at the start of `bytes` (5.3); only the last one of a sample may omit its
/// size.
fn split(bytes: &[u8]) -> Option<(Unit<'_>, &[u8])> {
    let first = *bytes.first()?;
    let mut at = if first & 0x04 == 0 { 1 } else { 2 };
    let mut size = 0_u64;
    if first & 0x02 == 0 {
        size = bytes.len().checked_sub(at)? as u64;
    } else {
        for place in 0..8 {
            let byte = *bytes.get(at)?;
            at += 1;
            size |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                break;
            }
            if place == 7 {
                return None;
            }
        }
    }
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    let (whole, rest) = bytes.split_at_checked(end)?;
    let body = whole.get(at..)?;
    (first & 0x80 == 0).then_some((Unit { kind: first >> 3 & 0x0f, whole, body }, rest))
}

/// Checks a sample, which must be a temporal unit that shows exactly one frame, and returns whether
/// that frame is a key frame. A sequence header in it must equal the one in `record`.
pub(super) fn is_key(sample: &[u8], record: &[u8]) -> Result<bool, Mp4Error> {
    let mut shown = None;
    for unit in Units(sample) {
        let unit = unit?;
        match unit.kind {
            SEQUENCE_HEADER if Some(unit.whole) != record.get(HEAD_BYTES..) => {
                return Err(Mp4Error::Unsupported("parameter set outside the init segment"));
            }
            FRAME_HEADER | FRAME => {
                // show_existing_frame, frame_type (2), show_frame
                let first = *unit.body.first().ok_or(BROKEN)?;
                let existing = first & 0x80 != 0;
                let key = !existing && first & 0x60 == 0;
                if (existing || first & 0x10 != 0) && shown.replace(key).is_some() {
                    return Err(Mp4Error::Invalid("number of frames in a sample"));
                }
            }
            SEQUENCE_HEADER | TILE_GROUP | METADATA => {}
            _ => return Err(BROKEN),
        }
    }
    shown.ok_or(Mp4Error::Missing("coded picture"))
}
