//! Pauses the worker while it lacks space for scratch files: it requests no tasks until the pause
//! is over.

use std::time::{Duration, Instant};

/// The worker requests no tasks while less scratch space is free.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// How long the worker requests no tasks after the disk was full.
const DISK_PAUSE: Duration = Duration::from_secs(30);

/// The pause, if there is one.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
}

impl Pause {
    /// Starts a pause: a task found the disk full.
    pub(super) fn start(&mut self, now: Instant) {
        self.until = Some(now + DISK_PAUSE);
    }

    /// Whether the worker pauses; a pause starts when only `free_bytes` are left.
    pub(super) fn is_on(&mut self, now: Instant, free_bytes: impl FnOnce() -> u64) -> bool {
        if self.until.is_some_and(|until| now < until) {
            return true;
        }
        self.until = None;
        let full = free_bytes() < FREE_BYTES_MIN;
        if full {
            tracing::warn!("failed to find enough free scratch space, pausing");
            self.start(now);
        }
        full
    }
}
