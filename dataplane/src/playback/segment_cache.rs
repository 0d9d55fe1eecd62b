//! The cache of segments in S3, including segments that are still being read.
//!
//! Concurrent and later requests for a segment share one read and receive the same pieces as they
//! arrive. The read is independent of any request, so a client that disconnects does not end it. A
//! failed read is removed at once, and all waiting requests receive the error: a partial segment is
//! never cached.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use media::VideoId;
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};
use store::{Part, ReadError, Store, Trouble};
use tokio::sync::watch;

use crate::app::App;

/// Estimated number of segments in a full cache.
const ITEMS: usize = 4096;
/// A segment larger than this fraction (one quarter) of the cache is not cached.
const PART_MAX: u64 = 4;
/// Most videos whose store is remembered.
const HOMES_MAX: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    store: String,
    key: String,
    start: u64,
    end: u64,
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<Key, Arc<Flight>> for Bytewise {
    fn weight(&self, key: &Key, flight: &Arc<Flight>) -> u64 {
        // Counts the final size from the start.
        flight.bytes + key.key.len() as u64 + 256
    }
}

/// The cache of segments.
pub(crate) struct Segments {
    flights: Cache<Key, Arc<Flight>, Bytewise>,
    bytes_max: u64,
    homes: Cache<VideoId, String>,
}

/// State of a read.
#[derive(Clone, Debug)]
enum Progress {
    Flying,
    Landed,
    Missing,
    Failed(Trouble),
}

/// One segment.
pub(crate) struct Flight {
    bytes: u64,
    pieces: Mutex<Vec<Bytes>>,
    progress: watch::Sender<Progress>,
}

impl Segments {
    /// Caches up to `bytes_max` bytes of segments; 0 disables the cache.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(ITEMS)
            .weight_capacity(bytes_max)
            // A shard cannot hold an entry larger than itself.
            .shards(1)
            .build();
        let flights = match options {
            Ok(options) => {
                Cache::with_options(options, Bytewise, Default::default(), Default::default())
            }
            Err(_) => Cache::with_weighter(ITEMS, bytes_max, Bytewise),
        };
        Self { flights, bytes_max, homes: Cache::new(HOMES_MAX) }
    }

    /// The store in which the video's objects were found.
    pub(crate) fn home(&self, video: VideoId) -> Option<String> {
        self.homes.get(&video)
    }

    /// Records where the video's objects are; a video never moves.
    pub(crate) fn found(&self, video: VideoId, url: &str) {
        if self.homes.get(&video).is_none_or(|known| known != url) {
            self.homes.insert(video, url.to_owned());
        }
    }

    /// The segment, complete or still being read; `None` if it is too large to cache.
    pub(crate) fn flight(
        &self,
        app: &App,
        store: &Store,
        key: &str,
        range: Range<u64>,
    ) -> Option<Arc<Flight>> {
        let bytes = range.end - range.start;
        if bytes > self.bytes_max / PART_MAX {
            return None;
        }
        let (store, object) = (store.clone(), key.to_owned());
        let key = Key {
            store: store.url.clone(),
            key: object.clone(),
            start: range.start,
            end: range.end,
        };
        let found: Result<_, std::convert::Infallible> =
            self.flights.get_or_insert_with(&key, || {
                let flight = Arc::new(Flight::new(bytes));
                let (segments, hard) = (app.segments.clone(), app.shutdown.hard.clone());
                let (key, flying) = (key.clone(), flight.clone());
                app.shutdown.tracker.spawn(async move {
                    tokio::select! {
                        () = flying.fly(&store, &object, range) => {}
                        () = hard.cancelled() => flying.land(Progress::Failed(Trouble::Slow)),
                    }
                    if !flying.landed() {
                        let this = |other: &Arc<Flight>| Arc::ptr_eq(other, &flying);
                        segments.flights.remove_if(&key, this);
                    }
                });
                Ok(flight)
            });
        let Ok(flight) = found;
        Some(flight)
    }
}

impl Flight {
    fn new(bytes: u64) -> Self {
        let (progress, _) = watch::channel(Progress::Flying);
        Self { bytes, pieces: Mutex::default(), progress }
    }

