//! Transport and program streams that were joined from recordings: the output contains each recording in full, in
//! order, with audio and video in sync.

use std::{fs, io::Write, path::Path, process::Command};

use media::{admission::TrackKind, source::Source};
use tempfile::NamedTempFile;

use crate::{
    clip::{Clip, numbers},
    control::Control,
    encodes::{Probed, check},
    worker::Worker,
};

const MPEG2: [&str; 6] = ["-c:v", "mpeg2video", "-q:v", "3", "-c:a", "mp2"];

/// Numbered frames at 25 frames per second with a tone; the timestamps start at `offset` seconds.
fn part(name: &str, seconds: u32, offset: &str, options: &[&str]) -> Vec<u8> {
    let clock = ["-g", "50", "-output_ts_offset", offset];
    fs::read(Clip::with(name, "25", seconds, &[&clock[..], options].concat()).path()).unwrap()
}

fn joined(name: &str, parts: &[Vec<u8>]) -> Clip {
    Clip::bytes(name, &parts.concat())
}

/// A completely encoded clip.
pub(crate) struct Encoded {
    pub(crate) probed: Probed,
    pub(crate) pictures: NamedTempFile,
    pub(crate) sound: Vec<i16>,
}

impl Encoded {
    pub(crate) fn numbers(&self) -> Vec<usize> {
        numbers(self.pictures.path())
    }
}

pub(crate) async fn encode(control: &mut Control, worker: &Worker, clip: &Clip) -> Encoded {
    let probed = Probed::probe(control, worker, clip).await;
    let pictures = NamedTempFile::with_suffix(".mp4").unwrap();
    let chunks = if probed.source.video.is_some() { probed.grid.chunks() } else { 0 };
    let mut init = None;
    for chunk in 0..chunks {
        let lease = worker.lease(&clip.path(), probed.chunk(chunk, &[(320, 180)]));
        let done = control.work(lease).await.unwrap_or_else(|fail| panic!("{chunk}: {fail:?}"));
        let output = &done.outputs[0];
        let bytes = check(&worker.store(), TrackKind::Video, &probed.grid, output);
        if chunk == 0 {
            pictures.as_file().write_all(&output.init).unwrap();
        }
        assert_eq!(init.get_or_insert(output.init.clone()), &output.init, "chunk {chunk}");
        pictures.as_file().write_all(&bytes).unwrap();
    }
    let mut sound = Vec::new();
    if !probed.source.audio.is_empty() {
        let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await;
        let done = done.unwrap_or_else(|fail| panic!("sound: {fail:?}"));
        let movie = NamedTempFile::with_suffix(".mp4").unwrap();
        movie.as_file().write_all(&done.outputs[0].init).unwrap();
        for output in &done.outputs {
            let bytes = check(&worker.store(), TrackKind::Audio, &probed.grid, output);
            movie.as_file().write_all(&bytes).unwrap();
        }
        sound = samples(movie.path());
    }
    Encoded { probed, pictures, sound }
}

fn samples(file: &Path) -> Vec<i16> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-f", "s16le", "-ac", "1", "-ar", "48000", "-"])
        .output()
        .unwrap();
    output.stdout.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])).collect()
}

/// The frame numbers of consecutive recordings with these durations in seconds.
fn counted(seconds: &[usize]) -> Vec<usize> {
    seconds.iter().flat_map(|seconds| 0..seconds * 25).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_recordings_are_played_one_after_the_other() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let ts = |seconds, offset| part("a.ts", seconds, offset, &["-c:a", "aac"]);
    let ps = |seconds, offset| part("a.mpg", seconds, offset, &MPEG2);
    let silent = part("a.ts", 5, "0", &["-an"]);
    for (name, file, parts, seconds) in [
        ("the same clock", "j.ts", vec![ts(5, "0"), ts(5, "0")], vec![5, 5]),
        ("the clock goes back", "j.ts", vec![ts(5, "100"), ts(5, "0")], vec![5, 5]),
        ("the clock continues", "j.ts", vec![ts(5, "0"), ts(5, "100")], vec![5, 5]),
        ("a program stream", "j.mpg", vec![ps(5, "0"), ps(5, "0")], vec![5, 5]),
        ("a program stream continues", "j.mpg", vec![ps(5, "0"), ps(5, "100")], vec![5, 5]),
        (
            "four recordings and three chunks",
            "j.ts",
            vec![ts(4, "0"), ts(9, "50"), ts(2, "0"), ts(11, "95440")],
            vec![4, 9, 2, 11],
        ),
        ("a silent one", "j.ts", vec![ts(5, "0"), silent, ts(5, "0")], vec![5, 5, 5]),
    ] {
        let clip = joined(file, &parts);
        let encoded = encode(&mut control, &worker, &clip).await;
        let (probed, sound) = (&encoded.probed, &encoded.sound);
        let expected = counted(&seconds);
        assert_eq!(probed.grid.frames() as usize, expected.len(), "{name}: {:?}", probed.source);
        assert!((probed.source.duration - probed.grid.duration()).abs() < 0.001, "{name}");
        assert_eq!(encoded.numbers(), expected, "{name}");
        assert!(sound.len().abs_diff(expected.len() * 1920) <= 1024, "{name}: {}", sound.len());
    }
}

