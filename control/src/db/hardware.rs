//! Jobs whose hardware encoder no worker has, or fails: their restart in software.

use media::{HardwareEncoder, JobId, VideoId};
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::{DbError, jobs, tasks, videos};
use crate::{domain::TaskKind, plan::hardware::Loss};

/// A worker that was last seen longer ago is not waited for. Longer than it takes to reconnect, and
/// to replace a worker by one of another release.
pub const ABSENT_SECONDS: f64 = 30.0;

/// SQL: whether no worker that was seen within `$1` seconds has the encoder of task `t`.
const NO_WORKER: &str = "
    NOT EXISTS (
        SELECT 1
        FROM workers w
        WHERE w.seen_at > now() - make_interval(secs => $1) AND t.encoder = ANY (w.encoders)
    )";

/// A job with tasks for a hardware encoder that it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingJob {
    /// The job.
    pub job: JobId,
    /// Its video.
    pub video: VideoId,
    /// The encoder.
    pub hardware: HardwareEncoder,
}

/// The jobs with waiting tasks for hardware encoders that no worker has had for
/// `absent_seconds`.
///
/// # Errors
/// The database query failed.
pub async fn waiting(
    db: &impl GenericClient,
    absent_seconds: f64,
) -> Result<Vec<WaitingJob>, DbError> {
    let known = HardwareEncoder::ALL.map(HardwareEncoder::text);
    let sql = format!(
        "SELECT DISTINCT t.job_id, t.video_id, t.encoder
         FROM tasks t
         WHERE t.state = 'ready' AND t.kind = $2 AND t.encoder = ANY ($3) AND {NO_WORKER}"
    );
    let rows =
        db.query(&sql, &[&absent_seconds, &TaskKind::Chunk.text(), &known.as_slice()]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(hardware) = HardwareEncoder::parse(row.try_get("encoder")?) else { continue };
        let job = JobId::new(row.try_get("job_id")?);
        found.push(WaitingJob { job, video: VideoId::new(row.try_get("video_id")?), hardware });
    }
    Ok(found)
}

/// Has the job encode the rungs of the hardware encoder in software if no worker has had it for
/// `absent_seconds`. Returns the number of new tasks.
///
/// This is the body of a transaction that holds the video's lock; it changes nothing if the job has
/// ended or a worker has connected in the meantime.
///
/// # Errors
/// The database query failed, or the job's plan is invalid.
pub async fn restart_in_software(
    tx: &impl GenericClient,
    waiting_job: WaitingJob,
    absent_seconds: f64,
) -> Result<usize, DbError> {
    if !waiting(tx, absent_seconds).await?.contains(&waiting_job) {
        return Ok(0);
    }
    replace(tx, waiting_job, Loss::Absent).await
}

/// Has the job encode the rungs of the hardware encoder in software, from their first chunks on:
/// changes its plan, and replaces their outputs and tasks. Objects of the outputs are deleted when
/// the job ends. Returns the number of new tasks, 0 if the job has ended. The caller holds the
/// video's lock.
///
/// # Errors
/// The database query failed, or the job's plan is invalid.
pub async fn replace(
    tx: &impl GenericClient,
    WaitingJob { job, video, hardware }: WaitingJob,
    loss: Loss,
) -> Result<usize, DbError> {
    let row = tx
        .query_opt(
            "SELECT id, plan, tenant FROM jobs WHERE id = $1 AND state IN ('queued', 'running')",
            &[&job.uuid()],
        )
        .await?;
    let Some(row) = row else { return Ok(0) };
    let (mut plan, tenant): (_, String) = (jobs::plan(&row)?, row.try_get("tenant")?);
    let committed = tx
        .query("SELECT DISTINCT rendition FROM outputs WHERE job_id = $1", &[&job.uuid()])
        .await?;
    let committed = committed.iter().map(|row| row.try_get("rendition"));
    let committed = committed.collect::<Result<Vec<String>, _>>()?;
    let is_committed = |name: &str| committed.iter().any(|rendition| rendition == name);
    let (replaced, new) = plan.replace_hardware(hardware, loss, is_committed);
    let before: Vec<&str> = replaced.iter().map(|rung| rung.before.as_str()).collect();
    drop_renditions(tx, job, hardware, &before).await?;
    // Its place in the queue is that of the chunks.
    let software = hardware.codec().encoder();
    tx.execute(
        "UPDATE tasks SET encoder = $3 WHERE job_id = $1 AND encoder = $2",
        &[&job.uuid(), &hardware.text(), &software],
    )
    .await?;
    let json = serde_json::to_value(&plan).map_err(|_| DbError::row("jobs", "plan", job))?;
    tx.execute("UPDATE jobs SET plan = $2 WHERE id = $1", &[&job.uuid(), &json]).await?;
    tasks::create(tx, &tenant, video, job, &new).await?;
    videos::touch(tx, video).await?;
    Ok(new.len())
}

/// Deletes the tasks and the committed outputs of renditions.
async fn drop_renditions(
    tx: &impl GenericClient,
    job: JobId,
    hardware: HardwareEncoder,
    renditions: &[&str],
) -> Result<(), DbError> {
    let job: Uuid = job.uuid();
    tx.execute(
        "DELETE FROM tasks WHERE job_id = $1 AND kind = $2 AND encoder = $3",
        &[&job, &TaskKind::Chunk.text(), &hardware.text()],
    )
    .await?;
    for table in ["outputs", "inits"] {
        let sql = format!("DELETE FROM {table} WHERE job_id = $1 AND rendition = ANY ($2)");
        tx.execute(&sql, &[&job, &renditions]).await?;
    }
    Ok(())
}
