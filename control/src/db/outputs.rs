//! Rows of `outputs` and `inits`, which record admitted outputs; and the task that a commit belongs
//! to.

use jiff::Timestamp;
use media::{JobId, TaskId, VideoId, index::Fragment, tables::ChunkTable};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

pub use super::served_version::publish;
use super::{DbError, jobs, lease::LeaseId, states};
use crate::{domain::TaskKind, plan::Plan};

/// One object as its worker describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// "360p" or "audio-0".
    pub rendition: String,
    /// The number of its chunk on the grid.
    pub chunk: u32,
    /// The key in the video's store.
    pub key: String,
    /// Size of the object.
    pub bytes: u64,
    /// Raw, 32 bytes.
    pub sha256: Vec<u8>,
    /// The rendition's init segment; empty when the object is read from its row, which does not
    /// store it.
    pub init: Vec<u8>,
}

/// One admitted object.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The object as it was offered.
    pub object: Offered,
    /// The fragments that admission found in it.
    pub fragments: Vec<Fragment>,
    /// Size and composition offset of every sample; `None` for rows that are older than sample
    /// tables.
    pub samples: Option<ChunkTable>,
}

/// The task of a commit, regardless of whether the lease is still held.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The kind of the task.
    pub kind: TaskKind,
    /// The chunk's or the track's number.
    pub ordinal: u32,
    /// The rungs that a chunk task encodes.
    pub rungs: Vec<String>,
    /// Its job.
    pub job: JobId,
    /// Its video.
    pub video: VideoId,
    /// The video's store.
    pub store: String,
    /// The file name that the client gave the source.
    pub filename: String,
    /// `None` for a probe.
    pub plan: Option<Plan>,
    /// The trace context of the request that queued the job.
    pub traceparent: Option<String>,
}

