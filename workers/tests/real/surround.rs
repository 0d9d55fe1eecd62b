//! Surround renditions of real files: encoded in AAC, and copied from AC-3 and E-AC-3.

use std::{fs, process::Command};

use api::v1;
use media::{admission::TrackKind, fmp4::init_info, surround::SurroundCodec};

use crate::{
    clip::Clip,
    control::Control,
    encodes::{Probed, check},
    worker::Worker,
};

const SECONDS: f64 = 10.0;
const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];

/// Ten seconds of video, and a tone of its own in each channel, which beeps once a second from
/// `start` on.
fn clip(name: &str, layout: &str, start: f64, options: &[&str]) -> Clip {
    let channels = if layout.starts_with('7') { 8 } else { 6 };
    let tone =
        |channel: u32| format!("0.5*sin({}*2*PI*t)*lt(mod(t\\,1)\\,0.2)", 300 + 100 * channel);
    let tones = (0..channels).map(tone).collect::<Vec<_>>().join("|");
    let sound = format!("aevalsrc={tones}:s=48000:c={layout}:d={SECONDS}");
    let picture = format!("testsrc2=s=64x36:r=25:d={SECONDS}");
    let start = start.to_string();
    let inputs = ["-f", "lavfi", "-i", &picture, "-itsoffset", &start, "-f", "lavfi", "-i", &sound];
    Clip::made(name, &[&inputs[..], &H264, options].concat())
}

fn work(probed: &Probed, codec: SurroundCodec, first_chunk: u32) -> v1::lease::Work {
    v1::lease::Work::Surround(v1::SurroundWork {
        grid: Some(probed.grid.into()),
        number: 3,
        track: Some(probed.source.audio[0].clone().into()),
        video: probed.source.video.clone().map(Into::into),
        codec: codec.text().to_owned(),
        bitrate: 320_000,
        first_chunk,
    })
}

/// The times in seconds at which the beeps of each channel begin, in a rendition that control would
/// admit.
async fn beeps(
    control: &mut Control,
    worker: &Worker,
    clip: &Clip,
    probed: &Probed,
    codec: SurroundCodec,
) -> Vec<Vec<f64>> {
    let done = control.work(worker.lease(&clip.path(), work(probed, codec, 0))).await.unwrap();
    assert_eq!(done.outputs.len() as u32, probed.grid.chunks());
    let mut all = done.outputs[0].init.to_vec();
    let info = init_info(&all).unwrap();
    assert_eq!((info.codec.as_str(), info.channels), (codec.rfc6381(), 6));
    for (number, output) in done.outputs.iter().enumerate() {
        assert_eq!((output.chunk, output.rendition.as_str()), (number as u32, "surround-3"));
        assert_eq!(output.init, done.outputs[0].init);
        all.extend(check(&worker.store(), TrackKind::Audio, &probed.grid, output));
    }
    let file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    fs::write(file.path(), all).unwrap();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(file.path());
    let pcm = ffmpeg.args(["-f", "s16le", "-ac", "6", "pipe:1"]).output().unwrap().stdout;
    let level = |sample: &[u8]| i16::from_le_bytes([sample[0], sample[1]]).saturating_abs();
    let begins = |channel: usize| {
        let mut quiet = 24_000;
        let mut found = Vec::new();
        for (at, frame) in pcm.chunks_exact(12).enumerate() {
            if level(&frame[2 * channel..]) < 4000 {
                quiet += 1;
                continue;
            }
            if quiet > 12_000 {
                found.push(at as f64 / 48_000.0);
            }
            quiet = 0;
        }
        found
    };
    (0..6).map(begins).collect()
}

