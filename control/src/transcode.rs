//! Creates transcode jobs: on request, and by itself for videos whose upload asked for one.

use media::{JobId, VideoId, source::Source};
use uuid::Uuid;

use crate::{
    cluster::events::Event,
    db::{CALL_TRIES_MAX, DbError, Transaction, completion, jobs, tasks, videos},
    plan::{self, Plan, TranscodeOptions},
    state::AppState,
};

/// Queues a job. The caller holds the lock of the video's row and has checked that no other job of
/// the video is unfinished.
///
/// # Errors
/// A statement fails.
pub async fn create(
    tx: &Transaction<'_>,
    tenant: &str,
    video: VideoId,
    job: JobId,
    plan: &Plan,
) -> Result<(), DbError> {
    jobs::create(tx, tenant, video, job, plan).await?;
    tasks::create(tx, tenant, video, job, &plan.tasks()).await?;
    videos::processing(tx, video).await
}

/// Creates the job `id` of a probed video if its upload asked for one: all profiles that fit, HLS,
/// DASH and the images, without the preview. The caller holds the lock of the video's row. Returns
/// whether the job was created; the request is fulfilled in any case.
///
/// # Errors
/// A statement fails.
pub async fn create_requested(
    app: &AppState,
    tx: &Transaction<'_>,
    video: VideoId,
    id: JobId,
    source: &Source,
) -> Result<bool, DbError> {
    let Some(tenant) = videos::take_transcode_request(tx, video).await? else { return Ok(false) };
    let options = TranscodeOptions {
        profiles: Vec::new(),
        hls: true,
        dash: true,
        thumbnails: Some(app.policy.thumbnails),
        preview: false,
    };
    match plan::plan(source, &app.profiles, &options) {
        Ok(plan) => create(tx, &tenant, video, id, &plan).await.map(|()| true),
        // The video stays as it is; a request for a job gets the reason as its reply.
        Err(error) => {
            tracing::warn!(video.id = %video, %error, "failed to plan the job of an upload");
            Ok(false)
        }
    }
}

/// Notifies workers and listeners of a job that [`create_requested`] has created.
pub fn announce(app: &AppState, video: VideoId, job: JobId) {
    tracing::info!(job.id = %job, video.id = %video, "job of an upload queued");
    app.bus.notify_tasks_ready(usize::MAX);
    app.bus.publish(Event::Job(job));
    app.video_changed(video);
}

/// Creates the requested jobs of videos whose probe was recorded by an earlier release.
///
/// # Errors
/// The database failed; the next round creates the remaining jobs.
pub async fn create_awaited(app: &AppState, limit: i64) -> Result<(), DbError> {
    let db = app.db.get().await?;
    let awaited = videos::awaiting_transcode(&*db, limit).await?;
    drop(db);
    for video in awaited {
        let row = videos::find(&*app.db.get().await?, video).await?;
        let Some(source) = row.and_then(|row| row.source) else { continue };
        let job = JobId::new(Uuid::now_v7());
        let created = app.db.transact(CALL_TRIES_MAX, async |tx| {
            Ok(completion::lock_video(tx, video).await?
                && create_requested(app, tx, video, job, &source).await?)
        });
        if created.await? {
            announce(app, video, job);
        }
    }
    Ok(())
}