/// Their times go back by less than a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_recordings_of_one_second_are_kept() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let one = part("a.ts", 1, "0", &["-bf", "0", "-c:a", "aac"]);
    let encoded = encode(&mut control, &worker, &joined("j.ts", &vec![one; 5])).await;
    assert_eq!(encoded.numbers(), counted(&[1; 5]));

    // Two to six packets of audio.
    for (seconds, bitrate) in [("1", "128k"), ("1", "32k"), ("0.5", "64k")] {
        let options = ["-vn", "-c:a", "aac", "-b:a", bitrate, "-t", seconds];
        let one = part("a.ts", 1, "0", &options);
        let encoded = encode(&mut control, &worker, &joined("j.ts", &vec![one; 4])).await;
        let duration = encoded.probed.source.duration;
        let due = seconds.parse::<f64>().unwrap() * 4.0;
        assert!((duration - due).abs() < 0.3, "{seconds} s, {bitrate}: {duration}");
    }
}

/// The other recording's clock is close to that of the first, and its streams have other ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_recording_with_other_stream_ids_is_kept() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let first = part("a.ts", 3, "0", &["-c:a", "aac"]);
    let other = part("a.ts", 2, "0", &["-c:a", "aac", "-mpegts_start_pid", "0x300"]);
    let clip = joined("j.ts", &[first.clone(), other.clone(), first, other]);
    let encoded = encode(&mut control, &worker, &clip).await;
    assert_eq!(encoded.numbers(), counted(&[3, 2, 3, 2]));
}

/// The second program's clock jumps, and its audio begins an hour before the first program's video.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_program_of_the_video_counts() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let whole = Clip::with(
        "a.ts",
        "25",
        6,
        &[
            &["-g", "50", "-c:a", "aac", "-map", "0", "-map", "1", "-map", "1"][..],
            &["-program", "title=A:st=0:st=1", "-program", "title=B:st=2"],
        ]
        .concat(),
    );
    let mut bytes = fs::read(whole.path()).unwrap();
    let mut count = 0;
    for packet in bytes.chunks_exact_mut(188) {
        let starts = packet[1] & 0x40 != 0;
        if starts && packet[1] & 0x1f == 1 && packet[2] == 2 {
            let begin = match packet[3] >> 4 & 3 {
                1 => 4,
                _ => 5 + usize::from(packet[4]),
            };
            assert_eq!(packet[begin..begin + 3], [0, 0, 1]);
            count += 1;
            // The highest bits of the time: 0, later about 3.3 hours.
            packet[begin + 9] = if count > 9 { 0x23 } else { 0x21 };
        }
    }
    assert!(count > 14, "{count}");
    let encoded = encode(&mut control, &worker, &Clip::bytes("a.ts", &bytes)).await;
    let Source { video, audio, .. } = &encoded.probed.source;
    assert!(video.as_ref().unwrap().parts.is_empty());
    assert_eq!((audio.len(), audio[0].index), (1, 1));
    assert_eq!(encoded.numbers(), counted(&[6]));
}

/// The packets of the first GOP do not decode, so the first picture is much later than the first packet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_stream_may_begin_in_the_middle_of_a_gop() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let options = ["-f", "vob", "-g", "12"];
    let whole = part("a.vob", 3, "0", &[&MPEG2[..], &options].concat());
    let encoded = encode(&mut control, &worker, &Clip::bytes("a.vob", &whole[2048..])).await;
    let found = encoded.numbers();
    assert!(found.len() >= 60, "{found:?}");
    assert_eq!(found.last(), Some(&74));
}

/// The first packets of the second recording have no timestamps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_stream_whose_first_packet_has_no_time_stamp_is_joined() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let raw = Clip::with("a.m2v", "25", 5, &["-c:v", "mpeg2video", "-q:v", "3", "-an"]);
    let raw = raw.path();
    let input = ["-r", "25", "-i", raw.to_str().unwrap(), "-c", "copy", "-f", "vob"];
    let one = fs::read(Clip::made("a.vob", &input).path()).unwrap();
    let encoded = encode(&mut control, &worker, &joined("j.vob", &[one.clone(), one])).await;
    assert_eq!(encoded.numbers(), counted(&[5, 5]));
}

