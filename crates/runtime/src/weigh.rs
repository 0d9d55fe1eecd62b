//! Weighs the entries of caches whose size is bounded in bytes.

use quick_cache::Weighter;

/// Weighs an entry by a function of its key and its value, which returns bytes.
#[derive(Debug)]
pub struct Weigh<K, V>(pub fn(&K, &V) -> u64);

impl<K, V> Clone for Weigh<K, V> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<K, V> Weighter<K, V> for Weigh<K, V> {
    fn weight(&self, key: &K, value: &V) -> u64 {
        (self.0)(key, value)
    }
}
