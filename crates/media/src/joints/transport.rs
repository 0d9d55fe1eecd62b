//! Packets of a transport stream.

use std::mem::take;

use super::{
    Step,
    clock::Clocks,
    pes::{self, Stamp},
    tables::{PIDS, Tables},
};

const SYNC: u8 = 0x47;
const PACKET_BYTES: usize = 188;
/// Distances between packets: plain, with a four-byte timestamp before each, or with a checksum
/// after each.
const STRIDES: [usize; 3] = [PACKET_BYTES, 192, CHECKED_STRIDE];
const CHECKED_STRIDE: usize = 204;
/// Number of consecutive sync bytes that confirm a stride.
const SYNCS: usize = 4;

/// The PID of packets without content, which are not counted.
const NULL_PID: usize = PIDS - 1;

/// Reads packet by packet; searches for the next one where a recording was cut off within a packet.
#[derive(Debug)]
pub(super) struct Transport {
    /// The PIDs that carry video or audio.
    media: Vec<bool>,
    /// Bytes from one packet to the next; `None` while this is not known.
    stride: Option<usize>,
    /// The end of the last video or audio packet. Packets after it, mostly tables, belong to the
    /// next recording.
    media_end: u64,
    /// The continuity counter of each PID's last packet with a payload.
    counters: Vec<Option<u8>>,
    /// Since the last timestamp, the counter of a video or audio PID was not continued.
    gap: bool,
    /// The same for the counter of another PID, mostly one that carries tables.
    begins: bool,
    tables: Tables,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            media: vec![false; PIDS],
            stride: None,
            media_end: 0,
            counters: vec![None; PIDS],
            gap: false,
            begins: false,
            tables: Tables::default(),
        }
    }
}

impl Transport {
    /// Reads the packet at the start of `rest`, whose position in the stream is `at`.
    pub(super) fn step(&mut self, rest: &[u8], at: u64, clocks: &mut Clocks) -> Step {
        let Some(stride) = self.stride else { return self.synchronize(rest) };
        let Some(packet) = rest.first_chunk::<PACKET_BYTES>() else { return Step::Short };
        if packet[0] != SYNC {
            self.stride = None;
            return Step::Used(0);
        }
        self.packet(packet, at, clocks);
        Step::Used(stride as u64)
    }

    /// Searches for the first of several consecutive packets.
    fn synchronize(&mut self, rest: &[u8]) -> Step {
        const NEEDED: usize = SYNCS * CHECKED_STRIDE;
        if rest.len() < NEEDED {
            return Step::Short;
        }
        for start in 0..=rest.len() - NEEDED {
            let fits = |stride: &usize| (0..SYNCS).all(|n| rest[start + n * stride] == SYNC);
            if rest[start] == SYNC
                && let Some(stride) = STRIDES.into_iter().find(fits)
            {
                self.stride = Some(stride);
                return Step::Used(start as u64);
            }
        }
        Step::Used((rest.len() - NEEDED + 1) as u64)
    }

    fn packet(&mut self, packet: &[u8; PACKET_BYTES], at: u64, clocks: &mut Clocks) {
        let damaged = packet[1] & 0x80 != 0;
        if damaged {
            return;
        }
        let pid = usize::from(packet[1] & 0x1f) << 8 | usize::from(packet[2]);
        let begins = packet[1] & 0x40 != 0;
        let payload = payload(packet);
        if let Some(payload) = payload {
            self.count(pid, packet[3] & 0xf);
            self.tables.read(pid, begins, payload, at);
        }
        if let Some(payload) = payload.filter(|_| begins)
            && let (Some(stamp), _) = pes::stamp(payload)
        {
            self.stamp(pid, stamp, at, clocks);
        }
        if !self.media[pid] {
            return;
        }
        let checked = self.stride == Some(CHECKED_STRIDE);
        self.media_end = at + if checked { CHECKED_STRIDE } else { PACKET_BYTES } as u64;
    }

    /// Processes the time of a video or audio packet that begins at position `at`.
    fn stamp(&mut self, pid: usize, stamp: Stamp, at: u64, clocks: &mut Clocks) {
        self.media[pid] = true;
        let track = pid as u32;
        if clocks.follows(track) {
            self.tables.choose(pid, at);
        } else if self.tables.is_other(pid) {
            return;
        }
        let (gap, begins) = (take(&mut self.gap), take(&mut self.begins));
        let stamp = Stamp { gap: gap || begins, begins, ..stamp };
        clocks.tick(track, stamp, self.media_end);
    }

    /// Compares the continuity counter of a packet with that of the one before it. A packet may be
    /// sent twice.
    fn count(&mut self, pid: usize, counter: u8) {
        let last = self.counters[pid].replace(counter);
        let continued = last.is_none_or(|last| counter == last || counter == (last + 1) & 0xf);
        if continued || pid == NULL_PID {
            return;
        }
        if self.media[pid] {
            self.gap = true;
        } else {
            self.begins = true;
        }
    }
}

/// The bytes after the adaptation field.
fn payload(packet: &[u8; PACKET_BYTES]) -> Option<&[u8]> {
    match packet[3] >> 4 & 3 {
        1 => packet.get(4..),
        3 => packet.get(5 + usize::from(packet[4])..),
        _ => None,
    }
}
