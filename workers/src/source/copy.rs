//! Copies whole sources to the scratch folder, for kernels that cannot limit FFmpeg to one port.
//!
//! Tasks with the same source share one copy. The latest copy is kept for the next task; older ones
//! are deleted with the last task that reads them.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use futures::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::remote::{BLOCK_BYTES, Remote};
use crate::{
    bucket::BucketError,
    outcome::{DISK_FULL, TaskFailure},
    scratch::Scratch,
};

/// Scratch space that must remain free beside a copy.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Blocks that are fetched concurrently.
const BLOCKS_AHEAD: usize = 4;

/// Why the copy failed.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The source could not be read from the store.
    Source(BucketError),
    /// The copy could not be written to the scratch folder.
    Scratch(TaskFailure),
}

/// A copy, deleted when its last user drops it.
#[derive(Debug, Default)]
pub(super) struct Copy {
    made: OnceCell<(TempDir, PathBuf)>,
}

impl Copy {
    /// The file.
    pub(super) fn path(&self) -> &Path {
        self.made.get().map_or(Path::new(""), |(_, path)| path)
    }
}

/// The copies of one worker, by the source's key.
#[derive(Debug, Default)]
pub(super) struct Copies {
    known: Mutex<HashMap<String, Weak<Copy>>>,
    latest: Mutex<Option<Arc<Copy>>>,
}

impl Copies {
    /// Returns the copy of `remote`. The first caller creates it while others wait.
    pub(super) async fn get(
        &self,
        remote: &Remote,
        scratch: &Scratch,
    ) -> Result<Arc<Copy>, CopyError> {
        let copy = self.place(remote.key());
        copy.made.get_or_try_init(|| make(remote, scratch)).await?;
        let latest = Some(Arc::clone(&copy));
        // The previous copy is dropped outside the lock, because deleting it takes a while.
        let before = {
            let mut kept = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *kept, latest)
        };
        drop(before);
        Ok(copy)
    }

    fn place(&self, key: &str) -> Arc<Copy> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, copy| copy.strong_count() > 0);
        if let Some(copy) = known.get(key).and_then(Weak::upgrade) {
            return copy;
        }
        let copy = Arc::<Copy>::default();
        known.insert(key.to_owned(), Arc::downgrade(&copy));
        copy
    }
}

async fn make(remote: &Remote, scratch: &Scratch) -> Result<(TempDir, PathBuf), CopyError> {
    let bytes = remote.bytes();
    if bytes.saturating_add(FREE_BYTES_MIN) > scratch.free_bytes() {
        let text = format!("a source of {bytes} bytes does not fit into the scratch folder");
        return Err(CopyError::Scratch(TaskFailure::retryable(DISK_FULL, text)));
    }
    let io = |error| CopyError::Scratch(TaskFailure::io("copy the source", &error));
    let folder = scratch.task().map_err(io)?;
    let path = folder.path().join("source");
    let mut file = std::fs::File::create(&path).map_err(io)?;
    let blocks = stream::iter(0..bytes.div_ceil(BLOCK_BYTES));
    let mut blocks = blocks.map(|number| remote.block(number)).buffered(BLOCKS_AHEAD);
    while let Some(block) = blocks.try_next().await.map_err(CopyError::Source)? {
        // Writes one block to the page cache, which is short enough for a runtime thread.
        file.write_all(&block).map_err(io)?;
    }
    Ok((folder, path))
}
