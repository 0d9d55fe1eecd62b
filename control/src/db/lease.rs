//! Leases after the claim: heartbeats, release, expiry, failure.
//!
//! Every transition is one UPDATE guarded by state and token, so a late or repeated message from a
//! former holder changes nothing.

use jiff::Timestamp;
use media::{JobId, TaskId, VideoId, WorkerId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{DbError, claim::SEEN_SECONDS_MAX, states};
use crate::{
    domain::{Failure, TaskKind, TaskState},
    plan::retry::{self, AttemptHistory, Cause, Decision, RetryDelays},
};

/// Identifies a lease: the task and its fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    /// The task.
    pub task: TaskId,
    /// The lease's fencing token.
    pub token: u64,
}

impl LeaseId {
    /// The token as the database stores it; -1 for a token that does not fit, which was never
    /// issued.
    pub fn stored_token(self) -> i64 {
        i64::try_from(self.token).unwrap_or(-1)
    }
}

/// Progress of one lease, from a heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The lease.
    pub lease: LeaseId,
    /// 0 to 1.
    pub fraction: f64,
    /// Seconds of video per second.
    pub speed: f64,
}

/// Extends leases by `lease_seconds`, counted from now by the database's clock. Returns those that
/// are still held, each with its job; the others are lost.
///
/// The connection is not part of the guard: a worker that reconnects keeps its leases.
pub async fn extend(
    db: &impl GenericClient,
    worker: WorkerId,
    progress: &[Progress],
    lease_seconds: f64,
) -> Result<Vec<(TaskId, JobId)>, DbError> {
    let ids: Vec<Uuid> = progress.iter().map(|p| p.lease.task.uuid()).collect();
    let tokens: Vec<i64> = progress.iter().map(|p| p.lease.stored_token()).collect();
    let fractions: Vec<f64> = progress.iter().map(|p| p.fraction).collect();
    let speeds: Vec<f64> = progress.iter().map(|p| p.speed).collect();
    let rows = db
        .query(
            "UPDATE tasks t
             SET lease_expires = now() + make_interval(secs => $1),
                 worker_id = $2,
                 fraction = b.fraction,
                 speed = b.speed
             FROM unnest($3::uuid[], $4::int8[], $5::float8[], $6::float8[])
                  AS b (id, token, fraction, speed)
             WHERE t.id = b.id AND t.token = b.token AND t.state = 'leased'
             RETURNING t.id, t.job_id",
            &[&lease_seconds, &worker.uuid(), &ids, &tokens, &fractions, &speeds],
        )
        .await?;
    let read = |row: &Row| -> Result<(TaskId, JobId), DbError> {
        Ok((TaskId::new(row.try_get("id")?), JobId::new(row.try_get("job_id")?)))
    };
    rows.iter().map(read).collect()
}

/// Filters `leases` to those that are still held.
pub async fn held(db: &impl GenericClient, leases: &[LeaseId]) -> Result<Vec<TaskId>, DbError> {
    let ids: Vec<Uuid> = leases.iter().map(|l| l.task.uuid()).collect();
    let tokens: Vec<i64> = leases.iter().map(|l| l.stored_token()).collect();
    let rows = db
        .query(
            "SELECT t.id
             FROM tasks t
             JOIN unnest($1::uuid[], $2::int8[]) AS b (id, token)
               ON t.id = b.id AND t.token = b.token
             WHERE t.state = 'leased'",
            &[&ids, &tokens],
        )
        .await?;
    rows.iter().map(|row| Ok(TaskId::new(row.try_get("id")?))).collect()
}

/// Releases a lease without counting the attempt, for a worker that drains or whose store is
/// unavailable; the task becomes ready again after `delay_seconds`. False when the lease is not
/// held.
pub async fn release(
    db: &impl GenericClient,
    lease: LeaseId,
    delay_seconds: f64,
) -> Result<bool, DbError> {
    let rows = db
        .execute(
            "UPDATE tasks
             SET state = 'ready',
                 token = NULL,
                 worker_id = NULL,
                 lease_expires = NULL,
                 attempt = attempt - 1,
                 run_after = now() + make_interval(secs => $3),
                 fraction = 0,
                 speed = 0
             WHERE id = $1 AND token = $2 AND state = 'leased'",
            &[&lease.task.uuid(), &lease.stored_token(), &delay_seconds],
        )
        .await?;
    Ok(rows == 1)
}

