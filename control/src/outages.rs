//! Stores that this instance cannot hand out work for at the moment: it does not know them, or has no
//! credentials for them.
//!
//! Their tasks are left to other instances for a while, so that work on other stores does not queue behind
//! them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a store is left alone; then one claim tries again.
const OUTAGE: Duration = Duration::from_secs(3);

/// The stores, and until when.
#[derive(Debug, Default)]
pub struct StoreOutages(Mutex<HashMap<String, Instant>>);

impl StoreOutages {
    /// Leaves a store alone for a while.
    pub fn note(&self, url: String) {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(url, Instant::now() + OUTAGE);
    }

    /// The stores that are left alone now.
    pub fn current(&self) -> Vec<String> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Vec<String> {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|_, until| *until > now);
        stores.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{OUTAGE, StoreOutages};

    #[test]
    fn a_store_is_left_alone_for_a_while() {
        let outages = StoreOutages::default();
        let noted = Instant::now();
        outages.note("s3://a".to_owned());
        assert_eq!(outages.at(noted), ["s3://a"]);
        assert!(outages.at(Instant::now() + OUTAGE).is_empty());
    }
}
