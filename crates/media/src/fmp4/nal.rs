//! Samples of H.264 and HEVC as stored in MP4: NAL units, each after its four-byte length.

use super::Mp4Error;

pub(super) const BROKEN: Mp4Error = Mp4Error::Invalid("NAL unit");

/// The NAL units of a sample; ends with an error where a length does not fit.
pub(super) fn units(sample: &[u8]) -> impl Iterator<Item = Result<&[u8], Mp4Error>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let unit = split(rest);
        rest = unit.map_or(&[], |(_, rest)| rest);
        Some(unit.map(|(unit, _)| unit).ok_or(BROKEN))
    })
}

fn split(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
