//! Rows of `tasks` for the API; creates, requeues and unblocks tasks.

use media::{JobId, TaskId, VideoId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{DbError, failure, fair_queue, jobs, states};
use crate::{
    domain::{Failure, Prerequisite, TaskKind, TaskState},
    plan::NewTask,
};

/// Maximum attempts of one task; when the last one fails, the task has failed permanently.
pub const ATTEMPTS_MAX: i32 = 4;

/// One task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The kind of the task.
    pub kind: TaskKind,
    /// The chunk's or the track's number.
    pub ordinal: u32,
    /// The rungs that a chunk task encodes.
    pub rungs: Vec<String>,
    /// Its state.
    pub state: TaskState,
    /// Its share of the job's work.
    pub weight: f64,
    /// Number of leases so far.
    pub attempt: u32,
    /// The worker that holds or last held the lease.
    pub worker: String,
    /// 0 to 1.
    pub fraction: f64,
    /// Seconds of video encoded per second.
    pub speed: f64,
    /// The latest failure.
    pub failure: Option<Failure>,
}

impl TryFrom<&Row> for Task {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let id: Uuid = row.try_get("id")?;
        let ordinal: i32 = row.try_get("ordinal")?;
        let attempt: i32 = row.try_get("attempt")?;
        Ok(Self {
            id: TaskId::new(id),
            kind: states::read(row, "kind", ("tasks", id))?,
            ordinal: ordinal.unsigned_abs(),
            rungs: row.try_get("rungs")?,
            state: states::read(row, "state", ("tasks", id))?,
            weight: row.try_get("weight")?,
            attempt: attempt.unsigned_abs(),
            worker: row.try_get("worker")?,
            fraction: row.try_get("fraction")?,
            speed: row.try_get("speed")?,
            failure: failure(row, "error_code", "error_message")?,
        })
    }
}

/// A job's tasks in the order in which they should run.
pub async fn of_job(db: &impl GenericClient, job: JobId) -> Result<Vec<Task>, DbError> {
    let rows = db
        .query(
            "SELECT id, kind, ordinal, rungs, state::text AS state, weight, attempt, worker,
                    fraction, speed, error_code, error_message
             FROM tasks
             WHERE job_id = $1
             ORDER BY priority DESC, ordinal, id",
            &[&job.uuid()],
        )
        .await?;
    rows.iter().map(Task::try_from).collect()
}

/// Those of the tasks that exist and whose video does, each with its job.
pub async fn of_ids(
    db: &impl GenericClient,
    ids: &[TaskId],
) -> Result<Vec<(JobId, Task)>, DbError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = db
        .query(
            "SELECT t.id, t.job_id, t.kind, t.ordinal, t.rungs, t.state::text AS state, t.weight,
                    t.attempt, t.worker, t.fraction, t.speed, t.error_code, t.error_message
             FROM tasks t
             JOIN videos v ON v.id = t.video_id AND v.deleted_at IS NULL
             WHERE t.id = ANY ($1)",
            &[&ids],
        )
        .await?;
    let read = |row: &Row| Ok((JobId::new(row.try_get("job_id")?), Task::try_from(row)?));
    rows.iter().map(read).collect()
}

