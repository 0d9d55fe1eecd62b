//! A row of `videos`, with what belongs to it elsewhere: its latest job, and what of it can be looked at.

use jiff::Timestamp;
use media::{JobId, VideoId, captions::Described, source::Source};
use serde::{Deserialize, de::DeserializeOwned};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    db::{DbError, failure},
    domain::{Failure, VideoState},
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

impl Video {
    /// Whether it takes a source: its first one, or another one in the place of one that never became playable.
    pub fn takes_source(&self) -> bool {
        match self.state {
            VideoState::Uploading => true,
            VideoState::Failed => self.source.is_none(),
            _ => false,
        }
    }
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

/// What [`Video`] is read from; the row is `v`.
pub(super) const COLUMNS: &str = "
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
