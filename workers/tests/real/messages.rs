//! Sources whose pictures carry messages: captions, 3D, frame packing, active formats, mastering
//! data. The encode succeeds, and the output contains none of the source's messages.

use std::fs;

use api::v1;
use media::{Codec, admission::TrackKind};

use crate::{
    clip::Clip,
    control::Control,
    encodes::{Probed, check},
    worker::Worker,
};

const PICTURE: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=3"];
const X264: [&str; 4] = ["-c:v", "libx264", "-preset", "ultrafast"];
/// CEA-608 captions in the format of ATSC A/53: "resume caption loading".
const CEA_608: &[u8] = b"GA94\x03\xc1\xff\xfc\x94\x2c\xff";
/// Active format description in the format of ETSI TS 101 154: the picture fills the frame.
const ACTIVE_FORMAT: &[u8] = b"DTG1\x41\xf8";

/// Encodes [`PICTURE`] with these options.
fn generate(name: &str, options: &[&str]) -> Clip {
    Clip::made(name, &[&PICTURE[..], options].concat())
}

/// The offsets of start codes.
fn start_codes(stream: &[u8]) -> Vec<usize> {
    stream.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(at, _)| at).collect()
}

/// An H.264 file with `message` as an SEI message of type `kind` before every picture.
fn with_h264_messages(kind: u8, message: &[u8]) -> Clip {
    let slices = ["-bf", "0", "-x264-params", "slices=1"];
    let raw = fs::read(generate("raw.264", &[&X264[..], &slices].concat()).path()).unwrap();
    let unit = [&[0, 0, 1, 6, kind, message.len() as u8], message, &[0x80]].concat();
    let mut marked = Vec::new();
    let mut written = 0;
    for at in start_codes(&raw) {
        if matches!(raw[at + 3] & 0x1f, 1 | 5) {
            marked.extend_from_slice(&raw[written..at]);
            marked.extend_from_slice(&unit);
            written = at;
        }
    }
    marked.extend_from_slice(&raw[written..]);
    let marked = Clip::bytes("marked.264", &marked);
    let path = marked.path().display().to_string();
    Clip::made("a.mp4", &["-r", "25", "-i", &path, "-c", "copy"])
}

/// An MPEG-2 program stream with `data` as user data of every picture.
fn with_mpeg2_user_data(data: &[u8]) -> Clip {
    let raw = generate("raw.m2v", &["-c:v", "mpeg2video", "-q:v", "5", "-bf", "2"]);
    let raw = fs::read(raw.path()).unwrap();
    let mut marked = Vec::new();
    let (mut written, mut in_picture) = (0, false);
    for at in start_codes(&raw) {
        match raw[at + 3] {
            0 => in_picture = true,
            1 if in_picture => {
                marked.extend_from_slice(&raw[written..at]);
                marked.extend_from_slice(&[b"\0\0\x01\xb2", data].concat());
                (written, in_picture) = (at, false);
            }
            _ => {}
        }
    }
    marked.extend_from_slice(&raw[written..]);
    let marked = Clip::bytes("marked.m2v", &marked);
    let path = marked.path().display().to_string();
    Clip::made("a.mpg", &["-framerate", "25", "-i", &path, "-c", "copy"])
}

