//! Runs FFmpeg with the arguments that workers use, on tiny generated videos.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use media::{FrameRate, Grid, fmp4::rewrite::Rewritten};

/// A private folder, removed on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("media-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program to success and returns its standard output.
pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    output.stdout
}

/// FFmpeg's options for fragmented video.
pub(crate) const MOVFLAGS: [&str; 3] = [
    "+frag_keyframe+empty_moov+default_base_moof",
    "+frag_keyframe+empty_moov+default_base_moof+cmaf+negative_cts_offsets",
    "+frag_every_frame+empty_moov+default_base_moof",
];

/// Encodes one chunk of a test pattern in the same way as a worker: times start at 0 in every file.
pub(crate) fn encode_video(
    grid: &Grid,
    chunk: u32,
    movflags: &str,
    size: &str,
    folder: &Path,
) -> Vec<u8> {
    let FrameRateText { rate, timescale } = text(grid.rate());
    let frames = grid.chunk_frames(chunk);
    let source = format!("testsrc2=s={size}:r={rate}");
    let trim = format!(
        "trim=start_frame={}:end_frame={},setpts=PTS-STARTPTS,format=yuv420p",
        frames.start, frames.end
    );
    let gop = grid.gop_frames().to_string();
    let last = grid.gop(grid.chunk_gops(chunk).end - 1);
    let longest = u64::from(grid.gop_frames()).max(last.end - last.start).to_string();
    let forced = format!("expr:lte(n,{})*not(mod(n,{gop}))", last.start - frames.start);
    let name = format!("chunk-{chunk}.mp4");
    #[rustfmt::skip]
    let arguments = [
        "-v", "error", "-y", "-f", "lavfi", "-i", &source, "-vf", &trim,
        "-frames:v", &(frames.end - frames.start).to_string(),
        "-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-b:v", "200k",
        "-g", &longest, "-keyint_min", &gop, "-sc_threshold", "0", "-flags", "+cgop+global_header",
        "-force_key_frames", &forced,
        "-video_track_timescale", &timescale, "-f", "mp4", "-movflags", movflags, &name,
    ];
    run("ffmpeg", &arguments, folder);
    fs::read(folder.join(name)).unwrap()
}

/// Encodes a tone that covers all of `grid` and slightly more.
pub(crate) fn encode_audio(grid: &Grid, fragment_us: u32, folder: &Path) -> Vec<u8> {
    let seconds = (grid.duration() + 0.1).to_string();
    #[rustfmt::skip]
    let arguments = [
        "-v", "error", "-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=48000", "-t", &seconds,
        "-ac", "2", "-c:a", "aac", "-b:a", "96k", "-f", "mp4",
        "-movflags", "+empty_moov+default_base_moof",
        "-frag_duration", &fragment_us.to_string(), "pipe:1",
    ];
    run("ffmpeg", &arguments, folder)
}

struct FrameRateText {
    rate: String,
    timescale: String,
}

fn text(rate: FrameRate) -> FrameRateText {
    FrameRateText {
        rate: format!("{}/{}", rate.num(), rate.den()),
        timescale: rate.timescale().to_string(),
    }
}

/// Init segment and chunks, concatenated into one file.
pub(crate) fn joined(chunks: &[Rewritten]) -> Vec<u8> {
    let mut all = chunks[0].init.clone();
    for chunk in chunks {
        assert_eq!(chunk.init, chunks[0].init);
        all.extend_from_slice(&chunk.bytes);
    }
    all
}
