//! Rates in the form `100/15m`, and the generic cell rate algorithm.
//!
//! The only state of a client is its theoretical arrival time: the time at which its allowance will
//! be complete again. A request advances it by one interval, and is rejected if that would move it
//! further ahead than the whole burst. The burst equals the limit. The data plane's `limit.lua`
//! does the same in Redis.

use std::time::Duration;

use crate::duration;

/// Maximum number of requests per period.
const LIMIT_MAX: u32 = 1_000_000;
/// Shorter periods are not meaningful over a network.
const PERIOD_MIN: Duration = Duration::from_secs(1);
const PERIOD_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A number of requests per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    limit: u32,
    /// Microseconds per request.
    interval: i64,
}

/// The text is not a rate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" must be a rate, for example 100/15m, or off")]
pub struct RateError(String);

/// The decision on a request. Times are in microseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// How many more requests may follow immediately.
    pub remaining: i64,
    /// Time until the allowance is complete again.
    pub reset: i64,
    /// Time until the next request is allowed; 0 for an allowed request.
    pub retry: i64,
}

impl Rate {
    /// Parses `requests/period`; `None` for "off".
    ///
    /// # Errors
    /// The text is neither a rate within the bounds nor "off".
    pub fn parse(text: &str) -> Result<Option<Self>, RateError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Ok(None);
        }
        let error = || RateError(text.to_owned());
        let (limit, period) = text.split_once('/').ok_or_else(error)?;
        if !limit.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let limit: u32 = limit.parse().map_err(|_| error())?;
        let period = duration::parse(period).map_err(|_| error())?;
        if !(1..=LIMIT_MAX).contains(&limit) || !(PERIOD_MIN..=PERIOD_MAX).contains(&period) {
            return Err(error());
        }
        // Both are bounded, so the cast and the division are safe, and the result is positive.
        let interval = period.as_micros() as i64 / i64::from(limit);
        Ok(Some(Self { limit, interval }))
    }

    /// Maximum number of requests in one burst.
    pub const fn limit(self) -> u32 {
        self.limit
    }

    /// Microseconds per request.
    pub const fn interval(self) -> i64 {
        self.interval
    }

    /// Microseconds for the whole limit.
    pub const fn burst(self) -> i64 {
        self.interval * self.limit as i64
    }

    /// Decides on a request at `now`, and returns the arrival time to store. `arrival` is the
    /// stored one; both are microseconds of the same clock.
    pub fn decide(self, arrival: Option<i64>, now: i64) -> (Decision, i64) {
        // A clock that is set back must not block a client for longer than the burst.
        let arrival = arrival.unwrap_or(now).clamp(now, now + self.burst());
        let next = arrival + self.interval;
        let excess = next - self.burst() - now;
        if excess > 0 {
            let reset = arrival - now;
            return (Decision { allowed: false, remaining: 0, reset, retry: excess }, arrival);
        }
        let reset = next - now;
        let remaining = (self.burst() - reset) / self.interval;
        (Decision { allowed: true, remaining, reset, retry: 0 }, next)
    }

    /// The state at `now` without a further request; the arguments are those of [`Self::decide`].
    pub fn state(self, arrival: Option<i64>, now: i64) -> Decision {
        let reset = arrival.unwrap_or(now).clamp(now, now + self.burst()) - now;
        let remaining = (self.burst() - reset) / self.interval;
        Decision { allowed: true, remaining, reset, retry: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap().unwrap()
    }

    #[test]
    fn rates_are_parsed() {
        assert_eq!(rate("100/15m"), Rate { limit: 100, interval: 9_000_000 });
        assert_eq!(rate("1000/1m"), Rate { limit: 1000, interval: 60_000 });
        assert_eq!(rate(" 1/1s "), Rate { limit: 1, interval: 1_000_000 });
        assert_eq!(rate("1000000/1s").interval(), 1);
        assert_eq!(Rate::parse("off"), Ok(None));
        assert_eq!(Rate::parse(" OFF "), Ok(None));
    }

    #[test]
    fn other_texts_are_rejected() {
        for bad in [
            "",
            "on",
            "100",
            "100/",
            "/15m",
            "0/15m",
            "-1/15m",
            "+1/15m",
            "1.5/1m",
            "100/15",
            "100/0s",
            "100/500ms",
            "100/8d",
            "1000001/1s",
            "100 / 15m",
            "100/15m/2",
            "4294967297/1m",
        ] {
            assert_eq!(Rate::parse(bad), Err(RateError(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn the_burst_is_the_limit_and_one_interval_earns_one_more() {
        let rate = rate("3/3s");
        let mut arrival = None;
        for remaining in [2, 1, 0] {
            let (decision, next) = rate.decide(arrival, 1_000);
            assert!(decision.allowed);
            assert_eq!((decision.remaining, decision.retry), (remaining, 0));
            assert_eq!(decision.reset, (3 - remaining) * 1_000_000);
            arrival = Some(next);
        }
        let (rejected, next) = rate.decide(arrival, 1_000);
        assert!(!rejected.allowed);
        assert_eq!((rejected.remaining, rejected.retry, rejected.reset), (0, 1_000_000, 3_000_000));
        // A rejected request does not count.
        assert_eq!(Some(next), arrival);
        let (rejected, _) = rate.decide(arrival, 1_000_999);
        assert_eq!((rejected.allowed, rejected.retry), (false, 1));
        let (allowed, next) = rate.decide(arrival, 1_001_000);
        assert_eq!((allowed.allowed, allowed.remaining), (true, 0));
        assert!(!rate.decide(Some(next), 1_001_000).0.allowed);
    }

    #[test]
    fn the_state_is_that_of_the_latest_request() {
        let rate = rate("3/3s");
        let full = rate.state(None, 5);
        assert_eq!((full.remaining, full.reset), (3, 0));
        let (decision, arrival) = rate.decide(None, 5);
        assert_eq!(rate.state(Some(arrival), 5), decision);
        let (_, arrival) = rate.decide(Some(arrival), 5);
        let (_, arrival) = rate.decide(Some(arrival), 5);
        assert_eq!(rate.state(Some(arrival), 5).remaining, 0);
        assert_eq!(rate.state(Some(arrival), 1_000_005).remaining, 1);
    }

    #[test]
    fn idle_time_earns_no_more_than_the_burst() {
        let rate = rate("2/2s");
        let (_, arrival) = rate.decide(None, 0);
        let (decision, _) = rate.decide(Some(arrival), 1_000_000_000);
        assert_eq!(decision.remaining, 1);
    }

    #[test]
    fn a_clock_set_back_blocks_a_client_for_the_burst_at_most() {
        let rate = rate("2/2s");
        let (decision, arrival) = rate.decide(Some(i64::MAX / 2), 5_000_000);
        assert_eq!((decision.allowed, decision.retry), (false, 1_000_000));
        assert!(rate.decide(Some(arrival), 6_000_000).0.allowed);
    }

    #[test]
    fn uneven_rates_allow_exactly_the_limit_at_once() {
        for text in ["7/1m", "1000/1m", "333333/1s", "10/15m"] {
            let rate = rate(text);
            let mut arrival = None;
            let mut allowed = 0;
            loop {
                let (decision, next) = rate.decide(arrival, 77);
                if !decision.allowed {
                    break;
                }
                allowed += 1;
                arrival = Some(next);
            }
            assert_eq!(allowed, rate.limit(), "{text}");
        }
    }
}
