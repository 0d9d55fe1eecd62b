//! `/api/workers`: list, drain.

use api::{
    code::Problem,
    v1::{self, worker_service_client::WorkerServiceClient},
};
use http::{HeaderMap, StatusCode};
use media::WorkerId;
use serde_json::json;

use super::{Caller, json as shape};
use crate::{
    http::reply::{self, Reply},
    rest::Rest,
};

/// Lists the workers.
pub(crate) async fn list(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Reply, Problem> {
    let listed = rest
        .control
        .unary(caller, v1::ListWorkersRequest {}, async |channel, request| {
            WorkerServiceClient::new(channel).list_workers(request).await
        })
        .await?;
    let workers: Vec<_> = listed.workers.iter().filter_map(shape::worker).collect();
    Ok(reply::json_document(headers, &json!({ "workers": workers })))
}

/// Has a worker finish its tasks and exit.
pub(crate) async fn drain(
    rest: &Rest,
    caller: &Caller,
    worker: WorkerId,
) -> Result<Reply, Problem> {
    let message = v1::DrainWorkerRequest { worker_id: worker.to_string() };
    rest.control
        .unary(caller, message, async |channel, request| {
            WorkerServiceClient::new(channel).drain_worker(request).await
        })
        .await?;
    Ok(reply::status(StatusCode::ACCEPTED))
}
