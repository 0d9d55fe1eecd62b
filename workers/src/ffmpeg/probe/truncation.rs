//! Detects files that were truncated during recording or upload, from their headers alone: FFmpeg
//! reads the part that exists and reports no error.

use std::time::{Duration, Instant};

use super::TRUNCATED;
use crate::{outcome::TaskFailure, source::OpenedSource};

/// Top-level boxes that are examined in a file, and in one with movie fragments: those of more than
/// five hours.
const BOXES_MAX: usize = 64;
const FRAGMENT_BOXES_MAX: usize = 20_000;
/// How long they are examined; a file that is not read to its end counts as complete.
const BOXES_TIME_MAX: Duration = Duration::from_secs(10);
/// The head of the box `mfro`, which ends a complete file with fragments, and the distance of the
/// box from the file's end.
const FRAGMENTS_END: (&[u8], u64) = (b"\0\0\0\x10mfro", 16);
/// RIFF chunks that are examined; AVI has one per gigabyte or two.
const RIFF_CHUNKS_MAX: usize = 64;
/// From this value on, a RIFF chunk's size means that the writer did not know it.
const RIFF_BYTES_UNKNOWN: u32 = 0x7fff_0000;
/// Bytes of the head of an ASF object (Advanced Systems Format, 2.1): its id, its size.
const ASF_HEAD_BYTES: usize = 24;
const ASF_HEADER: [u8; 16] = *b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
const ASF_DATA: [u8; 16] = *b"\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
const ASF_PROPERTIES: [u8; 16] =
    *b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65";
/// Where the objects in the header begin, and where the properties have their flags.
const ASF_OBJECTS_START: u64 = 30;
const ASF_FLAGS: u64 = 88;
/// Objects in the header that are examined.
const ASF_OBJECTS_MAX: usize = 64;
/// Writers miscount by a header or a padding byte.
const RIFF_SLACK_BYTES: u64 = 64;

/// The top-level boxes of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2 and 8.16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Movie {
    /// Begins with `ftyp`.
    typed: bool,
    /// Has a complete `moov`.
    index: bool,
    /// Has an `mdat`, possibly an incomplete one.
    media: bool,
    /// Has a `meta`, as images do.
    images: bool,
    /// Has movie fragments.
    pub(super) fragmented: bool,
    /// The number of bytes by which the last box is incomplete, if it is `moov`, `moof` or `mdat`.
    missing: Option<u64>,
}

impl Movie {
    /// Reads the boxes of `source`, a file of `bytes` bytes.
    pub(super) async fn read(source: &OpenedSource, bytes: u64) -> Self {
        let (mut movie, mut at) = (Self::default(), 0);
        let begun = Instant::now();
        for number in 0..FRAGMENT_BOXES_MAX {
            let few = number < BOXES_MAX || movie.fragmented;
            if !few || begun.elapsed() > BOXES_TIME_MAX {
                break;
            }
            let Some((name, size)) = box_head(&source.peek(at, 16).await) else { break };
            let end = if size == 0 { bytes } else { at.saturating_add(size) };
            movie.typed |= number == 0 && name == *b"ftyp";
            movie.media |= name == *b"mdat";
            movie.images |= name == *b"meta";
            movie.index |= name == *b"moov" && end <= bytes;
            // The table of contents of all fragments is written last.
            if name == *b"moof" && !std::mem::replace(&mut movie.fragmented, true) {
                let tail = source.peek(bytes.saturating_sub(FRAGMENTS_END.1), 8).await;
                if tail == FRAGMENTS_END.0 {
                    movie.media = true;
                    break;
                }
            }
            if end > bytes {
                let needed = [*b"moov", *b"moof", *b"mdat"].contains(&name);
                movie.missing = needed.then_some(end - bytes);
                break;
            }
            at = end;
        }
        movie
    }

