//! `WorkerService`.

use std::time::Duration;

use api::{
    WORKER_PROTOCOL,
    code::{Code, Problem},
    v1::{self, worker_message, worker_service_server::WorkerService},
    wire,
};
use media::WorkerId;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    Services, Stream,
    authorize::Rpc,
    db_status,
    revocable_stream::revocable,
    session::{self, SLOTS_MAX, WorkerInfo},
};
use crate::{
    cluster::events::Event,
    db::{CALL_TRIES_MAX, workers},
    domain::OPERATOR_TENANT,
};

/// A stream whose first message does not arrive within this time is closed.
const HELLO_MAX: Duration = Duration::from_secs(10);
const NAME_CHARS_MAX: usize = 128;
const VERSION_CHARS_MAX: usize = 64;
/// Maximum number of encoders that a worker may name.
const ENCODERS_MAX: usize = 256;
const LIST_MAX: i64 = 10_000;

#[tonic::async_trait]
impl WorkerService for Services {
    type WorkStream = Stream<v1::ControlMessage>;

    async fn work(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let principal = self.0.authorize(Rpc::Work, &request, None)?;
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(HELLO_MAX, inbound.message());
        let first = first
            .await
            .map_err(|_| Problem::new(Code::Timeout, "no hello was received in time"))??;
        let (mut introduced, instance) = hello(first)?;
        let name = self.0.db.transact(CALL_TRIES_MAX, async |tx| {
            let WorkerInfo { id, name, slots, encoders, version } = &introduced;
            let (id, slots, instance) = (*id, *slots, instance.as_str());
            let connecting = workers::Connecting { id, name, instance, slots, encoders, version };
            workers::connect(tx, &connecting).await
        });
        let name = name.await.map_err(db_status)?;
        if name != introduced.name {
            let taken = std::mem::replace(&mut introduced.name, name);
            let renamed = &introduced.name;
            tracing::warn!(
                worker.name = taken,
                renamed,
                "worker name is already in use, renaming the worker"
            );
        }
        let session = session::open(self.0.clone(), introduced, inbound);
        Ok(Response::new(revocable(self.0.clone(), principal, session)))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let principal = self.0.authorize(Rpc::ListWorkers, &request, None)?;
        if principal.tenant != OPERATOR_TENANT {
            // Workers belong to the operator; other tenants have none.
            return Ok(Response::new(v1::ListWorkersResponse::default()));
        }
        let rows = self
            .0
            .db
            .run(CALL_TRIES_MAX, async |db| workers::list(db, LIST_MAX).await)
            .await
            .map_err(db_status)?;
        let workers = rows.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        let principal = self.0.authorize(Rpc::DrainWorker, &request, None)?;
        let id = wire::id("worker_id", &request.get_ref().worker_id)?;
        if principal.tenant != OPERATOR_TENANT {
            return Err(Problem::not_found("worker").into());
        }
        let found = self
            .0
            .db
            .run(CALL_TRIES_MAX, async |db| workers::drain(db, id).await)
            .await
            .map_err(db_status)?;
        if !found {
            return Err(Problem::not_found("worker").into());
        }
        self.0.bus.publish(Event::Drain(id));
        Ok(Response::new(v1::DrainWorkerResponse {}))
    }
}

/// Validates a worker's hello; returns its description and the id of its process.
fn hello(first: Option<v1::WorkerMessage>) -> Result<(WorkerInfo, String), Problem> {
    let message = first.and_then(|message| message.message);
    let Some(worker_message::Message::Hello(hello)) = message else {
        return Err(Problem::new(Code::Malformed, "the stream must begin with hello"));
    };
    if hello.protocol_version != WORKER_PROTOCOL {
        let text = format!(
            "protocol version {} is not supported, only {WORKER_PROTOCOL}",
            hello.protocol_version
        );
        return Err(Problem::at(Code::Conflict, "protocol_version", text));
    }
    let name: String =
        hello.name.trim().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    if name.is_empty() {
        return Err(Problem::field("name", "is empty"));
    }
    if hello.slots == 0 || hello.slots > SLOTS_MAX {
        return Err(Problem::field("slots", format!("must be 1 to {SLOTS_MAX}")));
    }
    if hello.encoders.len() > ENCODERS_MAX {
        return Err(Problem::field(
            "encoders",
            format!("must have at most {ENCODERS_MAX} entries"),
        ));
    }
    let plain = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
    let encoders = hello.encoders.iter();
    let encoders =
        encoders.map(|name| name.chars().filter(plain).take(NAME_CHARS_MAX).collect()).collect();
    let id = WorkerId::new(Uuid::now_v7());
    let instance = hello.instance.chars().filter(plain).take(NAME_CHARS_MAX).collect();
    let version =
        hello.version.chars().filter(|c| !c.is_control()).take(VERSION_CHARS_MAX).collect();
    Ok((WorkerInfo { id, name, slots: hello.slots, encoders, version }, instance))
}
