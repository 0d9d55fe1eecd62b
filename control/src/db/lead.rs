//! Tasks that encode the lower rungs of a chunk ahead of the highest: which jobs may need them, and
//! their creation.

use std::{collections::BTreeMap, ops::Range};

use media::{JobId, VideoId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{DbError, completion, fair_queue, jobs, tasks};
use crate::{
    domain::TaskKind,
    plan::{
        NewTask, PRIORITY_LEAD, Plan,
        lead::{MEASURED_SECONDS_MIN, RunningChunk},
    },
};

/// A running chunk task that has encoded this much is not repeated for its lowest rung.
const REPEATED_FRACTION_MAX: f64 = 0.5;

/// A job whose video is served while it grows.
#[derive(Clone, Debug)]
pub struct GrowingJob {
    /// The job.
    pub id: JobId,
    /// Its video.
    pub video: VideoId,
    /// The tenant that owns the video.
    pub tenant: String,
    /// The job's plan.
    pub plan: Plan,
    /// Seconds since the video became playable: the furthest position of a viewer.
    pub position: f64,
}

/// The running chunk tasks of all growing videos, by job; without jobs of which no task has run long
/// enough to be measured. A lease lasts `lease_seconds` after its last renewal.
pub async fn running(
    db: &impl GenericClient,
    lease_seconds: f64,
) -> Result<BTreeMap<JobId, Vec<RunningChunk>>, DbError> {
    let rows = db
        .query(
            "SELECT t.job_id, t.ordinal, t.weight, t.fraction,
                    CASE WHEN t.attempt = 1 THEN
                        extract(
                            epoch FROM t.lease_expires - make_interval(secs => $2) - t.started_at
                        )::float8
                    ELSE 0 END AS seconds
             FROM tasks t
             JOIN videos v ON v.id = t.video_id AND v.served_job = t.job_id
             WHERE t.state = 'leased' AND t.kind = $1",
            &[&TaskKind::Chunk.text(), &lease_seconds],
        )
        .await?;
    let mut jobs: BTreeMap<JobId, Vec<RunningChunk>> = BTreeMap::new();
    for row in &rows {
        let task = RunningChunk {
            chunk: chunk(row)?,
            weight: row.try_get("weight")?,
            fraction: row.try_get("fraction")?,
            seconds: row.try_get("seconds")?,
        };
        jobs.entry(JobId::new(row.try_get("job_id")?)).or_default().push(task);
    }
    jobs.retain(|_, tasks| tasks.iter().any(|task| task.seconds >= MEASURED_SECONDS_MIN));
    Ok(jobs)
}

/// The job, if it still runs and its video is served.
pub async fn growing_job(
    db: &impl GenericClient,
    job: JobId,
) -> Result<Option<GrowingJob>, DbError> {
    let row = db
        .query_opt(
            "SELECT j.id, j.video_id, j.tenant, j.plan,
                    extract(epoch FROM now() - v.published_at)::float8 AS position
             FROM jobs j
             JOIN videos v ON v.id = j.video_id AND v.served_job = j.id
             WHERE j.id = $1 AND j.state = 'running' AND v.published_at IS NOT NULL",
            &[&job.uuid()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(GrowingJob {
        id: job,
        video: VideoId::new(row.try_get("video_id")?),
        tenant: row.try_get("tenant")?,
        plan: jobs::plan(&row)?,
        position: row.try_get("position")?,
    }))
}

/// SQL: chunk tasks `t` of job `$1` that encode rung `$3` of the chunks from `$4` to before `$5`,
/// which is not committed.
const PENDING: &str = "
    t.job_id = $1
    AND t.kind = $2
    AND $3 = ANY (t.rungs)
    AND t.ordinal >= $4
    AND t.ordinal < $5
    AND NOT EXISTS (
        SELECT 1
        FROM outputs o
        WHERE o.job_id = t.job_id AND o.rendition = $3 AND o.chunk = t.ordinal
    )";

/// SQL: whether task `t` does not encode rung `$3` of its chunk as its only one, but another task
/// does.
const ALONE: &str = "
    EXISTS (
        SELECT 1
        FROM tasks a
        WHERE a.job_id = t.job_id
          AND a.kind = t.kind
          AND a.ordinal = t.ordinal
          AND a.rungs = ARRAY[$3]
    )";

/// Gives the lower rungs of `chunks` tasks of their own, which are claimed before all others of the
/// job: waiting tasks are split; for running ones the lowest rung is encoded a second time, of which
/// admission keeps the first output. Returns how many tasks became more urgent.
///
/// This is the body of a transaction; it changes nothing if the job has ended.
pub async fn encode_ahead(
    tx: &impl GenericClient,
    job: &GrowingJob,
    chunks: &Range<u32>,
) -> Result<usize, DbError> {
    let Some(lowest) = job.plan.rungs.first().map(|rung| rung.name.as_str()) else { return Ok(0) };
    let (kind, job_id) = (TaskKind::Chunk.text(), job.id.uuid());
    let (from, to) = (chunks.start.cast_signed(), chunks.end.cast_signed());
    let pending = format!(
        "SELECT t.ordinal
         FROM tasks t
         WHERE {PENDING}
           AND (
               t.state = 'ready' AND (cardinality(t.rungs) > 1 OR t.priority < $6)
               OR t.state = 'leased' AND t.fraction < $7 AND cardinality(t.rungs) > 1 AND NOT {ALONE}
           )
         LIMIT 1"
    );
    let limits: (i32, f64) = (PRIORITY_LEAD, REPEATED_FRACTION_MAX);
    let pending =
        tx.query(&pending, &[&job_id, &kind, &lowest, &from, &to, &limits.0, &limits.1]).await?;
    if pending.is_empty()
        || !completion::lock_video(tx, job.video).await?
        || growing_job(tx, job.id).await?.is_none()
    {
        return Ok(0);
    }
    fair_queue::lock_tenant_queue(tx, job.id).await?;
    let running = format!(
        "SELECT t.ordinal
         FROM tasks t
         WHERE {PENDING}
           AND t.state = 'leased'
           AND t.fraction < $6
           AND cardinality(t.rungs) > 1
           AND NOT {ALONE}"
    );
    let repeated = tx.query(&running, &[&job_id, &kind, &lowest, &from, &to, &limits.1]).await?;
    let split = split_waiting(tx, job, lowest, chunks).await?;
    let mut new = Vec::new();
    for row in &repeated {
        let lowest = job.plan.lead_tasks(chunk(row)?).into_iter().next();
        // The running task counts the work.
        new.extend(lowest.map(|task| NewTask { weight: 0.0, ..task }));
    }
    for row in &split {
        let alone: bool = row.try_get("alone")?;
        new.extend(job.plan.lead_tasks(chunk(row)?).into_iter().skip(usize::from(alone)));
    }
    if !new.is_empty() {
        tasks::create(tx, &job.tenant, job.video, job.id, &new).await?;
    }
    let taken = fair_queue::TAKEN;
    let raise = format!(
        "UPDATE tasks t
         SET priority = $6, turn = {taken} + 1
         WHERE {PENDING} AND t.state = 'ready' AND t.rungs = ARRAY[$3] AND t.priority < $6"
    );
    let raised = tx.execute(&raise, &[&job_id, &kind, &lowest, &from, &to, &limits.0]).await?;
    Ok(new.len() + raised as usize)
}

/// Removes all rungs but the highest from waiting tasks; returns their chunks, and whether another
/// task encodes the lowest rung of the chunk.
async fn split_waiting(
    tx: &impl GenericClient,
    job: &GrowingJob,
    lowest: &str,
    chunks: &Range<u32>,
) -> Result<Vec<Row>, DbError> {
    let weight = |chunk| job.plan.lead_tasks(chunk).iter().map(|task| task.weight).sum::<f64>();
    let weights: Vec<f64> = chunks.clone().map(weight).collect();
    let sql = format!(
        "WITH split AS (
             UPDATE tasks t
             SET rungs = t.rungs[cardinality(t.rungs):],
                 weight = GREATEST(t.weight - ($6::float8[])[t.ordinal - $4 + 1], 0)
             WHERE {PENDING} AND t.state = 'ready' AND cardinality(t.rungs) > 1
             RETURNING t.job_id, t.kind, t.ordinal
         )
         SELECT t.ordinal, {ALONE} AS alone FROM split t"
    );
    let (from, to) = (chunks.start.cast_signed(), chunks.end.cast_signed());
    let kind = TaskKind::Chunk.text();
    Ok(tx.query(&sql, &[&job.id.uuid(), &kind, &lowest, &from, &to, &weights]).await?)
}

fn chunk(row: &Row) -> Result<u32, DbError> {
    let ordinal: i32 = row.try_get("ordinal")?;
    Ok(ordinal.unsigned_abs())
}

/// Marks waiting tasks of a chunk as done whose outputs other tasks have committed.
pub async fn finish_repeated(
    tx: &impl GenericClient,
    job: JobId,
    chunk: u32,
) -> Result<(), DbError> {
    let job: Uuid = job.uuid();
    tx.execute(
        "UPDATE tasks t
         SET state = 'done',
             fraction = 1,
             error_code = NULL,
             error_message = NULL,
             finished_at = now()
         WHERE t.job_id = $1
           AND t.kind = $2
           AND t.ordinal = $3
           AND t.state = 'ready'
           AND NOT EXISTS (
               SELECT unnest(t.rungs)
               EXCEPT
               SELECT rendition FROM outputs WHERE job_id = $1 AND chunk = $3
           )",
        &[&job, &TaskKind::Chunk.text(), &chunk.cast_signed()],
    )
    .await?;
    Ok(())
}