/// The task of a commit or a lease.
pub async fn subject(db: &impl GenericClient, task: TaskId) -> Result<Option<Subject>, DbError> {
    let row = db
        .query_opt(
            "SELECT t.kind, t.ordinal, t.rungs, t.video_id, j.id, j.plan, j.traceparent, v.store,
                    v.filename
             FROM tasks t
             JOIN jobs j ON j.id = t.job_id
             JOIN videos v ON v.id = t.video_id
             WHERE t.id = $1",
            &[&task.uuid()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let kind: TaskKind = states::read(&row, "kind", ("tasks", task))?;
    let ordinal: i32 = row.try_get("ordinal")?;
    let plan = if kind.examines_source() { None } else { Some(jobs::plan(&row)?) };
    Ok(Some(Subject {
        kind,
        ordinal: ordinal.unsigned_abs(),
        rungs: row.try_get("rungs")?,
        job: JobId::new(row.try_get("id")?),
        video: VideoId::new(row.try_get("video_id")?),
        store: row.try_get("store")?,
        filename: row.try_get("filename")?,
        plan,
        traceparent: row.try_get("traceparent")?,
    }))
}

/// Locks the row of a lease for this transaction; false if the lease is not held.
pub async fn lock_lease(tx: &impl GenericClient, lease: LeaseId) -> Result<bool, DbError> {
    let row = tx
        .query_opt(
            "SELECT 1 AS held
             FROM tasks
             WHERE id = $1 AND token = $2 AND state = 'leased'
             FOR UPDATE",
            &[&lease.task.uuid(), &lease.stored_token()],
        )
        .await?;
    Ok(row.is_some())
}

/// Whether this very lease finished the task.
pub async fn finished_by(db: &impl GenericClient, lease: LeaseId) -> Result<bool, DbError> {
    let row = db
        .query_opt(
            "SELECT 1 AS held FROM tasks WHERE id = $1 AND done_token = $2 AND state = 'done'",
            &[&lease.task.uuid(), &lease.stored_token()],
        )
        .await?;
    Ok(row.is_some())
}

/// Stores a rendition's init segment, or compares it with the stored one; false if they differ.
pub async fn fix_init(
    tx: &impl GenericClient,
    job: JobId,
    rendition: &str,
    init: &[u8],
) -> Result<bool, DbError> {
    tx.execute(
        "INSERT INTO inits (job_id, rendition, init)
         VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        &[&job.uuid(), &rendition, &init],
    )
    .await?;
    let row = tx
        .query_one(
            "SELECT init = $3 AS same FROM inits WHERE job_id = $1 AND rendition = $2",
            &[&job.uuid(), &rendition, &init],
        )
        .await?;
    Ok(row.try_get("same")?)
}

/// Commits an object; false if a different object has been committed for this chunk. True for a
/// repeated commit of the same object.
pub async fn insert(
    tx: &impl GenericClient,
    job: JobId,
    output: &Output,
    token: i64,
) -> Result<bool, DbError> {
    let Output { object, fragments, samples } = output;
    let unfit = |column| move |_| DbError::row("outputs", column, &object.key);
    let fragments = postcard::to_stdvec(fragments).map_err(unfit("fragments"))?;
    let samples = samples.as_ref().map(postcard::to_stdvec).transpose();
    let samples = samples.map_err(unfit("samples"))?;
    tx.execute(
        "INSERT INTO outputs
             (job_id, rendition, chunk, object_key, bytes, sha256, fragments, token, samples)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT DO NOTHING",
        &[
            &job.uuid(),
            &object.rendition,
            &object.chunk.cast_signed(),
            &object.key,
            &object.bytes.cast_signed(),
            &object.sha256,
            &fragments,
            &token,
            &samples,
        ],
    )
    .await?;
    holds(tx, job, &object.rendition, object.chunk, &object.key).await
}

/// Whether this very object is the committed one.
pub async fn holds(
    db: &impl GenericClient,
    job: JobId,
    rendition: &str,
    chunk: u32,
    key: &str,
) -> Result<bool, DbError> {
    let row = db
        .query_opt(
            "SELECT 1 AS held
             FROM outputs
             WHERE job_id = $1 AND rendition = $2 AND chunk = $3 AND object_key = $4",
            &[&job.uuid(), &rendition, &chunk.cast_signed(), &key],
        )
        .await?;
    Ok(row.is_some())
}

/// How many outputs of `renditions` are committed, of one chunk or of all.
pub async fn count(
    db: &impl GenericClient,
    job: JobId,
    renditions: &[String],
    chunk: Option<u32>,
) -> Result<u64, DbError> {
    let row = db
        .query_one(
            "SELECT count(*) AS outputs
             FROM outputs
             WHERE job_id = $1
               AND rendition = ANY ($2)
               AND ($3::int4 IS NULL OR chunk = $3)",
            &[&job.uuid(), &renditions, &chunk.map(u32::cast_signed)],
        )
        .await?;
    let count: i64 = row.try_get("outputs")?;
    Ok(count.unsigned_abs())
}

/// All committed outputs of a job, without the init segments.
pub async fn of_job(db: &impl GenericClient, job: JobId) -> Result<Vec<Output>, DbError> {
    let rows = db
        .query(
            "SELECT rendition, chunk, object_key, bytes, sha256, fragments
             FROM outputs
             WHERE job_id = $1
             ORDER BY rendition, chunk",
            &[&job.uuid()],
        )
        .await?;
    rows.iter().map(|row| output(row, job)).collect()
}

fn output(row: &Row, job: JobId) -> Result<Output, DbError> {
    let chunk: i32 = row.try_get("chunk")?;
    let bytes: i64 = row.try_get("bytes")?;
    let fragments: &[u8] = row.try_get("fragments")?;
    Ok(Output {
        object: Offered {
            rendition: row.try_get("rendition")?,
            chunk: chunk.unsigned_abs(),
            key: row.try_get("object_key")?,
            bytes: bytes.unsigned_abs(),
            sha256: row.try_get("sha256")?,
            init: Vec::new(),
        },
        fragments: postcard::from_bytes(fragments)
            .map_err(|_| DbError::row("outputs", "fragments", job))?,
        samples: None,
    })
}

/// The init segments of a job with the names of their renditions.
pub async fn inits(db: &impl GenericClient, job: JobId) -> Result<Vec<(String, Vec<u8>)>, DbError> {
    let rows =
        db.query("SELECT rendition, init FROM inits WHERE job_id = $1", &[&job.uuid()]).await?;
    rows.iter().map(|row| Ok((row.try_get("rendition")?, row.try_get("init")?))).collect()
}

/// The committed keys of a job.
pub async fn keys(db: &impl GenericClient, job: JobId) -> Result<Vec<String>, DbError> {
    let rows = db.query("SELECT object_key FROM outputs WHERE job_id = $1", &[&job.uuid()]).await?;
    rows.iter().map(|row| Ok(row.try_get("object_key")?)).collect()
}

/// The data that the index of a job needs besides its outputs.
#[derive(Clone, Debug)]
pub struct Head {
    /// The job's plan.
    pub plan: Plan,
    /// When the last rendition was complete; the images may be made later.
    pub ended_at: Option<Timestamp>,
    /// Whether the job is completed.
    pub completed: bool,
    /// The tenant that owns the video.
    pub tenant: String,
    /// The title of the video.
    pub title: String,
    /// Whether the video plays without a token.
    pub public: bool,
    /// When the video could first be played; only if this job is the served one.
    pub published_at: Option<Timestamp>,
    /// The number of visible changes.
    pub revision: i64,
}

/// The data for the index of one job.
pub async fn head(db: &impl GenericClient, job: JobId) -> Result<Option<Head>, DbError> {
    let row = db
        .query_opt(
            "SELECT j.id, j.plan,
                    j.state = 'completed' AS completed,
                    COALESCE(
                        j.renditions_at, CASE WHEN j.state = 'completed' THEN j.finished_at END
                    ) AS ended_at,
                    v.tenant, v.title, v.public, v.revision,
                    CASE WHEN v.served_job = j.id THEN v.published_at END AS published_at
             FROM jobs j
             JOIN videos v ON v.id = j.video_id
             WHERE j.id = $1 AND v.deleted_at IS NULL",
            &[&job.uuid()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Head {
        plan: jobs::plan(&row)?,
        ended_at: row.try_get("ended_at")?,
        completed: row.try_get("completed")?,
        tenant: row.try_get("tenant")?,
        title: row.try_get("title")?,
        public: row.try_get("public")?,
        published_at: row.try_get("published_at")?,
        revision: row.try_get("revision")?,
    }))
}

/// The revision of a video and the job that is served.
pub async fn served(
    db: &impl GenericClient,
    video: VideoId,
) -> Result<Option<(i64, Option<JobId>)>, DbError> {
    let row = db
        .query_opt(
            "SELECT revision, served_job FROM videos WHERE id = $1 AND deleted_at IS NULL",
            &[&video.uuid()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let job: Option<Uuid> = row.try_get("served_job")?;
    Ok(Some((row.try_get("revision")?, job.map(JobId::new))))
}
