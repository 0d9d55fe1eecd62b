//! Containers without an index or without times, cameras' and broadcasters' formats, and files whose
//! pictures cannot be decoded.

use std::fs;

use media::admission::TrackKind;

use crate::{
    clip::Clip,
    control::Control,
    encodes::{Probed, check, frames_are_exact},
    worker::Worker,
};

/// Raw streams state no times, so their pictures are counted, also those that are reordered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_picture_of_a_raw_stream_is_shown_once() {
    let reordered = ["-an", "-g", "50", "-bf", "3"];
    frames_are_exact("a.h264", "25", &reordered).await;
    let hevc = [
        "-an",
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=error:keyint=50",
        "-preset",
        "ultrafast",
    ];
    frames_are_exact("b.hevc", "24", &hevc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_picture_of_a_gif_is_shown_once() {
    frames_are_exact("a.gif", "10", &["-an", "-c:v", "gif", "-pix_fmt", "gray"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_picture_of_a_camera_or_broadcaster_is_shown_once() {
    let dv = ["-c:v", "dvvideo", "-s", "720x576", "-c:a", "pcm_s16le", "-ar", "48000", "-ac", "2"];
    frames_are_exact("a.dv", "25", &dv).await;
    let mxf = ["-c:v", "mpeg2video", "-q:v", "2", "-g", "15", "-c:a", "pcm_s16le", "-ar", "48000"];
    frames_are_exact("b.mxf", "25", &mxf).await;
}

/// 5 s of AMR-NB, which FFmpeg cannot encode: frames of 12.2 kbit/s with silence.
fn amr() -> Clip {
    let frames = [&[0x3c][..], &[0; 31]].concat().repeat(250);
    Clip::bytes("a.amr", &[&b"#!AMR\n"[..], &frames].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audio_files_of_every_container_are_encoded() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let made = |name: &str, rate: &str, codec: &str| {
        let tone = format!("sine=440:r={rate}:d=5");
        Clip::made(name, &["-f", "lavfi", "-i", &tone, "-c:a", codec])
    };
    for (clip, codec) in [
        (made("a.aac", "44100", "aac"), "aac"),
        (made("b.aiff", "44100", "pcm_s16be"), "pcm_s16be"),
        (made("c.caf", "44100", "alac"), "alac"),
        (made("d.ac3", "48000", "ac3"), "ac3"),
        (made("e.eac3", "48000", "eac3"), "eac3"),
        (amr(), "amr_nb"),
    ] {
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        assert!(probed.source.video.is_none(), "{codec}");
        assert_eq!(probed.source.audio[0].codec, codec);
        assert!((probed.source.duration - 5.0).abs() < 0.08, "{codec}: {}", probed.source.duration);
        let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await;
        let done = done.unwrap_or_else(|fail| panic!("{codec}: {fail:?}"));
        assert_eq!(done.outputs.len() as u32, probed.grid.chunks(), "{codec}");
        for output in &done.outputs {
            check(&worker.store(), TrackKind::Audio, &probed.grid, output);
        }
    }
}

/// For any bytes after the beginning of such a file, its probe ends with a result or a permanent
/// failure, and neither the worker nor its FFmpeg hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_of_every_container_are_examined_to_an_end() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let picture = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=1"];
    let tone = ["-f", "lavfi", "-i", "sine=440:r=48000:d=1"];
    let dv = ["-f", "lavfi", "-i", "testsrc2=s=720x576:r=25:d=0.4", "-c:v", "dvvideo"];
    let mxf = [&picture[..], &tone, &["-c:v", "mpeg2video", "-c:a", "pcm_s16le"]].concat();
    let clips = [
        Clip::made("a.h264", &picture),
        Clip::made("b.gif", &picture),
        Clip::made("c.mxf", &mxf),
        Clip::made("d.dv", &[&dv[..], &["-pix_fmt", "yuv420p"]].concat()),
        Clip::made("e.aac", &tone),
        Clip::made("f.aiff", &tone),
        Clip::made("g.caf", &tone),
        Clip::made("h.ac3", &tone),
        amr(),
    ];
    for (number, clip) in clips.iter().enumerate() {
        let whole = fs::read(clip.path()).unwrap();
        let head = &whole[..whole.len().min(24)];
        let mut flipped = whole.clone();
        // A fixed sequence of places, spread over the file behind its first bytes.
        for step in 1..200_usize {
            let place = 24 + step * 7919 % (whole.len() - 24);
            flipped[place] ^= 1 << (step % 8);
        }
        let ones = [head, &vec![0xff; 4096]].concat();
        for bytes in [&flipped[..whole.len() / 2], &ones, head] {
            let damaged = Clip::bytes("x", bytes);
            if let Err(fail) = control.work(worker.probe(&damaged.path())).await {
                assert!(!fail.retryable, "{number}: {fail:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_audio_beside_pictures_that_cannot_be_decoded_is_kept() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let replaced = |clip: &Clip, from: &[u8], to: &[u8]| {
        let mut bytes = fs::read(clip.path()).unwrap();
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{from:?}");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        Clip::bytes("x", &bytes)
    };
    let good = Clip::numbered("a.mp4", "25", 2);
    let unknown = replaced(&good, b"avc1", b"zzz1");
    let matroska = Clip::numbered("b.mkv", "25", 2);
    let matroska = replaced(&matroska, b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ");
    // Packets of the codec's own form, in which no picture is left.
    let empty = good.path().display().to_string();
    let empty = ["-i", &empty, "-c", "copy", "-bsf:v", "filter_units=pass_types=6-8"];
    let empty = Clip::made("c.mkv", &empty);
    for (clip, codec) in
        [(&unknown, "unknown codec"), (&matroska, "unknown codec"), (&empty, "h264")]
    {
        let probed = Probed::probe(&mut control, &worker, clip).await;
        assert!(probed.source.video.is_none(), "{:?}", probed.source.video);
        let note = format!("video track 0 ({codec}): left out, because it cannot be decoded");
        assert_eq!(probed.source.notes, [note]);
        let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await.unwrap();
        for output in &done.outputs {
            check(&worker.store(), TrackKind::Audio, &probed.grid, output);
        }
    }
    // With a second video track, that one is shown; without audio, the file is rejected.
    let silent = good.path().display().to_string();
    let silent = Clip::made("d.mp4", &["-i", &silent, "-an", "-c", "copy"]);
    let silent = replaced(&silent, b"avc1", b"zzz1");
    let fail = control.work(worker.probe(&silent.path())).await.expect_err("nothing is left");
    assert_eq!((fail.code.as_str(), fail.retryable), ("not_a_video", false), "{fail:?}");
    let path = good.path().display().to_string();
    let inputs = ["-i", &path, "-map", "0:v", "-map", "0:v", "-c:v:1", "mpeg4"];
    let two = Clip::made("e.mkv", &[&inputs[..], &["-c:v:0", "copy"]].concat());
    let two = replaced(&two, b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ");
    let probed = Probed::probe(&mut control, &worker, &two).await;
    assert_eq!(probed.source.video.unwrap().codec, "mpeg4");
    assert_eq!(probed.source.notes.len(), 1);
}