/// The wrap of the 33-bit clock within a recording does not count as a joint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_wraps_does_not_count_as_a_joint() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = joined("a.ts", &[part("a.ts", 9, "95439", &["-c:a", "aac"])]);
    let encoded = encode(&mut control, &worker, &clip).await;
    assert!(encoded.probed.source.video.as_ref().unwrap().parts.is_empty());
    assert_eq!(encoded.numbers(), counted(&[9]));
}

/// A recording with a flash and a beep at 1 s, `pictures` seconds of video and `sound` seconds of audio.
fn flash(name: &str, pictures: &str, sound: &str, options: &[&str]) -> Vec<u8> {
    let picture = format!(
        "color=black:s=64x36:r=25:d={pictures},\
         drawbox=t=fill:color=white:enable='between(t,0.99,1.19)'"
    );
    let beep = format!("aevalsrc='if(between(t,1,1.2),0.7*sin(880*2*PI*t),0)':d={sound}:s=48000");
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &beep];
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-c:a", "aac"];
    fs::read(Clip::made(name, &[&inputs[..], &codecs, options].concat()).path()).unwrap()
}

/// The times in seconds at which runs of loud samples or bright pictures begin.
fn onsets(levels: impl Iterator<Item = bool>, rate: f64) -> Vec<f64> {
    let (mut found, mut quiet) = (Vec::new(), f64::INFINITY);
    for (place, loud) in levels.enumerate() {
        if loud && quiet > rate / 2.0 {
            found.push(place as f64 / rate);
        }
        quiet = if loud { 0.0 } else { quiet + 1.0 };
    }
    found
}

fn flashes(file: &Path) -> Vec<f64> {
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-vf", "scale=1:1:flags=area", "-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .unwrap()
        .stdout;
    onsets(raw.iter().map(|level| *level > 128), 25.0)
}

/// Audio that is shorter or longer than its video, or has other parameters, does not shift the recordings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audio_of_every_recording_stays_in_sync_with_its_video() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let mono = ["-ac", "1", "-ar", "22050"];
    let clip = joined(
        "j.ts",
        &[
            flash("a.ts", "5", "4", &[]),
            flash("a.ts", "5", "5.3", &["-output_ts_offset", "40"]),
            flash("a.ts", "5", "7", &[]),
            flash("a.ts", "5", "5", &mono),
            flash("a.ts", "3.5", "3.5", &[]),
        ],
    );
    let encoded = encode(&mut control, &worker, &clip).await;
    let flashes = flashes(encoded.pictures.path());
    let beeps = onsets(encoded.sound.iter().map(|level| level.unsigned_abs() > 4000), 48_000.0);
    // The third recording's last picture is held while its audio continues.
    let due = [1.0, 6.0, 11.0, 18.0, 23.0];
    assert_eq!((flashes.len(), beeps.len()), (5, 5), "{flashes:?} {beeps:?}");
    for ((flash, beep), due) in flashes.iter().zip(&beeps).zip(due) {
        assert!((flash - beep).abs() <= 0.04, "flash {flash}, beep {beep}");
        assert!((flash - due).abs() <= 0.081, "flash {flash}, due {due}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_recordings_without_video_are_played_one_after_the_other() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let part = |offset: &str| flash("a.ts", "0.04", "5", &["-vn", "-output_ts_offset", offset]);
    let clip = joined("j.ts", &[part("0"), part("0"), part("200")]);
    let encoded = encode(&mut control, &worker, &clip).await;
    assert!(encoded.probed.source.video.is_none());
    let duration = encoded.probed.source.duration;
    // Each recording consists of whole packets, including the encoder's priming packet.
    assert!((duration - 15.0).abs() < 0.2, "{duration}");
    let beeps = onsets(encoded.sound.iter().map(|level| level.unsigned_abs() > 4000), 48_000.0);
    assert_eq!(beeps.len(), 3, "{beeps:?}");
    for (beep, due) in beeps.iter().zip([1.0, 6.0, 11.0]) {
        assert!((beep - due).abs() < 0.15, "beep {beep}, due {due}");
    }
}

/// The recordings differ in size, codec and stream ids, and the second begins in the middle of a GOP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_of_other_kinds_are_converted_to_the_first() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let first = part("a.ts", 5, "0", &["-c:a", "aac"]);
    let other = ["-mpegts_start_pid", "0x300", "-vf", "scale=640:360"];
    let second = part("a.ts", 5, "0", &[&MPEG2[..], &other].concat());
    let clip = joined("j.ts", &[first.clone(), second, first.clone()]);
    let encoded = encode(&mut control, &worker, &clip).await;
    let video = encoded.probed.source.video.as_ref().unwrap();
    assert_eq!((video.width, video.height, video.parts.len()), (320, 180, 3));
    assert_eq!(encoded.numbers(), counted(&[5, 5, 5]));

    // A recording whose beginning is missing starts with its first picture that decodes.
    let cut = first.len() / 2 / 188 * 188;
    let clip = joined("j.ts", &[first.clone(), first[cut..].to_vec()]);
    let encoded = encode(&mut control, &worker, &clip).await;
    let found = encoded.numbers();
    assert_eq!(found[..125], counted(&[5]));
    assert!(found.len() > 150 && found.len() < 200, "{}", found.len());
    assert_eq!(found.last(), Some(&124));
}

