//! Opens a task's source for FFmpeg: a file of the local store, or an object in S3 that FFmpeg
//! reads by ranges through a proxy on the loopback interface.
//!
//! **Invariant:** nothing is committed that was made from a source with read errors. Regardless of
//! FFmpeg's result, [`OpenedSource::intact`] reports such errors before anything is committed.

mod copy;
mod peer;
mod proxy;
mod remote;

use std::{
    io,
    path::Path,
    sync::{Arc, Once},
};

use api::v1;
use futures::{StreamExt, stream};
use tokio::{sync::OnceCell, task::spawn_blocking};

use self::{
    copy::{Copies, Copy},
    proxy::{Mount, Proxy},
    remote::{Blocks, Remote},
};
use crate::{
    bucket::{BucketError, Client},
    config::SourceMode,
    control_handles::Access,
    input::Input,
    outcome::{TaskError, TaskFailure},
    sandbox,
    scratch::Scratch,
};

/// Opens the sources of leases.
#[derive(Debug)]
pub struct Sources {
    client: Arc<Client>,
    blocks: Arc<Blocks>,
    copies: Copies,
    /// Started with the first source in S3.
    proxy: OnceCell<Proxy>,
    by_ranges: bool,
    warned: Once,
}

impl Sources {
    /// Creates an opener that follows `mode`. `sandboxed` is true if FFmpeg runs in the sandbox.
    pub fn new(client: Arc<Client>, mode: SourceMode, sandboxed: bool) -> Self {
        let by_ranges = match mode {
            SourceMode::Ranges => true,
            SourceMode::Download => false,
            SourceMode::Auto => !sandboxed || sandbox::can_restrict_to_one_port(),
        };
        Self {
            client,
            blocks: Arc::default(),
            copies: Copies::default(),
            proxy: OnceCell::new(),
            by_ranges,
            warned: Once::new(),
        }
    }

    /// Opens the source of a lease.
    ///
    /// # Errors
    /// When the source is missing or temporarily unavailable, or the lease is invalid or lost.
    pub async fn open(
        &self,
        lease: &v1::Lease,
        access: &Access,
        scratch: &Scratch,
    ) -> Result<OpenedSource, TaskError> {
        if lease.source_url.is_empty() {
            return Ok(OpenedSource::local(&api::path::read(&lease.source_path))?);
        }
        let blocks = Arc::clone(&self.blocks);
        let remote = Remote::open(lease, Arc::clone(&self.client), access.clone(), blocks).await;
        let remote = Arc::new(remote.map_err(|error| self.task_error(error))?);
        if self.by_ranges {
            let proxy = self.proxy.get_or_try_init(Proxy::start).await;
            let proxy = proxy.map_err(|error| TaskFailure::io("open the source proxy", &error))?;
            let mount = proxy.mount(Arc::clone(&remote));
            let input = Input::Loopback { port: proxy.port(), path: mount.path().to_owned() };
            return Ok(OpenedSource {
                input,
                remote: Some(remote),
                _resource: Some(SourceResource::Mount { _mount: mount }),
            });
        }
        self.warned.call_once(|| {
            tracing::warn!(
                "this kernel cannot restrict FFmpeg to one port: sources in S3 are downloaded whole"
            );
        });
        let copy = self.copies.get(&remote, scratch).await.map_err(|error| match error {
            copy::CopyError::Source(error) => self.task_error(error),
            copy::CopyError::Scratch(failure) => failure.into(),
        })?;
        Ok(OpenedSource {
            input: Input::File(copy.path().to_owned()),
            remote: Some(remote),
            _resource: Some(SourceResource::Copy { _copy: copy }),
        })
    }

    /// Converts a store's error into the task's error.
    pub fn task_error(&self, error: BucketError) -> TaskError {
        match error {
            BucketError::Down(_) => {
                let delay = self.client.defer();
                tracing::warn!(%error, delay_ms = delay.as_millis() as u64, "failed to reach the store, postponing task");
                TaskError::Deferred(delay)
            }
            BucketError::LeaseLost => TaskError::LeaseLost,
            BucketError::Missing => {
                TaskFailure::retryable("source_missing", "the source is not in the store").into()
            }
            BucketError::Denied(_) => {
                TaskFailure::retryable("unavailable", error.to_string()).into()
            }
        }
    }
}

/// Bytes per read of [`OpenedSource::read`], and the number of its concurrent reads.
const READ_BYTES: usize = 4 << 20;
const READS_AHEAD: usize = 2;

/// A resource that must live as long as the task.
#[derive(Debug)]
enum SourceResource {
    Mount { _mount: Mount },
    Copy { _copy: Arc<Copy> },
}

/// One task's source.
#[derive(Debug)]
pub struct OpenedSource {
    input: Input,
    remote: Option<Arc<Remote>>,
    _resource: Option<SourceResource>,
}

impl OpenedSource {
    /// Opens a local file.
    ///
    /// # Errors
    /// When the path is not absolute or not an existing file.
    pub fn local(path: &Path) -> Result<Self, TaskFailure> {
        if !path.is_absolute() {
            return Err(TaskFailure::lease("lease field source_path is invalid"));
        }
        if !path.is_file() {
            return Err(TaskFailure::retryable("source_missing", "the source is not in the store"));
        }
        Ok(Self { input: Input::File(path.to_owned()), remote: None, _resource: None })
    }

    /// The input for FFmpeg.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The source's size in bytes.
    ///
    /// # Errors
    /// When a local file no longer exists.
    pub fn bytes(&self) -> Result<u64, TaskFailure> {
        let Some(path) = self.input.file() else {
            return Ok(self.remote.as_ref().map_or(0, |remote| remote.bytes()));
        };
        let missing = |error: io::Error| {
            TaskFailure::retryable("source_missing", format!("open source: {}", error.kind()))
        };
        Ok(std::fs::metadata(path).map_err(missing)?.len())
    }

    /// Reads up to `length` bytes from `start`: fewer at the end of the source, an empty vector
    /// when it cannot be read.
    pub async fn peek(&self, start: u64, length: usize) -> Vec<u8> {
        if let (Some(remote), None) = (&self.remote, self.input.file()) {
            return remote.peek(start, length).await.unwrap_or_default();
        }
        let Some(path) = self.input.file().map(Path::to_owned) else { return Vec::new() };
        let read = spawn_blocking(move || read_part(&path, start, length)).await;
        read.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Passes the whole source to `consume`, from the first byte to the last.
    ///
    /// # Errors
    /// When a part of the source cannot be read.
    pub async fn read(&self, mut consume: impl FnMut(&[u8]) + Send) -> Result<(), TaskFailure> {
        let bytes = self.bytes()?;
        let starts = (0..bytes).step_by(READ_BYTES);
        let mut pieces =
            stream::iter(starts).map(|start| self.peek(start, READ_BYTES)).buffered(READS_AHEAD);
        let mut read = 0;
        while let Some(piece) = pieces.next().await {
            consume(&piece);
            read += piece.len() as u64;
        }
        if read < bytes {
            return Err(TaskFailure::retryable(
                "source_missing",
                "the source cannot be read to its end",
            ));
        }
        Ok(())
    }

    /// Checks that no error occurred while the source was read.
    ///
    /// # Errors
    /// When an error occurred. Results made from the source must then be discarded.
    pub fn intact(&self) -> Result<(), BucketError> {
        match self.remote.as_ref().and_then(|remote| remote.read_error()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn read_part(path: &Path, start: u64, length: usize) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::with_capacity(length);
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
