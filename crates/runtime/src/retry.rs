//! The policy for pauses between attempts.

use std::time::Duration;

/// `base` doubled `times` times, but at most `max`.
pub fn doubled(base: Duration, times: u32, max: Duration) -> Duration {
    base.saturating_mul(2_u32.saturating_pow(times)).min(max)
}

/// Pauses that double from a minimum to a maximum.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `min` to `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The pause before the next attempt; the one after it is twice as long.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.max);
        pause
    }

    /// Begins again with the shortest pause, after an attempt that made progress.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, doubled};

    #[test]
    fn doubling_ends_at_the_maximum() {
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(2));
        assert_eq!(doubled(base, 0, max), base);
        assert_eq!(doubled(base, 3, max), base * 8);
        assert_eq!(doubled(base, 5, max), max);
        assert_eq!(doubled(base, u32::MAX, max), max);
    }

    #[test]
    fn pauses_double_up_to_the_maximum_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let pauses: Vec<u64> = (0..5).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_secs(1));
    }
}