/// Every recording is a third of a second, which would be too many for one FFmpeg process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_hundred_recordings_are_played_one_after_the_other() {
    const COUNT: usize = 101;
    let mut control = Control::start().await;
    // The probe runs FFmpeg several times for each recording.
    control.patience *= 5;
    let worker = Worker::start(&mut control, &[]).await;
    let one = part("a.ts", 1, "0", &["-t", "0.6", "-bf", "0", "-c:a", "aac"]);
    let encoded = encode(&mut control, &worker, &joined("j.ts", &vec![one; COUNT])).await;
    let counted: Vec<usize> = (0..COUNT).flat_map(|_| 0..15).collect();
    assert_eq!(encoded.numbers(), counted);
    let samples = counted.len() * 1920;
    assert!(encoded.sound.len().abs_diff(samples) <= 1024, "{}", encoded.sound.len());
    // Silence would be a group of recordings that was lost.
    let quiet = |second: &[i16]| second.iter().all(|level| level.unsigned_abs() < 100);
    assert_eq!(encoded.sound.chunks(48_000).filter(|second| quiet(second)).count(), 0);
}

/// A packet of a transport stream that begins an audio packet with this time, in seconds.
fn timed(seconds: u64) -> [u8; 188] {
    let mut packet = [0xff; 188];
    packet[..13].copy_from_slice(&[0x47, 0x41, 0, 0x10, 0, 0, 1, 0xc0, 0, 0, 0x80, 0x80, 5]);
    let time = seconds * 90_000;
    let byte = |shift: u32| (time >> shift) as u8;
    let bytes =
        [0x21 | (byte(30) & 7) << 1, byte(22), byte(15) << 1 | 1, byte(7), byte(0) << 1 | 1];
    packet[13..18].copy_from_slice(&bytes);
    packet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_recordings_are_rejected_with_the_limit() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let mut bytes = part("a.ts", 1, "0", &["-vn", "-c:a", "aac"]);
    bytes.extend([1, 2, 3, 4].map(timed).concat().repeat(10_000));
    let clip = Clip::bytes("j.ts", &bytes);
    let fail = control.work(worker.probe(&clip.path())).await.expect_err("too many");
    assert_eq!((fail.code.as_str(), fail.retryable), ("too_many_recordings", false));
    assert_eq!(fail.message, "is joined from 10001 recordings; at most 10000 are supported");
}

/// Begins with audio from after the wrap, which video from before it follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_stream_that_was_cut_at_the_wrap_of_its_clock_is_played() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let options = ["-f", "vob", "-g", "12", "-output_ts_offset", "95440"];
    let whole = part("a.vob", 9, "0", &[&MPEG2[..], &options].concat());
    // The packets of either track whose decode time is less than a second: those after the wrap.
    let wrapped = |at: &usize| {
        let packet = &whole[*at..];
        let stamped = packet.starts_with(&[0, 0, 1]) && matches!(packet[3], 0xc0 | 0xe0);
        let time = if packet[7] & 0x40 == 0 { 9 } else { 14 };
        stamped && packet[7] & 0x80 != 0 && packet[time] & 0xe == 0 && packet[time + 1] == 0
    };
    let packs = (0..whole.len() / 2048).map(|pack| pack * 2048);
    let first = packs.clone().find(|pack| wrapped(&(pack + 14))).unwrap();
    let clip = Clip::bytes("a.vob", &whole[first..whole.len() - 999]);
    let encoded = encode(&mut control, &worker, &clip).await;
    let parts = &encoded.probed.source.video.as_ref().unwrap().parts;
    assert!(parts.len() == 1 && parts[0].start > 0, "{parts:?}");
    // The first picture is held while there is only audio.
    let mut found = encoded.numbers();
    assert!((100..200).contains(&found.len()), "{found:?}");
    found.dedup();
    assert!(found.starts_with(&(found[0]..found[0] + 100).collect::<Vec<_>>()), "{found:?}");
}
