//! Variable frame rates: every picture of the source is shown, and none is moved by a frame or more.

use std::io::Write;

use media::admission::TrackKind;

use crate::{
    clip::{Clip, numbers},
    control::Control,
    encodes::{Probed, check},
    worker::Worker,
};

const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"];
const VP8: [&str; 6] = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"];

/// The pictures that all chunks of `clip` show, in their order.
async fn shown(control: &mut Control, worker: &Worker, clip: &Clip, probed: &Probed) -> Vec<usize> {
    let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    for chunk in 0..probed.grid.chunks() {
        let lease = worker.lease(&clip.path(), probed.chunk(chunk, &[(320, 180)]));
        let done = control.work(lease).await.unwrap();
        let output = &done.outputs[0];
        let bytes = check(&worker.store(), TrackKind::Video, &probed.grid, output);
        if chunk == 0 {
            movie.as_file().write_all(&output.init).unwrap();
        }
        movie.as_file().write_all(&bytes).unwrap();
    }
    numbers(movie.path())
}

/// Whether picture `n` of a phone is missing.
const fn is_dropped(n: usize) -> bool {
    n % 41 == 40
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_picture_of_a_variable_rate_is_shown() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    // The time of each picture in seconds, as an expression of FFmpeg.
    let bursts = "floor(N/10)*0.8331+mod(N,10)/30+0.0003*random(0)";
    let jitter = "N/30+0.016*random(0)";
    let phone = "if(N,PREV_OUTT+1/(29.6+0.8*random(0)),0)";
    let sixty = "N/59.94+0.006*random(0)";
    let telecined = "floor((N*5+1)/2)*1001/60000";
    let alternating = "floor(N/2)/15+mod(N,2)*0.02";
    for (name, options, times, count, rates) in [
        ("bursts.mp4", &X264, bursts, 100, &[(30, 1)][..]),
        ("recorder.webm", &VP8, jitter, 200, &[(30, 1)]),
        ("phone.mp4", &X264, phone, 300, &[(30, 1), (303, 10)]),
        ("sixty.webm", &VP8, sixty, 420, &[(60, 1)]),
        ("telecined.mkv", &X264, telecined, 100, &[(60_000, 1001)]),
        ("alternating.mov", &X264, alternating, 150, &[(45, 1)]),
        ("slides.mkv", &X264, "N*9", 3, &[(10, 1)]),
    ] {
        let clip = Clip::timed(name, times, count, options);
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        let video = probed.source.video.as_ref().unwrap();
        assert!(rates.contains(&probed.grid.rate().into()), "{name}: {video:?}");
        assert_eq!((video.hidden, video.examined > 0), (0, true), "{name}: {video:?}");
        let mut found = shown(&mut control, &worker, &clip, &probed).await;
        assert!(found.is_sorted(), "{name}: {found:?}");
        found.dedup();
        let missing: Vec<usize> = (0..count).filter(|n| !found.contains(n)).collect();
        assert_eq!(missing, [0; 0], "{name}: {video:?}");
    }
    // Some pictures are not in the file at all.
    let dropping = ["-vf", "select='not(eq(mod(n,41),40))'"];
    let clip = Clip::timed("dropping.mp4", phone, 300, &[&X264[..], &dropping].concat());
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let mut found = shown(&mut control, &worker, &clip, &probed).await;
    found.dedup();
    assert!(found.into_iter().eq((0..300).filter(|n| !is_dropped(*n))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_beyond_sixty_per_second_are_counted() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for (name, times, count, rate, hidden) in [
        ("fast.mp4", "N/120", 300, (120, 1), 149..=150),
        // Five pictures within 20 ms.
        ("dense.mkv", "floor(N/5)/10+mod(N,5)*0.005", 100, (60, 1), 20..=60),
    ] {
        let clip = Clip::timed(name, times, count, &X264);
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        let video = probed.source.video.as_ref().unwrap();
        assert_eq!((video.frame_rate, video.examined), (rate, count as u64), "{name}: {video:?}");
        assert!(hidden.contains(&video.hidden), "{name}: {video:?}");
        let mut found = shown(&mut control, &worker, &clip, &probed).await;
        found.dedup();
        assert_eq!(count - found.len(), video.hidden as usize, "{name}: {found:?}");
    }
}
