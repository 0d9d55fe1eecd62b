//! Program tables of a transport stream (ISO/IEC 13818-1, 2.4.4): which streams belong to another
//! program than the tracks whose clocks are checked. Each program of a multiplex has its own clock.

use std::collections::BTreeMap;

/// The number of possible PIDs.
pub(super) const PIDS: usize = 1 << 13;
/// The PID of the table that lists the programs (PAT).
const PAT_PID: usize = 0;
const PAT: u8 = 0;
/// The table that lists the streams of one program.
const PMT: u8 = 2;
/// Largest section of these tables, with its header.
const SECTION_BYTES_MAX: usize = 1024;
/// Bytes of a section's header up to its content, and of the checksum after it.
const HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

/// A program that the current PAT lists.
#[derive(Clone, Copy, Debug, Default)]
struct Program {
    /// The PID of its PMT.
    pid: usize,
    /// The checksum of its PMT: identifies the version.
    version: u32,
    /// The position at which this version was first read.
    since: u64,
}

/// The tables as they are at the current position.
#[derive(Debug)]
pub(super) struct Tables {
    programs: BTreeMap<u16, Program>,
    /// The programs in the sections of a PAT that is not complete yet.
    listed: BTreeMap<u16, Program>,
    /// Whether a PID carries a table.
    carries: Vec<bool>,
    /// Incomplete sections, by PID.
    sections: BTreeMap<usize, Vec<u8>>,
    /// For each PID, the program whose PMT listed it last, and that PMT's version.
    owners: Vec<Option<(u16, u32)>>,
    /// The program of the last packet of the tracks whose clocks are checked, and that packet's
    /// position.
    chosen: Option<(u16, u64)>,
}

impl Default for Tables {
    fn default() -> Self {
        let mut carries = vec![false; PIDS];
        carries[PAT_PID] = true;
        Self {
            programs: BTreeMap::new(),
            listed: BTreeMap::new(),
            carries,
            sections: BTreeMap::new(),
            owners: vec![None; PIDS],
            chosen: None,
        }
    }
}

impl Tables {
    /// Reads the payload of a packet at position `at`, if its PID carries a table.
    pub(super) fn read(&mut self, pid: usize, begins: bool, payload: &[u8], at: u64) {
        if !self.carries[pid] {
            return;
        }
        let mut pending = self.sections.remove(&pid).unwrap_or_default();
        if begins {
            // The first byte is the length of the rest of the section before.
            let Some((rest, payload)) = payload.split_first() else { return };
            let (before, payload) = payload.split_at(payload.len().min(usize::from(*rest)));
            pending.extend_from_slice(before);
            self.sections(pid, &mut pending, at);
            pending = payload.to_vec();
        } else if !pending.is_empty() {
            pending.extend_from_slice(payload);
        }
        self.sections(pid, &mut pending, at);
        if !pending.is_empty() {
            self.sections.insert(pid, pending);
        }
    }

    /// Reads the complete sections at the start of `pending` and removes them.
    fn sections(&mut self, pid: usize, pending: &mut Vec<u8>, at: u64) {
        let mut used = 0;
        while let [table, high, low, ..] = pending[used..] {
            let length = 3 + (usize::from(high & 0xf) << 8 | usize::from(low));
            // Stuffing follows the last section.
            if table == 0xff || length > SECTION_BYTES_MAX {
                used = pending.len();
                break;
            }
            let Some(section) = pending.get(used..used + length) else { break };
            self.section(pid, section, at);
            used += length;
        }
        pending.drain(..used);
    }

    fn section(&mut self, pid: usize, section: &[u8], at: u64) {
        let Some(content) = section.len().checked_sub(CRC_BYTES) else { return };
        let is_current = section.get(5).is_some_and(|flags| flags & 1 == 1);
        if content < HEADER_BYTES || crc(section) != 0 || !is_current {
            return;
        }
        let version = crc(&section[..content]);
        let number = u16::from_be_bytes([section[3], section[4]]);
        match section[0] {
            PAT if pid == PAT_PID => self.programs(&section[6..content]),
            PMT => {
                let program = self.programs.get_mut(&number);
                let Some(program) = program.filter(|program| program.pid == pid) else { return };
                if program.version == version {
                    return;
                }
                (program.version, program.since) = (version, at);
                for stream in streams(&section[HEADER_BYTES..content]) {
                    self.owners[stream] = Some((number, version));
                }
            }
            _ => {}
        }
    }

    /// Reads a section of the PAT from its number on. A program that the whole PAT does not list
    /// has ended.
    fn programs(&mut self, section: &[u8]) {
        let [number, last, programs @ ..] = section else { return };
        if *number == 0 {
            self.listed.clear();
        }
        for entry in programs.chunks_exact(4) {
            let program = u16::from_be_bytes([entry[0], entry[1]]);
            let pid = pid(entry[2], entry[3]);
            // Number 0 is the network's own table.
            if program != 0 {
                self.listed.insert(program, Program { pid, ..Program::default() });
            }
        }
        if number == last {
            let listed = std::mem::take(&mut self.listed);
            let before = std::mem::replace(&mut self.programs, listed);
            for (number, program) in &mut self.programs {
                self.carries[program.pid] = true;
                let same = before.get(number).filter(|before| before.pid == program.pid);
                *program = same.copied().unwrap_or(*program);
            }
        }
    }

    fn program_of(&self, pid: usize) -> Option<(u16, Program)> {
        let (number, version) = self.owners[pid]?;
        let program = self.programs.get(&number).filter(|program| program.version == version)?;
        Some((number, *program))
    }

    /// A packet of a track whose clock is checked begins at position `at`.
    pub(super) fn choose(&mut self, pid: usize, at: u64) {
        self.chosen = self.program_of(pid).map(|(number, _)| (number, at));
    }

    /// Whether `pid` belongs to another program that is sent together with the chosen one: packets
    /// of the chosen program have followed its table. After its last packet, another program may be
    /// a recording that was appended.
    pub(super) fn is_other(&self, pid: usize) -> bool {
        let Some((chosen, last)) = self.chosen else { return false };
        let other = self.program_of(pid).filter(|(number, _)| *number != chosen);
        let other = other.is_some_and(|(_, program)| program.since < last);
        other && self.programs.contains_key(&chosen)
    }
}

/// The PIDs of a program's streams, from the content of its PMT.
fn streams(content: &[u8]) -> impl Iterator<Item = usize> {
    let length = |bytes: &[u8], place: usize| {
        let two = bytes.get(place..place + 2);
        two.map_or(0, |two| usize::from(two[0] & 0xf) << 8 | usize::from(two[1]))
    };
    let mut rest = content.get(4 + length(content, 2)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [_, high, low, _, _, ..] = rest else { return None };
        let stream = pid(*high, *low);
        rest = rest.get(5 + length(rest, 3)..).unwrap_or_default();
        Some(stream)
    })
}

fn pid(high: u8, low: u8) -> usize {
    usize::from(high & 0x1f) << 8 | usize::from(low)
}

/// The checksum of sections (ISO/IEC 13818-1, annex A); 0 for a section with its checksum.
fn crc(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            let carry = if crc >> 31 == 1 { POLYNOMIAL } else { 0 };
            crc << 1 ^ carry
        })
    })
}
