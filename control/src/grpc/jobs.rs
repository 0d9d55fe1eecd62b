//! Implements `JobService`: creates, lists, watches, cancels and retries jobs.

use api::{
    code::{Code, Problem},
    v1::{self, job_service_server::JobService},
    wire,
};
use authz::Principal;
use media::{JobId, VideoId};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Services, Stream,
    authorize::Rpc,
    convert, lists,
    lookup::{self, video},
    revocable_stream::revocable,
    watch,
};
use crate::{
    cluster::events::Event,
    db::{
        CALL_TRIES_MAX,
        completion::{self, JobOutcome},
        jobs::{self, Job},
        tasks,
        videos::{self, Video},
    },
    domain::{JobState, VideoState},
    metrics::EndedJob,
    plan::{self, Plan, TranscodeOptions},
    state::AppState,
    transcode,
};

/// Maximum number of profiles that a request may name.
const PROFILES_MAX: usize = 32;

#[tonic::async_trait]
impl JobService for Services {
    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::CreateJob, &request, id.clone().ok())?;
        let options = options(request.into_inner(), self.0.policy.thumbnails)?;
        let row = video(&self.0, &principal.tenant, id?).await?;
        let source = match (&row.source, row.state) {
            (Some(source), _) => source,
            (None, VideoState::Failed) => {
                return Err(Problem::new(Code::Conflict, "the source could not be read").into());
            }
            (None, _) => {
                return Err(
                    Problem::new(Code::Conflict, "the video has not been probed yet").into()
                );
            }
        };
        let plan = plan::plan(source, &self.0.profiles, &options).map_err(Problem::from)?;
        let job = queue(&self.0, &row, &plan).await?;
        tracing::info!(job.id = %job, video.id = %row.id, subject = principal.subject, "job queued");
        Ok(Response::new(lookup::job(&self.0, &principal.tenant, job).await?))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        let id = request.get_ref().job_id.clone();
        let (principal, id) = authorize(&self.0, Rpc::GetJob, &request, &id).await?;
        Ok(Response::new(lookup::job(&self.0, &principal.tenant, id).await?))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let video_id = match request.get_ref().video_id.as_str() {
            "" => None,
            id => Some(wire::id::<media::ids::Video>("video_id", id)),
        };
        let valid_id = video_id.clone().and_then(Result::ok);
        let principal = self.0.authorize(Rpc::ListJobs, &request, valid_id)?;
        let video_id = video_id.transpose()?;
        let message = request.into_inner();
        Ok(Response::new(lists::jobs(&self.0, &principal.tenant, video_id, &message).await?))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        let id = request.get_ref().job_id.clone();
        let (principal, id) = authorize(&self.0, Rpc::CancelJob, &request, &id).await?;
        let row = job(&self.0, &principal.tenant, id).await?;
        cancel(&self.0, &row).await?;
        Ok(Response::new(lookup::job(&self.0, &principal.tenant, id).await?))
    }

    async fn retry_job(
        &self,
        request: Request<v1::RetryJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        let id = request.get_ref().job_id.clone();
        let (principal, id) = authorize(&self.0, Rpc::RetryJob, &request, &id).await?;
        let row = job(&self.0, &principal.tenant, id).await?;
        reopen(&self.0, &row).await?;
        Ok(Response::new(lookup::job(&self.0, &principal.tenant, id).await?))
    }

    async fn list_profiles(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        self.0.authorize(Rpc::ListProfiles, &request, None)?;
        let profiles = self.0.profiles.iter().map(convert::profile).collect();
        Ok(Response::new(v1::ListProfilesResponse { profiles }))
    }

    type WatchJobStream = Stream<v1::Job>;

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let id = request.get_ref().job_id.clone();
        let (principal, id) = authorize(&self.0, Rpc::WatchJob, &request, &id).await?;
        // Subscribe before the first read, so that no event in between is lost.
        let events = self.0.bus.subscribe();
        let first = lookup::job(&self.0, &principal.tenant, id).await?;
        let watched = watch::job(self.0.clone(), principal.tenant.clone(), id, first, events);
        Ok(Response::new(revocable(self.0.clone(), principal, watched)))
    }
}

/// Authorizes a call for a job. The token may be restricted to the job's video.
async fn authorize<T>(
    app: &AppState,
    rpc: Rpc,
    request: &Request<T>,
    job_id: &str,
) -> Result<(Principal, JobId), Problem> {
    app.verify_token(request)?;
    let id = wire::id::<media::ids::Job>("job_id", job_id);
    let video_id = match &id {
        Ok(id) => app.db.run(CALL_TRIES_MAX, async |db| jobs::video_of(db, *id).await).await?,
        Err(_) => None,
    };
    let principal = app.authorize(rpc, request, video_id)?;
    Ok((principal, id?))
}

