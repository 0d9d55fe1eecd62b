//! Rows of `jobs`.

use jiff::Timestamp;
use media::{JobId, VideoId};
use runtime::telemetry::context;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{DbError, failure, states};
use crate::{
    domain::{Failure, JobState, TaskKind},
    page::Cursor,
    plan::Plan,
};

/// One transcode job, with the sums over its tasks.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The video that it transcodes.
    pub video: VideoId,
    /// Its state.
    pub state: JobState,
    /// Its plan.
    pub plan: Plan,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When its first task was leased.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The database's clock.
    pub now: Timestamp,
    /// 0 to 1.
    pub fraction: f64,
    /// Seconds of video encoded per second, over the running tasks.
    pub speed: f64,
    /// The highest attempt of its unfinished tasks.
    pub attempt: u32,
    /// Why the last attempt of such a task failed.
    pub last_failure: Option<Failure>,
    /// Its place among the tenant's queued jobs, from 1; `None` unless it is queued.
    pub queue_position: Option<u32>,
}

const COLUMNS: &str = "
    j.id, j.video_id, j.state::text AS state, j.plan, j.error_code, j.error_message, j.created_at,
    j.started_at, j.finished_at, now() AS now, s.fraction, s.speed,
    s.attempt, s.last_error_code, s.last_error_message";

const SUMS: &str = "
    CROSS JOIN LATERAL (
        SELECT
            COALESCE(
                sum(t.weight * CASE WHEN t.state = 'done' THEN 1 ELSE t.fraction END)
                / NULLIF(sum(t.weight), 0), 0) AS fraction,
            COALESCE(sum(t.speed) FILTER (WHERE t.state = 'leased'), 0) AS speed,
            COALESCE(max(t.attempt) FILTER (WHERE t.state IN ('ready', 'leased')), 0) AS attempt,
            (array_agg(t.error_code ORDER BY t.attempt DESC, t.id) FILTER (
                WHERE t.state IN ('ready', 'leased') AND t.error_code IS NOT NULL
            ))[1] AS last_error_code,
            (array_agg(t.error_message ORDER BY t.attempt DESC, t.id) FILTER (
                WHERE t.state IN ('ready', 'leased') AND t.error_code IS NOT NULL
            ))[1] AS last_error_message
        FROM tasks t
        WHERE t.job_id = j.id
    ) AS s";

impl TryFrom<&Row> for Job {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let id: Uuid = row.try_get("id")?;
        let attempt: i32 = row.try_get("attempt")?;
        Ok(Self {
            id: JobId::new(id),
            video: VideoId::new(row.try_get("video_id")?),
            state: states::read(row, "state", ("jobs", id))?,
            plan: plan(row)?,
            failure: failure(row, "error_code", "error_message")?,
            created_at: row.try_get("created_at")?,
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
            now: row.try_get("now")?,
            fraction: row.try_get("fraction")?,
            speed: row.try_get("speed")?,
            attempt: attempt.unsigned_abs(),
            last_failure: failure(row, "last_error_code", "last_error_message")?,
            queue_position: None,
        })
    }
}

/// The plan in the columns `id` and `plan`.
pub(super) fn plan(row: &Row) -> Result<Plan, DbError> {
    let id: Uuid = row.try_get("id")?;
    let plan: serde_json::Value = row.try_get("plan")?;
    serde_json::from_value(plan).map_err(|_| DbError::row("jobs", "plan", id))
}

/// Queues a transcode. The caller has checked, under the video's lock, that no other one is
/// unfinished.
pub async fn create(
    db: &impl GenericClient,
    tenant: &str,
    video: VideoId,
    job: JobId,
    plan: &Plan,
) -> Result<(), DbError> {
    let plan = serde_json::to_value(plan).map_err(|_| DbError::row("jobs", "plan", job))?;
    db.execute(
        "INSERT INTO jobs (id, video_id, tenant, kind, plan, traceparent)
         VALUES ($1, $2, $3, 'transcode', $4, $5)",
        &[&job.uuid(), &video.uuid(), &tenant, &plan, &context::current()],
    )
    .await?;
    Ok(())
}

/// Queues a probe.
pub async fn create_probe(
    db: &impl GenericClient,
    tenant: &str,
    video: VideoId,
    job: JobId,
) -> Result<(), DbError> {
    db.execute(
        "INSERT INTO jobs (id, video_id, tenant, kind, traceparent)
         VALUES ($1, $2, $3, 'probe', $4)",
        &[&job.uuid(), &video.uuid(), &tenant, &context::current()],
    )
    .await?;
    Ok(())
}