/// Creates a job's tasks in one statement; the ready ones take their turns in the given order.
pub async fn create(
    db: &impl GenericClient,
    tenant: &str,
    video: VideoId,
    job: JobId,
    tasks: &[NewTask],
) -> Result<(), DbError> {
    let ids: Vec<Uuid> = tasks.iter().map(|_| Uuid::now_v7()).collect();
    let kinds: Vec<&str> = tasks.iter().map(|t| t.kind.text()).collect();
    let ordinals: Vec<i32> = tasks.iter().map(|t| t.ordinal.cast_signed()).collect();
    // Arrays of arrays must be rectangular; rung names contain no commas.
    let rungs: Vec<String> = tasks.iter().map(|t| t.rungs.join(",")).collect();
    let states: Vec<&str> = tasks.iter().map(|t| t.state.text()).collect();
    let priorities: Vec<i32> = tasks.iter().map(|t| t.priority).collect();
    let weights: Vec<f64> = tasks.iter().map(|t| t.weight).collect();
    let encoders: Vec<&str> = tasks.iter().map(|t| t.encoder).collect();
    fair_queue::lock_tenant_queue(db, job).await?;
    let taken = fair_queue::TAKEN;
    let sql = format!(
        "WITH queue AS MATERIALIZED (
             SELECT t.priority, t.encoder, {taken} AS taken
             FROM (
                 SELECT DISTINCT $3::text AS tenant, n.priority, n.encoder
                 FROM unnest($10::int4[], $12::text[]) AS n (priority, encoder)
             ) AS t
         )
         INSERT INTO tasks
             (id, job_id, video_id, tenant, kind, ordinal, rungs, state, priority, weight,
              encoder, attempts_max, turn)
         SELECT n.id, $1, $2, $3, n.kind, n.ordinal, string_to_array(n.rungs, ','),
                n.state::task_state, n.priority, n.weight, n.encoder, $4,
                queue.taken
                + row_number() OVER (PARTITION BY n.priority, n.encoder ORDER BY n.place)
         FROM unnest($5::uuid[], $6::text[], $7::int4[], $8::text[], $9::text[], $10::int4[],
                     $11::float8[], $12::text[]) WITH ORDINALITY
              AS n (id, kind, ordinal, rungs, state, priority, weight, encoder, place)
         JOIN queue USING (priority, encoder)"
    );
    db.execute(
        &sql,
        &[
            &job.uuid(),
            &video.uuid(),
            &tenant,
            &ATTEMPTS_MAX,
            &ids,
            &kinds,
            &ordinals,
            &rungs,
            &states,
            &priorities,
            &weights,
            &encoders,
        ],
    )
    .await?;
    Ok(())
}

/// SQL: whether the row of the first output of a finished task `t` of this kind is missing, because
/// the outputs of its cancelled job were deleted.
const fn lost_output(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Chunk => {
            "NOT EXISTS (
                 SELECT 1
                 FROM outputs o
                 WHERE o.job_id = t.job_id AND o.rendition = t.rungs[1] AND o.chunk = t.ordinal
             )"
        }
        TaskKind::Audio => {
            "NOT EXISTS (
                 SELECT 1
                 FROM outputs o
                 WHERE o.job_id = t.job_id AND o.rendition = 'audio-' || t.ordinal AND o.chunk = 0
             )"
        }
        TaskKind::Surround => {
            "NOT EXISTS (
                 SELECT 1
                 FROM outputs o
                 WHERE o.job_id = t.job_id
                   AND o.rendition = 'surround-' || t.ordinal
                   AND o.chunk = 0
             )"
        }
        TaskKind::Subtitles => {
            "NOT EXISTS (
                 SELECT 1
                 FROM pictures p
                 WHERE p.job_id = t.job_id AND p.name = 'subtitles/' || t.ordinal
             )"
        }
        TaskKind::Thumbnails => {
            "NOT EXISTS (
                 SELECT 1 FROM pictures p WHERE p.job_id = t.job_id AND p.name = 'poster'
             )"
        }
        TaskKind::Preview => {
            "NOT EXISTS (
                 SELECT 1 FROM pictures p WHERE p.job_id = t.job_id AND p.name = 'preview'
             )"
        }
        // Their results are in rows of the video.
        TaskKind::Probe | TaskKind::Collect => "false",
    }
}

/// SQL: the tasks of job `$1` that must run again.
fn unfinished() -> String {
    let lost = TaskKind::ALL
        .map(|kind| format!("OR t.kind = '{}' AND {}", kind.text(), lost_output(kind)))
        .join("\n");
    format!(
        "SELECT t.id, t.tenant, t.priority, t.encoder, t.ordinal
         FROM tasks t
         WHERE t.job_id = $1 AND (t.state <> 'done' {lost})"
    )
}

