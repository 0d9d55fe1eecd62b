//! The root keys as the key file holds them now: the file is looked at again and again, so that keys are
//! added and removed without a restart.
//!
//! A new key verifies at once, here and, within about a second, on every data plane. It mints a little later,
//! because a token must not be refused by whoever has not heard of its key yet.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use authz::{AuthError, Grant, PlaybackGrant, PublicKeys, RootKeys};
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use tokio::time::Instant;

use crate::{bus::Event, db::revocations, deps::Deps};

/// Between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// From the first sight of a new key until it mints.
const SETTLE: Duration = Duration::from_secs(5);
/// Where the public keys lie in each store, for data planes that start while no control answers.
const PUBLIC_KEY: &str = "keys/public.json";
/// What is revoked, likewise: hexadecimal ids.
const REVOKED_KEY: &str = "keys/revoked.json";

/// The keys of this instance.
pub struct KeyRing {
    path: PathBuf,
    held: RwLock<Held>,
}

struct Held {
    /// What verifies.
    keys: Arc<RootKeys>,
    /// What mints.
    minting: Arc<RootKeys>,
    /// When the former became what it is; `None` since the start.
    since: Option<Instant>,
}

impl KeyRing {
    /// Keys that were read from `path`.
    pub fn new(path: PathBuf, keys: RootKeys) -> Self {
        let keys = Arc::new(keys);
        Self { path, held: RwLock::new(Held { minting: keys.clone(), keys, since: None }) }
    }

    /// A bearer token; see [`RootKeys::mint`].
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn mint(&self, grant: &Grant, expires_at: i64) -> Result<String, AuthError> {
        self.minting().mint(grant, expires_at)
    }

    /// A bearer token in exchange for the one of `digest`; see [`RootKeys::mint_exchanged`].
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn mint_exchanged(
        &self,
        grant: &Grant,
        expires_at: i64,
        digest: &[u8; 32],
    ) -> Result<String, AuthError> {
        self.minting().mint_exchanged(grant, expires_at, digest)
    }

    /// A playback token; see [`RootKeys::mint_playback`].
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn mint_playback(
        &self,
        grant: &PlaybackGrant,
        expires_at: i64,
    ) -> Result<String, AuthError> {
        self.minting().mint_playback(grant, expires_at)
    }

    /// What verifies.
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

    /// Takes what the file holds now; whether that is something else.
    fn replace(&self, keys: RootKeys) -> bool {
        let minting = self.minting();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let (public, keys) = (keys.public(), Arc::new(keys));
        if public == held.keys.public() {
            return false;
        }
        // A key that was taken away mints no more, not even for a moment.
        let goes_on = minting.ids().last().is_some_and(|id| keys.ids().contains(id));
        held.minting = if goes_on { minting } else { keys.clone() };
        (held.keys, held.since) = (keys, Some(Instant::now()));
        true
    }
}

/// Follows the file until the soft stop, and leaves in the stores what changes.
pub async fn follow(deps: Arc<Deps>) {
    let mut told = false;
    let mut left = None;
    loop {
        let known = deps.verifier.revoked_count();
        if left != Some(known) && leave_revoked(&deps).await {
            left = Some(known);
        }
        tokio::select! {
            () = deps.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let path = deps.keys.path.clone();
        let read = tokio::task::spawn_blocking(move || RootKeys::load(&path)).await;
        match read {
            Ok(Ok(keys)) => {
                told = false;
                take(&deps, keys).await;
            }
            // Once: the same line every second tells nothing new. What was read before goes on counting.
            Ok(Err(error)) if !told => {
                told = true;
                tracing::error!(%error, "read the root keys again");
            }
            _ => {}
        }
    }
}

async fn take(deps: &Deps, keys: RootKeys) {
    deps.pages.replace(&keys);
    if !deps.keys.replace(keys) {
        return;
    }
    let public = deps.keys.public();
    let ids: Vec<u32> = public.0.iter().map(|(id, _)| *id).collect();
    tracing::info!(?ids, "root keys changed");
    deps.verifier.replace_keys(public);
    deps.bus.hear(Event::Keys);
    publish(deps).await;
}

/// Leaves the public keys in every store.
pub async fn publish(deps: &Deps) {
    let keys = serde_json::to_vec(&deps.keys.public()).unwrap_or_default();
    leave(deps, PUBLIC_KEY, keys).await;
}

/// Leaves in every store what the rows say is revoked; whether that could be done.
async fn leave_revoked(deps: &Deps) -> bool {
    let listed = async { revocations::list(&*deps.db.get().await?, None).await };
    let Ok(revoked) = listed.await else { return false };
    let ids: Vec<String> = revoked.iter().map(hex::encode).collect();
    leave(deps, REVOKED_KEY, serde_json::to_vec(&ids).unwrap_or_default()).await
}

async fn leave(deps: &Deps, key: &str, bytes: Vec<u8>) -> bool {
    let mut everywhere = true;
    for store in deps.stores.all() {
        let payload = PutPayload::from(bytes.clone());
        if let Err(error) = store.objects.put(&Path::from(key), payload).await {
            tracing::warn!(%error, key, "leave keys in a store");
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
