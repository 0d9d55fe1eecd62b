//! Probes of sources that were kept: repeating them, ending expired ones, and deleting rejected
//! sources.
//!
//! **Invariant:** a source is deleted only under the lock of its video's row, so that it cannot be
//! replaced or probed again at the same time.

use media::{JobId, VideoId};
use tokio_postgres::{GenericClient, Row};

use super::{DbError, failure, jobs, states, tasks};
use crate::{
    domain::{Failure, TaskKind, VideoState},
    plan::{self, retry::PROBE_SECONDS_MAX},
};

/// The result of [`reprobe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReprobeResult {
    /// A probe is queued, or the waiting one is now due.
    Queued,
    /// The video's state does not allow it; the text states the reason.
    NotAllowed(&'static str),
    /// The video does not exist.
    UnknownVideo,
}

/// Queues another probe of a video's source, which is due immediately.
pub async fn reprobe(
    tx: &impl GenericClient,
    tenant: &str,
    video: VideoId,
    job: JobId,
) -> Result<ReprobeResult, DbError> {
    let row = tx
        .query_opt(
            "SELECT v.state::text AS state, v.source IS NULL AS unknown, v.error_code,
                    v.error_message, v.refused_at IS NOT NULL AS kept,
                    EXISTS (
                        SELECT 1 FROM uploads u WHERE u.video_id = v.id AND u.state = 'open'
                    ) AS replaced
             FROM videos v
             WHERE v.id = $1 AND v.tenant = $2 AND v.deleted_at IS NULL
             FOR UPDATE OF v",
            &[&video.uuid(), &tenant],
        )
        .await?;
    let Some(row) = row else { return Ok(ReprobeResult::UnknownVideo) };
    match states::read(&row, "state", ("videos", video))? {
        VideoState::Uploading => {
            return Ok(ReprobeResult::NotAllowed("the video has no source yet"));
        }
        VideoState::Probing => {
            make_due(tx, video).await?;
            return Ok(ReprobeResult::Queued);
        }
        VideoState::Failed if row.try_get("unknown")? => {}
        _ => return Ok(ReprobeResult::NotAllowed("the video's source has already been examined")),
    }
    if row.try_get("replaced")? {
        return Ok(ReprobeResult::NotAllowed("another source of the video is being uploaded"));
    }
    let last_failure = failure(&row, "error_code", "error_message")?;
    if last_failure.is_some_and(|failure| failure.is_source_error())
        && !row.try_get::<_, bool>("kept")?
    {
        return Ok(ReprobeResult::NotAllowed(
            "the rejected source has been deleted; upload it again",
        ));
    }
    tx.execute(
        "UPDATE videos
         SET state = 'probing',
             error_code = NULL,
             error_message = NULL,
             refused_at = NULL,
             revision = revision + 1,
             updated_at = now()
         WHERE id = $1",
        &[&video.uuid()],
    )
    .await?;
    jobs::create_probe(tx, tenant, video, job).await?;
    tasks::create(tx, tenant, video, job, &[plan::probe()]).await?;
    Ok(ReprobeResult::Queued)
}

async fn make_due(tx: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    tx.execute(
        "UPDATE tasks
         SET run_after = now()
         WHERE video_id = $1 AND kind = $2 AND state = 'ready'",
        &[&video.uuid(), &TaskKind::Probe.text()],
    )
    .await?;
    Ok(())
}

/// A probe that has been retried for too long.
#[derive(Clone, Debug)]
pub struct ExpiredProbe {
    /// Its job.
    pub job: JobId,
    /// The video.
    pub video: VideoId,
    /// The latest failure.
    pub failure: Failure,
}

/// Up to `limit` probes that have failed before, still wait for another attempt because no worker
/// was available, and have reached the maximum age.
pub async fn expired(db: &impl GenericClient, limit: i64) -> Result<Vec<ExpiredProbe>, DbError> {
    let rows = db
        .query(
            "SELECT job_id, video_id, error_code, error_message
             FROM tasks
             WHERE kind = $3
               AND state = 'ready'
               AND failed_on <> '{}'
               AND created_at < now() - make_interval(secs => $1)
             ORDER BY created_at
             LIMIT $2",
            &[&PROBE_SECONDS_MAX, &limit, &TaskKind::Probe.text()],
        )
        .await?;
    let read = |row: &Row| -> Result<ExpiredProbe, DbError> {
        let last = failure(row, "error_code", "error_message")?;
        Ok(ExpiredProbe {
            job: JobId::new(row.try_get("job_id")?),
            video: VideoId::new(row.try_get("video_id")?),
            failure: last.unwrap_or_else(|| {
                Failure::new("unavailable", "no worker was available to probe the source")
            }),
        })
    };
    rows.iter().map(read).collect()
}

