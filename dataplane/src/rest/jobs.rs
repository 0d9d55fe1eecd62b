//! `/api/videos/{id}/transcode` and `/api/jobs`.

use api::{
    code::Problem,
    v1::{self, job_service_client::JobServiceClient},
};
use http::{HeaderMap, StatusCode};
use media::{JobId, VideoId};
use serde_json::json;

use super::{
    Caller,
    fields::{self, Fields, Page},
    json as shape,
};
use crate::{
    http::reply::{self, Reply},
    rest::Rest,
};

/// SendQueues a transcode.
pub(crate) async fn create(
    rest: &Rest,
    caller: &Caller,
    video: VideoId,
    mut fields: Fields,
) -> Result<Reply, Problem> {
    let message = v1::CreateJobRequest {
        video_id: video.to_string(),
        profiles: fields.texts("profiles")?,
        generate_hls: fields.boolean("generateHLS")?,
        generate_dash: fields.boolean("generateDASH")?,
        generate_thumbnails: fields.boolean("generateThumbnails")?,
        generate_preview: fields.boolean("generatePreview")?,
    };
    fields.finish()?;
    let job = rest
        .control
        .unary(caller, message, async |channel, request| {
            JobServiceClient::new(channel).create_job(request).await
        })
        .await?;
    Ok(accepted(&job))
}

/// Lists jobs, newest first.
pub(crate) async fn list(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Reply, Problem> {
    let page = Page::read(query)?;
    let video_id = match fields::parameter(query, "videoId") {
        Some(id) if id.is_empty() => return Err(Problem::field("videoId", "is not a UUID")),
        id => id.unwrap_or_default(),
    };
    let message = v1::ListJobsRequest {
        video_id,
        page_size: page.size,
        page_token: page.token,
        states: fields::states(query, shape::job_state)?,
    };
    let listed = rest
        .control
        .unary(caller, message, async |channel, request| {
            JobServiceClient::new(channel).list_jobs(request).await
        })
        .await?;
    let jobs: Vec<_> = listed.jobs.iter().map(shape::job).collect();
    let next = shape::non_empty(&listed.next_page_token);
    Ok(reply::json_document(headers, &json!({ "jobs": jobs, "nextPageToken": next })))
}

/// Gets one job.
pub(crate) async fn get(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    job: JobId,
) -> Result<Reply, Problem> {
    let found = rest
        .control
        .unary(caller, v1::GetJobRequest { job_id: job.to_string() }, async |channel, request| {
            JobServiceClient::new(channel).get_job(request).await
        })
        .await?;
    Ok(reply::json_document(headers, &shape::job(&found)))
}

/// Cancels a job.
pub(crate) async fn cancel(rest: &Rest, caller: &Caller, job: JobId) -> Result<Reply, Problem> {
    let cancelled = rest
        .control
        .unary(
            caller,
            v1::CancelJobRequest { job_id: job.to_string() },
            async |channel, request| JobServiceClient::new(channel).cancel_job(request).await,
        )
        .await?;
    Ok(accepted(&cancelled))
}

/// Requeues the failed tasks of a job.
pub(crate) async fn retry(rest: &Rest, caller: &Caller, job: JobId) -> Result<Reply, Problem> {
    let retried = rest
        .control
        .unary(caller, v1::RetryJobRequest { job_id: job.to_string() }, async |channel, request| {
            JobServiceClient::new(channel).retry_job(request).await
        })
        .await?;
    Ok(accepted(&retried))
}

fn accepted(job: &v1::Job) -> Reply {
    let mut reply = reply::json(StatusCode::ACCEPTED, &shape::job(job));
    reply::set(&mut reply, http::header::LOCATION, &format!("/api/jobs/{}", job.job_id));
    reply
}
