//! H.264 samples as MP4 stores them: NAL units, each behind its four-byte length.

use super::Mp4Error;

const BROKEN: Mp4Error = Mp4Error::Invalid("NAL unit");

/// Checks a sample and says whether its picture is an IDR picture.
pub(crate) fn picture_is_idr(sample: &[u8]) -> Result<bool, Mp4Error> {
    let mut rest = sample;
    let mut idr = None;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(BROKEN)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (unit, after) = after.split_at_checked(length).ok_or(BROKEN)?;
        let first = *unit.first().ok_or(BROKEN)?;
        if first & 0x80 != 0 {
            return Err(BROKEN);
        }
        match first & 0x1f {
            // Slices of one picture are all IDR or none is.
            slice @ (1 | 5) => match idr.replace(slice == 5) {
                Some(before) if before != (slice == 5) => return Err(BROKEN),
                _ => {}
            },
            6 | 9 | 12 => {}
            7 | 8 => return Err(Mp4Error::Unsupported("parameter set outside the init segment")),
            _ => return Err(BROKEN),
        }
        rest = after;
    }
    idr.ok_or(Mp4Error::Missing("coded picture"))
}