    /// Why no picture or sound of the file can be decoded, if a part of the file is missing.
    pub(super) fn failure(&self) -> Option<TaskFailure> {
        match self.missing {
            _ if !self.index => (self.typed && !self.images).then(lacks_index),
            Some(missing) => Some(shorter(missing)),
            None => (!self.media).then(|| {
                TaskFailure::permanent(TRUNCATED, "ends before its pictures and its sound")
            }),
        }
    }

    /// The failure of a file whose last fragment is incomplete: the number of those that are
    /// missing is not stated anywhere.
    pub(super) fn incomplete_fragment(&self) -> Option<TaskFailure> {
        self.missing.filter(|_| self.fragmented).map(shorter)
    }
}

/// The name of the box that `head` begins with, and its size in bytes; 0 if it extends to the end
/// of the file.
fn box_head(head: &[u8]) -> Option<([u8; 4], u64)> {
    let (short, rest) = head.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk::<4>()?;
    let size = match (u32::from_be_bytes(*short), rest.first_chunk()) {
        (1, Some(long)) => u64::from_be_bytes(*long),
        (short, _) => u64::from(short),
    };
    (size == 0 || size >= 8).then_some((*name, size))
}

fn lacks_index() -> TaskFailure {
    TaskFailure::permanent(TRUNCATED, "ends before its index")
}

/// The failure of a file that is shorter than its own header states.
pub(super) fn shorter(missing: u64) -> TaskFailure {
    TaskFailure::permanent(TRUNCATED, format!("is {missing} bytes shorter than its header states"))
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

/// How many bytes are missing from `source`, an ASF (WMV) file of `bytes` bytes; `None` as above, and
/// for broadcasts, whose sizes are invalid.
pub(super) async fn missing_of_asf(source: &OpenedSource, bytes: u64) -> Option<u64> {
    let object = async |at| asf_object(&source.peek(at, ASF_HEAD_BYTES).await);
    let (_, header) = object(0).await.filter(|(id, _)| *id == ASF_HEADER)?;
    let (_, data) = object(header).await.filter(|(id, _)| *id == ASF_DATA)?;
    let mut at = ASF_OBJECTS_START;
    for _ in 0..ASF_OBJECTS_MAX {
        let (id, size) = object(at).await.filter(|_| at < header)?;
        if id == ASF_PROPERTIES {
            let flags = source.peek(at.checked_add(ASF_FLAGS)?, 1).await;
            let end =
                header.checked_add(data).filter(|_| flags.first().is_some_and(|f| f & 1 == 0))?;
            return end.checked_sub(bytes).filter(|missing| *missing > 0);
        }
        at = at.checked_add(size)?;
    }
    None
}

/// The id and the size of the object that `head` begins with.
fn asf_object(head: &[u8]) -> Option<([u8; 16], u64)> {
    let (id, rest) = head.split_first_chunk()?;
    let size = u64::from_le_bytes(*rest.first_chunk()?);
    (size >= ASF_HEAD_BYTES as u64).then_some((*id, size))
}

/// The size that the header of a RIFF chunk states.
fn riff_bytes(head: &[u8]) -> Option<u32> {
    let size = head.strip_prefix(b"RIFF")?.first_chunk().copied().map(u32::from_le_bytes)?;
    (1..RIFF_BYTES_UNKNOWN).contains(&size).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::{box_head, riff_bytes};

    #[test]
    fn heads_of_boxes_state_names_and_sizes() {
        assert_eq!(box_head(b"\0\0\0\x20ftypisom"), Some((*b"ftyp", 32)));
        assert_eq!(box_head(b"\0\0\0\x01mdat\0\0\0\x01\0\0\0\0"), Some((*b"mdat", 1 << 32)));
        assert_eq!(box_head(b"\0\0\0\0mdat"), Some((*b"mdat", 0)));
        for head in [&b"\0\0\0\x07free"[..], b"\0\0\0\x20fty", b""] {
            assert_eq!(box_head(head), None, "{head:?}");
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
