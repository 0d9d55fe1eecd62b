//! Reads the key file periodically, so that keys can be added and removed without a restart, and
//! writes public keys and revocations to the stores.

use std::{sync::Arc, time::Duration};

use authz::RootKeys;
use object_store::{ObjectStoreExt, PutPayload, path::Path};

use crate::{cluster::events::Event, db::revocations, identity::key_file, state::AppState};

/// Time between two reads of the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The key of the object with the public keys in each store, for data planes that start while no
/// control plane is reachable.
const PUBLIC_KEY: &str = "keys/public.json";
/// The object with the revoked token ids (hexadecimal), for the same purpose.
const REVOKED_KEY: &str = "keys/revoked.json";

/// Follows the key file until the soft stop, and writes changes of keys and revocations to the
/// stores.
pub async fn follow(app: Arc<AppState>) {
    let mut logged = false;
    let mut stored = None;
    loop {
        let count = app.verifier.revoked_count();
        if stored != Some(count) && store_revoked_ids(&app).await {
            stored = Some(count);
        }
        tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let path = app.keys.path().to_owned();
        let read = tokio::task::spawn_blocking(move || key_file::load(&path)).await;
        match read {
            Ok(Ok(keys)) => {
                logged = false;
                apply(&app, keys).await;
            }
            // Log once: the same line every second adds no information. The previous keys stay in
            // use.
            Ok(Err(error)) if !logged => {
                logged = true;
                tracing::error!(%error, "failed to reload the root keys");
            }
            _ => {}
        }
    }
}

async fn apply(app: &AppState, keys: RootKeys) {
    app.pages.replace(&keys);
    if !app.keys.replace(keys) {
        return;
    }
    let public = app.keys.public();
    let ids: Vec<u32> = public.0.iter().map(|(id, _)| *id).collect();
    tracing::info!(?ids, "root keys changed");
    app.verifier.replace_keys(public);
    app.bus.publish_locally(Event::Keys);
    store_public_keys(app).await;
}

/// Writes the public keys to every store.
pub async fn store_public_keys(app: &AppState) {
    let keys = serde_json::to_vec(&app.keys.public()).unwrap_or_default();
    put_everywhere(app, PUBLIC_KEY, keys).await;
}

/// Writes the revoked ids from the database to every store; returns whether all writes succeeded.
async fn store_revoked_ids(app: &AppState) -> bool {
    let listed = async { revocations::list(&*app.db.get().await?, None).await };
    let Ok(revoked) = listed.await else { return false };
    let ids: Vec<String> = revoked.iter().map(hex::encode).collect();
    put_everywhere(app, REVOKED_KEY, serde_json::to_vec(&ids).unwrap_or_default()).await
}

async fn put_everywhere(app: &AppState, key: &str, bytes: Vec<u8>) -> bool {
    let mut everywhere = true;
    for store in app.stores.all() {
        let payload = PutPayload::from(bytes.clone());
        if let Err(error) = store.objects.put(&Path::from(key), payload).await {
            tracing::warn!(%error, key, "failed to write keys to a store");
            everywhere = false;
        }
    }
    everywhere
}
