//! Whether this worker can probe. It is unhealthy from the time it fails to probe its sample until it probes the sample
//! successfully again.
//!
//! Control assigns no probes to an unhealthy worker; it still assigns all other kinds of tasks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use api::v1::{self, worker_message::Message as Tell};
use tokio::task::JoinSet;

use crate::{
    ffmpeg::{Fault, probe::sample},
    metrics,
    task::Workshop,
};

/// The worker's health and the running check.
#[derive(Debug)]
pub(super) struct Health {
    /// Time from the end of a failed check to the next one.
    every: Duration,
    /// Why the worker cannot probe.
    trouble: Option<String>,
    due: Option<Instant>,
    checks: JoinSet<Result<(), Fault>>,
}

impl Health {
    /// A worker is healthy until its sample fails.
    pub(super) fn new(every: Duration) -> Self {
        metrics::can_probe(true);
        Self { every, trouble: None, due: None, checks: JoinSet::new() }
    }

    /// Records that probing the sample failed.
    pub(super) fn failed(&mut self, fault: &Fault, now: Instant) -> Tell {
        if self.trouble.is_none() {
            tracing::warn!(
                code = %fault.code, reason = fault.message,
                "this worker fails to probe its own sample and takes no probes until it succeeds"
            );
            metrics::can_probe(false);
        }
        self.trouble = Some(format!("{} ({})", fault.message, fault.code));
        self.due = Some(now + self.every);
        self.told()
    }

    /// The current health, as a message to control.
    pub(super) fn told(&self) -> Tell {
        let trouble = self.trouble.clone().unwrap_or_default();
        Tell::Health(v1::Health { can_probe: self.trouble.is_none(), trouble })
    }

    /// Starts the check if it is due.
    pub(super) fn tick(&mut self, workshop: &Arc<Workshop>, now: Instant) {
        if self.due.is_some_and(|due| due <= now) && self.checks.is_empty() {
            self.due = None;
            let workshop = Arc::clone(workshop);
            self.checks.spawn(async move { check(&workshop).await });
        }
    }

    /// Waits for the check to end and returns the message to control; returns `None` immediately when no check runs.
    pub(super) async fn checked(&mut self) -> Option<Tell> {
        let ended = self.checks.join_next().await?;
        let failed = |_| Err(Fault::retryable("internal", "the check panicked"));
        Some(match ended.unwrap_or_else(failed) {
            Ok(()) => {
                tracing::info!("this worker probes its own sample again and takes probes");
                metrics::can_probe(true);
                (self.trouble, self.due) = (None, None);
                self.told()
            }
            Err(fault) => self.failed(&fault, Instant::now()),
        })
    }
}

async fn check(workshop: &Workshop) -> Result<(), Fault> {
    let folder = workshop.scratch.task();
    let folder = folder.map_err(|error| Fault::io("make scratch folder", &error))?;
    sample::check(&workshop.toolbox, folder.path()).await
}
