//! `chunk(n)`: encodes one chunk of the grid in one or all rungs.

use std::{fs, path::Path, time::Duration};

use api::v1;
use media::{
    Codec, Grid,
    fmp4::{Mp4Error, rewrite, samples},
    ladder::Rung,
    source::VideoTrack,
};
use tokio::task::spawn_blocking;

use super::{Task, TaskIo, invalid, report, required};
use crate::{
    ffmpeg::{
        Toolbox,
        args::{self, ChunkEncode, Preroll},
        hardware,
        run::{self, Run},
    },
    outcome::{TaskError, TaskFailure},
    packet_check,
};

/// Wall-clock time allowed per second of the video, and for starting up: any real source is far
/// faster.
const SLOWNESS_MAX: f64 = 150.0;
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// The output may exceed its bit rate by this factor before the run is stopped.
const EXCESS_MAX: u64 = 6;
const FILE_BYTES_MIN: u64 = 64 << 20;
/// Address space that SVT-AV1 1.4 needs per pixel of the frame, rounded up (measured at 3840x2160).
const AV1_PIXEL_BYTES: u64 = 1024;
/// HEVC and AV1 take several times as long per frame, and report no progress while they look ahead.
const SLOW_LOOKAHEAD: u32 = 4;

pub(super) async fn run(
    task: &Task,
    task_io: &TaskIo<'_>,
    work: v1::ChunkWork,
    scratch: &Path,
) -> Result<(), TaskError> {
    let seeking = Seeking::of(&task_io.source.peek(0, 512).await);
    let plan = Plan::of(task, work, seeking)?;
    let mut preroll = seeking.preroll(task.lease.attempt);
    let made = loop {
        plan.encode(task, task_io, scratch, preroll).await?;
        match plan.read_outputs(scratch).await {
            Ok(made) => break made,
            // Decoding started too late, or too early in a damaged file: retry at once with a
            // longer preroll, but leave decoding from the start to another attempt.
            Err(ChunkError::FrameCount(failure)) => match preroll.longer() {
                Some(Preroll::FromStart) | None => return Err(failure.into()),
                Some(longer) => preroll = longer,
            },
            Err(ChunkError::Other(failure)) => return Err(failure.into()),
        }
    };
    let mut outputs = Vec::with_capacity(made.len());
    for (rung, made) in plan.rungs.iter().zip(made) {
        outputs.push(task_io.store(&rung.name, made).await?);
    }
    task.committer.commit(outputs, true, None).await
}

struct Plan {
    grid: Grid,
    chunk: u32,
    rungs: Vec<Rung>,
    track: VideoTrack,
    preset: String,
    threads: u32,
    untimed: bool,
}

/// Why FFmpeg's output cannot be used.
enum ChunkError {
    /// Frames are missing.
    FrameCount(TaskFailure),
    /// Any other problem.
    Other(TaskFailure),
}

impl Plan {
    fn of(task: &Task, work: v1::ChunkWork, seeking: Seeking) -> Result<Self, TaskFailure> {
        let grid: Grid = required("grid", work.grid)?;
        let rungs = work.rungs.into_iter().map(|rung| required("rungs", Some(rung)));
        let rungs = rungs.collect::<Result<Vec<Rung>, TaskFailure>>()?;
        if work.chunk >= grid.chunks() || rungs.is_empty() {
            return Err(invalid("chunk"));
        }
        if !work.preset.chars().all(|c| c.is_ascii_alphanumeric()) || work.preset.is_empty() {
            return Err(invalid("preset"));
        }
        let context = &task.context;
        let threads = if work.urgent { context.urgent_threads } else { context.threads };
        let track = required("track", work.track)?;
        let untimed = seeking == Seeking::Untimed;
        Ok(Self { grid, chunk: work.chunk, rungs, track, preset: work.preset, threads, untimed })
    }

    fn seconds(&self) -> f64 {
        let frames = self.grid.chunk_frames(self.chunk);
        self.grid.seconds(frames.end) - self.grid.seconds(frames.start)
    }

    async fn encode(
        &self,
        task: &Task,
        task_io: &TaskIo<'_>,
        scratch: &Path,
        preroll: Preroll,
    ) -> Result<(), TaskFailure> {
        let encode = ChunkEncode {
            source: task_io.source.input(),
            track: &self.track,
            grid: &self.grid,
            chunk: self.chunk,
            rungs: &self.rungs,
            preset: &self.preset,
            threads: self.threads,
            preroll,
            untimed: self.untimed,
            device: hardware::node(&task.context.devices),
        };
        // Decoding from the start reports no progress until it reaches the chunk.
        let start = self.grid.seconds(self.grid.chunk_frames(self.chunk).start);
        let before = if preroll == Preroll::FromStart { start } else { 15.0 };
        let slowest = Duration::from_secs_f64((self.seconds() + before) * SLOWNESS_MAX);
        let toolbox = self.toolbox(task);
        let run = Run {
            program: toolbox.ffmpeg.clone(),
            args: args::chunk(&encode),
            source: Some(task_io.source.input().clone()),
            scratch: scratch.to_owned(),
            time_max: START_TIME_MAX + slowest,
            stall_max: toolbox.stall * self.lookahead() + Duration::from_secs_f64(before),
            file_bytes_max: self.file_bytes_max(),
        };
        let mut running = run::start(&toolbox, run)?;
        let progress = std::sync::Arc::clone(&running.progress);
        let frames = self.grid.chunk_frames(self.chunk);
        let count = (frames.end - frames.start) as f64;
        let wait = async {
            // The outputs are files; anything on standard output is ignored.
            while running.next().await?.is_some() {}
            Ok(())
        };
        tokio::select! {
            finished = wait => finished,
            () = report(&progress, &task.progress, |p| p.frames() as f64 / count) => Ok(()),
        }
    }

