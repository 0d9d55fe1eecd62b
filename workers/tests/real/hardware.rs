//! Hardware encoders. The machines that run the tests have none, so a script in place of FFmpeg
//! encodes in software where NVENC is requested. The other hardware encoders fail.

use std::path::Path;

use api::v1;
use media::fmp4::TrackKind;

use crate::{
    clip::{Clip, numbers},
    control::Control,
    encodes::{Probed, check},
    worker::{Worker, script},
};

/// Replaces NVENC and its options by x264's.
const IN_SOFTWARE: &str = r#"
args=()
while [ $# -gt 0 ]; do
  case "$1" in
    h264_nvenc) args+=(libx264 -sc_threshold 0 -x264-params b-pyramid=none) ;;
    -rc|-no-scenecut|-strict_gop|-b_ref_mode|-a53cc|-b:v) shift ;;
    p4) args+=(veryfast) ;;
    -cq) args+=(-crf) ;;
    *) args+=("$1") ;;
  esac
  shift
done
exec ffmpeg "${args[@]}""#;

/// The hardware encoders that a worker announces.
async fn announces(flags: &[&str]) -> Vec<String> {
    let mut control = Control::start().await;
    let _worker = Worker::start(&mut control, flags).await;
    let encoders = control.encoders();
    assert!(encoders.iter().any(|name| name == "libx264"), "{encoders:?}");
    encoders.into_iter().filter(|name| name.starts_with("h264_")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_hardware_encoders_that_pass_a_trial_are_announced() {
    let folder = tempfile::tempdir().unwrap();
    let ffmpeg = script(folder.path(), IN_SOFTWARE);
    let ffmpeg = ["--ffmpeg", ffmpeg.to_str().unwrap()];
    let device = ["--hardware-devices", "/dev/null"];
    // FFmpeg lists all three, but the machine lacks the hardware.
    assert!(announces(&device).await.is_empty());
    assert!(announces(&ffmpeg).await.is_empty(), "no device is configured");
    assert_eq!(announces(&[ffmpeg, device].concat()).await, ["h264_nvenc"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_a_hardware_encoder_are_exact_across_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let ffmpeg = script(folder.path(), IN_SOFTWARE);
    let mut control = Control::start().await;
    let flags = ["--ffmpeg", ffmpeg.to_str().unwrap(), "--hardware-devices", "/dev/null"];
    let worker = Worker::start(&mut control, &flags).await;
    // GOPs of 40 frames: the last one of chunk 1 has 42.
    let clip = Clip::with("a.mp4", "101/5", 10, &["-c:a", "aac"]);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let sizes = [(320, 180), (160, 90)];
    let mut joined = [Vec::new(), Vec::new()];
    for chunk in 0..probed.grid.chunks() {
        let v1::lease::Work::Chunk(mut work) = probed.chunk(chunk, &sizes) else {
            panic!("{chunk}")
        };
        for rung in &mut work.rungs {
            rung.encoder = "h264_nvenc".to_owned();
            rung.crf = Some(30);
        }
        let lease = worker.lease(&clip.path(), v1::lease::Work::Chunk(work));
        let done = control.work(lease).await.unwrap();
        for (joined, output) in joined.iter_mut().zip(&done.outputs) {
            if chunk == 0 {
                joined.extend(&output.init);
            }
            joined.extend(check(&worker.store(), TrackKind::Video, &probed.grid, output));
        }
    }
    let expected: Vec<usize> = (0..probed.grid.frames() as usize).collect();
    for (bytes, size) in joined.iter().zip(sizes) {
        let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
        std::fs::write(movie.path(), bytes).unwrap();
        assert_eq!(numbers(Path::new(movie.path())), expected, "{size:?}");
    }
}
