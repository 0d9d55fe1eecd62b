//! Incoming uploads: per-tenant quotas, sealing a source under its final key, and the background round that
//! finishes uploads whose data plane was lost and deletes abandoned ones.

use api::code::{Code, Problem};
use media::{JobId, layout};
use object_store::{ObjectStoreExt, path::Path};
use store::{Store, source::Source};
use uuid::Uuid;

use crate::{
    background::deletion,
    config::UploadArgs,
    db::{
        CALL_TRIES_MAX, jobs, tasks,
        uploads::{
            self, Received, completion,
            sessions::{Lasting, Open, Upload},
        },
        videos::{self, Video},
    },
    domain::VideoState,
    plan,
    publish::index::IndexProblem,
    state::AppState,
};

/// How long after the last renewal of a lease another writer may take it, in seconds. Holders renew it
/// every second.
const LEASE_SECONDS: f64 = 6.0;
/// How long after a claim the lease ends, in seconds. A holder writes only within 2.5 s after a renewal, so
/// it has stopped by then even if it was not notified of the claim.
const CLAIM_SECONDS: f64 = 3.0;
/// How long after the last renewal an upload that cannot be resumed is given up, in seconds.
const SINGLE_SECONDS: f64 = 60.0;
/// S3 requires parts of at least 5 MiB and allows at most 10 000 of them.
const PART_BYTES_MIN: u64 = 8 << 20;
const PARTS_MAX: u64 = 9_000;
const PART_BYTES_STEP: u64 = 1 << 20;
/// Maximum number of uploads of each kind that one round handles.
const ROUND_MAX: i64 = 100;

/// Limits on the number, size and duration of tenants' open uploads.
#[derive(Clone, Copy, Debug)]
pub struct UploadPolicy {
    /// How long leases and uploads last.
    pub lasting: Lasting,
    open_max: i64,
    bytes_max: i64,
    /// How long refused sources are kept, in seconds.
    rejected_keep: f64,
}

impl UploadPolicy {
    /// The policy that these flags configure.
    pub fn new(args: &UploadArgs) -> Self {
        let expiry = args.upload_expiry.as_secs_f64();
        Self {
            lasting: Lasting {
                lease: LEASE_SECONDS,
                claim: CLAIM_SECONDS,
                expiry,
                single: SINGLE_SECONDS,
            },
            open_max: args.uploads_open_max.into(),
            bytes_max: args.uploads_bytes_max.try_into().unwrap_or(i64::MAX),
            rejected_keep: args.rejected_keep.as_secs_f64(),
        }
    }

    /// How long refused sources are kept, in seconds, and the maximum size in bytes of a tenant's refused
    /// sources and open uploads together.
    pub fn refused(&self) -> (f64, i64) {
        (self.rejected_keep, self.bytes_max)
    }

    /// Checks whether a tenant with the uploads `open` may begin another one of `length` bytes.
    ///
    /// # Errors
    /// [`Code::QuotaExceeded`] if the number or the total size of open uploads would exceed its limit.
    pub fn admits(&self, open: Open, length: i64) -> Result<(), Problem> {
        let refused = |text: String| Err(Problem::new(Code::QuotaExceeded, text));
        if open.uploads >= self.open_max {
            return refused(format!("{} uploads are open, which is the limit", self.open_max));
        }
        if open.bytes.saturating_add(length) > self.bytes_max {
            return refused(format!(
                "open uploads may announce at most {} bytes in total",
                self.bytes_max
            ));
        }
        Ok(())
    }
}

/// Size of every part but the last, such that a source of `bytes` fits into the allowed number of parts.
pub fn part_bytes(bytes: u64) -> u64 {
    let even = bytes.div_ceil(PARTS_MAX);
    even.next_multiple_of(PART_BYTES_STEP).max(PART_BYTES_MIN)
}

impl Upload {
    /// The upload in the form that the store takes.
    fn source(&self) -> Source<'_> {
        Source {
            video: self.video,
            upload: self.id,
            multipart_id: self.multipart_id.as_deref(),
            parts: &self.parts,
        }
    }
}

/// Seals a source of `bytes` under its key and checks that the object exists and has this size.
///
/// # Errors
/// [`Code::Unavailable`] if the store does not answer, [`Code::Conflict`] if the source is missing,
/// [`Code::InvalidField`] if its size differs.
pub async fn seal(
    app: &AppState,
    video: &Video,
    upload: Option<&Upload>,
    bytes: u64,
) -> Result<(), Problem> {
    let unavailable = || Problem::new(Code::Unavailable, "the object store is not reachable");
    let store = app.stores.get(&video.store).ok_or_else(unavailable)?;
    if let Some(upload) = upload
        && let Err(error) = store.seal(&upload.source(), bytes).await
    {
        tracing::warn!(%error, upload.id = %upload.id, "failed to seal an upload");
        return Err(unavailable());
    }
    match store.objects.head(&Path::from(layout::source(video.id))).await {
        Ok(found) if found.size == bytes => Ok(()),
        Ok(found) => {
            Err(Problem::field("bytes", format!("{} bytes are stored, not {bytes}", found.size)))
        }
        Err(object_store::Error::NotFound { .. }) => {
            Err(Problem::new(Code::Conflict, "the source has not been stored"))
        }
        Err(error) => {
            tracing::warn!(%error, "failed to look up a source");
            Err(unavailable())
        }
    }
}

