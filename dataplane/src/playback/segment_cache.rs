//! The cache of segments in S3, including segments that are still being read.
//!
//! Concurrent and later requests for a segment share one read and receive the same pieces as they
//! arrive. The read is independent of any request, so a client that disconnects does not end it. A
//! failed read is removed immediately, and all waiting requests receive the error: a partial
//! segment is never cached.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use media::VideoId;
use quick_cache::{OptionsBuilder, sync::Cache};
use runtime::{Shutdown, Weigh};
use store::{Part, ReadError, Store, StoreErrorKind};
use tokio::sync::watch;

use crate::metrics::Lookups;

/// Estimated number of segments in a full cache.
const ITEMS: usize = 4096;
/// A segment larger than this fraction (one quarter) of the cache is not cached.
const PART_MAX: u64 = 4;
/// Most videos whose store is cached.
const STORES_MAX: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    store: String,
    key: String,
    start: u64,
    end: u64,
}

/// Counts the final size from the start.
fn weight(key: &Key, read: &Arc<SegmentRead>) -> u64 {
    read.bytes + key.key.len() as u64 + 256
}

/// The cache of segments.
pub(crate) struct SegmentCache {
    reads: Cache<Key, Arc<SegmentRead>, Weigh<Key, Arc<SegmentRead>>>,
    bytes_max: u64,
    stores: Cache<VideoId, String>,
    lookups: Lookups,
    shutdown: Shutdown,
}

/// State of a read.
#[derive(Clone, Debug)]
enum Progress {
    Reading,
    Complete,
    Missing,
    Failed(StoreErrorKind),
}

/// One segment.
pub(crate) struct SegmentRead {
    bytes: u64,
    pieces: Mutex<Vec<Bytes>>,
    progress: watch::Sender<Progress>,
}

impl SegmentCache {
    /// Caches up to `bytes_max` bytes of segments; 0 disables the cache.
    pub(crate) fn new(bytes_max: u64, lookups: Lookups, shutdown: Shutdown) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(ITEMS)
            .weight_capacity(bytes_max)
            // A shard cannot hold an entry larger than itself.
            .shards(1)
            .build();
        let reads = match options {
            Ok(options) => {
                Cache::with_options(options, Weigh(weight), Default::default(), Default::default())
            }
            Err(_) => Cache::with_weighter(ITEMS, bytes_max, Weigh(weight)),
        };
        Self { reads, bytes_max, stores: Cache::new(STORES_MAX), lookups, shutdown }
    }

    /// The store in which the video's objects were found.
    pub(crate) fn store_of(&self, video: VideoId) -> Option<String> {
        self.stores.get(&video)
    }

    /// Records where the video's objects are; a video never moves.
    pub(crate) fn cache_store(&self, video: VideoId, url: &str) {
        if self.stores.get(&video).is_none_or(|known| known != url) {
            self.stores.insert(video, url.to_owned());
        }
    }

    /// The segment, complete or still being read; `None` if it is too large to cache.
    pub(crate) fn get_or_read(
        self: &Arc<Self>,
        store: &Store,
        key: &str,
        range: Range<u64>,
    ) -> Option<Arc<SegmentRead>> {
        let bytes = range.end - range.start;
        if bytes > self.bytes_max / PART_MAX {
            self.lookups.count(false);
            return None;
        }
        let mut hit = true;
        let (store, object) = (store.clone(), key.to_owned());
        let key = Key {
            store: store.url.clone(),
            key: object.clone(),
            start: range.start,
            end: range.end,
        };
        let found: Result<_, std::convert::Infallible> =
            self.reads.get_or_insert_with(&key, || {
                hit = false;
                let read = Arc::new(SegmentRead::new(bytes));
                let (segments, hard) = (self.clone(), self.shutdown.hard.clone());
                let (key, reading) = (key.clone(), read.clone());
                self.shutdown.tracker.spawn(async move {
                    tokio::select! {
                        () = reading.read_all(&store, &object, range) => {}
                        () = hard.cancelled() => reading.finish(Progress::Failed(StoreErrorKind::Slow)),
                    }
                    if !reading.is_complete() {
                        let this = |other: &Arc<SegmentRead>| Arc::ptr_eq(other, &reading);
                        segments.reads.remove_if(&key, this);
                    }
                });
                Ok(read)
            });
        let Ok(read) = found;
        self.lookups.count(hit);
        Some(read)
    }
}

impl SegmentRead {
    fn new(bytes: u64) -> Self {
        let (progress, _) = watch::channel(Progress::Reading);
        Self { bytes, pieces: Mutex::default(), progress }
    }

    async fn read_all(&self, store: &Store, key: &str, range: Range<u64>) {
        let read = async {
            match store.open(key, range.clone()).await? {
                Part::File(_) => self.push(store.read(key, range).await?),
                Part::Stream(mut stream) => {
                    while let Some(piece) = stream.try_next().await? {
                        self.push(piece);
                    }
                }
            }
            Ok::<(), ReadError>(())
        };
        self.finish(match read.await {
            Ok(()) => Progress::Complete,
            Err(ReadError::Missing) => Progress::Missing,
            Err(ReadError::Store(error)) => Progress::Failed(error),
            Err(ReadError::File(error)) => {
                Progress::Failed(StoreErrorKind::Other(error.to_string()))
            }
        });
    }

