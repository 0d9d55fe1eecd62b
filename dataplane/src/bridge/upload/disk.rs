//! A source in the making, in a store that is a folder: a file beside the source's place, written at its
//! end, locked against every other process of this machine, made durable before anybody is told.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use api::code::{Code, Problem};
use bytes::Bytes;
use runtime::names::sync_names;
use tokio::task::spawn_blocking;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// How long a lock is waited for: its holder has given its lease back and is about to close the file.
const LOCK_TIME_MAX: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A folder may be cleaned away, being empty, between its making and its use.
const OPEN_TRIES_MAX: u32 = 5;

/// The file.
pub(crate) struct Disk {
    file: Arc<File>,
    path: PathBuf,
    /// Where the next bytes go.
    at: u64,
    pending: Vec<Bytes>,
    pending_bytes: usize,
}

impl Disk {
    /// Opens the file `key` below the store's folder `root` to write from `offset`; whatever stands behind
    /// it was never acknowledged.
    pub(crate) async fn open(root: PathBuf, key: &str, offset: u64) -> Result<Self, Problem> {
        let path = root.join(key);
        let opened = blocking({
            let path = path.clone();
            move || open(&root, &path, offset)
        });
        let file = Arc::new(opened.await.map_err(|error| unopened(&error, &path))?);
        Ok(Self { file, path, at: offset, pending: Vec::new(), pending_bytes: 0 })
    }

    /// Takes bytes; true when they are enough to be written.
    pub(crate) fn push(&mut self, bytes: Bytes) -> bool {
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        self.pending_bytes >= WRITE_BYTES
    }

    /// Writes what was taken.
    pub(crate) async fn write_out(&mut self) -> Result<(), Problem> {
        let (file, pieces, mut at) =
            (self.file.clone(), std::mem::take(&mut self.pending), self.at);
        self.at += self.pending_bytes as u64;
        self.pending_bytes = 0;
        let written = blocking(move || {
            for piece in pieces {
                file.write_all_at(&piece, at)?;
                at += piece.len() as u64;
            }
            Ok(())
        });
        written.await.map_err(|error| self.failed(&error))
    }

    /// Writes what was taken and waits until the disk has it.
    pub(crate) async fn sync(&mut self) -> Result<(), Problem> {
        self.write_out().await?;
        let file = self.file.clone();
        blocking(move || file.sync_data()).await.map_err(|error| self.failed(&error))
    }

    /// Lets others open it. Before they are told that they may.
    pub(crate) fn unlock(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, path = %self.path.display(), "unlock upload");
        }
    }

    /// Removes the file.
    pub(crate) async fn remove(self) {
        let path = self.path.clone();
        if let Err(error) = blocking(move || std::fs::remove_file(path)).await {
            tracing::debug!(%error, path = %self.path.display(), "remove upload");
        }
    }

    fn failed(&self, error: &io::Error) -> Problem {
        tracing::error!(%error, path = %self.path.display(), "write upload");
        Problem::new(Code::Unavailable, "the store cannot be written now")
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn unopened(error: &io::Error, path: &Path) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
            tracing::error!(path = %path.display(), "open upload: its bytes are gone");
            Problem::new(Code::NotFound, "the bytes of this upload are gone")
        }
        io::ErrorKind::WouldBlock => locked(),
        _ => {
            tracing::error!(%error, path = %path.display(), "open upload");
            Problem::new(Code::Unavailable, "the store cannot be written now")
        }
    }
}

/// The answer to who would write while somebody else does.
pub(crate) fn locked() -> Problem {
    let mut problem = Problem::new(Code::Locked, "another request writes this upload");
    problem.retry_after = Some(Duration::from_secs(1));
    problem
}

fn open(root: &Path, path: &Path, offset: u64) -> io::Result<File> {
    let file = if offset == 0 {
        create(root, path)?
    } else {
        OpenOptions::new().read(true).write(true).open(path)?
    };
    lock(&file)?;
    if file.metadata()?.len() < offset {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.set_len(offset)?;
    Ok(file)
}

fn create(root: &Path, path: &Path) -> io::Result<File> {
    let folder = path.parent().unwrap_or(root);
    let mut tried = 1;
    loop {
        std::fs::create_dir_all(folder)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tried < OPEN_TRIES_MAX => {
                tried += 1;
            }
            Err(error) => return Err(error),
            Ok(file) => {
                // The name must survive a power cut as the bytes do.
                sync_names(root, path)?;
                return Ok(file);
            }
        }
    }
}

/// A second writer on this machine, even one that was frozen past its lease, cannot get here. Where the
/// file system knows no locks, the lease alone decides.
fn lock(file: &File) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_TIME_MAX => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "lock upload");
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_that_were_not_acknowledged_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let open = async |offset| Disk::open(folder.path().to_owned(), "a/b/upload", offset).await;
        let mut disk = open(0).await.unwrap();
        disk.push(Bytes::from_static(b"0123456789"));
        disk.sync().await.unwrap();
        drop(disk);
        let mut disk = open(4).await.unwrap();
        disk.push(Bytes::from_static(b"xy"));
        disk.sync().await.unwrap();
        assert_eq!(std::fs::read(folder.path().join("a/b/upload")).unwrap(), b"0123xy");
    }

    #[tokio::test]
    async fn one_process_writes_and_what_is_gone_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let open = async |offset| Disk::open(folder.path().to_owned(), "upload", offset).await;
        let first = open(0).await.unwrap();
        let refused = open(0).await.err().unwrap();
        assert_eq!(refused.code, Code::Locked);
        first.unlock();
        assert!(open(0).await.is_ok());
        let gone = open(1).await.err().unwrap();
        assert_eq!(gone.code, Code::NotFound);
        first.remove().await;
        assert!(!folder.path().join("upload").exists());
    }
}
