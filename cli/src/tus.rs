//! Uploads a file by tus 1.0.0. After a broken connection, a server restart or a killed command,
//! only the bytes in flight are sent again.

use std::{fs::Metadata, io::SeekFrom, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::TryStreamExt;
use http::{HeaderName, Method, StatusCode, header};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use indicatif::ProgressBar;
use runtime::retry::Backoff;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    time::{Instant, sleep},
};
use tokio_util::io::ReaderStream;

use crate::{
    rest::{Body, Reply, Rest},
    resume::Memory,
};

const READ_BYTES: usize = 256 << 10;
/// How long to retry an upload that makes no progress.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const COLLECTION: &str = "/api/uploads";
const OCTETS: &str = "application/offset+octet-stream";
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");

/// The source file and its description.
pub(crate) struct SourceFile<'a> {
    pub(crate) path: &'a Path,
    pub(crate) meta: &'a Metadata,
    /// Known keys of `Upload-Metadata` with their values.
    pub(crate) fields: &'a [(&'a str, &'a str)],
}

/// The state of an upload on the server.
struct UploadState {
    path: String,
    offset: u64,
    video_id: String,
}

/// Uploads the file, resuming where an earlier attempt ended; returns the video's id.
///
/// # Errors
/// Fails if the server rejects the upload, or if no progress is made for `PATIENCE`.
pub(crate) async fn send(
    rest: &Rest,
    memory: &Memory,
    source: &SourceFile<'_>,
    bar: &ProgressBar,
) -> Result<String> {
    let mut last_offset = None;
    let mut answered = false;
    let mut since = Instant::now();
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    loop {
        let error = match attempt(rest, memory, source, bar).await {
            Ok(upload_state) if upload_state.offset == source.meta.len() => {
                memory.clear();
                return Ok(upload_state.video_id);
            }
            Ok(upload_state) => {
                if last_offset.replace(upload_state.offset) != Some(upload_state.offset) {
                    since = Instant::now();
                    backoff.reset();
                }
                anyhow!("the server stopped accepting data after {} bytes", upload_state.offset)
            }
            // Fail immediately if the server has never replied; otherwise retry.
            Err(UploadError::Unreachable(error)) if !answered => return Err(error),
            Err(UploadError::Unreachable(error)) => error,
            Err(UploadError::Transient(error)) => error,
            Err(UploadError::Final(error)) => return Err(error),
        };
        answered = true;
        if since.elapsed() > PATIENCE {
            return Err(error.context("run the same command again to resume the upload"));
        }
        bar.set_message("interrupted, retrying");
        sleep(backoff.pause()).await;
    }
}

