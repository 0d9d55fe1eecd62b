//! Rows of `videos`. A deleted video is a tombstone here and does not exist for any reader.

mod row;

use jiff::Timestamp;
use media::VideoId;
use tokio_postgres::{GenericClient, Row};

use self::row::COLUMNS;
pub use self::row::{Downloadable, Pictured, Video};
use super::DbError;
use crate::{domain::Owner, page::Cursor};

/// What is known of a video when it is reserved.
#[derive(Clone, Debug)]
pub struct NewVideo {
    /// Made by the caller.
    pub id: VideoId,
    /// May be empty.
    pub title: String,
    /// May be empty.
    pub description: String,
    /// Plays without a token.
    pub public: bool,
    /// The store's URL.
    pub store: String,
}

/// Reserves a video.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn create(db: &impl GenericClient, owner: &Owner, new: &NewVideo) -> Result<(), DbError> {
    db.execute(
        "INSERT INTO videos (id, tenant, owner, title, description, state, public, store)
         VALUES ($1, $2, $3, $4, $5, 'uploading', $6, $7)
         -- A retry after a lost reply.
         ON CONFLICT (id) DO NOTHING",
        &[
            &new.id.uuid(),
            &owner.tenant,
            &owner.subject,
            &new.title,
            &new.description,
            &new.public,
            &new.store,
        ],
    )
    .await?;
    Ok(())
}

/// One video of one tenant.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn get(
    db: &impl GenericClient,
    tenant: &str,
    id: VideoId,
) -> Result<Option<Video>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM videos v
         WHERE v.id = $1 AND v.tenant = $2 AND v.deleted_at IS NULL"
    );
    let row = db.query_opt(&sql, &[&id.uuid(), &tenant]).await?;
    row.as_ref().map(Video::try_from).transpose()
}

/// One video of whatever tenant: for the planes, never for people.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn find(db: &impl GenericClient, id: VideoId) -> Result<Option<Video>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM videos v WHERE v.id = $1 AND v.deleted_at IS NULL");
    let row = db.query_opt(&sql, &[&id.uuid()]).await?;
    row.as_ref().map(Video::try_from).transpose()
}

/// Up to `limit` videos, newest first, older than `after`.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn list(
    db: &impl GenericClient,
    tenant: &str,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Video>, DbError> {
    let (time, id) = after.map(|c| (c.time, c.id)).unzip();
    let sql = format!(
        "SELECT {COLUMNS}
         FROM videos v
         WHERE v.tenant = $1
           AND v.deleted_at IS NULL
           AND ($2::timestamptz IS NULL OR (v.created_at, v.id) < ($2, $3::uuid))
         ORDER BY v.created_at DESC, v.id DESC
         LIMIT $4"
    );
    let rows = db.query(&sql, &[&tenant, &time, &id, &limit]).await?;
    rows.iter().map(Video::try_from).collect()
}

/// The fields that may change; `None` keeps.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// At most 200 characters.
    pub title: Option<String>,
    /// At most 5000 characters.
    pub description: Option<String>,
    /// Plays without a token.
    pub public: Option<bool>,
    /// The revision that is changed; any when `None`.
    pub revision: Option<i64>,
}

impl Changes {
    /// The index holds what changes.
    pub fn in_index(&self) -> bool {
        self.public.is_some() || self.title.is_some()
    }
}

/// Changes a video; false when there is none, or none of that revision.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn update(
    db: &impl GenericClient,
    tenant: &str,
    id: VideoId,
    changes: &Changes,
) -> Result<bool, DbError> {
    let rows = db
        .execute(
            "UPDATE videos
             SET title = COALESCE($3, title),
                 description = COALESCE($4, description),
                 public = COALESCE($5, public),
                 revision = revision + 1,
                 updated_at = now()
             WHERE id = $1
               AND tenant = $2
               AND deleted_at IS NULL
               AND revision = COALESCE($6, revision)",
            &[
                &id.uuid(),
                &tenant,
                &changes.title,
                &changes.description,
                &changes.public,
                &changes.revision,
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Locks the video's row for this transaction and counts a change; false when it is deleted.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn touch(db: &impl GenericClient, id: VideoId) -> Result<bool, DbError> {
    let rows = db
        .execute(
            "UPDATE videos
             SET revision = revision + 1, updated_at = now()
             WHERE id = $1 AND deleted_at IS NULL",
            &[&id.uuid()],
        )
        .await?;
    Ok(rows == 1)
}

/// A transcode begins: the state people see. What is served stays served.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn processing(db: &impl GenericClient, id: VideoId) -> Result<(), DbError> {
    db.execute(
        "UPDATE videos
         SET state = 'processing', error_code = NULL, error_message = NULL
         WHERE id = $1 AND deleted_at IS NULL",
        &[&id.uuid()],
    )
    .await?;
    Ok(())
}

/// Videos that one look for changes finds at most.
pub const CHANGED_MAX: i64 = 5000;

/// Up to [`CHANGED_MAX`] videos that were changed after `since`, with their revisions.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn changed_since(
    db: &impl GenericClient,
    since: Timestamp,
) -> Result<Vec<(VideoId, i64)>, DbError> {
    let rows = db
        .query(
            "SELECT id, revision
             FROM videos
             WHERE updated_at > $1
             ORDER BY updated_at
             LIMIT $2",
            &[&since, &CHANGED_MAX],
        )
        .await?;
    let read = |row: &Row| -> Result<(VideoId, i64), DbError> {
        Ok((VideoId::new(row.try_get("id")?), row.try_get("revision")?))
    };
    rows.iter().map(read).collect()
}

/// Makes the video a tombstone; its latest store when that changed something. The caller ends its
/// jobs and queues the sweep in the same transaction.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn bury(db: &impl GenericClient, id: VideoId) -> Result<Option<String>, DbError> {
    let row = db
        .query_opt(
            "UPDATE videos
             SET deleted_at = now(), served_job = NULL, revision = revision + 1, updated_at = now()
             WHERE id = $1 AND deleted_at IS NULL
             RETURNING store",
            &[&id.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("store")).transpose()?)
}

/// Forgets a tombstone with its jobs, once nobody holds a lease of it any more.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn forget(
    db: &impl GenericClient,
    id: VideoId,
    grace_seconds: f64,
) -> Result<(), DbError> {
    db.execute(
        "DELETE FROM videos
         WHERE id = $1 AND deleted_at <= now() - make_interval(secs => $2)",
        &[&id.uuid(), &grace_seconds],
    )
    .await?;
    Ok(())
}
