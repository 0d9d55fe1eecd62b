//! Delays between reconnects, with full jitter so that the workers of a fleet do not all reconnect
//! at once.

use std::time::Duration;

use rand::Rng;
use runtime::retry::doubled;

const BASE: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(10);

/// The bound on the delay doubles with every failure, up to ten seconds.
#[derive(Debug, Default)]
pub(super) struct JitteredBackoff {
    failures: u32,
}

impl JitteredBackoff {
    /// A random delay up to the current bound.
    pub(super) fn next(&mut self, random: &mut impl Rng) -> Duration {
        let bound = doubled(BASE, self.failures, DELAY_MAX);
        self.failures += 1;
        bound.mul_f64(random.random::<f64>())
    }

    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{SeedableRng, rngs::StdRng};

    use super::JitteredBackoff;

    #[test]
    fn delays_are_spread_and_bounded() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = JitteredBackoff::default();
        let delays: Vec<Duration> = (0..40).map(|_| backoff.next(&mut random)).collect();
        assert!(delays[0] <= Duration::from_millis(250));
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(10)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_secs(5)));
        backoff.reset();
        assert!(backoff.next(&mut random) <= Duration::from_millis(250));
    }
}
