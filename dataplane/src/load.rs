//! How much this plane has sent lately and how often its memory had the segment, from the counters of
//! its metrics.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The figures concern this time before they are read.
const WINDOW: Duration = Duration::from_secs(60);
/// How often the counters are read.
const EVERY: Duration = Duration::from_secs(5);

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    sent: u64,
    hits: u64,
    misses: u64,
}

/// Samples of the last minute.
pub(crate) struct Load {
    metrics: Metrics,
    samples: Mutex<VecDeque<Sample>>,
}

/// The figures of the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    /// Bytes of manifests and media sent per second; `None` before the first measurement.
    pub(crate) egress: Option<f64>,
    /// The share of requests for segments in buckets that were served from memory; `None` without such
    /// requests.
    pub(crate) hit_ratio: Option<f64>,
}

impl Load {
    /// Has no sample yet.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, samples: Mutex::default() }
    }

    /// Reads the counters periodically until `stop`.
    pub(crate) async fn measure(&self, stop: CancellationToken) {
        loop {
            self.sample(Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    fn sample(&self, now: Instant) {
        let sample = self.read(now);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.retain(|old| sample.at.duration_since(old.at) < WINDOW);
        samples.push_back(sample);
    }

    fn read(&self, at: Instant) -> Sample {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (bandwidth, lookups) = (&self.metrics.bandwidth, &self.metrics.segments);
        Sample {
            at,
            sent: read(&bandwidth.manifest) + read(&bandwidth.segment),
            hits: read(&lookups.hits),
            misses: read(&lookups.misses),
        }
    }

    /// The figures since the oldest sample of the last minute.
    pub(crate) fn recent(&self) -> Recent {
        self.recent_at(Instant::now())
    }

    fn recent_at(&self, now: Instant) -> Recent {
        let now = self.read(now);
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let aged = |sample: &&Sample| now.at.duration_since(sample.at) <= WINDOW;
        let Some(first) = samples.iter().find(aged) else { return Recent::default() };
        let seconds = now.at.duration_since(first.at).as_secs_f64();
        let (hits, misses) = (now.hits - first.hits, now.misses - first.misses);
        Recent {
            egress: (seconds >= 1.0).then(|| (now.sent - first.sent) as f64 / seconds),
            hit_ratio: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use runtime::Telemetry;

    use super::*;

    #[test]
    fn figures_cover_the_last_minute_only() {
        let metrics = Metrics::new(&Telemetry::new("dataplane-test").meter());
        let load = Load::new(metrics.clone());
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(load.recent_at(start), Recent::default());
        load.sample(start);
        assert_eq!(load.recent_at(start), Recent::default(), "nothing is measured yet");
        metrics.bandwidth.segment.fetch_add(900, Ordering::Relaxed);
        metrics.bandwidth.manifest.fetch_add(100, Ordering::Relaxed);
        metrics.bandwidth.upload.fetch_add(5000, Ordering::Relaxed);
        metrics.segments.hits.fetch_add(3, Ordering::Relaxed);
        metrics.segments.misses.fetch_add(1, Ordering::Relaxed);
        let busy = Recent { egress: Some(100.0), hit_ratio: Some(0.75) };
        assert_eq!(load.recent_at(after(10)), busy);
        for seconds in (5..=80).step_by(5) {
            load.sample(after(seconds));
        }
        assert!(load.samples.lock().unwrap().len() <= 12);
        assert_eq!(load.recent_at(after(80)), Recent { egress: Some(0.0), hit_ratio: None });
        metrics.bandwidth.segment.fetch_add(600, Ordering::Relaxed);
        let egress = load.recent_at(after(85)).egress.unwrap();
        assert!((10.0..11.0).contains(&egress), "{egress}");
    }
}
