//! The limiter of one process, used while Redis is unavailable: the same rates, counted by this
//! instance alone.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use quick_cache::sync::Cache;
use runtime::rate::{Decision, Rate};

/// Maximum number of clients that are tracked; beyond it, the least recently seen clients are
/// forgotten.
const CLIENTS_MAX: usize = 65_536;

/// Theoretical arrival times by client, in microseconds since the start.
pub(crate) struct Local {
    arrivals: Cache<String, Arc<Mutex<Option<i64>>>>,
    start: Instant,
}

impl Local {
    /// Creates a limiter without any clients.
    pub(crate) fn new() -> Self {
        Self { arrivals: Cache::new(CLIENTS_MAX), start: Instant::now() }
    }

    /// Decides on a request of the client with this key; 0 `requests` count nothing.
    pub(crate) fn decide(&self, key: &str, rate: Rate, requests: u32) -> Decision {
        let made: Result<_, std::convert::Infallible> =
            self.arrivals.get_or_insert_with(key, || Ok(Arc::default()));
        let Ok(arrival) = made;
        let mut arrival = arrival.lock().unwrap_or_else(PoisonError::into_inner);
        // i64 holds almost 300,000 years.
        let now = self.start.elapsed().as_micros() as i64;
        if requests == 0 {
            return rate.state(*arrival, now);
        }
        let (decision, next) = rate.decide(*arrival, now);
        *arrival = Some(next);
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_counted_separately_and_memory_is_bounded() {
        let local = Local::new();
        let rate = Rate::parse("2/7d").unwrap().unwrap();
        assert!(local.decide("a", rate, 1).allowed);
        assert!(local.decide("a", rate, 1).allowed);
        assert!(!local.decide("a", rate, 1).allowed);
        assert!(local.decide("b", rate, 1).allowed);
        assert_eq!(local.decide("b", rate, 0).remaining, 1);
        assert_eq!(local.decide("b", rate, 0).remaining, 1, "looking counts nothing");
        for n in 0..2 * CLIENTS_MAX {
            local.decide(&n.to_string(), rate, 1);
        }
        assert!(local.arrivals.len() <= CLIENTS_MAX);
    }
}
