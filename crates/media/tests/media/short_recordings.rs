//! Joints of short recordings, which have few packets: they are detected by counters that begin
//! again or by other stream ids.

use media::joints::{Container, Scanner, Track};

use crate::joints::{
    SECOND, SOUND, Stamped, VIDEO, WRAP, later, only, program, recording, renumbered, scan, starts,
    transport,
};

/// A transport stream with a table before every packet.
fn tabled(packets: &[Stamped]) -> Vec<u8> {
    packets.iter().flat_map(|packet| transport(&[*packet], 188)).collect()
}

/// Numbers the packets of each PID as muxers do: from 0 in every recording.
fn counted(mut stream: Vec<u8>) -> Vec<u8> {
    let mut counters = std::collections::HashMap::new();
    for packet in stream.chunks_exact_mut(188) {
        let counter = counters.entry([packet[1] & 0x1f, packet[2]]).or_insert(0);
        packet[3] |= *counter;
        *counter = (*counter + 1) & 0xf;
    }
    stream
}

/// The detected joints of recordings with continuity counters, and the real ones.
fn counted_joints(recordings: &[Vec<Stamped>], tracks: &[u32]) -> (Vec<u64>, Vec<u64>) {
    let tracks: Vec<Track> =
        tracks.iter().map(|id| Track { id: *id, reordered: *id == VIDEO }).collect();
    let (mut stream, mut real) = (Vec::new(), Vec::new());
    for recording in recordings {
        real.push(stream.len() as u64);
        stream.extend(counted(tabled(recording)));
    }
    let mut scanner = Scanner::new(Container::Transport, &tracks);
    scanner.push(&stream);
    (later(scanner), real[1..].to_vec())
}

#[test]
fn short_recordings_with_other_stream_ids_are_separated() {
    let two = |start| recording(start, 2);
    let other = |start| renumbered(two(start));
    let third = |start| renumbered(other(start));
    for (name, recordings) in [
        ("at the end", vec![recording(0, 5), other(4 * SECOND)]),
        ("between", vec![two(0), other(0), two(0)]),
        ("before a third", vec![two(0), other(0), third(0)]),
        ("again and again", vec![two(0), other(0), two(0), other(0), two(0)]),
        ("sound only", vec![recording(0, 5), only(SOUND + 0x100, renumbered(two(0)))]),
    ] {
        let (found, real) = counted_joints(&recordings, &[VIDEO, SOUND]);
        assert_eq!(found, real, "{name}");
    }
}

/// Muxers put many audio frames into one packet.
#[test]
fn recordings_of_two_or_three_packets_are_separated() {
    for packets in [2, 3] {
        let few = (0..packets).map(|n| Stamped { track: SOUND, pts: n * 29_260, dts: None });
        let recordings = vec![few.collect::<Vec<_>>(); 4];
        let (found, real) = counted_joints(&recordings, &[SOUND]);
        assert_eq!(found, real, "{packets}");
    }
}

#[test]
fn missing_packets_do_not_count_as_a_joint() {
    let whole = recording(0, 9);
    let mut late = whole.clone();
    late[200].pts -= SECOND / 2;
    late[201].pts = 0;
    for (name, packets) in [("times are right", whole), ("one time is wrong", late)] {
        let stream = counted(tabled(&packets));
        for lost in [1, 3, 40] {
            let start = stream.len() / 188 / 2 * 188;
            let stream = [&stream[..start], &stream[start + lost * 188..]].concat();
            assert_eq!(scan(Container::Transport, &stream, 10_000), [0; 0], "{name}: {lost}");
        }
    }
}

#[test]
fn packets_from_after_the_wrap_at_the_start_are_skipped() {
    let whole = recording(WRAP - 5 * SECOND, 9);
    // The first packet of the audio from after the wrap.
    let after = whole.iter().position(|packet| packet.pts >= WRAP).unwrap();
    assert_eq!(whole[after].track, SOUND);
    let sounds = whole[after..].iter().take_while(|packet| packet.track == SOUND).count();
    for (start, skipped) in [(after, sounds), (after - 1, 0), (after + 40, 0), (0, 0)] {
        let stream = program(&whole[start..], false);
        let begin = program(&whole[start..start + skipped], false).len() as u64 - 4;
        assert_eq!(starts(Container::Program, &stream, 999), [begin], "{start}");
    }
}

/// Concatenated HLS segments: the tables begin again, the clock does not.
#[test]
fn tables_that_begin_again_do_not_count_as_a_joint() {
    let parts: Vec<_> = (0..9).map(|n| recording(n * 2 * SECOND, 2)).collect();
    assert_eq!(counted_joints(&parts, &[VIDEO, SOUND]).0, [0; 0]);
}