    fn push(&self, piece: Bytes) {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
        self.progress.send_replace(Progress::Reading);
    }

    fn finish(&self, progress: Progress) {
        self.progress.send_replace(progress);
    }

    fn is_complete(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Complete)
    }

    fn piece(&self, number: usize) -> Option<Bytes> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).get(number).cloned()
    }

    /// Piece `number` as soon as it has arrived; `None` after the last.
    async fn next(
        &self,
        number: usize,
        progress: &mut watch::Receiver<Progress>,
    ) -> Result<Option<Bytes>, ReadError> {
        loop {
            let now = progress.borrow_and_update().clone();
            if let Some(piece) = self.piece(number) {
                return Ok(Some(piece));
            }
            match now {
                Progress::Reading => {}
                Progress::Complete => return Ok(None),
                Progress::Missing => return Err(ReadError::Missing),
                Progress::Failed(error) => return Err(ReadError::Store(error)),
            }
            if progress.changed().await.is_err() {
                return Err(ReadError::Store(StoreErrorKind::Slow));
            }
        }
    }

    /// Waits for the first bytes.
    pub(crate) async fn first_piece(&self) -> Result<(), ReadError> {
        self.next(0, &mut self.progress.subscribe()).await.map(drop)
    }

    /// The bytes `within` the segment, as they arrive.
    pub(crate) fn read(
        self: Arc<Self>,
        within: Range<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let progress = self.progress.subscribe();
        stream::try_unfold((self, progress, 0, 0_u64), move |(read, mut progress, number, at)| {
            let within = within.clone();
            async move {
                if at >= within.end {
                    return Ok(None);
                }
                let piece = read.next(number, &mut progress).await.map_err(io::Error::other)?;
                let Some(piece) = piece else { return Err(io::ErrorKind::UnexpectedEof.into()) };
                let next = at + piece.len() as u64;
                let from = within.start.saturating_sub(at).min(piece.len() as u64) as usize;
                let to = (within.end - at).min(piece.len() as u64) as usize;
                let part = piece.slice(from..to.max(from));
                Ok(Some((part, (read, progress, number + 1, next))))
            }
        })
        .try_filter(|piece| std::future::ready(!piece.is_empty()))
    }

    /// The bytes `within` the segment, once all have arrived.
    pub(crate) async fn whole(self: Arc<Self>, within: Range<u64>) -> Result<Bytes, ReadError> {
        self.first_piece().await?;
        let mut bytes = BytesMut::with_capacity((within.end - within.start) as usize);
        let mut pieces = std::pin::pin!(self.read(within));
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scan over all segments does not evict those that are requested often.
    #[test]
    fn scan_traffic_evicts_no_hot_segments_and_memory_stays_bounded() {
        const BYTES_MAX: u64 = 10 << 20;
        let segments = SegmentCache::new(BYTES_MAX, Lookups::default(), Shutdown::new());
        let key = |name: String| Key { store: String::new(), key: name, start: 0, end: 100_000 };
        let mut made = 0;
        let mut ask = |name: String| {
            let found: Result<_, std::convert::Infallible> =
                segments.reads.get_or_insert_with(&key(name), || {
                    made += 1;
                    Ok(Arc::new(SegmentRead::new(100_000)))
                });
            drop(found);
        };
        let mut walk = |from: u32, to: u32| {
            for cold in from..to {
                ask(format!("cold/{cold}"));
                if cold % 5 == 0 {
                    (0..20).for_each(|hot| ask(format!("hot/{hot}")));
                }
            }
        };
        walk(0, 1000);
        assert!(segments.reads.weight() <= BYTES_MAX);
        walk(1000, 2000);
        let again = made - 2000;
        assert!(again < 40, "hot segments were read {again} times");
    }

    #[tokio::test]
    async fn readers_get_pieces_as_they_arrive_and_a_failed_read_never_looks_complete() {
        let read = Arc::new(SegmentRead::new(9));
        let early = read.clone().read(2..8).try_collect::<Vec<Bytes>>();
        let arriving = async {
            for piece in ["012", "345", "678"] {
                read.push(Bytes::from_static(piece.as_bytes()));
                tokio::task::yield_now().await;
            }
            read.finish(Progress::Complete);
        };
        let (early, ()) = tokio::join!(early, arriving);
        assert_eq!(early.unwrap().concat(), b"234567");
        assert_eq!(&read.clone().whole(4..9).await.unwrap()[..], b"45678");
        assert_eq!(&read.whole(0..1).await.unwrap()[..], b"0");

        let broken = Arc::new(SegmentRead::new(9));
        let failing = async {
            broken.push(Bytes::from_static(b"012"));
            broken.finish(Progress::Failed(StoreErrorKind::Slow));
        };
        let (waiting, ()) = tokio::join!(broken.clone().whole(0..9), failing);
        assert!(waiting.is_err());
        assert!(broken.whole(0..9).await.is_err());
    }
}
