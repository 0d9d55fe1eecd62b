//! Finds a tenant's videos and jobs for handlers.

use api::{code::Problem, v1};
use media::{JobId, VideoId};

use super::convert;
use crate::{
    db::{
        CALL_TRIES_MAX, jobs, tasks,
        videos::{self, Video},
    },
    state::AppState,
};

/// Reads a tenant's video.
///
/// # Errors
/// [`Code::NotFound`] if the video does not exist or belongs to another tenant.
pub(super) async fn video(app: &AppState, tenant: &str, id: VideoId) -> Result<Video, Problem> {
    let row = app.db.run(CALL_TRIES_MAX, async |db| videos::get(db, tenant, id).await).await?;
    row.ok_or_else(|| Problem::not_found("video"))
}

/// A tenant's job with its tasks.
///
/// # Errors
/// [`Code::NotFound`] if the job does not exist or belongs to another tenant.
pub(super) async fn job(app: &AppState, tenant: &str, id: JobId) -> Result<v1::Job, Problem> {
    let found = app.db.run(CALL_TRIES_MAX, async |db| {
        let Some(row) = jobs::get(db, tenant, id).await? else { return Ok(None) };
        Ok(Some((row, tasks::of_job(db, id).await?)))
    });
    let (row, tasks) = found.await?.ok_or_else(|| Problem::not_found("job"))?;
    Ok(convert::job(row, tasks))
}
