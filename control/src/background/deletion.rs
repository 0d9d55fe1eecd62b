//! Chores: deletes objects that no row refers to, and keeps index objects in step with their rows.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use media::{JobId, VideoId, layout};
use object_store::path::Path;

use crate::{
    db::{
        chores::{self, Chore, Taken},
        completion, images, jobs, outputs,
        probes::{self, Dropped},
        uploads, videos,
    },
    domain::JobState,
    publish::index::{self, IndexProblem},
    state::AppState,
};

const STALE_UPLOADS_MAX: i64 = 100;

/// Runs all chores that are due.
///
/// # Errors
/// The database or a store failed; the chore is retried later.
pub async fn round(app: &AppState) -> Result<(), IndexProblem> {
    let (keep, bytes_max) = app.policy.uploads.refused();
    probes::drop_refused(&*app.db.get().await?, keep, bytes_max).await?;
    loop {
        let taken = chores::take(&*app.db.get().await?).await?;
        let Some(taken) = taken else { return Ok(()) };
        if perform(app, &taken).await? {
            chores::done(&*app.db.get().await?, taken.id).await?;
        }
    }
}

/// Runs a chore. Returns whether it is finished; otherwise it is retried later.
async fn perform(app: &AppState, taken: &Taken) -> Result<bool, IndexProblem> {
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
/// The objects are listed before the rows are read. An object that a retry writes later is not in the list,
/// and a listed object is either named by a row or garbage.
async fn sweep_job(
    app: &AppState,
    store: &str,
    video: VideoId,
    job: JobId,
) -> Result<bool, IndexProblem> {
    let listed = list(app, store, &layout::job_prefix(video, job)).await?;
    let db = app.db.get().await?;
    let state = jobs::state(&*db, job).await?;
    if state.is_some() && !jobs::is_transcode(&*db, job).await? {
        drop(db);
        return sweep_refused(app, store, video).await;
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
    delete(app, store, unreferenced.collect()).await?;
    Ok(true)
}

/// Deletes a refused source that need not be kept any longer. The transaction locks the video's row until
/// the object is deleted, so that no other source can replace it meanwhile.
async fn sweep_refused(app: &AppState, store: &str, video: VideoId) -> Result<bool, IndexProblem> {
    let dropped = app.db.try_transact(1, async |tx| {
        let dropped = probes::dropped(tx, video).await?;
        if dropped == Dropped::Delete {
            if let Err(error) = index::delete(&app.stores, store, &layout::source(video)).await {
                return Ok(Err(error));
            }
            tracing::info!(video.id = %video, "rejected source deleted");
        }
        Ok(Ok(dropped))
    });
    Ok(dropped.await?? != Dropped::Later)
}

async fn sweep_video(app: &AppState, taken: &Taken, video: VideoId) -> Result<bool, IndexProblem> {
    let listed = list(app, &taken.store, &layout::video_prefix(video)).await?;
    if videos::find(&*app.db.get().await?, video).await?.is_some() {
        tracing::error!(video.id = %video, "refusing to delete objects of a video that still exists");
        return Ok(true);
    }
    delete(app, &taken.store, listed).await?;
    // Later sweeps need only its id to find its objects.
    videos::forget(&*app.db.get().await?, video, app.policy.grace_seconds).await?;
    Ok(true)
}

async fn list(app: &AppState, url: &str, prefix: &str) -> Result<Vec<Path>, IndexProblem> {
    let store = app.stores.get(url).ok_or_else(|| IndexProblem::Store(url.to_owned()))?;
    let objects = store.objects.list(Some(&Path::from(prefix)));
    let keys = objects.map_ok(|object| object.location).try_collect().await;
    keys.map_err(|source| IndexProblem::Object { key: prefix.to_owned(), source })
}

async fn delete(app: &AppState, url: &str, keys: Vec<Path>) -> Result<(), IndexProblem> {
    let store = app.stores.get(url).ok_or_else(|| IndexProblem::Store(url.to_owned()))?;
    let count = keys.len();
    let mut deleted =
        store.objects.delete_stream(futures::stream::iter(keys.into_iter().map(Ok)).boxed());
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => {
                let key = "unreferenced objects".to_owned();
                return Err(IndexProblem::Object { key, source });
            }
        }
    }
    if count > 0 {
        tracing::info!(objects = count, "objects deleted");
    }
    Ok(())
}

/// Deletes videos whose source was never uploaded.
///
/// # Errors
/// The database failed.
pub async fn stale_uploads(app: &AppState) -> Result<(), IndexProblem> {
    let seconds = app.policy.uploads.lasting.expiry;
    let stale = uploads::stale_uploads(&*app.db.get().await?, seconds, STALE_UPLOADS_MAX).await?;
    for video in stale {
        bury(app, video).await?;
        tracing::info!(video.id = %video, "stale upload deleted");
    }
    Ok(())
}

/// Deletes a video: its row becomes a tombstone at once, and its objects are queued for deletion. False if
/// it was deleted already.
///
/// # Errors
/// The database failed.
pub async fn bury(app: &AppState, video: VideoId) -> Result<bool, IndexProblem> {
    let grace = app.policy.grace_seconds;
    let buried = app.db.transact(1, async |tx| completion::delete_video(tx, video, grace).await);
    Ok(buried.await?)
}
