//! Writes objects to the store: either complete, durable and under their final name, or not at all.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use media::Sha256Digest;
use runtime::{files::replace_by, names::sync_names, retry::doubled};
use sha2::{Digest, Sha256};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::{
    bucket::{BucketError, Client},
    control_handles::{Access, AccessError},
    outcome::{TaskError, TaskFailure},
};

/// How long a finished output waits for a store that is down before the task is released for
/// another attempt.
const RETRY_TIME_MAX: Duration = Duration::from_secs(600);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How often the store may reject a presigned URL for one output.
const REJECTIONS_MAX: u32 = 3;
/// The permissions of stored files, reduced by the umask.
const FILE_MODE: u32 = 0o666;

/// The SHA-256 of `bytes`.
pub fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256::digest(bytes).into()
}

/// The destination of a lease's outputs.
#[derive(Clone, Debug)]
pub enum OutputTarget {
    /// Below this folder of a local store.
    Folder(PathBuf),
    /// In S3, with a presigned URL from control for each object.
    Bucket(Access, Arc<Client>),
}

impl OutputTarget {
    /// Stores an object under `key`, complete and durable.
    ///
    /// # Errors
    /// When it cannot be written or the lease is lost.
    pub async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        sha256: &Sha256Digest,
    ) -> Result<(), TaskError> {
        match self {
            Self::Folder(root) => {
                let (root, key) = (root.clone(), key.to_owned());
                let written = spawn_blocking(move || write(&root, &key, &bytes)).await;
                let written = written
                    .map_err(|_| TaskFailure::retryable("internal", "store output: thread died"))?;
                Ok(written.map_err(|error| TaskFailure::io("store output", &error))?)
            }
            Self::Bucket(access, client) => send(access, client, key, &bytes, sha256).await,
        }
    }
}

/// Requests a presigned URL and writes the object, retrying while the store is down: encoding again
/// would cost more than waiting, and waiting does not use up an attempt.
async fn send(
    access: &Access,
    client: &Client,
    key: &str,
    bytes: &Bytes,
    sha256: &Sha256Digest,
) -> Result<(), TaskError> {
    let (begun, mut outages, mut rejections) = (Instant::now(), 0, 0);
    loop {
        let put = match access.output(key, sha256).await {
            Ok(url) => client.put(&url, bytes.clone(), sha256).await,
            Err(AccessError::LeaseLost) => return Err(TaskError::LeaseLost),
            Err(AccessError::Unavailable(why)) => Err(BucketError::Down(why)),
            Err(AccessError::Rejected(why)) => {
                return Err(TaskFailure::retryable("unavailable", why).into());
            }
        };
        match put {
            Ok(()) => return Ok(()),
            Err(BucketError::Down(why)) if begun.elapsed() < RETRY_TIME_MAX => {
                tracing::debug!(reason = why, "retrying to store output");
                sleep(doubled(PAUSE_MIN, outages, PAUSE_MAX)).await;
                outages += 1;
            }
            Err(BucketError::Down(_)) => return Err(TaskError::Deferred(client.defer())),
            Err(_) if rejections < REJECTIONS_MAX => {
                rejections += 1;
                sleep(doubled(PAUSE_MIN, outages, PAUSE_MAX)).await;
            }
            Err(error) => {
                return Err(TaskFailure::retryable("unavailable", error.to_string()).into());
            }
        }
    }
}

/// Writes `bytes` to `key` below the store's folder `root`. Readers see either nothing or the whole
/// file, even after a power cut.
///
/// # Errors
/// When the key leads outside the folder, or the file cannot be written.
pub fn write(root: &Path, key: &str, bytes: &[u8]) -> io::Result<()> {
    let path = locate(root, key)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    // The object store treats names with this ending as unfinished uploads and does not list them.
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!("#{}", std::process::id()));
    replace_by(Path::new(&temporary), &path, bytes, FILE_MODE)?;
    // The file's name is durable; the names of its folders may not be.
    sync_names(root, folder)
}

fn locate(root: &Path, key: &str) -> io::Result<PathBuf> {
    let plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || key.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "object key leads outside the store",
        ));
    }
    Ok(root.join(key))
}

#[cfg(test)]
mod tests {
    use super::{digest, write};

    #[test]
    fn an_object_is_stored_completely_without_a_leftover_temporary_file() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "videos/a/360p/0/1-x.m4s", b"bytes").unwrap();
        write(root.path(), "videos/a/360p/0/1-x.m4s", b"again").unwrap();
        let folder = root.path().join("videos/a/360p/0");
        assert_eq!(std::fs::read(folder.join("1-x.m4s")).unwrap(), b"again");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
        assert_eq!(hex::encode(digest(b""))[..8], *"e3b0c442");
    }

    #[test]
    fn keys_outside_the_store_are_rejected() {
        let root = tempfile::tempdir().unwrap();
        for key in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(write(root.path(), key, b"").is_err(), "{key}");
        }
    }
}
