//! Whether this worker can probe. It is unhealthy from the time it fails to probe its sample until
//! it probes the sample successfully again.
//!
//! Control assigns no probes to an unhealthy worker; it still assigns all other kinds of tasks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use api::v1::{self, worker_message::Message as ToControl};
use tokio::task::JoinSet;

use crate::{ffmpeg::probe::sample, metrics, outcome::TaskFailure, task::WorkerContext};

/// The worker's health and the running check.
#[derive(Debug)]
pub(super) struct Health {
    /// Time from the end of a failed check to the next one.
    every: Duration,
    /// Why the worker cannot probe.
    problem: Option<String>,
    due: Option<Instant>,
    checks: JoinSet<Result<(), TaskFailure>>,
}

impl Health {
    /// A worker is healthy until its sample fails.
    pub(super) fn new(every: Duration) -> Self {
        metrics::can_probe(true);
        Self { every, problem: None, due: None, checks: JoinSet::new() }
    }

    /// Records that probing the sample failed.
    pub(super) fn failed(&mut self, failure: &TaskFailure, now: Instant) -> ToControl {
        if self.problem.is_none() {
            tracing::warn!(
                code = %failure.code, reason = failure.message,
                "this worker fails to probe its own sample and takes no probes until it succeeds"
            );
            metrics::can_probe(false);
        }
        self.problem = Some(format!("{} ({})", failure.message, failure.code));
        self.due = Some(now + self.every);
        self.message()
    }

    /// The current health, as a message to control.
    pub(super) fn message(&self) -> ToControl {
        let trouble = self.problem.clone().unwrap_or_default();
        ToControl::Health(v1::Health { can_probe: self.problem.is_none(), trouble })
    }

    /// Starts the check if it is due.
    pub(super) fn tick(&mut self, context: &Arc<WorkerContext>, now: Instant) {
        if self.due.is_some_and(|due| due <= now) && self.checks.is_empty() {
            self.due = None;
            let context = Arc::clone(context);
            self.checks.spawn(async move { check(&context).await });
        }
    }

    /// Waits for the check to end and returns the message to control; returns `None` immediately
    /// when no check runs.
    pub(super) async fn checked(&mut self) -> Option<ToControl> {
        let ended = self.checks.join_next().await?;
        let failed = |_| Err(TaskFailure::retryable("internal", "the check panicked"));
        Some(match ended.unwrap_or_else(failed) {
            Ok(()) => {
                tracing::info!("own sample probed, accepting probes again");
                metrics::can_probe(true);
                (self.problem, self.due) = (None, None);
                self.message()
            }
            Err(failure) => self.failed(&failure, Instant::now()),
        })
    }
}

async fn check(context: &WorkerContext) -> Result<(), TaskFailure> {
    let folder = context.scratch.task();
    let folder = folder.map_err(|error| TaskFailure::io("make scratch folder", &error))?;
    sample::check(&context.toolbox, folder.path()).await
}
