//! The fake control plane's lists, workers and figures: it records the requests for lists.

use std::sync::{Arc, Mutex};

use api::{
    code::Problem,
    v1::{
        self, WorkerState, system_service_server::SystemService,
        worker_service_server::WorkerService,
    },
};
use tonic::{Request, Response, Status, Streaming};

use crate::fake_control::{FakeControl, Streamed};

/// The latest requests for lists, and whether the caller counts as the operator's.
#[derive(Clone, Default)]
pub(crate) struct Operations {
    pub(crate) videos: Arc<Mutex<Option<v1::ListVideosRequest>>>,
    pub(crate) jobs: Arc<Mutex<Option<v1::ListJobsRequest>>>,
    pub(crate) operator: Arc<Mutex<bool>>,
}

fn worker(name: &str, state: WorkerState, version: &str) -> v1::Worker {
    v1::Worker {
        worker_id: FakeControl::ID.to_owned(),
        name: name.to_owned(),
        slots: 4,
        leases: 3,
        seen_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        version: version.to_owned(),
        state: state.into(),
        ..v1::Worker::default()
    }
}

#[tonic::async_trait]
impl WorkerService for FakeControl {
    type WorkStream = Streamed<v1::ControlMessage>;

    async fn work(
        &self,
        _request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn list_workers(
        &self,
        _request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let workers = vec![
            worker("new", WorkerState::Connected, "1.2.3"),
            worker("old", WorkerState::Draining, ""),
            worker("killed", WorkerState::Lost, "1.2.3"),
            worker("replaced", WorkerState::Gone, "1.2.3"),
        ];
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        match request.into_inner().worker_id.as_str() {
            Self::ID => Ok(Response::new(v1::DrainWorkerResponse {})),
            _ => Err(Problem::not_found("worker").into()),
        }
    }
}

#[tonic::async_trait]
impl SystemService for FakeControl {
    async fn get_system(
        &self,
        _request: Request<v1::GetSystemRequest>,
    ) -> Result<Response<v1::System>, Status> {
        let operator = *self.operations.operator.lock().unwrap();
        let playable_seconds = operator.then_some(v1::PlayableSeconds { p50: 2.5, p95: 4.0 });
        let queue_depth = operator.then_some(7);
        Ok(Response::new(v1::System {
            dependencies: Vec::new(),
            queue_depth,
            playable_seconds,
            operator,
        }))
    }
}