/// Records that the source is stored: completes its upload and queues its probe.
///
/// # Errors
/// [`Code::Unavailable`] if the database is unavailable.
pub async fn queue_probe(
    app: &AppState,
    video: &Video,
    received: &Received,
) -> Result<(), Problem> {
    let job = JobId::new(Uuid::now_v7());
    let expiry = app.policy.uploads.lasting.expiry;
    let queued = app.db.transact(CALL_TRIES_MAX, async |tx| {
        let queued = uploads::received(tx, video.id, received).await?;
        if queued {
            completion::complete(tx, video.id, expiry).await?;
            jobs::create_probe(tx, &video.tenant, video.id, job).await?;
            tasks::create(tx, &video.tenant, video.id, job, &[plan::probe()]).await?;
        }
        Ok(queued)
    });
    // It is false if another request has just completed the same upload.
    if queued.await? {
        app.bus.wake(1);
        app.video_changed(video.id);
    }
    Ok(())
}

/// Completes a resumable upload that has all its bytes. Repeating it changes nothing.
///
/// # Errors
/// [`Code::Conflict`] if bytes are missing; otherwise as for [`seal`] and [`queue_probe`].
pub async fn finish(app: &AppState, video: &Video, upload: &Upload) -> Result<(), Problem> {
    if upload.complete {
        return Ok(());
    }
    if upload.length != Some(upload.received) {
        return Err(Problem::new(Code::Conflict, "the upload is incomplete"));
    }
    seal(app, video, Some(upload), upload.received.unsigned_abs()).await?;
    let received = Received {
        title: String::new(),
        description: String::new(),
        public: None,
        bytes: upload.received,
        sha256: upload.digest.clone(),
        filename: upload.filename.clone(),
    };
    queue_probe(app, video, &received).await
}

/// Finishes uploads that have all their bytes, gives up expired ones, and deletes the bytes of those that
/// were given up.
///
/// # Errors
/// The database or a store failed; the next round handles the remaining uploads.
pub async fn round(app: &AppState) -> Result<(), IndexProblem> {
    let db = app.db.get().await?;
    let unfinished = completion::unfinished(&*db, ROUND_MAX).await?;
    let expired = completion::expired(&*db, ROUND_MAX).await?;
    drop(db);
    for upload in unfinished {
        let video = videos::find(&*app.db.get().await?, upload.video).await?;
        let Some(video) = video else { continue };
        match finish(app, &video, &upload).await {
            Ok(()) => {
                tracing::info!(upload.id = %upload.id, "upload finished on behalf of its data plane")
            }
            Err(error) => {
                tracing::warn!(upload.id = %upload.id, %error, "failed to finish an upload")
            }
        }
    }
    for video in expired {
        let row = videos::find(&*app.db.get().await?, video).await?;
        match row.map(|row| row.state) {
            // It was to replace a source that is still stored, so only the upload is given up.
            Some(VideoState::Failed) => {
                completion::give_up(&*app.db.get().await?, video).await?;
            }
            _ => drop(deletion::bury(app, video).await?),
        }
        tracing::info!(video.id = %video, "upload expired");
    }
    sweep_dead(app).await
}

async fn sweep_dead(app: &AppState) -> Result<(), IndexProblem> {
    let db = app.db.get().await?;
    completion::tidy(&*db).await?;
    let dead = completion::dead(&*db, ROUND_MAX).await?;
    drop(db);
    for upload in dead {
        // Objects in a store that has been removed from the configuration cannot be deleted.
        let Some(store) = app.stores.get(&upload.store) else { continue };
        discard(store, &upload).await?;
        completion::forget(&*app.db.get().await?, upload.id).await?;
    }
    Ok(())
}

async fn discard(store: &Store, upload: &Upload) -> Result<(), IndexProblem> {
    let key = || layout::upload_file(upload.video, upload.id);
    store
        .discard(&upload.source())
        .await
        .map_err(|source| IndexProblem::Object { key: key(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_and_few_enough() {
        assert_eq!(part_bytes(0), PART_BYTES_MIN);
        assert_eq!(part_bytes(100 << 20), PART_BYTES_MIN);
        for bytes in [100 << 30, 5 << 40] {
            let part = part_bytes(bytes);
            assert!(
                bytes.div_ceil(part) <= PARTS_MAX && part.is_multiple_of(PART_BYTES_STEP),
                "{bytes}"
            );
        }
    }

    #[test]
    fn quotas_allow_uploads_up_to_the_limit() {
        let lasting = Lasting { lease: 1.0, claim: 1.0, expiry: 1.0, single: 1.0 };
        let policy = UploadPolicy { lasting, open_max: 2, bytes_max: 100, rejected_keep: 0.0 };
        let open = |uploads, bytes| Open { uploads, bytes };
        assert!(policy.admits(open(1, 60), 40).is_ok());
        let refused = [(open(2, 0), 0), (open(1, 60), 41), (open(0, 1), i64::MAX)];
        for (open, length) in refused {
            let problem = policy.admits(open, length).unwrap_err();
            assert_eq!(problem.code, Code::QuotaExceeded, "{open:?} {length}");
        }
    }
}
