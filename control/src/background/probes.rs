//! Probes of stored sources: repeated on request, given up after a day.

use api::code::{Code, Problem};
use media::{JobId, VideoId};
use uuid::Uuid;

use crate::{
    db::{
        CALL_TRIES_MAX,
        completion::{self, End},
        probes::{self, Again, Overdue},
    },
    plan::retry,
    publish::index::IndexProblem,
    state::AppState,
};

/// Maximum number of probes that one round gives up.
const ROUND_MAX: i64 = 100;

/// Probes a video's source again, at once.
///
/// # Errors
/// [`Code::Conflict`] if the video's state does not allow it, [`Code::NotFound`] if the video is unknown,
/// [`Code::Unavailable`] if the database is unavailable.
pub async fn again(app: &AppState, tenant: &str, video: VideoId) -> Result<(), Problem> {
    let job = JobId::new(Uuid::now_v7());
    let again =
        app.db.transact(CALL_TRIES_MAX, async |tx| probes::again(tx, tenant, video, job).await);
    match again.await? {
        Again::Queued => {}
        Again::Refused(why) => return Err(Problem::new(Code::Conflict, why)),
        Again::Gone => return Err(Problem::not_found("video")),
    }
    app.bus.wake(1);
    app.video_changed_for(video).await;
    Ok(())
}

/// Gives up probes that have been retried for too long without a worker that can probe.
///
/// # Errors
/// The database failed; the next round handles the remaining probes.
pub async fn give_up(app: &AppState) -> Result<(), IndexProblem> {
    let overdue = probes::overdue(&*app.db.get().await?, ROUND_MAX).await?;
    for Overdue { job, video, failure } in overdue {
        let (end, grace) = (End::Failed(retry::given_up(&failure)), app.policy.grace_seconds);
        let given_up = app.db.transact(1, async |tx| {
            completion::lock_video(tx, video).await?;
            completion::end_job(tx, job, &end, grace).await
        });
        given_up.await?;
        tracing::warn!(video.id = %video, code = failure.code, "failed to probe a source within a day, giving up");
        app.video_changed(video);
    }
    Ok(())
}