/// The video's unfinished transcode.
pub async fn active_of(db: &impl GenericClient, video: VideoId) -> Result<Option<JobId>, DbError> {
    let row = db
        .query_opt(
            "SELECT id
             FROM jobs
             WHERE video_id = $1 AND kind = 'transcode' AND state IN ('queued', 'running')",
            &[&video.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?.map(JobId::new))
}

/// One transcode job of one tenant.
pub async fn get(db: &impl GenericClient, tenant: &str, id: JobId) -> Result<Option<Job>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM jobs j
         JOIN videos v ON v.id = j.video_id AND v.deleted_at IS NULL
         {SUMS}
         WHERE j.id = $1 AND j.tenant = $2 AND j.kind = 'transcode'"
    );
    let row = db.query_opt(&sql, &[&id.uuid(), &tenant]).await?;
    let Some(job) = row.as_ref().map(Job::try_from).transpose()? else { return Ok(None) };
    Ok(place_in_queue(db, vec![job]).await?.pop())
}

/// Those of the transcode jobs that exist, regardless of their tenant.
pub async fn of_ids(db: &impl GenericClient, ids: &[JobId]) -> Result<Vec<Job>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM jobs j
         JOIN videos v ON v.id = j.video_id AND v.deleted_at IS NULL
         {SUMS}
         WHERE j.id = ANY ($1) AND j.kind = 'transcode'"
    );
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = db.query(&sql, &[&ids]).await?;
    place_in_queue(db, rows.iter().map(Job::try_from).collect::<Result<_, _>>()?).await
}

/// Sets the places of those jobs that are queued. Jobs leave the queue in the order in which they
/// entered it, because the tasks of one tenant take their turns then.
async fn place_in_queue(db: &impl GenericClient, mut jobs: Vec<Job>) -> Result<Vec<Job>, DbError> {
    let queued = jobs.iter().filter(|job| job.state == JobState::Queued);
    let queued: Vec<Uuid> = queued.map(|job| job.id.uuid()).collect();
    if queued.is_empty() {
        return Ok(jobs);
    }
    let rows = db
        .query(
            "SELECT id, position
             FROM (
                 SELECT id, row_number() OVER (
                            PARTITION BY tenant ORDER BY COALESCE(queued_at, created_at), id
                        ) AS position
                 FROM jobs
                 WHERE tenant IN (SELECT tenant FROM jobs WHERE id = ANY ($1))
                   AND kind = 'transcode'
                   AND state = 'queued'
             ) AS queue
             WHERE id = ANY ($1)",
            &[&queued],
        )
        .await?;
    for row in rows {
        let (id, position): (Uuid, i64) = (row.try_get("id")?, row.try_get("position")?);
        if let Some(job) = jobs.iter_mut().find(|job| job.id.uuid() == id) {
            job.queue_position = u32::try_from(position).ok();
        }
    }
    Ok(jobs)
}

/// Which jobs a list contains.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// The video; `None` for all.
    pub video: Option<VideoId>,
    /// States; empty for all.
    pub states: &'a [JobState],
}

/// Up to `limit` transcode jobs, newest first, older than `after`.
pub async fn list(
    db: &impl GenericClient,
    tenant: &str,
    filter: Filter<'_>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Job>, DbError> {
    let (time, id) = after.map(|c| (c.time, c.id)).unzip();
    let states = states::condition("j.state", filter.states.iter().map(|state| state.text()));
    let sql = format!(
        "SELECT {COLUMNS}
         FROM (
             SELECT j.*
             FROM jobs j
             JOIN videos v ON v.id = j.video_id AND v.deleted_at IS NULL
             WHERE j.tenant = $1
               AND j.kind = 'transcode'
               AND ($2::uuid IS NULL OR j.video_id = $2)
               AND ($3::timestamptz IS NULL OR (j.created_at, j.id) < ($3, $4::uuid))
               {states}
             ORDER BY j.created_at DESC, j.id DESC
             LIMIT $5
         ) AS j
         {SUMS}
         ORDER BY j.created_at DESC, j.id DESC"
    );
    let video = filter.video.map(VideoId::uuid);
    let rows = db.query(&sql, &[&tenant, &video, &time, &id, &limit]).await?;
    let jobs = rows.iter().map(Job::try_from).collect::<Result<_, _>>()?;
    place_in_queue(db, jobs).await
}

