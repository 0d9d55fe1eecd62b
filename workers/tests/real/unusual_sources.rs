//! Sources that are valid but unusual: each is encoded onto the grid.

use std::{fs, io::Write};

use media::admission::TrackKind;

use crate::{
    clip::Clip,
    control::{Control, Done},
    encodes::{Probed, check},
    worker::Worker,
};

/// Probes `clip` and encodes all of it; returns the video rendition as a playable file.
async fn encode(
    control: &mut Control,
    worker: &Worker,
    clip: &Clip,
) -> (Probed, tempfile::NamedTempFile) {
    let probed = Probed::probe(control, worker, clip).await;
    let rendition = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    for chunk in 0..probed.grid.chunks() {
        let lease = worker.lease(&clip.path(), probed.chunk(chunk, &[(160, 90), (320, 180)]));
        let done =
            control.work(lease).await.unwrap_or_else(|fail| panic!("{:?}: {fail:?}", clip.path()));
        for output in &done.outputs {
            check(&worker.store(), TrackKind::Video, &probed.grid, output);
        }
        if chunk == 0 {
            let output = &done.outputs[1];
            rendition.as_file().write_all(&output.init).unwrap();
            let bytes = fs::read(worker.store().join(&output.key)).unwrap();
            rendition.as_file().write_all(&bytes).unwrap();
        }
    }
    if !probed.source.audio.is_empty() {
        let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await.unwrap();
        let Done { outputs, .. } = done;
        assert_eq!(outputs.len() as u32, probed.grid.chunks());
        for output in &outputs {
            check(&worker.store(), TrackKind::Audio, &probed.grid, output);
        }
    }
    (probed, rendition)
}

const X264: [&str; 4] = ["-c:v", "libx264", "-preset", "ultrafast"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_video_is_encoded() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let generate = |name: &str, picture: &str, options: &[&str]| {
        let mut args = vec!["-f", "lavfi", "-i", picture];
        args.extend(options);
        Clip::made(name, &args)
    };
    let with = |extra: &[&'static str]| [&X264[..], extra].concat();
    let hdr = with(&[
        "-pix_fmt",
        "yuv420p10le",
        "-color_primaries",
        "bt2020",
        "-color_trc",
        "smpte2084",
        "-colorspace",
        "bt2020nc",
    ]);
    let interlaced =
        with(&["-flags", "+ilme+ildct", "-x264-params", "tff=1", "-vf", "setfield=tff"]);
    // Half a second of frames, a gap of one second, then the rest.
    let varied = with(&["-vf", "setpts='if(lt(N,12),N,N+25)/25/TB'", "-vsync", "passthrough"]);
    // Ten frames a second, then thirty: the lower average rate must not drop any of the latter.
    let thinned = "select='gte(t,2)+not(mod(n,3))'";
    let burst = with(&["-vf", thinned, "-vsync", "vfr"]);
    let motion = "testsrc2=s=320x180:r=25:d=3";
    for (name, picture, options, rate, frames) in [
        ("one.mp4", "testsrc2=s=320x180:r=25:d=0.04", with(&[]), 25, 1),
        ("odd.mkv", "testsrc2=s=853x479:r=25:d=2", with(&["-pix_fmt", "yuv444p"]), 25, 50),
        ("hdr.mp4", motion, hdr, 25, 75),
        ("interlaced.mkv", motion, interlaced, 25, 75),
        ("varied.mp4", motion, varied, 25, 100),
        ("burst.mp4", "testsrc2=s=320x180:r=30:d=4", burst, 30, 120),
        ("fast.mp4", "testsrc2=s=320x180:r=120:d=2", with(&[]), 60, 120),
        ("slow.mkv", "testsrc2=s=320x180:r=2:d=10", with(&[]), 2, 20),
        (
            "vp9.webm",
            "testsrc2=s=320x180:r=30:d=2",
            vec!["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
            30,
            60,
        ),
        ("mpeg2.ts", motion, vec!["-c:v", "mpeg2video", "-bf", "2"], 25, 75),
    ] {
        let clip = generate(name, picture, &options);
        let (probed, rendition) = encode(&mut control, &worker, &clip).await;
        let (num, den) = (probed.grid.rate().num(), probed.grid.rate().den());
        assert_eq!((num, den), (rate, 1), "{name}");
        assert!(probed.grid.frames().abs_diff(frames) <= 1, "{name}: {}", probed.grid.frames());
        assert_eq!(
            probed.source.video.as_ref().unwrap().interlaced,
            name.starts_with("interlaced"),
            "{name}"
        );
        let brightness = brightness(rendition.path());
        assert!((60.0..200.0).contains(&brightness), "{name}: {brightness}");
    }
}

/// Two resolutions in one stream, as in broadcasts and from faulty encoders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_resolution_within_the_stream_keeps_every_frame() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let part = |size: &str| {
        let picture = format!("testsrc2=s={size}:r=25:d=2");
        let clip = Clip::made(
            "a.ts",
            &[&["-f", "lavfi", "-i", &picture], &X264[..], &["-bf", "0"]].concat(),
        );
        fs::read(clip.path()).unwrap()
    };
    let joined = Clip::bytes("joined.ts", &[part("320x180"), part("640x360")].concat());
    let path = joined.path().display().to_string();
    let clip = Clip::made("a.ts", &["-fflags", "+genpts", "-i", &path, "-c", "copy"]);
    let (probed, _) = encode(&mut control, &worker, &clip).await;
    assert!(probed.grid.frames() >= 100, "{}", probed.grid.frames());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_audio_is_encoded() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let picture = "color=gray:s=64x36:r=25:d=3";
    for (name, sound, options, channels) in [
        ("surround.mkv", "sine=440:r=48000:d=3", vec!["-c:a", "ac3", "-ac", "6"], 2),
        ("mono.mp4", "sine=440:r=22050:d=3", vec!["-c:a", "aac", "-ac", "1"], 1),
        ("short.mkv", "sine=440:r=44100:d=1", vec!["-c:a", "libopus"], 2),
        ("long.mov", "sine=440:r=96000:d=9", vec!["-c:a", "pcm_s24le", "-ac", "2"], 2),
        ("silent.mp4", "anullsrc=d=3", vec!["-an"], 0),
    ] {
        let mut args = vec!["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound];
        args.extend(X264);
        if name.starts_with("short") {
            args.extend(["-ac", "2"]);
        }
        args.extend(options);
        let clip = Clip::made(name, &args);
        let (probed, _) = encode(&mut control, &worker, &clip).await;
        let frames = if name.starts_with("long") { 225 } else { 75 };
        assert_eq!(probed.grid.frames(), frames, "{name}");
        assert_eq!(probed.source.audio.len(), usize::from(channels > 0), "{name}");
        if channels > 0 {
            let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await.unwrap();
            let init = media::fmp4::init_info(&done.outputs[0].init).unwrap();
            assert_eq!((init.channels, init.sample_rate), (channels, 48_000), "{name}");
        }
    }
}

/// Chapters, a time code, an attached file and a cover image are not encoded and cause no failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chapters_time_codes_and_attachments_are_omitted() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let marks = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=2\ntitle=one\n";
    let marks = Clip::bytes("marks.txt", marks.as_bytes());
    let marks = marks.path().display().to_string();
    let cover = Clip::made("c.png", &["-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"]);
    let cover = cover.path().display().to_string();
    let attached = ["-map", "2", "-c:v:1", "copy", "-disposition:v:1", "attached_pic"];
    for (name, extra) in [
        ("a.mp4", attached.to_vec()),
        ("a.mov", vec!["-timecode", "01:00:00:00"]),
        ("a.mkv", vec!["-attach", &marks, "-metadata:s:t", "mimetype=text/plain"]),
    ] {
        let inputs = [
            ["-f", "lavfi", "-i", "color=gray:s=64x36:r=25:d=5"],
            ["-f", "lavfi", "-i", "sine=440:d=5"],
        ]
        .concat();
        let marked = ["-i", &cover, "-i", &marks, "-map", "0", "-map", "1", "-map_chapters", "3"];
        let options = ["-c:v:0", "libx264", "-preset", "ultrafast", "-c:a", "aac"];
        let clip = Clip::made(name, &[&inputs[..], &marked, &options, &extra].concat());
        let (probed, _) = encode(&mut control, &worker, &clip).await;
        assert_eq!(probed.grid.frames(), 125, "{name}");
    }
}

