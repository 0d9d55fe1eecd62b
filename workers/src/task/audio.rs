//! `audio(track)`: encodes one audio track from start to end and publishes each chunk when it is
//! complete.

use std::{ffi::OsString, iter, path::Path, sync::Arc, time::Duration};

use api::v1;
use futures::{FutureExt, future};
use media::{
    Grid,
    fmp4::{
        Mp4Error,
        copied::CopiedRewriter,
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
        channels: if track.channels == 1 { 1 } else { 2 },
        bitrate: work.bitrate,
        threads: task.context.threads,
    };
    let rendition = format!("audio-{}", work.number);
    let rewriter = (&grid, Rewriter::encoded(&grid));
    let publisher = Publisher::new(task, task_io, rendition, work.first_chunk, rewriter);
    self::encode(task, &encode, publisher, scratch).await
}

/// Encodes a track and publishes its chunks.
pub(super) async fn encode(
    task: &Task,
    encode: &AudioEncode<'_>,
    mut publisher: Publisher<'_>,
    scratch: &Path,
) -> Result<(), TaskError> {
    let toolbox = &task.context.toolbox;
    let bundled = start_of_bundled(toolbox, encode.source, encode.track, scratch).await?;
    let (mut running, feed) = start(task, encode, bundled, scratch)?;
    let progress = Arc::clone(&running.progress);
    let duration = encode.grid.duration();
    let work = async {
        while let Some(bytes) = running.next().await? {
            publisher.push(&bytes).map_err(damaged)?;
            publisher.publish().await?;
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
        time_max: time_max(encode.grid),
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

/// Wall-clock time allowed for reading an audio track to its end.
pub(super) fn time_max(grid: &Grid) -> Duration {
    START_TIME_MAX + Duration::from_secs_f64(grid.duration() * SLOWNESS_MAX)
}

/// Writes the chunks of a rendition from FFmpeg's output.
pub(super) enum Rewriter {
    /// AAC that FFmpeg encodes.
    Encoded(AudioRewriter),
    /// A Dolby track that FFmpeg copies.
    Copied(CopiedRewriter),
}

impl Rewriter {
    pub(super) fn encoded(grid: &Grid) -> Self {
        Self::Encoded(AudioRewriter::new(*grid))
    }

    fn next_chunk(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        match self {
            Self::Encoded(rewriter) => rewriter.next_chunk(),
            Self::Copied(rewriter) => rewriter.next_chunk(),
        }
    }

    fn finish(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        match self {
            Self::Encoded(rewriter) => rewriter.finish(),
            Self::Copied(rewriter) => rewriter.finish(),
        }
    }
}

/// Stores and commits the chunks of an audio rendition as they are complete.
pub(super) struct Publisher<'a> {
    task: &'a Task,
    task_io: &'a TaskIo<'a>,
    rendition: String,
    first_chunk: u32,
    chunks: u32,
    pub(super) rewriter: Rewriter,
    /// The last chunk, kept back until FFmpeg has exited successfully.
    held: Option<Rewritten>,
}

impl<'a> Publisher<'a> {
    /// Earlier chunks than `first_chunk` are committed already.
    pub(super) fn new(
        task: &'a Task,
        task_io: &'a TaskIo<'a>,
        rendition: String,
        first_chunk: u32,
        (grid, rewriter): (&Grid, Rewriter),
    ) -> Self {
        let chunks = grid.chunks();
        Self { task, task_io, rendition, first_chunk, chunks, rewriter, held: None }
    }

    /// Accepts bytes of FFmpeg's output.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Mp4Error> {
        match &mut self.rewriter {
            Rewriter::Encoded(rewriter) => rewriter.push(bytes),
            Rewriter::Copied(rewriter) => rewriter.push(bytes),
        }
    }

    /// Commits the chunks that are complete, except the last one; returns the number of the latest.
    pub(super) async fn publish(&mut self) -> Result<Option<u32>, TaskError> {
        let mut latest = None;
        while let Some(made) = self.rewriter.next_chunk().map_err(damaged)? {
            latest = Some(made.chunk);
            if made.chunk + 1 == self.chunks {
                self.held = Some(made);
            } else if made.chunk >= self.first_chunk {
                let output = self.task_io.store(&self.rendition, made).await?;
                self.task.committer.commit(vec![output], false, None).await?;
            }
        }
        Ok(latest)
    }

    /// Commits the rest of the chunks, in pieces of bounded size, and finishes the task.
    pub(super) async fn finish(mut self) -> Result<(), TaskError> {
        let mut last = self.held.take();
        while let Some(made) = self.rewriter.finish().map_err(damaged)? {
            if let Some(before) = last.replace(made).filter(|made| made.chunk >= self.first_chunk) {
                let output = self.task_io.store(&self.rendition, before).await?;
                self.task.committer.commit(vec![output], false, None).await?;
            }
        }
        let mut outputs = Vec::new();
        if let Some(made) = last.filter(|made| made.chunk >= self.first_chunk) {
            outputs.push(self.task_io.store(&self.rendition, made).await?);
        }
        self.task.committer.commit(outputs, true, None).await
    }
}

/// The failure of an output that is not as expected.
pub(super) fn damaged(error: Mp4Error) -> TaskFailure {
    TaskFailure::retryable("output_refused", error.to_string())
}
