//! An upload in a store that is a folder: a file next to the source's final path. Bytes are
//! appended, the file is locked against every other process of this machine, and bytes are reported
//! to control only when they are durable.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use api::code::{Code, Problem};
use bytes::Bytes;
use media::layout;
use runtime::names::sync_names;
use tokio::task::{JoinHandle, spawn_blocking};

use super::lease::busy;

/// Bytes per write.
const WRITE_BYTES: usize = 1 << 20;
/// How long to wait for a lock: its holder has released its lease and is about to close the file.
const LOCK_TIME_MAX: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The empty folder may be cleaned up between its creation and its use.
const OPEN_TRIES_MAX: u32 = 5;

/// The file of an upload.
pub(crate) struct Disk {
    file: Arc<File>,
    path: PathBuf,
    /// The offset of the next write.
    next_offset: u64,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    /// The write that was started last, until it has been awaited.
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Disk {
    /// Opens the file `key` below the store's folder `root` for writing from `offset`; bytes beyond
    /// it were never acknowledged and are cut off.
    pub(crate) async fn open(root: PathBuf, key: &str, offset: u64) -> Result<Self, Problem> {
        let path = root.join(key);
        let opened = blocking({
            let path = path.clone();
            move || open(&root, &path, offset)
        });
        let file = Arc::new(opened.await.map_err(|error| open_problem(&error, &path))?);
        let (pending, pending_bytes, writing) = (Vec::new(), 0, None);
        Ok(Self { file, path, next_offset: offset, pending, pending_bytes, writing })
    }

    /// Buffers bytes; returns true when there are enough for a write.
    pub(crate) fn push(&mut self, bytes: Bytes) -> bool {
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        self.pending_bytes >= WRITE_BYTES
    }

    /// Writes the buffered bytes.
    pub(crate) async fn write_out(&mut self) -> Result<(), Problem> {
        self.finish_write().await?;
        let (file, pieces, mut at) =
            (self.file.clone(), std::mem::take(&mut self.pending), self.next_offset);
        self.next_offset += self.pending_bytes as u64;
        self.pending_bytes = 0;
        self.writing = Some(spawn_blocking(move || {
            for piece in pieces {
                file.write_all_at(&piece, at)?;
                at += piece.len() as u64;
            }
            Ok(())
        }));
        self.finish_write().await
    }

    /// Waits for the write that was started last, even if its caller stopped waiting for it.
    async fn finish_write(&mut self) -> Result<(), Problem> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.writing = None;
        written.map_err(|error| self.failed(&error))
    }

    /// Writes the buffered bytes and waits until they are on disk.
    pub(crate) async fn sync(&mut self) -> Result<(), Problem> {
        self.write_out().await?;
        let file = self.file.clone();
        blocking(move || file.sync_data()).await.map_err(|error| self.failed(&error))
    }

    /// Unlocks the file for other requests: after the last write has ended, and before its lease is
    /// released.
    pub(crate) async fn unlock(&mut self) {
        // A write that failed has ended as well.
        let _failed = self.finish_write().await;
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, path = %self.path.display(), "failed to unlock an upload");
        }
    }

    /// Removes the file.
    pub(crate) async fn remove(mut self) {
        let _failed = self.finish_write().await;
        let path = self.path.clone();
        if let Err(error) = blocking(move || std::fs::remove_file(path)).await {
            tracing::debug!(%error, path = %self.path.display(), "failed to remove an upload");
        }
    }

    fn failed(&self, error: &io::Error) -> Problem {
        tracing::error!(%error, path = %self.path.display(), "failed to write an upload");
        Problem::new(Code::Unavailable, "the store cannot be written now")
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn open_problem(error: &io::Error, path: &Path) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
            tracing::error!(path = %path.display(), "stored bytes of an upload are missing");
            Problem::new(Code::NotFound, "the stored bytes of this upload are missing")
        }
        io::ErrorKind::WouldBlock => busy(),
        _ => {
            tracing::error!(%error, path = %path.display(), "failed to open an upload");
            Problem::new(Code::Unavailable, "the store cannot be written now")
        }
    }
}

fn open(root: &Path, path: &Path, offset: u64) -> io::Result<File> {
    let file = if offset == 0 {
        create(root, path)?
    } else {
        OpenOptions::new().read(true).write(true).open(path)?
    };
    let file = if lock(&file)? { file } else { replace(root, path, offset)? };
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
                // The name must survive a power failure like the bytes do.
                sync_names(root, path)?;
                return Ok(file);
            }
        }
    }
}

/// Replaces the file with a copy of its first `offset` bytes: the process that has it locked lost
/// its lease without ending, and its later writes go to the old file.
fn replace(root: &Path, path: &Path, offset: u64) -> io::Result<File> {
    tracing::warn!(path = %path.display(), bytes = offset, "failed to lock an upload that a hung writer holds, copying it");
    let copied = path.with_file_name(layout::upload_copy(path.file_name().unwrap_or_default()));
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&copied)?;
    if !lock(&file)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    io::copy(&mut File::open(path)?.take(offset), &mut file)?;
    file.sync_data()?;
    std::fs::rename(&copied, path)?;
    sync_names(root, path)?;
    Ok(file)
}

/// Returns whether the file could be locked: a second writer on this machine, even one that was
/// suspended past the end of its lease, has it locked. If the file system does not support locks,
/// the lease alone decides.
fn lock(file: &File) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_TIME_MAX => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "failed to lock an upload");
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unacknowledged_bytes_are_truncated() {
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
    async fn a_hung_writer_cannot_write_into_its_successors_file() {
        let folder = tempfile::tempdir().unwrap();
        let open = async |offset| Disk::open(folder.path().to_owned(), "upload", offset).await;
        let mut first = open(0).await.unwrap();
        first.push(Bytes::from_static(b"0123456789"));
        first.sync().await.unwrap();
        // The first writer still has the file locked.
        let mut second = open(4).await.unwrap();
        second.push(Bytes::from_static(b"xy"));
        second.sync().await.unwrap();
        first.push(Bytes::from_static(b"stale"));
        first.sync().await.unwrap();
        assert_eq!(std::fs::read(folder.path().join("upload")).unwrap(), b"0123xy");
        first.unlock().await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no copy is left");
        second.remove().await;
        assert!(!folder.path().join("upload").exists());
        let missing = open(1).await.err().unwrap();
        assert_eq!(missing.code, Code::NotFound);
    }

    #[tokio::test]
    async fn unlocking_waits_for_an_abandoned_write() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(folder.path().to_owned(), "upload", 0).await.unwrap();
        let bytes = vec![7; 64 << 20];
        disk.push(bytes.clone().into());
        // Dropped as soon as the write has started.
        let abandoned = futures::poll!(std::pin::pin!(disk.write_out()));
        assert!(abandoned.is_pending());
        disk.unlock().await;
        assert!(std::fs::read(folder.path().join("upload")).unwrap() == bytes);
    }
}
