//! Conversions of the recordings that a source was joined from.

use media::source::{AudioPart, VideoPart};

use crate::{code::Problem, v1};

/// The byte range of a recording in its file.
pub(super) trait Extent {
    /// The positions of the first byte and of the one after the last.
    fn extent(&self) -> (u64, u64);
}

impl Extent for v1::VideoPart {
    fn extent(&self) -> (u64, u64) {
        (self.start, self.end)
    }
}

impl Extent for v1::AudioPart {
    fn extent(&self) -> (u64, u64) {
        (self.start, self.end)
    }
}

/// Converts recordings, which must be in file order and must not overlap.
pub(super) fn parts<T: Extent, U: From<T>>(field: &str, parts: Vec<T>) -> Result<Vec<U>, Problem> {
    let mut end = 0;
    for part in &parts {
        let (start, next) = part.extent();
        if start < end || next <= start {
            return Err(Problem::field(field, "must lie one after the other"));
        }
        end = next;
    }
    Ok(parts.into_iter().map(Into::into).collect())
}

impl From<VideoPart> for v1::VideoPart {
    fn from(part: VideoPart) -> Self {
        let VideoPart { start, end, index, first_pts, last_pts, hold_before, hold_after } = part;
        Self { start, end, index, first_pts, last_pts, hold_before, hold_after }
    }
}

impl From<v1::VideoPart> for VideoPart {
    fn from(part: v1::VideoPart) -> Self {
        let v1::VideoPart { start, end, index, first_pts, last_pts, hold_before, hold_after } =
            part;
        Self { start, end, index, first_pts, last_pts, hold_before, hold_after }
    }
}

impl From<AudioPart> for v1::AudioPart {
    fn from(part: AudioPart) -> Self {
        let AudioPart { start, end, index, origin, samples } = part;
        Self { start, end, index, origin, samples }
    }
}

impl From<v1::AudioPart> for AudioPart {
    fn from(part: v1::AudioPart) -> Self {
        let v1::AudioPart { start, end, index, origin, samples } = part;
        Self { start, end, index, origin, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_parts_are_rejected() {
        let part = |start, end| v1::AudioPart { start, end, ..v1::AudioPart::default() };
        let read = |found| parts::<_, AudioPart>("audio.parts", found);
        assert_eq!(read(vec![part(0, 10), part(10, 20), part(30, 40)]).unwrap().len(), 3);
        for wrong in [vec![part(0, 10), part(9, 20)], vec![part(5, 5)]] {
            assert_eq!(read(wrong).unwrap_err().violations[0].field, "audio.parts");
        }
    }
}
