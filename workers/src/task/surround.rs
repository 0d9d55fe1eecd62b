//! `surround(track)`: makes the surround rendition of an audio track, by encoding AAC or by copying
//! the Dolby track of the source.

use std::{path::Path, time::Duration};

use api::v1;
use media::{
    Grid,
    fmp4::{
        Mp4Error,
        copied::{CopiedFormat, CopiedRewriter},
    },
    source::{AudioTrack, VideoTrack},
    surround::{self, SurroundCodec},
};

use super::{
    Task, TaskIo,
    audio::{self, Publisher, Rewriter},
    invalid, required,
};
use crate::{
    ffmpeg::{
        args::{self, AudioEncode},
        run::{self, Run},
    },
    outcome::{TaskError, TaskFailure},
};

/// Wall-clock time allowed for encoding a few units of silence.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(60);
/// Maximum size of these units, in bytes.
const SILENCE_BYTES_MAX: usize = 64 << 10;

pub(super) async fn run(
    task: &Task,
    task_io: &TaskIo<'_>,
    work: v1::SurroundWork,
    scratch: &Path,
) -> Result<(), TaskError> {
    let codec = SurroundCodec::parse(&work.codec).ok_or_else(|| invalid("codec"))?;
    let grid: Grid = required("grid", work.grid)?;
    let video = work.video.map(|video| required::<_, VideoTrack>("video", Some(video)));
    let video = video.transpose()?;
    let track: AudioTrack = required("track", work.track)?;
    let rendition = surround::rendition(work.number);
    let publisher =
        |rewriter| Publisher::new(task, task_io, rendition, work.first_chunk, (&grid, rewriter));
    if codec == SurroundCodec::Aac {
        let encode = AudioEncode {
            source: task_io.source.input(),
            track: &track,
            video: video.as_ref(),
            grid: &grid,
            channels: surround::CHANNELS,
            bitrate: work.bitrate,
            threads: task.context.threads,
        };
        return audio::encode(task, &encode, publisher(Rewriter::encoded(&grid)), scratch).await;
    }
    let origin = video.as_ref().map(args::copied_origin);
    let publisher = publisher(Rewriter::Copied(CopiedRewriter::new(grid, origin)));
    copy(task, (task_io, &track), &grid, publisher, scratch).await
}

/// Copies a Dolby track that is not joined from several recordings.
async fn copy(
    task: &Task,
    (task_io, track): (&TaskIo<'_>, &AudioTrack),
    grid: &Grid,
    mut publisher: Publisher<'_>,
    scratch: &Path,
) -> Result<(), TaskError> {
    let toolbox = &task.context.toolbox;
    let source = task_io.source.input();
    let mut running = run::start(
        toolbox,
        Run {
            program: toolbox.ffmpeg.clone(),
            args: args::copied_audio(source, track.index),
            source: Some(source.clone()),
            scratch: scratch.to_owned(),
            time_max: audio::time_max(grid),
            stall_max: toolbox.stall,
            file_bytes_max: 1 << 20,
        },
    )?;
    let mut silent = false;
    while let Some(bytes) = running.next().await? {
        publisher.push(&bytes).map_err(uncopyable)?;
        if let (false, Rewriter::Copied(rewriter)) = (silent, &mut publisher.rewriter)
            && let Some(format) = rewriter.format()
        {
            rewriter.set_silence(&silence(task, format, scratch).await?).map_err(uncopyable)?;
            silent = true;
        }
        if let Some(chunk) = publisher.publish().await? {
            task.progress.set(f64::from(chunk + 1) / f64::from(grid.chunks()), 0.0);
        }
    }
    publisher.finish().await
}

/// A few units of silence in `format`.
async fn silence(
    task: &Task,
    format: CopiedFormat,
    scratch: &Path,
) -> Result<Vec<u8>, TaskFailure> {
    let toolbox = &task.context.toolbox;
    let run = Run {
        program: toolbox.ffmpeg.clone(),
        args: args::silence(format),
        source: None,
        scratch: scratch.to_owned(),
        time_max: SILENCE_TIME_MAX,
        stall_max: toolbox.stall,
        file_bytes_max: 1 << 20,
    };
    let (mut running, mut silence) = (run::start(toolbox, run)?, Vec::new());
    while let Some(bytes) = running.next().await? {
        if silence.len() + bytes.len() <= SILENCE_BYTES_MAX {
            silence.extend_from_slice(&bytes);
        }
    }
    Ok(silence)
}

/// A track that the format of the copy does not support is not supported by other workers either.
fn uncopyable(error: Mp4Error) -> TaskFailure {
    match error {
        Mp4Error::Unsupported(_) => TaskFailure::permanent("unsupported_audio", error.to_string()),
        error => audio::damaged(error),
    }
}
