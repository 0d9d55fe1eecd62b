//! The ends of jobs and videos. Each function is the body of one transaction and locks the video's
//! row first.

use media::{HardwareEncoder, JobId, VideoId};
use tokio_postgres::GenericClient;

use super::{
    DbError,
    chores::{self, Chore},
    hardware::{self, WaitingJob},
    images,
    lease::{self, AttemptResult, FailedAttempt, LeaseId},
    tasks, uploads, videos,
};
use crate::{
    domain::{Failure, TaskState},
    plan::hardware::Loss,
};

/// How long the objects of a replaced job are kept, so that playback sessions that began on them
/// can continue.
pub const REPLACED_SECONDS: f64 = 3600.0;

/// Locks the video's row; false when the video does not exist or is a tombstone.
pub async fn lock_video(tx: &impl GenericClient, video: VideoId) -> Result<bool, DbError> {
    let row = tx
        .query_opt(
            "SELECT deleted_at IS NULL AS alive FROM videos WHERE id = $1 FOR UPDATE",
            &[&video.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("alive")).transpose()?.unwrap_or(false))
}

/// Ends an attempt, and its job if no attempt is left and the job cannot succeed without the task.
/// The rungs of a hardware encoder restart in software instead. `None` when the lease is not held.
pub async fn end_attempt(
    tx: &impl GenericClient,
    lease: LeaseId,
    failed_attempt: &FailedAttempt,
    grace_seconds: f64,
) -> Result<Option<AttemptResult>, DbError> {
    let Some(video) = lease::video_of(tx, lease).await? else { return Ok(None) };
    let alive = lock_video(tx, video).await?;
    let after = lease::end_attempt(tx, lease, failed_attempt).await?;
    let Some(mut after) = after else { return Ok(None) };
    if let Some(hardware) = HardwareEncoder::parse(&after.encoder)
        && alive
        && after.ends_job()
    {
        let lost = WaitingJob { job: after.job, video, hardware };
        after.replaced_by = hardware::replace(tx, lost, Loss::Failed).await?;
    }
    if after.ends_job() {
        let failure = after.failure.clone().unwrap_or_else(|| failed_attempt.failure.clone());
        end_job(tx, after.job, &JobOutcome::Failed(failure), grace_seconds).await?;
    } else if after.state == TaskState::Failed && after.replaced_by == 0 {
        // The job succeeds without the task; only `collect` may still wait for it.
        tasks::unblock(tx, after.job).await?;
    }
    Ok(Some(after))
}

/// How a job ends without a result.
#[derive(Clone, Debug)]
pub enum JobOutcome {
    /// The job failed; its committed outputs are kept for viewers and for a retry.
    Failed(Failure),
    /// The job was cancelled; its committed outputs are deleted.
    Cancelled,
}

/// Ends a job and cancels its unfinished tasks; false when the job had already ended. A failed job
/// that is still served can be cancelled, so that it is not served any more. The caller holds the
/// video's lock. Objects that the job's leases may still write are deleted
/// `grace_seconds` later.
pub async fn end_job(
    tx: &impl GenericClient,
    job: JobId,
    end: &JobOutcome,
    grace_seconds: f64,
) -> Result<bool, DbError> {
    let (state, failure) = match end {
        JobOutcome::Failed(failure) => ("failed", Some(failure)),
        JobOutcome::Cancelled => ("cancelled", None),
    };
    let code = failure.map(|f| f.code.as_str());
    let message = failure.map(|f| f.message.as_str());
    let row = tx
        .query_opt(
            "UPDATE jobs
             SET state = $2::text::job_state,
                 error_code = $3,
                 error_message = $4,
                 finished_at = now()
             WHERE id = $1
               AND (
                   state IN ('queued', 'running')
                   OR $2 = 'cancelled' AND state = 'failed' AND EXISTS (
                       SELECT 1 FROM videos v WHERE v.id = jobs.video_id AND v.served_job = jobs.id
                   )
               )
             RETURNING kind, video_id",
            &[&job.uuid(), &state, &code, &message],
        )
        .await?;
    let Some(row) = row else { return Ok(false) };
    let video = VideoId::new(row.try_get("video_id")?);
    let kind: &str = row.try_get("kind")?;
    tx.execute(
        "UPDATE tasks
         SET state = 'cancelled',
             token = NULL,
             worker_id = NULL,
             lease_expires = NULL,
             speed = 0,
             finished_at = now()
         WHERE job_id = $1 AND state IN ('blocked', 'ready', 'leased')",
        &[&job.uuid()],
    )
    .await?;
    if kind == "probe" {
        fail_probe(tx, video, failure).await?;
        return Ok(true);
    }
    if failure.is_none() {
        drop_outputs(tx, job).await?;
    }
    end_at_video(tx, video, job, code, message).await?;
    chores::create(tx, Chore::Job(video, job), grace_seconds).await?;
    Ok(true)
}

