//! The state of the components that this instance depends on.

use std::time::Duration;

use api::v1;
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use store::Store;
use tokio::time::Instant;

use crate::{db::workers, state::AppState};

/// How long a result is reused, because any client may request `/health` of a data plane.
const AGE_MAX: Duration = Duration::from_secs(1);
/// How long a store may take to write and read a few bytes.
const PROBE_MAX: Duration = Duration::from_secs(3);

/// Checks every component, or returns a result that is at most `AGE_MAX` old.
pub async fn get(app: &AppState) -> Vec<v1::Dependency> {
    let mut latest = app.status.lock().await;
    if let Some((asked, dependencies)) = &*latest
        && asked.elapsed() < AGE_MAX
    {
        return dependencies.clone();
    }
    let ([postgres, workers], redis, store) = tokio::join!(database(app), redis(app), stores(app));
    let dependencies = vec![postgres, redis, store, workers];
    *latest = Some((Instant::now(), dependencies.clone()));
    dependencies
}

fn dependency(name: &str, ok: bool, detail: impl Into<String>) -> v1::Dependency {
    v1::Dependency { name: name.to_owned(), ok, detail: detail.into() }
}

/// Postgres, and the workers listed there.
async fn database(app: &AppState) -> [v1::Dependency; 2] {
    let counted = async {
        let db = app.db.get().await?;
        workers::connected(&*db).await
    };
    match counted.await {
        Ok(0) => [
            dependency("postgres", true, ""),
            dependency("workers", false, "no worker is connected"),
        ],
        Ok(count) => [
            dependency("postgres", true, ""),
            dependency("workers", true, format!("{count} connected")),
        ],
        Err(error) => {
            tracing::debug!(%error, "failed to count workers");
            [
                dependency("postgres", false, "the database is not reachable"),
                dependency("workers", false, "unknown while the database is not reachable"),
            ]
        }
    }
}

async fn redis(app: &AppState) -> v1::Dependency {
    match &app.redis {
        None => dependency("redis", true, "not configured; instances poll the database"),
        Some(redis) if redis.ping().await => dependency("redis", true, ""),
        Some(_) => dependency("redis", false, "redis is not reachable"),
    }
}

/// Every store must accept a small object and return it.
async fn stores(app: &AppState) -> v1::Dependency {
    for (number, store) in (1..).zip(app.stores.all()) {
        let probed = tokio::time::timeout(PROBE_MAX, probe(app, store)).await;
        let why = match probed {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => store::explain(&error).to_string(),
            Err(_) => "no response in time".to_owned(),
        };
        tracing::warn!(error = why, store = number, "failed to probe a store");
        return dependency("store", false, format!("store {number} is not usable: {why}"));
    }
    dependency("store", true, "")
}

async fn probe(app: &AppState, store: &Store) -> Result<(), object_store::Error> {
    // One name per instance, so that probes of different instances do not interfere.
    let path = Path::from(format!("health/{}", app.instance));
    store.objects.put(&path, PutPayload::from_static(b"ok")).await?;
    store.objects.get(&path).await?.bytes().await?;
    store.objects.delete(&path).await
}
