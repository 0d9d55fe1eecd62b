//! State for resuming an interrupted upload: its URL path on the server, kept in a small file until
//! the upload is complete. Losing the file only means that the upload starts from the beginning.

use std::{
    env, fs,
    fs::Metadata,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use runtime::files;
use serde::{Deserialize, Serialize};

/// Identifies an upload by source file and server; a modified file is a different upload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Identity {
    server: String,
    file: PathBuf,
    bytes: u64,
    modified_ns: i64,
    modified: i64,
    inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedUpload {
    identity: Identity,
    /// The upload's path on the server.
    upload: String,
}

/// The saved state of one file's upload.
#[derive(Debug)]
pub(crate) struct Memory {
    identity: Identity,
    path: PathBuf,
}

impl Memory {
    /// The state for uploading `file` to `server`; kept in the data folder if that exists.
    ///
    /// # Errors
    /// Fails if the file's canonical path cannot be determined.
    pub(crate) fn new(data: &Path, server: &str, file: &Path, meta: &Metadata) -> io::Result<Self> {
        let identity = Identity {
            server: server.to_owned(),
            file: file.canonicalize()?,
            bytes: meta.len(),
            modified_ns: meta.mtime_nsec(),
            modified: meta.mtime(),
            inode: meta.ino(),
        };
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        let path = folder(data).join(format!("{:016x}.json", hasher.finish()));
        Ok(Self { identity, path })
    }

    /// The upload's path on the server, if one was saved for this file and server.
    pub(crate) fn load(&self) -> Option<String> {
        let text = fs::read(&self.path).ok()?;
        let saved: SavedUpload = serde_json::from_slice(&text).ok()?;
        (saved.identity == self.identity).then_some(saved.upload)
    }

    /// Saves the upload's path.
    ///
    /// # Errors
    /// Fails if the file cannot be written; then an interrupted upload starts from the beginning.
    pub(crate) fn save(&self, upload: &str) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let upload = upload.to_owned();
        let saved = SavedUpload { identity: self.identity.clone(), upload };
        files::replace(&self.path, &serde_json::to_vec(&saved)?, 0o600)
    }

    /// Deletes the saved state.
    pub(crate) fn clear(&self) {
        // The file may not exist.
        let _absent = fs::remove_file(&self.path);
    }
}

fn folder(data: &Path) -> PathBuf {
    if data.is_dir() {
        return data.join("uploads");
    }
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.unwrap_or_else(env::temp_dir).join("streaming-service/uploads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_uploads_are_found_for_the_same_file_and_server_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("video.mp4");
        fs::write(&file, b"video").unwrap();
        let memory = |server| {
            Memory::new(folder.path(), server, &file, &fs::metadata(&file).unwrap()).unwrap()
        };
        let first = memory("a:1");
        assert_eq!(first.load(), None);
        first.save("/api/uploads/1").unwrap();
        assert_eq!(memory("a:1").load().as_deref(), Some("/api/uploads/1"));
        assert_eq!(memory("b:1").load(), None);
        fs::write(&file, b"another video").unwrap();
        assert_eq!(memory("a:1").load(), None);
        first.clear();
        assert_eq!(first.load(), None);
    }
}