/// Fails a probing video. If the source itself caused the failure, it counts as rejected, and the
/// period for which rejected sources are kept begins now.
async fn fail_probe(
    tx: &impl GenericClient,
    video: VideoId,
    failure: Option<&Failure>,
) -> Result<(), DbError> {
    let code = failure.map(|f| f.code.as_str());
    let message = failure.map(|f| f.message.as_str());
    let rejected = failure.is_some_and(Failure::is_source_error);
    tx.execute(
        "UPDATE videos
         SET state = 'failed',
             error_code = $2,
             error_message = $3,
             refused_at = CASE WHEN $4 THEN now() END,
             revision = revision + 1,
             updated_at = now()
         WHERE id = $1 AND state = 'probing'",
        &[&video.uuid(), &code, &message, &rejected],
    )
    .await?;
    Ok(())
}

/// Records the end of a job at its video. The outputs of a failed job stay served, and so does an older
/// job; those of a cancelled one do not.
async fn end_at_video(
    tx: &impl GenericClient,
    video: VideoId,
    job: JobId,
    code: Option<&str>,
    message: Option<&str>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE videos v
         SET state = CASE
                 WHEN s.state = 'completed' THEN 'ready'
                 WHEN $3::text IS NOT NULL OR s.state = 'failed' THEN 'failed'
                 ELSE 'uploaded'
             END::video_state,
             error_code = CASE
                 WHEN s.state = 'completed' THEN NULL
                 ELSE COALESCE($3, s.error_code)
             END,
             error_message = CASE
                 WHEN s.state = 'completed' THEN NULL
                 ELSE COALESCE($4, s.error_message)
             END,
             published_at = CASE WHEN kept.job IS NOT NULL THEN v.published_at END,
             served_job = kept.job,
             revision = revision + 1,
             updated_at = now()
         FROM (
             SELECT CASE WHEN served_job = $2 AND $3::text IS NULL THEN NULL ELSE served_job END
                    AS job
             FROM videos
             WHERE id = $1
         ) AS kept
         LEFT JOIN jobs s ON s.id = kept.job
         WHERE v.id = $1 AND v.deleted_at IS NULL",
        &[&video.uuid(), &job.uuid(), &code, &message],
    )
    .await?;
    Ok(())
}

async fn drop_outputs(tx: &impl GenericClient, job: JobId) -> Result<(), DbError> {
    tx.execute("DELETE FROM outputs WHERE job_id = $1", &[&job.uuid()]).await?;
    tx.execute("DELETE FROM inits WHERE job_id = $1", &[&job.uuid()]).await?;
    images::drop_all(tx, job).await
}

