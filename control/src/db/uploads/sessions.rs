//! Rows of `uploads`: beginning, advancing and reading them. One lease holder writes at a time.
//!
//! **Invariant:** `received` advances in one `UPDATE` that is guarded by the lease's holder and by
//! the current value.

use jiff::Timestamp;
use media::{UploadId, VideoId};
use store::source::Source;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::DbError;

/// The bearer token for which a lease was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The token's subject.
    pub subject: String,
    /// The stable text of the token's role.
    pub role: String,
    /// The token's revocation ids; revoking one of them ends the lease.
    pub token_ids: Vec<Vec<u8>>,
}

/// One upload.
#[derive(Clone, Debug)]
pub struct UploadSession {
    /// Its id.
    pub id: UploadId,
    /// The video whose source it is.
    pub video: VideoId,
    /// The tenant that owns it.
    pub tenant: String,
    /// The store's URL.
    pub store: String,
    /// The source is stored under its key and its probe is queued.
    pub complete: bool,
    /// Can be resumed.
    pub resumable: bool,
    /// The announced size.
    pub length: Option<i64>,
    /// Bytes that are stored durably.
    pub received: i64,
    /// The state of SHA-256 after those bytes; the digest itself at the end.
    pub digest: Vec<u8>,
    /// Size of every part except the last.
    pub part_bytes: i64,
    /// The store's id of the multipart upload.
    pub multipart_id: Option<String>,
    /// The parts that are stored.
    pub parts: Vec<String>,
    /// Identifies the side object that contains the bytes after the last complete part.
    pub tail: Option<u64>,
    /// The file name given by the client.
    pub filename: String,
    /// The client's upload metadata, verbatim.
    pub metadata: String,
    /// When the upload expires.
    pub expires_at: Timestamp,
    /// A writer holds the lease.
    pub held: bool,
    /// Another request waits for the lease.
    pub claimed: bool,
}

impl UploadSession {
    /// The upload in the form that the store takes.
    pub fn source(&self) -> Source<'_> {
        Source {
            video: self.video,
            upload: self.id,
            multipart_id: self.multipart_id.as_deref(),
            parts: &self.parts,
        }
    }
}

pub(super) const COLUMNS: &str = "
    id, video_id, tenant, store, state, resumable, length, received, digest, part_bytes,
    multipart_id, parts, tail, filename, metadata, expires_at,
    COALESCE(writer_until >= now(), false) AS held,
    COALESCE(claimed_writer = writer, false) AS claimed";

impl TryFrom<&Row> for UploadSession {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let state: &str = row.try_get("state")?;
        Ok(Self {
            id: UploadId::new(row.try_get("id")?),
            video: VideoId::new(row.try_get("video_id")?),
            tenant: row.try_get("tenant")?,
            store: row.try_get("store")?,
            complete: state == "complete",
            resumable: row.try_get("resumable")?,
            length: row.try_get("length")?,
            received: row.try_get("received")?,
            digest: row.try_get("digest")?,
            part_bytes: row.try_get("part_bytes")?,
            multipart_id: row.try_get("multipart_id")?,
            parts: row.try_get("parts")?,
            // The same 64 bits; the number is only used in names.
            tail: row.try_get::<_, Option<i64>>("tail")?.map(i64::cast_unsigned),
            filename: row.try_get("filename")?,
            metadata: row.try_get("metadata")?,
            expires_at: row.try_get("expires_at")?,
            held: row.try_get("held")?,
            claimed: row.try_get("claimed")?,
        })
    }
}

/// Durations of leases and uploads, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct UploadTimeouts {
    /// From a lease's latest renewal until another writer may take it.
    pub lease: f64,
    /// From a claim until the lease ends, whether or not its holder released it.
    pub claim: f64,
    /// From a resumable upload's last byte until it expires.
    pub expiry: f64,
    /// From the latest renewal of an upload that cannot be resumed until it expires.
    pub single: f64,
}

/// Properties of a new upload.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Chosen by the caller.
    pub id: UploadId,
    /// The video whose source it is.
    pub video: VideoId,
    /// The tenant that owns it.
    pub tenant: String,
    /// The store's URL.
    pub store: String,
    /// The announced size.
    pub length: Option<i64>,
    /// Can be resumed.
    pub resumable: bool,
    /// Size of every part except the last.
    pub part_bytes: i64,
    /// The writer that gets the lease immediately.
    pub writer: Option<Uuid>,
    /// The token for which the lease is granted.
    pub grant: Grant,
    /// The file name given by the client.
    pub filename: String,
    /// The client's upload metadata, verbatim.
    pub metadata: String,
    /// Whether the video's job is created as soon as the source is probed.
    pub auto_transcode: bool,
}

/// A tenant's open uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Number of uploads.
    pub uploads: i64,
    /// Bytes that they announced, or stored if that is more.
    pub bytes: i64,
}

/// An arbitrary number, the same in every instance: the class of the advisory locks taken here.
const QUOTA_LOCK: i32 = 0x7175;

/// Counts a tenant's open uploads under a lock that is held until the transaction ends. No other
/// transaction can begin an upload for the tenant meanwhile, so a caller that counts and then
/// begins never exceeds the quota.
pub async fn open(tx: &impl GenericClient, tenant: &str) -> Result<Open, DbError> {
    tx.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&QUOTA_LOCK, &tenant]).await?;
    // A separate statement, because it must see the commits of earlier holders of the lock.
    let row = tx
        .query_one(
            "SELECT count(*) AS uploads,
                    COALESCE(sum(GREATEST(length, received)), 0)::bigint AS bytes
             FROM uploads
             WHERE tenant = $1 AND state = 'open'",
            &[&tenant],
        )
        .await?;
    Ok(Open { uploads: row.try_get("uploads")?, bytes: row.try_get("bytes")? })
}

