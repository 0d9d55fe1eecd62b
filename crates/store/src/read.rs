//! Reads a part of an object, completely or not at all, from a store whose responses may break off.
//!
//! When a response ends early, even without an error, the missing bytes of the same version of the
//! object are requested again, a bounded number of times. A partial read is never reported as
//! complete.

use std::{fs::File, io, ops::Range, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt, path::Path,
};
use runtime::retry::doubled;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::{Store, StoreErrorKind, explain};

/// Responses that may break off while one part is read.
const BREAKS_MAX: u32 = 2;
const BREAK_PAUSE: Duration = Duration::from_millis(100);
const BREAK_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest pause within a response.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Why a part cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The object is missing, or ends before the part does.
    #[error("the object is missing or too short")]
    Missing,
    /// The store failed.
    #[error("{0}")]
    Store(StoreErrorKind),
    /// The local file cannot be read.
    #[error("read file")]
    File(#[from] io::Error),
}

/// An opened part of an object.
pub enum Part {
    /// A local file, positioned at the requested offset.
    File(File),
    /// A stream that yields exactly the length of the part, or an error.
    Stream(BoxStream<'static, Result<Bytes, ReadError>>),
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "Part::File",
            Self::Stream(_) => "Part::Stream",
        })
    }
}

impl Store {
    /// Opens `range` of an object; the range must lie inside the object.
    ///
    /// # Errors
    /// The object is missing or too short, the store failed, or the file cannot be opened.
    pub async fn open(&self, key: &str, range: Range<u64>) -> Result<Part, ReadError> {
        let path = Path::from(key);
        let opened = get(self.objects.as_ref(), &path, &range, None).await?;
        let etag = opened.meta.e_tag.clone();
        match opened.payload {
            GetResultPayload::File(file, _) => Ok(Part::File(file)),
            GetResultPayload::Stream(body) => {
                let objects = self.objects.clone();
                let body = Some(body);
                Ok(Part::Stream(
                    Resumed { objects, path, etag, left: range, body, breaks: 0 }.run(),
                ))
            }
        }
    }

    /// Size of an object in bytes.
    ///
    /// # Errors
    /// The object is missing, or the store failed.
    pub async fn size(&self, key: &str) -> Result<u64, ReadError> {
        let found = self.objects.head(&Path::from(key)).await;
        found.map(|object| object.size).map_err(|error| failed(&error))
    }

    /// Reads `range` of an object into memory; the caller must bound it.
    ///
    /// # Errors
    /// The object is missing or too short, the store failed, or the file cannot be read.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, ReadError> {
        let bytes = range.end.saturating_sub(range.start);
        if bytes == 0 {
            return Ok(Bytes::new());
        }
        match self.open(key, range.clone()).await? {
            Part::File(file) => {
                let read = tokio::task::spawn_blocking(move || read_file(file, &range));
                Ok(read.await.map_err(io::Error::other)??)
            }
            Part::Stream(stream) => {
                let whole = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or(0));
                let whole = stream.try_fold(whole, async |mut whole, piece| {
                    whole.extend_from_slice(&piece);
                    Ok(whole)
                });
                Ok(whole.await?.freeze())
            }
        }
    }
}

fn read_file(mut file: File, range: &Range<u64>) -> io::Result<Bytes> {
    use std::io::{Read, Seek, SeekFrom};
    let bytes = range.end - range.start;
    file.seek(SeekFrom::Start(range.start))?;
    let mut buffer = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(bytes).read_to_end(&mut buffer)?;
    if (buffer.len() as u64) < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(buffer.into())
}

async fn get(
    objects: &dyn ObjectStore,
    path: &Path,
    range: &Range<u64>,
    etag: Option<String>,
) -> Result<GetResult, ReadError> {
    let wanted = Some(GetRange::Bounded(range.clone()));
    let options = GetOptions { range: wanted, if_match: etag, ..GetOptions::default() };
    match objects.get_opts(path, options).await {
        Ok(opened) if opened.range == *range => Ok(opened),
        // The store shortened the range: the object ends earlier.
        Ok(_) => Err(ReadError::Missing),
        // The object was replaced, which never happens to this service's keys.
        Err(object_store::Error::Precondition { .. }) => Err(ReadError::Missing),
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &object_store::Error) -> ReadError {
    match explain(error) {
        StoreErrorKind::NotFound => ReadError::Missing,
        StoreErrorKind::Failing(code) if code == "InvalidRange" => ReadError::Missing,
        // The local store states this in its message only.
        StoreErrorKind::Other(text) if text.to_lowercase().contains("range") => ReadError::Missing,
        kind => ReadError::Store(kind),
    }
}

/// [`get`] in a task of its own: it may hold the lock of the store's credentials, and nothing polls
/// a stream while its client does not read.
async fn again(
    objects: Arc<dyn ObjectStore>,
    path: Path,
    range: Range<u64>,
    etag: Option<String>,
) -> Result<GetResult, ReadError> {
    let mut task = JoinSet::new();
    task.spawn(async move { get(objects.as_ref(), &path, &range, etag).await });
    let ended = task.join_next().await;
    let died = || ReadError::Store(StoreErrorKind::Other("the read panicked".to_owned()));
    ended.and_then(Result::ok).ok_or_else(died)?
}

type Body = BoxStream<'static, object_store::Result<Bytes>>;

/// A part that is being read, over as many responses as it takes.
struct Resumed {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    etag: Option<String>,
    left: Range<u64>,
    body: Option<Body>,
    breaks: u32,
}

impl Resumed {
    fn run(self) -> BoxStream<'static, Result<Bytes, ReadError>> {
        stream::try_unfold(self, Self::next).boxed()
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ReadError> {
        while !self.left.is_empty() {
            let body = match &mut self.body {
                Some(body) => body,
                none => {
                    tokio::time::sleep(doubled(BREAK_PAUSE, self.breaks, BREAK_PAUSE_MAX)).await;
                    let (objects, path) = (self.objects.clone(), self.path.clone());
                    let (left, etag) = (self.left.clone(), self.etag.clone());
                    none.insert(again(objects, path, left, etag).await?.into_stream())
                }
            };
            let kind = match tokio::time::timeout(SILENCE_MAX, body.next()).await {
                Ok(Some(Ok(bytes))) => {
                    let room = self.left.end - self.left.start;
                    let bytes = bytes.slice(..bytes.len().min(room as usize));
                    self.left.start += bytes.len() as u64;
                    if bytes.is_empty() {
                        continue;
                    }
                    return Ok(Some((bytes, self)));
                }
                Ok(Some(Err(error))) => explain(&error),
                Ok(None) => StoreErrorKind::Unreachable("the reply ended early".to_owned()),
                Err(_) => StoreErrorKind::Slow,
            };
            self.body = None;
            self.breaks += 1;
            if self.breaks > BREAKS_MAX {
                return Err(ReadError::Store(kind));
            }
        }
        Ok(None)
    }
}
