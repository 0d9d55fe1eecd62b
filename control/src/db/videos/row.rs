//! A row of `videos` together with related rows: its latest job, and the images, downloads and text
//! tracks that can be viewed.

use jiff::Timestamp;
use media::{JobId, VideoId, captions::Described, source::Source};
use serde::{Deserialize, de::DeserializeOwned};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    db::{DbError, failure, states},
    domain::{Failure, VideoState},
    plan::PlannedText,
};

/// One video.
#[derive(Clone, Debug)]
pub struct Video {
    /// Its id.
    pub id: VideoId,
    /// The tenant that owns it.
    pub tenant: String,
    /// The subject that created it.
    pub owner: String,
    /// At most 200 characters.
    pub title: String,
    /// At most 5000 characters.
    pub description: String,
    /// Its state.
    pub state: VideoState,
    /// Plays without a token.
    pub public: bool,
    /// The store's URL.
    pub store: String,
    /// The file name given by the client.
    pub filename: String,
    /// SHA-256 of the uploaded bytes.
    pub source_sha256: Option<Vec<u8>>,
    /// The result of the probe.
    pub source: Option<Source>,
    /// The job whose renditions are served.
    pub served_job: Option<JobId>,
    /// When the served job became playable.
    pub published_at: Option<Timestamp>,
    /// Seconds from the last byte of the upload to the first listed segment.
    pub playable_seconds: Option<f64>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Incremented with every visible change.
    pub revision: i64,
    /// When it was reserved.
    pub created_at: Timestamp,
    /// The latest transcode job.
    pub job_id: Option<JobId>,
    /// Images, preview and embedded text tracks of the served job; thumbnails in the order of the
    /// video.
    pub pictures: Vec<VideoImage>,
    /// Downloads of the served job, the smallest first.
    pub downloads: Vec<Downloadable>,
    /// Text tracks of the served job's plan; those that have been made are also listed in
    /// `pictures`.
    pub text: Vec<PlannedText>,
    /// Uploaded text tracks, oldest first.
    pub uploaded: Vec<Described>,
}

impl Video {
    /// Whether it accepts a source: its first one, or a replacement for one that never became
    /// playable.
    pub fn takes_source(&self) -> bool {
        match self.state {
            VideoState::Uploading => true,
            VideoState::Failed => self.source.is_none(),
            _ => false,
        }
    }
}

/// An image, text track or preview clip that a video has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VideoImage {
    /// "poster", "thumbnails/3", "storyboard/0", "preview".
    pub name: String,
    /// Its position in the video; only for thumbnails.
    pub seconds: Option<f64>,
}

/// A rendition that can be downloaded as one file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Downloadable {
    /// For example "720p".
    pub profile: String,
    /// Size of the file.
    pub bytes: u64,
}

/// The columns from which [`Video`] is read; the row of `videos` is `v`.
pub(super) const COLUMNS: &str = "
    v.id, v.tenant, v.owner, v.title, v.description, v.state::text AS state, v.public, v.store,
    v.filename, v.source_sha256, v.source, v.served_job, v.published_at, v.error_code,
    v.error_message, v.revision, v.created_at,
    extract(epoch FROM v.playable_at - v.received_at)::float8 AS playable_seconds,
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

/// Reads rows that were aggregated as JSON; NULL means no rows.
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
            state: states::read(row, "state", ("videos", id))?,
            public: row.try_get("public")?,
            store: row.try_get("store")?,
            filename: row.try_get("filename")?,
            source_sha256: row.try_get("source_sha256")?,
            source,
            served_job: job("served_job")?,
            published_at: row.try_get("published_at")?,
            playable_seconds: row.try_get("playable_seconds")?,
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
