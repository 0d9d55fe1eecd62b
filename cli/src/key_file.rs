//! Reads and writes root key files.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use authz::RootKeys;
use runtime::files;

/// Reads the root keys.
///
/// # Errors
/// Fails if the file cannot be read or does not contain root keys.
pub(crate) fn load(path: &Path) -> Result<RootKeys> {
    let text = fs::read(path).with_context(|| format!("access key file {}", path.display()))?;
    RootKeys::parse(&text).with_context(|| format!("read key file {}", path.display()))
}

/// Writes the keys to a file that only its owner may read. The file is replaced atomically.
///
/// # Errors
/// Fails if the file cannot be written.
pub(crate) fn save(keys: &RootKeys, path: &Path) -> Result<()> {
    let written = files::replace(path, keys.to_json().as_bytes(), 0o600);
    written.with_context(|| format!("access key file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_reads_back_and_is_private() {
        let name = format!("streaming-keys-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let keys = RootKeys::generate();
        save(&keys, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(&path).unwrap().public(), keys.public());
        fs::write(&path, "[]").unwrap();
        let error = format!("{:#}", load(&path).unwrap_err());
        assert!(error.contains("streaming-keys") && error.contains("root keys"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(load(&path).is_err());
    }
}
