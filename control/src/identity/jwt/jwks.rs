//! The keys that the provider publishes: fetched before they expire, at a limited rate, and used
//! while the provider is unavailable until they are too old to be trusted.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use authz::jwt::{JwtKeys, KeySetError};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use runtime::retry::doubled;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fetch::{FetchError, Fetcher};

/// Time between two fetches when the last one succeeded.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// Time between two fetches for unknown key ids, which any client can invent.
const UNKNOWN_EVERY: Duration = Duration::from_secs(30);
/// Time between two attempts after a failure; doubles from the first value to the second.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum JwksError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the key set {0}")]
    Keys(#[from] KeySetError),
}

#[derive(Default)]
struct CachedKeys {
    keys: Arc<JwtKeys>,
    fetched: Option<Instant>,
    attempted: Option<Instant>,
    attempts: u64,
    failures: u32,
}

/// The provider's published keys.
pub struct Jwks {
    fetcher: Fetcher,
    max_age: Duration,
    known: RwLock<CachedKeys>,
    /// Held during a fetch, so that at most one runs.
    fetching: tokio::sync::Mutex<()>,
    looked: Mutex<Option<Instant>>,
    fetches: Counter<u64>,
}

impl Jwks {
    /// Does not fetch the keys yet.
    pub(super) fn new(fetcher: Fetcher, max_age: Duration, meter: &Meter) -> Self {
        let fetches = meter
            .u64_counter("streaming_service_jwks_fetches_total")
            .with_description("Fetches of the identity provider's keys, by result")
            .build();
        Self {
            fetcher,
            max_age,
            known: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
            looked: Mutex::default(),
            fetches,
        }
    }

    /// The keys, if they are fresh enough to be trusted. Otherwise makes one more attempt, unless
    /// one has just failed.
    pub(super) async fn current(&self) -> Option<Arc<JwtKeys>> {
        if let Some(keys) = self.fresh() {
            return Some(keys);
        }
        let just_failed =
            self.read(|known| known.attempted).is_some_and(|at| at.elapsed() < RETRY_MIN);
        if just_failed && self.fetching.try_lock().is_ok() {
            return None;
        }
        self.refresh().await;
        self.fresh()
    }

    /// Fetches the keys after a token with an unknown key id, at most once in [`UNKNOWN_EVERY`]. A
    /// caller that arrives during a fetch waits for it. Returns whether the keys may have changed.
    pub(super) async fn look_for_unknown_key(&self) -> bool {
        let due = {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let due = looked.is_none_or(|at| at.elapsed() >= UNKNOWN_EVERY);
            if due {
                *looked = Some(Instant::now());
            }
            due
        };
        if due {
            self.refresh().await;
        } else if self.fetching.try_lock().is_err() {
            drop(self.fetching.lock().await);
        } else {
            return false;
        }
        true
    }

    /// Fetches every few minutes until `stop`; sooner after a failure.
    pub(super) async fn keep(&self, stop: CancellationToken) {
        loop {
            self.refresh().await;
            let pause = match self.read(|known| known.failures) {
                0 => REFRESH_EVERY.mul_f64(0.9 + rand::random::<f64>() / 10.0),
                failures => doubled(RETRY_MIN, failures, RETRY_MAX),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&CachedKeys) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fresh(&self) -> Option<Arc<JwtKeys>> {
        self.read(|known| {
            let fresh = known.fetched.is_some_and(|at| at.elapsed() < self.max_age);
            fresh.then(|| known.keys.clone())
        })
    }

    /// Fetches once; a caller that waited for another caller's fetch does not fetch again.
    async fn refresh(&self) {
        let before = self.read(|known| known.attempts);
        let _one = self.fetching.lock().await;
        if self.read(|known| known.attempts) != before {
            return;
        }
        let fetched = self.fetch().await;
        let result = if fetched.is_ok() { "ok" } else { "failed" };
        self.fetches.add(1, &[KeyValue::new("result", result)]);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.attempts += 1;
        known.attempted = Some(Instant::now());
        match fetched {
            Ok(keys) => {
                if known.failures > 0 || known.fetched.is_none() {
                    tracing::info!(
                        host = self.fetcher.host(),
                        ?keys,
                        "identity provider's keys fetched"
                    );
                }
                (known.keys, known.fetched, known.failures) = (Arc::new(keys), known.attempted, 0);
            }
            Err(error) => {
                known.failures = known.failures.saturating_add(1);
                // Log once per outage: the same line every few seconds adds no information.
                if known.failures == 1 {
                    let cause = crate::db::causes(&error);
                    let host = self.fetcher.host();
                    tracing::warn!(host, %error, cause, "failed to fetch the identity provider's keys");
                }
            }
        }
    }

    async fn fetch(&self) -> Result<JwtKeys, JwksError> {
        Ok(JwtKeys::from_jwks(&self.fetcher.get().await?)?)
    }
}