/// Queues the unfinished tasks of a failed or cancelled job again. A finished task whose outputs
/// have been deleted in the meantime counts as unfinished.
pub async fn requeue_unfinished(db: &impl GenericClient, job: JobId) -> Result<(), DbError> {
    fair_queue::lock_tenant_queue(db, job).await?;
    let (taken, unfinished) = (fair_queue::TAKEN, unfinished());
    let waiting = states::kinds(|kind| kind.first_state() == TaskState::Blocked);
    let sql = format!(
        "WITH unfinished AS MATERIALIZED ({unfinished}),
         queue AS MATERIALIZED (
             SELECT t.priority, t.encoder, {taken} AS taken
             FROM (SELECT DISTINCT tenant, priority, encoder FROM unfinished) AS t
         ),
         again AS (
             SELECT u.id,
                    queue.taken
                    + row_number() OVER (PARTITION BY u.priority, u.encoder ORDER BY u.ordinal, u.id)
                    AS turn
             FROM unfinished u
             JOIN queue USING (priority, encoder)
         )
         UPDATE tasks t
         SET state = CASE
                 WHEN t.kind = ANY ($2) THEN 'blocked'
                 ELSE 'ready'
             END::task_state,
             turn = again.turn,
             attempt = 0,
             failed_on = '{{}}',
             run_after = now(),
             done_token = NULL,
             token = NULL,
             worker_id = NULL,
             lease_expires = NULL,
             fraction = 0,
             speed = 0,
             error_code = NULL,
             error_message = NULL,
             finished_at = NULL
         FROM again
         WHERE t.id = again.id"
    );
    db.execute(&sql, &[&job.uuid(), &waiting]).await?;
    unblock(db, job).await?;
    Ok(())
}

/// Makes the tasks ready whose prerequisites are done: images wait for the renditions, `collect`
/// waits for everything. An optional task that has failed permanently no longer blocks `collect`.
/// Also records when the renditions are complete. Returns true if a task became ready.
pub async fn unblock(db: &impl GenericClient, job: JobId) -> Result<bool, DbError> {
    jobs::end_renditions(db, job).await?;
    let taken = fair_queue::TAKEN;
    let waiting = states::kinds(|kind| kind.prerequisite() == Prerequisite::Renditions);
    let sql = format!(
        "UPDATE tasks t
         SET state = 'ready', turn = {taken} + 1
         WHERE t.job_id = $1
           AND t.kind = ANY ($2)
           AND t.state = 'blocked'
           AND NOT EXISTS (
               SELECT 1
               FROM tasks o
               WHERE o.job_id = $1 AND o.kind = ANY ($3) AND o.state <> 'done'
           )"
    );
    let renditions = states::kinds(TaskKind::makes_renditions);
    let ready = db.execute(&sql, &[&job.uuid(), &waiting, &renditions]).await?;
    Ok(unblock_last(db, job).await? || ready > 0)
}

/// Makes the tasks ready that wait for all others.
async fn unblock_last(db: &impl GenericClient, job: JobId) -> Result<bool, DbError> {
    let taken = fair_queue::TAKEN;
    let waiting = states::kinds(|kind| kind.prerequisite() == Prerequisite::AllTasks);
    let sql = format!(
        "UPDATE tasks t
         SET state = 'ready', turn = {taken} + 1
         WHERE t.job_id = $1
           AND t.kind = ANY ($2)
           AND t.state = 'blocked'
           AND NOT EXISTS (
               SELECT 1
               FROM tasks o
               WHERE o.job_id = $1
                 AND o.kind <> ALL ($2)
                 AND o.state <> 'done'
                 AND NOT (o.kind = ANY ($3) AND o.state = 'failed')
           )"
    );
    let optional = states::kinds(TaskKind::is_optional);
    let ready = db.execute(&sql, &[&job.uuid(), &waiting, &optional]).await?;
    Ok(ready > 0)
}