/// Longest backoff between attempts, for all tasks except probes.
const BACKOFF_SECONDS_MAX: f64 = 60.0;

/// An attempt that ended without success. It counts unless the cause is [`Cause::UnhealthyHost`].
#[derive(Clone, Debug)]
pub struct FailedAttempt {
    /// The reason.
    pub failure: Failure,
    /// False when every further attempt would end the same way.
    pub retryable: bool,
    /// Seconds before the second attempt; doubled for each further one, with up to half taken off
    /// at random.
    pub backoff_seconds: f64,
    /// Only record it if the lease has expired by now; the reaper's read may be out of date.
    pub expired_only: bool,
    /// Whether the source or the worker's host caused it.
    pub cause: Cause,
    /// Pauses between the attempts of a probe.
    pub probe_retry: RetryDelays,
}

/// The state of a task after a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptResult {
    /// `Ready` or `Failed`.
    pub state: TaskState,
    /// The reason, if it failed permanently.
    pub failure: Option<Failure>,
    /// Its job.
    pub job: JobId,
    /// Its video.
    pub video: VideoId,
    /// The task's kind.
    pub kind: TaskKind,
    /// The task's encoder; empty for tasks without one.
    pub encoder: String,
    /// The number of tasks that replace it, and the others of its hardware encoder, in software.
    pub replaced_by: usize,
}

impl AttemptResult {
    /// Whether the job cannot continue without the task.
    pub fn ends_job(&self) -> bool {
        self.state == TaskState::Failed && !self.kind.is_optional() && self.replaced_by == 0
    }
}

