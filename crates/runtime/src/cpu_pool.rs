//! CPU-heavy work on behalf of requests: off the runtime's threads, a few pieces at a time, each
//! with a deadline that the work itself checks.
//!
//! A blocking thread cannot be cancelled. So a piece of work keeps its permit until it ends, even
//! if the request that caused it has ended, and it ends because it checks its [`Deadline`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// Why a piece of work has no result.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CpuPoolError {
    /// No permit became free in time.
    #[error("too much work of this kind is running")]
    Busy,
    /// The work panicked.
    #[error("the work panicked")]
    Panicked,
}

/// The time by which a piece of work must end.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Whether the work must end now.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// Runs one kind of CPU-heavy work.
#[derive(Clone, Debug)]
pub struct CpuPool {
    permits: Arc<Semaphore>,
    wait_max: Duration,
    work_max: Duration,
}

impl CpuPool {
    /// Runs at most `running_max` pieces at a time. A request waits up to `wait_max` for a permit;
    /// its work may then take up to `work_max`.
    pub fn new(running_max: usize, wait_max: Duration, work_max: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(running_max)), wait_max, work_max }
    }

    /// How long one piece of work may take.
    pub const fn work_max(&self) -> Duration {
        self.work_max
    }

    /// Runs `work` on a blocking thread.
    ///
    /// # Errors
    /// [`CpuPoolError::Busy`] if no permit became free in time, [`CpuPoolError::Panicked`] if the
    /// work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Deadline) -> T + Send + 'static,
    ) -> Result<T, CpuPoolError> {
        let permit = timeout(self.wait_max, self.permits.clone().acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(CpuPoolError::Busy)?;
        let work_max = self.work_max;
        let done = spawn_blocking(move || {
            let _permit = permit;
            work(&Deadline(Instant::now() + work_max))
        });
        done.await.map_err(|_| CpuPoolError::Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::task::JoinSet;

    use super::{CpuPool, CpuPoolError};

    #[tokio::test]
    async fn abandoned_work_keeps_its_permit_until_it_ends() {
        let pool = CpuPool::new(1, Duration::ZERO, Duration::from_secs(600));
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let mut callers = JoinSet::new();
        callers.spawn({
            let pool = pool.clone();
            async move {
                pool.run(move |_| {
                    begun.send(()).unwrap();
                    released.recv().unwrap();
                })
                .await
            }
        });
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
        callers.shutdown().await;
        assert_eq!(pool.run(|_| ()).await, Err(CpuPoolError::Busy));
        release.send(()).unwrap();
        let again = CpuPool { wait_max: Duration::from_secs(60), ..pool };
        assert_eq!(again.run(|_| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn work_can_check_its_deadline_and_a_panic_releases_the_permit() {
        let pool = CpuPool::new(1, Duration::from_secs(60), Duration::ZERO);
        assert_eq!(pool.run(|deadline| deadline.is_over()).await, Ok(true));
        assert_eq!(pool.run(|_| panic!("on purpose")).await, Err::<(), _>(CpuPoolError::Panicked));
        let patient = CpuPool { work_max: Duration::from_secs(600), ..pool };
        assert_eq!(patient.run(|deadline| deadline.is_over()).await, Ok(false));
    }
}
