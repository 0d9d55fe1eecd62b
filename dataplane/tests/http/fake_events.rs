//! The fake control plane's streams of a tenant's changes, and how far its video is.

use std::sync::{Arc, Mutex};

use api::{
    code::Problem,
    v1::{self, event_service_server::EventService},
};
use futures::StreamExt;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use crate::fake_control::{FakeControl, Streamed};

/// How far the video is; `None` if there is none.
#[derive(Clone, Default)]
pub(crate) struct Progresses {
    pub(crate) current: Arc<Mutex<Option<v1::GetProgressResponse>>>,
    calls: Arc<Mutex<usize>>,
}

impl Progresses {
    /// How many times it was requested.
    pub(crate) fn calls(&self) -> usize {
        *self.calls.lock().unwrap()
    }

    pub(crate) fn reply(&self) -> Result<Response<v1::GetProgressResponse>, Status> {
        *self.calls.lock().unwrap() += 1;
        let current = self.current.lock().unwrap().clone();
        current.map(Response::new).ok_or_else(|| Problem::not_found("video").into())
    }
}

/// The streams of changes.
#[derive(Clone)]
pub(crate) struct TenantEvents {
    pub(crate) sender: broadcast::Sender<v1::Event>,
    /// `last_event_id` of each call.
    pub(crate) continued: Arc<Mutex<Vec<String>>>,
}

impl TenantEvents {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(16).0, continued: Arc::default() }
    }
}

#[tonic::async_trait]
impl EventService for FakeControl {
    type WatchEventsStream = Streamed<v1::Event>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let events = BroadcastStream::new(self.tenant_events.sender.subscribe());
        let last = request.into_inner().last_event_id;
        self.tenant_events.continued.lock().unwrap().push(last);
        Ok(Response::new(events.filter_map(async |event| event.ok().map(Ok)).boxed()))
    }
}
