//! Temporary folders: one per worker process with one per task in it, deleted when the task ends.
//!
//! A killed worker cannot delete its folder. The next worker recognizes the folder by its lock,
//! which no process holds any more, and deletes it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

const PREFIX: &str = "streaming-worker-";
const LOCK_NAME: &str = "lock";

/// The worker's folder; deleted when dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Creates this process's folder below `parent`, after deleting those of workers that have
    /// exited.
    ///
    /// # Errors
    /// When `parent` cannot be written to.
    pub fn open(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let parent = parent.canonicalize()?;
        sweep(&parent)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent)?;
        // The file is locked before it gets its final name, so that another worker never finds it
        // unlocked.
        let unnamed = folder.path().join("lock.new");
        let lock = File::create(&unnamed)?;
        lock.try_lock().map_err(io::Error::from)?;
        fs::rename(&unnamed, folder.path().join(LOCK_NAME))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Creates a folder for one task; deleted when dropped.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn task(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("task-").tempdir_in(self.folder.path())
    }

    /// Bytes that can still be written; the maximum if that is unknown.
    pub fn free_bytes(&self) -> u64 {
        let bytes = |stat: nix::sys::statvfs::Statvfs| {
            stat.blocks_available().saturating_mul(stat.fragment_size())
        };
        statvfs(self.folder.path()).map_or(u64::MAX, bytes)
    }
}

/// Deletes the folders of workers that no longer run.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let is_worker_folder =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if is_worker_folder && path.is_dir() && is_abandoned(&path) {
            tracing::info!("removing the scratch folder of an exited worker");
            // Another worker may be deleting it at the same time.
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, "failed to remove the scratch folder of an exited worker");
            }
        }
    }
    Ok(())
}

/// Checks the folder's lock. A folder without a lock file is still being created by another worker.
fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK_NAME)).map(|lock| lock.try_lock()) {
        Ok(Ok(())) => true,
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn workers_that_start_together_keep_each_others_folders() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let scratch = Scratch::open(parent.path()).unwrap();
                        assert!(scratch.task().unwrap().path().exists());
                    }
                });
            }
        });
    }

    #[test]
    fn folders_of_exited_workers_are_deleted_and_those_of_running_ones_kept() {
        let parent = tempfile::tempdir().unwrap();
        let live = Scratch::open(parent.path()).unwrap();
        let task = live.task().unwrap();
        let dead = parent.path().join("streaming-worker-dead");
        std::fs::create_dir_all(dead.join("task-1")).unwrap();
        std::fs::write(dead.join("lock"), "").unwrap();
        let other = Scratch::open(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(task.path().exists());
        assert!(live.free_bytes() > 0);
        drop((task, live, other));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
