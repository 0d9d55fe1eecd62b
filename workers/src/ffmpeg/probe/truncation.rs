//! Detects files that were truncated during recording or upload, from their headers alone: FFmpeg
//! reads the part that exists and reports no error.

use crate::source::OpenedSource;

/// Top-level boxes of a file that are examined.
const BOXES_MAX: usize = 64;
/// RIFF chunks that are examined; AVI has one per gigabyte or two.
const RIFF_CHUNKS_MAX: usize = 64;
/// From this value on, a RIFF chunk's size means that the writer did not know it.
const RIFF_BYTES_UNKNOWN: u32 = 0x7fff_0000;
/// Writers miscount by a header or a padding byte.
const RIFF_SLACK_BYTES: u64 = 64;

/// Whether `source` is an MP4 or QuickTime file that has media data (`mdat`) but no `moov`: it was
/// truncated during upload or recording.
pub(super) async fn lacks_index(source: &OpenedSource) -> bool {
    let mut names = Vec::new();
    let mut at = 0;
    while names.len() < BOXES_MAX {
        let head = source.peek(at, 16).await;
        let Some((short, rest)) = head.split_first_chunk() else { break };
        let Some((name, rest)) = rest.split_first_chunk::<4>() else { break };
        names.push(*name);
        let size = match (u32::from_be_bytes(*short), rest.first_chunk()) {
            (1, Some(long)) => u64::from_be_bytes(*long),
            (short, _) => u64::from(short),
        };
        if size < 8 {
            break;
        }
        at = at.saturating_add(size);
    }
    names.first() == Some(b"ftyp") && names.contains(b"mdat") && !names.contains(b"moov")
}

/// The first bytes of a raw DV file, whose fourth one has a flag, and the least that FFmpeg reads of it.
const DV_HEAD: [u8; 3] = [0x1f, 0x07, 0x00];
const DV_BYTES_MIN: u64 = 480;

/// Whether `source` is a raw DV file of `bytes` bytes that ends within the header of its first
/// picture.
pub(super) async fn lacks_picture_of_dv(source: &OpenedSource, bytes: u64) -> bool {
    bytes < DV_BYTES_MIN && source.peek(0, DV_HEAD.len()).await == DV_HEAD
}

/// How many bytes are missing from `source`, an AVI or WAV file of `bytes` bytes; `None` when it is
/// complete, does not state its size, or has another format.
pub(super) async fn missing_of_riff(source: &OpenedSource, bytes: u64) -> Option<u64> {
    let mut at = 0;
    for _ in 0..RIFF_CHUNKS_MAX {
        let size = riff_bytes(&source.peek(at, 8).await)?;
        let end = at + 8 + u64::from(size);
        if end > bytes + RIFF_SLACK_BYTES {
            return Some(end - bytes);
        }
        // Chunks start at even offsets.
        at = end.next_multiple_of(2);
    }
    None
}

/// Bytes of an EBML element's head that are read: an id of 4, a size of up to 8.
const EBML_HEAD_BYTES: usize = 12;

/// How many bytes are missing of `source`, a Matroska or WebM file of `bytes` bytes; `None` as
/// above.
pub(super) async fn missing_of_matroska(source: &OpenedSource, bytes: u64) -> Option<u64> {
    let (head, size) = ebml_size(&source.peek(0, EBML_HEAD_BYTES).await, [0x1a, 0x45, 0xdf, 0xa3])?;
    let segment = head.checked_add(size)?;
    let read = source.peek(segment, EBML_HEAD_BYTES).await;
    let (head, size) = ebml_size(&read, [0x18, 0x53, 0x80, 0x67])?;
    let end = segment.checked_add(head)?.checked_add(size)?;
    end.checked_sub(bytes).filter(|missing| *missing > 0)
}

/// The length of the head of an element with `id`, and the size that it states, unless its writer
/// did not know it.
fn ebml_size(head: &[u8], id: [u8; 4]) -> Option<(u64, u64)> {
    let rest = head.strip_prefix(&id)?;
    let first = *rest.first()?;
    let length = first.leading_zeros() as usize + 1;
    let digits = rest.get(..length).filter(|_| length <= 8)?;
    let size = digits.iter().fold(0, |size, byte| (size << 8) | u64::from(*byte));
    let marker = 1_u64 << (7 * length);
    let size = size - marker;
    (size != marker - 1).then_some(((id.len() + length) as u64, size))
}

/// The size that the header of a RIFF chunk states.
fn riff_bytes(head: &[u8]) -> Option<u32> {
    let size = head.strip_prefix(b"RIFF")?.first_chunk().copied().map(u32::from_le_bytes)?;
    (1..RIFF_BYTES_UNKNOWN).contains(&size).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::{ebml_size, riff_bytes};

    #[test]
    fn sizes_of_ebml_elements_are_read_unless_they_are_unknown() {
        let read = |bytes: &[u8]| ebml_size(bytes, *b"abcd");
        assert_eq!(read(b"abcd\x81"), Some((5, 1)));
        assert_eq!(read(b"abcd\x41\x02"), Some((6, 0x102)));
        assert_eq!(read(b"abcd\x01\0\0\0\0\0\x02\0"), Some((12, 512)));
        let unknown: [&[u8]; 6] = [
            b"abcd\xff",
            b"abcd\x01\xff\xff\xff\xff\xff\xff\xff",
            b"abcd\x41",
            b"abcd\0\0\0\0\0\0\0\0",
            b"abcd",
            b"abce\x81",
        ];
        for head in unknown {
            assert_eq!(read(head), None, "{head:?}");
        }
    }

    #[test]
    fn only_known_sizes_of_riff_chunks_count() {
        assert_eq!(riff_bytes(b"RIFF\x10\x02\0\0"), Some(0x210));
        for head in
            [&b"RIFF\0\0\0\0"[..], b"RIFF\xff\xff\xff\xff", b"RIFF\0", b"OggS\x10\0\0\0", b""]
        {
            assert_eq!(riff_bytes(head), None, "{head:?}");
        }
    }
}
