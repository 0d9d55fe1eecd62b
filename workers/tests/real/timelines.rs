//! Sources whose container states another length, start or program than their pictures and sound
//! have: the output contains every picture and all of the sound, in sync.

use std::{fs, ops::Range};

use crate::{
    clip::{Clip, pictures},
    control::Control,
    joined::{Encoded, encode},
    worker::Worker,
};

const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50"];

/// One second of a tone, one second of silence, and so on.
fn beeps(seconds: u32) -> String {
    format!("aevalsrc='if(lt(mod(t,2),1),0.5*sin(880*2*PI*t),0)':d={seconds}:s=48000")
}

/// A clip of `pictures` seconds of numbered frames at 25 frames per second with beeps.
fn beeping(name: &str, seconds: &str, sound: u32, options: &[&str]) -> Clip {
    let (picture, sound) = (pictures("25", seconds), beeps(sound));
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    Clip::made(name, &[&inputs[..], options].concat())
}

/// When the tones begin, in seconds.
fn onsets(sound: &[i16]) -> Vec<f64> {
    let mut found: Vec<f64> = Vec::new();
    let mut silent = 2400;
    for (place, sample) in sound.iter().enumerate() {
        if sample.unsigned_abs() < 1500 {
            silent += 1;
            continue;
        }
        if silent >= 2400 {
            found.push(place as f64 / 48_000.0);
        }
        silent = 0;
    }
    found
}

fn assert_onsets(encoded: &Encoded, due: &[f64], name: &str) {
    let found = onsets(&encoded.sound);
    let same = found.iter().zip(due).all(|(found, due)| (found - due).abs() < 0.05);
    assert!(same && found.len() == due.len(), "{name}: {found:?}");
    let frames = encoded.probed.grid.frames() as usize;
    assert!(encoded.sound.len().abs_diff(frames * 1920) <= 1024, "{name}");
}

/// The second program outlasts the first and begins five minutes later on its own clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multiplex_has_the_length_of_the_program_of_its_video() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let (picture, sound, longer) = (pictures("25", "2"), beeps(2), beeps(20));
    let one = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    let late = ["-itsoffset", "300", "-f", "lavfi", "-i", &longer];
    let mut pictures = vec!["-itsoffset", "300", "-f", "lavfi", "-i"];
    let many = crate::clip::pictures("25", "20");
    pictures.push(&many);
    let sound_only = ["-map", "2", "-program", "title=A:st=0:st=1", "-program", "title=B:st=2"];
    let both = [
        "-map",
        "2",
        "-map",
        "3",
        "-program",
        "title=A:st=0:st=1",
        "-program",
        "title=B:st=2:st=3",
    ];
    let maps = ["-c:a", "aac", "-map", "0", "-map", "1"];
    for (name, other) in [
        ("sound", [&late[..], &X264, &maps, &sound_only].concat()),
        ("video and sound", [&late[..], &pictures, &X264, &maps, &both].concat()),
    ] {
        let clip = Clip::made("a.ts", &[&one[..], &other].concat());
        let encoded = encode(&mut control, &worker, &clip).await;
        assert_eq!(encoded.numbers(), Vec::from_iter(0..50), "{name}");
        assert_eq!(encoded.probed.source.audio.len(), 1, "{name}");
        assert!(encoded.probed.source.video.as_ref().unwrap().parts.is_empty(), "{name}");
        assert_onsets(&encoded, &[0.0], name);
    }
}

/// FFmpeg takes the clock of the first program for one that has not wrapped yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clocks_of_a_multiplex_may_be_hours_apart() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let (picture, sound) = (pictures("25", "6"), beeps(6));
    let one = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    let maps = ["-c:a", "aac", "-map", "0", "-map", "1", "-map", "2", "-map", "3"];
    let programs = ["-program", "title=A:st=0:st=1", "-program", "title=B:st=2:st=3"];
    let clip = Clip::made("a.ts", &[&one[..], &one, &X264, &maps, &programs].concat());
    let mut bytes = fs::read(clip.path()).unwrap();
    for packet in bytes.chunks_exact_mut(188) {
        let begin = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
        let first = packet[1] & 0x1f == 1 && packet[2] < 2 && packet[1] & 0x40 != 0;
        // The highest bits of the times: about 19.9 hours.
        if first && packet[begin + 7] & 0x80 != 0 {
            packet[begin + 9] |= 6 << 1;
            if packet[begin + 7] & 0x40 != 0 {
                packet[begin + 14] |= 6 << 1;
            }
        }
    }
    let encoded = encode(&mut control, &worker, &Clip::bytes("a.ts", &bytes)).await;
    assert_eq!(encoded.numbers(), Vec::from_iter(0..150));
    assert_onsets(&encoded, &[0.0, 2.0, 4.0], "hours apart");
}

