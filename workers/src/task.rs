//! Runs one leased task, from its lease to its last commit.

mod audio;
mod chunk;
mod images;
mod preview;
mod probe;
mod subtitles;
mod trace;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use api::v1;
use bytes::Bytes;
use media::fmp4::rewrite::Rewritten;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    bucket::Client,
    control::{Access, Committer},
    ffmpeg::{Fault, Progress, Toolbox, failure::Cause},
    metrics,
    output::{self, Outlet, Sha256Digest},
    scratch::Scratch,
    source::{Source, Sources},
};

/// Resources that tasks share.
#[derive(Debug)]
pub struct Workshop {
    /// FFmpeg, ffprobe and their limits.
    pub toolbox: Toolbox,
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
    /// One permit per slot. A task whose lease arrives before a slot is free waits here while heartbeats renew the lease.
    pub slots: Arc<Semaphore>,
}

/// How a task ended.
#[derive(Debug)]
pub enum Ended {
    /// Control accepted the task's last commit.
    Done,
    /// The lease is lost, so there is nothing to report.
    Lost,
    /// The task was cancelled; the worker releases its lease.
    Stopped,
    /// The store is down; the worker releases the lease, and the task is retried after this delay.
    Deferred(Duration),
    /// The attempt failed.
    Failed(Fault),
}

/// Why a task cannot go on.
#[derive(Debug)]
pub enum Interruption {
    /// The lease is lost.
    Lost,
    /// The store is down. The attempt does not count as a failure; the task is retried after this delay.
    Deferred(Duration),
    /// The attempt failed.
    Failed(Fault),
}

impl From<Fault> for Interruption {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// A lease and everything that is needed to run its task.
#[derive(Debug)]
pub struct Task {
    /// The lease as control sent it.
    pub lease: v1::Lease,
    /// The resources that all tasks share.
    pub workshop: Arc<Workshop>,
    /// Sends commits to control.
    pub committer: Committer,
    /// Requests presigned URLs from control.
    pub access: Access,
    /// Cancelled when the lease is lost or the worker stops.
    pub cancel: CancellationToken,
    /// The progress that heartbeats report.
    pub gauge: Arc<Gauge>,
}

/// A task's progress, reported in heartbeats.
#[derive(Debug, Default)]
pub struct Gauge {
    fraction: AtomicU64,
    speed: AtomicU64,
}

impl Gauge {
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
pub async fn run(task: Task) -> Ended {
    let cancel = task.cancel.clone();
    let slots = Arc::clone(&task.workshop.slots);
    let (span, kind, running) =
        (trace::span(&task.lease), trace::kind(&task.lease), metrics::begun());
    let work = async {
        let Ok(_permit) = slots.acquire().await else { return Err(Interruption::Lost) };
        execute(&task).await
    };
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        outcome = work.instrument(span.clone()) => Some(outcome),
    };
    let ended = match outcome {
        None => Ended::Stopped,
        Some(Ok(())) => Ended::Done,
        Some(Err(Interruption::Lost)) => Ended::Lost,
        Some(Err(Interruption::Deferred(delay))) => Ended::Deferred(delay),
        Some(Err(Interruption::Failed(fault))) => Ended::Failed(fault),
    };
    running.ended(kind, trace::ended(&span, &ended));
    ended
}

async fn execute(task: &Task) -> Result<(), Interruption> {
    let place = Place::open(task).await?;
    let scratch = task.workshop.scratch.task().map_err(|error| no_scratch(task, &error))?;
    let worked = match task.lease.work.clone() {
        Some(v1::lease::Work::Probe(_)) => probe::run(task, &place, scratch.path()).await,
        Some(v1::lease::Work::Chunk(work)) => chunk::run(task, &place, work, scratch.path()).await,
        Some(v1::lease::Work::Audio(work)) => audio::run(task, &place, work, scratch.path()).await,
        Some(v1::lease::Work::Pictures(work)) => {
            images::run(task, &place, work, scratch.path()).await
        }
        Some(v1::lease::Work::Preview(work)) => {
            preview::run(task, &place, work, scratch.path()).await
        }
        Some(v1::lease::Work::Subtitles(work)) => {
            subtitles::run(task, &place, work, scratch.path()).await
        }
        None => Err(Fault::retryable("unsupported_task", "unknown kind of task").into()),
    };
    match worked {
        // If reading the source failed, the store is the cause, regardless of FFmpeg's message.
        Err(Interruption::Failed(fault)) => Err(match place.intact() {
            Ok(()) => Interruption::Failed(fault),
            Err(interruption) => interruption,
        }),
        worked => worked,
    }
}

/// The worker's own sample cannot be probed without a scratch folder either, so a probe's failure marks the host as
/// unhealthy.
fn no_scratch(task: &Task, error: &std::io::Error) -> Fault {
    let fault = Fault::io("make scratch folder", error);
    match task.lease.work {
        Some(v1::lease::Work::Probe(_)) => Fault { cause: Cause::UnhealthyHost, ..fault },
        _ => fault,
    }
}

/// Where a task reads and writes.
#[derive(Debug)]
struct Place<'a> {
    source: Source,
    sources: &'a Sources,
    outlet: Outlet,
    output_prefix: String,
    token: u64,
}

