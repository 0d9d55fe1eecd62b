//! Ends uploads as complete, aborted or expired, and lists those whose bytes are to be deleted
//! afterwards.

use media::{UploadId, VideoId};
use tokio_postgres::GenericClient;

use super::{
    super::DbError,
    sessions::{COLUMNS, UploadSession},
};

/// Open → complete, if there is an open upload. The row is kept for `expiry_seconds`, for clients
/// that did not receive the last reply.
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

/// Ends the uploads of a deleted video: an open one is marked for deletion, complete ones are
/// deleted.
pub async fn end_of_video(db: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    give_up(db, video).await?;
    db.execute("DELETE FROM uploads WHERE video_id = $1 AND state = 'complete'", &[&video.uuid()])
        .await?;
    Ok(())
}

/// Marks a video's open upload for deletion; the video stays as it is.
pub async fn give_up(db: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    db.execute(
        "UPDATE uploads SET state = 'dead' WHERE video_id = $1 AND state = 'open'",
        &[&video.uuid()],
    )
    .await?;
    Ok(())
}

/// Aborts a video's open upload that cannot be resumed and whose lease is released or expired, so
/// that another upload may begin.
pub async fn give_up_lapsed(db: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
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

/// The videos of up to `limit` open uploads that have expired.
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

/// Up to `limit` open uploads that have all their bytes and no lease holder to complete them.
pub async fn unfinished(
    db: &impl GenericClient,
    limit: i64,
) -> Result<Vec<UploadSession>, DbError> {
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
    rows.iter().map(UploadSession::try_from).collect()
}

/// Up to `limit` aborted or expired uploads without a lease holder that could still write.
pub async fn given_up(db: &impl GenericClient, limit: i64) -> Result<Vec<UploadSession>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM uploads
         WHERE state = 'dead' AND (writer IS NULL OR writer_until < now())
         ORDER BY writer_until NULLS FIRST
         LIMIT $1"
    );
    let rows = db.query(&sql, &[&limit]).await?;
    rows.iter().map(UploadSession::try_from).collect()
}

/// Deletes the row of an upload, unless it is open.
pub async fn delete(db: &impl GenericClient, id: UploadId) -> Result<(), DbError> {
    db.execute("DELETE FROM uploads WHERE id = $1 AND state <> 'open'", &[&id.uuid()]).await?;
    Ok(())
}

/// Deletes the rows of complete uploads after their expiry.
pub async fn delete_old(db: &impl GenericClient) -> Result<(), DbError> {
    db.execute("DELETE FROM uploads WHERE state = 'complete' AND expires_at < now()", &[]).await?;
    Ok(())
}
