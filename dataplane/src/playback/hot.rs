//! Segments in memory: small ones of any store, whole ones of stores behind a network. One read of the
//! store however many ask at once, and whoever of them goes away.
//!
//! Committed keys never change their bytes, so nothing here is ever stale; what may be asked for is
//! decided by the index before.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use quick_cache::{Weighter, sync::Cache};
use tokio_util::task::TaskTracker;

/// The largest share of the cache that one segment may take.
const SHARE_MAX: u64 = 16;
/// Reads at once, in memory as long as they last; beyond it, segments are streamed past.
const READS_MAX: usize = 32;
/// What one entry costs besides its bytes.
const ENTRY_BYTES: u64 = 200;
/// Entries that the cache is laid out for.
const ENTRIES: usize = 4096;

/// Which bytes of which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The object's key; unique over all stores, because it names its video.
    pub(crate) key: String,
    /// The first byte.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) bytes: u64,
}

/// The store could not be read; it has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The bytes, or that there are none.
pub(crate) type Outcome = Result<Option<Bytes>, Unreadable>;

type Reading = Shared<BoxFuture<'static, Outcome>>;

#[derive(Clone)]
struct Bytewise;

impl Weighter<Place, Bytes> for Bytewise {
    fn weight(&self, place: &Place, bytes: &Bytes) -> u64 {
        bytes.len() as u64 + place.key.len() as u64 + ENTRY_BYTES
    }
}

/// The cache.
pub(crate) struct Hot {
    inner: Arc<Inner>,
    segment_bytes_max: u64,
}

struct Inner {
    kept: Cache<Place, Bytes, Bytewise>,
    reading: Mutex<HashMap<Place, Reading>>,
}

impl Hot {
    /// Of so many bytes; 0 keeps nothing.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let kept = Cache::with_weighter(ENTRIES, bytes_max, Bytewise);
        let inner = Arc::new(Inner { kept, reading: Mutex::default() });
        Self { inner, segment_bytes_max: bytes_max / SHARE_MAX }
    }

    /// A segment that is there already.
    pub(crate) fn get(&self, place: &Place) -> Option<Bytes> {
        self.inner.kept.get(place)
    }

    /// A segment, read by `fetch` when it is not there; `None` when it must be streamed past, because it
    /// is too large or too many are being read.
    pub(crate) async fn read(
        &self,
        tracker: &TaskTracker,
        place: Place,
        fetch: impl Future<Output = Outcome> + Send + 'static,
    ) -> Option<Outcome> {
        if place.bytes > self.segment_bytes_max {
            return None;
        }
        let reading = {
            let mut all = self.inner.reading.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock, because a read that ends keeps its bytes before it leaves the list.
            if let Some(bytes) = self.inner.kept.get(&place) {
                return Some(Ok(Some(bytes)));
            }
            match all.get(&place) {
                Some(reading) => reading.clone(),
                None if all.len() >= READS_MAX => return None,
                None => {
                    let reading = begin(&self.inner, tracker, place.clone(), fetch);
                    all.insert(place, reading.clone());
                    reading
                }
            }
        };
        Some(reading.await)
    }
}

/// Reads on a task of its own, so that it ends although whoever began it has gone.
fn begin(
    inner: &Arc<Inner>,
    tracker: &TaskTracker,
    place: Place,
    fetch: impl Future<Output = Outcome> + Send + 'static,
) -> Reading {
    let inner = inner.clone();
    let task = tracker.spawn(async move {
        let leave = Leave { inner, place };
        let outcome = fetch.await;
        if let Ok(Some(bytes)) = &outcome {
            leave.inner.kept.insert(leave.place.clone(), bytes.clone());
        }
        outcome
    });
    task.map(|ended| ended.unwrap_or(Err(Unreadable))).boxed().shared()
}

/// Takes a read off the list, also one that panics.
struct Leave {
    inner: Arc<Inner>,
    place: Place,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut all = self.inner.reading.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    fn place(number: u64, bytes: u64) -> Place {
        Place { key: format!("videos/x/{number}"), offset: 0, bytes }
    }

    /// A store that answers when it is let to, and counts.
    struct Store {
        reads: AtomicUsize,
        go: Semaphore,
    }

