//! Has rungs encoded in software whose hardware encoder no worker has.

use super::BackgroundError;
use crate::{
    cluster::events::Event,
    db::{
        WORK_TRIES_MAX, completion,
        hardware::{self, ABSENT_SECONDS},
    },
    state::AppState,
};

/// Restarts such rungs of all jobs.
///
/// # Errors
/// The database failed; the next round tries it again.
pub async fn round(app: &AppState) -> Result<(), BackgroundError> {
    let waiting = hardware::waiting(&*app.db.get().await?, ABSENT_SECONDS).await?;
    for found in waiting {
        let restarted = app.db.transact(WORK_TRIES_MAX, async |tx| {
            if !completion::lock_video(tx, found.video).await? {
                return Ok(0);
            }
            hardware::restart_in_software(tx, found, ABSENT_SECONDS).await
        });
        let tasks = restarted.await?;
        if tasks > 0 {
            let encoder = found.hardware.text();
            tracing::warn!(
                job.id = %found.job, encoder, tasks,
                "no worker has the hardware encoder, encoding in software"
            );
            app.bus.notify_tasks_ready(tasks);
            app.bus.publish(Event::Job(found.job));
            app.video_changed(found.video);
        }
    }
    Ok(())
}