impl<'a> Place<'a> {
    async fn open(task: &'a Task) -> Result<Self, Interruption> {
        let Task { lease, workshop, access, .. } = task;
        let source = workshop.sources.open(lease, access, &workshop.scratch).await?;
        let outlet = match api::path::read(&lease.output_root) {
            root if root.is_absolute() => Outlet::Folder(root),
            _ if lease.source_url.is_empty() => return Err(invalid("output_root").into()),
            _ => Outlet::Bucket(access.clone(), Arc::clone(&workshop.client)),
        };
        let output_prefix = lease.output_prefix.clone();
        Ok(Self { source, sources: &workshop.sources, outlet, output_prefix, token: lease.token })
    }

    /// Fails if a read of the source has failed so far. Results made from such a source must be discarded.
    fn intact(&self) -> Result<(), Interruption> {
        self.source.intact().map_err(|trouble| self.sources.interruption(trouble))
    }

    /// Stores an object. All outputs of all kinds of tasks are stored with this function.
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        sha256: &Sha256Digest,
    ) -> Result<(), Interruption> {
        self.intact()?;
        self.outlet.put(key, bytes, sha256).await
    }

    /// Stores one chunk of a rendition and returns its description for the commit.
    #[tracing::instrument(name = "store output", skip_all, fields(chunk = made.chunk, bytes = made.bytes.len()))]
    async fn store(&self, rendition: &str, made: Rewritten) -> Result<v1::Output, Interruption> {
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

impl Place<'_> {
    /// Stores an image or clip from a file and returns its description for the commit.
    async fn store_file(
        &self,
        name: &str,
        extension: &'static str,
        file: PathBuf,
    ) -> Result<v1::Picture, Interruption> {
        let read = spawn_blocking(move || std::fs::read(&file)).await;
        let read = read.map_err(|_| Fault::retryable("internal", "read picture: thread died"))?;
        let made = Bytes::from(read.map_err(|error| Fault::io("read picture", &error))?);
        self.store_bytes(name, extension, made).await
    }

    /// Stores an image, clip or text track and returns its description for the commit.
    async fn store_bytes(
        &self,
        name: &str,
        extension: &'static str,
        made: Bytes,
    ) -> Result<v1::Picture, Interruption> {
        let (made, sha256) = digested(made).await?;
        let (prefix, hex) = (&self.output_prefix, hex::encode(sha256));
        let key = media::layout::picture(prefix, name, self.token, &hex, extension);
        let bytes = made.len() as u64;
        self.put(&key, made, &sha256).await?;
        Ok(v1::Picture { name: name.to_owned(), key, bytes, sha256: sha256.to_vec().into() })
    }
}

/// Computes the digest on a blocking thread, because objects can be large.
async fn digested(bytes: Bytes) -> Result<(Bytes, Sha256Digest), Fault> {
    let digested = spawn_blocking(move || {
        let sha256 = output::digest(&bytes);
        (bytes, sha256)
    });
    digested.await.map_err(|_| Fault::retryable("internal", "digest output: thread died"))
}

/// The failure of a lease with an invalid field, which no worker can process.
fn invalid(field: &str) -> Fault {
    Fault::lease(format!("lease field {field} is invalid"))
}

/// Converts a required field of a lease.
fn required<T, D: TryFrom<T, Error = api::code::Problem>>(
    field: &str,
    value: Option<T>,
) -> Result<D, Fault> {
    let value = value.ok_or_else(|| invalid(field))?;
    D::try_from(value).map_err(|problem| Fault::lease(problem.message))
}

/// Updates `gauge` with FFmpeg's progress until the future is dropped.
async fn report(progress: &Progress, gauge: &Gauge, fraction: impl Fn(&Progress) -> f64) {
    let mut interval = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        interval.tick().await;
        gauge.set(fraction(progress), progress.speed());
    }
}