    impl Default for Store {
        fn default() -> Self {
            Self { reads: AtomicUsize::new(0), go: Semaphore::new(0) }
        }
    }

    async fn fetch(store: Arc<Store>, outcome: Outcome) -> Outcome {
        store.reads.fetch_add(1, Ordering::SeqCst);
        store.go.acquire().await.unwrap().forget();
        outcome
    }

    fn some(bytes: usize) -> Outcome {
        Ok(Some(Bytes::from(vec![7; bytes])))
    }

    #[tokio::test]
    async fn a_thousand_askers_cost_one_read_although_the_first_goes_away() {
        let (hot, tracker, store) = (Hot::new(1 << 20), TaskTracker::new(), Arc::new(Store::default()));
        let ask = || hot.read(&tracker, place(1, 1000), fetch(store.clone(), some(1000)));
        let mut first = Box::pin(ask());
        assert!(futures::poll!(&mut first).is_pending());
        let mut others: Vec<_> = (0..1000).map(|_| Box::pin(ask())).collect();
        for other in &mut others {
            assert!(futures::poll!(other).is_pending());
        }
        drop(first);
        store.go.add_permits(1);
        for other in others {
            assert_eq!(other.await, Some(some(1000)));
        }
        assert_eq!(store.reads.load(Ordering::SeqCst), 1);
        assert_eq!(hot.get(&place(1, 1000)).unwrap().len(), 1000);
        assert_eq!(ask().await, Some(some(1000)));
        assert_eq!(store.reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn failures_and_absences_are_told_to_all_and_not_kept() {
        let (hot, tracker, store) = (Hot::new(1 << 20), TaskTracker::new(), Arc::new(Store::default()));
        store.go.add_permits(10);
        for outcome in [Err(Unreadable), Ok(None)] {
            let ask = || hot.read(&tracker, place(2, 10), fetch(store.clone(), outcome.clone()));
            let (a, b) = futures::join!(ask(), ask());
            assert_eq!((a, b), (Some(outcome.clone()), Some(outcome.clone())));
            assert!(hot.get(&place(2, 10)).is_none());
        }
        assert_eq!(store.reads.load(Ordering::SeqCst), 2);
        let panics = hot.read(&tracker, place(2, 10), async { panic!("in the store") });
        assert_eq!(panics.await, Some(Err(Unreadable)));
        let after = hot.read(&tracker, place(2, 10), fetch(store.clone(), some(10)));
        assert_eq!(after.await, Some(some(10)));
    }

    #[tokio::test]
    async fn large_segments_and_too_many_are_streamed_past() {
        let (hot, tracker, store) = (Hot::new(1 << 20), TaskTracker::new(), Arc::new(Store::default()));
        let large = hot.read(&tracker, place(3, 1 << 17), fetch(store.clone(), some(1 << 17)));
        assert_eq!(large.await, None);
        let ask = |n| hot.read(&tracker, place(n, 10), fetch(store.clone(), some(10)));
        let mut asked: Vec<_> = (0..READS_MAX as u64).map(|n| Box::pin(ask(n))).collect();
        for one in &mut asked {
            assert!(futures::poll!(one).is_pending());
        }
        assert_eq!(ask(999).await, None);
        store.go.add_permits(READS_MAX + 1);
        for one in asked {
            assert_eq!(one.await, Some(some(10)));
        }
        assert_eq!(ask(999).await, Some(some(10)));
        assert_eq!(Hot::new(0).read(&tracker, place(4, 10), async { some(10) }).await, None);
    }

    #[tokio::test]
    async fn what_is_often_asked_for_survives_a_scan_within_the_bound() {
        let (hot, tracker) = (Hot::new(1 << 20), TaskTracker::new());
        let ask = async |n| hot.read(&tracker, place(n, 1000), async { some(1000) }).await;
        for _ in 0..3 {
            for n in 0..100 {
                ask(n).await;
            }
        }
        for n in 1000..21_000 {
            ask(n).await;
            if n % 20 == 0 {
                hot.get(&place(n / 20 % 100, 1000));
            }
        }
        let left = (0..100).filter(|n| hot.get(&place(*n, 1000)).is_some()).count();
        assert!(left >= 80, "{left} of 100 hot segments are left");
        assert!(hot.inner.kept.weight() <= 1 << 20, "{}", hot.inner.kept.weight());
    }
}
