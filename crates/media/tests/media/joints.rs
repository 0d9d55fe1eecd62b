//! Joints of MPEG streams: each is found at its position, and nothing else is reported as a joint.

use media::joints::{Container, Scanner, Track};

pub(crate) const VIDEO: u32 = 0x100;
pub(crate) const SOUND: u32 = 0x101;
pub(crate) const SECOND: i64 = 90_000;
const FRAME: i64 = SECOND / 25;
pub(crate) const WRAP: i64 = 1 << 33;

/// A packet that begins with timestamps.
#[derive(Clone, Copy)]
pub(crate) struct Stamped {
    pub(crate) track: u32,
    pub(crate) pts: i64,
    pub(crate) dts: Option<i64>,
}

/// Video and audio of `seconds` from `start` on, interleaved like muxers do.
pub(crate) fn recording(start: i64, seconds: i64) -> Vec<Stamped> {
    let mut packets = Vec::new();
    for frame in 0..seconds * 25 {
        let dts = start + frame * FRAME;
        packets.push(Stamped { track: VIDEO, pts: dts + 2 * FRAME, dts: Some(dts) });
        for half in 0..2 {
            let pts = start + 3 * FRAME + frame * FRAME + half * FRAME / 2;
            packets.push(Stamped { track: SOUND, pts, dts: None });
        }
    }
    packets
}

pub(crate) fn only(track: u32, packets: Vec<Stamped>) -> Vec<Stamped> {
    packets.into_iter().filter(|packet| packet.track == track).collect()
}

/// The same packets with other stream ids.
pub(crate) fn renumbered(mut packets: Vec<Stamped>) -> Vec<Stamped> {
    packets.iter_mut().for_each(|packet| packet.track += 0x100);
    packets
}

fn time(prefix: u8, time: i64) -> [u8; 5] {
    let time = time.rem_euclid(WRAP);
    let byte = |shift: u32| (time >> shift) as u8;
    [
        prefix << 4 | (byte(30) & 7) << 1 | 1,
        byte(22),
        (byte(15) << 1) | 1,
        byte(7),
        (byte(0) << 1) | 1,
    ]
}

/// An MPEG-2 PES header, without its length.
fn pes(packet: &Stamped) -> Vec<u8> {
    let stream = if packet.track & 1 == 0 { 0xe0 } else { 0xc0 };
    let mut header = vec![0, 0, 1, stream, 0, 0, 0x80];
    match packet.dts {
        Some(dts) => {
            header.extend([0xc0, 10]);
            header.extend(time(3, packet.pts));
            header.extend(time(1, dts));
        }
        None => {
            header.extend([0x80, 5]);
            header.extend(time(2, packet.pts));
        }
    }
    header
}

/// A transport stream that begins with a table.
pub(crate) fn transport(packets: &[Stamped], stride: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut add = |pid: u32, begins: bool, payload: &[u8]| {
        stream.resize(stream.len() + if stride == 192 { 4 } else { 0 }, 0x11);
        stream.extend([0x47, if begins { 0x40 } else { 0 } | (pid >> 8) as u8, pid as u8, 0x10]);
        stream.extend(payload);
        stream.resize(stream.len().next_multiple_of(stride), 0xff);
    };
    add(0, true, &[0; 20]);
    for packet in packets {
        add(packet.track, true, &pes(packet));
        add(packet.track, false, &[0x47; 184]);
    }
    stream
}

/// A program stream with a pack for every packet; the packs state no progress of the clock.
pub(crate) fn program(packets: &[Stamped], mpeg1: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    for packet in packets {
        stream.extend(if mpeg1 { PACK_1 } else { PACK_2 });
        stream.extend(program_packet(packet, mpeg1));
    }
    stream.extend([0, 0, 1, 0xb9]);
    stream
}

const PACK_1: &[u8] = &[0, 0, 1, 0xba, 0x21, 0, 1, 0, 1, 0x80, 0, 1];
const PACK_2: &[u8] = &[0, 0, 1, 0xba, 0x44, 0, 4, 0, 4, 1, 0, 0, 3, 0xf8];

fn program_packet(packet: &Stamped, mpeg1: bool) -> Vec<u8> {
    let mut pes = pes(packet);
    if mpeg1 {
        let times = match packet.dts {
            Some(dts) => [time(3, packet.pts), time(1, dts)].concat(),
            None => time(2, packet.pts).to_vec(),
        };
        pes.splice(6.., [&[0xff, 0xff, 0x60, 0x20][..], &times].concat());
    }
    pes.extend([0, 0, 1, 0xba].repeat(40));
    let length = (pes.len() - 6) as u16;
    pes[4..6].copy_from_slice(&length.to_be_bytes());
    pes
}

