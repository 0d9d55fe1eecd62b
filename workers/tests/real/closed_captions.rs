//! Closed captions in the pictures: found by the probe, and extracted from every codec and container that
//! carries them, at the times of the pictures.

use std::fs;

use api::v1;
use media::captions::{Captions, length_of};

use crate::{clip::Clip, control::Control, encodes::Probed, worker::Worker};

const RATE: usize = 25;
const PICTURES: usize = 100;

/// A byte of line 21 with its odd parity.
fn odd(byte: u8) -> u8 {
    if byte.count_ones().is_multiple_of(2) { byte | 0x80 } else { byte }
}

/// The pairs of each picture: `text` is loaded from picture `at` on and shown after that, all in the
/// channel whose miscellaneous control codes begin with `code`.
fn pop_on(pairs: &mut [[u8; 2]], code: u8, at: usize, text: &str) {
    let mut all = vec![[code, 0x20], [code, 0x20], [code, 0x2e], [code, 0x2e], [code & 0x1c, 0x70]];
    let bytes: Vec<u8> = text.bytes().collect();
    all.extend(bytes.chunks(2).map(|two| [two[0], two.get(1).copied().unwrap_or(0)]));
    all.push([code, 0x2f]);
    pairs[at..at + all.len()].copy_from_slice(&all);
}

/// The `cc_data` of each picture: CC1 shows a text from 0.8 s to 2.0 s and another one from there to
/// 3.2 s, CC3 one from 1.4 s on, and service 1 one from 1.0 s to 3.0 s.
fn captions() -> Vec<Vec<[u8; 3]>> {
    let (mut first, mut second) = (vec![[0; 2]; PICTURES], vec![[0; 2]; PICTURES]);
    pop_on(&mut first, 0x14, 20 - 8, "Hi all");
    pop_on(&mut first, 0x14, 50 - 7, "more");
    first[80] = [0x14, 0x2c];
    pop_on(&mut second, 0x15, 35 - 7, "hola");
    let mut pictures: Vec<Vec<[u8; 3]>> = first
        .iter()
        .zip(&second)
        .map(|(a, b)| vec![[0xfc, odd(a[0]), odd(a[1])], [0xfd, odd(b[0]), odd(b[1])]])
        .collect();
    // A packet of 14 bytes: a window, its text, a filling zero; then another that deletes the window.
    let packet = [7, 0x2c, 0x98, 0x38, 0, 0, 0, 31, 0x11, b's', b'e', b'v', b'e', b'n'];
    for (place, two) in packet.chunks(2).enumerate() {
        pictures[25].push([if place == 0 { 0xff } else { 0xfe }, two[0], two[1]]);
    }
    pictures[75].extend([[0xff, 2, 0x22], [0xfe, 0x8c, 0xff]]);
    pictures
}

/// The message of one picture.
fn message(cc_data: &[[u8; 3]]) -> Vec<u8> {
    let count = 0xc0 | cc_data.len() as u8;
    [&b"\xb5\0\x31GA94\x03"[..], &[count, 0xff], &cc_data.concat(), &[0xff]].concat()
}

/// A raw stream of pictures that are not reordered, with the captions before each picture.
fn raw(name: &str, codec: &[&str], picture: impl Fn(&[u8]) -> bool, head: &[u8]) -> Clip {
    let pattern = format!("testsrc2=s=160x90:r={RATE}:d={}", PICTURES / RATE);
    let plain = ["-f", "lavfi", "-i", &pattern, "-pix_fmt", "yuv420p", "-preset", "ultrafast"];
    let plain = fs::read(Clip::made(name, &[&plain[..], codec].concat()).path()).unwrap();
    let captions = captions();
    let (mut out, mut from, mut count) = (Vec::new(), 0, 0);
    for at in 0..plain.len() - 5 {
        if plain[at..].starts_with(&[0, 0, 1]) && picture(&plain[at + 3..]) {
            // The zero before belongs to the start code.
            let at = if plain[at - 1] == 0 { at - 1 } else { at };
            out.extend_from_slice(&plain[from..at]);
            let message = message(&captions[count]);
            out.extend([&[0, 0, 0, 1][..], head, &[4, message.len() as u8]].concat());
            out.extend([&message[..], &[0x80]].concat());
            (from, count) = (at, count + 1);
        }
    }
    assert_eq!(count, PICTURES);
    out.extend_from_slice(&plain[from..]);
    Clip::bytes(name, &out)
}

fn h264() -> Clip {
    // The first slice of a picture begins with macroblock 0.
    let picture = |unit: &[u8]| [1, 5].contains(&(unit[0] & 31)) && unit[1] & 0x80 != 0;
    raw("a.h264", &["-c:v", "libx264", "-bf", "0"], picture, &[6])
}

fn hevc() -> Clip {
    let picture = |unit: &[u8]| (unit[0] >> 1) & 63 < 32 && unit[2] & 0x80 != 0;
    let params = "log-level=error:bframes=0";
    raw("a.hevc", &["-c:v", "libx265", "-x265-params", params], picture, &[39 << 1, 1])
}

/// A clip that FFmpeg makes from another one.
fn remade(name: &str, clip: &Clip, options: &[&str]) -> Clip {
    let (path, rate) = (clip.path().display().to_string(), RATE.to_string());
    Clip::made(name, &[&["-r", &rate, "-i", &path][..], options].concat())
}