/// The sources: each with its name and the side data that ffprobe must find in it; otherwise the
/// test would be void.
fn sources() -> Vec<(&'static str, &'static str, Clip)> {
    let captions = [&[0xb5, 0, 0x31], CEA_608].concat();
    let with = |extra: &[&'static str]| [&X264[..], extra].concat();
    let mastering = "log-level=none:hdr10=1:max-cll=1000,400:master-display=\
                     G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)";
    let hdr = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", mastering];
    let own_text = [&[7; 16][..], b"made by a camera"].concat();
    vec![
        ("captions", "Closed Captions", with_h264_messages(4, &captions)),
        ("captions in MPEG-2", "Closed Captions", with_mpeg2_user_data(CEA_608)),
        ("active format", "Active format", with_mpeg2_user_data(ACTIVE_FORMAT)),
        ("a camera's data", "User Data Unregistered", with_h264_messages(5, &own_text)),
        (
            "frame packing",
            "Stereo 3D",
            generate("a.mp4", &with(&["-x264-params", "frame-packing=3"])),
        ),
        (
            "stereo mode",
            "Stereo 3D",
            generate("a.mkv", &with(&["-metadata:s:v:0", "stereo_mode=left_right"])),
        ),
        ("mastering", "Mastering display", generate("a.mp4", &hdr)),
    ]
}

/// ffprobe's names of the side data of the streams and in the first pictures.
fn carried(clip: &Clip) -> String {
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-read_intervals", "%+#3", "-show_streams", "-show_frames"])
        .arg(clip.path())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The types of the messages in a chunk's samples: SEI payload types, or 5 for an AV1 metadata OBU.
fn messages(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mdats = mdats(bytes);
    let mdats = mdats.iter();
    match codec {
        Codec::Av1 => mdats.flat_map(|mdat| metadata(mdat)).collect(),
        _ => mdats.flat_map(|mdat| sei(codec, mdat)).collect(),
    }
}

fn sei(codec: Codec, mut samples: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    while let Some((length, rest)) = samples.split_first_chunk::<4>() {
        let (unit, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        samples = rest;
        match (codec, unit) {
            (Codec::H264, [head, kind, ..]) if head & 0x1f == 6 => found.push(*kind),
            (Codec::Hevc, [head, _, kind, ..]) if matches!(head >> 1, 39 | 40) => found.push(*kind),
            _ => {}
        }
    }
    found
}

/// The types of AV1's metadata OBUs. Every OBU must have a size field.
fn metadata(mut samples: &[u8]) -> Vec<u8> {
    const METADATA: u8 = 5;
    let mut found = Vec::new();
    while let [head, rest @ ..] = samples {
        assert_eq!(head & 0b110, 0b010, "an OBU with a size and without an extension");
        let digits = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let size =
            rest[..digits].iter().rev().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
        if head >> 3 & 0xf == METADATA {
            found.push(METADATA);
        }
        samples = &rest[digits + size..];
    }
    found
}

/// The contents of the `mdat` boxes.
fn mdats(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some((size, _)) = rest.split_first_chunk::<4>() {
        let (atom, after) = rest.split_at(u32::from_be_bytes(*size) as usize);
        if &atom[4..8] == b"mdat" {
            found.push(&atom[8..]);
        }
        rest = after;
    }
    found
}

/// Changes a chunk's work so that its rungs use `codec`.
fn of_codec(codec: Codec, work: v1::lease::Work) -> v1::lease::Work {
    let v1::lease::Work::Chunk(mut work) = work else { panic!("the task does not encode a chunk") };
    for rung in &mut work.rungs {
        rung.codec = codec.text().to_owned();
        rung.preset = if codec == Codec::Av1 { "12" } else { "ultrafast" }.to_owned();
    }
    v1::lease::Work::Chunk(work)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_in_the_packets_neither_fail_the_encode_nor_reach_its_output() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for (name, carries, clip) in sources() {
        assert!(carried(&clip).contains(carries), "{name}: {}", carried(&clip));
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        assert_eq!(probed.grid.frames(), 75, "{name}");
        for (codec, version) in [(Codec::H264, &[5][..]), (Codec::Hevc, &[]), (Codec::Av1, &[])] {
            let work = of_codec(codec, probed.chunk(0, &[(320, 180)]));
            let done = control.work(worker.lease(&clip.path(), work)).await;
            let done = done.unwrap_or_else(|fail| panic!("{name} as {codec}: {fail:?}"));
            let output = &done.outputs[0];
            let bytes = check(&worker.store(), TrackKind::Video, &probed.grid, output);
            assert_eq!(messages(codec, &bytes), version, "{name} as {codec}");
        }
    }
}
