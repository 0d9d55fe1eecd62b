//! Packs and packets of a program stream.

use super::{
    Step,
    clock::{self, Clocks},
    pes::{self, Stamp},
};

const PACK: u8 = 0xba;
const END: u8 = 0xb9;
const SYSTEM_HEADER: u8 = 0xbb;
/// Bytes that contain every header.
const LOOK_BYTES: usize = 64;

/// Reads packet by packet; resynchronizes at the next pack if a recording was cut off within one.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Where the current pack begins.
    pack: Option<u64>,
    /// Whether headers have been found where they were expected.
    synchronized: bool,
    /// The clock reference of the current pack.
    reference: Option<i64>,
    /// The first pack after a jump of the clock reference, until a packet with a timestamp follows
    /// it: the first packets of a recording need not have one.
    jumped: Option<u64>,
    /// The position of the last packet whose timestamps were read.
    read: Option<u64>,
}

impl Program {
    /// Reads the header at the start of `rest`, whose position in the stream is `at`.
    pub(super) fn step(&mut self, rest: &[u8], at: u64, clocks: &mut Clocks) -> Step {
        if rest.len() < LOOK_BYTES {
            return Step::Short;
        }
        match rest {
            [0, 0, 1, PACK, flags, ..] => {
                self.synchronized = true;
                self.pack = Some(at);
                self.follow(pes::reference(rest), at);
                // The header of MPEG-2 ends with stuffing.
                Step::Used(if flags >> 6 == 1 { 14 + u64::from(rest[13] & 7) } else { 12 })
            }
            [0, 0, 1, END, ..] => Step::Used(4),
            [0, 0, 1, SYSTEM_HEADER..=0xff, high, low, ..] if self.synchronized => {
                if self.read.replace(at) != Some(at) {
                    self.packet(rest, at, clocks);
                }
                end_of_packet(rest, 6 + usize::from(u16::from_be_bytes([*high, *low])))
            }
            _ => {
                self.synchronized = false;
                let next = rest.windows(4).position(|four| four == [0, 0, 1, PACK]);
                Step::Used(next.unwrap_or(rest.len() - 3) as u64)
            }
        }
    }

    /// Processes the clock reference of the pack at position `at`.
    fn follow(&mut self, reference: Option<i64>, at: u64) {
        let Some(reference) = reference else { return };
        if self.reference.is_some_and(|last| !clock::continues(last, reference)) {
            self.jumped = Some(at);
        }
        self.reference = Some(reference);
    }

    fn packet(&mut self, packet: &[u8], at: u64, clocks: &mut Clocks) {
        let (stamp, header) = pes::stamp(&packet[..pes::HEADER_BYTES_MAX]);
        let Some(stamp) = stamp else { return };
        // FFmpeg's ids: the start code of a stream, or the number of a private sub-stream.
        let id = match packet[3] {
            pes::PRIVATE_1 => packet.get(header).copied().map_or(0, u32::from),
            stream => 0x100 | u32::from(stream),
        };
        let jumped = self.jumped.take();
        let begins = jumped.is_some();
        let stamp = Stamp { gap: begins, begins, ..stamp };
        clocks.tick(id, stamp, jumped.or(self.pack).unwrap_or(at));
    }
}

/// Where the packet of `length` bytes at the start of `rest` ends: at the first pack within it if
/// no start code follows it, because the recording was then cut off within the packet.
fn end_of_packet(rest: &[u8], length: usize) -> Step {
    let Some(next) = rest.get(length..length + 3) else { return Step::Short };
    let pack = || rest[..length + 3].windows(5).position(is_pack);
    let cut_off = if next == [0, 0, 1] { None } else { pack() };
    Step::Used(cut_off.unwrap_or(length) as u64)
}

/// Whether the bytes are those at the beginning of a pack, with the marker bits of MPEG-1 or
/// MPEG-2.
fn is_pack(five: &[u8]) -> bool {
    matches!(five, [0, 0, 1, PACK, flags] if flags & 0xf1 == 0x21 || flags & 0xc4 == 0x44)
}
