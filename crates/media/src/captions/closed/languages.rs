//! The languages of closed captions, which only transport streams state: in the caption service
//! descriptor of ATSC A/65, in the map of a program.

use std::collections::{BTreeMap, BTreeSet};

use super::{Channel, SERVICE_MAX};

const SYNC: u8 = 0x47;
const PACKET_BYTES: usize = 188;
/// Distances between packets: plain, with a timestamp, with a checksum.
const STRIDES: [usize; 3] = [PACKET_BYTES, 192, 204];
/// Number of consecutive sync bytes that confirm a stride.
const SYNCS: usize = 4;
/// The largest section of a program map, with its header.
const SECTION_BYTES_MAX: usize = 1024;
/// Program maps that are read; more than a transponder has.
const MAPS_MAX: usize = 64;
/// Identifiers of the tables and of the descriptor.
const ASSOCIATION: u8 = 0;
const MAP: u8 = 2;
const CAPTION_SERVICES: u8 = 0x86;

/// The languages, as three letters, that the start of a transport stream states.
pub fn languages(stream: &[u8]) -> BTreeMap<Channel, String> {
    let mut tables = Tables::default();
    let Some((start, stride)) = synchronize(stream) else { return tables.found };
    let mut rest = stream.get(start..).unwrap_or_default();
    while let Some(packet) = rest.first_chunk::<PACKET_BYTES>() {
        if packet[0] != SYNC {
            break;
        }
        tables.packet(packet);
        rest = rest.get(stride..).unwrap_or_default();
    }
    tables.found
}

/// The first packet and the distance between packets.
fn synchronize(stream: &[u8]) -> Option<(usize, usize)> {
    let fits = |start: usize, stride: usize| {
        (0..SYNCS).all(|n| stream.get(start + n * stride) == Some(&SYNC))
    };
    let starts = 0..STRIDES[2];
    starts.flat_map(|start| STRIDES.map(|stride| (start, stride))).find(|(a, b)| fits(*a, *b))
}

#[derive(Default)]
struct Tables {
    /// The PIDs of program maps.
    maps: BTreeSet<u16>,
    /// The start of a section of each of them.
    sections: BTreeMap<u16, Vec<u8>>,
    found: BTreeMap<Channel, String>,
}

impl Tables {
    fn packet(&mut self, packet: &[u8; PACKET_BYTES]) {
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
        let begins = packet[1] & 0x40 != 0;
        let skipped = match packet[3] & 0x30 {
            0x10 => 4,
            0x30 => 5 + usize::from(packet[4]),
            _ => return,
        };
        if pid != 0 && !self.maps.contains(&pid) {
            return;
        }
        let mut payload = packet.get(skipped..).unwrap_or_default();
        if begins {
            // The first byte points to the start of a section.
            let pointer = payload.first().map_or(0, |byte| usize::from(*byte));
            payload = payload.get(1 + pointer..).unwrap_or_default();
            self.sections.insert(pid, Vec::new());
        }
        let Some(section) = self.sections.get_mut(&pid) else { return };
        section.extend_from_slice(payload);
        let Some([_, high, low]) = section.first_chunk().copied() else { return };
        let length = 3 + (usize::from(u16::from_be_bytes([high, low])) & 0x0fff);
        if length > SECTION_BYTES_MAX || section.len() >= length {
            let section = self.sections.remove(&pid).unwrap_or_default();
            self.section(section.get(..length).unwrap_or_default());
        }
    }

    /// Reads a whole section, which ends with a checksum of four bytes.
    fn section(&mut self, section: &[u8]) {
        let Some(body) = section.len().checked_sub(4).and_then(|end| section.get(8..end)) else {
            return;
        };
        match section.first() {
            Some(&ASSOCIATION) => {
                for [_, _, high, low] in body.as_chunks().0 {
                    if self.maps.len() < MAPS_MAX {
                        self.maps.insert(u16::from_be_bytes([*high, *low]) & 0x1fff);
                    }
                }
            }
            Some(&MAP) => {
                let Some((_, rest)) = body.split_at_checked(2) else { return };
                let Some((program, mut streams)) = counted(rest) else { return };
                self.descriptors(program);
                while let Some((_, rest)) = streams.split_at_checked(3) {
                    let Some((stream, after)) = counted(rest) else { return };
                    self.descriptors(stream);
                    streams = after;
                }
            }
            _ => {}
        }
    }

    fn descriptors(&mut self, mut rest: &[u8]) {
        while let [tag, length, after @ ..] = rest {
            let Some((descriptor, after)) = after.split_at_checked(usize::from(*length)) else {
                return;
            };
            if *tag == CAPTION_SERVICES {
                self.caption_services(descriptor.get(1..).unwrap_or_default());
            }
            rest = after;
        }
    }

    fn caption_services(&mut self, services: &[u8]) {
        for [a, b, c, kind, _, _] in services.as_chunks().0 {
            let language = [*a, *b, *c].map(|byte| byte.to_ascii_lowercase());
            let Ok(language) = std::str::from_utf8(&language) else { continue };
            let channel = match kind & 0x80 {
                // The field of line 21, of which the first channel is meant.
                0 => Channel::Line21(if kind & 1 == 0 { 1 } else { 3 }),
                _ => Channel::Service(kind & SERVICE_MAX),
            };
            if language.bytes().all(|byte| byte.is_ascii_lowercase()) {
                self.found.entry(channel).or_insert_with(|| language.to_owned());
            }
        }
    }
}

/// The bytes that a length of twelve bits counts, and those after them.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)) & 0x0fff)
}

#[cfg(test)]
mod tests {
    use super::{super::Channel, languages};

    /// A packet with a whole section behind its header.
    fn packet(pid: u16, table: u8, body: &[u8]) -> Vec<u8> {
        let [high, low] = (pid | 0x4000).to_be_bytes();
        let length = (5 + body.len() + 4) as u8;
        let head = [0x47, high, low, 0x10, 0, table, 0xb0, length, 0, 1, 0xc1, 0, 0];
        let mut packet = [&head[..], body, &[0; 4]].concat();
        packet.resize(188, 0xff);
        packet
    }

    #[test]
    fn the_descriptor_of_a_program_map_states_the_languages() {
        let descriptor = [&[0x86, 13, 0xc2][..], b"eng\xc1\x7f\xff", b"SPA\x7f\x7f\xff"].concat();
        let stream = [&[0x02, 0xe1, 0x01, 0xf0, descriptor.len() as u8][..], &descriptor].concat();
        let map = [&[0xe1, 0x01, 0xf0, 0x00][..], &stream].concat();
        let tables =
            [packet(0, 0, &[0, 1, 0xe1, 0x00]), packet(0x100, 2, &map), packet(0x1ff, 2, &map)];
        let expected = [(Channel::Service(1), "eng"), (Channel::Line21(3), "spa")];
        let expected = expected.map(|(channel, language)| (channel, language.to_owned())).into();
        let plain = [tables.concat(), tables.concat()].concat();
        assert_eq!(languages(&plain), expected);
        let timed: Vec<u8> = plain.chunks(188).flat_map(|p| [&[1, 2, 3, 4], p].concat()).collect();
        assert_eq!(languages(&timed), expected);
        for cut in 0..plain.len() {
            languages(&plain[cut..]);
        }
        assert!(languages(&[0x47; 2000]).is_empty() && languages(b"").is_empty());
    }
}