    async fn fly(&self, store: &Store, key: &str, range: Range<u64>) {
        let read = async {
            match store.open(key, range.clone()).await? {
                Part::File(_) => self.take(store.read(key, range).await?),
                Part::Stream(mut stream) => {
                    while let Some(piece) = stream.try_next().await? {
                        self.take(piece);
                    }
                }
            }
            Ok::<(), ReadError>(())
        };
        self.land(match read.await {
            Ok(()) => Progress::Landed,
            Err(ReadError::Missing) => Progress::Missing,
            Err(ReadError::Store(trouble)) => Progress::Failed(trouble),
            Err(ReadError::File(error)) => Progress::Failed(Trouble::Other(error.to_string())),
        });
    }

    fn take(&self, piece: Bytes) {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
        self.progress.send_replace(Progress::Flying);
    }

    fn land(&self, progress: Progress) {
        self.progress.send_replace(progress);
    }

    fn landed(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Landed)
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
                Progress::Flying => {}
                Progress::Landed => return Ok(None),
                Progress::Missing => return Err(ReadError::Missing),
                Progress::Failed(trouble) => return Err(ReadError::Store(trouble)),
            }
            if progress.changed().await.is_err() {
                return Err(ReadError::Store(Trouble::Slow));
            }
        }
    }

    /// Waits for the first bytes.
    pub(crate) async fn begun(&self) -> Result<(), ReadError> {
        self.next(0, &mut self.progress.subscribe()).await.map(drop)
    }

    /// The bytes `within` the segment, as they arrive.
    pub(crate) fn read(
        self: Arc<Self>,
        within: Range<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let progress = self.progress.subscribe();
        stream::try_unfold((self, progress, 0, 0_u64), move |(flight, mut progress, number, at)| {
            let within = within.clone();
            async move {
                if at >= within.end {
                    return Ok(None);
                }
                let piece = flight.next(number, &mut progress).await.map_err(io::Error::other)?;
                let Some(piece) = piece else { return Err(io::ErrorKind::UnexpectedEof.into()) };
                let next = at + piece.len() as u64;
                let from = within.start.saturating_sub(at).min(piece.len() as u64) as usize;
                let to = (within.end - at).min(piece.len() as u64) as usize;
                let part = piece.slice(from..to.max(from));
                Ok(Some((part, (flight, progress, number + 1, next))))
            }
        })
        .try_filter(|piece| std::future::ready(!piece.is_empty()))
    }

    /// The bytes `within` the segment, once all have arrived.
    pub(crate) async fn whole(self: Arc<Self>, within: Range<u64>) -> Result<Bytes, ReadError> {
        self.begun().await?;
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
        let segments = Segments::new(BYTES_MAX);
        let key = |name: String| Key { store: String::new(), key: name, start: 0, end: 100_000 };
        let mut made = 0;
        let mut ask = |name: String| {
            let found: Result<_, std::convert::Infallible> =
                segments.flights.get_or_insert_with(&key(name), || {
                    made += 1;
                    Ok(Arc::new(Flight::new(100_000)))
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
        assert!(segments.flights.weight() <= BYTES_MAX);
        walk(1000, 2000);
        let again = made - 2000;
        assert!(again < 40, "hot segments were read {again} times");
    }

    #[tokio::test]
    async fn readers_get_pieces_as_they_arrive_and_a_failed_read_never_looks_complete() {
        let flight = Arc::new(Flight::new(9));
        let early = flight.clone().read(2..8).try_collect::<Vec<Bytes>>();
        let arriving = async {
            for piece in ["012", "345", "678"] {
                flight.take(Bytes::from_static(piece.as_bytes()));
                tokio::task::yield_now().await;
            }
            flight.land(Progress::Landed);
        };
        let (early, ()) = tokio::join!(early, arriving);
        assert_eq!(early.unwrap().concat(), b"234567");
        assert_eq!(&flight.clone().whole(4..9).await.unwrap()[..], b"45678");
        assert_eq!(&flight.whole(0..1).await.unwrap()[..], b"0");

        let broken = Arc::new(Flight::new(9));
        let failing = async {
            broken.take(Bytes::from_static(b"012"));
            broken.land(Progress::Failed(Trouble::Slow));
        };
        let (waiting, ()) = tokio::join!(broken.clone().whole(0..9), failing);
        assert!(waiting.is_err());
        assert!(broken.whole(0..9).await.is_err());
    }
}
