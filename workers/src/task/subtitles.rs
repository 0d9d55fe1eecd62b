//! `subtitles(track)`: one text track of the source, as WebVTT in its canonical form.

mod closed;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use api::v1;
use bytes::Bytes;
use media::{
    Grid,
    captions::{self, CAPTIONS_BYTES_MAX, CaptionError, Captions, Format, ParseBudget, Window},
    source::{MATROSKA_WEBVTT, TextTrack, VideoTrack},
};
use tokio::task::spawn_blocking;

use super::{Task, TaskIo, invalid, required};
use crate::{
    ffmpeg::{
        args,
        run::{self, Run},
        text_blocks,
    },
    outcome::{TaskError, TaskFailure},
};

/// Maximum wall-clock time per second of video, and for starting up. FFmpeg reads the whole source
/// for a few cues and outputs nothing between them.
const SLOWNESS_MAX: f64 = 1.0;
const START_TIME_MAX: Duration = Duration::from_secs(300);
/// How long parsing the track may take; the largest takes a fraction of a second.
const PARSE_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(
    task: &Task,
    task_io: &TaskIo<'_>,
    work: v1::SubtitlesWork,
    scratch: &Path,
) -> Result<(), TaskError> {
    let grid: Grid = required("grid", work.grid)?;
    let video = work.video.map(|video| required::<_, VideoTrack>("video", Some(video)));
    let video = video.transpose()?;
    let track = TextTrack::from(work.track.ok_or_else(|| invalid("track"))?);
    let time_max = START_TIME_MAX + Duration::from_secs_f64(grid.duration() * SLOWNESS_MAX);
    let limits = (scratch, time_max);
    let text = if track.channel.is_empty() {
        text(task, task_io, &grid, &track, video.as_ref(), limits).await?
    } else {
        closed::text(task, task_io, &grid, &track, video.as_ref(), limits).await?
    };
    let name = captions::file_name(work.number);
    let stored = task_io.store_bytes(&name, "vtt", Bytes::from(text)).await?;
    task.committer.commit_images(vec![stored]).await
}

/// A text track as WebVTT.
async fn text(
    task: &Task,
    task_io: &TaskIo<'_>,
    grid: &Grid,
    track: &TextTrack,
    video: Option<&VideoTrack>,
    (scratch, time_max): (&Path, Duration),
) -> Result<String, TaskError> {
    let raw = extract(task, task_io, track, time_max, scratch).await?;
    let origin = video.map_or(0.0, |video| video.seconds(video.start_pts()) * 1000.0);
    let length = Some(captions::length_of(grid));
    let window = Window { origin: origin.round() as i64, length };
    let written = spawn_blocking(move || {
        let begun = Instant::now();
        let is_late = || begun.elapsed() >= PARSE_TIME_MAX;
        let mut budget = ParseBudget::until(&is_late);
        Captions::read_within(&mut budget, &raw, Format::LooseVtt, window)?.write()
    })
    .await;
    let written = written
        .map_err(|_| TaskFailure::retryable("internal", "read text: the thread panicked"))?;
    Ok(written.map_err(|error| parse_failure(&error))?)
}

/// The track as WebVTT, with the source's own timestamps.
async fn extract(
    task: &Task,
    task_io: &TaskIo<'_>,
    track: &TextTrack,
    time_max: Duration,
    scratch: &Path,
) -> Result<Vec<u8>, TaskFailure> {
    let toolbox = &task.context.toolbox;
    let source = task_io.source.input();
    let blocks = track.codec == MATROSKA_WEBVTT;
    let (program, args, bytes_max) = if blocks {
        let args = args::packets_with_bytes(source, track.index);
        (&toolbox.ffprobe, args, CAPTIONS_BYTES_MAX * text_blocks::PRINTED_PER_BYTE)
    } else {
        (&toolbox.ffmpeg, args::subtitles(source, track.index), CAPTIONS_BYTES_MAX)
    };
    let run = Run {
        program: program.clone(),
        args,
        source: Some(source.clone()),
        scratch: scratch.to_owned(),
        time_max,
        stall_max: time_max,
        file_bytes_max: 1 << 20,
    };
    let output = run::start(toolbox, run)?.read_to_end(bytes_max).await?;
    if !blocks {
        return Ok(output);
    }
    let text = spawn_blocking(move || text_blocks::webvtt(&output)).await.ok().flatten();
    text.ok_or_else(|| TaskFailure::retryable("ffmpeg_failed", "the output of ffprobe is invalid"))
}

/// Another attempt would have the same result, unless this worker was too busy.
fn parse_failure(error: &CaptionError) -> TaskFailure {
    match error {
        CaptionError::Late => TaskFailure::retryable("timeout", format!("the track {error}")),
        CaptionError::Empty => TaskFailure::permanent("no_text", "the subtitle track has no cues"),
        CaptionError::Bytes => {
            TaskFailure::permanent("output_too_large", format!("the track {error}"))
        }
        error => TaskFailure::permanent(
            "unsupported",
            format!("the track cannot be converted to WebVTT: {error}"),
        ),
    }
}