/// Completes a job by its `collect` lease: the job is served from now on, and the objects of the
/// jobs it replaces are deleted later. False when the lease is lost or the video is deleted.
pub async fn complete(
    tx: &impl GenericClient,
    video: VideoId,
    job: JobId,
    lease: LeaseId,
    finished_at: jiff::Timestamp,
    grace_seconds: f64,
) -> Result<bool, DbError> {
    if !lock_video(tx, video).await? || !finish_task(tx, lease).await? {
        return Ok(false);
    }
    let rows = tx
        .execute(
            "UPDATE jobs
             SET state = 'completed', finished_at = $2
             WHERE id = $1 AND state IN ('queued', 'running')",
            &[&job.uuid(), &finished_at],
        )
        .await?;
    if rows != 1 {
        return Ok(false);
    }
    tx.execute(
        "UPDATE videos
         SET state = 'ready',
             published_at = CASE WHEN served_job = $2 THEN published_at ELSE $3 END,
             served_job = $2,
             error_code = NULL,
             error_message = NULL,
             revision = revision + 1,
             updated_at = now()
         WHERE id = $1",
        &[&video.uuid(), &job.uuid(), &finished_at],
    )
    .await?;
    chores::create(tx, Chore::Job(video, job), grace_seconds).await?;
    chores::create(tx, Chore::Index(video), grace_seconds).await?;
    let replaced = tx
        .query(
            "SELECT id FROM jobs WHERE video_id = $1 AND id <> $2 AND kind = 'transcode'",
            &[&video.uuid(), &job.uuid()],
        )
        .await?;
    if !replaced.is_empty() {
        chores::queue_purges(tx, video).await?;
    }
    for row in replaced {
        let old = JobId::new(row.try_get("id")?);
        drop_outputs(tx, old).await?;
        chores::create(tx, Chore::Job(video, old), REPLACED_SECONDS).await?;
    }
    Ok(true)
}

/// Leased → done, only with the current fencing token.
pub async fn finish_task(tx: &impl GenericClient, lease: LeaseId) -> Result<bool, DbError> {
    let rows = tx
        .execute(
            "UPDATE tasks
             SET state = 'done',
                 done_token = token,
                 token = NULL,
                 worker_id = NULL,
                 lease_expires = NULL,
                 fraction = 1,
                 speed = 0,
                 error_code = NULL,
                 error_message = NULL,
                 finished_at = now()
             WHERE id = $1 AND token = $2 AND state = 'leased'",
            &[&lease.task.uuid(), &lease.stored_token()],
        )
        .await?;
    Ok(rows == 1)
}

/// Completes the probe job of a video by its lease.
pub async fn probed(
    tx: &impl GenericClient,
    video: VideoId,
    job: JobId,
    lease: LeaseId,
    source: &serde_json::Value,
) -> Result<bool, DbError> {
    if !lock_video(tx, video).await? || !finish_task(tx, lease).await? {
        return Ok(false);
    }
    tx.execute(
        "UPDATE jobs
         SET state = 'completed', finished_at = now()
         WHERE id = $1 AND state IN ('queued', 'running')",
        &[&job.uuid()],
    )
    .await?;
    uploads::probed(tx, video, source).await
}

/// Makes the video a tombstone, ends its jobs and queues the deletion of its objects. False when
/// there was nothing to delete.
pub async fn delete_video(
    tx: &impl GenericClient,
    video: VideoId,
    grace_seconds: f64,
) -> Result<bool, DbError> {
    if !lock_video(tx, video).await? {
        return Ok(false);
    }
    let jobs = tx
        .query(
            "SELECT id FROM jobs WHERE video_id = $1 AND state IN ('queued', 'running')",
            &[&video.uuid()],
        )
        .await?;
    for row in jobs {
        let job = JobId::new(row.try_get("id")?);
        end_job(tx, job, &JobOutcome::Cancelled, grace_seconds).await?;
    }
    videos::mark_deleted(tx, video).await?;
    uploads::completion::end_of_video(tx, video).await?;
    // The first sweep deletes the objects that exist now; the second deletes those that the leases
    // may still write, and then the row.
    chores::create(tx, Chore::Video(video), 0.0).await?;
    chores::create(tx, Chore::Video(video), grace_seconds).await?;
    // A worker that was suspended past the end of its lease may write once more; the last sweep
    // deletes that.
    chores::create(tx, Chore::Video(video), REPLACED_SECONDS).await?;
    chores::queue_purges(tx, video).await?;
    Ok(true)
}
