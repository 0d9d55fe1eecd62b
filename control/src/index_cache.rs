//! Caches the encoded indexes of served videos.

use bytes::Bytes;
use media::VideoId;
use quick_cache::{Weighter, sync::Cache};

/// Maximum size of the cached indexes in bytes.
const CACHE_BYTES_MAX: u64 = 64 << 20;
const CACHE_ITEMS: usize = 1024;

#[derive(Clone)]
struct Bytewise;

impl Weighter<VideoId, (i64, Bytes)> for Bytewise {
    fn weight(&self, _key: &VideoId, value: &(i64, Bytes)) -> u64 {
        value.1.len() as u64 + 64
    }
}

/// Encoded indexes by video, each valid for exactly one revision of the video's row.
pub struct IndexCache(Cache<VideoId, (i64, Bytes), Bytewise>);

impl Default for IndexCache {
    fn default() -> Self {
        Self(Cache::with_weighter(CACHE_ITEMS, CACHE_BYTES_MAX, Bytewise))
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
