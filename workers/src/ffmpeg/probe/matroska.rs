//! Reads elements of Matroska and WebM files (RFC 8794, RFC 9559) that ffprobe does not report.

use crate::source::OpenedSource;

/// Bytes of an element's head: an id of up to 4, a size of up to 8.
const HEAD_BYTES: usize = 12;
const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;

/// The head of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    id: u32,
    /// Bytes of the head.
    bytes: u64,
    /// Bytes of the content; `None` if the writer did not know it.
    size: Option<u64>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (id, id_bytes) = number(bytes, 4)?;
        let id = u32::try_from(id).ok()?;
        let (size, size_bytes) = number(bytes.get(id_bytes..)?, 8)?;
        let marker = 1_u64 << (7 * size_bytes);
        let size = size - marker;
        let size = (size != marker - 1).then_some(size);
        Some(Self { id, bytes: (id_bytes + size_bytes) as u64, size })
    }

    async fn read(source: &OpenedSource, at: u64) -> Option<Self> {
        Self::parse(&source.peek(at, HEAD_BYTES).await)
    }
}

/// A number of variable length with its length marker, and its length, at most `bytes_max` bytes.
fn number(bytes: &[u8], bytes_max: usize) -> Option<(u64, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let digits = bytes.get(..length).filter(|_| length <= bytes_max)?;
    Some((digits.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)), length))
}

/// The segment's head and the position of its content.
async fn segment(source: &OpenedSource) -> Option<(Head, u64)> {
    let header = Head::read(source, 0).await.filter(|head| head.id == EBML)?;
    let at = header.bytes.checked_add(header.size?)?;
    let head = Head::read(source, at).await.filter(|head| head.id == SEGMENT)?;
    Some((head, at.checked_add(head.bytes)?))
}

/// How many bytes are missing of `source`, a Matroska or WebM file of `bytes` bytes; `None` when it
/// is complete, does not state its size, or has another format.
pub(super) async fn missing(source: &OpenedSource, bytes: u64) -> Option<u64> {
    let (head, content) = segment(source).await?;
    let end = content.checked_add(head.size?)?;
    end.checked_sub(bytes).filter(|missing| *missing > 0)
}

#[cfg(test)]
mod tests {
    use super::Head;

    #[test]
    fn sizes_of_elements_are_read_unless_they_are_unknown() {
        let read = |bytes: &[u8]| Head::parse(bytes).map(|head| (head.bytes, head.size));
        assert_eq!(read(b"\x1abcd\x81"), Some((5, Some(1))));
        assert_eq!(read(b"\x1abcd\x41\x02"), Some((6, Some(0x102))));
        assert_eq!(read(b"\xae\x01\0\0\0\0\0\x02\0"), Some((9, Some(512))));
        assert_eq!(read(b"\x1abcd\xff"), Some((5, None)));
        assert_eq!(read(b"\x1abcd\x01\xff\xff\xff\xff\xff\xff\xff"), Some((12, None)));
        for head in [&b"\x1abcd\x41"[..], b"\x1abcd\0\0\0\0\0\0\0\0", b"\x1abcd", b"\x08bcd\x81"] {
            assert_eq!(read(head), None, "{head:?}");
        }
    }
}
