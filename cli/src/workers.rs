//! `workers …`

use std::time::Duration;

use anyhow::{Result, bail};
use api::v1;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    args::WorkersCommand,
    failure::Failure,
    output,
    session::{Session, call, status_error},
    view,
};

/// Interval between checks whether a draining worker has disconnected.
const GONE_INTERVAL: Duration = Duration::from_millis(300);

/// Runs a `workers` command.
pub(crate) async fn run(session: &Session<'_>, command: WorkersCommand) -> Result<()> {
    let mut workers = list(session).await?;
    match command {
        WorkersCommand::List { all } => {
            workers.retain(|worker| all || worker.connected);
            show(session.json, &workers)
        }
        WorkersCommand::Drain { worker, wait } => {
            let worker_id = resolve(&workers, &worker)?;
            drain(session, &worker_id, wait).await
        }
    }
}

async fn list(session: &Session<'_>) -> Result<Vec<v1::Worker>> {
    let request = call(v1::ListWorkersRequest {});
    let reply = session.workers().await?.list_workers(request).await;
    Ok(reply.map_err(status_error)?.into_inner().workers)
}

fn show(json: bool, workers: &[v1::Worker]) -> Result<()> {
    if json {
        let workers = workers.iter().map(view::worker).collect::<Vec<_>>();
        return Ok(output::json(&json!({"workers": workers}))?);
    }
    let row = |worker: &v1::Worker| {
        let state = match (worker.connected, worker.draining) {
            (false, _) => "gone",
            (true, true) => "draining",
            (true, false) if !worker.probe_trouble.is_empty() => "connected, cannot probe",
            (true, false) => "connected",
        };
        vec![
            worker.worker_id.clone(),
            output::one_line(&worker.name),
            format!("{}/{}", worker.leases, worker.slots),
            state.to_owned(),
        ]
    };
    let rows = workers.iter().map(row).collect::<Vec<_>>();
    Ok(output::table(&["WORKER", "NAME", "BUSY", "STATE"], &rows)?)
}

/// Resolves a worker's id or name to its id.
fn resolve(workers: &[v1::Worker], named: &str) -> Result<String> {
    if Uuid::try_parse(named).is_ok() {
        return Ok(named.to_owned());
    }
    let mut found = workers.iter().filter(|worker| worker.connected && worker.name == named);
    match (found.next(), found.next()) {
        (Some(worker), None) => Ok(worker.worker_id.clone()),
        (None, _) => {
            let text = format!("no connected worker is named {named:?}");
            Err(Failure::not_found(text).into())
        }
        (Some(_), Some(_)) => bail!("several workers are named {named:?}; use the id"),
    }
}

async fn drain(session: &Session<'_>, worker_id: &str, wait: bool) -> Result<()> {
    let request = call(v1::DrainWorkerRequest { worker_id: worker_id.to_owned() });
    session.workers().await?.drain_worker(request).await.map_err(status_error)?;
    if !session.json {
        output::line(&format!("{worker_id} is draining"))?;
    }
    if wait {
        while list(session).await?.iter().any(|w| w.connected && w.worker_id == worker_id) {
            sleep(GONE_INTERVAL).await;
        }
    }
    if session.json {
        output::json(&json!({"workerId": worker_id, "draining": !wait, "gone": wait}))?;
    } else if wait {
        output::line(&format!("{worker_id} has disconnected"))?;
    }
    Ok(())
}