/// The nearest picture is held while there is only audio: within a chunk, for whole chunks, and for
/// a video of a single frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audio_before_and_after_the_video_is_kept() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for (name, late, pictures, seconds) in [
        ("late.mkv", "2", 3.0, 9),
        ("later.mp4", "5", 3.0, 9),
        ("one.mp4", "0", 0.04, 27),
        ("even.ts", "0", 6.0, 6),
    ] {
        let picture = format!("color=gray:s=64x36:r=25:d={pictures}");
        let sound = format!("sine=440:r=48000:d={seconds}");
        let inputs =
            ["-itsoffset", late, "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
        let clip = Clip::made(name, &[&inputs[..], &X264, &["-c:a", "aac"]].concat());
        let (probed, rendition) = encode(&mut control, &worker, &clip).await;
        // Audio ends with a whole packet.
        let off = probed.grid.frames().abs_diff(seconds * 25);
        assert!(off <= 1, "{name}: {:?}", probed.source.video);
        let brightness = brightness(rendition.path());
        assert!((100.0..150.0).contains(&brightness), "{name}: {brightness}");
    }
}

/// A flipped bit in the source damages a picture but never removes or shifts a frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_sources_keep_their_frames() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = Clip::numbered("a.mkv", "25", 6);
    let mut bytes = fs::read(clip.path()).unwrap();
    let length = bytes.len();
    for part in [3, 5, 7] {
        bytes[length * part / 10] ^= 0x10;
    }
    let damaged = Clip::bytes("a.mkv", &bytes);
    let (probed, _) = encode(&mut control, &worker, &damaged).await;
    assert_eq!(probed.grid.frames(), 150);
}

/// The mean luma of a video.
fn brightness(file: &std::path::Path) -> f64 {
    let raw = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .unwrap()
        .stdout;
    raw.iter().map(|byte| f64::from(*byte)).sum::<f64>() / raw.len() as f64
}
