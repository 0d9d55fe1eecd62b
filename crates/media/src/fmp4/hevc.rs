//! HEVC (ITU-T H.265): the configuration record, sequence parameter sets and samples.

use super::{
    Mp4Error,
    bits::{Bits, without_emulation_prevention},
    boxes::{Reader, Writer},
    nal,
    record::Record,
};

const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
/// Bytes of an `hvcC` before its arrays.
const HEAD_BYTES: usize = 22;
/// `general_level_idc` is the level times thirty.
const LEVEL_4_1: u8 = 123;
const LEVEL_5: u8 = 150;

/// Reads the body of an `hvcC` (ISO/IEC 14496-15, 8.3.3): version 1, four-byte lengths, one SPS of
/// the same profile and level. The SEI messages that FFmpeg stores there are dropped.
pub(super) fn read(body: &[u8]) -> Result<Record, Mp4Error> {
    let mut reader = Reader::new(body, "hvcC");
    let head = reader.take(HEAD_BYTES)?;
    if head[0] != 1 {
        return Err(Mp4Error::Unsupported("hvcC version"));
    }
    if head[21] & 0x03 != 3 {
        return Err(Mp4Error::Unsupported("NAL unit length size"));
    }
    let (mut vps, mut sps, mut pps) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..reader.u8()? {
        let kind = reader.u8()? & 0x3f;
        for _ in 0..reader.u16()? {
            let length = reader.u16()?;
            let unit = reader.take(usize::from(length))?;
            if kind_of(unit) != Ok(kind) {
                return Err(Mp4Error::Invalid("parameter set"));
            }
            match kind {
                VPS => vps.push(unit),
                SPS => sps.push(unit),
                PPS => pps.push(unit),
                _ => {}
            }
        }
    }
    let [only] = sps[..] else { return Err(Mp4Error::Unsupported("number of parameter sets")) };
    if vps.is_empty() || pps.is_empty() {
        return Err(Mp4Error::Missing("parameter sets"));
    }
    let set = Sps::read(only)?;
    if set.profile_tier_level != head[1..13] {
        return Err(Mp4Error::Invalid("hvcC profile"));
    }
    let mut w = Writer::default();
    w.bytes(head);
    w.bytes(&[3]);
    for (kind, units) in [(VPS, &vps), (SPS, &sps), (PPS, &pps)] {
        w.bytes(&[0x80 | kind]); // complete: none of them in the samples
        w.u16(units.len() as u16);
        for unit in units {
            w.u16(unit.len() as u16);
            w.bytes(unit);
        }
    }
    Ok(Record {
        body: w.finish(),
        width: set.width,
        height: set.height,
        reorder_frames: set.reorder_frames,
        rfc6381: rfc6381(&head[1..13]),
        brand: brand(&head[1..13], &set),
    })
}

