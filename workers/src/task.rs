//! Runs one leased task, from its lease to its last commit.

mod audio;
mod chunk;
mod images;
mod preview;
mod probe;
mod subtitles;
mod surround;
mod trace;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use api::v1;
use bytes::Bytes;
use media::{Sha256Digest, fmp4::rewrite::Rewritten};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    bucket::Client,
    control_handles::{Access, Committer},
    ffmpeg::{Progress, Toolbox},
    metrics,
    outcome::{Cause, TaskError, TaskFailure, TaskOutcome},
    output::{self, OutputTarget},
    scratch::Scratch,
    source::{OpenedSource, Sources},
};

/// Resources that tasks share.
#[derive(Debug)]
pub struct WorkerContext {
    /// FFmpeg, ffprobe and their limits.
    pub toolbox: Toolbox,
    /// Devices that FFmpeg may open for hardware encoders.
    pub devices: Vec<PathBuf>,
    /// Temporary folders.
    pub scratch: Scratch,
    /// Opens the sources of leases.
    pub sources: Sources,
    /// Client for stores in S3.
    pub client: Arc<Client>,
    /// Threads of a task that is not urgent.
    pub threads: u32,
    /// Threads of an urgent task: a client is waiting for it, or no other work is left.
    pub urgent_threads: u32,
    /// One permit per slot. A task whose lease arrives before a slot is free waits here while
    /// heartbeats renew the lease.
    pub slots: Arc<Semaphore>,
}

/// A lease and everything that is needed to run its task.
#[derive(Debug)]
pub struct Task {
    /// The lease as control sent it.
    pub lease: v1::Lease,
    /// The resources that all tasks share.
    pub context: Arc<WorkerContext>,
    /// Sends commits to control.
    pub committer: Committer,
    /// Requests presigned URLs from control.
    pub access: Access,
    /// Cancelled when the lease is lost or the worker stops.
    pub cancel: CancellationToken,
    /// The progress that heartbeats report.
    pub progress: Arc<TaskProgress>,
}

/// A task's progress, reported in heartbeats.
#[derive(Debug, Default)]
pub struct TaskProgress {
    fraction: AtomicU64,
    speed: AtomicU64,
}

impl TaskProgress {
    /// The completed fraction, 0 to 1.
    pub fn fraction(&self) -> f64 {
        f64::from_bits(self.fraction.load(Ordering::Relaxed))
    }

    /// Seconds of video per second.
    pub fn speed(&self) -> f64 {
        f64::from_bits(self.speed.load(Ordering::Relaxed))
    }

    fn set(&self, fraction: f64, speed: f64) {
        self.fraction.store(fraction.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
        self.speed.store(speed.max(0.0).to_bits(), Ordering::Relaxed);
    }
}

/// Runs `task` until it ends or is cancelled. Its processes are then killed and its files removed.
pub async fn run(task: Task) -> TaskOutcome {
    let cancel = task.cancel.clone();
    let slots = Arc::clone(&task.context.slots);
    let (span, kind, running) =
        (trace::span(&task.lease), trace::kind(&task.lease), metrics::begun());
    let work = async {
        let Ok(_permit) = slots.acquire().await else { return Err(TaskError::LeaseLost) };
        execute(&task).await
    };
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        outcome = work.instrument(span.clone()) => Some(outcome),
    };
    let outcome = outcome.map_or(TaskOutcome::Stopped, TaskOutcome::from);
    running.ended(kind, trace::ended(&span, &outcome));
    outcome
}

async fn execute(task: &Task) -> Result<(), TaskError> {
    let task_io = TaskIo::open(task).await?;
    let scratch = task.context.scratch.task().map_err(|error| no_scratch(task, &error))?;
    let result = match task.lease.work.clone() {
        Some(v1::lease::Work::Probe(_)) => probe::run(task, &task_io, scratch.path()).await,
        Some(v1::lease::Work::Chunk(work)) => {
            chunk::run(task, &task_io, work, scratch.path()).await
        }
        Some(v1::lease::Work::Audio(work)) => {
            audio::run(task, &task_io, work, scratch.path()).await
        }
        Some(v1::lease::Work::Pictures(work)) => {
            images::run(task, &task_io, work, scratch.path()).await
        }
        Some(v1::lease::Work::Preview(work)) => {
            preview::run(task, &task_io, work, scratch.path()).await
        }
        Some(v1::lease::Work::Subtitles(work)) => {
            subtitles::run(task, &task_io, work, scratch.path()).await
        }
        Some(v1::lease::Work::Surround(work)) => {
            surround::run(task, &task_io, work, scratch.path()).await
        }
        None => Err(TaskFailure::retryable("unsupported_task", "unknown kind of task").into()),
    };
    match result {
        // If reading the source failed, the store is the cause, regardless of FFmpeg's message.
        Err(TaskError::Failed(failure)) => Err(match task_io.intact() {
            Ok(()) => TaskError::Failed(failure),
            Err(error) => error,
        }),
        result => result,
    }
}

