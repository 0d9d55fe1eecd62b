//! Fails probes that have been retried for a day.

use super::BackgroundError;
use crate::{
    db::{
        completion::{self, JobOutcome},
        probes::{self, ExpiredProbe},
    },
    plan::retry,
    state::AppState,
};

/// Maximum number of probes that one round fails.
const ROUND_MAX: i64 = 100;

/// Fails probes that have been retried for too long without a worker that can probe.
///
/// # Errors
/// The database failed; the next round handles the remaining probes.
pub async fn give_up(app: &AppState) -> Result<(), BackgroundError> {
    let expired = probes::expired(&*app.db.get().await?, ROUND_MAX).await?;
    for ExpiredProbe { job, video, failure } in expired {
        let (end, grace) =
            (JobOutcome::Failed(retry::given_up(&failure)), app.policy.grace_seconds);
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
