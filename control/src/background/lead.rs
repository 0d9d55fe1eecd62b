//! Has the lower rungs of growing videos encoded ahead where the whole ladder is too slow for
//! playback.

use super::BackgroundError;
use crate::{
    cluster::events::Event,
    db::{WORK_TRIES_MAX, lead},
    state::AppState,
};

/// Measures how fast each growing video is encoded, and creates tasks for its lower rungs
/// where that is slower than playback.
///
/// # Errors
/// The database failed; the next round measures again.
pub async fn round(app: &AppState) -> Result<(), BackgroundError> {
    let running = lead::running(&*app.db.get().await?, app.lease_seconds()).await?;
    for (id, running) in running {
        let Some(job) = lead::growing_job(&*app.db.get().await?, id).await? else { continue };
        let Some(speed) = job.plan.ladder_speed(&running) else { continue };
        let chunks = job.plan.lead_chunks(speed, job.position);
        if chunks.is_empty() {
            continue;
        }
        let created =
            app.db.transact(WORK_TRIES_MAX, async |tx| lead::encode_ahead(tx, &job, &chunks).await);
        let created = created.await?;
        if created > 0 {
            tracing::info!(job.id = %id, speed, tasks = created, "encoding lower rungs ahead");
            app.bus.notify_tasks_ready(created);
            app.bus.publish(Event::Job(id));
        }
    }
    Ok(())
}
