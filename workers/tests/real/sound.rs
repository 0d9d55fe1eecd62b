//! Audio whose timestamps or packets are unusual is complete and in time.

use std::{io::Write, process::Command};

use media::admission::TrackKind;

use crate::{
    clip::Clip,
    control::Control,
    encodes::{Probed, check},
    worker::Worker,
};

/// Samples per second of the output.
const RATE: usize = 48_000;
/// The sample from which audio counts as loud, and the silence that ends a sound, in samples.
const LOUD: u16 = 2000;
const PAUSE: usize = RATE / 5;

/// When the sounds of the first audio track begin and end in the output, in seconds.
async fn sounds(control: &mut Control, worker: &Worker, clip: &Clip) -> Vec<(f64, f64)> {
    let probed = Probed::probe(control, worker, clip).await;
    let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await.unwrap();
    let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    movie.as_file().write_all(&done.outputs[0].init).unwrap();
    for output in &done.outputs {
        let bytes = check(&worker.store(), TrackKind::Audio, &probed.grid, output);
        movie.as_file().write_all(&bytes).unwrap();
    }
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(movie.path())
        .args(["-f", "s16le", "-ac", "1", "-ar", &RATE.to_string(), "-"])
        .output()
        .unwrap();
    let samples = output.stdout.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]]));
    let mut sounds: Vec<(usize, usize)> = Vec::new();
    for (at, _) in samples.enumerate().filter(|(_, sample)| sample.unsigned_abs() > LOUD) {
        match sounds.last_mut() {
            Some((_, end)) if at - *end < PAUSE => *end = at,
            _ => sounds.push((at, at)),
        }
    }
    let seconds = |at: usize| at as f64 / RATE as f64;
    sounds.into_iter().map(|(start, end)| (seconds(start), seconds(end))).collect()
}

/// A beep at the start of every second; packets are missing from the middle of the third one on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_gap_does_not_shift_the_audio_after_it() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let beeps = "aevalsrc='if(lt(mod(t,1),0.1),0.5*sin(880*2*PI*t),0)':d=8:s=48000";
    let picture = "color=gray:s=64x36:r=25:d=8";
    for (name, packets) in [("a.mkv", 1), ("a.mkv", 2), ("b.mp4", 3), ("c.ts", 4)] {
        let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", beeps];
        let options = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-ac", "1"];
        let whole = Clip::made("whole.mkv", &[&inputs[..], &options].concat());
        let whole = whole.path().display().to_string();
        let missing = format!("noise=drop='between(n,120,{})'", 119 + packets);
        let clip = Clip::made(name, &["-i", &whole, "-c", "copy", "-bsf:a", &missing]);
        let sounds = sounds(&mut control, &worker, &clip).await;
        assert_eq!(sounds.len(), 8, "{name}, {packets}: {sounds:?}");
        for (second, (start, _)) in sounds.iter().enumerate() {
            let off = (start - second as f64).abs();
            assert!(off < 0.025, "{name}, {packets}: {sounds:?}");
        }
    }
}

/// A box of an MP4 file.
fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    [&(payload.len() as u32 + 8).to_be_bytes()[..], name, &payload].concat()
}

/// Integers as a box has them.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A 3GP file of a phone: AMR with `bundle` frames in each packet (3GPP TS 26.244, 6.5). Half a
/// second of noise and half a second of near silence take turns.
fn amr(frames: u32, bundle: u32) -> Vec<u8> {
    const FRAME_BYTES: u32 = 32;
    let mut random = 1_u32;
    let mut noise = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    };
    let mut frame = |number: u32| {
        // 12.2 kbit/s.
        let mut bytes = vec![0x3c];
        bytes.extend(
            (1..FRAME_BYTES).map(|_| if (number / 25).is_multiple_of(2) { noise() } else { 0 }),
        );
        bytes
    };
    let sound: Vec<u8> = (0..frames).flat_map(&mut frame).collect();
    let (packets, ticks) = (frames / bundle, bundle * 160);
    let kind = boxed(b"ftyp", &[b"3gp4", &words(&[0]), b"3gp4"]);
    let start = kind.len() as u32 + 8;
    let matrix = words(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]);
    let length = frames * 160;
    let description = boxed(b"damr", &[b"test", &[0, 0x81, 0xff, 0, bundle as u8]]);
    let entry = boxed(b"samr", &[&words(&[0, 1, 0, 0, 0x2_0010, 0, 8000 << 16]), &description]);
    let tables = boxed(
        b"stbl",
        &[
            &boxed(b"stsd", &[&words(&[0, 1]), &entry]),
            &boxed(b"stts", &[&words(&[0, 1, packets, ticks])]),
            &boxed(b"stsc", &[&words(&[0, 1, 1, packets, 1])]),
            &boxed(b"stsz", &[&words(&[0, bundle * FRAME_BYTES, packets])]),
            &boxed(b"stco", &[&words(&[0, 1, start])]),
        ],
    );
    let reference = boxed(b"dref", &[&words(&[0, 1]), &boxed(b"url ", &[&words(&[1])])]);
    let information = boxed(
        b"minf",
        &[&boxed(b"smhd", &[&words(&[0, 0])]), &boxed(b"dinf", &[&reference]), &tables],
    );
    let media = boxed(
        b"mdia",
        &[
            &boxed(b"mdhd", &[&words(&[0, 0, 0, 8000, length, 0x55c4_0000])]),
            &boxed(b"hdlr", &[&words(&[0, 0]), b"soun", &words(&[0, 0, 0]), &[0]]),
            &information,
        ],
    );
    let track = boxed(
        b"trak",
        &[
            &boxed(
                b"tkhd",
                &[&words(&[7, 0, 0, 1, 0, length, 0, 0, 0, 0x100_0000]), &matrix, &words(&[0, 0])],
            ),
            &media,
        ],
    );
    let header = boxed(
        b"mvhd",
        &[
            &words(&[0, 0, 0, 8000, length, 0x1_0000, 0x100_0000, 0, 0]),
            &matrix,
            &words(&[0, 0, 0, 0, 0, 0, 2]),
        ],
    );
    let index = boxed(b"moov", &[&header, &track]);
    [kind, boxed(b"mdat", &[&sound]), index].concat()
}

/// FFmpeg's decoder of AMR reads only the first frame of a packet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_frame_of_a_packet_of_amr_is_decoded() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for bundle in [1, 5, 10] {
        let alone = Clip::bytes("a.3gp", &amr(250, bundle));
        let path = alone.path().display().to_string();
        // The same behind the first second of a video.
        let inputs = ["-f", "lavfi", "-i", "testsrc2=s=176x144:r=15:d=6", "-itsoffset", "1", "-i"];
        let options = ["-c:v", "mpeg4", "-c:a", "copy"];
        let late = Clip::made("b.mkv", &[&inputs[..], &[&path], &options].concat());
        for (clip, begin) in [(&alone, 0.0), (&late, 1.0)] {
            let sounds = sounds(&mut control, &worker, clip).await;
            assert_eq!(sounds.len(), 5, "{bundle}, {begin}: {sounds:?}");
            for (number, (start, end)) in sounds.iter().enumerate() {
                let due = begin + number as f64;
                let off = (start - due).abs().max((end - due - 0.5).abs());
                assert!(off < 0.15, "{bundle}, {begin}: {sounds:?}");
            }
        }
    }
}
