//! Claim: ready tasks become leases, several per call, in one statement.

use media::{JobId, TaskId, VideoId, WorkerId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::DbError;
use crate::domain::TaskKind;

/// Who claims, and what it can do.
#[derive(Clone, Debug)]
pub struct Claimer {
    /// The connection.
    pub worker: WorkerId,
    /// The worker's name, which failures are remembered by.
    pub name: String,
    /// The kinds it takes.
    pub kinds: Vec<TaskKind>,
    /// FFmpeg's names of its video encoders; empty when it does not say, which is taken for all.
    pub encoders: Vec<String>,
    /// Stores whose videos' tasks it leaves to other instances.
    pub avoided: Vec<String>,
}

/// What a claim may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Tasks at most.
    pub limit: u32,
    /// Only tasks of at least this priority.
    pub priority_min: i32,
}

/// A lease just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// Its video.
    pub video: VideoId,
    /// What it does.
    pub kind: TaskKind,
    /// The chunk's or the track's number.
    pub ordinal: u32,
    /// What a chunk task encodes.
    pub rungs: Vec<String>,
    /// Fences off everybody who held it before.
    pub token: u64,
    /// 1 for the first.
    pub attempt: u32,
    /// Higher is more urgent.
    pub priority: i32,
}

impl TryFrom<&Row> for Claimed {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let id: Uuid = row.try_get("id")?;
        let kind: &str = row.try_get("kind")?;
        let ordinal: i32 = row.try_get("ordinal")?;
        let token: i64 = row.try_get("token")?;
        let attempt: i32 = row.try_get("attempt")?;
        Ok(Self {
            task: TaskId::new(id),
            job: JobId::new(row.try_get("job_id")?),
            video: VideoId::new(row.try_get("video_id")?),
            kind: TaskKind::parse(kind).ok_or_else(|| DbError::row("tasks", "kind", id))?,
            ordinal: ordinal.unsigned_abs(),
            rungs: row.try_get("rungs")?,
            token: token.unsigned_abs(),
            attempt: attempt.unsigned_abs(),
            priority: row.try_get("priority")?,
        })
    }
}

/// A worker that was not seen for so long is not waited for when a task failed elsewhere.
pub(super) const SEEN_SECONDS_MAX: f64 = 15.0;

/// A task that failed on some workers is left to the others for so long; they may be busy, or take nothing.
const OTHERS_SECONDS_MAX: f64 = 60.0;

/// Leases a share of the ready tasks for `lease_seconds`: the highest priority first, of one priority the
/// tenants' turns, of one turn the oldest.
///
/// A task goes only to workers that have its encoder, and one that failed on this worker is left to
/// others that have it while there are others, for a minute.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn claim(
    db: &impl GenericClient,
    claimer: &Claimer,
    share: Share,
    lease_seconds: f64,
) -> Result<Vec<Claimed>, DbError> {
    let kinds: Vec<&str> = claimer.kinds.iter().map(|kind| kind.text()).collect();
    let rows = db
        .query(
            "WITH picked AS MATERIALIZED (
                 SELECT t.id
                 FROM tasks t
                 WHERE t.state = 'ready'
                   AND t.run_after <= now()
                   AND t.kind = ANY ($1)
                   AND t.priority >= $7
                   AND (t.encoder = '' OR $8::text[] = '{}' OR t.encoder = ANY ($8))
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
                             AND (w.can_probe OR t.kind <> 'probe')
                             AND (
                                 t.encoder = ''
                                 OR w.encoders = '{}'
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
                 started_at = COALESCE(t.started_at, now()),
                 fraction = 0,
                 speed = 0
             FROM picked
             WHERE t.id = picked.id
             RETURNING t.id, t.job_id, t.video_id, t.kind, t.ordinal, t.rungs, t.token, t.attempt,
                       t.priority",
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
            ],
        )
        .await?;
    let mut claimed = rows.iter().map(Claimed::try_from).collect::<Result<Vec<_>, _>>()?;
    claimed.sort_by_key(|c| (std::cmp::Reverse(c.priority), c.ordinal));
    Ok(claimed)
}

/// The first lease of a job starts it. A statement of its own: a claim must not hold a task's row
/// while it waits for a job's.
///
/// # Errors
/// [`DbError`] as every function here.
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

/// How many tasks of `kinds` could be leased now, up to `limit`.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn ready(
    db: &impl GenericClient,
    kinds: &[TaskKind],
    limit: i64,
) -> Result<i64, DbError> {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.text()).collect();
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