/// The names and places of the boxes in `bytes`.
fn boxes(bytes: &[u8]) -> Vec<(&[u8], Range<usize>)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        found.push((&bytes[at + 4..at + 8], at..at + size));
        at += size;
    }
    found
}

/// Where the content of every box called `name` begins; no other bytes of the clips look like it.
fn places(bytes: &[u8], name: &[u8; 4]) -> Vec<usize> {
    let found = bytes.windows(4).enumerate().filter(|(_, window)| *window == name);
    found.map(|(place, _)| place + 4).collect()
}

/// A fragmented MP4 of six seconds without the first `omitted` of its three fragments and without
/// its table of fragments. `duration` is the length that each track states, in ticks.
fn fragments(omitted: usize, duration: Option<u32>) -> Vec<u8> {
    let whole = beeping("a.mp4", "6", 6, &[&X264[..], &["-bf", "2", "-c:a", "aac"]].concat());
    let path = whole.path().display().to_string();
    let flags = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof"];
    let clip = Clip::made("b.mp4", &[&["-i", &path, "-c", "copy"][..], &flags].concat());
    let bytes = fs::read(clip.path()).unwrap();
    let (mut part, mut number) = (Vec::new(), 0);
    for (name, place) in boxes(&bytes) {
        number += usize::from(name == b"moof");
        let fragment = matches!(name, b"moof" | b"mdat");
        if name != b"mfra" && (!fragment || number > omitted) {
            part.extend(&bytes[place]);
        }
    }
    assert_eq!(number, 3);
    for place in places(&part, b"mdhd") {
        if let Some(duration) = duration {
            part[place + 16..place + 20].copy_from_slice(&duration.to_be_bytes());
        }
    }
    part
}

/// Parts of DASH, CMAF and DVR recordings, whose first decode time is that of the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_fragmented_files_are_played_from_their_first_picture() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for (name, omitted, duration) in [
        ("whole", 0, None),
        ("whole, unknown", 0, Some(u32::MAX)),
        ("the end", 1, None),
        ("the last fragment", 2, None),
        ("the last fragment, unknown", 2, Some(u32::MAX)),
        ("the length of the presentation is stated", 1, Some(480_000)),
    ] {
        let clip = Clip::bytes("a.mp4", &fragments(omitted, duration));
        let encoded = encode(&mut control, &worker, &clip).await;
        assert_eq!(encoded.numbers(), Vec::from_iter(omitted * 50..150), "{name}");
        let due: Vec<f64> = (omitted..3).map(|beep| ((beep - omitted) * 2) as f64).collect();
        assert_onsets(&encoded, &due, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fragmented_file_is_truncated_if_its_last_fragment_is_incomplete() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let whole = fragments(0, None);
    let last = boxes(&whole).pop().unwrap().1;
    for cut in [last.end - 100, last.start + 100, last.start - 100] {
        let clip = Clip::bytes("a.mp4", &whole[..cut]);
        let fail = control.work(worker.probe(&clip.path())).await.expect_err("truncated");
        assert_eq!(fail.code, "truncated_source", "{cut}: {}", fail.message);
    }
    let clip = Clip::bytes("a.mp4", &whole[..boxes(&whole)[3].1.end]);
    let encoded = encode(&mut control, &worker, &clip).await;
    assert_eq!(encoded.numbers(), Vec::from_iter(0..50), "complete fragments");
}

/// Moves the beginning of the only edit of an MP4 by `later` ticks of its track and its end by
/// `longer` milliseconds.
fn edited(clip: &Clip, later: i32, longer: i32) -> Clip {
    let mut bytes = fs::read(clip.path()).unwrap();
    let place = places(&bytes, b"elst")[0];
    let mut add = |place: usize, more: i32| {
        let field = &mut bytes[place..place + 4];
        let value = i32::from_be_bytes(field.try_into().unwrap()) + more;
        field.copy_from_slice(&value.to_be_bytes());
    };
    add(place + 8, longer);
    add(place + 12, later);
    Clip::bytes("a.mp4", &bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edit_lists_keep_their_first_and_last_pictures() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = |rate: &str, options: &[&str]| {
        let picture = pictures(rate, "4");
        Clip::made("a.mp4", &[&["-f", "lavfi", "-i", &picture], options].concat())
    };
    // The edit ends 30 to 170 ms after the time of the last of its pictures, which last 200 ms.
    let plain = clip("5", &X264);
    for longer in [-170, -100, -30, 150] {
        let encoded = encode(&mut control, &worker, &edited(&plain, 0, longer)).await;
        assert_eq!(encoded.numbers(), Vec::from_iter(0..20), "{longer} ms");
    }
    // It begins in the middle of a GOP with pictures in another order.
    let order = ["-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0"];
    let reordered =
        clip("25", &[&["-c:v", "libx264", "-preset", "veryfast", "-g", "50"][..], &order].concat());
    for first in [1, 6, 7, 8, 9, 38, 39] {
        let clip = edited(&reordered, first * 512, -first * 40);
        let encoded = encode(&mut control, &worker, &clip).await;
        assert_eq!(encoded.numbers(), Vec::from_iter(first as usize..100), "{first}");
    }
}

/// One picture whose duration the container does not state, with and without sound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_picture_is_shown_for_one_frame_or_as_long_as_there_is_sound() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for (name, video, sound) in [
        ("a.mkv", &X264[..2], "aac"),
        ("a.avi", &X264[..2], "libmp3lame"),
        ("a.ts", &X264[..2], "aac"),
        ("a.mpg", &["-c:v", "mpeg2video"], "mp2"),
        ("a.wmv", &["-c:v", "wmv2"], "wmav2"),
    ] {
        let picture = pictures("25", "0.04");
        let alone = Clip::made(name, &[&["-f", "lavfi", "-i", &picture][..], video].concat());
        let encoded = encode(&mut control, &worker, &alone).await;
        assert_eq!(encoded.numbers(), [0], "{name}");
        assert_eq!(encoded.probed.grid.rate().num(), 25, "{name}");

        let clip = beeping(name, "0.04", 6, &[video, &["-c:a", sound]].concat());
        let encoded = encode(&mut control, &worker, &clip).await;
        let frames = encoded.numbers();
        assert!(frames.len().abs_diff(150) <= 2, "{name}: {}", frames.len());
        assert!(frames.iter().all(|number| *number == 0), "{name}: {frames:?}");
        assert_onsets(&encoded, &[0.0, 2.0, 4.0], name);
    }
}

