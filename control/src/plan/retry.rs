//! Decides whether a task is retried after a failed attempt. No I/O.
//!
//! **Invariant:** a source is rejected only for a defect that a worker found in its bytes and,
//! while a second worker that can examine it is connected, only if that worker agrees. A probe that
//! fails for any other reason is retried, because its cause is the host.

use std::{str::FromStr, time::Duration};

use crate::domain::{Failure, TaskKind};

/// Maximum attempts of one source's probe that end without a result; then the probe fails.
pub const PROBE_TRIES_MAX: u32 = 8;
/// Number of healthy workers on which a probe may end without a result; then the probe fails.
const FAILED_WORKERS_MAX: usize = 2;
/// How long a probe is retried after it was first queued, in seconds.
pub const PROBE_SECONDS_MAX: f64 = 24.0 * 3600.0;
/// Maximum number of times that a backoff is doubled; more would exceed any backoff.
const DOUBLINGS_MAX: u32 = 20;
/// The error code of a probe that failed without a result; its source is kept.
pub const PROBE_FAILED: &str = "probe_failed";

/// The cause of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A defect in the source's bytes.
    Source,
    /// The host, although it probed its own sample successfully afterwards.
    HealthyHost,
    /// The host, which fails to probe its own sample. The attempt proves nothing and does not
    /// count.
    UnhealthyHost,
    /// Unknown: the worker is lost, or did not report a cause.
    Unknown,
}

/// Pauses between the attempts of a probe; the last one repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryDelays {
    seconds: [f64; Self::COUNT_MAX],
    count: usize,
}

impl RetryDelays {
    const COUNT_MAX: usize = 8;

    /// The pause after this attempt, counted from 1.
    fn after(&self, attempt: u32) -> f64 {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.seconds[index.min(self.count - 1)]
    }
}

impl Default for RetryDelays {
    fn default() -> Self {
        Self { seconds: [2.0, 10.0, 60.0, 600.0, 0.0, 0.0, 0.0, 0.0], count: 4 }
    }
}

impl FromStr for RetryDelays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut seconds = [0.0; Self::COUNT_MAX];
        let mut count = 0;
        for part in text.split(',') {
            let delay: Duration =
                runtime::duration::parse(part.trim()).map_err(|error| error.to_string())?;
            let place = seconds.get_mut(count);
            *place.ok_or_else(|| format!("must be 1 to {} durations", Self::COUNT_MAX))? =
                delay.as_secs_f64();
            count += 1;
        }
        Ok(Self { seconds, count })
    }
}

/// The state of a leased task at the end of its attempt.
#[derive(Clone, Debug)]
pub struct AttemptHistory {
    /// The kind of the task.
    pub kind: TaskKind,
    /// Number of leases so far, including this one.
    pub attempt: u32,
    /// Maximum number of leases, after which the task fails permanently; does not apply to probes.
    pub attempts_max: u32,
    /// Seconds since the task was queued.
    pub age_seconds: f64,
    /// The worker whose attempt ends.
    pub worker: String,
    /// Workers that found a defect in the bytes in earlier attempts.
    pub defects_found_by: Vec<String>,
    /// Healthy workers whose earlier attempts ended without finding a defect.
    pub failed_on: Vec<String>,
    /// Whether another worker that can run the task is connected.
    pub others: bool,
}

/// The decision about the task.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Another attempt, after this many seconds.
    Retry(f64),
    /// No further attempt.
    GiveUp(Failure),
}

/// Decides about the task; the failed attempt reports `retryable` and `backoff_seconds`.
pub fn decide(
    history: &AttemptHistory,
    (failure, cause): (&Failure, Cause),
    retryable: bool,
    backoff_seconds: f64,
    delays: &RetryDelays,
) -> Decision {
    let agreed =
        !history.others || history.defects_found_by.iter().any(|one| *one != history.worker);
    if history.kind.examines_source() {
        return probe(history, failure, cause, agreed, delays);
    }
    let last = history.attempt >= history.attempts_max;
    if last || (!retryable && (cause != Cause::Source || agreed)) {
        return Decision::GiveUp(failure.clone());
    }
    let doublings = history.attempt.saturating_sub(1).min(DOUBLINGS_MAX);
    Decision::Retry(backoff_seconds * f64::from(1_u32 << doublings))
}

fn probe(
    history: &AttemptHistory,
    failure: &Failure,
    cause: Cause,
    agreed: bool,
    delays: &RetryDelays,
) -> Decision {
    let known = |names: &[String]| names.contains(&history.worker);
    let failed = history.failed_on.len() + usize::from(!known(&history.failed_on));
    let spent = match cause {
        Cause::Source if agreed => return Decision::GiveUp(failure.as_rejection()),
        Cause::UnhealthyHost => false,
        Cause::HealthyHost if failed >= FAILED_WORKERS_MAX => true,
        _ => history.attempt >= PROBE_TRIES_MAX,
    };
    if spent || history.age_seconds >= PROBE_SECONDS_MAX {
        return Decision::GiveUp(given_up(failure));
    }
    match cause {
        // The next worker should probe it immediately.
        Cause::Source if !known(&history.defects_found_by) => Decision::Retry(0.0),
        _ => Decision::Retry(delays.after(history.attempt)),
    }
}

