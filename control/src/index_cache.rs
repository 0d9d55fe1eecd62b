//! Caches the encoded indexes of served videos.

use bytes::Bytes;
use media::VideoId;
use quick_cache::sync::Cache;
use runtime::Weigh;

/// Maximum size of the cached indexes in bytes.
const CACHE_BYTES_MAX: u64 = 64 << 20;
const CACHE_ITEMS: usize = 1024;

/// A revision of the video's row, and the index encoded from it.
type Entry = (i64, Bytes);

/// Encoded indexes by video, each valid for exactly one revision of the video's row.
pub struct IndexCache(Cache<VideoId, Entry, Weigh<VideoId, Entry>>);

impl Default for IndexCache {
    fn default() -> Self {
        Self(Cache::with_weighter(
            CACHE_ITEMS,
            CACHE_BYTES_MAX,
            Weigh(|_, (_, bytes)| bytes.len() as u64 + 64),
        ))
    }
}

impl std::fmt::Debug for IndexCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexCache").field("items", &self.0.len()).finish()
    }
}

impl IndexCache {
    /// The index of a video at this revision, if it is cached.
    pub fn get(&self, video: VideoId, revision: i64) -> Option<Bytes> {
        let (cached, bytes) = self.0.get(&video)?;
        (cached == revision).then_some(bytes)
    }

    /// Replaces the cached index of a video.
    pub fn insert(&self, video: VideoId, revision: i64, bytes: Bytes) {
        self.0.insert(video, (revision, bytes));
    }
}
