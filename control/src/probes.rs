//! Probes of stored sources: repeated on request, given up after a day.

use api::code::{Code, Problem};
use media::{JobId, VideoId};
use uuid::Uuid;

use crate::{
    db::{
        CALL_TRIES_MAX, DbError, ending, probes,
        probes::{Again, Overdue},
        retrying,
    },
    deps::Deps,
    index::IndexProblem,
    verdict,
};

/// Maximum number of probes that one round gives up.
const ROUND_MAX: i64 = 100;

/// Probes a video's source again, at once.
///
/// # Errors
/// [`Code::Conflict`] if the video's state does not allow it, [`Code::NotFound`] if the video is unknown,
/// [`Code::Unavailable`] if the database is unavailable.
pub async fn again(deps: &Deps, tenant: &str, video: VideoId) -> Result<(), Problem> {
    let job = JobId::new(Uuid::now_v7());
    let again = retrying(CALL_TRIES_MAX, || async {
        let mut connection = deps.db.get().await?;
        let tx = connection.transaction().await?;
        let again = probes::again(&tx, tenant, video, job).await?;
        tx.commit().await?;
        Ok(again)
    });
    match again.await? {
        Again::Queued => {}
        Again::Refused(why) => return Err(Problem::new(Code::Conflict, why)),
        Again::Gone => return Err(Problem::not_found("video")),
    }
    deps.bus.wake(1);
    deps.video_changed_for(video).await;
    Ok(())
}

/// Gives up probes that have been retried for too long without a worker that can probe.
///
/// # Errors
/// The database failed; the next round handles the remaining probes.
pub async fn give_up(deps: &Deps) -> Result<(), IndexProblem> {
    let overdue = probes::overdue(&*deps.db.get().await?, ROUND_MAX).await?;
    for Overdue { job, video, failure } in overdue {
        let mut connection = deps.db.get().await?;
        let tx = connection.transaction().await.map_err(DbError::from)?;
        ending::lock_video(&tx, video).await?;
        let end = ending::End::Failed(verdict::given_up(&failure));
        ending::end_job(&tx, job, &end, deps.policy.grace_seconds).await?;
        tx.commit().await.map_err(DbError::from)?;
        tracing::warn!(video.id = %video, code = failure.code, "failed to probe a source within a day, giving up");
        deps.video_changed(video);
    }
    Ok(())
}
