//! `workers …`

use anyhow::{Result, bail};
use api::v1;
use serde_json::json;
use uuid::Uuid;

use crate::{
    args::WorkersCommand,
    output,
    session::{Session, call, refusal},
    view,
};

/// Runs a `workers` command.
pub(crate) async fn run(session: &Session<'_>, command: WorkersCommand) -> Result<()> {
    let mut workers = list(session).await?;
    match command {
        WorkersCommand::List { all } => {
            workers.retain(|worker| all || worker.connected);
            show(session.json, &workers)
        }
        WorkersCommand::Drain { worker } => drain(session, &workers, &worker).await,
    }
}

async fn list(session: &Session<'_>) -> Result<Vec<v1::Worker>> {
    let request = call(v1::ListWorkersRequest {});
    let reply = session.workers().await?.list_workers(request).await;
    Ok(reply.map_err(refusal)?.into_inner().workers)
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

async fn drain(session: &Session<'_>, workers: &[v1::Worker], named: &str) -> Result<()> {
    let worker_id = if Uuid::try_parse(named).is_ok() {
        named.to_owned()
    } else {
        let mut found = workers.iter().filter(|worker| worker.connected && worker.name == named);
        match (found.next(), found.next()) {
            (Some(worker), None) => worker.worker_id.clone(),
            (None, _) => bail!("no connected worker is called {named:?}"),
            (Some(_), Some(_)) => bail!("several workers are called {named:?}; give the id"),
        }
    };
    let request = call(v1::DrainWorkerRequest { worker_id: worker_id.clone() });
    session.workers().await?.drain_worker(request).await.map_err(refusal)?;
    if session.json {
        output::json(&json!({"workerId": worker_id, "draining": true}))?;
    } else {
        output::line(&format!("{worker_id} is draining"))?;
    }
    Ok(())
}
