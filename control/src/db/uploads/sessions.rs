//! Rows of `uploads`: begun, written by one holder of a lease at a time, read.
//!
//! **Invariant:** `received` moves in one `UPDATE` guarded by the lease's holder and by where it stands.

use jiff::Timestamp;
use media::{UploadId, VideoId};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{DbError, leases::Grant};

/// One upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Whose source it is.
    pub video: VideoId,
    /// Whose it is.
    pub tenant: String,
    /// The store's URL.
    pub store: String,
    /// Its source is under its key and its probe is queued.
    pub complete: bool,
    /// May be resumed.
    pub resumable: bool,
    /// The announced size.
    pub length: Option<i64>,
    /// Bytes that are durable.
    pub received: i64,
    /// The state of SHA-256 after them; the digest itself at the end.
    pub digest: Vec<u8>,
    /// Size of every part but the last.
    pub part_bytes: i64,
    /// The store's name of the object in the making.
    pub multipart_id: Option<String>,
    /// The parts that are in.
    pub parts: Vec<String>,
    /// Names the side object after the last whole part.
    pub tail: Option<u64>,
    /// The client's name of the file.
    pub filename: String,
    /// The client's own words, as they came.
    pub metadata: String,
    /// When it is forgotten.
    pub expires_at: Timestamp,
    /// A writer holds the lease.
    pub held: bool,
    /// Another request waits for the lease.
    pub claimed: bool,
}

pub(super) const COLUMNS: &str = "
    id, video_id, tenant, store, state, resumable, length, received, digest, part_bytes,
    multipart_id, parts, tail, filename, metadata, expires_at,
    COALESCE(writer_until >= now(), false) AS held,
    COALESCE(claimed_writer = writer, false) AS claimed";

impl TryFrom<&Row> for Upload {
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
            // The same 64 bits; only names are made of them.
            tail: row.try_get::<_, Option<i64>>("tail")?.map(i64::cast_unsigned),
            filename: row.try_get("filename")?,
            metadata: row.try_get("metadata")?,
            expires_at: row.try_get("expires_at")?,
            held: row.try_get("held")?,
            claimed: row.try_get("claimed")?,
        })
    }
}

/// How long leases and uploads last, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Lasting {
    /// From the last renewal of a lease until another writer may take it.
    pub lease: f64,
    /// From a claim until the lease ends, whether its holder released it or not.
    pub claim: f64,
    /// From the last byte of a resumable upload until it is forgotten.
    pub expiry: f64,
    /// The same, of one that cannot be resumed.
    pub single: f64,
}

/// What is known of an upload when it begins.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Made by the caller.
    pub id: UploadId,
    /// Whose source it is.
    pub video: VideoId,
    /// Whose it is.
    pub tenant: String,
    /// The store's URL.
    pub store: String,
    /// The announced size.
    pub length: Option<i64>,
    /// May be resumed.
    pub resumable: bool,
    /// Size of every part but the last.
    pub part_bytes: i64,
    /// Takes the lease at once.
    pub writer: Option<Uuid>,
    /// Whose token the lease is granted to.
    pub grant: Grant,
    /// The client's name of the file.
    pub filename: String,
    /// The client's own words.
    pub metadata: String,
}

/// What a tenant has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Uploads.
    pub uploads: i64,
    /// Bytes that they have announced, or stored where they announced none.
    pub bytes: i64,
}

/// Any number, the same in every instance: the class of the advisory locks taken here.
const QUOTA_LOCK: i32 = 0x7175;

/// What a tenant has open, counted under a lock that lasts as long as the transaction: nobody else
/// begins an upload for it meanwhile, so whoever looks and then begins never exceeds its quota.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn open(tx: &impl GenericClient, tenant: &str) -> Result<Open, DbError> {
    tx.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&QUOTA_LOCK, &tenant]).await?;
    // A statement of its own: it must see what those committed that held the lock before.
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

/// Begins an upload; `None` when the video has one under way.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn begin(
    db: &impl GenericClient,
    new: &NewUpload,
    lasting: Lasting,
) -> Result<Option<Upload>, DbError> {
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
    let expiry = if new.resumable { lasting.expiry } else { lasting.single };
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
                &lasting.lease,
                &expiry,
                &new.grant.subject,
                &new.grant.role,
                &new.grant.token_ids,
            ],
        )
        .await?;
    row.as_ref().map(Upload::try_from).transpose()
}

/// One upload of one tenant, unless it is dead or has expired.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn get(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
) -> Result<Option<Upload>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM uploads
         WHERE id = $1 AND tenant = $2 AND state <> 'dead' AND expires_at > now()"
    );
    let row = db.query_opt(&sql, &[&id.uuid(), &tenant]).await?;
    row.as_ref().map(Upload::try_from).transpose()
}

/// A video's open upload.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn of_video(db: &impl GenericClient, video: VideoId) -> Result<Option<Upload>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE video_id = $1 AND state = 'open'");
    let row = db.query_opt(&sql, &[&video.uuid()]).await?;
    row.as_ref().map(Upload::try_from).transpose()
}

/// What the holder of a lease has to say.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The holder.
    pub writer: Uuid,
    /// Where it stood.
    pub from: i64,
    /// Where it stands; the same as `from` keeps the lease and nothing else.
    pub to: i64,
    /// The state of SHA-256 there.
    pub digest: Vec<u8>,
    /// The store's name of the object in the making; `None` keeps what is known.
    pub multipart_id: Option<String>,
    /// Parts that are in since `from`.
    pub parts: Vec<String>,
    /// The side object there.
    pub tail: Option<u64>,
    /// Gives the lease back.
    pub release: bool,
}

/// Moves an upload ahead; `None` when the lease is lost. The same again changes nothing.
///
/// # Errors
/// [`DbError`] as every function here.
pub async fn advance(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
    step: &Advance,
    lasting: Lasting,
) -> Result<Option<Upload>, DbError> {
    let sql = format!(
        "UPDATE uploads
         SET received = $5,
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
                &lasting.lease,
                &lasting.expiry,
                &lasting.single,
            ],
        )
        .await?;
    match row {
        Some(row) => Upload::try_from(&row).map(Some),
        // Said before, and the answer was lost.
        None => repeated(db, tenant, id, step).await,
    }
}

async fn repeated(
    db: &impl GenericClient,
    tenant: &str,
    id: UploadId,
    step: &Advance,
) -> Result<Option<Upload>, DbError> {
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
    // Only a step that moves leaves a trace by which it can be known again.
    row.filter(|_| step.from < step.to || step.release).as_ref().map(Upload::try_from).transpose()
}
