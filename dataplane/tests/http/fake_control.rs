//! A fake control plane that accepts uploads, serves one index, sends change events, and shows one
//! job. It records the requests that it receives.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
};

use api::v1::{
    self, JobState,
    auth_service_server::AuthServiceServer,
    event_service_server::EventServiceServer,
    job_service_server::{JobService, JobServiceServer},
    playback_service_server::{PlaybackService, PlaybackServiceServer},
    system_service_server::SystemServiceServer,
    upload_service_server::UploadServiceServer,
    video_service_server::VideoServiceServer,
    worker_service_server::WorkerServiceServer,
};
use futures::{Stream, StreamExt, stream};
use media::{VideoId, index::Index};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream};
use tonic::{Request, Response, Status};

use crate::{
    fake_events::{Progresses, TenantEvents},
    fake_operations::Operations,
    fake_uploads::Uploads,
    fake_user_services::UserServices,
};

/// Events of uploads, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Begun,
    Completed(Box<v1::CompleteUploadRequest>),
    Aborted,
}

#[derive(Clone)]
pub(crate) struct FakeControl {
    pub(crate) uploads: Uploads,
    pub(crate) user_services: UserServices,
    pub(crate) operations: Operations,
    pub(crate) index: Arc<Mutex<Option<Index>>>,
    /// The ids of the videos whose index was requested.
    index_calls: Arc<Mutex<Vec<String>>>,
    pub(crate) created: Arc<Mutex<Option<v1::CreateJobRequest>>>,
    pub(crate) progress: Progresses,
    pub(crate) tenant_events: TenantEvents,
    changes: broadcast::Sender<v1::Change>,
    store: String,
    pub(crate) url: String,
}

pub(crate) type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl FakeControl {
    pub(crate) const KEY: &'static str = "videos/x/source";
    pub(crate) const ID: &'static str = "01936b2e-7c1a-7d33-8b0e-000000000001";

    pub(crate) async fn start(folder: &tempfile::TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            uploads: Uploads::default(),
            user_services: UserServices::new(),
            operations: Operations::default(),
            index: Arc::default(),
            index_calls: Arc::default(),
            created: Arc::default(),
            progress: Progresses::default(),
            tenant_events: TenantEvents::new(),
            changes: broadcast::channel(16).0,
            store: format!("file://{}", folder.path().display()),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let server = tonic::transport::Server::builder()
            .add_service(UploadServiceServer::new(fake.clone()))
            .add_service(PlaybackServiceServer::new(fake.clone()))
            .add_service(JobServiceServer::new(fake.clone()))
            .add_service(EventServiceServer::new(fake.clone()))
            .add_service(AuthServiceServer::new(fake.clone()))
            .add_service(VideoServiceServer::new(fake.clone()))
            .add_service(WorkerServiceServer::new(fake.clone()))
            .add_service(SystemServiceServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        fake
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.uploads.events.lock().unwrap().clone()
    }

    /// How many times the index of this video was requested.
    pub(crate) fn index_calls(&self, video: VideoId) -> usize {
        let (calls, video) = (self.index_calls.lock().unwrap(), video.to_string());
        calls.iter().filter(|other| **other == video).count()
    }

    /// Serves this index from now on, and sends a change event.
    pub(crate) fn publish(&self, index: Option<Index>) {
        let video = self.index.lock().unwrap().as_ref().map(|index| index.video);
        let video = index.as_ref().map(|index| index.video).or(video);
        *self.index.lock().unwrap() = index;
        let video_id = video.map(|video| video.to_string()).unwrap_or_default();
        let _no_receiver = self.changes.send(v1::Change { video_id, ..v1::Change::default() });
    }

    /// The folder of the store.
    pub(crate) fn root(&self) -> PathBuf {
        self.store.trim_start_matches("file://").into()
    }
}

#[tonic::async_trait]
impl PlaybackService for FakeControl {
    async fn get_index(
        &self,
        request: Request<v1::GetIndexRequest>,
    ) -> Result<Response<v1::GetIndexResponse>, Status> {
        let video = request.into_inner().video_id;
        self.index_calls.lock().unwrap().push(video.clone());
        // Long enough for other requests to arrive in the meantime.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        match &*self.index.lock().unwrap() {
            Some(index) if index.video.to_string() == video => {
                Ok(Response::new(v1::GetIndexResponse { index: index.encode().into() }))
            }
            _ => Err(Status::not_found("the video does not exist or cannot be played yet")),
        }
    }

    async fn get_progress(
        &self,
        _request: Request<v1::GetProgressRequest>,
    ) -> Result<Response<v1::GetProgressResponse>, Status> {
        self.progress.reply()
    }

    async fn describe_video(
        &self,
        request: Request<v1::DescribeVideoRequest>,
    ) -> Result<Response<v1::DescribeVideoResponse>, Status> {
        let video = self.user_services.video.lock().unwrap().clone();
        if video.video_id != request.into_inner().video_id {
            return Err(api::code::Problem::not_found("video").into());
        }
        let tenant = "default".to_owned();
        Ok(Response::new(v1::DescribeVideoResponse { video: Some(video), tenant }))
    }

    type WatchChangesStream = Streamed<v1::Change>;

    async fn watch_changes(
        &self,
        _request: Request<v1::WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        let changes = BroadcastStream::new(self.changes.subscribe());
        let changes = changes.filter_map(async |change| change.ok().map(Ok));
        let first = stream::iter([Ok(v1::Change::default())]);
        Ok(Response::new(first.chain(changes).boxed()))
    }

    async fn get_keys(
        &self,
        _request: Request<v1::GetKeysRequest>,
    ) -> Result<Response<v1::GetKeysResponse>, Status> {
        if !self.user_services.introduced.load(Ordering::SeqCst) {
            return Ok(Response::new(v1::GetKeysResponse::default()));
        }
        let public = self.user_services.keys.public();
        let key = |(id, key): &(u32, [u8; 32])| v1::PublicKey { id: *id, key: key.to_vec().into() };
        let keys = public.0.iter().map(key).collect();
        Ok(Response::new(v1::GetKeysResponse { keys, revoked: Vec::new() }))
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let name = "postgres".to_owned();
        let postgres = v1::Dependency { name, ok: true, detail: String::new() };
        Ok(Response::new(v1::GetStatusResponse { dependencies: vec![postgres] }))
    }

    async fn get_metrics(
        &self,
        _request: Request<v1::GetMetricsRequest>,
    ) -> Result<Response<v1::GetMetricsResponse>, Status> {
        let text = "# TYPE from_control gauge\nfrom_control 7\n".to_owned();
        Ok(Response::new(v1::GetMetricsResponse { text }))
    }
}

