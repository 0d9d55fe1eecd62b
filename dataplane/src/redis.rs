//! The Redis client of this plane: runs short scripts with a short timeout.
//!
//! **Invariant:** no request depends on a response. Redis is not called while it is disconnected.
//! After a few consecutive failures it is not called for a moment, so that a slow Redis barely
//! delays requests.

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{
    prelude::{Client, ClientLike, Error, FromValue, LuaInterface, Value},
    types::MultipleKeys,
};
use runtime::redis::{RedisError, builder};
use tokio_util::sync::CancellationToken;

/// Timeout of one call.
const CALL_TIME_MAX: Duration = Duration::from_millis(250);
/// Consecutive failures after which Redis is not called for [`PAUSE`].
const FAILURES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// One connection, established by [`Self::keep_connected`] and reestablished whenever it breaks.
pub(crate) struct Redis {
    client: Client,
    failures: AtomicU32,
    start: Instant,
    /// No calls are made before this time, in milliseconds after `start`.
    paused_until: AtomicI64,
}

/// A script, sent as text once and by its digest afterwards.
pub(crate) struct Script {
    text: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    /// Creates a script from its text.
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, digest: OnceLock::new() }
    }
}

impl Redis {
    /// Parses the URL; see [`builder`].
    ///
    /// # Errors
    /// The URL is invalid, or the CA bundle is unusable.
    pub(crate) fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, RedisError> {
        let client = builder(url, ca_file, CALL_TIME_MAX)?.build().map_err(RedisError::Url)?;
        Ok(Self {
            client,
            failures: AtomicU32::new(0),
            start: Instant::now(),
            paused_until: AtomicI64::new(0),
        })
    }

    /// Checks the URL without connecting.
    pub(crate) fn check(url: &str, ca_file: Option<&Path>) -> Result<(), RedisError> {
        if url.is_empty() { Ok(()) } else { builder(url, ca_file, CALL_TIME_MAX).map(drop) }
    }

    /// Keeps the connection established until `stop`.
    pub(crate) async fn keep_connected(&self, stop: CancellationToken) {
        let connection = self.client.connect();
        stop.cancelled().await;
        connection.abort();
    }

    /// Runs a script; `None` when Redis does not respond in time.
    pub(crate) async fn run<R: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Option<R> {
        if !self.client.is_connected() || self.is_paused() {
            return None;
        }
        let reply = tokio::time::timeout(CALL_TIME_MAX, self.evaluate(script, keys, args)).await;
        let reply = match reply {
            Ok(Ok(value)) => value.convert::<R>(),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(fred::error::ErrorKind::Timeout, "no reply in time")),
        };
        match reply {
            Ok(reply) => {
                if self.failures.swap(0, Ordering::Relaxed) >= FAILURES_MAX {
                    tracing::info!("redis recovered");
                }
                Some(reply)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    async fn evaluate(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Value, Error> {
        let digest = match script.digest.get() {
            Some(digest) => digest,
            None => {
                let loaded: String = self.client.script_load(script.text).await?;
                script.digest.get_or_init(|| loaded)
            }
        };
        let known = MultipleKeys::from(keys.clone());
        match self.client.evalsha(digest.as_str(), known, args.clone()).await {
            // Redis was restarted or flushed in the meantime.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                self.client.eval(script.text, MultipleKeys::from(keys), args).await
            }
            reply => reply,
        }
    }

    fn is_paused(&self) -> bool {
        self.now() < self.paused_until.load(Ordering::Relaxed)
    }

    fn failed(&self, error: &Error) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= FAILURES_MAX {
            let until = self.now() + PAUSE.as_millis() as i64;
            self.paused_until.store(until, Ordering::Relaxed);
        }
        // Logged once per outage.
        if failures == FAILURES_MAX {
            tracing::warn!(%error, "failed to query redis, continuing without it");
        }
    }

    fn now(&self) -> i64 {
        self.start.elapsed().as_millis() as i64
    }
}
