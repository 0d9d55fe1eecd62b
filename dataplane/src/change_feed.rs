//! Follows changes in control: stale indexes, revoked tokens, valid keys.

use std::{sync::Arc, time::Duration};

use api::v1::{
    Change, GetKeysRequest, WatchChangesRequest, playback_service_client::PlaybackServiceClient,
};
use authz::PublicKeys;
use media::VideoId;
use object_store::ObjectStoreExt;
use rand::Rng;
use serde::de::DeserializeOwned;
use tonic::{Status, Streaming};

use crate::app::App;
use crate::control::CALL_TIME_MAX;

/// The object in each store to which control writes the public keys.
const KEYS_KEY: &str = "keys/public.json";
/// The object to which control writes the revocation ids.
const REVOKED_KEY: &str = "keys/revoked.json";
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Reads the public keys and revocation ids that control has written to the stores, so that tokens
/// can be verified before the first contact with control, or without it.
pub(crate) async fn stored_keys(app: &App) {
    if let Some(keys) = stored::<PublicKeys>(app, KEYS_KEY).await {
        app.playback.verifier.replace_keys(keys);
    }
    let revoked = stored::<Vec<String>>(app, REVOKED_KEY).await.unwrap_or_default();
    app.playback.verifier.revoke(revoked.iter().filter_map(|id| hex::decode(id).ok()));
}

/// The document from the first store that has it.
async fn stored<T: DeserializeOwned>(app: &App, key: &str) -> Option<T> {
    for store in app.playback.stores.all() {
        let Ok(object) = store.objects.get(&key.into()).await else { continue };
        let Ok(bytes) = object.bytes().await else { continue };
        match serde_json::from_slice(&bytes) {
            Ok(document) => return Some(document),
            Err(error) => {
                tracing::warn!(%error, key, store.url = store.url, "failed to read stored keys")
            }
        }
    }
    None
}

/// Follows changes until the soft stop; reconnects after every interruption.
pub(crate) async fn follow(app: Arc<App>) {
    let mut pause = PAUSE_MIN;
    loop {
        let followed = tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            followed = follow_once(&app) => followed,
        };
        if app.playback.index_cache.watching() {
            pause = PAUSE_MIN;
        }
        app.playback.index_cache.set_watching(false);
        if let Err(status) = followed {
            tracing::debug!(code = ?status.code(), "failed to follow control's changes");
        }
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn follow_once(app: &App) -> Result<(), Status> {
    let mut changes: Streaming<Change> = app
        .playback
        .control
        .call(CALL_TIME_MAX, |channel| {
            let request = app.playback.control.own(WatchChangesRequest {});
            async move { PlaybackServiceClient::new(channel).watch_changes(request).await }
        })
        .await?;
    while let Some(change) = changes.message().await? {
        if !change.revoked.is_empty() {
            app.playback.verifier.revoke(change.revoked.iter().map(|id| id.to_vec()));
        }
        if !change.claimed_writer.is_empty() {
            app.rest.transfers.claimed(&change.claimed_writer);
            continue;
        }
        if change.keys {
            refresh_keys(app).await?;
            continue;
        }
        if !change.video_id.is_empty() {
            match change.video_id.parse::<VideoId>() {
                Ok(video) => {
                    app.playback.index_cache.changed(video);
                    app.playback.events.changed(video);
                }
                Err(_) => tracing::warn!("failed to read a change: its video id is not a UUID"),
            }
            continue;
        }
        if change.revoked.is_empty() {
            refresh_keys(app).await?;
            app.playback.index_cache.everything_changed();
            app.playback.index_cache.set_watching(true);
            app.playback.events.everything_changed();
            tracing::info!("following control's changes");
        }
    }
    Ok(())
}

async fn refresh_keys(app: &App) -> Result<(), Status> {
    let reply = app
        .playback
        .control
        .call(CALL_TIME_MAX, |channel| {
            let request = app.playback.control.own(GetKeysRequest {});
            async move { PlaybackServiceClient::new(channel).get_keys(request).await }
        })
        .await?;
    let mut keys = Vec::new();
    for key in reply.keys {
        match <[u8; 32]>::try_from(key.key.as_ref()) {
            Ok(bytes) => keys.push((key.id, bytes)),
            Err(_) => {
                tracing::warn!(key.id, "failed to read a public key: it does not have 32 bytes")
            }
        }
    }
    app.playback.verifier.replace_keys(PublicKeys(keys));
    app.playback.verifier.revoke(reply.revoked.iter().map(|id| id.to_vec()));
    Ok(())
}
