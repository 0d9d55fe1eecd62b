//! Uploaded sources: sealed under their final key, checked, and queued for a probe.

use std::time::Instant;

use api::code::{Code, Problem};
use media::{JobId, layout};
use object_store::{ObjectStoreExt, path::Path};
use uuid::Uuid;

use crate::{
    db::{
        CALL_TRIES_MAX, jobs, tasks,
        uploads::{self, Received, completion, sessions::UploadSession},
        videos::Video,
    },
    plan,
    state::AppState,
};

/// Seals a source of `bytes` under its key and checks that the object exists and has this size.
///
/// # Errors
/// [`Code::Unavailable`] if the store does not respond, [`Code::Conflict`] if the source is
/// missing, [`Code::InvalidField`] if its size differs.
pub async fn seal(
    app: &AppState,
    video: &Video,
    upload: Option<&UploadSession>,
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
    let expiry = app.policy.uploads.timeouts.expiry;
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
        app.bus.notify_tasks_ready(1);
        app.video_changed(video.id);
    }
    Ok(())
}

/// Completes a resumable upload that has all its bytes. Repeating it changes nothing.
///
/// # Errors
/// [`Code::Conflict`] if bytes are missing; otherwise as for [`seal`] and [`queue_probe`].
pub async fn finish(app: &AppState, video: &Video, upload: &UploadSession) -> Result<(), Problem> {
    if upload.complete {
        return Ok(());
    }
    if upload.length != Some(upload.received) {
        return Err(Problem::new(Code::Conflict, "the upload is incomplete"));
    }
    let arrived = Instant::now();
    seal(app, video, Some(upload), upload.received.unsigned_abs()).await?;
    let received = Received {
        title: String::new(),
        description: String::new(),
        public: None,
        bytes: upload.received,
        sha256: upload.digest.clone(),
        filename: upload.filename.clone(),
        auto_transcode: false,
        arrived,
    };
    queue_probe(app, video, &received).await
}
