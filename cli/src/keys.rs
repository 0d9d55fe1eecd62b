//! `keys …`: edits the root key file, offline. A running control plane reloads it within a second.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use authz::RootKeys;
use serde_json::json;

use crate::{
    args::{KeyFile, KeysCommand},
    key_file, output,
    server::Target,
};

/// Runs a `keys` command.
pub(crate) fn run(command: KeysCommand, target: &Target, json: bool) -> Result<()> {
    match command {
        KeysCommand::New { out } => new(&out, json),
        KeysCommand::Rotate(file) => {
            let path = path(&file, target);
            let mut keys = key_file::load(&path)?;
            keys.rotate();
            key_file::save(&keys, &path)?;
            show(&path, &keys, json)
        }
        KeysCommand::Remove { id, file } => {
            let path = path(&file, target);
            let mut keys = key_file::load(&path)?;
            let known = keys.ids();
            if !known.contains(&id) {
                bail!("key {id} does not exist in {}", path.display());
            }
            if !keys.remove(id) {
                bail!("key {id} is the signing key; add another key first (keys rotate)");
            }
            key_file::save(&keys, &path)?;
            show(&path, &keys, json)
        }
        KeysCommand::List(file) => {
            let path = path(&file, target);
            show(&path, &key_file::load(&path)?, json)
        }
    }
}

/// The key file to use; an empty variable counts as unset.
fn path(file: &KeyFile, target: &Target) -> PathBuf {
    let configured = file.root_key.clone().filter(|path| !path.as_os_str().is_empty());
    configured.unwrap_or_else(|| target.data.join("root.keys"))
}

fn new(path: &Path, json: bool) -> Result<()> {
    if path.exists() {
        bail!("{} exists; root keys are never overwritten", path.display());
    }
    key_file::save(&RootKeys::generate(), path)?;
    if json {
        output::json(&json!({"file": path}))?;
    } else {
        output::line(&format!("wrote {}", path.display()))?;
    }
    Ok(())
}

fn show(path: &Path, keys: &RootKeys, json: bool) -> Result<()> {
    let ids = keys.ids();
    if json {
        output::json(&json!({"file": path, "keys": ids, "signs": ids.last()}))?;
        return Ok(());
    }
    for id in &ids {
        let note = if Some(id) == ids.last() { "  signs" } else { "" };
        output::line(&format!("{id}{note}"))?;
    }
    Ok(())
}
