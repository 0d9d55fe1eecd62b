//! Every container with every codec that it supports: probed, encoded, and the number of frames
//! checked.

use media::{Codec, admission::TrackKind};

use crate::{
    clip::Clip,
    control::Control,
    encodes::{Probed, check},
    worker::Worker,
};

/// The length of a test pattern with a tone, in seconds.
const SECONDS: u64 = 2;

/// A codec's name, and the output options that create a source with it.
type Made = (&'static str, &'static [&'static str]);

const H264: Made = ("h264", &["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"]);
const HEVC: Made =
    ("hevc", &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"]);
const VP9: Made = ("vp9", &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"]);
const AV1: Made = ("av1", &["-c:v", "libsvtav1", "-preset", "12"]);
const MPEG4: Made = ("mpeg4", &["-c:v", "mpeg4", "-bf", "2"]);
const PRORES: Made =
    ("prores", &["-c:v", "prores_ks", "-profile:v", "1", "-pix_fmt", "yuv422p10le"]);

/// Container, codec, and the audio codec to use with it.
fn matrix() -> Vec<(&'static str, Made, &'static str)> {
    let mut all = Vec::new();
    for (container, codecs, sound) in [
        ("mp4", &[H264, HEVC, VP9, AV1, MPEG4][..], "aac"),
        ("mkv", &[H264, HEVC, VP9, AV1, MPEG4, PRORES], "libopus"),
        ("mov", &[H264, HEVC, MPEG4, PRORES], "pcm_s16le"),
        ("avi", &[H264, VP9, AV1, MPEG4], "libmp3lame"),
        ("webm", &[VP9, AV1], "libvorbis"),
    ] {
        all.extend(codecs.iter().map(|codec| (container, *codec, sound)));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_container_is_read_with_every_codec_that_it_supports() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let mut wrong = Vec::new();
    for (container, (codec, options), sound) in matrix() {
        let name = format!("{codec}.{container}");
        let picture = format!("testsrc2=s=160x90:r=25:d={SECONDS}");
        let tone = format!("sine=440:r=48000:d={SECONDS}");
        let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone, "-shortest"];
        let sound = ["-c:a", sound, "-ac", "2"];
        let clip =
            Clip::made(&name, &[&inputs[..], &["-pix_fmt", "yuv420p"], options, &sound].concat());
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        let video = probed.source.video.as_ref().unwrap();
        if (video.codec.as_str(), video.width, video.height) != (codec, 160, 90) {
            wrong.push(format!("{name}: {video:?}"));
        }
        let (frames, due) = (probed.grid.frames(), SECONDS * 25);
        if frames.abs_diff(due) > 2
            || probed.grid.rate().num() != 25
            || probed.source.audio.len() != 1
        {
            wrong.push(format!("{name}: {:?} {:?}", probed.grid, probed.source.audio));
        }
        for work in [probed.chunk(0, &[(160, 90)]), probed.audio(0)] {
            let kind = match work {
                api::v1::lease::Work::Audio(_) => TrackKind::Audio,
                _ => TrackKind::Video,
            };
            match control.work(worker.lease(&clip.path(), work)).await {
                Ok(done) => {
                    for output in &done.outputs {
                        check(&worker.store(), kind, &probed.grid, output);
                    }
                }
                Err(fail) => wrong.push(format!("{name}: {kind:?} {fail:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Unusual pictures in any codec are encoded upright, whole, in 8 bits and SDR.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_pictures_are_encoded_upright_and_in_eight_bits() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let ten = ["-pix_fmt", "yuv420p10le"];
    let hdr = ["-color_primaries", "bt2020", "-colorspace", "bt2020nc", "-color_trc"];
    let hevc10 = [HEVC.1, &ten].concat();
    for (name, size, options, display) in [
        ("ten.mkv", "160x90", hevc10.clone(), (160, 90)),
        ("pq.mp4", "160x90", [&hevc10[..], &hdr, &["smpte2084"]].concat(), (160, 90)),
        ("hlg.mkv", "160x90", [VP9.1, &ten, &hdr, &["arib-std-b67"]].concat(), (160, 90)),
        ("portrait.mov", "90x160", H264.1.to_vec(), (90, 160)),
        (
            "odd.webm",
            "160x90",
            [VP9.1, &["-vf", "scale=161:91,setsar=1", "-pix_fmt", "yuv444p"]].concat(),
            (161, 91),
        ),
        ("rgb.avi", "160x90", vec!["-c:v", "ffv1", "-pix_fmt", "bgr0"], (160, 90)),
        ("full.mov", "160x90", vec!["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"], (160, 90)),
        (
            "alpha.mov",
            "160x90",
            vec!["-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le"],
            (160, 90),
        ),
        ("tall.mkv", "90x90", [H264.1, &["-vf", "setsar=16/9"]].concat(), (160, 90)),
    ] {
        let picture = format!("testsrc2=s={size}:r=25:d=1");
        let clip = Clip::made(name, &[&["-f", "lavfi", "-i", &picture][..], &options].concat());
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        let video = probed.source.video.as_ref().unwrap();
        assert_eq!((video.width, video.height), display, "{name}");
        let (width, height) = (display.0 / 2 * 2, display.1 / 2 * 2);
        let lease = worker.lease(&clip.path(), probed.chunk(0, &[(width, height)]));
        let done = control.work(lease).await.unwrap_or_else(|fail| panic!("{name}: {fail:?}"));
        let output = &done.outputs[0];
        check(&worker.store(), TrackKind::Video, &probed.grid, output);
        let info = media::fmp4::init_info(&output.init).unwrap();
        assert_eq!(Codec::of_rfc6381(&info.codec), Some(Codec::H264), "{name}");
        assert_eq!((info.width, info.height), (width, height), "{name}");
    }
}

/// A source without video has the length of its audio in every container, and its cover image does
/// not count as video.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_without_video_are_encoded() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let cover =
        Clip::made("cover.png", &["-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"]);
    let cover = cover.path().display().to_string();
    let attached: &[&str] = &[
        "-i",
        &cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "copy",
        "-disposition:v:0",
        "attached_pic",
    ];
    for (name, codec, options) in [
        ("a.m4a", "aac", [attached, &["-c:a", "aac"]].concat()),
        ("b.mp3", "mp3", [attached, &["-c:a", "libmp3lame"]].concat()),
        ("c.mka", "opus", vec!["-c:a", "libopus"]),
        ("d.webm", "vorbis", vec!["-c:a", "libvorbis"]),
        ("e.wav", "pcm_s16le", vec![]),
        ("f.flac", "flac", [attached, &["-c:a", "flac"]].concat()),
        ("g.ogg", "vorbis", vec!["-c:a", "libvorbis"]),
        ("h.avi", "mp3", vec!["-c:a", "libmp3lame"]),
        ("i.mov", "pcm_s16le", vec!["-c:a", "pcm_s16le"]),
    ] {
        let tone = ["-f", "lavfi", "-i", "sine=440:r=44100:d=5"];
        let clip = Clip::made(name, &[&tone[..], &options].concat());
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        assert!(probed.source.video.is_none(), "{name}: {:?}", probed.source.video);
        assert_eq!(probed.source.audio[0].codec, codec, "{name}");
        assert!((probed.source.duration - 5.0).abs() < 0.08, "{name}: {}", probed.source.duration);
        let lease = worker.lease(&clip.path(), probed.audio(0));
        let done = control.work(lease).await.unwrap_or_else(|fail| panic!("{name}: {fail:?}"));
        assert_eq!(done.outputs.len() as u32, probed.grid.chunks(), "{name}");
        for output in &done.outputs {
            check(&worker.store(), TrackKind::Audio, &probed.grid, output);
        }
    }
}