/// Begins an upload; `None` when the video already has an open one.
pub async fn begin(
    db: &impl GenericClient,
    new: &NewUpload,
    timeouts: UploadTimeouts,
) -> Result<Option<UploadSession>, DbError> {
    let sql = format!(
        "INSERT INTO uploads (id, video_id, tenant, store, resumable, length, part_bytes, filename,
                              metadata, writer, writer_until, expires_at,
                              granted_writer, granted_subject, granted_role, granted_token_ids)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                 CASE WHEN $10::uuid IS NOT NULL THEN now() + make_interval(secs => $11) END,
                 now() + make_interval(secs => $12), $10, $13, $14, $15)
         ON CONFLICT DO NOTHING
         RETURNING {COLUMNS}"
    );
    let expiry = if new.resumable { timeouts.expiry } else { timeouts.single };
    let row = db
        .query_opt(
            &sql,
            &[
                &new.id.uuid(),
                &new.video.uuid(),
                &new.tenant,
                &new.store,
                &new.resumable,
                &new.length,
                &new.part_bytes,
                &new.filename,
                &new.metadata,
                &new.writer,
                &timeouts.lease,
                &expiry,
                &new.grant.subject,
                &new.grant.role,
                &new.grant.token_ids,
            ],
        )
        .await?;
    row.as_ref().map(UploadSession::try_from).transpose()
}

/// An upload of one tenant, unless it was aborted or has expired.
pub async fn get(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
) -> Result<Option<UploadSession>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM uploads
         WHERE id = $1 AND tenant = $2 AND state <> 'dead' AND expires_at > now()"
    );
    let row = db.query_opt(&sql, &[&id.uuid(), &tenant]).await?;
    row.as_ref().map(UploadSession::try_from).transpose()
}

/// A video's open upload.
pub async fn of_video(
    db: &impl GenericClient,
    video: VideoId,
) -> Result<Option<UploadSession>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE video_id = $1 AND state = 'open'");
    let row = db.query_opt(&sql, &[&video.uuid()]).await?;
    row.as_ref().map(UploadSession::try_from).transpose()
}

/// A progress report from the holder of a lease.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The holder.
    pub writer: Uuid,
    /// The offset before it.
    pub from: i64,
    /// The offset after it; if equal to `from`, the call only renews the lease.
    pub to: i64,
    /// The state of SHA-256 at `to`.
    pub digest: Vec<u8>,
    /// The store's id of the multipart upload; `None` keeps the stored one.
    pub multipart_id: Option<String>,
    /// Parts stored since `from`.
    pub parts: Vec<String>,
    /// Identifies the side object at `to`.
    pub tail: Option<u64>,
    /// Releases the lease.
    pub release: bool,
}

/// Advances an upload; `None` when the lease is lost. Repeating the call changes nothing.
pub async fn advance(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
    step: &Advance,
    timeouts: UploadTimeouts,
) -> Result<Option<UploadSession>, DbError> {
    let sql = format!(
        "UPDATE uploads
         SET received = $5,
             filled_at = CASE WHEN length = $5 THEN COALESCE(filled_at, now()) END,
             digest = CASE WHEN $4 < $5 THEN $6 ELSE digest END,
             multipart_id = COALESCE($7, multipart_id),
             parts = parts || $8::text[],
             tail = CASE WHEN $4 < $5 THEN $9 ELSE tail END,
             writer = CASE WHEN $10 THEN NULL ELSE writer END,
             writer_until = CASE
                 WHEN $10 THEN NULL
                 -- A claim bounds the lease: no renewal moves that bound.
                 WHEN claimed_writer = writer THEN writer_until
                 ELSE now() + make_interval(secs => $11)
             END,
             expires_at = CASE
                 WHEN resumable AND $4 < $5 THEN now() + make_interval(secs => $12)
                 WHEN NOT resumable THEN now() + make_interval(secs => $13)
                 ELSE expires_at
             END
         WHERE id = $1
           AND tenant = $2
           AND state = 'open'
           AND writer = $3
           AND received = $4::bigint
           AND (length IS NULL OR length >= $5)
         RETURNING {COLUMNS}"
    );
    let row = db
        .query_opt(
            &sql,
            &[
                &id.uuid(),
                &tenant,
                &step.writer,
                &step.from,
                &step.to,
                &step.digest,
                &step.multipart_id,
                &step.parts,
                &step.tail.map(u64::cast_signed),
                &step.release,
                &timeouts.lease,
                &timeouts.expiry,
                &timeouts.single,
            ],
        )
        .await?;
    match row {
        Some(row) => UploadSession::try_from(&row).map(Some),
        // The step may have been recorded before and its reply lost.
        None => repeated(db, tenant, id, step).await,
    }
}

async fn repeated(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
    step: &Advance,
) -> Result<Option<UploadSession>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM uploads
         WHERE id = $1
           AND tenant = $2
           AND state = 'open'
           AND received = $4
           AND digest = $5
           AND (writer = $3 OR ($6 AND writer IS NULL))"
    );
    let row = db
        .query_opt(
            &sql,
            &[&id.uuid(), &tenant, &step.writer, &step.to, &step.digest, &step.release],
        )
        .await?;
    // Only a step that advances the offset or releases the lease leaves a state by which it can be
    // recognised.
    row.filter(|_| step.from < step.to || step.release)
        .as_ref()
        .map(UploadSession::try_from)
        .transpose()
}