/// ASF states one length for all of its streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asf_file_whose_sound_outlasts_its_pictures_is_complete() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let codecs = ["-c:v", "wmv2", "-b:v", "2M", "-g", "50", "-c:a", "wmav2"];
    let clip = beeping("a.wmv", "2", 6, &codecs);
    let encoded = encode(&mut control, &worker, &clip).await;
    let frames = encoded.numbers();
    assert!(frames.len().abs_diff(150) <= 2, "{}", frames.len());
    assert_eq!(frames[..50], Vec::from_iter(0..50));
    assert!(frames[50..].iter().all(|number| *number == 49), "{frames:?}");
    assert_onsets(&encoded, &[0.0, 2.0, 4.0], "sound");

    let bytes = fs::read(beeping("a.wmv", "6", 6, &codecs).path()).unwrap();
    let half = Clip::bytes("a.wmv", &bytes[..bytes.len() / 2]);
    let fail = control.work(worker.probe(&half.path())).await.expect_err("half of a file");
    assert_eq!(fail.code, "truncated_source", "{}", fail.message);
}

/// mkvmerge counts the tag with a track's duration from the track's first packet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_that_starts_late_is_kept_to_its_end_in_matroska_by_mkvmerge() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let (picture, sound) = (pictures("25", "6"), beeps(6));
    let inputs = ["-f", "lavfi", "-i", &picture, "-itsoffset", "3", "-f", "lavfi", "-i", &sound];
    let clip = Clip::made("a.mkv", &[&inputs[..], &X264, &["-c:a", "aac"]].concat());
    let mut bytes = fs::read(clip.path()).unwrap();
    let tag = bytes.windows(10).position(|text| text == b"00:00:09.0").unwrap();
    bytes[tag..tag + 10].copy_from_slice(b"00:00:06.0");
    let encoded = encode(&mut control, &worker, &Clip::bytes("a.mkv", &bytes)).await;
    let mut due = Vec::from_iter(0..150);
    due.extend(vec![149; encoded.probed.grid.frames() as usize - 150]);
    assert!(due.len().abs_diff(225) <= 2, "{}", due.len());
    assert_eq!(encoded.numbers(), due);
    assert_onsets(&encoded, &[3.0, 5.0, 7.0], "sound");
}
