//! Chores: deletes objects that no row refers to, and keeps index objects in step with their rows.

use std::collections::HashSet;

use media::{JobId, VideoId, layout};

use super::BackgroundError;
use crate::{
    cluster::events::Event,
    db::{
        CALL_TRIES_MAX, DbError,
        chores::{self, Chore, Taken},
        completion, images, jobs, outputs,
        probes::{self, SourceDeletion},
        uploads,
        videos::{self, Video},
    },
    domain::JobState,
    objects,
    publish::index,
    state::AppState,
};

const STALE_UPLOADS_MAX: i64 = 100;

/// Runs all chores that are due.
///
/// # Errors
/// The database or a store failed; the chore is retried later.
pub async fn round(app: &AppState) -> Result<(), BackgroundError> {
    let (keep, bytes_max) = app.policy.uploads.rejected_sources();
    probes::drop_rejected(&*app.db.get().await?, keep, bytes_max).await?;
    loop {
        let taken = chores::take(&*app.db.get().await?).await?;
        let Some(taken) = taken else { return Ok(()) };
        if perform(app, &taken).await? {
            chores::done(&*app.db.get().await?, taken.id).await?;
        }
    }
}

/// Runs a chore. Returns whether it is finished; otherwise it is retried later.
async fn perform(app: &AppState, taken: &Taken) -> Result<bool, BackgroundError> {
    match taken.chore {
        Chore::Index(video) => {
            index::sync_object(&app.db, &app.stores, video, &taken.store).await?;
            Ok(true)
        }
        // Purges have their own loop: a slow receiver must not delay the other chores.
        Chore::Purge(_) => Ok(false),
        Chore::Job(video, job) => sweep_job(app, &taken.store, video, job).await,
        Chore::Video(video) => sweep_video(app, taken, video).await,
    }
}

/// Deletes the objects of an ended job that no row refers to.
///
/// The objects are listed before the rows are read. An object that a retry writes later is not in
/// the list, and a listed object is either named by a row or garbage.
async fn sweep_job(
    app: &AppState,
    store: &str,
    video: VideoId,
    job: JobId,
) -> Result<bool, BackgroundError> {
    let listed = objects::list(&app.stores, store, &layout::job_prefix(video, job)).await?;
    let db = app.db.get().await?;
    let state = jobs::state(&*db, job).await?;
    if state.is_some() && !jobs::is_transcode(&*db, job).await? {
        drop(db);
        return sweep_rejected(app, store, video).await;
    }
    let mut kept: HashSet<String> = HashSet::new();
    match state {
        // The end of the job will queue another sweep.
        Some((state, _)) if !state.ended() => return Ok(true),
        Some((state, _)) => {
            kept.extend(outputs::keys(&*db, job).await?);
            kept.extend(images::keys(&*db, job).await?);
            let served = outputs::served(&*db, video).await?.and_then(|(_, job)| job);
            if state == JobState::Completed && served == Some(job) {
                kept.insert(format!("{}index", layout::job_prefix(video, job)));
            }
        }
        None => {}
    }
    drop(db);
    let unreferenced = listed.into_iter().filter(|key| !kept.contains(key.as_ref()));
    objects::delete_all(&app.stores, store, unreferenced.collect()).await?;
    Ok(true)
}

/// Deletes a rejected source that need not be kept any longer. The transaction locks the video's
/// row until the object is deleted, so that no other source can replace it meanwhile.
async fn sweep_rejected(
    app: &AppState,
    store: &str,
    video: VideoId,
) -> Result<bool, BackgroundError> {
    let dropped = app.db.try_transact(1, async |tx| {
        let dropped = probes::source_deletion(tx, video).await?;
        if dropped == SourceDeletion::Delete {
            if let Err(error) = objects::delete(&app.stores, store, &layout::source(video)).await {
                return Ok(Err(error));
            }
            tracing::info!(video.id = %video, "rejected source deleted");
        }
        Ok(Ok(dropped))
    });
    Ok(dropped.await?? != SourceDeletion::Later)
}

async fn sweep_video(
    app: &AppState,
    taken: &Taken,
    video: VideoId,
) -> Result<bool, BackgroundError> {
    let listed = objects::list(&app.stores, &taken.store, &layout::video_prefix(video)).await?;
    if videos::find(&*app.db.get().await?, video).await?.is_some() {
        tracing::error!(video.id = %video, "refusing to delete objects of a video that still exists");
        return Ok(true);
    }
    objects::delete_all(&app.stores, &taken.store, listed).await?;
    // Later sweeps need only its id to find its objects.
    videos::delete_tombstone(&*app.db.get().await?, video, app.policy.grace_seconds).await?;
    Ok(true)
}

/// Deletes videos whose source was never uploaded.
///
/// # Errors
/// The database failed.
pub async fn stale_uploads(app: &AppState) -> Result<(), BackgroundError> {
    let seconds = app.policy.uploads.timeouts.expiry;
    let stale = uploads::stale_uploads(&*app.db.get().await?, seconds, STALE_UPLOADS_MAX).await?;
    for video in stale {
        let row = videos::find(&*app.db.get().await?, video).await?;
        if let Some(row) = row {
            delete_video(app, &row).await?;
        }
        tracing::info!(video.id = %video, "stale upload deleted");
    }
    Ok(())
}

/// Deletes a video: from now on it cannot be seen or played; its row is a tombstone, and its
/// objects are queued for deletion. False if it was already deleted.
///
/// # Errors
/// The database failed.
pub async fn delete_video(app: &AppState, video: &Video) -> Result<bool, DbError> {
    let grace = app.policy.grace_seconds;
    let deleted = app
        .db
        .transact(CALL_TRIES_MAX, async |tx| completion::delete_video(tx, video.id, grace).await)
        .await?;
    app.video_changed_for(video.id).await;
    if let Some(job) = video.job_id {
        app.bus.publish(Event::Stopped(job));
        app.bus.publish(Event::Job(job));
    }
    index::try_sync_object(&app.db, &app.stores, video.id, &video.store).await;
    Ok(deleted)
}
