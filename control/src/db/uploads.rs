//! Incoming sources: rows of `videos` that are being received, are being probed, or were never
//! finished. The rows of `uploads` are in `sessions`, their leases in `leases`, and their ends in
//! `endings`.

pub mod completion;
pub mod leases;
pub mod sessions;

use std::time::Instant;

use media::VideoId;
use tokio_postgres::GenericClient;

use super::DbError;

/// Properties of a source that has been stored under its key.
#[derive(Clone, Debug)]
pub struct Received {
    /// Empty: the title of the reservation is kept.
    pub title: String,
    /// Empty: the description of the reservation is kept.
    pub description: String,
    /// `None`: the visibility of the reservation is kept.
    pub public: Option<bool>,
    /// The source's size.
    pub bytes: i64,
    /// Raw digest, 32 bytes.
    pub sha256: Vec<u8>,
    /// The file name given by the client.
    pub filename: String,
    /// Whether to create a job once the source is probed, in addition to an earlier request.
    pub auto_transcode: bool,
    /// When the last byte had arrived, unless the upload's row states an earlier time.
    pub arrived: Instant,
}

/// Uploading → probing, or failed → probing when the source replaces one that never became
/// playable; false when the video accepts no source.
pub async fn received(
    db: &impl GenericClient,
    id: VideoId,
    received: &Received,
) -> Result<bool, DbError> {
    let rows = db
        .execute(
            "UPDATE videos
             SET state = 'probing',
                 title = CASE WHEN $2 = '' THEN title ELSE $2 END,
                 description = CASE WHEN $3 = '' THEN description ELSE $3 END,
                 public = COALESCE($4, public),
                 source_bytes = $5,
                 source_sha256 = $6,
                 filename = $7,
                 auto_transcode = auto_transcode OR $8,
                 received_at = COALESCE(
                     (
                         SELECT u.filled_at
                         FROM uploads u
                         WHERE u.video_id = $1 AND u.state = 'open'
                     ),
                     clock_timestamp() - make_interval(secs => $9)
                 ),
                 error_code = NULL,
                 error_message = NULL,
                 refused_at = NULL,
                 revision = revision + 1,
                 updated_at = now()
             WHERE id = $1
               AND (state = 'uploading' OR (state = 'failed' AND source IS NULL))
               AND deleted_at IS NULL",
            &[
                &id.uuid(),
                &received.title,
                &received.description,
                &received.public,
                &received.bytes,
                &received.sha256,
                &received.filename,
                &received.auto_transcode,
                &received.arrived.elapsed().as_secs_f64(),
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Probing → uploaded.
pub async fn probed(
    db: &impl GenericClient,
    id: VideoId,
    source: &serde_json::Value,
) -> Result<bool, DbError> {
    let rows = db
        .execute(
            "UPDATE videos
             SET state = 'uploaded',
                 source = $2,
                 error_code = NULL,
                 error_message = NULL,
                 revision = revision + 1,
                 updated_at = now()
             WHERE id = $1 AND state = 'probing' AND deleted_at IS NULL",
            &[&id.uuid(), source],
        )
        .await?;
    Ok(rows == 1)
}

/// Reservations older than `seconds` that never received a source.
pub async fn stale_uploads(
    db: &impl GenericClient,
    seconds: f64,
    limit: i64,
) -> Result<Vec<VideoId>, DbError> {
    let rows = db
        .query(
            "SELECT id
             FROM videos v
             WHERE state = 'uploading'
               AND deleted_at IS NULL
               AND created_at < now() - make_interval(secs => $1)
               -- What still comes has an expiry of its own.
               AND NOT EXISTS (
                   SELECT 1 FROM uploads u WHERE u.video_id = v.id AND u.state = 'open'
               )
             ORDER BY created_at
             LIMIT $2",
            &[&seconds, &limit],
        )
        .await?;
    rows.iter().map(|row| Ok(VideoId::new(row.try_get("id")?))).collect()
}