/// A program stream with packs that state the clock, MPEG-1; the first `untimed` packets have no
/// timestamps.
fn clocked_program(packets: &[Stamped], untimed: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for (place, packet) in packets.iter().enumerate() {
        stream.extend([0, 0, 1, 0xba]);
        stream.extend(time(2, packet.dts.unwrap_or(packet.pts)));
        stream.extend([0x80, 0, 1]);
        if place < untimed {
            stream.extend([0, 0, 1, 0xe0, 0, 101, 0x0f]);
            stream.extend([0; 100]);
        } else {
            stream.extend(program_packet(packet, true));
        }
    }
    stream
}

/// An audio track of a later recording: FFmpeg may list the streams of later recordings, too.
const LATER_SOUND: u32 = SOUND + 0x100;

pub(crate) fn scan(container: Container, stream: &[u8], piece: usize) -> Vec<u64> {
    let starts = starts(container, stream, piece);
    assert_eq!(starts[0], 0);
    starts[1..].to_vec()
}

pub(crate) fn starts(container: Container, stream: &[u8], piece: usize) -> Vec<u64> {
    let tracks = match container {
        Container::Transport => vec![VIDEO, SOUND, LATER_SOUND],
        Container::Program => vec![0x1e0, 0x1c0],
    };
    let tracks: Vec<Track> =
        tracks.into_iter().map(|id| Track { id, reordered: matches!(id, VIDEO | 0x1e0) }).collect();
    let mut scanner = Scanner::new(container, &tracks);
    stream.chunks(piece).for_each(|piece| scanner.push(piece));
    scanner.finish()
}

/// Where all recordings but the first begin.
pub(crate) fn later(scanner: Scanner) -> Vec<u64> {
    let starts = scanner.finish();
    assert_eq!(starts[0], 0);
    starts[1..].to_vec()
}

/// The detected joints of recordings, and the real ones.
fn joints(recordings: &[Vec<Stamped>]) -> (Vec<u64>, Vec<u64>) {
    let (mut stream, mut real) = (Vec::new(), Vec::new());
    for recording in recordings {
        real.push(stream.len() as u64);
        stream.extend(transport(recording, 188));
    }
    (scan(Container::Transport, &stream, stream.len()), real[1..].to_vec())
}

#[test]
fn consecutive_recordings_are_separated() {
    let five = |start| recording(start, 5);
    let second = SECOND;
    for (name, recordings) in [
        ("the same again", vec![five(second), five(second)]),
        ("forward", vec![five(second), five(100 * second)]),
        ("back", vec![five(100 * second), five(second)]),
        ("three", vec![five(100 * second), five(second), five(50 * second)]),
        ("six short ones", (0..6).map(|n| recording(n % 2 * 40 * second, 1)).collect()),
        ("twelve seconds are left out", vec![five(0), five(17 * second)]),
        ("one is silent", vec![five(0), only(VIDEO, five(0)), five(0)]),
        ("one has sound only", vec![five(0), only(SOUND, five(0))]),
        (
            "sound only",
            vec![only(SOUND, five(0)), only(SOUND, five(0)), only(SOUND, five(50 * second))],
        ),
        ("other stream ids", vec![five(second), renumbered(five(6 * second))]),
        ("other ids between", vec![five(second), renumbered(five(0)), five(second)]),
        ("from the start to the wrap", vec![recording(0, 2), recording(WRAP - 2 * second, 5)]),
        ("over the wrap", vec![five(WRAP - 2 * second), five(WRAP - 2 * second)]),
    ] {
        let (found, real) = joints(&recordings);
        assert_eq!(found, real, "{name}");
    }
}

#[test]
fn false_joints_are_ignored() {
    let mut bogus = recording(SECOND, 9);
    for (place, time) in [(100, 0), (200, 5000 * SECOND), (201, 7000 * SECOND), (400, WRAP - 1)] {
        bogus[place].pts = time;
        bogus[place].dts = bogus[place].dts.map(|_| time);
    }
    let last = bogus.len() - 1;
    bogus[last].pts = 70 * SECOND;
    let pause = recording(0, 30)
        .into_iter()
        .filter(|p| p.track == SOUND || p.pts < 5 * SECOND || p.pts > 25 * SECOND);
    // Another program with its own clock.
    let mut two = recording(0, 9);
    let other = renumbered(recording(500 * SECOND, 9));
    two = two.into_iter().zip(other).flat_map(|(a, b)| [a, b]).collect();
    // Ten audio packets per video packet; the audio begins late.
    let slow = |p: &Stamped| p.track == VIDEO && p.pts % (5 * FRAME) == 2 * FRAME;
    let tail = |p: &Stamped| p.track == SOUND && p.pts > 2 * SECOND;
    let bursts = recording(0, 9).into_iter().filter(|p| slow(p) || tail(p)).collect();
    // Presentation times only, with seven frames between two reference frames.
    let order = [0, 8, 4, 2, 1, 3, 6, 5, 7];
    let reordered = (0..20).flat_map(|group| order.map(|n| (group * 9 + n) * FRAME));
    let reordered = reordered.map(|pts| Stamped { track: VIDEO, pts, dts: None });
    let mut late = only(SOUND, recording(0, 9));
    late[200..202].iter_mut().for_each(|packet| packet.pts -= SECOND / 2);
    for (name, recordings) in [
        ("a recording", vec![recording(SECOND, 9)]),
        ("the clock wraps", vec![recording(WRAP - 3 * SECOND, 9)]),
        ("eight seconds are missing", vec![recording(0, 5), recording(13 * SECOND, 5)]),
        ("a cut without a gap", vec![recording(0, 5), recording(5 * SECOND, 5)]),
        ("bogus times", vec![bogus]),
        ("sound in bursts", vec![bursts]),
        ("two programs", vec![two]),
        ("pictures pause", vec![pause.collect()]),
        ("presentation times only", vec![reordered.collect()]),
        ("two packets are late", vec![late]),
        ("nothing", vec![vec![]]),
    ] {
        assert_eq!(joints(&recordings).0, [0; 0], "{name}");
    }
}

