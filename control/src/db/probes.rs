//! Probes of kept sources: begun again, given up, and the refused sources that are kept no longer.
//!
//! **Invariant:** a source is deleted under the lock of its video's row, so that none is replaced or probed
//! again meanwhile.

use media::{JobId, VideoId};
use tokio_postgres::{GenericClient, Row};

use super::{DbError, failure, jobs, tasks};
use crate::{
    domain::{Failure, VideoState},
    plan,
    verdict::PROBE_SECONDS_MAX,
};

/// What [`again`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// A probe is queued, or the waiting one is due now.
    Queued,
    /// The video's state does not allow it, and why.
    Refused(&'static str),
    /// There is no such video.
    Gone,
}

/// Probes a video's source once more, at once.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn again(
    tx: &impl GenericClient,
    tenant: &str,
    video: VideoId,
    job: JobId,
) -> Result<Again, DbError> {
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
    let Some(row) = row else { return Ok(Again::Gone) };
    match state(&row, video)? {
        VideoState::Uploading => return Ok(Again::Refused("the video has no source yet")),
        VideoState::Probing => {
            hasten(tx, video).await?;
            return Ok(Again::Queued);
        }
        VideoState::Failed if row.try_get("unknown")? => {}
        _ => return Ok(Again::Refused("the video's source has been examined already")),
    }
    if row.try_get("replaced")? {
        return Ok(Again::Refused("another source of the video is being uploaded"));
    }
    let refused = failure(&row, "error_code", "error_message")?;
    if refused.is_some_and(|failure| failure.blames_source()) && !row.try_get::<_, bool>("kept")? {
        return Ok(Again::Refused("the refused source is no longer kept: upload it again"));
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
    Ok(Again::Queued)
}

fn state(row: &Row, video: VideoId) -> Result<VideoState, DbError> {
    let state: &str = row.try_get("state")?;
    VideoState::parse(state).ok_or_else(|| DbError::row("videos", "state", video))
}

async fn hasten(tx: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    tx.execute(
        "UPDATE tasks
         SET run_after = now()
         WHERE video_id = $1 AND kind = 'probe' AND state = 'ready'",
        &[&video.uuid()],
    )
    .await?;
    Ok(())
}

/// A probe that is retried for too long.
#[derive(Clone, Debug)]
pub struct Overdue {
    /// Its job.
    pub job: JobId,
    /// The video.
    pub video: VideoId,
    /// Why it failed last.
    pub failure: Failure,
}

/// Up to `limit` probes that have failed before and are to be given up by their age, as no worker is there
/// that could try them again.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn overdue(db: &impl GenericClient, limit: i64) -> Result<Vec<Overdue>, DbError> {
    let rows = db
        .query(
            "SELECT job_id, video_id, error_code, error_message
             FROM tasks
             WHERE kind = 'probe'
               AND state = 'ready'
               AND failed_on <> '{}'
               AND created_at < now() - make_interval(secs => $1)
             ORDER BY created_at
             LIMIT $2",
            &[&PROBE_SECONDS_MAX, &limit],
        )
        .await?;
    let read = |row: &Row| -> Result<Overdue, DbError> {
        let last = failure(row, "error_code", "error_message")?;
        Ok(Overdue {
            job: JobId::new(row.try_get("job_id")?),
            video: VideoId::new(row.try_get("video_id")?),
            failure: last.unwrap_or_else(|| Failure::new("unavailable", "no worker tried it")),
        })
    };
    rows.iter().map(read).collect()
}

/// Which refused sources go: those kept for `seconds`, and of each tenant the oldest ones that do not fit
/// beside its open uploads into `bytes_max`. Their deletion is queued; returns how many there are.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn drop_refused(
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

/// What is to be done with the source of a video that was refused once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Delete it.
    Delete,
    /// Another one is being uploaded in its place: look again later.
    Later,
    /// Nothing: it is kept, is probed again, or has gone with its video.
    Keep,
}

/// Looks at a refused source that may have been dropped; locks the video's row.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn dropped(tx: &impl GenericClient, video: VideoId) -> Result<Dropped, DbError> {
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
    let Some(row) = row else { return Ok(Dropped::Keep) };
    let refused = failure(&row, "error_code", "error_message")?;
    let refused = refused.is_some_and(|failure| failure.blames_source());
    if state(&row, video)? != VideoState::Failed || !refused || !row.try_get("dropped")? {
        return Ok(Dropped::Keep);
    }
    Ok(if row.try_get("replaced")? { Dropped::Later } else { Dropped::Delete })
}

/// Whether a video takes a source: its first one, or another one in the place of one that never became
/// playable. Locks the row.
///
/// # Errors
/// [`DbError`] as every function here.
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