/// Every channel beeps at `start` and once a second from there, within `tolerance` seconds. The
/// channel for low frequencies is left out: encoders cut off its tone.
fn assert_beeps(found: &[Vec<f64>], start: f64, tolerance: f64, name: &str) {
    for (channel, times) in found.iter().enumerate().filter(|(channel, _)| *channel != 3) {
        assert_eq!(times.len(), (SECONDS - start).ceil() as usize, "{name} {channel}: {times:?}");
        for (second, time) in times.iter().enumerate() {
            let due = start + second as f64;
            assert!((time - due).abs() <= tolerance, "{name} {channel}: {time}, due {due}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surround_is_encoded_in_five_channels_and_one_for_low_frequencies() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for (name, layout, options) in [
        ("a.mkv", "5.1", &["-c:a", "flac"][..]),
        ("b.mp4", "5.1", &["-c:a", "aac", "-b:a", "320k"]),
        ("c.mkv", "7.1", &["-c:a", "flac"]),
        ("d.mkv", "5.1(side)", &["-c:a", "dca", "-strict", "-2"]),
        ("e.ts", "5.1(side)", &["-c:a", "ac3"]),
    ] {
        let clip = clip(name, layout, 0.0, options);
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        assert_eq!(probed.source.audio[0].channels, if layout == "7.1" { 8 } else { 6 }, "{name}");
        let found = beeps(&mut control, &worker, &clip, &probed, SurroundCodec::Aac).await;
        assert_beeps(&found, 0.0, 0.03, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dolby_tracks_are_copied_from_every_container() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let (ac3, eac3) = (SurroundCodec::Ac3, SurroundCodec::Eac3);
    for (name, codec, options, start) in [
        ("a.mkv", ac3, &[][..], 0.0),
        ("b.mp4", eac3, &["-b:a", "768k"], 0.0),
        ("c.ts", ac3, &["-b:a", "640k"], 0.0),
        ("d.mov", ac3, &[], 0.0),
        ("e.avi", ac3, &[], 0.0),
        ("f.ts", eac3, &[], 0.0),
        ("late.mkv", ac3, &[], 0.25),
        ("clock.ts", eac3, &["-output_ts_offset", "50000"], 0.0),
    ] {
        let options = [&["-c:a", codec.text()][..], options].concat();
        let clip = clip(name, "5.1(side)", start, &options);
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        let found = beeps(&mut control, &worker, &clip, &probed, codec).await;
        // A unit is moved by at most half of its 32 ms; containers round times to milliseconds, and
        // the decoder needs a unit to rise.
        assert_beeps(&found, start, 0.05, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_copy_commits_only_the_rest() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = clip("a.mkv", "5.1(side)", 0.0, &["-c:a", "ac3"]);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let whole = work(&probed, SurroundCodec::Ac3, 0);
    let whole = control.work(worker.lease(&clip.path(), whole)).await.unwrap();
    let rest = work(&probed, SurroundCodec::Ac3, 1);
    let rest = control.work(worker.lease(&clip.path(), rest)).await.unwrap();
    let digests = |outputs: &[v1::Output]| {
        outputs.iter().map(|o| (o.chunk, o.sha256.clone(), o.init.clone())).collect::<Vec<_>>()
    };
    assert_eq!(digests(&rest.outputs), digests(&whole.outputs[1..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_that_cannot_be_copied_fails_permanently() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    // Stereo follows 5.1, as in television between a programme and advertisements.
    let part = |channels: &str| {
        let sound = ["-f", "lavfi", "-i", "sine=440:r=48000:d=5", "-c:a", "ac3", "-ac", channels];
        fs::read(Clip::made("part.ac3", &sound).path()).unwrap()
    };
    let joined = Clip::bytes("joined.ac3", &[part("6"), part("2")].concat());
    let sound = joined.path().display().to_string();
    let clip = Clip::made("a.mka", &["-i", &sound, "-c", "copy"]);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let lease = worker.lease(&clip.path(), work(&probed, SurroundCodec::Ac3, 0));
    let fail = control.work(lease).await.unwrap_err();
    assert_eq!((fail.code.as_str(), fail.retryable), ("unsupported_audio", false), "{fail:?}");
}
