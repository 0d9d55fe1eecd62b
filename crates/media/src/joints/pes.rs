//! Timestamps in the headers of PES packets (ISO/IEC 13818-1, 2.4.3.6; ISO/IEC 11172-1, 2.4.3.3).

/// Bytes that contain the timestamps of every header: MPEG-1 allows 16 bytes of stuffing before
/// them.
pub(super) const HEADER_BYTES_MAX: usize = 40;
/// Bits of a timestamp.
pub(super) const CLOCK_BITS: u32 = 33;
/// Stream id of private stream 1: AC-3 and DTS in program streams, after a byte with the
/// sub-stream's number.
pub(super) const PRIVATE_1: u8 = 0xbd;
const STUFFING_MAX: usize = 16;

/// The decode time of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// In ticks of 90 kHz.
    pub(super) time: i64,
    /// Whether the packet carries both a decode and a presentation time.
    pub(super) decode: bool,
    /// Whether packets seem to be missing before it.
    pub(super) gap: bool,
    /// Whether tables before it seem to begin a recording.
    pub(super) begins: bool,
}

impl Stamp {
    fn new(time: i64, decode: bool) -> Self {
        Self { time, decode, gap: false, begins: false }
    }
}

/// Whether a stream id is that of a video or audio stream.
fn is_media(stream: u8) -> bool {
    matches!(stream, PRIVATE_1 | 0xc0..=0xef | 0xfd)
}

/// The decode time in the header at the start of `packet`, and the length of the header.
pub(super) fn stamp(packet: &[u8]) -> (Option<Stamp>, usize) {
    let Some([0, 0, 1, stream, _, _]) = packet.first_chunk::<6>() else { return (None, 0) };
    if !is_media(*stream) {
        return (None, 6);
    }
    match packet.get(6) {
        Some(flags) if flags & 0xc0 == 0x80 => mpeg2(packet),
        _ => mpeg1(packet),
    }
}

fn mpeg2(packet: &[u8]) -> (Option<Stamp>, usize) {
    let (Some(flags), Some(length)) = (packet.get(7), packet.get(8)) else { return (None, 0) };
    (times(packet, 9, flags >> 6), 9 + usize::from(*length))
}

fn mpeg1(packet: &[u8]) -> (Option<Stamp>, usize) {
    let mut at = 6;
    while at < 6 + STUFFING_MAX && packet.get(at) == Some(&0xff) {
        at += 1;
    }
    if packet.get(at).is_some_and(|byte| byte & 0xc0 == 0x40) {
        at += 2;
    }
    match packet.get(at).map(|byte| byte >> 4) {
        Some(2) => (times(packet, at, 2), at + 5),
        Some(3) => (times(packet, at, 3), at + 10),
        _ => (None, at + 1),
    }
}

/// `flags`: 2 for a presentation time, 3 for a presentation and a decode time.
fn times(packet: &[u8], at: usize, flags: u8) -> Option<Stamp> {
    match flags {
        2 => Some(Stamp::new(time(packet.get(at..)?)?, false)),
        3 => Some(Stamp::new(time(packet.get(at + 5..)?)?, true)),
        _ => None,
    }
}

/// 33 bits in five bytes, with marker bits between them; `None` if a marker bit is not set.
fn time(bytes: &[u8]) -> Option<i64> {
    let [a, b, c, d, e] = bytes.first_chunk::<5>()?.map(i64::from);
    let marked = a & c & e & 1 == 1;
    marked.then_some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

/// The clock reference in a pack header, in ticks of 90 kHz.
pub(super) fn reference(pack: &[u8]) -> Option<i64> {
    let bytes = pack.get(4..)?;
    let [a, b, c, d, e] = bytes.first_chunk::<5>()?.map(i64::from);
    match a >> 6 {
        0 => time(bytes),
        1 => {
            let high = (a >> 3 & 7) << 30 | (a & 3) << 28 | b << 20;
            Some(high | (c >> 3) << 15 | (c & 3) << 13 | d << 5 | e >> 3)
        }
        _ => None,
    }
}