    /// Adds the address space that SVT-AV1 reserves, which depends on the frame size, and the devices
    /// of a hardware encoder.
    fn toolbox(&self, task: &Task) -> Toolbox {
        let mut toolbox = task.context.toolbox.clone();
        if self.rungs.iter().any(|rung| rung.hardware.is_some()) {
            toolbox.devices.clone_from(&task.context.devices);
        }
        let av1 = self.rungs.iter().filter(|rung| rung.codec == Codec::Av1);
        let pixels: u64 = av1.map(|rung| u64::from(rung.width) * u64::from(rung.height)).sum();
        toolbox.memory_bytes = toolbox.memory_bytes.saturating_add(pixels * AV1_PIXEL_BYTES);
        toolbox
    }

    /// By how much longer than x264 an encoder may look ahead before its first frame.
    fn lookahead(&self) -> u32 {
        let slow = self.rungs.iter().any(|rung| rung.codec != Codec::H264);
        if slow { SLOW_LOOKAHEAD } else { 1 }
    }

    fn file_bytes_max(&self) -> u64 {
        let rate = self.rungs.iter().map(|rung| rung.video_bitrate).max().unwrap_or(0);
        let expected = (rate as f64 / 8.0 * self.seconds()) as u64;
        (expected * EXCESS_MAX).max(FILE_BYTES_MIN)
    }

    /// Rewrites every rung's output onto the grid and compares it with the encoder's packets.
    async fn read_outputs(&self, scratch: &Path) -> Result<Vec<rewrite::Rewritten>, ChunkError> {
        let mut made = Vec::with_capacity(self.rungs.len());
        for rung in &self.rungs {
            let movie = scratch.join(args::movie_name(rung));
            let packets = scratch.join(args::checksums_name(rung));
            let (grid, chunk, codec) = (self.grid, self.chunk, rung.codec);
            let rewritten =
                spawn_blocking(move || rewrite_checked(codec, &movie, &packets, &grid, chunk));
            let panicked = |_| {
                ChunkError::Other(TaskFailure::retryable(
                    "internal",
                    "rewrite output: the thread panicked",
                ))
            };
            made.push(rewritten.await.map_err(panicked)??);
        }
        Ok(made)
    }
}

fn rewrite_checked(
    codec: Codec,
    movie: &Path,
    packets: &Path,
    grid: &Grid,
    chunk: u32,
) -> Result<rewrite::Rewritten, ChunkError> {
    let io = |error| ChunkError::Other(TaskFailure::io("read encoder output", &error));
    let movie = fs::read(movie).map_err(io)?;
    let packets = fs::read_to_string(packets).map_err(io)?;
    let damaged = |message: String| TaskFailure::retryable("output_refused", message);
    let made = rewrite::video_chunk(&movie, grid, chunk).map_err(|error| {
        let failure = damaged(error.to_string());
        match error {
            Mp4Error::SampleCount { .. } => ChunkError::FrameCount(failure),
            _ => ChunkError::Other(failure),
        }
    })?;
    let views = samples(&movie).map_err(|error| ChunkError::Other(damaged(error.to_string())))?;
    packet_check::compare(codec, &packets, &views)
        .map_err(|error| ChunkError::Other(damaged(error.to_string())))?;
    Ok(made)
}

/// How FFmpeg finds a chunk in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeking {
    /// By an index, to the key frame before it.
    Indexed,
    /// By estimation, to any place before it: MPEG transport and program streams.
    Estimated,
    /// By reading from the start: GIF.
    FromStart,
    /// By counting pictures from the start: raw H.264 and HEVC.
    Untimed,
}

impl Seeking {
    /// The way for a file that starts with `head`.
    fn of(head: &[u8]) -> Self {
        const PACKET: usize = 188;
        const TIMED_PACKET: usize = 192;
        let sync =
            |at: usize, step| head.get(at) == Some(&0x47) && head.get(at + step) == Some(&0x47);
        match head {
            [] => Self::Estimated,
            [0, 0, 1, 0xba, ..] => Self::Estimated,
            // A start code and the header of a NAL unit.
            [0, 0, 1, unit, ..] | [0, 0, 0, 1, unit, ..] if unit & 0x80 == 0 => Self::Untimed,
            [b'G', b'I', b'F', b'8', ..] => Self::FromStart,
            _ if sync(0, PACKET) || sync(4, TIMED_PACKET) => Self::Estimated,
            _ => Self::Indexed,
        }
    }

    /// Later attempts use a longer preroll.
    fn preroll(self, attempt: u32) -> Preroll {
        match (self, attempt) {
            (Self::FromStart | Self::Untimed, _) => Preroll::FromStart,
            (Self::Indexed, 0 | 1) => Preroll::Short,
            (_, 0..=2) => Preroll::Long,
            _ => Preroll::FromStart,
        }
    }
}
