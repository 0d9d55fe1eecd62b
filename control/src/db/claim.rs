//! Claiming: turns ready tasks into leases, several per call, in one statement.

use media::{JobId, TaskId, VideoId, WorkerId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{DbError, states};
use crate::domain::TaskKind;

/// The worker that claims, and its capabilities.
#[derive(Clone, Debug)]
pub struct Claimer {
    /// The worker's connection.
    pub worker: WorkerId,
    /// The worker's name, under which failures are recorded.
    pub name: String,
    /// The task kinds it accepts.
    pub kinds: Vec<TaskKind>,
    /// FFmpeg's names of its video encoders; empty when the worker does not report them, in which
    /// case it is assumed to have all software encoders.
    pub encoders: Vec<String>,
    /// Stores whose videos' tasks are skipped, so that other instances claim them.
    pub avoided: Vec<String>,
}

/// Limits of one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Maximum number of tasks.
    pub limit: u32,
    /// Only tasks of at least this priority.
    pub priority_min: i32,
}

/// A newly created lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// Its video.
    pub video: VideoId,
    /// The task's kind.
    pub kind: TaskKind,
    /// The number of the chunk or the track.
    pub ordinal: u32,
    /// The renditions that a chunk task encodes.
    pub rungs: Vec<String>,
    /// The fencing token: control rejects writes that carry an older one.
    pub token: u64,
    /// The number of this attempt, counted from 1.
    pub attempt: u32,
    /// Higher is more urgent.
    pub priority: i32,
}

impl TryFrom<&Row> for Claimed {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let id: Uuid = row.try_get("id")?;
        let ordinal: i32 = row.try_get("ordinal")?;
        let token: i64 = row.try_get("token")?;
        let attempt: i32 = row.try_get("attempt")?;
        Ok(Self {
            task: TaskId::new(id),
            job: JobId::new(row.try_get("job_id")?),
            video: VideoId::new(row.try_get("video_id")?),
            kind: states::read(row, "kind", ("tasks", id))?,
            ordinal: ordinal.unsigned_abs(),
            rungs: row.try_get("rungs")?,
            token: token.unsigned_abs(),
            attempt: attempt.unsigned_abs(),
            priority: row.try_get("priority")?,
        })
    }
}

/// When a task has failed on one worker, other workers not seen for this long are not waited for.
pub(super) const SEEN_SECONDS_MAX: f64 = 15.0;

/// How long a task that failed on some workers is reserved for the others, which may be busy or
/// claim nothing.
const OTHERS_SECONDS_MAX: f64 = 60.0;

/// The statement of [`claim`].
const CLAIM: &str = "WITH picked AS MATERIALIZED (
         SELECT t.id
         FROM tasks t
         WHERE t.state = 'ready'
           AND t.run_after <= now()
           AND t.kind = ANY ($1)
           AND t.priority >= $7
           AND (t.encoder = '' OR t.encoder = ANY ($8)
                OR $8::text[] = '{}' AND t.encoder LIKE 'lib%')
           AND ($9::text[] = '{}' OR NOT EXISTS (
               SELECT 1 FROM videos v WHERE v.id = t.video_id AND v.store = ANY ($9)
           ))
           AND (
               $2 <> ALL (t.failed_on)
               OR t.run_after < now() - make_interval(secs => $10)
               OR NOT EXISTS (
                   SELECT 1
                   FROM workers w
                   WHERE w.connected
                     AND NOT w.draining
                     AND w.seen_at > now() - make_interval(secs => $3)
                     AND w.name <> ALL (t.failed_on)
                     AND (w.can_probe OR t.kind <> ALL ($11))
                     AND (
                         t.encoder = ''
                         OR w.encoders = '{}' AND t.encoder LIKE 'lib%'
                         OR t.encoder = ANY (w.encoders)
                     )
               )
           )
         ORDER BY t.priority DESC, t.turn, t.created_at, t.id
         LIMIT $4
         FOR UPDATE SKIP LOCKED
     )
     UPDATE tasks t
     SET state = 'leased',
         token = nextval('lease_tokens'),
         worker_id = $5,
         worker = $2,
         lease_expires = now() + make_interval(secs => $6),
         attempt = t.attempt + 1,
         started_at = CASE WHEN t.attempt = 0 THEN now() ELSE t.started_at END,
         fraction = 0,
         speed = 0
     FROM picked
     WHERE t.id = picked.id
     RETURNING t.id, t.job_id, t.video_id, t.kind, t.ordinal, t.rungs, t.token, t.attempt,
               t.priority";

/// Leases up to `share.limit` ready tasks for `lease_seconds`: by priority, then by the tenants'
/// turns, then by age.
///
/// Only workers that have its encoder get a task. A task that failed on this worker is reserved,
/// for a minute, for other workers that have the encoder, as long as there are any.
pub async fn claim(
    db: &impl GenericClient,
    claimer: &Claimer,
    share: Share,
    lease_seconds: f64,
) -> Result<Vec<Claimed>, DbError> {
    let kinds = states::texts(&claimer.kinds);
    let rows = db
        .query(
            CLAIM,
            &[
                &kinds,
                &claimer.name,
                &SEEN_SECONDS_MAX,
                &i64::from(share.limit),
                &claimer.worker.uuid(),
                &lease_seconds,
                &share.priority_min,
                &claimer.encoders,
                &claimer.avoided,
                &OTHERS_SECONDS_MAX,
                &states::kinds(TaskKind::examines_source),
            ],
        )
        .await?;
    let mut claimed = rows.iter().map(Claimed::try_from).collect::<Result<Vec<_>, _>>()?;
    claimed.sort_by_key(|c| (std::cmp::Reverse(c.priority), c.ordinal));
    Ok(claimed)
}

/// Marks the jobs of new leases as running. This is a separate statement because a claim must not
/// hold the lock on a task's row while it waits for the lock on a job's row.
pub async fn start_jobs(db: &impl GenericClient, claimed: &[Claimed]) -> Result<(), DbError> {
    let jobs: Vec<Uuid> = claimed.iter().map(|c| c.job.uuid()).collect();
    db.execute(
        "UPDATE jobs
         SET state = 'running', started_at = now()
         WHERE id = ANY ($1) AND state = 'queued'",
        &[&jobs],
    )
    .await?;
    Ok(())
}

/// The number of tasks of `kinds` that could be leased now, up to `limit`.
pub async fn ready(
    db: &impl GenericClient,
    kinds: &[TaskKind],
    limit: i64,
) -> Result<i64, DbError> {
    let kinds = states::texts(kinds);
    let row = db
        .query_one(
            "SELECT count(*) AS tasks
             FROM (
                 SELECT 1
                 FROM tasks
                 WHERE state = 'ready' AND run_after <= now() AND kind = ANY ($1)
                 LIMIT $2
             ) AS found",
            &[&kinds, &limit],
        )
        .await?;
    Ok(row.try_get("tasks")?)
}
