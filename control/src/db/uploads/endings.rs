//! How rows of `uploads` end: complete, given up, expired; and what of them is left to sweep.

use media::{UploadId, VideoId};
use tokio_postgres::GenericClient;

use super::{
    super::DbError,
    sessions::{COLUMNS, Upload},
};

/// Open → complete, where there is one. It is remembered until `expiry_seconds` later, for clients
/// that lost the last reply.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn complete(
    db: &impl GenericClient,
    video: VideoId,
    expiry_seconds: f64,
) -> Result<(), DbError> {
    db.execute(
        "UPDATE uploads
         SET state = 'complete',
             writer = NULL,
             writer_until = NULL,
             tail = NULL,
             expires_at = now() + make_interval(secs => $2)
         WHERE video_id = $1 AND state = 'open'",
        &[&video.uuid(), &expiry_seconds],
    )
    .await?;
    Ok(())
}

/// A video's uploads end with it: what is open is swept, what is complete is forgotten.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn bury(db: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    give_up(db, video).await?;
    db.execute("DELETE FROM uploads WHERE video_id = $1 AND state = 'complete'", &[&video.uuid()])
        .await?;
    Ok(())
}

/// A video's open upload is swept; the video stays as it is.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn give_up(db: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    db.execute(
        "UPDATE uploads SET state = 'dead' WHERE video_id = $1 AND state = 'open'",
        &[&video.uuid()],
    )
    .await?;
    Ok(())
}

/// A video's open upload whose holder has not been heard of is given up, so that another may begin.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn bury_lapsed(db: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    db.execute(
        "UPDATE uploads
         SET state = 'dead'
         WHERE video_id = $1
           AND state = 'open'
           AND NOT resumable
           AND (writer IS NULL OR writer_until < now())",
        &[&video.uuid()],
    )
    .await?;
    Ok(())
}

/// Videos of up to `limit` open uploads that have expired.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn expired(db: &impl GenericClient, limit: i64) -> Result<Vec<VideoId>, DbError> {
    let rows = db
        .query(
            "SELECT video_id
             FROM uploads
             WHERE state = 'open'
               AND expires_at < now()
               AND (writer IS NULL OR writer_until < now())
             ORDER BY expires_at
             LIMIT $1",
            &[&limit],
        )
        .await?;
    rows.iter().map(|row| Ok(VideoId::new(row.try_get("video_id")?))).collect()
}

/// Up to `limit` open uploads that have all their bytes and nobody who would say so.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn unfinished(db: &impl GenericClient, limit: i64) -> Result<Vec<Upload>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM uploads
         WHERE state = 'open'
           AND received = length
           AND resumable
           AND (writer IS NULL OR writer_until < now())
         ORDER BY id
         LIMIT $1"
    );
    let rows = db.query(&sql, &[&limit]).await?;
    rows.iter().map(Upload::try_from).collect()
}

/// Up to `limit` dead uploads that nobody writes any more.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn dead(db: &impl GenericClient, limit: i64) -> Result<Vec<Upload>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM uploads
         WHERE state = 'dead' AND (writer IS NULL OR writer_until < now())
         ORDER BY writer_until NULLS FIRST
         LIMIT $1"
    );
    let rows = db.query(&sql, &[&limit]).await?;
    rows.iter().map(Upload::try_from).collect()
}

/// Forgets an upload.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn forget(db: &impl GenericClient, id: UploadId) -> Result<(), DbError> {
    db.execute("DELETE FROM uploads WHERE id = $1 AND state <> 'open'", &[&id.uuid()]).await?;
    Ok(())
}

/// Forgets complete uploads that nobody will ask for any more.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn tidy(db: &impl GenericClient) -> Result<(), DbError> {
    db.execute("DELETE FROM uploads WHERE state = 'complete' AND expires_at < now()", &[]).await?;
    Ok(())
}