/// Errors of one attempt.
enum UploadError {
    /// The server could not be reached, and no data was sent.
    Unreachable(anyhow::Error),
    /// A retry may succeed.
    Transient(anyhow::Error),
    /// The upload cannot succeed.
    Final(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for UploadError {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// One attempt: uploads from the current offset to the end, or until the connection breaks.
async fn attempt(
    rest: &Rest,
    memory: &Memory,
    source: &SourceFile<'_>,
    bar: &ProgressBar,
) -> Result<UploadState, UploadError> {
    let upload_state = match memory.load() {
        Some(path) => fetch_offset(rest, &path).await?,
        None => None,
    };
    let mut upload_state = match upload_state {
        Some(upload_state) => upload_state,
        None => create(rest, memory, source).await?,
    };
    bar.set_position(upload_state.offset);
    bar.set_message("");
    if upload_state.offset < source.meta.len() {
        let reply = patch(rest, source, &upload_state, bar).await;
        match reply {
            Ok(reply) if reply.status == StatusCode::NO_CONTENT => {
                upload_state.offset = offset(&reply)?;
            }
            Ok(reply) if transient(reply.status) => {
                return Err(UploadError::Transient(reply.error()));
            }
            Ok(reply) => return Err(UploadError::Final(reply.error())),
            Err(error) => return Err(UploadError::Transient(error)),
        }
    }
    Ok(upload_state)
}

/// Requests the offset of a saved upload from the server; `None` if the server no longer has the
/// upload.
async fn fetch_offset(rest: &Rest, path: &str) -> Result<Option<UploadState>, UploadError> {
    let headers = [(RESUMABLE, "1.0.0".to_owned())];
    let reply = rest.send(Method::HEAD, path, &headers, empty()).await;
    let reply = reply.map_err(UploadError::Unreachable)?;
    match reply.status {
        StatusCode::OK => {
            let (path, offset, video_id) =
                (path.to_owned(), offset(&reply)?, reply.text("video-id"));
            Ok(Some(UploadState { path, offset, video_id }))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::BAD_REQUEST => Ok(None),
        status if transient(status) => Err(UploadError::Transient(reply.error())),
        _ => Err(UploadError::Final(reply.error())),
    }
}

async fn create(
    rest: &Rest,
    memory: &Memory,
    source: &SourceFile<'_>,
) -> Result<UploadState, UploadError> {
    let pair = |(key, value): &(&str, &str)| format!("{key} {}", STANDARD.encode(value));
    let metadata: Vec<_> = source.fields.iter().map(pair).collect();
    let headers = [
        (RESUMABLE, "1.0.0".to_owned()),
        (LENGTH, source.meta.len().to_string()),
        (METADATA, metadata.join(",")),
        (header::CONTENT_LENGTH, "0".to_owned()),
    ];
    let reply = rest.send(Method::POST, COLLECTION, &headers, empty()).await;
    let reply = reply.map_err(UploadError::Unreachable)?;
    if reply.status != StatusCode::CREATED {
        let transient = transient(reply.status) && reply.status != StatusCode::TOO_MANY_REQUESTS;
        let error = reply.error();
        return Err(if transient {
            UploadError::Transient(error)
        } else {
            UploadError::Final(error)
        });
    }
    let path = reply.text("location");
    if !path.starts_with('/') {
        return Err(UploadError::Final(anyhow!("the reply has no upload location")));
    }
    // Without saved state an interrupted upload starts over; this must not prevent the upload
    // itself.
    let _unwritten = memory.save(&path);
    Ok(UploadState { path, offset: 0, video_id: reply.text("video-id") })
}

async fn patch(
    rest: &Rest,
    source: &SourceFile<'_>,
    upload_state: &UploadState,
    bar: &ProgressBar,
) -> Result<Reply> {
    let mut file = File::open(source.path).await?;
    file.seek(SeekFrom::Start(upload_state.offset)).await?;
    let left = source.meta.len() - upload_state.offset;
    let progress = bar.clone();
    let pieces = ReaderStream::with_capacity(file.take(left), READ_BYTES);
    let pieces = pieces.inspect_ok(move |piece| progress.inc(piece.len() as u64));
    let body = BodyExt::boxed(StreamBody::new(pieces.map_ok(Frame::data)));
    let headers = [
        (RESUMABLE, "1.0.0".to_owned()),
        (OFFSET, upload_state.offset.to_string()),
        (header::CONTENT_TYPE, OCTETS.to_owned()),
        (header::CONTENT_LENGTH, left.to_string()),
    ];
    rest.send(Method::PATCH, &upload_state.path, &headers, body).await
}

/// Whether the same request may succeed a moment later.
fn transient(status: StatusCode) -> bool {
    let own = [StatusCode::CONFLICT, StatusCode::LOCKED, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || own.contains(&status)
}

fn offset(reply: &Reply) -> Result<u64> {
    reply.text("upload-offset").parse().context("the reply has no upload offset")
}

fn empty() -> Body {
    BodyExt::boxed(Empty::new().map_err(|never| match never {}))
}

/// Checks that the file can be read, before the server reserves space for it.
pub(crate) fn readable_file(path: &Path) -> Result<Metadata> {
    let meta = std::fs::metadata(path).with_context(|| format!("open {}", path.display()))?;
    if !meta.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    // Detects missing permissions now rather than after the server has reserved space.
    std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(meta)
}
