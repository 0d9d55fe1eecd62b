//! A source in S3, read block by block. A block that several readers of this worker need is fetched
//! once, an expired URL is replaced, and requests are retried for a while when the store fails.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use api::v1;
use bytes::Bytes;
use quick_cache::sync::Cache;
use runtime::{Secret, Weigh};
use tokio::time::{Instant, sleep};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    bucket::{BucketError, Client, Part},
    control_handles::{Access, AccessError},
};

/// Bytes of one request.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;
/// Memory for recently read blocks, for other readers of the same part: mostly the indexes of media
/// files.
const CACHE_BYTES_MAX: u64 = 64 << 20;
const CACHE_ITEMS: usize = 64;
/// How long one block is retried: less than FFmpeg's watchdogs wait.
const RETRY_TIME_MAX: Duration = Duration::from_secs(12);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A URL is replaced after this fraction of its lifetime.
const URL_LIFE_USED: f64 = 0.8;
/// How often the store may reject a URL for one block.
const REJECTIONS_MAX: u32 = 2;

type BlockKey = (Arc<str>, u64);

/// The blocks of all sources by the source's key; the bytes under a key never change.
pub(super) struct Blocks(Cache<BlockKey, Bytes, Weigh<BlockKey, Bytes>>);

impl Default for Blocks {
    fn default() -> Self {
        Self(Cache::with_weighter(
            CACHE_ITEMS,
            CACHE_BYTES_MAX,
            Weigh(|_, bytes| bytes.len() as u64 + 64),
        ))
    }
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("items", &self.0.len()).finish()
    }
}

#[derive(Clone, Debug)]
struct Signed {
    url: Secret,
    until: Instant,
}

/// A source as one lease reads it.
#[derive(Debug)]
pub(super) struct Remote {
    key: Arc<str>,
    client: Arc<Client>,
    access: Access,
    blocks: Arc<Blocks>,
    signed: tokio::sync::Mutex<Signed>,
    bytes: u64,
    etag: Option<String>,
    read_error: Mutex<Option<BucketError>>,
    /// Fetches that run apart from their readers.
    fetches: TaskTracker,
}

impl Remote {
    /// Reads the first block and takes the source's size from the reply.
    pub(super) async fn open(
        lease: &v1::Lease,
        client: Arc<Client>,
        access: Access,
        blocks: Arc<Blocks>,
    ) -> Result<Self, BucketError> {
        let seconds = lease.url_seconds;
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        let signed = signed(Secret::new(&*lease.source_url), Duration::from_secs_f64(seconds));
        let mut remote = Self {
            key: lease.source_key.as_str().into(),
            client,
            access,
            blocks,
            signed: tokio::sync::Mutex::new(signed),
            bytes: 0,
            etag: None,
            read_error: Mutex::new(None),
            fetches: TaskTracker::new(),
        };
        let first = remote.fetch(0, BLOCK_BYTES).await?;
        (remote.bytes, remote.etag) = (first.total, first.etag);
        remote.blocks.0.insert((Arc::clone(&remote.key), 0), first.bytes);
        Ok(remote)
    }

    /// The source's size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The source's key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The error of the last failed read, if there was one.
    pub(super) fn read_error(&self) -> Option<BucketError> {
        self.read_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads block `number`; the last one is shorter. An error is also recorded for
    /// [`Self::read_error`].
    pub(super) async fn block(&self, number: u64) -> Result<Bytes, BucketError> {
        let start = number * BLOCK_BYTES;
        let end = (start + BLOCK_BYTES).min(self.bytes);
        let fetch = async { Ok(self.fetch(start, end).await?.bytes) };
        let key = (Arc::clone(&self.key), number);
        let block = self.blocks.0.get_or_insert_async(&key, fetch).await;
        block.inspect_err(|error| self.fail(error))
    }

    /// Block `number`, fetched by a task of its own, which ends when the handle is dropped. For
    /// readers that may not come back for a while: other readers wait for the same block and the
    /// same URL, and a fetch that is not polled would hold them up.
    pub(super) fn ahead(
        self: &Arc<Self>,
        number: u64,
    ) -> AbortOnDropHandle<Result<Bytes, BucketError>> {
        let remote = Arc::clone(self);
        AbortOnDropHandle::new(self.fetches.spawn(async move { remote.block(number).await }))
    }

    /// Up to `length` bytes from `start`.
    pub(super) async fn peek(&self, start: u64, length: usize) -> Result<Vec<u8>, BucketError> {
        let end = start.saturating_add(length as u64).min(self.bytes);
        let mut bytes = Vec::with_capacity(length);
        let mut at = start;
        while at < end {
            let block = self.block(at / BLOCK_BYTES).await?;
            let from = (at % BLOCK_BYTES) as usize;
            let piece = &block[from..block.len().min(from + (end - at) as usize)];
            bytes.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        Ok(bytes)
    }

    fn fail(&self, error: &BucketError) {
        let mut first = self.read_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.clone());
    }

    async fn fetch(&self, start: u64, end: u64) -> Result<Part, BucketError> {
        let (begun, mut pause, mut rejections) = (Instant::now(), PAUSE_MIN, 0);
        loop {
            let url = self.url().await;
            let got = match &url {
                Ok(url) => self.client.get(url, start..end, self.etag.as_deref()).await,
                Err(error) => Err(error.clone()),
            };
            match got {
                Ok(part) => return Ok(part),
                // The URL has expired, or the store's credentials were changed.
                Err(BucketError::Denied(_)) if url.is_ok() && rejections < REJECTIONS_MAX => {
                    rejections += 1;
                    self.signed.lock().await.until = Instant::now();
                }
                Err(BucketError::Down(why)) if begun.elapsed() < RETRY_TIME_MAX => {
                    tracing::debug!(reason = why, "retrying to read source");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The current URL, or a new one after it has expired; one reader requests it for all.
    async fn url(&self) -> Result<Secret, BucketError> {
        let mut held = self.signed.lock().await;
        if Instant::now() >= held.until {
            let (url, lifetime) =
                self.access.source(&self.key).await.map_err(|error| match error {
                    AccessError::LeaseLost => BucketError::LeaseLost,
                    AccessError::Unavailable(why) => BucketError::Down(why),
                    AccessError::Rejected(why) => BucketError::Denied(why),
                })?;
            *held = signed(url, lifetime);
        }
        Ok(held.url.clone())
    }
}

fn signed(url: Secret, lifetime: Duration) -> Signed {
    Signed { url, until: Instant::now() + lifetime.mul_f64(URL_LIFE_USED) }
}
