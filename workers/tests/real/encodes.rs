//! Chunks and audio from real files: every frame exactly once, in order, on the grid; control would
//! admit them unchanged.

use std::{fs, io::Write, path::Path};

use api::v1;
use media::{
    Grid,
    admission::{TrackKind, admit},
    source::{AudioTrack, Source},
};

use crate::{
    clip::{Clip, numbers},
    control::Control,
    worker::Worker,
};

/// A probed source with its grid.
pub(crate) struct Probed {
    pub(crate) source: Source,
    pub(crate) grid: Grid,
}

impl Probed {
    pub(crate) async fn probe(control: &mut Control, worker: &Worker, clip: &Clip) -> Self {
        let done = control.work(worker.probe(&clip.path())).await.unwrap();
        Self::of(done.source.unwrap())
    }

    pub(crate) fn of(report: v1::SourceReport) -> Self {
        let source = Source::try_from(report).unwrap();
        let grid = source.grid().unwrap();
        Self { source, grid }
    }

    pub(crate) fn chunk(&self, chunk: u32, rungs: &[(u32, u32)]) -> v1::lease::Work {
        let rung = |(width, height): &(u32, u32)| v1::Rung {
            name: format!("{height}p"),
            width: *width,
            height: *height,
            video_bitrate: 200_000,
            ..v1::Rung::default()
        };
        v1::lease::Work::Chunk(v1::ChunkWork {
            grid: Some(self.grid.into()),
            chunk,
            rungs: rungs.iter().map(rung).collect(),
            preset: "veryfast".to_owned(),
            track: self.source.video.clone().map(Into::into),
            urgent: chunk == 0,
        })
    }

    pub(crate) fn audio(&self, first_chunk: u32) -> v1::lease::Work {
        let track: AudioTrack = self.source.audio[0].clone();
        v1::lease::Work::Audio(v1::AudioWork {
            grid: Some(self.grid.into()),
            number: 0,
            track: Some(track.into()),
            video: self.source.video.clone().map(Into::into),
            bitrate: 96_000,
            first_chunk,
        })
    }
}

/// The checks that control makes before it accepts an output.
pub(crate) fn check(store: &Path, kind: TrackKind, grid: &Grid, output: &v1::Output) -> Vec<u8> {
    let bytes = fs::read(store.join(&output.key)).unwrap();
    assert_eq!(bytes.len() as u64, output.bytes);
    assert_eq!(workers::output::digest(&bytes)[..], output.sha256[..]);
    admit(kind, grid, output.chunk, &output.init, &bytes).unwrap();
    bytes
}

/// Encodes 26 s of numbered pictures in a source with these output options, and checks that each picture
/// is shown once.
pub(crate) async fn frames_are_exact(name: &str, rate: &str, options: &[&str]) {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = Clip::with(name, rate, 26, options);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    assert_eq!(probed.grid.chunks(), 3);
    let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    let mut init = None;
    for chunk in 0..probed.grid.chunks() {
        let lease = worker.lease(&clip.path(), probed.chunk(chunk, &[(160, 90)]));
        let done = control.work(lease).await.unwrap_or_else(|fail| panic!("{name}: {fail:?}"));
        let output = &done.outputs[0];
        let bytes = check(&worker.store(), TrackKind::Video, &probed.grid, output);
        if chunk == 0 {
            movie.as_file().write_all(&output.init).unwrap();
        }
        assert_eq!(init.get_or_insert(output.init.clone()), &output.init, "{name}");
        movie.as_file().write_all(&bytes).unwrap();
    }
    let found = numbers(movie.path());
    let expected: Vec<usize> = (0..probed.grid.frames() as usize).collect();
    assert_eq!(found, expected, "{name}");
}

/// The source has 26 s at 20.2 frames per second, so 525 frames or 13 GOPs of 40 frames and 5 more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_where_the_last_gop_takes_a_remainder() {
    frames_are_exact("a.mp4", "101/5", &AAC).await;
}