/// Changes a failed or cancelled job to queued. Renditions that a failed one has completed stay
/// complete, because their playlists have ended. False if it is in another state or does not exist.
pub async fn reopen(db: &impl GenericClient, id: JobId) -> Result<bool, DbError> {
    let rows = db
        .execute(
            "UPDATE jobs
             SET state = 'queued',
                 queued_at = now(),
                 error_code = NULL,
                 error_message = NULL,
                 started_at = NULL,
                 finished_at = NULL,
                 renditions_at = CASE WHEN state = 'failed' THEN renditions_at END,
                 traceparent = COALESCE($2, traceparent)
             WHERE id = $1 AND state IN ('failed', 'cancelled')",
            &[&id.uuid(), &context::current()],
        )
        .await?;
    Ok(rows == 1)
}

/// Records that the renditions of a job are complete, unless some task that makes them is not done.
pub async fn end_renditions(db: &impl GenericClient, id: JobId) -> Result<(), DbError> {
    db.execute(
        "UPDATE jobs
         SET renditions_at = now()
         WHERE id = $1
           AND renditions_at IS NULL
           AND NOT EXISTS (
               SELECT 1 FROM tasks WHERE job_id = $1 AND kind = ANY ($2) AND state <> 'done'
           )",
        &[&id.uuid(), &states::kinds(TaskKind::makes_renditions)],
    )
    .await?;
    Ok(())
}

/// Adds notes for the user to a job's plan.
pub async fn add_notes(
    db: &impl GenericClient,
    id: JobId,
    notes: &[String],
) -> Result<(), DbError> {
    if notes.is_empty() {
        return Ok(());
    }
    let notes = serde_json::Value::from(notes);
    db.execute(
        "UPDATE jobs
         SET plan = jsonb_set(plan, '{notes}', plan -> 'notes' || $2::jsonb)
         WHERE id = $1",
        &[&id.uuid(), &notes],
    )
    .await?;
    Ok(())
}

/// How many transcode jobs are running.
pub async fn running(db: &impl GenericClient) -> Result<i64, DbError> {
    let row = db
        .query_one(
            "SELECT count(*) AS jobs FROM jobs WHERE kind = 'transcode' AND state = 'running'",
            &[],
        )
        .await?;
    Ok(row.try_get("jobs")?)
}

/// State and start of a job, regardless of its tenant; for data planes and cleanup.
pub async fn state(
    db: &impl GenericClient,
    id: JobId,
) -> Result<Option<(JobState, Option<Timestamp>)>, DbError> {
    let row = db
        .query_opt("SELECT state::text AS state, started_at FROM jobs WHERE id = $1", &[&id.uuid()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let state = states::read(&row, "state", ("jobs", id))?;
    Ok(Some((state, row.try_get("started_at")?)))
}

/// Whether a job is a transcode; false for a probe and for a job that does not exist.
pub async fn is_transcode(db: &impl GenericClient, id: JobId) -> Result<bool, DbError> {
    let row = db
        .query_opt("SELECT kind = 'transcode' AS transcode FROM jobs WHERE id = $1", &[&id.uuid()])
        .await?;
    Ok(row.map(|row| row.try_get("transcode")).transpose()?.unwrap_or(false))
}

/// Seconds since the job was created, by the clock at the time of the statement.
pub async fn age_seconds(db: &impl GenericClient, id: JobId) -> Result<Option<f64>, DbError> {
    let row = db
        .query_opt(
            "SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 AS age
             FROM jobs
             WHERE id = $1",
            &[&id.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("age")).transpose()?)
}

/// The trace context of the request that queued the job.
pub async fn traceparent(db: &impl GenericClient, id: JobId) -> Result<Option<String>, DbError> {
    let row = db.query_opt("SELECT traceparent FROM jobs WHERE id = $1", &[&id.uuid()]).await?;
    Ok(row.map(|row| row.try_get("traceparent")).transpose()?.flatten())
}

/// The video of a job, regardless of its tenant.
pub async fn video_of(db: &impl GenericClient, id: JobId) -> Result<Option<VideoId>, DbError> {
    let row = db.query_opt("SELECT video_id FROM jobs WHERE id = $1", &[&id.uuid()]).await?;
    Ok(row.map(|row| row.try_get("video_id")).transpose()?.map(VideoId::new))
}

/// The database's clock in whole milliseconds, the precision of indexes.
pub async fn now_ms(db: &impl GenericClient) -> Result<Timestamp, DbError> {
    let row = db.query_one("SELECT date_trunc('milliseconds', now()) AS now", &[]).await?;
    Ok(row.try_get("now")?)
}