#[test]
fn every_packet_size_and_every_split_of_the_bytes_gives_the_same_joints() {
    let parts = [recording(SECOND, 5), recording(SECOND, 5)];
    for stride in [188, 192, 204] {
        let [first, second] = parts.each_ref().map(|part| transport(part, stride));
        let stream = [first.clone(), second.clone()].concat();
        for piece in [1, 187, 4096, stream.len()] {
            let found = scan(Container::Transport, &stream, piece);
            assert_eq!(found, [first.len() as u64], "{stride} by {piece}");
        }
        // The first recording was cut off within a packet.
        let cut = &first[..first.len() - 100];
        let found = scan(Container::Transport, &[cut, &second].concat(), 5000);
        assert_eq!(found.len(), 1, "{stride}");
        assert!(found[0].abs_diff(cut.len() as u64) <= 2 * stride as u64, "{stride}: {found:?}");
    }
    for mpeg1 in [false, true] {
        let [first, second] = parts.each_ref().map(|part| program(part, mpeg1));
        let stream = [first.clone(), second.clone()].concat();
        for piece in [1, 99, stream.len()] {
            let found = scan(Container::Program, &stream, piece);
            assert_eq!(found, [first.len() as u64], "MPEG-1: {mpeg1}, by {piece}");
        }
        // The second recording's first pack is within the packet that was cut off.
        let cut = &first[..first.len() - 50];
        for piece in [1, 5000] {
            let found = scan(Container::Program, &[cut, &second].concat(), piece);
            assert_eq!(found, [cut.len() as u64], "MPEG-1: {mpeg1}");
        }
    }
}

#[test]
fn a_recording_begins_at_the_pack_whose_clock_reference_jumps() {
    let packets = only(VIDEO, recording(SECOND, 5));
    for untimed in [0, 1, 12] {
        let [first, second] = [0, untimed].map(|untimed| clocked_program(&packets, untimed));
        let stream = [&first[..], &second, &second].concat();
        let real = [first.len() as u64, (first.len() + second.len()) as u64];
        for piece in [1, stream.len()] {
            assert_eq!(scan(Container::Program, &stream, piece), real, "{untimed}");
        }
    }
}

/// The times of recordings of a second go back by less than a second.
#[test]
fn short_recordings_without_reordered_frames_are_separated() {
    let sound = only(SOUND, recording(SECOND, 1));
    let pictures = (0..25).map(|n| Stamped { track: VIDEO, pts: n * FRAME, dts: None });
    // Four packets of many audio frames each.
    let few = (0..4).map(|n| Stamped { track: SOUND, pts: n * 29_260, dts: None });
    let parts = [("sound", sound), ("pictures", pictures.collect()), ("few", few.collect())];
    for (name, part) in parts {
        let part = transport(&part, 188);
        let mut scanner = Scanner::new(
            Container::Transport,
            &[VIDEO, SOUND].map(|id| Track { id, reordered: false }),
        );
        scanner.push(&part.repeat(4));
        let real: Vec<u64> = (1..4).map(|n| (n * part.len()) as u64).collect();
        assert_eq!(later(scanner), real, "{name}");
    }
}

#[test]
fn any_bytes_can_be_scanned() {
    let mut state = 1_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for length in [0, 1, 100, 100_000] {
        let mut noise: Vec<u8> = (0..length).map(|_| random()).collect();
        for container in [Container::Transport, Container::Program] {
            scan(container, &noise, 1000);
        }
        noise.iter_mut().step_by(188).for_each(|byte| *byte = 0x47);
        scan(Container::Transport, &noise, 1000);
        noise
            .chunks_mut(64)
            .filter(|c| c.len() > 4)
            .for_each(|c| c[..4].copy_from_slice(&[0, 0, 1, 0xba]));
        scan(Container::Program, &noise, 1000);
    }
}
