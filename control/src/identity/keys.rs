//! The root keys in their current state: the key file is read periodically, so that keys can be
//! added and removed without a restart.
//!
//! A new key verifies tokens at once on this instance and within about a second on every data
//! plane. It signs tokens a little later, because a token must not be rejected by a process that
//! does not have its key yet.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use authz::{AuthError, Grant, PlaybackGrant, PublicKeys, RootKeys};
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use tokio::time::Instant;

use crate::{cluster::events::Event, db::revocations, identity::key_file, state::AppState};

/// Time between two reads of the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between reading a new key and signing tokens with it.
const SETTLE: Duration = Duration::from_secs(5);
/// The key of the object with the public keys in each store, for data planes that start while no
/// control plane is reachable.
const PUBLIC_KEY: &str = "keys/public.json";
/// The object with the revoked token ids (hexadecimal), for the same purpose.
const REVOKED_KEY: &str = "keys/revoked.json";

/// The keys of this instance.
pub struct KeyRing {
    path: PathBuf,
    held: RwLock<Held>,
}

struct Held {
    /// The keys that verify.
    keys: Arc<RootKeys>,
    /// The keys that sign.
    minting: Arc<RootKeys>,
    /// When `keys` last changed; `None` if they have not changed since the start.
    since: Option<Instant>,
}

impl KeyRing {
    /// Uses keys that were read from `path`.
    pub fn new(path: PathBuf, keys: RootKeys) -> Self {
        let keys = Arc::new(keys);
        Self { path, held: RwLock::new(Held { minting: keys.clone(), keys, since: None }) }
    }

    /// Mints a bearer token; see [`RootKeys::mint`].
    ///
    /// # Errors
    /// The subject or tenant is empty or too long.
    pub fn mint(&self, grant: &Grant, expires_at: i64) -> Result<String, AuthError> {
        self.minting().mint(grant, expires_at)
    }

    /// Mints a bearer token in exchange for the token with this `digest`; see
    /// [`RootKeys::mint_exchanged`].
    ///
    /// # Errors
    /// The subject or tenant is empty or too long.
    pub fn mint_exchanged(
        &self,
        grant: &Grant,
        expires_at: i64,
        digest: &[u8; 32],
    ) -> Result<String, AuthError> {
        self.minting().mint_exchanged(grant, expires_at, digest)
    }

    /// Mints a playback token; see [`RootKeys::mint_playback`].
    ///
    /// # Errors
    /// The token cannot be built.
    pub fn mint_playback(
        &self,
        grant: &PlaybackGrant,
        expires_at: i64,
    ) -> Result<String, AuthError> {
        self.minting().mint_playback(grant, expires_at)
    }

    /// The public keys that verify tokens.
    pub fn public(&self) -> PublicKeys {
        self.read().keys.public()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn minting(&self) -> Arc<RootKeys> {
        let held = self.read();
        let settled = held.since.is_none_or(|since| since.elapsed() >= SETTLE);
        if settled { held.keys.clone() } else { held.minting.clone() }
    }

    /// Replaces the keys with those in the file; returns whether they differ.
    fn replace(&self, keys: RootKeys) -> bool {
        let minting = self.minting();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let (public, keys) = (keys.public(), Arc::new(keys));
        if public == held.keys.public() {
            return false;
        }
        // A key that was removed must stop signing at once.
        let goes_on = minting.ids().last().is_some_and(|id| keys.ids().contains(id));
        held.minting = if goes_on { minting } else { keys.clone() };
        (held.keys, held.since) = (keys, Some(Instant::now()));
        true
    }
}

/// Follows the key file until the soft stop, and writes changes of keys and revocations to the
/// stores.
pub async fn follow(app: Arc<AppState>) {
    let mut told = false;
    let mut left = None;
    loop {
        let known = app.verifier.revoked_count();
        if left != Some(known) && leave_revoked(&app).await {
            left = Some(known);
        }
        tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let path = app.keys.path.clone();
        let read = tokio::task::spawn_blocking(move || key_file::load(&path)).await;
        match read {
            Ok(Ok(keys)) => {
                told = false;
                take(&app, keys).await;
            }
            // Log once: the same line every second adds no information. The previous keys stay in
            // use.
            Ok(Err(error)) if !told => {
                told = true;
                tracing::error!(%error, "failed to reload the root keys");
            }
            _ => {}
        }
    }
}

async fn take(app: &AppState, keys: RootKeys) {
    app.pages.replace(&keys);
    if !app.keys.replace(keys) {
        return;
    }
    let public = app.keys.public();
    let ids: Vec<u32> = public.0.iter().map(|(id, _)| *id).collect();
    tracing::info!(?ids, "root keys changed");
    app.verifier.replace_keys(public);
    app.bus.hear(Event::Keys);
    publish(app).await;
}

/// Writes the public keys to every store.
pub async fn publish(app: &AppState) {
    let keys = serde_json::to_vec(&app.keys.public()).unwrap_or_default();
    leave(app, PUBLIC_KEY, keys).await;
}

/// Writes the revoked ids from the database to every store; returns whether all writes succeeded.
async fn leave_revoked(app: &AppState) -> bool {
    let listed = async { revocations::list(&*app.db.get().await?, None).await };
    let Ok(revoked) = listed.await else { return false };
    let ids: Vec<String> = revoked.iter().map(hex::encode).collect();
    leave(app, REVOKED_KEY, serde_json::to_vec(&ids).unwrap_or_default()).await
}

async fn leave(app: &AppState, key: &str, bytes: Vec<u8>) -> bool {
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

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.read().keys).finish_non_exhaustive()
    }
}
