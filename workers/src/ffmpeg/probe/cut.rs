//! Detects files that were truncated during recording or upload, from their headers alone: FFmpeg reads
//! the part that exists and reports no error.

use crate::source::Source;

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
pub(super) async fn lacks_index(source: &Source) -> bool {
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

/// How many bytes are missing from `source`, an AVI or WAV file of `bytes` bytes; `None` when it is
/// complete, does not state its size, or has another format.
pub(super) async fn missing_of_riff(source: &Source, bytes: u64) -> Option<u64> {
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

/// The size that the header of a RIFF chunk states.
fn riff_bytes(head: &[u8]) -> Option<u32> {
    let size = head.strip_prefix(b"RIFF")?.first_chunk().copied().map(u32::from_le_bytes)?;
    (1..RIFF_BYTES_UNKNOWN).contains(&size).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::riff_bytes;

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
