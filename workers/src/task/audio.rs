//! `audio(track)`: encodes one audio track from start to end and publishes each chunk when it is
//! complete.

use std::{ffi::OsString, iter, path::Path, sync::Arc, time::Duration};

use api::v1;
use futures::{FutureExt, future};
use media::{
    Grid,
    fmp4::{
        Mp4Error,
        rewrite::{AudioRewriter, Rewritten},
    },
    source::{AudioTrack, VideoTrack},
};
use tokio::sync::mpsc;

use super::{Task, TaskIo, report, required};
use crate::{
    ffmpeg::{
        args::{self, AudioEncode},
        bundled::start_of_bundled,
        run::{self, Run, Running},
    },
    outcome::{TaskError, TaskFailure},
};

/// Wall-clock time allowed per second of the video, and for starting up.
const SLOWNESS_MAX: f64 = 5.0;
const START_TIME_MAX: Duration = Duration::from_secs(300);
/// Maximum number of pieces, of up to 64 KiB each, that wait for the encoder.
const INPUT_QUEUE_MAX: usize = 16;

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
    let bundled = start_of_bundled(toolbox, encode.source, &track, scratch).await?;
    let (mut running, feed) = start(task, &encode, bundled, scratch)?;
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
    let work = async { tokio::try_join!(work, feed).map(drop) };
    tokio::select! {
        finished = work => finished?,
        () = report(&progress, &task.progress, |p| p.seconds() / duration) => {}
    }
    publisher.finish().await
}

/// Arguments of the runs whose output the encoder reads, one after another.
type Feeders<'a> = Box<dyn Iterator<Item = Vec<OsString>> + Send + 'a>;

/// Starts the encoder. While its output is read, the returned future has to be polled: it passes
/// what the encoder cannot read from the source itself: the samples of a track with very many
/// recordings, or the frames of packets that contain several. `bundled` is the start of the latter.
fn start<'a>(
    task: &'a Task,
    encode: &'a AudioEncode<'a>,
    bundled: Option<f64>,
    scratch: &'a Path,
) -> Result<(Running, impl Future<Output = Result<(), TaskError>> + use<'a>), TaskError> {
    let toolbox = &task.context.toolbox;
    let run = move |args, source, stall_max| Run {
        program: toolbox.ffmpeg.clone(),
        args,
        source,
        scratch: scratch.to_owned(),
        time_max: START_TIME_MAX + Duration::from_secs_f64(encode.grid.duration() * SLOWNESS_MAX),
        stall_max,
        file_bytes_max: 1 << 20,
    };
    let source = Some(encode.source.clone());
    let (encoder, feeders): (_, Feeders<'_>) = match (bundled, args::groups(encode.track)) {
        (Some(start), _) => {
            let packets = iter::once(args::audio_packets(encode));
            (args::audio_of_packets(encode, start), Box::new(packets))
        }
        (None, Some(groups)) => {
            let groups = groups.map(move |group| args::audio_group(encode, group));
            (args::audio_of_groups(encode), Box::new(groups))
        }
        (None, None) => {
            let running = run::start(toolbox, run(args::audio(encode), source, toolbox.stall))?;
            return Ok((running, future::ready(Ok(())).left_future()));
        }
    };
    let (sender, input) = mpsc::channel(INPUT_QUEUE_MAX);
    // The encoder waits while the recordings of the next group are opened; their own watchdog is
    // `stall`.
    let running = run(encoder, None, toolbox.stall + START_TIME_MAX);
    let running = run::start_fed(toolbox, running, input)?;
    let feed = async move {
        for args in feeders {
            let mut feeder = run::start(toolbox, run(args, source.clone(), toolbox.stall))?;
            while let Some(bytes) = feeder.next().await? {
                // Once the encoder has ended, `Running::next` returns the reason.
                if sender.send(bytes).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok::<(), TaskError>(())
    };
    Ok((running, feed.right_future()))
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
