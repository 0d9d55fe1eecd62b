//! How the attempts of tasks end: outcomes, and failures with their codes.
//!
//! A leaf: it imports no other module of the worker.

use std::{borrow::Cow, io::ErrorKind, time::Duration};

use api::v1;

/// The code of a full disk. The worker then pauses.
pub const DISK_FULL: &str = "disk_full";

/// The location of a failure's cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// In the source's bytes, by one of a closed list of messages: every attempt fails the same
    /// way.
    Source,
    /// In the lease, which is unusable. This implies nothing about the source: every attempt fails
    /// the same way.
    Lease,
    /// In the host, a temporary condition or the program: another attempt can succeed.
    Host,
    /// As `Host`, and afterwards the host probed its own sample successfully.
    HealthyHost,
    /// The host fails to probe its own sample, so its results about sources are not trusted.
    UnhealthyHost,
}

impl From<Cause> for v1::FailureCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Source => Self::Source,
            Cause::Lease | Cause::Host => Self::Unspecified,
            Cause::HealthyHost => Self::HealthyHost,
            Cause::UnhealthyHost => Self::UnhealthyHost,
        }
    }
}

/// Why a task's attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TaskFailure {
    /// Stable code, for example "not_a_video".
    pub code: Cow<'static, str>,
    /// Message for people.
    pub message: String,
    /// The location of the cause.
    pub cause: Cause,
}

impl TaskFailure {
    /// A permanent failure that the source's bytes cause.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), cause: Cause::Source }
    }

    /// A lease that no worker can work on.
    pub fn lease(message: impl Into<String>) -> Self {
        Self { code: "invalid_lease".into(), message: message.into(), cause: Cause::Lease }
    }

    /// A failure that a temporary condition, the host or the program causes.
    pub fn retryable(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), cause: Cause::Host }
    }

    /// Whether another attempt can succeed.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.cause, Cause::Source | Cause::Lease)
    }

    /// A file of the worker that cannot be read or written; a full disk has its own code.
    pub fn io(action: &str, error: &std::io::Error) -> Self {
        // Checks the kind, because code that adds a path to an error drops its errno.
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let code = if full { DISK_FULL } else { "io_failed" };
        Self::retryable(code, format!("{action}: {}", error.kind()))
    }
}

/// Why a task cannot continue.
#[derive(Debug)]
pub enum TaskError {
    /// The lease is lost.
    LeaseLost,
    /// The store is down. The attempt does not count as a failure; the task is retried after this
    /// delay.
    Deferred(Duration),
    /// The attempt failed.
    Failed(TaskFailure),
}

impl From<TaskFailure> for TaskError {
    fn from(failure: TaskFailure) -> Self {
        Self::Failed(failure)
    }
}

/// How a task ended.
#[derive(Debug)]
pub enum TaskOutcome {
    /// Control accepted the task's last commit.
    Done,
    /// The lease is lost, so there is nothing to report.
    LeaseLost,
    /// The task was cancelled; the worker releases its lease.
    Stopped,
    /// The store is down; the worker releases the lease, and the task is retried after this delay.
    Deferred(Duration),
    /// The attempt failed.
    Failed(TaskFailure),
}

impl From<Result<(), TaskError>> for TaskOutcome {
    fn from(result: Result<(), TaskError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(TaskError::LeaseLost) => Self::LeaseLost,
            Err(TaskError::Deferred(delay)) => Self::Deferred(delay),
            Err(TaskError::Failed(failure)) => Self::Failed(failure),
        }
    }
}
