//! Root keys and the tokens that `up` mints.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use authz::{Grant, Role, RootKeys};
use runtime::{Clock, SystemClock};

use super::folder::{self, Folder};
use crate::{key_file, token::TENANT};

/// Every start mints new tokens; the old ones stay valid until they expire.
const TOKEN_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// Loads the root keys, generating them at the first start, and writes the tokens. Returns the path
/// of the keys.
pub(crate) fn prepare(folder: &Folder, configured: Option<&Path>) -> Result<PathBuf> {
    let configured = configured.filter(|path| !path.as_os_str().is_empty());
    let path = configured.map_or_else(|| folder.root.join("root.keys"), Path::to_owned);
    if !path.exists() {
        if configured.is_some() {
            bail!("{} does not exist (create it with: streaming-service keys new)", path.display());
        }
        let keys = RootKeys::generate();
        key_file::save(&keys, &path)?;
    }
    let keys = key_file::load(&path)?;
    let run = folder.run();
    let tokens = [
        ("admin", Role::Admin, folder.admin_token()),
        ("dataplane", Role::Dataplane, run.join("dataplane.token")),
        ("worker", Role::Worker, run.join("worker.token")),
    ];
    let life = i64::try_from(TOKEN_LIFE.as_secs())?;
    let expires_at = SystemClock.now_unix() + life;
    for (subject, role, file) in tokens {
        let grant = Grant { subject: subject.to_owned(), tenant: TENANT.to_owned(), role };
        let token = keys.mint(&grant, expires_at).context("mint a token")?;
        folder::write_private(&file, &token)?;
    }
    path.canonicalize().with_context(|| format!("find {}", path.display()))
}
