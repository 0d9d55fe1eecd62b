//! One leased task from lease to last commit.

mod audio;
mod chunk;
mod pictures;
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
    ffmpeg::{Fault, Progress, Toolbox, fault::Cause},
    metrics,
    output::{self, Outlet, Sha256Digest},
    pull::{Access, Committer},
    scratch::Scratch,
    source::{Source, Sources},
};

/// What tasks share.
#[derive(Debug)]
pub struct Workshop {
    /// FFmpeg.
    pub toolbox: Toolbox,
    /// Temporary folders.
    pub scratch: Scratch,
    /// What opens the sources of leases.
    pub sources: Sources,
    /// Talks to stores in S3.
    pub client: Arc<Client>,
    /// Threads of a task that nobody waits for.
    pub threads: u32,
    /// Threads of one that somebody waits for.
    pub urgent_threads: u32,
    /// One permit per slot: a lease that comes too early waits here, with heartbeats.
    pub slots: Arc<Semaphore>,
}

/// How a task ended.
#[derive(Debug)]
pub enum Ended {
    /// Control has taken its last commit.
    Done,
    /// Nothing to say: somebody else holds the lease, or nobody.
    Lost,
    /// We were told to stop; give the lease back.
    Stopped,
    /// The store is down; give the lease back, to be tried again after a while.
    Deferred(Duration),
    /// The attempt failed.
    Failed(Fault),
}

/// Why a task cannot go on.
#[derive(Debug)]
pub enum Interruption {
    /// The lease is gone.
    Lost,
    /// The store is down: no fault of this attempt, which shall not count.
    Deferred(Duration),
    /// The attempt failed.
    Failed(Fault),
}

impl From<Fault> for Interruption {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// A lease, and what is needed to work on it.
#[derive(Debug)]
pub struct Task {
    /// As control sent it.
    pub lease: v1::Lease,
    /// Shared with the other tasks.
    pub workshop: Arc<Workshop>,
    /// The way to control.
    pub committer: Committer,
    /// Asks control for presigned URLs.
    pub access: Access,
    /// Cancelled when the lease is lost or the worker stops.
    pub cancel: CancellationToken,
    /// What heartbeats say.
    pub gauge: Arc<Gauge>,
}

/// How far a task is, for heartbeats.
#[derive(Debug, Default)]
pub struct Gauge {
    fraction: AtomicU64,
    speed: AtomicU64,
}

impl Gauge {
    /// 0 to 1.
    pub fn fraction(&self) -> f64 {
        f64::from_bits(self.fraction.load(Ordering::Relaxed))
    }

    /// Seconds of film per second.
    pub fn speed(&self) -> f64 {
        f64::from_bits(self.speed.load(Ordering::Relaxed))
    }

    fn set(&self, fraction: f64, speed: f64) {
        self.fraction.store(fraction.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
        self.speed.store(speed.max(0.0).to_bits(), Ordering::Relaxed);
    }
}

/// Works on `task` until it ends or is cancelled; then its processes are killed and its files gone.
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
            pictures::run(task, &place, work, scratch.path()).await
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
        // Whatever FFmpeg says of a source that broke off, the store is to blame.
        Err(Interruption::Failed(fault)) => Err(match place.intact() {
            Ok(()) => Interruption::Failed(fault),
            Err(interruption) => interruption,
        }),
        worked => worked,
    }
}

/// Without a folder the worker's sample cannot be probed either.
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

    /// Whether the source could be read so far; what was made of one that could not is void.
    fn intact(&self) -> Result<(), Interruption> {
        self.source.intact().map_err(|trouble| self.sources.interruption(trouble))
    }

    /// Stores an object; every output of every kind of task goes this way.
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        sha256: &Sha256Digest,
    ) -> Result<(), Interruption> {
        self.intact()?;
        self.outlet.put(key, bytes, sha256).await
    }

    /// Stores one rendition's chunk and describes it for the commit.
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
    /// Stores a picture or clip that lies in a file and describes it for the commit.
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

    /// Stores a picture, clip or text and describes it for the commit.
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

/// Digests large objects off the runtime's threads.
async fn digested(bytes: Bytes) -> Result<(Bytes, Sha256Digest), Fault> {
    let digested = spawn_blocking(move || {
        let sha256 = output::digest(&bytes);
        (bytes, sha256)
    });
    digested.await.map_err(|_| Fault::retryable("internal", "digest output: thread died"))
}

/// A lease that no worker can work on: control's fault.
fn invalid(field: &str) -> Fault {
    Fault::lease(format!("lease field {field} is invalid"))
}

/// Unwraps a message of a lease.
fn required<T, D: TryFrom<T, Error = api::code::Problem>>(
    field: &str,
    value: Option<T>,
) -> Result<D, Fault> {
    let value = value.ok_or_else(|| invalid(field))?;
    D::try_from(value).map_err(|problem| Fault::lease(problem.message))
}

/// Shows FFmpeg's progress in heartbeats until dropped.
async fn report(progress: &Progress, gauge: &Gauge, fraction: impl Fn(&Progress) -> f64) {
    let mut interval = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        interval.tick().await;
        gauge.set(fraction(progress), progress.speed());
    }
}
