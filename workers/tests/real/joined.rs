//! Transport and program streams that were joined from recordings: the output contains each recording in full, in
//! order, with audio and video in sync.

use std::{fs, io::Write, path::Path, process::Command};

use media::admission::TrackKind;
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
struct Encoded {
    probed: Probed,
    pictures: NamedTempFile,
    sound: Vec<i16>,
}

impl Encoded {
    fn numbers(&self) -> Vec<usize> {
        numbers(self.pictures.path())
    }
}

async fn encode(control: &mut Control, worker: &Worker, clip: &Clip) -> Encoded {
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

    let one = part("a.ts", 1, "0", &["-vn", "-c:a", "aac"]);
    let encoded = encode(&mut control, &worker, &joined("j.ts", &vec![one; 4])).await;
    let duration = encoded.probed.source.duration;
    assert!((duration - 4.0).abs() < 0.3, "{duration}");
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
