//! The body of a request on its way in: with a minimum rate, shared so that whoever gives up on it can
//! leave the rest to somebody who drains it.

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

/// How much of a refused body is read on, so that the client gets to read why.
const LINGER_BYTES_MAX: u64 = 64 << 20;
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);

/// Why a body did not arrive.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum IntakeError {
    /// The connection broke, or the body is not as long as announced.
    #[error("the body broke off")]
    Broken,
    /// Too little came in too long a time.
    #[error("the body came too slowly")]
    Slow,
}

/// A request's body; clones share it.
#[derive(Clone)]
pub(crate) struct Intake {
    body: Arc<Mutex<Incoming>>,
    touched: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
    /// Longest wait for the next bytes; after it the rate is looked at, too.
    wait_max: Duration,
    /// Fewer bytes than this in so much waiting are no honest upload.
    bytes_min: u64,
}

impl Intake {
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

    /// Whether there is nothing (more) to read.
    pub(crate) async fn is_at_end(&self) -> bool {
        self.body.lock().await.is_end_stream()
    }

    /// Whether anybody has begun to read; until then a client that waits for 100 sends nothing.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Whether it was given up because too little came.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// The bytes as they come, at most one piece per poll: a consumer that takes all it can get would
    /// otherwise fill the memory.
    pub(crate) fn pieces(&self) -> impl Stream<Item = Result<Bytes, IntakeError>> + Send + use<> {
        let pace = Pace { intake: self.clone(), waited: Duration::ZERO, bytes: 0, failed: false };
        stream::unfold(pace, Pace::next)
    }

    /// Reads what is left and throws it away, within limits.
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
        // Running out of time is one way to end.
        let _ended = timeout(LINGER_TIME_MAX, drain).await;
    }
}

struct Pace {
    intake: Intake,
    /// Time spent waiting for the client since the rate was last looked at.
    waited: Duration,
    bytes: u64,
    failed: bool,
}

impl Pace {
    async fn next(mut self) -> Option<(Result<Bytes, IntakeError>, Self)> {
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
                Err(_) => Err(IntakeError::Slow),
                Ok(None) => return None,
                Ok(Some(Err(_))) => Err(IntakeError::Broken),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => self.count(bytes),
                    _ => continue,
                },
            };
            self.failed = result.is_err();
            self.intake.slow.store(result == Err(IntakeError::Slow), Ordering::Relaxed);
            return Some((result, self));
        }
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, IntakeError> {
        self.bytes += bytes.len() as u64;
        if self.waited >= self.intake.wait_max {
            if self.bytes < self.intake.bytes_min {
                return Err(IntakeError::Slow);
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(bytes)
    }
}
