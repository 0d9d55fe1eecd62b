//! Rows of `chores`: work on the store that outlives the request or job that caused it.

use media::{JobId, VideoId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::DbError;

/// Delay of the chore that updates the index object after a change of its content, in seconds.
pub const INDEX_SECONDS: f64 = 5.0;
/// Seconds until the second purge; by then every data plane has received the change.
const AGAIN_SECONDS: f64 = 5.0;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Delete all objects of a deleted video.
    Video(VideoId),
    /// Delete the objects that an ended job wrote and that no committed output names.
    Job(VideoId, JobId),
    /// Bring the index object up to date with the database row.
    Index(VideoId),
    /// Purge the video from the CDN.
    Purge(VideoId),
}

impl Chore {
    const fn parts(self) -> (&'static str, VideoId, Option<JobId>) {
        match self {
            Self::Video(video) => ("video", video, None),
            Self::Job(video, job) => ("job", video, Some(job)),
            Self::Index(video) => ("index", video, None),
            Self::Purge(video) => ("purge", video, None),
        }
    }
}

/// A chore that this instance has taken for a limited time.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The row.
    pub id: i64,
    /// The store's URL.
    pub store: String,
    /// The work.
    pub chore: Chore,
}

/// Queues the purges for a change, in the transaction of the change. Every purge is sent twice:
/// immediately, and again when every data plane has received the change, because in between a CDN
/// may fetch the old state once more.
///
/// # Errors
/// The database query failed.
pub async fn queue_purges(tx: &impl GenericClient, video: VideoId) -> Result<(), DbError> {
    create(tx, Chore::Purge(video), 0.0).await?;
    create(tx, Chore::Purge(video), AGAIN_SECONDS).await
}

/// Queues a chore; does nothing if the video's row has been deleted.
pub async fn create(
    db: &impl GenericClient,
    chore: Chore,
    delay_seconds: f64,
) -> Result<(), DbError> {
    let (kind, video, job) = chore.parts();
    db.execute(
        "INSERT INTO chores (kind, store, video_id, job_id, run_after)
         SELECT $1, v.store, v.id, $3, now() + make_interval(secs => $4)
         FROM videos v
         WHERE v.id = $2",
        &[&kind, &video.uuid(), &job.map(JobId::uuid), &delay_seconds],
    )
    .await?;
    Ok(())
}

/// How long an instance has for a chore before another one repeats it.
const TAKEN_SECONDS: f64 = 60.0;

/// Takes one due chore other than a purge. Repeating a chore is harmless, so chores have no lease.
pub async fn take(db: &impl GenericClient) -> Result<Option<Taken>, DbError> {
    let row = db
        .query_opt(
            "UPDATE chores
             SET run_after = now() + make_interval(secs => $1::float8 * (1 + LEAST(attempt, 30))),
                 attempt = attempt + 1
             WHERE id = (
                 SELECT id
                 FROM chores
                 WHERE run_after <= now() AND kind <> 'purge'
                 ORDER BY run_after
                 LIMIT 1
                 FOR UPDATE SKIP LOCKED
             )
             RETURNING id, kind, store, video_id, job_id",
            &[&TAKEN_SECONDS],
        )
        .await?;
    row.as_ref().map(read_taken).transpose()
}

fn read_taken(row: &Row) -> Result<Taken, DbError> {
    let id: i64 = row.try_get("id")?;
    let kind: &str = row.try_get("kind")?;
    let video = VideoId::new(row.try_get("video_id")?);
    let job: Option<Uuid> = row.try_get("job_id")?;
    let chore = match (kind, job) {
        ("video", None) => Chore::Video(video),
        ("index", None) => Chore::Index(video),
        ("purge", None) => Chore::Purge(video),
        ("job", Some(job)) => Chore::Job(video, JobId::new(job)),
        _ => return Err(DbError::row("chores", "kind", id)),
    };
    Ok(Taken { id, store: row.try_get("store")?, chore })
}

/// A purge that this instance has taken for a limited time.
#[derive(Clone, Copy, Debug)]
pub struct Purge {
    /// The row.
    pub id: i64,
    /// The video to purge.
    pub video: VideoId,
    /// How often the purge was taken, this time included.
    pub attempt: i32,
}

/// Takes up to `limit` purges that are due.
pub async fn take_purges(db: &impl GenericClient, limit: i64) -> Result<Vec<Purge>, DbError> {
    let rows = db
        .query(
            "UPDATE chores
             SET run_after = now() + make_interval(secs => $1::float8),
                 attempt = attempt + 1
             WHERE id IN (
                 SELECT id
                 FROM chores
                 WHERE run_after <= now() AND kind = 'purge'
                 ORDER BY run_after
                 LIMIT $2
                 FOR UPDATE SKIP LOCKED
             )
             RETURNING id, video_id, attempt",
            &[&TAKEN_SECONDS, &limit],
        )
        .await?;
    let read = |row: &Row| -> Result<Purge, DbError> {
        Ok(Purge {
            id: row.try_get("id")?,
            video: VideoId::new(row.try_get("video_id")?),
            attempt: row.try_get("attempt")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Postpones the chore by `seconds`, counted from now.
pub async fn postpone(db: &impl GenericClient, id: i64, seconds: f64) -> Result<(), DbError> {
    db.execute(
        "UPDATE chores SET run_after = now() + make_interval(secs => $2) WHERE id = $1",
        &[&id, &seconds],
    )
    .await?;
    Ok(())
}

/// Deletes all purges.
pub async fn drop_purges(db: &impl GenericClient) -> Result<(), DbError> {
    db.execute("DELETE FROM chores WHERE kind = 'purge'", &[]).await?;
    Ok(())
}

/// Deletes a chore that is done.
pub async fn done(db: &impl GenericClient, id: i64) -> Result<(), DbError> {
    db.execute("DELETE FROM chores WHERE id = $1", &[&id]).await?;
    Ok(())
}
