//! Finishes uploads whose data plane was lost, and deletes abandoned ones.

use media::layout;
use store::Store;

use super::{BackgroundError, deletion::delete_video};
use crate::{
    db::{
        uploads::{completion, sessions::UploadSession},
        videos,
    },
    domain::VideoState,
    objects::ObjectError,
    source::finish,
    state::AppState,
    transcode,
};

/// Maximum number of uploads of each kind that one round handles.
const ROUND_MAX: i64 = 100;

/// Finishes uploads that have all their bytes, creates requested jobs that are missing, aborts expired ones, and deletes the bytes of those
/// that were aborted.
///
/// # Errors
/// The database or a store failed; the next round handles the remaining uploads.
pub async fn round(app: &AppState) -> Result<(), BackgroundError> {
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
        match row.as_ref().map(|row| row.state) {
            // It was to replace a source that is still stored, so only the upload is aborted.
            Some(VideoState::Failed) => {
                completion::give_up(&*app.db.get().await?, video).await?;
            }
            _ => {
                if let Some(row) = row {
                    delete_video(app, &row).await?;
                }
            }
        }
        tracing::info!(video.id = %video, "upload expired");
    }
    transcode::create_awaited(app, ROUND_MAX).await?;
    delete_ended(app).await
}

async fn delete_ended(app: &AppState) -> Result<(), BackgroundError> {
    let db = app.db.get().await?;
    completion::delete_old(&*db).await?;
    let dead = completion::given_up(&*db, ROUND_MAX).await?;
    drop(db);
    for upload in dead {
        // Objects in a store that has been removed from the configuration cannot be deleted.
        let Some(store) = app.stores.get(&upload.store) else { continue };
        discard(store, &upload).await?;
        completion::delete(&*app.db.get().await?, upload.id).await?;
    }
    Ok(())
}

async fn discard(store: &Store, upload: &UploadSession) -> Result<(), BackgroundError> {
    let key = || layout::upload_file(upload.video, upload.id);
    let discarded = store.discard(&upload.source()).await;
    Ok(discarded.map_err(|source| ObjectError::Object { key: key(), source })?)
}