/// Ends an attempt: the task becomes ready again after a backoff, or fails when no further attempt
/// is allowed. `None` when the lease is not held.
pub async fn end_attempt(
    db: &impl GenericClient,
    lease: LeaseId,
    failed_attempt: &FailedAttempt,
) -> Result<Option<AttemptResult>, DbError> {
    let Some(history) = history(db, lease, failed_attempt.expired_only).await? else {
        return Ok(None);
    };
    let FailedAttempt { failure, retryable, backoff_seconds, cause, probe_retry, .. } =
        failed_attempt;
    let next =
        retry::decide(&history, (failure, *cause), *retryable, *backoff_seconds, probe_retry);
    let (state, seconds, failure) = match next {
        Decision::Retry(seconds) => (TaskState::Ready, seconds, None),
        Decision::GiveUp(failure) => (TaskState::Failed, 0.0, Some(failure)),
    };
    let reported = failure.as_ref().unwrap_or(&failed_attempt.failure);
    // Probes get no random spread, because their users wait.
    let spread = !history.kind.examines_source();
    let row = db
        .query_opt(
            "UPDATE tasks
             SET state = $3::text::task_state,
                 token = NULL,
                 worker_id = NULL,
                 lease_expires = NULL,
                 run_after = now() + make_interval(secs => CASE
                     WHEN $5 THEN LEAST($4::float8 * (0.5 + random() / 2), $11) ELSE $4 END),
                 attempt = CASE WHEN $6 THEN attempt - 1 ELSE attempt END,
                 failed_on = CASE WHEN worker = ANY (failed_on) THEN failed_on
                             ELSE array_append(failed_on, worker) END,
                 findings = CASE WHEN NOT $7 OR worker = ANY (findings) THEN findings
                            ELSE array_append(findings, worker) END,
                 faulted_on = CASE WHEN NOT $8 OR worker = ANY (faulted_on) THEN faulted_on
                              ELSE array_append(faulted_on, worker) END,
                 error_code = $9,
                 error_message = $10,
                 finished_at = CASE WHEN $3 = 'failed' THEN now() END,
                 fraction = 0,
                 speed = 0
             WHERE id = $1 AND token = $2 AND state = 'leased'
             RETURNING job_id, video_id, encoder",
            &[
                &lease.task.uuid(),
                &lease.stored_token(),
                &state.text(),
                &seconds,
                &spread,
                &(*cause == Cause::UnhealthyHost),
                &(*cause == Cause::Source),
                &(*cause == Cause::HealthyHost),
                &reported.code,
                &reported.message,
                &BACKOFF_SECONDS_MAX,
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(AttemptResult {
        state,
        failure,
        job: JobId::new(row.try_get("job_id")?),
        video: VideoId::new(row.try_get("video_id")?),
        kind: history.kind,
        encoder: row.try_get("encoder")?,
        replaced_by: 0,
    }))
}

/// Reads the state of a held lease's task and locks its row.
async fn history(
    db: &impl GenericClient,
    lease: LeaseId,
    expired_only: bool,
) -> Result<Option<AttemptHistory>, DbError> {
    let row = db
        .query_opt(
            "SELECT t.kind, t.attempt, t.attempts_max, t.worker, t.findings, t.faulted_on,
                    extract(epoch FROM now() - t.created_at)::float8 AS age_seconds,
                    EXISTS (
                        SELECT 1
                        FROM workers w
                        WHERE w.connected
                          AND NOT w.draining
                          AND w.seen_at > now() - make_interval(secs => $4)
                          AND w.name <> t.worker
                          AND (w.can_probe OR t.kind <> ALL ($5))
                          AND (
                              t.encoder = ''
                              OR w.encoders = '{}' AND t.encoder LIKE 'lib%'
                              OR t.encoder = ANY (w.encoders)
                          )
                    ) AS others
             FROM tasks t
             WHERE t.id = $1
               AND t.token = $2
               AND t.state = 'leased'
               AND (NOT $3 OR t.lease_expires < now())
             FOR UPDATE OF t",
            &[
                &lease.task.uuid(),
                &lease.stored_token(),
                &expired_only,
                &SEEN_SECONDS_MAX,
                &states::kinds(TaskKind::examines_source),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let attempt: i32 = row.try_get("attempt")?;
    let attempts_max: i32 = row.try_get("attempts_max")?;
    Ok(Some(AttemptHistory {
        kind: states::read(&row, "kind", ("tasks", lease.task))?,
        attempt: attempt.unsigned_abs(),
        attempts_max: attempts_max.unsigned_abs(),
        age_seconds: row.try_get("age_seconds")?,
        worker: row.try_get("worker")?,
        defects_found_by: row.try_get("findings")?,
        failed_on: row.try_get("faulted_on")?,
        others: row.try_get("others")?,
    }))
}

/// The video of a held lease. Code that ends a lease locks the video first.
pub async fn video_of(db: &impl GenericClient, lease: LeaseId) -> Result<Option<VideoId>, DbError> {
    let row = db
        .query_opt(
            "SELECT video_id
             FROM tasks
             WHERE id = $1 AND token = $2 AND state = 'leased'",
            &[&lease.task.uuid(), &lease.stored_token()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("video_id")).transpose()?.map(VideoId::new))
}

/// An expired lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The lease.
    pub lease: LeaseId,
    /// When it expired.
    pub at: Timestamp,
}

/// Expired leases, oldest first, starting after `after`.
pub async fn expired(
    db: &impl GenericClient,
    after: Option<Expired>,
    limit: i64,
) -> Result<Vec<Expired>, DbError> {
    let (at, id) = after.map(|e| (e.at, e.lease.task.uuid())).unzip();
    let rows = db
        .query(
            "SELECT id, token, lease_expires
             FROM tasks
             WHERE state = 'leased'
               AND lease_expires < now()
               AND ($1::timestamptz IS NULL OR (lease_expires, id) > ($1, $2::uuid))
             ORDER BY lease_expires, id
             LIMIT $3",
            &[&at, &id, &limit],
        )
        .await?;
    let read = |row: &Row| Ok(Expired { lease: lease_id(row)?, at: row.try_get("lease_expires")? });
    rows.iter().map(read).collect()
}

/// The leases of a connection.
pub async fn of_worker(db: &impl GenericClient, worker: WorkerId) -> Result<Vec<LeaseId>, DbError> {
    let rows = db
        .query(
            "SELECT id, token FROM tasks WHERE worker_id = $1 AND state = 'leased'",
            &[&worker.uuid()],
        )
        .await?;
    rows.iter().map(lease_id).collect()
}

fn lease_id(row: &Row) -> Result<LeaseId, DbError> {
    let token: i64 = row.try_get("token")?;
    Ok(LeaseId { task: TaskId::new(row.try_get("id")?), token: token.unsigned_abs() })
}