/// The codec string of ISO/IEC 14496-15, annex E.3, for example "hvc1.1.6.L93.90".
fn rfc6381(ptl: &[u8]) -> String {
    let space = ["", "A", "B", "C"][usize::from(ptl[0] >> 6)];
    let tier = if ptl[0] & 0x20 == 0 { 'L' } else { 'H' };
    let compatible = u32::from_be_bytes([ptl[1], ptl[2], ptl[3], ptl[4]]).reverse_bits();
    let profile = ptl[0] & 0x1f;
    let mut text = format!("hvc1.{space}{profile}.{compatible:X}.{tier}{}", ptl[11]);
    let constraints = &ptl[5..11];
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

/// The brands of CMAF's media profiles for HEVC Main, main tier: `chhd`, and `cud8` for larger
/// video.
fn brand(ptl: &[u8], sps: &Sps) -> Option<[u8; 4]> {
    let main = ptl[0] & 0x3f == 1;
    let within = |width, height| sps.width <= width && sps.height <= height;
    match ptl[11] {
        level if main && level <= LEVEL_4_1 && within(1920, 1080) => Some(*b"chhd"),
        level if main && level <= LEVEL_5 && within(3840, 2160) => Some(*b"cud8"),
        _ => None,
    }
}

/// The fields of an SPS that are used here.
struct Sps {
    profile_tier_level: Vec<u8>,
    width: u32,
    height: u32,
    /// `sps_max_num_reorder_pics`.
    reorder_frames: u32,
}

impl Sps {
    /// Reads an SPS (7.3.2.2), NAL unit header included. Only 4:2:0 in a single layer is supported.
    fn read(unit: &[u8]) -> Result<Self, Mp4Error> {
        const INVALID: Mp4Error = Mp4Error::Invalid("SPS");
        let payload = without_emulation_prevention(unit.get(2..).ok_or(INVALID)?);
        let mut bits = Bits::new(&payload);
        bits.fixed(4)?; // VPS id
        if bits.fixed(3)? != 0 {
            return Err(Mp4Error::Unsupported("temporal layers"));
        }
        bits.fixed(1)?; // temporal id nesting
        let profile_tier_level = payload.get(1..13).ok_or(INVALID)?.to_vec();
        for _ in 0..12 {
            bits.fixed(8)?;
        }
        bits.unsigned()?; // id
        if bits.unsigned()? != 1 {
            return Err(Mp4Error::Unsupported("chroma format"));
        }
        let (coded_width, coded_height) = (bits.unsigned()?, bits.unsigned()?);
        let mut crop = [0; 4];
        if bits.flag()? {
            for side in &mut crop {
                *side = bits.unsigned()?;
            }
        }
        let size = |coded: u32, before: u32, after: u32| {
            let cropped = before.checked_add(after)?.checked_mul(2)?;
            coded.checked_sub(cropped).filter(|size| *size > 0)
        };
        let width = size(coded_width, crop[0], crop[1]).ok_or(INVALID)?;
        let height = size(coded_height, crop[2], crop[3]).ok_or(INVALID)?;
        bits.unsigned()?; // bit_depth_luma_minus8
        bits.unsigned()?; // bit_depth_chroma_minus8
        bits.unsigned()?; // log2_max_pic_order_cnt_lsb_minus4
        bits.flag()?; // sub_layer_ordering_info_present_flag: there is one layer
        bits.unsigned()?; // max_dec_pic_buffering_minus1
        match bits.unsigned()? {
            reorder_frames @ 0..=16 => {
                Ok(Self { profile_tier_level, width, height, reorder_frames })
            }
            _ => Err(INVALID),
        }
    }
}

/// The type of a NAL unit, whose header has two bytes.
fn kind_of(unit: &[u8]) -> Result<u8, Mp4Error> {
    match unit {
        // Layer 0 only; the temporal id is stored plus one, so it is never 0.
        [first, second, ..] if first & 0x81 == 0 && second & 0xf8 == 0 && second & 7 != 0 => {
            Ok(first >> 1)
        }
        _ => Err(nal::BROKEN),
    }
}

/// Checks a sample and returns whether its picture is an IDR picture.
pub(super) fn is_key(sample: &[u8]) -> Result<bool, Mp4Error> {
    let mut idr = None;
    for unit in nal::units(sample) {
        let key = match kind_of(unit?)? {
            19 | 20 => true,
            0..=9 => false,
            VPS..=PPS => {
                return Err(Mp4Error::Unsupported("parameter set outside the init segment"));
            }
            // Access unit delimiters, filler data, SEI messages.
            35 | 38..=40 => continue,
            16..=23 => return Err(Mp4Error::Unsupported("key frame without an IDR picture")),
            _ => return Err(nal::BROKEN),
        };
        // The slices of a picture are either all IDR or all non-IDR.
        if idr.replace(key).is_some_and(|before| before != key) {
            return Err(nal::BROKEN);
        }
    }
    idr.ok_or(Mp4Error::Missing("coded picture"))
}
