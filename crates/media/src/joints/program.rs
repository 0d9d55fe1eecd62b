//! Packs and packets of a program stream.

use super::{Step, clock::Clocks, pes};

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
                // The header of MPEG-2 ends with stuffing.
                Step::Used(if flags >> 6 == 1 { 14 + u64::from(rest[13] & 7) } else { 12 })
            }
            [0, 0, 1, END, ..] => Step::Used(4),
            [0, 0, 1, SYSTEM_HEADER..=0xff, high, low, ..] if self.synchronized => {
                self.packet(rest, at, clocks);
                Step::Used(6 + u64::from(u16::from_be_bytes([*high, *low])))
            }
            _ => {
                self.synchronized = false;
                let next = rest.windows(4).position(|four| four == [0, 0, 1, PACK]);
                Step::Used(next.unwrap_or(rest.len() - 3) as u64)
            }
        }
    }

    fn packet(&self, packet: &[u8], at: u64, clocks: &mut Clocks) {
        let (stamp, header) = pes::stamp(&packet[..pes::HEADER_BYTES_MAX]);
        let Some(stamp) = stamp else { return };
        // FFmpeg's ids: the start code of a stream, or the number of a private sub-stream.
        let id = match packet[3] {
            pes::PRIVATE_1 => packet.get(header).copied().map_or(0, u32::from),
            stream => 0x100 | u32::from(stream),
        };
        clocks.tick(id, stamp, self.pack.unwrap_or(at));
    }
}