async fn text(
    control: &mut Control,
    worker: &Worker,
    clip: &Clip,
    probed: &Probed,
    place: usize,
) -> String {
    let work = v1::lease::Work::Subtitles(v1::SubtitlesWork {
        grid: Some(probed.grid.into()),
        number: place as u32,
        track: Some(probed.source.text[place].clone().into()),
        video: probed.source.video.clone().map(Into::into),
    });
    let done = control.work(worker.lease(&clip.path(), work)).await.unwrap();
    let bytes = fs::read(worker.store().join(&done.pictures[0].key)).unwrap();
    Captions::parse_canonical(&bytes, Some(length_of(&probed.grid))).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_captions_become_text_tracks_in_every_codec_and_container() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let (plain, hevc) = (h264(), hevc());
    let copied = remade("a.mp4", &plain, &["-c", "copy"]);
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-a53cc", "1"];
    let mpeg2 = ["-c:v", "mpeg2video", "-q:v", "4", "-bf", "2", "-a53cc", "1"];
    let reordered = remade("b.mp4", &copied, &x264);
    let clips = [
        remade("c.ts", &reordered, &["-c", "copy"]),
        remade("d.mkv", &reordered, &["-c", "copy"]),
        remade("e.ts", &copied, &mpeg2),
        remade("f.mpg", &copied, &mpeg2),
        remade("g.mp4", &hevc, &["-c", "copy"]),
        copied,
        reordered,
    ];
    for (number, clip) in clips.iter().enumerate() {
        let probed = Probed::probe(&mut control, &worker, clip).await;
        let tracks: Vec<(&str, bool)> =
            probed.source.text.iter().map(|t| (&*t.channel, t.hearing_impaired)).collect();
        assert_eq!(tracks, [("CC1", true), ("CC3", true), ("SERVICE1", true)], "{number}");
        let first = text(&mut control, &worker, clip, &probed, 0).await;
        let expected = "WEBVTT\n\n00:00:00.800 --> 00:00:02.000\nHi all\n\n\
                        00:00:02.000 --> 00:00:03.200\nmore\n";
        assert_eq!(first, expected, "{number}");
        let second = text(&mut control, &worker, clip, &probed, 1).await;
        assert_eq!(second, "WEBVTT\n\n00:00:01.400 --> 00:00:04.000\nhola\n", "{number}");
        let third = text(&mut control, &worker, clip, &probed, 2).await;
        assert_eq!(third, "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\nseven\n", "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_captions_of_joined_recordings_follow_one_another() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let one = remade("a.ts", &remade("a.mp4", &h264(), &["-c", "copy"]), &["-c", "copy"]);
    let joined = Clip::bytes("b.ts", &fs::read(one.path()).unwrap().repeat(2));
    let probed = Probed::probe(&mut control, &worker, &joined).await;
    assert_eq!(probed.grid.frames(), 200);
    let second = text(&mut control, &worker, &joined, &probed, 1).await;
    let expected = "WEBVTT\n\n00:00:01.400 --> 00:00:04.000\nhola\n\n\
                    00:00:05.400 --> 00:00:08.000\nhola\n";
    assert_eq!(second, expected);
}

/// Most encoders write the messages even if they contain no captions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_closed_captions_are_not_listed() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let raw = fs::read(remade("a.mp4", &h264(), &["-c", "copy"]).path()).unwrap();
    let mut empty = raw;
    for at in 0..empty.len() - 10 {
        if empty[at..].starts_with(b"GA94\x03") {
            let count = usize::from(empty[at + 5] & 0x1f);
            for triplet in empty[at + 7..at + 7 + 3 * count].chunks_mut(3) {
                triplet[1..].fill(0x80);
            }
        }
    }
    let clip = Clip::bytes("b.mp4", &empty);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    assert!(probed.source.video.is_some() && probed.source.text.is_empty());
}

/// QuickTime has tracks of their own for closed captions of one field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caption_tracks_of_quicktime_become_text_tracks() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let pictures = remade("a.mp4", &h264(), &["-c", "copy"]);
    let path = pictures.path().display().to_string();
    let graph = format!("movie={path}[out0+subcc]");
    let captions = ["-f", "lavfi", "-i", &graph, "-map", "0:1", "-c", "copy"];
    let captions = Clip::made("b.mov", &captions);
    let captions = captions.path().display().to_string();
    let both = ["-i", &path, "-i", &captions, "-map", "0:v", "-map", "1:0", "-c", "copy"];
    let remove = ["-bsf:v", "filter_units=remove_types=6", "-metadata:s:1", "language=spa"];
    let clip = Clip::made("c.mov", &[&both[..], &remove].concat());
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let tracks: Vec<(&str, &str, u32)> =
        probed.source.text.iter().map(|t| (&*t.channel, &*t.language, t.index)).collect();
    assert_eq!(tracks, [("CC1", "spa", 1)]);
    let first = text(&mut control, &worker, &clip, &probed, 0).await;
    let expected = "WEBVTT\n\n00:00:00.800 --> 00:00:02.000\nHi all\n\n\
                    00:00:02.000 --> 00:00:03.200\nmore\n";
    assert_eq!(first, expected);
}
