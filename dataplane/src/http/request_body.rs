//! The body of a request while it is received, with a minimum rate. It is shared, so that a handler
//! that stops reading can leave the rest to a task that drains it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::{sync::Mutex, time::timeout};

use crate::config;

/// Limits for draining a rejected body, which lets the client read the reply.
const LINGER_BYTES_MAX: u64 = 64 << 20;
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);

/// Why the body could not be read.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RequestBodyError {
    /// The connection was lost, or the length of the body differs from the announced one.
    #[error("the body is incomplete")]
    Broken,
    /// Too few bytes arrived in the allowed time.
    #[error("the body arrived too slowly")]
    Slow,
}

/// A request's body; clones share it.
#[derive(Clone)]
pub(crate) struct RequestBody {
    body: Arc<Mutex<Incoming>>,
    touched: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
    /// Longest wait for the next bytes; after it the rate is checked, too.
    wait_max: Duration,
    /// Minimum number of bytes per `wait_max` of waiting; a slower upload is treated as an attack.
    bytes_min: u64,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, pace: &config::Pace) -> Self {
        let bytes_min = (pace.rate_min as f64 * pace.patience.as_secs_f64()) as u64;
        Self {
            body: Arc::new(Mutex::new(body)),
            touched: Arc::default(),
            slow: Arc::default(),
            wait_max: pace.patience,
            bytes_min,
        }
    }

    /// Whether no bytes remain to be read.
    pub(crate) async fn is_at_end(&self) -> bool {
        self.body.lock().await.is_end_stream()
    }

    /// Whether reading has started; until then, a client that waits for 100 (Continue) sends
    /// nothing.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Whether reading was aborted because too few bytes arrived.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// The bytes as they arrive, at most one piece per poll: otherwise a consumer that reads as
    /// much as possible would fill the memory.
    pub(crate) fn pieces(
        &self,
    ) -> impl Stream<Item = Result<Bytes, RequestBodyError>> + Send + use<> {
        let pace = Pace { intake: self.clone(), waited: Duration::ZERO, bytes: 0, failed: false };
        stream::unfold(pace, Pace::next)
    }

    /// Reads and discards the rest of the body, within limits.
    pub(crate) async fn linger(self) {
        let drain = async {
            let mut body = self.body.lock().await;
            let mut drained = 0;
            while let Some(Ok(frame)) = body.frame().await {
                drained += frame.data_ref().map_or(0, |data| data.len() as u64);
                if drained > LINGER_BYTES_MAX {
                    return;
                }
            }
        };
        // A timeout is an expected end.
        let _ended = timeout(LINGER_TIME_MAX, drain).await;
    }
}

struct Pace {
    intake: RequestBody,
    /// Time spent waiting for the client since the last check of the rate.
    waited: Duration,
    bytes: u64,
    failed: bool,
}

impl Pace {
    async fn next(mut self) -> Option<(Result<Bytes, RequestBodyError>, Self)> {
        if self.failed {
            return None;
        }
        tokio::task::yield_now().await;
        loop {
            let intake = self.intake.clone();
            intake.touched.store(true, Ordering::Relaxed);
            let mut body = intake.body.lock().await;
            let begun = Instant::now();
            let frame = timeout(intake.wait_max, body.frame()).await;
            self.waited += begun.elapsed();
            let result = match frame {
                Err(_) => Err(RequestBodyError::Slow),
                Ok(None) => return None,
                Ok(Some(Err(_))) => Err(RequestBodyError::Broken),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => self.count(bytes),
                    _ => continue,
                },
            };
            self.failed = result.is_err();
            self.intake.slow.store(result == Err(RequestBodyError::Slow), Ordering::Relaxed);
            return Some((result, self));
        }
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, RequestBodyError> {
        self.bytes += bytes.len() as u64;
        if self.waited >= self.intake.wait_max {
            if self.bytes < self.intake.bytes_min {
                return Err(RequestBodyError::Slow);
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(bytes)
    }
}
