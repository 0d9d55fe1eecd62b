//! A control plane that only takes uploads, and remembers what it was told.

use std::sync::{Arc, Mutex};

use api::v1::{
    self,
    upload_service_server::{UploadService, UploadServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What happened, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Begun,
    Completed(v1::CompleteUploadRequest),
    Aborted,
}

#[derive(Clone)]
pub(crate) struct FakeControl {
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    store: String,
    pub(crate) url: String,
}

impl FakeControl {
    pub(crate) const KEY: &'static str = "videos/x/source";
    pub(crate) const VIDEO: &'static str = "01936b2e-7c1a-7d33-8b0e-000000000001";

    pub(crate) async fn start(folder: &tempfile::TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = format!("file://{}", folder.path().display());
        let fake = Self { events: Arc::default(), store, url };
        let server = tonic::transport::Server::builder()
            .add_service(UploadServiceServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        fake
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

#[tonic::async_trait]
impl UploadService for FakeControl {
    async fn begin_upload(
        &self,
        request: Request<v1::BeginUploadRequest>,
    ) -> Result<Response<v1::BeginUploadResponse>, Status> {
        let authorization = request.metadata().get("authorization");
        if authorization.is_none_or(|value| value != "Bearer good") {
            return Err(Status::unauthenticated("who?"));
        }
        self.tell(Event::Begun);
        Ok(Response::new(v1::BeginUploadResponse {
            video_id: Self::VIDEO.to_owned(),
            store: self.store.clone(),
            key: Self::KEY.to_owned(),
        }))
    }

    async fn complete_upload(
        &self,
        request: Request<v1::CompleteUploadRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let request = request.into_inner();
        self.tell(Event::Completed(request.clone()));
        let probing = request.title == "slow";
        let state = if probing { v1::VideoState::Probing } else { v1::VideoState::Uploaded };
        let metadata = v1::VideoMetadata {
            duration_seconds: 2.5,
            format: "mov".to_owned(),
            width: 640,
            height: 360,
            bitrate: 1000,
            fps: 25.0,
            codec: "h264".to_owned(),
        };
        Ok(Response::new(v1::Video {
            video_id: request.video_id,
            state: state.into(),
            metadata: (!probing).then_some(metadata),
            ..v1::Video::default()
        }))
    }

    async fn abort_upload(
        &self,
        _request: Request<v1::AbortUploadRequest>,
    ) -> Result<Response<v1::AbortUploadResponse>, Status> {
        // As the real one: whatever was stored is forgotten.
        let root = self.store.trim_start_matches("file://");
        let _missing = std::fs::remove_file(format!("{root}/{}", Self::KEY));
        self.tell(Event::Aborted);
        Ok(Response::new(v1::AbortUploadResponse {}))
    }
}
