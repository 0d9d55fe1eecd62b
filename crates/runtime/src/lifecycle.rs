//! Ordered shutdown. The first signal requests a soft stop; a second signal or the drain's deadline
//! forces a hard stop.
//!
//! Soft stop: accept no new work and finish running work. Hard stop: drop running work. Every
//! long-lived task runs on the tracker, so that a drain knows when all tasks have ended.

use std::{
    error::Error,
    future::Future,
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::error::chain;

/// How long tasks may run after the hard stop before the process ends without them.
const HARD_STOP_MAX: Duration = Duration::from_secs(2);

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All tasks ended by themselves.
    Clean,
    /// The deadline passed or a second signal arrived; running tasks were dropped.
    Forced,
}

/// The handle that stops a process; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Finish running work, start no new work.
    pub soft: CancellationToken,
    /// Drop running work.
    pub hard: CancellationToken,
    /// The tasks that a drain waits for.
    pub tracker: TaskTracker,
    failed: Arc<AtomicBool>,
    listener: TaskTracker,
}

impl Shutdown {
    /// A handle without signals: for tests and for programs that embed a plane.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle for SIGTERM and SIGINT: the first signal is a soft stop, the second a hard stop.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub fn install() -> io::Result<Self> {
        let shutdown = Self::new();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        // Not on the drain's tracker: it outlives the drain, which must not wait for it.
        shutdown.listener.spawn(listen(shutdown.clone(), terminate, interrupt));
        Ok(shutdown)
    }

    /// Runs a task that the process depends on. When it returns an error, panics, or ends before a
    /// stop was requested, the process stops and [`Shutdown::exit_code`] is a failure.
    pub fn spawn_critical<E: Error>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let guard = FailOnDrop { shutdown: self.clone(), name, armed: true };
        self.tracker.spawn(async move {
            let mut guard = guard;
            match task.await {
                Ok(()) if guard.shutdown.soft.is_cancelled() => guard.armed = false,
                Ok(()) => {}
                Err(error) => tracing::error!(task = name, error = chain(&error), "task failed"),
            }
        });
    }

    /// Marks the process as failed and requests a soft stop.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.soft.cancel();
    }

    /// Whether a critical task has failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// The exit code for `main`.
    pub fn exit_code(&self) -> ExitCode {
        if self.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Requests a soft stop unless one is in progress, and waits for the tracked tasks for at most
    /// `deadline`. After the deadline, or on a second signal, it stops them hard.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.soft.cancel();
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => return Drained::Clean,
            () = self.hard.cancelled() => {}
            () = tokio::time::sleep(deadline) => tracing::warn!("failed to drain in time"),
        }
        self.hard.cancel();
        if tokio::time::timeout(HARD_STOP_MAX, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                tasks = self.tracker.len(),
                "failed to end all tasks; exiting without them"
            );
        }
        Drained::Forced
    }
}

/// Records the failure even when the task unwinds.
struct FailOnDrop {
    shutdown: Shutdown,
    name: &'static str,
    armed: bool,
}

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        if self.armed {
            tracing::error!(
                task = self.name,
                "critical task failed or ended early; stopping the process"
            );
            self.shutdown.fail();
        }
    }
}

async fn listen(shutdown: Shutdown, mut terminate: Signal, mut interrupt: Signal) {
    for token in [&shutdown.soft, &shutdown.hard] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending, time::Duration};

    use super::{Drained, Shutdown};

    #[tokio::test]
    async fn drain_waits_for_tasks_that_end_at_the_soft_stop() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft.clone();
        shutdown.spawn_critical("graceful", async move {
            soft.cancelled().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<(), Infallible>(())
        });
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Drained::Clean);
        assert!(!shutdown.failed());
    }

    #[tokio::test]
    async fn a_soft_stop_becomes_hard_at_the_deadline() {
        let shutdown = Shutdown::new();
        let hard = shutdown.hard.clone();
        shutdown.tracker.spawn(async move { hard.cancelled().await });
        assert_eq!(shutdown.drain(Duration::from_millis(10)).await, Drained::Forced);
        assert!(shutdown.hard.is_cancelled());
    }

    #[tokio::test]
    async fn a_second_signal_ends_the_drain() {
        let shutdown = Shutdown::install().unwrap();
        shutdown.tracker.spawn(pending::<()>());
        let me = nix::unistd::Pid::this();
        nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGTERM).unwrap();
        shutdown.soft.cancelled().await;
        assert!(!shutdown.hard.is_cancelled());
        nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGINT).unwrap();
        assert_eq!(shutdown.drain(Duration::from_secs(60)).await, Drained::Forced);
    }

    #[tokio::test]
    async fn failed_panicking_and_early_tasks_stop_the_process() {
        let failing = Shutdown::new();
        failing.spawn_critical("failing", async { Err(std::fmt::Error) });
        let early = Shutdown::new();
        early.spawn_critical("early", async { Ok::<(), Infallible>(()) });
        let panicking = Shutdown::new();
        panicking.spawn_critical::<Infallible>("panicking", async { panic!("on purpose") });
        for shutdown in [failing, early, panicking] {
            shutdown.soft.cancelled().await;
            assert!(shutdown.failed());
        }
    }
}
