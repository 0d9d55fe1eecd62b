//! Multiplexes: only the clocks of the program with the followed tracks count, unless another
//! program was appended.

use media::joints::{Container, Scanner, Track};

use crate::joints::{SECOND, SOUND, Stamped, VIDEO, later, only, recording, renumbered, transport};

/// The PIDs of the programs' own tables.
const PMTS: [u16; 2] = [0x1000, 0x1001];

/// A section with its length and checksum, in one packet.
fn table(pid: u16, table: u8, number: u16, content: &[u8]) -> Vec<u8> {
    let length = content.len() + 9;
    let mut section = vec![table, 0xb0 | (length >> 8) as u8, length as u8];
    section.extend(number.to_be_bytes());
    section.extend([0xc1, 0, 0]);
    section.extend(content);
    let crc = section.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            let carry = if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            crc << 1 ^ carry
        })
    });
    section.extend(crc.to_be_bytes());
    let mut packet = vec![0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10, 0];
    packet.extend(section);
    packet.resize(188, 0xff);
    packet
}

/// The table of both programs.
fn programs() -> Vec<u8> {
    let entry = |(number, pid): (u16, &u16)| [number.to_be_bytes(), (0xe000 | pid).to_be_bytes()];
    let entries: Vec<u8> = (1..).zip(&PMTS).flat_map(entry).flatten().collect();
    table(0, 0, 1, &entries)
}

/// The table of program `number`, whose tracks have PIDs from `video` on.
fn streams(number: usize, video: u32) -> Vec<u8> {
    let stream = |kind: u8, pid: u32| [kind, 0xe0 | (pid >> 8) as u8, pid as u8, 0xf0, 0];
    let mut content = vec![0xe0 | (video >> 8) as u8, video as u8, 0xf0, 0];
    content.extend([stream(0x1b, video), stream(0x0f, video + 1)].concat());
    table(PMTS[number - 1], 2, number as u16, &content)
}

/// Packets after each of which the `tables` are repeated.
fn tabled(tables: &[Vec<u8>], packets: &[Stamped]) -> Vec<u8> {
    let mut stream = tables.concat();
    for packets in packets.chunks(20) {
        // The helper begins with a table that is invalid.
        stream.extend(&transport(packets, 188)[188..]);
        stream.extend(tables.concat());
    }
    stream
}

fn joints(stream: &[u8]) -> Vec<u64> {
    let tracks = [VIDEO, SOUND].map(|id| Track { id, reordered: id == VIDEO });
    let mut scanner = Scanner::new(Container::Transport, &tracks);
    stream.chunks(1000).for_each(|piece| scanner.push(piece));
    later(scanner)
}

#[test]
fn other_programs_of_a_multiplex_are_not_recordings() {
    let tables = [programs(), streams(1, VIDEO), streams(2, VIDEO + 0x100)];
    let first = recording(0, 4);
    let other = |start, seconds| renumbered(recording(start, seconds));
    let far = 300 * SECOND;
    let mut alternating = Vec::new();
    for (first, other) in first.chunks(10).zip(other(far, 4).chunks(10)) {
        alternating.extend(first.iter().chain(other));
    }
    for (name, packets) in [
        ("alternating, far apart", alternating),
        ("after the first", [first.clone(), other(far, 20)].concat()),
        ("close to the first", [first.clone(), other(0, 20)].concat()),
        ("around the end of the first", {
            let (begin, end) = first.split_at(first.len() - 10);
            [begin, &other(far, 20), end].concat()
        }),
        ("sound only", [first.clone(), only(SOUND + 0x100, other(far, 20))].concat()),
    ] {
        assert_eq!(joints(&tabled(&tables, &packets)), [0_u64; 0], "{name}");
    }
}

/// Recorders may keep the table of all programs and only one program's own table.
#[test]
fn a_recording_of_another_program_of_the_same_multiplex_is_separated() {
    let other = renumbered(recording(300 * SECOND, 4));
    let first = tabled(&[programs(), streams(1, VIDEO)], &recording(0, 4));
    let second = tabled(&[programs(), streams(2, VIDEO + 0x100)], &other);
    let clear = |stream: &[u8]| joints(stream).len();
    assert_eq!(clear(&[&first[..], &second].concat()), 1);
    assert_eq!(clear(&[&first[..], &second, &first, &second].concat()), 3);
}

#[test]
fn sound_that_outlasts_a_lone_picture_is_the_same_recording() {
    let packets = recording(0, 12);
    let picture = only(VIDEO, packets.clone())[..1].to_vec();
    let stream = transport(&[picture, only(SOUND, packets)].concat(), 188);
    assert_eq!(joints(&stream), [0_u64; 0]);
}
