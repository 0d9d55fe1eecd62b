//! One leased task from lease to last commit.

mod audio;
mod chunk;
mod pictures;
mod preview;
mod probe;
mod trace;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use api::v1;
use media::fmp4::rewrite::Rewritten;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    ffmpeg::{Fault, Progress, Toolbox},
    output,
    pull::Committer,
    scratch::Scratch,
};

/// What tasks share.
#[derive(Debug)]
pub struct Workshop {
    /// FFmpeg.
    pub toolbox: Toolbox,
    /// Temporary folders.
    pub scratch: Scratch,
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
    /// The attempt failed.
    Failed(Fault),
}

/// Why a task cannot go on.
#[derive(Debug)]
pub enum Interruption {
    /// The lease is gone.
    Lost,
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
    let span = trace::span(&task.lease);
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
        Some(Err(Interruption::Failed(fault))) => Ended::Failed(fault),
    };
    trace::ended(&span, &ended);
    ended
}

async fn execute(task: &Task) -> Result<(), Interruption> {
    let place = Place::of(&task.lease)?;
    let scratch = task.workshop.scratch.task().map_err(|e| Fault::io("make scratch folder", &e))?;
    match task.lease.work.clone() {
        Some(v1::lease::Work::Probe(_)) => probe::run(task, &place, scratch.path()).await,
        Some(v1::lease::Work::Chunk(work)) => chunk::run(task, &place, work, scratch.path()).await,
        Some(v1::lease::Work::Audio(work)) => audio::run(task, &place, work, scratch.path()).await,
        Some(v1::lease::Work::Pictures(work)) => {
            pictures::run(task, &place, work, scratch.path()).await
        }
        Some(v1::lease::Work::Preview(work)) => {
            preview::run(task, &place, work, scratch.path()).await
        }
        None => Err(Fault::retryable("unsupported_task", "unknown kind of task").into()),
    }
}

/// Where a task reads and writes.
#[derive(Debug)]
struct Place {
    source: PathBuf,
    output_root: PathBuf,
    output_prefix: String,
    token: u64,
}

impl Place {
    fn of(lease: &v1::Lease) -> Result<Self, Fault> {
        let source = PathBuf::from(&lease.source_path);
        if !source.is_absolute() {
            return Err(invalid("source_path"));
        }
        if !source.is_file() {
            return Err(Fault::retryable("source_missing", "the source is not in the store"));
        }
        Ok(Self {
            source,
            output_root: PathBuf::from(&lease.output_root),
            output_prefix: lease.output_prefix.clone(),
            token: lease.token,
        })
    }

    /// Stores one rendition's chunk and describes it for the commit.
    #[tracing::instrument(name = "store output", skip_all, fields(chunk = made.chunk, bytes = made.bytes.len()))]
    async fn store(&self, rendition: &str, made: Rewritten) -> Result<v1::Output, Fault> {
        if !self.output_root.is_absolute() {
            return Err(invalid("output_root"));
        }
        let (root, prefix, token) =
            (self.output_root.clone(), self.output_prefix.clone(), self.token);
        let rendition = rendition.to_owned();
        let stored = spawn_blocking(move || {
            let sha256 = output::digest(&made.bytes);
            let hex = hex::encode(sha256);
            let key = media::layout::chunk(&prefix, &rendition, made.chunk, token, &hex);
            output::write(&root, &key, &made.bytes)?;
            Ok(v1::Output {
                rendition,
                chunk: made.chunk,
                key,
                bytes: made.bytes.len() as u64,
                sha256: sha256.to_vec().into(),
                init: made.init.into(),
            })
        });
        stored
            .await
            .map_err(|_| Fault::retryable("internal", "store output: thread died"))?
            .map_err(|error| Fault::io("store output", &error))
    }
}

impl Place {
    /// Stores a picture or clip that lies in a file and describes it for the commit.
    async fn store_file(
        &self,
        name: &str,
        extension: &'static str,
        file: PathBuf,
    ) -> Result<v1::Picture, Fault> {
        if !self.output_root.is_absolute() {
            return Err(invalid("output_root"));
        }
        let (root, prefix, token) =
            (self.output_root.clone(), self.output_prefix.clone(), self.token);
        let name = name.to_owned();
        let stored = spawn_blocking(move || {
            let made = std::fs::read(&file)?;
            let sha256 = output::digest(&made);
            let hex = hex::encode(sha256);
            let key = media::layout::picture(&prefix, &name, token, &hex, extension);
            output::write(&root, &key, &made)?;
            let bytes = made.len() as u64;
            Ok(v1::Picture { name, key, bytes, sha256: sha256.to_vec().into() })
        });
        stored
            .await
            .map_err(|_| Fault::retryable("internal", "store picture: thread died"))?
            .map_err(|error| Fault::io("store picture", &error))
    }
}

/// A lease that no worker can work on: control's fault.
fn invalid(field: &str) -> Fault {
    Fault::permanent("invalid_lease", format!("lease field {field} is invalid"))
}

/// Unwraps a message of a lease.
fn required<T, D: TryFrom<T, Error = api::code::Problem>>(
    field: &str,
    value: Option<T>,
) -> Result<D, Fault> {
    let value = value.ok_or_else(|| invalid(field))?;
    D::try_from(value).map_err(|problem| Fault::permanent("invalid_lease", problem.message))
}

/// Shows FFmpeg's progress in heartbeats until dropped.
async fn report(progress: &Progress, gauge: &Gauge, fraction: impl Fn(&Progress) -> f64) {
    let mut interval = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        interval.tick().await;
        gauge.set(fraction(progress), progress.speed());
    }
}
