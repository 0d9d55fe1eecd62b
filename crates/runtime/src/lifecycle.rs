//! Ordered stop. The first signal asks (soft), the second or the drain's deadline insists (hard).
//!
//! Soft means: accept nothing new, finish what runs. Hard means: drop it. Every long-lived task runs on
//! the tracker, so that a drain knows when all have ended.

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

/// How long tasks get after the hard stop before the process ends without them.
const HARD_STOP_MAX: Duration = Duration::from_secs(2);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended by itself.
    Clean,
    /// The deadline passed or a second signal came; what still ran was dropped.
    Forced,
}

/// The handle by which a process is stopped; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Finish what runs, start nothing new.
    pub soft: CancellationToken,
    /// Drop what runs.
    pub hard: CancellationToken,
    /// Everything that a drain waits for.
    pub tracker: TaskTracker,
    failed: Arc<AtomicBool>,
    listener: TaskTracker,
}

impl Shutdown {
    /// A handle that no signal triggers: for tests and for parts that embed a plane.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that SIGTERM and SIGINT trigger: the first softly, the second hard.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn install() -> io::Result<Self> {
        let shutdown = Self::new();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        // On a tracker of its own: it outlives the drain, which must not wait for it.
        shutdown.listener.spawn(listen(shutdown.clone(), terminate, interrupt));
        Ok(shutdown)
    }

    /// Runs a task that the process cannot do without: when it ends with an error, or panics, the process
    /// stops and [`Shutdown::exit_code`] says failure. So does one that ends before anybody asked it to.
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
                Err(error) => tracing::error!(task = name, error = chain(&error), "run task"),
            }
        });
    }

    /// Marks the process as failed and asks it to stop.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.soft.cancel();
    }

    /// Whether something that the process cannot do without has failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// What `main` returns.
    pub fn exit_code(&self) -> ExitCode {
        if self.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Begins the stop if nobody has, and waits for the tracked tasks: `deadline` long at most, then, or on
    /// a second signal, hard.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.soft.cancel();
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => return Drained::Clean,
            () = self.hard.cancelled() => {}
            () = tokio::time::sleep(deadline) => tracing::warn!("drain ran out of time"),
        }
        self.hard.cancel();
        if tokio::time::timeout(HARD_STOP_MAX, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "leave tasks behind");
        }
        Drained::Forced
    }
}

/// Marks the failure even when the task unwinds.
struct FailOnDrop {
    shutdown: Shutdown,
    name: &'static str,
    armed: bool,
}

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        if self.armed {
            tracing::error!(task = self.name, "task ended, stop the process");
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

/// An error and what lies behind it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending, time::Duration};

    use super::{Drained, Shutdown};

    #[tokio::test]
    async fn drain_waits_for_tasks_that_follow_soft() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft.clone();
        shutdown.spawn_critical("polite", async move {
            soft.cancelled().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<(), Infallible>(())
        });
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Drained::Clean);
        assert!(!shutdown.failed());
    }

    #[tokio::test]
    async fn deadline_turns_soft_into_hard() {
        let shutdown = Shutdown::new();
        let hard = shutdown.hard.clone();
        shutdown.tracker.spawn(async move { hard.cancelled().await });
        assert_eq!(shutdown.drain(Duration::from_millis(10)).await, Drained::Forced);
        assert!(shutdown.hard.is_cancelled());
    }

    #[tokio::test]
    async fn second_signal_cuts_the_drain_short() {
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