fn options(message: v1::CreateJobRequest, thumbnails: u32) -> Result<TranscodeOptions, Problem> {
    if message.profiles.len() > PROFILES_MAX {
        return Err(Problem::field(
            "profiles",
            format!("must name at most {PROFILES_MAX} profiles"),
        ));
    }
    Ok(TranscodeOptions {
        profiles: message.profiles,
        hls: message.generate_hls.unwrap_or(true),
        dash: message.generate_dash.unwrap_or(true),
        thumbnails: message.generate_thumbnails.unwrap_or(false).then_some(thumbnails),
        preview: message.generate_preview.unwrap_or(false),
    })
}

async fn job(app: &AppState, tenant: &str, id: JobId) -> Result<Job, Problem> {
    let row = app.db.run(CALL_TRIES_MAX, async |db| jobs::get(db, tenant, id).await).await?;
    row.ok_or_else(|| Problem::not_found("job"))
}

/// Why a job cannot be queued.
enum QueueError {
    /// Another job of the video is unfinished.
    ActiveJob(JobId),
    /// The video was deleted in the meantime.
    VideoDeleted,
    /// The job is neither failed nor cancelled.
    NotEnded,
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::ActiveJob(id) => {
                Self::new(Code::Conflict, format!("job {id} of this video is not finished"))
            }
            QueueError::VideoDeleted => Self::not_found("video"),
            QueueError::NotEnded => {
                Self::new(Code::Conflict, "only failed and cancelled jobs can be retried")
            }
        }
    }
}

async fn queue(app: &AppState, row: &Video, plan: &Plan) -> Result<JobId, Problem> {
    let id = JobId::new(Uuid::now_v7());
    let queued = app.db.try_transact(CALL_TRIES_MAX, async |tx| {
        if !videos::touch(tx, row.id).await? {
            return Ok(Err(QueueError::VideoDeleted));
        }
        if let Some(active) = jobs::active_of(tx, row.id).await? {
            return Ok(Err(QueueError::ActiveJob(active)));
        }
        transcode::create(tx, &row.tenant, row.id, id, plan).await?;
        Ok(Ok(()))
    });
    accept_repeated(id, queued.await?)?;
    announce(app, row.id, id, plan.tasks().len()).await;
    Ok(id)
}

/// Accepts an active job with this request's own id: an earlier try committed it, but its reply was
/// lost.
fn accept_repeated(job: JobId, queued: Result<(), QueueError>) -> Result<(), QueueError> {
    match queued {
        Err(QueueError::ActiveJob(active)) if active == job => Ok(()),
        queued => queued,
    }
}

async fn announce(app: &AppState, video: VideoId, job: JobId, tasks: usize) {
    app.bus.notify_tasks_ready(tasks);
    app.bus.publish(Event::Job(job));
    app.video_changed_for(video).await;
}

/// Cancels a job; a job that has ended stays as it is.
async fn cancel(app: &AppState, row: &Job) -> Result<(), Problem> {
    let grace = app.policy.grace_seconds;
    let ended = app.db.transact(CALL_TRIES_MAX, async |tx| {
        completion::lock_video(tx, row.video).await?;
        completion::end_job(tx, row.id, &JobOutcome::Cancelled, grace).await
    });
    if ended.await? {
        app.metrics.ended(EndedJob::Cancelled);
    }
    app.bus.publish(Event::Stopped(row.id));
    app.bus.publish(Event::Job(row.id));
    app.video_changed_for(row.video).await;
    Ok(())
}

async fn reopen(app: &AppState, row: &Job) -> Result<(), Problem> {
    if !matches!(row.state, JobState::Failed | JobState::Cancelled) {
        return Err(QueueError::NotEnded.into());
    }
    let reopened = app.db.try_transact(CALL_TRIES_MAX, async |tx| {
        if !videos::touch(tx, row.video).await? {
            return Ok(Err(QueueError::VideoDeleted));
        }
        if let Some(active) = jobs::active_of(tx, row.video).await? {
            return Ok(Err(QueueError::ActiveJob(active)));
        }
        if !jobs::reopen(tx, row.id).await? {
            return Ok(Err(QueueError::NotEnded));
        }
        tasks::requeue_unfinished(tx, row.id).await?;
        videos::processing(tx, row.video).await?;
        Ok(Ok(()))
    });
    accept_repeated(row.id, reopened.await?)?;
    announce(app, row.video, row.id, usize::MAX).await;
    Ok(())
}
