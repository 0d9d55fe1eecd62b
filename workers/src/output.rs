//! Objects on their way into the store: whole, durable and under their final name, or not there at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// A digest of an object's bytes.
pub type Sha256Digest = [u8; 32];

/// The SHA-256 of `bytes`.
pub fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256::digest(bytes).into()
}

/// Writes `bytes` to `key` below the store's folder `root`. Readers see nothing or everything, also
/// after a power cut.
///
/// # Errors
/// When the key leaves the folder, or the file cannot be written.
pub fn write(root: &Path, key: &str, bytes: &[u8]) -> io::Result<()> {
    let path = locate(root, key)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    // The object store takes names that end so for unfinished uploads and lists none of them.
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!("#{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = write_durably(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // Nothing to add when this fails too: the name marks it as unfinished.
        drop(fs::remove_file(&temporary));
        return written;
    }
    File::open(folder)?.sync_all()
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn locate(root: &Path, key: &str) -> io::Result<PathBuf> {
    let plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || key.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "object key leaves the store"));
    }
    Ok(root.join(key))
}

#[cfg(test)]
mod tests {
    use super::{digest, write};

    #[test]
    fn object_appears_whole_and_leaves_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "videos/a/360p/0/1-x.m4s", b"bytes").unwrap();
        write(root.path(), "videos/a/360p/0/1-x.m4s", b"again").unwrap();
        let folder = root.path().join("videos/a/360p/0");
        assert_eq!(std::fs::read(folder.join("1-x.m4s")).unwrap(), b"again");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
        assert_eq!(hex::encode(digest(b""))[..8], *"e3b0c442");
    }

    #[test]
    fn keys_that_leave_the_store_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for key in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(write(root.path(), key, b"").is_err(), "{key}");
        }
    }
}
