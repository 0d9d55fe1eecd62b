//! `PlaybackService`: what data planes need.

use api::{
    code::{Code, Problem},
    v1::{self, playback_service_server::PlaybackService},
    wire,
};
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use tonic::{Request, Response, Status};

use super::{Services, Stream, gate::Rpc, refuse, watch};
use crate::{
    db::{CALL_TRIES_MAX, retrying, revocations, workers},
    deps::Deps,
    index::IndexProblem,
};

#[tonic::async_trait]
impl PlaybackService for Services {
    async fn get_index(
        &self,
        request: Request<v1::GetIndexRequest>,
    ) -> Result<Response<v1::GetIndexResponse>, Status> {
        self.0.enter(Rpc::GetIndex, &request, None)?;
        let id = wire::id("video_id", &request.get_ref().video_id)?;
        let mut tried = 1;
        let index = loop {
            match self.0.indexes.get(&self.0.db, id).await {
                Err(IndexProblem::Db(e)) if e.transient() && tried < CALL_TRIES_MAX => tried += 1,
                other => break other.map_err(Problem::from)?,
            }
        };
        let index = index.ok_or_else(|| Problem::new(Code::NotFound, "nothing to play"))?;
        Ok(Response::new(v1::GetIndexResponse { index }))
    }

    type WatchChangesStream = Stream<v1::Change>;

    async fn watch_changes(
        &self,
        request: Request<v1::WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        self.0.enter(Rpc::WatchChanges, &request, None)?;
        Ok(Response::new(watch::changes(self.0.clone())))
    }

    async fn get_keys(
        &self,
        request: Request<v1::GetKeysRequest>,
    ) -> Result<Response<v1::GetKeysResponse>, Status> {
        self.0.enter(Rpc::GetKeys, &request, None)?;
        let revoked = retrying(CALL_TRIES_MAX, || async {
            revocations::list(&*self.0.db.get().await?, None).await
        })
        .await
        .map_err(refuse)?;
        let keys = self.0.keys.public().0.into_iter();
        let keys = keys.map(|(id, key)| v1::PublicKey { id, key: key.to_vec().into() }).collect();
        let revoked = revoked.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::GetKeysResponse { keys, revoked }))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.0.enter(Rpc::GetStatus, &request, None)?;
        let (database, redis, store) =
            tokio::join!(database(&self.0), redis(&self.0), store(&self.0));
        let mut dependencies = Vec::from(database);
        dependencies.extend([redis, store]);
        Ok(Response::new(v1::GetStatusResponse { dependencies }))
    }

    async fn get_metrics(
        &self,
        request: Request<v1::GetMetricsRequest>,
    ) -> Result<Response<v1::GetMetricsResponse>, Status> {
        self.0.enter(Rpc::GetMetrics, &request, None)?;
        Ok(Response::new(v1::GetMetricsResponse { text: self.0.telemetry.render() }))
    }
}

fn dependency(name: &str, ok: bool, detail: impl Into<String>) -> v1::Dependency {
    v1::Dependency { name: name.to_owned(), ok, detail: detail.into() }
}

/// Postgres, and the workers that it knows of.
async fn database(deps: &Deps) -> [v1::Dependency; 2] {
    let counted = async {
        let db = deps.db.get().await?;
        workers::connected(&*db).await
    };
    match counted.await {
        Ok(count) => {
            let detail = if count == 0 {
                "no worker is connected".to_owned()
            } else {
                format!("{count} connected")
            };
            [dependency("postgres", true, ""), dependency("workers", count > 0, detail)]
        }
        Err(error) => {
            tracing::debug!(%error, "count workers");
            [
                dependency("postgres", false, "the database is not reachable"),
                dependency("workers", false, "unknown while the database is not reachable"),
            ]
        }
    }
}

async fn redis(deps: &Deps) -> v1::Dependency {
    match &deps.redis {
        None => dependency("redis", true, "not configured; instances poll"),
        Some(redis) if redis.ping().await => dependency("redis", true, ""),
        Some(_) => dependency("redis", false, "redis is not reachable"),
    }
}

/// Every store must take a small object and give it back.
async fn store(deps: &Deps) -> v1::Dependency {
    for (number, store) in deps.stores.all().iter().enumerate() {
        // One name per instance and store: probes must not race each other.
        let path = Path::from(format!("health/{}", deps.instance));
        let probe = async {
            let payload = PutPayload::from_static(b"ok");
            store.objects.put(&path, payload).await?;
            store.objects.get(&path).await?.bytes().await
        };
        if let Err(error) = probe.await {
            tracing::warn!(%error, store = number, "probe a store");
            return dependency("store", false, format!("store {} is not usable", number + 1));
        }
    }
    dependency("store", true, "")
}
