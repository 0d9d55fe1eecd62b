//! `audio(track)`: encodes one audio track from start to end and publishes each chunk when it is
//! complete.

use std::{path::Path, sync::Arc, time::Duration};

use api::v1;
use media::{
    Grid,
    fmp4::{
        Mp4Error,
        rewrite::{AudioRewriter, Rewritten},
    },
    source::{AudioTrack, VideoTrack},
};

use super::{Task, TaskIo, report, required};
use crate::{
    ffmpeg::{
        args::{self, AudioEncode},
        run::{self, Run},
    },
    outcome::{TaskError, TaskFailure},
};

/// Wall-clock time allowed per second of the video, and for starting up.
const SLOWNESS_MAX: f64 = 5.0;
const START_TIME_MAX: Duration = Duration::from_secs(300);

pub(super) async fn run(
    task: &Task,
    task_io: &TaskIo<'_>,
    work: v1::AudioWork,
    scratch: &Path,
) -> Result<(), TaskError> {
    let grid: Grid = required("grid", work.grid)?;
    let video = work.video.map(|video| required::<_, VideoTrack>("video", Some(video)));
    let video = video.transpose()?;
    let track: AudioTrack = required("track", work.track)?;
    let encode = AudioEncode {
        source: task_io.source.input(),
        track: &track,
        video: video.as_ref(),
        grid: &grid,
        bitrate: work.bitrate,
        threads: task.context.threads,
    };
    let toolbox = &task.context.toolbox;
    let run = Run {
        program: toolbox.ffmpeg.clone(),
        args: args::audio(&encode),
        source: Some(task_io.source.input().clone()),
        scratch: scratch.to_owned(),
        time_max: START_TIME_MAX + Duration::from_secs_f64(grid.duration() * SLOWNESS_MAX),
        stall_max: toolbox.stall,
        file_bytes_max: 1 << 20,
    };
    let mut running = run::start(toolbox, run)?;
    let progress = Arc::clone(&running.progress);
    let mut publisher = Publisher {
        task,
        task_io,
        rendition: format!("audio-{}", work.number),
        first_chunk: work.first_chunk,
        chunks: grid.chunks(),
        rewriter: AudioRewriter::new(grid),
        held: None,
    };
    let duration = grid.duration();
    let work = async {
        while let Some(bytes) = running.next().await? {
            publisher.take(&bytes).await?;
        }
        Ok::<(), TaskError>(())
    };
    tokio::select! {
        finished = work => finished?,
        () = report(&progress, &task.progress, |p| p.seconds() / duration) => {}
    }
    publisher.finish().await
}

struct Publisher<'a> {
    task: &'a Task,
    task_io: &'a TaskIo<'a>,
    rendition: String,
    first_chunk: u32,
    chunks: u32,
    rewriter: AudioRewriter,
    /// The last chunk, kept back until FFmpeg has exited successfully.
    held: Option<Rewritten>,
}

impl Publisher<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), TaskError> {
        self.rewriter.push(bytes).map_err(damaged)?;
        while let Some(made) = self.rewriter.next_chunk().map_err(damaged)? {
            if made.chunk + 1 == self.chunks {
                self.held = Some(made);
            } else if made.chunk >= self.first_chunk {
                let output = self.task_io.store(&self.rendition, made).await?;
                self.task.committer.commit(vec![output], false, None).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), TaskError> {
        let last = self.rewriter.finish().map_err(damaged)?.or(self.held.take());
        let mut outputs = Vec::new();
        if let Some(made) = last.filter(|made| made.chunk >= self.first_chunk) {
            outputs.push(self.task_io.store(&self.rendition, made).await?);
        }
        self.task.committer.commit(outputs, true, None).await
    }
}

fn damaged(error: Mp4Error) -> TaskFailure {
    TaskFailure::retryable("output_refused", error.to_string())
}