/// Selects the rejected sources to delete: those kept for `seconds`, and, for each tenant, the
/// oldest ones that exceed `bytes_max` together with its open uploads. Queues their deletion and
/// returns their number.
pub async fn drop_rejected(
    db: &impl GenericClient,
    seconds: f64,
    bytes_max: i64,
) -> Result<u64, DbError> {
    let dropped = db
        .execute(
            "WITH kept AS (
                 SELECT v.id,
                        sum(COALESCE(v.source_bytes, 0)) OVER newest_first
                        + COALESCE((
                            SELECT sum(GREATEST(u.length, u.received))
                            FROM uploads u
                            WHERE u.tenant = v.tenant AND u.state = 'open'
                        ), 0) AS bytes
                 FROM videos v
                 WHERE v.refused_at IS NOT NULL AND v.deleted_at IS NULL
                 WINDOW newest_first AS (
                     PARTITION BY v.tenant ORDER BY v.refused_at DESC, v.id DESC
                 )
             ),
             dropped AS (
                 UPDATE videos v
                 SET refused_at = NULL
                 FROM kept
                 WHERE v.id = kept.id
                   AND v.refused_at IS NOT NULL
                   AND (
                       v.refused_at <= now() - make_interval(secs => $1)
                       OR kept.bytes > $2::bigint
                   )
                 RETURNING v.id, v.store
             )
             INSERT INTO chores (kind, store, video_id, job_id, run_after)
             SELECT 'job', d.store, d.id, (
                        SELECT j.id
                        FROM jobs j
                        WHERE j.video_id = d.id AND j.kind = 'probe'
                        ORDER BY j.created_at DESC, j.id DESC
                        LIMIT 1
                    ), now()
             FROM dropped d",
            &[&seconds, &bytes_max],
        )
        .await?;
    Ok(dropped)
}

/// How to handle the source of a video that was rejected earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceDeletion {
    /// Delete it.
    Delete,
    /// Another source is being uploaded to replace it: check again later.
    Later,
    /// Nothing: it is kept, is being probed again, or was deleted with its video.
    Keep,
}

/// Checks a rejected source that may have been selected for deletion; locks the video's row.
pub async fn source_deletion(
    tx: &impl GenericClient,
    video: VideoId,
) -> Result<SourceDeletion, DbError> {
    let row = tx
        .query_opt(
            "SELECT v.state::text AS state, v.source IS NULL AND v.refused_at IS NULL AS dropped,
                    v.error_code, v.error_message,
                    EXISTS (
                        SELECT 1 FROM uploads u WHERE u.video_id = v.id AND u.state = 'open'
                    ) AS replaced
             FROM videos v
             WHERE v.id = $1 AND v.deleted_at IS NULL
             FOR UPDATE OF v",
            &[&video.uuid()],
        )
        .await?;
    let Some(row) = row else { return Ok(SourceDeletion::Keep) };
    let last_failure = failure(&row, "error_code", "error_message")?;
    let rejected = last_failure.is_some_and(|failure| failure.is_source_error());
    let state: VideoState = states::read(&row, "state", ("videos", video))?;
    if state != VideoState::Failed || !rejected || !row.try_get("dropped")? {
        return Ok(SourceDeletion::Keep);
    }
    Ok(if row.try_get("replaced")? { SourceDeletion::Later } else { SourceDeletion::Delete })
}

/// Whether a video accepts a source: its first one, or a replacement for one that never became
/// playable. Locks the row.
pub async fn takes_source(tx: &impl GenericClient, video: VideoId) -> Result<bool, DbError> {
    let row = tx
        .query_opt(
            "SELECT state = 'uploading' OR (state = 'failed' AND source IS NULL) AS takes
             FROM videos
             WHERE id = $1 AND deleted_at IS NULL
             FOR UPDATE",
            &[&video.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("takes")).transpose()?.unwrap_or(false))
}
