//! H.264 sequence parameter sets (ITU-T H.264, 7.3.2.1 and annex E): the size of the picture, and
//! how many frames decoding runs ahead of presentation.

use super::{
    Mp4Error,
    bits::{Bits, without_emulation_prevention},
};

const INVALID: Mp4Error = Mp4Error::Invalid("SPS");

/// The fields of an SPS that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sps {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// `max_num_reorder_frames`: the most frames that precede a frame in decoding order and follow
    /// it in presentation order.
    pub(crate) reorder_frames: u32,
}

/// Reads an SPS, NAL unit header included. Only progressive 4:2:0 is supported.
pub(crate) fn read(unit: &[u8]) -> Result<Sps, Mp4Error> {
    let payload = without_emulation_prevention(unit.get(1..).ok_or(INVALID)?);
    let mut bits = Bits::new(&payload);
    let profile = bits.fixed(8)?;
    bits.fixed(16)?; // constraints and level
    bits.unsigned()?; // id
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128) {
        high_profile(&mut bits)?;
    }
    bits.unsigned()?; // log2_max_frame_num_minus4
    picture_order(&mut bits)?;
    bits.unsigned()?; // max_num_ref_frames
    bits.fixed(1)?; // gaps_in_frame_num_value_allowed_flag
    let (columns, rows) = (bits.unsigned()?, bits.unsigned()?);
    if bits.fixed(1)? == 0 {
        return Err(Mp4Error::Unsupported("interlaced video"));
    }
    bits.fixed(1)?; // direct_8x8_inference_flag
    let cropping = bits.flag()?;
    let mut crop = [0; 4];
    for side in crop.iter_mut().filter(|_| cropping) {
        *side = bits.unsigned()?;
    }
    let size = |blocks: u32, before: u32, after: u32| {
        let cropped = before.checked_add(after)?.checked_mul(2)?;
        blocks.checked_add(1)?.checked_mul(16)?.checked_sub(cropped)
    };
    let width = size(columns, crop[0], crop[1]).ok_or(INVALID)?;
    let height = size(rows, crop[2], crop[3]).ok_or(INVALID)?;
    if !bits.flag()? {
        return Err(Mp4Error::Unsupported("SPS without VUI"));
    }
    Ok(Sps { width, height, reorder_frames: vui(&mut bits)? })
}

fn high_profile(bits: &mut Bits<'_>) -> Result<(), Mp4Error> {
    if bits.unsigned()? != 1 {
        return Err(Mp4Error::Unsupported("chroma format"));
    }
    bits.unsigned()?; // bit_depth_luma_minus8
    bits.unsigned()?; // bit_depth_chroma_minus8
    bits.fixed(1)?; // qpprime_y_zero_transform_bypass_flag
    if !bits.flag()? {
        return Ok(());
    }
    for list in 0..8 {
        if bits.flag()? {
            scaling_list(bits, if list < 6 { 16 } else { 64 })?;
        }
    }
    Ok(())
}

fn scaling_list(bits: &mut Bits<'_>, size: u32) -> Result<(), Mp4Error> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

fn picture_order(bits: &mut Bits<'_>) -> Result<(), Mp4Error> {
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.fixed(1)?;
            bits.signed()?;
            bits.signed()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.signed()?;
            }
        }
        2 => {}
        _ => return Err(INVALID),
    }
    Ok(())
}

/// Reads up to and including `max_num_reorder_frames`.
fn vui(bits: &mut Bits<'_>) -> Result<u32, Mp4Error> {
    /// `aspect_ratio_idc` of an explicit ratio.
    const EXTENDED_SAR: u32 = 255;
    if bits.flag()? && bits.fixed(8)? == EXTENDED_SAR {
        bits.fixed(32)?;
    }
    if bits.flag()? {
        bits.fixed(1)?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        bits.fixed(4)?; // video_format, video_full_range_flag
        if bits.flag()? {
            bits.fixed(24)?; // primaries, transfer, matrix
        }
    }
    if bits.flag()? {
        bits.unsigned()?; // chroma_sample_loc_type_top_field
        bits.unsigned()?;
    }
    if bits.flag()? {
        bits.fixed(32)?; // num_units_in_tick
        bits.fixed(32)?; // time_scale
        bits.fixed(1)?; // fixed_frame_rate_flag
    }
    let nal_hrd = bits.flag()?;
    if nal_hrd {
        hrd(bits)?;
    }
    let vcl_hrd = bits.flag()?;
    if vcl_hrd {
        hrd(bits)?;
    }
    if nal_hrd || vcl_hrd {
        bits.fixed(1)?; // low_delay_hrd_flag
    }
    bits.fixed(1)?; // pic_struct_present_flag
    if !bits.flag()? {
        return Err(Mp4Error::Unsupported("SPS without bitstream restriction"));
    }
    bits.fixed(1)?; // motion_vectors_over_pic_boundaries_flag
    for _ in 0..4 {
        bits.unsigned()?; // limits of pictures, macroblocks and motion vectors
    }
    match bits.unsigned()? {
        frames @ 0..=16 => Ok(frames),
        _ => Err(INVALID),
    }
}

fn hrd(bits: &mut Bits<'_>) -> Result<(), Mp4Error> {
    let count = bits.unsigned()?.min(31) + 1;
    bits.fixed(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..count {
        bits.unsigned()?;
        bits.unsigned()?;
        bits.fixed(1)?;
    }
    bits.fixed(20)?; // lengths of delays and offsets
    Ok(())
}
