//! Reads elements of Matroska and WebM files (RFC 8794, RFC 9559) that ffprobe does not report.

use crate::source::OpenedSource;

/// Bytes of an element's head: an id of up to 4, a size of up to 8.
const HEAD_BYTES: usize = 12;
const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const TRACK_TYPE: u32 = 0x83;
const CODEC_ID: u32 = 0x86;
/// The value of `TrackType` for subtitles.
const SUBTITLES: u8 = 0x11;
/// Elements before the first cluster that are examined.
const ELEMENTS_MAX: usize = 64;
/// Size of the list of tracks, with their codecs' private data.
const TRACKS_BYTES_MAX: u64 = 4 << 20;

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

/// The codec ids of the text tracks of `source`, in the file's order, which is also FFmpeg's.
pub(super) async fn text_codecs(source: &OpenedSource) -> Vec<String> {
    let Some((_, mut at)) = segment(source).await else { return Vec::new() };
    for _ in 0..ELEMENTS_MAX {
        let Some(head) = Head::read(source, at).await else { break };
        let Some(size) = head.size.filter(|_| head.id != CLUSTER) else { break };
        let content = at.saturating_add(head.bytes);
        if head.id == TRACKS && size <= TRACKS_BYTES_MAX {
            return codecs_of(&source.peek(content, size as usize).await);
        }
        at = content.saturating_add(size);
    }
    Vec::new()
}

/// The codec ids of the text tracks in the content of `Tracks`.
fn codecs_of(tracks: &[u8]) -> Vec<String> {
    let entries = elements(tracks).filter(|(id, _)| *id == TRACK_ENTRY);
    let codec = |entry: &[u8]| {
        let find = |wanted| elements(entry).find(|(id, _)| *id == wanted).map(|(_, value)| value);
        let is_text = find(TRACK_TYPE).and_then(<[u8]>::last) == Some(&SUBTITLES);
        let id = find(CODEC_ID).filter(|_| is_text)?;
        Some(String::from_utf8_lossy(id).trim_end_matches('\0').to_owned())
    };
    entries.filter_map(|(_, entry)| codec(entry)).collect()
}

/// The complete elements in `bytes`: ids and contents.
fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let head = Head::parse(bytes)?;
        let start = usize::try_from(head.bytes).ok()?;
        let end = start.checked_add(usize::try_from(head.size?).ok()?)?;
        let content = bytes.get(start..end)?;
        bytes = bytes.get(end..)?;
        Some((head.id, content))
    })
}

#[cfg(test)]
mod tests {
    use super::{Head, codecs_of};

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

    #[test]
    fn codec_ids_of_text_tracks_are_listed_in_order() {
        let track = |kind: u8, codec: &[u8]| {
            let mut entry = vec![0xd7, 0x81, 1, 0x83, 0x81, kind, 0x86, 0x80 | codec.len() as u8];
            entry.extend(codec);
            [&[0xae, 0x80 | entry.len() as u8], &entry[..]].concat()
        };
        let tracks = [
            track(1, b"V_VP8"),
            track(0x11, b"S_TEXT/WEBVTT"),
            track(2, b"A_OPUS"),
            track(0x11, b"S_TEXT/UTF8\0"),
        ];
        assert_eq!(codecs_of(&tracks.concat()), ["S_TEXT/WEBVTT", "S_TEXT/UTF8"]);
        assert!(codecs_of(&tracks[1][..9]).is_empty(), "an incomplete element");
    }
}
