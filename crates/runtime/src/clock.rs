//! The only access to the wall clock, so that tests can set the time.

use jiff::Timestamp;

/// Returns the wall-clock time.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Whole seconds since 1970-01-01.
    fn now_unix(&self) -> i64 {
        self.now().as_second()
    }

    /// Whole milliseconds since 1970-01-01.
    fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }
}

/// The system clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
