//! Rows of `videos`. A deleted video is a tombstone here and does not exist for any reader.

use jiff::Timestamp;
use media::{JobId, VideoId, captions::Described, source::Source};
use serde::{Deserialize, de::DeserializeOwned};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{DbError, failure};
use crate::{
    domain::{Failure, Owner, VideoState},
    page::Cursor,
    plan::PlannedText,
};

/// One video.
#[derive(Clone, Debug)]
pub struct Video {
    /// Its id.
    pub id: VideoId,
    /// Whose it is.
    pub tenant: String,
    /// The subject that created it.
    pub owner: String,
    /// At most 200 characters.
    pub title: String,
    /// At most 5000 characters.
    pub description: String,
    /// Where it stands.
    pub state: VideoState,
    /// Plays without a token.
    pub public: bool,
    /// The store's URL.
    pub store: String,
    /// The client's name of the file.
    pub filename: String,
    /// SHA-256 of the uploaded bytes.
    pub source_sha256: Option<Vec<u8>>,
    /// What the probe found.
    pub source: Option<Source>,
    /// The job whose renditions play.
    pub served_job: Option<JobId>,
    /// When it first could be played.
    pub published_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Counts visible changes.
    pub revision: i64,
    /// When it was reserved.
    pub created_at: Timestamp,
    /// The latest transcode job.
    pub job_id: Option<JobId>,
    /// Pictures of what plays, thumbnails in the film's order.
    pub pictures: Vec<Pictured>,
    /// Downloads of what plays, the smallest first.
    pub downloads: Vec<Downloadable>,
    /// Text tracks of the plan of what plays; made are those among the pictures.
    pub text: Vec<PlannedText>,
    /// Uploaded text tracks, by age.
    pub uploaded: Vec<Described>,
}

/// A picture that a video has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pictured {
    /// "poster", "thumbnails/3", "storyboard/0", "preview".
    pub name: String,
    /// Where in the film it is; only of thumbnails.
    pub seconds: Option<f64>,
}

/// A rung that can be downloaded as one file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Downloadable {
    /// "720p"
    pub profile: String,
    /// Size of the file.
    pub bytes: u64,
}

const COLUMNS: &str = "
    v.id, v.tenant, v.owner, v.title, v.description, v.state::text AS state, v.public, v.store,
    v.filename, v.source_sha256, v.source, v.served_job, v.published_at, v.error_code,
    v.error_message, v.revision, v.created_at,
    (
        SELECT j.id
        FROM jobs j
        WHERE j.video_id = v.id AND j.kind = 'transcode'
        ORDER BY j.created_at DESC, j.id DESC
        LIMIT 1
    ) AS job_id,
    (
        SELECT jsonb_agg(jsonb_build_object('name', p.name, 'seconds', p.seconds)
                         ORDER BY p.seconds, p.name)
        FROM pictures p
        WHERE p.job_id = v.served_job
    ) AS pictures,
    (
        SELECT jsonb_agg(jsonb_build_object('profile', t.rendition, 'bytes', t.download_bytes)
                         ORDER BY t.download_bytes)
        FROM tables t
        WHERE t.job_id = v.served_job AND t.download_bytes IS NOT NULL
    ) AS downloads,
    (SELECT j.plan -> 'text' FROM jobs j WHERE j.id = v.served_job) AS text,
    (
        SELECT jsonb_agg(jsonb_build_object(
                   'id', c.id, 'language', c.language, 'label', c.label, 'kind', c.kind,
                   'default', c.is_default, 'forced', false) ORDER BY c.created_at, c.id)
        FROM captions c
        WHERE c.video_id = v.id
    ) AS uploaded";

/// An aggregate of rows as JSON; none of them is NULL.
fn aggregate<T: DeserializeOwned>(
    row: &Row,
    column: &'static str,
    id: Uuid,
) -> Result<Vec<T>, DbError> {
    let json: Option<serde_json::Value> = row.try_get(column)?;
    let list = json.map(serde_json::from_value).transpose();
    Ok(list.map_err(|_| DbError::row("videos", column, id))?.unwrap_or_default())
}

impl TryFrom<&Row> for Video {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let id: Uuid = row.try_get("id")?;
        let state: &str = row.try_get("state")?;
        let source: Option<serde_json::Value> = row.try_get("source")?;
        let source = source
            .map(serde_json::from_value)
            .transpose()
            .map_err(|_| DbError::row("videos", "source", id))?;
        let job = |column: &str| -> Result<Option<JobId>, DbError> {
            Ok(row.try_get::<_, Option<Uuid>>(column)?.map(JobId::new))
        };
        Ok(Self {
            id: VideoId::new(id),
            tenant: row.try_get("tenant")?,
            owner: row.try_get("owner")?,
            title: row.try_get("title")?,
            description: row.try_get("description")?,
            state: VideoState::parse(state).ok_or_else(|| DbError::row("videos", "state", id))?,
            public: row.try_get("public")?,
            store: row.try_get("store")?,
            filename: row.try_get("filename")?,
            source_sha256: row.try_get("source_sha256")?,
            source,
            served_job: job("served_job")?,
            published_at: row.try_get("published_at")?,
            failure: failure(row, "error_code", "error_message")?,
            revision: row.try_get("revision")?,
            created_at: row.try_get("created_at")?,
            job_id: job("job_id")?,
            pictures: aggregate(row, "pictures", id)?,
            downloads: aggregate(row, "downloads", id)?,
            text: aggregate(row, "text", id)?,
            uploaded: aggregate(row, "uploaded", id)?,
        })
    }
}

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
