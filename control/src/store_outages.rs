//! Stores for which this instance cannot lease tasks at the moment, because they are not configured
//! or it has no credentials for them.
//!
//! For a while it leaves their tasks to other instances, so that tasks of other stores do not wait
//! behind them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a store's tasks are skipped; after that, one claim tries again.
const OUTAGE: Duration = Duration::from_secs(3);

/// The URLs of the stores, each with the end of its outage.
#[derive(Debug, Default)]
pub struct StoreOutages(Mutex<HashMap<String, Instant>>);

impl StoreOutages {
    /// Skips a store's tasks for a while.
    pub fn add(&self, url: String) {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(url, Instant::now() + OUTAGE);
    }

    /// The stores whose tasks are skipped now.
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
    fn an_unavailable_store_is_avoided_for_a_while() {
        let outages = StoreOutages::default();
        let noted = Instant::now();
        outages.add("s3://a".to_owned());
        assert_eq!(outages.at(noted), ["s3://a"]);
        assert!(outages.at(Instant::now() + OUTAGE).is_empty());
    }
}
