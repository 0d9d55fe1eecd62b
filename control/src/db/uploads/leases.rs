//! The lease on an upload: taking it, claiming it from its holder, and the token for which it was
//! granted.
//!
//! **Invariant:** one `UPDATE` moves a lease from one writer to another, and only after the former
//! writer released it or its lease expired.

use media::{UploadId, VideoId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{
    super::DbError,
    sessions::{COLUMNS, Grant, UploadSession, UploadTimeouts},
};

/// A lease as it was granted.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The tenant that owns the upload.
    pub tenant: String,
    /// The token for which it was granted.
    pub grant: Grant,
}

/// A request to write from `offset`.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// The writer that takes the lease.
    pub writer: Uuid,
    /// The offset at which the client wants to continue.
    pub offset: i64,
    /// The token for which the lease is granted.
    pub grant: Grant,
}

/// Takes the lease to write from an offset; `None` when another writer holds the lease or the
/// offset differs.
pub async fn acquire(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
    acquire: &Acquire,
    timeouts: UploadTimeouts,
) -> Result<Option<UploadSession>, DbError> {
    let sql = format!(
        "UPDATE uploads
         SET writer = $3,
             writer_until = now() + make_interval(secs => $5),
             granted_writer = $3,
             granted_subject = $6,
             granted_role = $7,
             granted_token_ids = $8
         WHERE id = $1
           AND tenant = $2
           AND state = 'open'
           AND expires_at > now()
           AND received = $4
           AND (writer IS NULL OR writer = $3 OR writer_until < now())
         RETURNING {COLUMNS}"
    );
    let Acquire { writer, offset, grant } = acquire;
    let row = db
        .query_opt(
            &sql,
            &[
                &id.uuid(),
                &tenant,
                writer,
                offset,
                &timeouts.lease,
                &grant.subject,
                &grant.role,
                &grant.token_ids,
            ],
        )
        .await?;
    row.as_ref().map(UploadSession::try_from).transpose()
}

/// Claims the lease from its holder, which then has [`UploadTimeouts::claim`] to release it; an
/// expired lease ends at once. Returns the writer to notify if this claim is the first.
pub async fn claim(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
    timeouts: UploadTimeouts,
) -> Result<Option<Uuid>, DbError> {
    let row = db
        .query_opt(
            "UPDATE uploads
             SET claimed_writer = writer,
                 writer = CASE WHEN writer_until >= now() THEN writer END,
                 writer_until = CASE
                     WHEN writer_until >= now()
                     THEN LEAST(writer_until, now() + make_interval(secs => $3))
                 END
             WHERE id = $1
               AND tenant = $2
               AND state = 'open'
               AND writer IS NOT NULL
               -- With all its bytes nothing more is written.
               AND received IS DISTINCT FROM length
               AND (writer_until < now() OR claimed_writer IS DISTINCT FROM writer)
             RETURNING writer",
            &[&id.uuid(), &tenant, &timeouts.claim],
        )
        .await?;
    row.map_or(Ok(None), |row| Ok(row.try_get("writer")?))
}

/// The lease most recently granted to `writer`, even if it has ended; `None` when the upload's
/// lease was granted to another writer since, or never to this one.
pub async fn granted(
    db: &impl GenericClient,
    id: UploadId,
    writer: Uuid,
) -> Result<Option<Granted>, DbError> {
    let row = db
        .query_opt(
            "SELECT tenant, granted_subject, granted_role, granted_token_ids
             FROM uploads
             WHERE id = $1 AND granted_writer = $2",
            &[&id.uuid(), &writer],
        )
        .await?;
    row.as_ref().map(Granted::try_from).transpose()
}

/// Like [`granted`], by the upload's video.
pub async fn granted_of_video(
    db: &impl GenericClient,
    video: VideoId,
    writer: Uuid,
) -> Result<Option<Granted>, DbError> {
    let row = db
        .query_opt(
            "SELECT tenant, granted_subject, granted_role, granted_token_ids
             FROM uploads
             WHERE video_id = $1 AND granted_writer = $2",
            &[&video.uuid(), &writer],
        )
        .await?;
    row.as_ref().map(Granted::try_from).transpose()
}

impl TryFrom<&Row> for Granted {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let text = |name| Ok::<_, DbError>(row.try_get::<_, Option<String>>(name)?);
        let grant = Grant {
            subject: text("granted_subject")?.unwrap_or_default(),
            role: text("granted_role")?.unwrap_or_default(),
            token_ids: row.try_get("granted_token_ids")?,
        };
        Ok(Self { tenant: row.try_get("tenant")?, grant })
    }
}