/// The failure of a probe that is not retried any more; `last` is the failure of its last attempt.
pub fn given_up(last: &Failure) -> Failure {
    let message =
        format!("the source could not be examined, and is kept: {} ({})", last.message, last.code);
    Failure::new(PROBE_FAILED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(attempt: u32, others: bool) -> AttemptHistory {
        AttemptHistory {
            kind: TaskKind::Probe,
            attempt,
            attempts_max: 4,
            age_seconds: 0.0,
            worker: "a".to_owned(),
            defects_found_by: Vec::new(),
            failed_on: Vec::new(),
            others,
        }
    }

    fn decision(history: &AttemptHistory, code: &str, cause: Cause) -> Decision {
        let failure = Failure::new(code, "why");
        decide(history, (&failure, cause), cause != Cause::Source, 1.0, &RetryDelays::default())
    }

    fn code(next: Decision) -> String {
        match next {
            Decision::GiveUp(failure) => failure.code,
            Decision::Retry(seconds) => format!("again {seconds}"),
        }
    }

    #[test]
    fn a_source_is_rejected_only_when_a_second_worker_agrees_if_there_is_one() {
        let alone = history(1, false);
        assert_eq!(code(decision(&alone, "truncated_source", Cause::Source)), "truncated_source");
        let many = "too_many_recordings";
        assert_eq!(code(decision(&alone, many, Cause::Source)), many);
        assert_eq!(code(decision(&alone, "unsupported", Cause::Source)), "not_a_video");
        let mut two = history(1, true);
        assert_eq!(code(decision(&two, "not_a_video", Cause::Source)), "again 0");
        two.defects_found_by = vec!["a".to_owned()];
        assert_eq!(
            code(decision(&two, "not_a_video", Cause::Source)),
            "again 2",
            "its own failure does not count again"
        );
        two.defects_found_by.push("b".to_owned());
        assert_eq!(code(decision(&two, "not_a_video", Cause::Source)), "not_a_video");
        let chunk = AttemptHistory { kind: TaskKind::Chunk, ..history(1, true) };
        assert_eq!(code(decision(&chunk, "not_a_video", Cause::Source)), "again 1");
        let chunk = AttemptHistory { kind: TaskKind::Chunk, ..history(4, true) };
        assert_eq!(code(decision(&chunk, "not_a_video", Cause::Source)), "not_a_video");
    }

    #[test]
    fn a_failure_of_the_host_is_retried_with_growing_delays_and_not_attributed_to_the_source() {
        let tries = (1..=8).map(|attempt| {
            code(decision(&history(attempt, true), "not_a_video", Cause::HealthyHost))
        });
        let expected = ["again 2", "again 10", "again 60", "again 600", "again 600", "again 600"];
        let expected = expected.into_iter().chain(["again 600", PROBE_FAILED]);
        assert!(tries.eq(expected.map(str::to_owned)));
        let mut second = history(2, true);
        second.failed_on = vec!["b".to_owned()];
        assert_eq!(code(decision(&second, "ffmpeg_crashed", Cause::HealthyHost)), PROBE_FAILED);
        assert_eq!(code(decision(&second, "ffmpeg_crashed", Cause::UnhealthyHost)), "again 10");
        assert_eq!(code(decision(&second, "worker_lost", Cause::Unknown)), "again 10");
        second.failed_on = vec!["a".to_owned()];
        assert_eq!(code(decision(&second, "ffmpeg_crashed", Cause::HealthyHost)), "again 10");
        let old = AttemptHistory { age_seconds: PROBE_SECONDS_MAX, ..history(2, true) };
        for cause in [Cause::HealthyHost, Cause::UnhealthyHost, Cause::Unknown, Cause::Source] {
            assert_eq!(code(decision(&old, "ffmpeg_crashed", cause)), PROBE_FAILED);
        }
    }

    #[test]
    fn delays_are_parsed_and_the_last_one_repeats() {
        let delays: RetryDelays = "2s, 10s,1m,10m".parse().unwrap();
        assert_eq!(delays, RetryDelays::default());
        assert_eq!(delays.after(1), 2.0);
        assert_eq!(delays.after(u32::MAX), 600.0);
        for text in ["", "x", "1s,", "1s,1s,1s,1s,1s,1s,1s,1s,1s"] {
            text.parse::<RetryDelays>().unwrap_err();
        }
    }
}