/// The worker's own sample cannot be probed without a scratch folder either, so a probe's failure
/// marks the host as unhealthy.
fn no_scratch(task: &Task, error: &std::io::Error) -> TaskFailure {
    let failure = TaskFailure::io("make scratch folder", error);
    match task.lease.work {
        Some(v1::lease::Work::Probe(_)) => TaskFailure { cause: Cause::UnhealthyHost, ..failure },
        _ => failure,
    }
}

/// Where a task reads and writes.
#[derive(Debug)]
struct TaskIo<'a> {
    source: OpenedSource,
    sources: &'a Sources,
    target: OutputTarget,
    output_prefix: String,
    token: u64,
}

impl<'a> TaskIo<'a> {
    async fn open(task: &'a Task) -> Result<Self, TaskError> {
        let Task { lease, context, access, .. } = task;
        let source = context.sources.open(lease, access, &context.scratch).await?;
        let target = match api::path::read(&lease.output_root) {
            root if root.is_absolute() => OutputTarget::Folder(root),
            _ if lease.source_url.is_empty() => return Err(invalid("output_root").into()),
            _ => OutputTarget::Bucket(access.clone(), Arc::clone(&context.client)),
        };
        let output_prefix = lease.output_prefix.clone();
        Ok(Self { source, sources: &context.sources, target, output_prefix, token: lease.token })
    }

    /// Fails if a read of the source has failed so far. Results made from such a source must be
    /// discarded.
    fn intact(&self) -> Result<(), TaskError> {
        self.source.intact().map_err(|error| self.sources.task_error(error))
    }

    /// Stores an object. All outputs of all kinds of tasks are stored with this function.
    async fn put(&self, key: &str, bytes: Bytes, sha256: &Sha256Digest) -> Result<(), TaskError> {
        self.intact()?;
        self.target.put(key, bytes, sha256).await
    }

    /// Stores one chunk of a rendition and returns its description for the commit.
    #[tracing::instrument(name = "store output", skip_all, fields(chunk = made.chunk, bytes = made.bytes.len()))]
    async fn store(&self, rendition: &str, made: Rewritten) -> Result<v1::Output, TaskError> {
        let (bytes, sha256) = digested(Bytes::from(made.bytes)).await?;
        let (prefix, hex) = (&self.output_prefix, hex::encode(sha256));
        let key = media::layout::chunk(prefix, rendition, made.chunk, self.token, &hex);
        let length = bytes.len() as u64;
        self.put(&key, bytes, &sha256).await?;
        Ok(v1::Output {
            rendition: rendition.to_owned(),
            chunk: made.chunk,
            key,
            bytes: length,
            sha256: sha256.to_vec().into(),
            init: made.init.into(),
        })
    }
}

impl TaskIo<'_> {
    /// Stores an image or clip from a file and returns its description for the commit.
    async fn store_file(
        &self,
        name: &str,
        extension: &'static str,
        file: PathBuf,
    ) -> Result<v1::Picture, TaskError> {
        let read = spawn_blocking(move || std::fs::read(&file)).await;
        let read = read
            .map_err(|_| TaskFailure::retryable("internal", "read image: the thread panicked"))?;
        let made = Bytes::from(read.map_err(|error| TaskFailure::io("read image", &error))?);
        self.store_bytes(name, extension, made).await
    }

    /// Stores an image, clip or text track and returns its description for the commit.
    async fn store_bytes(
        &self,
        name: &str,
        extension: &'static str,
        made: Bytes,
    ) -> Result<v1::Picture, TaskError> {
        let (made, sha256) = digested(made).await?;
        let (prefix, hex) = (&self.output_prefix, hex::encode(sha256));
        let key = media::layout::picture(prefix, name, self.token, &hex, extension);
        let bytes = made.len() as u64;
        self.put(&key, made, &sha256).await?;
        Ok(v1::Picture { name: name.to_owned(), key, bytes, sha256: sha256.to_vec().into() })
    }
}

/// Computes the digest on a blocking thread, because objects can be large.
async fn digested(bytes: Bytes) -> Result<(Bytes, Sha256Digest), TaskFailure> {
    let digested = spawn_blocking(move || {
        let sha256 = output::digest(&bytes);
        (bytes, sha256)
    });
    digested
        .await
        .map_err(|_| TaskFailure::retryable("internal", "digest output: the thread panicked"))
}

/// The failure of a lease with an invalid field, which no worker can process.
fn invalid(field: &str) -> TaskFailure {
    TaskFailure::lease(format!("lease field {field} is invalid"))
}

/// Converts a required field of a lease.
fn required<T, D: TryFrom<T, Error = api::code::Problem>>(
    field: &str,
    value: Option<T>,
) -> Result<D, TaskFailure> {
    let value = value.ok_or_else(|| invalid(field))?;
    D::try_from(value).map_err(|problem| TaskFailure::lease(problem.message))
}

/// Updates `progress` with the progress of FFmpeg's `run` until the future is dropped.
async fn report(run: &Progress, progress: &TaskProgress, fraction: impl Fn(&Progress) -> f64) {
    let mut interval = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        interval.tick().await;
        progress.set(fraction(run), run.speed());
    }
}
