//! When a job starts to be served.

use media::{JobId, VideoId};
use tokio_postgres::GenericClient;

use super::DbError;

/// Serves the job from now on if no job of its video is served yet, or only the remains of one that
/// has failed, and the job has something to play: chunk 0 of one of the renditions in `pictures`, unless that is empty, and of the default
/// audio if there is one. Returns true if the served job changed.
pub async fn publish(
    tx: &impl GenericClient,
    video: VideoId,
    job: JobId,
    pictures: &[String],
    audio: Option<&str>,
) -> Result<bool, DbError> {
    let rows = tx
        .execute(
            "UPDATE videos
             SET served_job = $2,
                 published_at = now(),
                 playable_at = COALESCE(playable_at, clock_timestamp())
             WHERE id = $1
               AND (
                   served_job IS NULL
                   OR served_job <> $2 AND EXISTS (
                       SELECT 1 FROM jobs s WHERE s.id = served_job AND s.state = 'failed'
                   )
               )
               AND (
                   $4::text[] = '{}'
                   OR EXISTS (
                       SELECT 1
                       FROM outputs
                       WHERE job_id = $2 AND chunk = 0 AND rendition = ANY ($4)
                   )
               )
               AND (
                   $3::text IS NULL
                   OR EXISTS (
                       SELECT 1 FROM outputs WHERE job_id = $2 AND chunk = 0 AND rendition = $3
                   )
               )",
            &[&video.uuid(), &job.uuid(), &audio, &pictures],
        )
        .await?;
    Ok(rows == 1)
}