const AAC: [&str; 4] = ["-g", "50", "-c:a", "aac"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_24_frames_per_second_in_matroska() {
    frames_are_exact("a.mkv", "24000/1001", &AAC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_television_rates() {
    frames_are_exact("a.mp4", "25", &AAC).await;
    frames_are_exact("b.mp4", "30000/1001", &AAC).await;
    frames_are_exact("c.avi", "25", &AAC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_at_high_rates() {
    frames_are_exact("a.mkv", "60", &AAC).await;
    frames_are_exact("b.mp4", "50", &AAC).await;
}

/// Open GOPs, long intervals between key frames, and a container in which FFmpeg cannot seek to key
/// frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_where_seeking_is_hard() {
    let open = ["-g", "240", "-keyint_min", "240", "-x264-params", "open-gop=1", "-c:a", "aac"];
    frames_are_exact("a.mp4", "24", &open).await;
    frames_are_exact("b.ts", "25", &["-g", "100", "-c:a", "aac"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rung_comes_from_one_task_and_audio_is_published_chunk_by_chunk() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = Clip::numbered("a.mp4", "25", 26);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let lease = worker.lease(&clip.path(), probed.chunk(1, &[(160, 90), (320, 180)]));
    let done = control.work(lease).await.unwrap();
    let names: Vec<_> = done.outputs.iter().map(|o| o.rendition.as_str()).collect();
    assert_eq!((names, done.commits), (vec!["90p", "180p"], 1));
    for output in &done.outputs {
        check(&worker.store(), TrackKind::Video, &probed.grid, output);
        let init = media::fmp4::init_info(&output.init).unwrap();
        assert!(init.codec.starts_with("avc1.64"), "{}", init.codec);
    }

    let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await.unwrap();
    assert_eq!(done.outputs.iter().map(|o| o.chunk).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(done.commits, 3);
    let whole: Vec<_> = done.outputs.iter().collect();
    for output in &whole {
        check(&worker.store(), TrackKind::Audio, &probed.grid, output);
        assert_eq!(output.rendition, "audio-0");
    }
    // A later attempt produces the same bytes and publishes from the chunk where the first one
    // stopped.
    let again = control.work(worker.lease(&clip.path(), probed.audio(1))).await.unwrap();
    assert_eq!(again.outputs.iter().map(|o| o.chunk).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(again.outputs[0].sha256, whole[1].sha256);
    worker.until(|| worker.task_folders() == 0).await;
}

/// Silence is added where the source has no audio. Less than half a second of audio before the
/// first picture is cut off; if there is more, the video starts with that audio.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audio_stays_in_sync_wherever_it_starts_in_the_file() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let picture = "color=black:s=64x36:r=25:d=6";
    // A beep of one second, starting at BEGIN in the audio track. `due` is when it must start in
    // the output.
    let beep = "aevalsrc='if(between(t,BEGIN,END),0.5*sin(880*2*PI*t),0)':d=4:s=44100";
    for (offset, begin, due) in [("1", 1.0, 2.0), ("-0.4", 2.4, 2.0), ("-1", 3.0, 3.0)] {
        let beep =
            beep.replace("BEGIN", &begin.to_string()).replace("END", &(begin + 1.0).to_string());
        let clip = Clip::made(
            "a.mkv",
            &[
                "-f",
                "lavfi",
                "-i",
                picture,
                "-itsoffset",
                offset,
                "-f",
                "lavfi",
                "-i",
                &beep,
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-c:a",
                "aac",
                "-ac",
                "1",
            ],
        );
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        let done = control.work(worker.lease(&clip.path(), probed.audio(0))).await.unwrap();
        let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
        movie.as_file().write_all(&done.outputs[0].init).unwrap();
        for output in &done.outputs {
            let bytes = check(&worker.store(), TrackKind::Audio, &probed.grid, output);
            movie.as_file().write_all(&bytes).unwrap();
        }
        let (start, end) = loud_seconds(movie.path());
        let off = (start - due).abs().max((end - due - 1.0).abs());
        assert!(off < 0.03, "{offset}: {start} {end}");
    }
}

/// When the audio starts and ends, in seconds.
fn loud_seconds(file: &Path) -> (f64, f64) {
    let output = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-f", "s16le", "-ac", "1", "-ar", "48000", "-"])
        .output()
        .unwrap();
    let samples = output.stdout.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]]));
    let loud: Vec<usize> =
        samples.enumerate().filter(|(_, s)| s.unsigned_abs() > 4000).map(|(n, _)| n).collect();
    (loud[0] as f64 / 48_000.0, loud[loud.len() - 1] as f64 / 48_000.0)
}
