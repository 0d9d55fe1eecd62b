//! The requests that write uploads on this data plane. A HEAD or PATCH takes over an upload from a
//! request that is still running: that request is stopped, and its last write is awaited.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a stopped request may go on saving received bytes; afterwards only bytes saved before
/// are kept.
const SAVE_TIME_MAX: Duration = Duration::from_secs(1);
/// How long to wait for a stopped request to end. If it takes longer, its lease expires instead.
const END_TIME_MAX: Duration = Duration::from_millis(1500);

/// Requests that a transfer stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    at: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// Stops the request; calling it again changes nothing.
    pub(crate) fn stop(&self) {
        self.at.get_or_init(Instant::now);
        self.token.cancel();
    }

    /// Waits until the request is stopped.
    pub(crate) async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// Waits for the time by which a stopped request must have saved the received bytes.
    pub(crate) async fn save_deadline(&self) {
        self.token.cancelled().await;
        let stopped = self.at.get().copied().unwrap_or_else(Instant::now);
        sleep_until(stopped + SAVE_TIME_MAX).await;
    }
}

/// All requests that hold a lease on a resumable upload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transfers(Arc<Running>);

#[derive(Debug, Default)]
struct Running {
    transfers: Mutex<HashMap<u64, Transfer>>,
    numbers: AtomicU64,
}

#[derive(Clone, Debug)]
struct Transfer {
    upload_id: String,
    writer: String,
    stop: Stop,
    ended: CancellationToken,
}

/// Registration of such a request; dropping it marks the request as ended.
#[derive(Debug)]
pub(crate) struct Entry {
    running: Arc<Running>,
    number: u64,
    _ended: DropGuard,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut transfers = self.running.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.remove(&self.number);
    }
}

impl Transfers {
    /// Registers a request until its entry is dropped.
    pub(crate) fn register(&self, upload_id: &str, writer: &str, stop: Stop) -> Entry {
        let ended = CancellationToken::new();
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let transfer = Transfer {
            upload_id: upload_id.to_owned(),
            writer: writer.to_owned(),
            stop,
            ended: ended.clone(),
        };
        self.0.transfers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, transfer);
        Entry { running: self.0.clone(), number, _ended: ended.drop_guard() }
    }

    /// Stops the request that writes as `writer`, if it runs here, because another request has
    /// claimed its lease in control.
    pub(crate) fn claimed(&self, writer: &str) {
        self.matching(|transfer| transfer.writer == writer).iter().for_each(|t| t.stop.stop());
    }

    /// Stops every request that writes this upload here, and waits for its last write.
    pub(crate) async fn settle(&self, upload_id: &str) {
        let running = self.matching(|transfer| transfer.upload_id == upload_id);
        running.iter().for_each(|transfer| transfer.stop.stop());
        let ended = join_all(running.iter().map(|transfer| transfer.ended.cancelled()));
        // If the time is up, the lease decides.
        let _late = timeout(END_TIME_MAX, ended).await;
    }

    fn matching(&self, wanted: impl Fn(&Transfer) -> bool) -> Vec<Transfer> {
        let transfers = self.0.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.values().filter(|transfer| wanted(transfer)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settling_waits_for_the_requests_of_that_upload_and_no_others() {
        let transfers = Transfers::default();
        let (mine, other) = (Stop::default(), Stop::default());
        let entry = transfers.register("one", "a", mine.clone());
        let _other = transfers.register("two", "b", other.clone());
        let stopping = mine.clone();
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(async move {
            stopping.stopped().await;
            drop(entry);
        });
        transfers.settle("one").await;
        writing.join_next().await.unwrap().unwrap();
        assert!(mine.token.is_cancelled() && !other.token.is_cancelled());
        assert_eq!(transfers.matching(|_| true).len(), 1);
        transfers.claimed("a");
        assert!(!other.token.is_cancelled());
        transfers.claimed("b");
        assert!(other.token.is_cancelled());
    }
}
