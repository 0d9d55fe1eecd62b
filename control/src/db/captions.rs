//! Rows of `captions`: uploaded text tracks.

use media::{
    CaptionId, JobId, VideoId,
    captions::{CaptionKind, Described, file_name, id_of_file},
    pictures::Picture,
};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{
    DbError,
    chores::{self, Chore},
    images,
};
use crate::plan::TEXT_TRACKS_MAX;

/// One uploaded text track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The properties given with the upload.
    pub about: Described,
    /// The stored object.
    pub object: Picture,
}

impl TryFrom<&Row> for Uploaded {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let id: Uuid = row.try_get("id")?;
        let (kind, sha256): (&str, &[u8]) = (row.try_get("kind")?, row.try_get("sha256")?);
        let bytes: i64 = row.try_get("bytes")?;
        let about = Described {
            id: CaptionId::new(id),
            language: row.try_get("language")?,
            label: row.try_get("label")?,
            kind: CaptionKind::parse(kind).ok_or_else(|| DbError::row("captions", "kind", id))?,
            default: row.try_get("is_default")?,
            forced: false,
        };
        let object = Picture {
            key: row.try_get("object_key")?,
            bytes: bytes.unsigned_abs(),
            sha256: sha256.try_into().map_err(|_| DbError::row("captions", "sha256", id))?,
        };
        Ok(Self { about, object })
    }
}

/// Adds a track; adding the same track again changes nothing. Returns false if the video then has
/// more than `max` tracks.
pub async fn insert(
    tx: &impl GenericClient,
    video: VideoId,
    new: &Uploaded,
    max: i64,
) -> Result<bool, DbError> {
    let Uploaded { about, object } = new;
    tx.execute(
        "INSERT INTO captions
             (id, video_id, language, label, kind, is_default, object_key, bytes, sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         -- A retry after a lost reply.
         ON CONFLICT DO NOTHING",
        &[
            &about.id.uuid(),
            &video.uuid(),
            &about.language,
            &about.label,
            &about.kind.text(),
            &about.default,
            &object.key,
            &object.bytes.cast_signed(),
            &&object.sha256[..],
        ],
    )
    .await?;
    // The caller holds the video's lock, so no other transaction adds a track now.
    let sql = "SELECT count(*) AS captions FROM captions WHERE video_id = $1";
    let count: i64 = tx.query_one(sql, &[&video.uuid()]).await?.try_get("captions")?;
    Ok(count <= max)
}

/// The uploaded tracks of a video, oldest first.
pub async fn of_video(db: &impl GenericClient, video: VideoId) -> Result<Vec<Uploaded>, DbError> {
    let rows = db
        .query(
            "SELECT id, language, label, kind, is_default, object_key, bytes, sha256
             FROM captions
             WHERE video_id = $1
             ORDER BY created_at, id",
            &[&video.uuid()],
        )
        .await?;
    rows.iter().map(Uploaded::try_from).collect()
}

/// Removes a track and returns the key of its object; `None` if the track does not exist.
pub async fn delete(
    tx: &impl GenericClient,
    video: VideoId,
    id: CaptionId,
) -> Result<Option<String>, DbError> {
    let row = tx
        .query_opt(
            "DELETE FROM captions WHERE id = $1 AND video_id = $2 RETURNING object_key",
            &[&id.uuid(), &video.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("object_key")).transpose()?)
}

/// Deletes an embedded text track of the served job. Returns false if the job has no such track.
/// The cleanup of the job deletes its object.
///
/// # Errors
/// The database query failed.
pub async fn delete_embedded(
    tx: &impl GenericClient,
    video: VideoId,
    served_job: Option<JobId>,
    caption: CaptionId,
) -> Result<bool, DbError> {
    let Some(job) = served_job else { return Ok(false) };
    let numbers = 0..TEXT_TRACKS_MAX as u32;
    let Some(number) = numbers.into_iter().find(|n| id_of_file(job, *n) == caption) else {
        return Ok(false);
    };
    if !images::delete(tx, job, &file_name(number)).await? {
        return Ok(false);
    }
    chores::create(tx, Chore::Job(video, job), 0.0).await?;
    Ok(true)
}

/// Queues the work that follows a change of the tracks, so that it is done even if this process
/// stops.
///
/// # Errors
/// The database query failed.
pub async fn queue_chores(tx: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    chores::create(tx, Chore::Index(video), chores::INDEX_SECONDS).await?;
    chores::queue_purges(tx, video).await
}
