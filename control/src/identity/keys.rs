//! The root keys in their current state: which keys verify and which sign.
//!
//! A new key verifies tokens immediately on this instance and within about a second on every data
//! plane. It signs tokens a little later, because a token must not be rejected by a process that
//! does not have its key yet.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use authz::{PublicKeys, RootKeys};
use tokio::time::Instant;

/// Time between reading a new key and signing tokens with it.
const SETTLE: Duration = Duration::from_secs(5);
/// The keys of this instance.
pub struct KeyRing {
    path: PathBuf,
    current: RwLock<CurrentKeys>,
}

struct CurrentKeys {
    /// The keys that verify.
    keys: Arc<RootKeys>,
    /// The keys that sign.
    signing: Arc<RootKeys>,
    /// When `keys` last changed; `None` if they have not changed since the start.
    since: Option<Instant>,
}

impl KeyRing {
    /// Uses keys that were read from `path`.
    pub fn new(path: PathBuf, keys: RootKeys) -> Self {
        let keys = Arc::new(keys);
        Self {
            path,
            current: RwLock::new(CurrentKeys { signing: keys.clone(), keys, since: None }),
        }
    }

    /// The key file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public keys that verify tokens.
    pub fn public(&self) -> PublicKeys {
        self.read().keys.public()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, CurrentKeys> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that sign tokens.
    pub fn signing(&self) -> Arc<RootKeys> {
        let current = self.read();
        let settled = current.since.is_none_or(|since| since.elapsed() >= SETTLE);
        if settled { current.keys.clone() } else { current.signing.clone() }
    }

    /// Replaces the keys with those in the file; returns whether they differ.
    pub fn replace(&self, keys: RootKeys) -> bool {
        let signing = self.signing();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let (public, keys) = (keys.public(), Arc::new(keys));
        if public == current.keys.public() {
            return false;
        }
        // A removed key must stop signing immediately.
        let kept = signing.ids().last().is_some_and(|id| keys.ids().contains(id));
        current.signing = if kept { signing } else { keys.clone() };
        (current.keys, current.since) = (keys, Some(Instant::now()));
        true
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.read().keys).finish_non_exhaustive()
    }
}
