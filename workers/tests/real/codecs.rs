//! Every codec through the real worker, in the sandbox: every frame exact, the packets checked, and
//! the init segment identical on any machine and with either rate control.

use std::io::Write;

use api::v1;
use media::{Codec, admission::TrackKind, ladder::BUFFER_PERCENT};

use crate::{
    clip::{Clip, numbers},
    control::Control,
    encodes::{Probed, check},
    worker::Worker,
};

/// Changes a chunk's work so that its rungs use `codec`, with a constant rate factor if one is given.
fn only(codec: Codec, crf: Option<u32>, work: v1::lease::Work) -> v1::lease::Work {
    let v1::lease::Work::Chunk(mut work) = work else { panic!("no chunk") };
    for rung in &mut work.rungs {
        rung.codec = codec.text().to_owned();
        rung.crf = crf;
        // As in the built-in profile: at much lower rates, the level in the parameter sets depends on
        // the peak rate, which another release may set differently.
        rung.video_bitrate = 800_000;
        rung.preset = if codec == Codec::Av1 { "12" } else { "ultrafast" }.to_owned();
    }
    v1::lease::Work::Chunk(work)
}

async fn frames_are_exact(codec: Codec, name: &str, rate: &str, options: &[&str]) {
    frames_of(codec, &Clip::with(name, rate, 9, options)).await;
}

async fn frames_of(codec: Codec, clip: &Clip) {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    // Simulates another machine as far as encoders can detect: with different numbers of threads.
    let mut other_control = Control::start().await;
    let other = Worker::start(&mut other_control, &["--worker-threads", "5"]).await;
    let probed = Probed::probe(&mut control, &worker, clip).await;
    let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    let mut init = None;
    for chunk in 0..probed.grid.chunks() {
        // A worker of an earlier release ignores the rate factor of a plan and encodes with an
        // average bit rate; other workers must be able to continue the rendition.
        let crf = (chunk > 0).then_some(codec.default_crf());
        let work = only(codec, crf, probed.chunk(chunk, &[(160, 90)]));
        let (control, worker) =
            if chunk == 0 { (&mut control, &worker) } else { (&mut other_control, &other) };
        let lease = worker.lease(&clip.path(), work);
        let done = control.work(lease).await.unwrap_or_else(|fail| panic!("{codec}: {fail:?}"));
        let output = &done.outputs[0];
        let bytes = check(&worker.store(), TrackKind::Video, &probed.grid, output);
        if chunk == 0 {
            movie.as_file().write_all(&output.init).unwrap();
            let info = media::fmp4::init_info(&output.init).unwrap();
            assert_eq!(Codec::of_rfc6381(&info.codec), Some(codec));
        }
        assert_eq!(init.get_or_insert(output.init.clone()), &output.init, "{codec} chunk {chunk}");
        movie.as_file().write_all(&bytes).unwrap();
    }
    let expected: Vec<usize> = (0..probed.grid.frames() as usize).collect();
    assert_eq!(numbers(movie.path()), expected, "{codec}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_h264_are_exact_across_chunks_and_machines() {
    frames_are_exact(Codec::H264, "a.mp4", "25", &["-g", "50", "-c:a", "aac"]).await;
    frames_are_exact(Codec::H264, "b.mkv", "15", &["-g", "240", "-c:a", "aac"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_hevc_are_exact_across_chunks_and_machines() {
    frames_are_exact(Codec::Hevc, "a.mp4", "25", &["-g", "50", "-c:a", "aac"]).await;
    frames_are_exact(Codec::Hevc, "b.mkv", "15", &["-g", "240", "-c:a", "aac"]).await;
}

/// GOPs of 40 frames: the last one of chunk 1 has 42.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_frames_are_placed_where_the_last_gop_takes_a_remainder() {
    let clip = Clip::with("a.mp4", "101/5", 10, &["-c:a", "aac"]);
    frames_of(Codec::H264, &clip).await;
    frames_of(Codec::Hevc, &clip).await;
    frames_of(Codec::Av1, &clip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_av1_are_exact_across_chunks_and_machines() {
    frames_are_exact(Codec::Av1, "a.mp4", "25", &["-g", "50", "-c:a", "aac"]).await;
    frames_are_exact(Codec::Av1, "b.mkv", "30000/1001", &["-g", "240", "-c:a", "aac"]).await;
}

/// Control declares `BANDWIDTH` from the cap before anything is encoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bit_rate_caps_a_constant_rate_factor() {
    const BITRATE: u64 = 100_000;
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let noise = "color=gray:s=160x90:r=25:d=9,noise=alls=60:allf=t";
    let clip = Clip::made("a.mp4", &["-f", "lavfi", "-i", noise, "-pix_fmt", "yuv420p"]);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    for codec in [Codec::H264, Codec::Hevc] {
        // Without the cap, nearly lossless pictures would need many times the bit rate.
        let work = only(codec, Some(1), probed.chunk(1, &[(160, 90)]));
        let v1::lease::Work::Chunk(mut work) = work else { panic!("no chunk") };
        work.rungs[0].video_bitrate = BITRATE;
        work.rungs[0].preset = "superfast".to_owned();
        let frames = probed.grid.chunk_frames(1);
        let seconds = probed.grid.seconds(frames.end) - probed.grid.seconds(frames.start);
        let lease = worker.lease(&clip.path(), v1::lease::Work::Chunk(work));
        let done = control.work(lease).await.unwrap_or_else(|fail| panic!("{codec}: {fail:?}"));
        let bits = done.outputs[0].bytes as f64 * 8.0;
        // The buffer is filled to 0.4 at the start. Samples come with boxes.
        let boxes = 16.0 * 8.0 * (frames.end - frames.start) as f64;
        let cap = 100.0 * seconds + 0.4 * BUFFER_PERCENT as f64;
        let most = BITRATE as f64 / 100.0 * cap + boxes;
        let least = BITRATE as f64 * 0.9 * seconds;
        assert!(bits > least && bits <= most, "{codec}: {bits}, not {least} to {most}");
    }
}