fn job(state: JobState, progress: f64) -> v1::Job {
    let job_id = FakeControl::ID.to_owned();
    v1::Job { job_id, state: state.into(), progress, ..v1::Job::default() }
}

#[tonic::async_trait]
impl JobService for FakeControl {
    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        *self.created.lock().unwrap() = Some(request.into_inner());
        Ok(Response::new(job(JobState::Queued, 0.0)))
    }

    async fn get_job(
        &self,
        _request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        Ok(Response::new(job(JobState::Running, 50.0)))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        *self.operations.jobs.lock().unwrap() = Some(request.into_inner());
        let (jobs, next_page_token) = (vec![job(JobState::Running, 50.0)], String::new());
        Ok(Response::new(v1::ListJobsResponse { jobs, next_page_token }))
    }

    async fn cancel_job(
        &self,
        _request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        Ok(Response::new(job(JobState::Cancelled, 50.0)))
    }

    async fn retry_job(
        &self,
        _request: Request<v1::RetryJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        let problem = api::code::Problem::new(api::code::Code::Conflict, "it still runs");
        Err(problem.into())
    }

    async fn list_profiles(
        &self,
        _request: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        let profile = v1::Profile { name: "360p".to_owned(), width: 640, ..Default::default() };
        Ok(Response::new(v1::ListProfilesResponse { profiles: vec![profile] }))
    }

    type WatchJobStream = Streamed<v1::Job>;

    async fn watch_job(
        &self,
        _request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let states =
            [(JobState::Running, 10.0), (JobState::Running, 60.0), (JobState::Completed, 100.0)];
        let jobs = states.map(|(state, progress)| Ok(job(state, progress)));
        Ok(Response::new(stream::iter(jobs).boxed()))
    }
}
