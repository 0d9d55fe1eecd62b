//! Reads and writes objects in S3 through presigned URLs: one bounded request at a time. The worker
//! has no S3 credentials, and no error or log contains a URL.

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use media::Sha256Digest;
use rand::Rng;
use reqwest::{Response, StatusCode, header, redirect::Policy};
use runtime::Secret;
use thiserror::Error;

/// The header with an object's digest; the presigned URL's signature covers it.
const CHECKSUM: &str = "x-amz-checksum-sha256";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Time limit of a request for one block of a source.
const GET_TIME_MAX: Duration = Duration::from_secs(15);
/// Time limit of a request that writes one object; larger objects get more.
const PUT_TIME_MIN: Duration = Duration::from_secs(30);
const PUT_BYTES_PER_SECOND_MIN: u64 = 512 << 10;
/// How long a task waits while its store is down: doubled each time, up to `DEFER_MAX`.
const DEFER_MIN: Duration = Duration::from_secs(2);
const DEFER_MAX: Duration = Duration::from_secs(60);

/// Why a request to the store failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BucketError {
    /// The store is down, busy or unreachable; retry later.
    #[error("the store is unavailable ({0})")]
    Down(String),
    /// The URL has expired or does not allow this request.
    #[error("the store rejected a presigned URL ({0})")]
    Denied(String),
    /// The object does not exist, or has been replaced.
    #[error("the object is not in the store")]
    Missing,
    /// The lease that the request belongs to is lost.
    #[error("the lease is lost")]
    LeaseLost,
}

/// A range of an object, and information about the object.
#[derive(Debug)]
pub struct Part {
    /// The requested bytes, or fewer at the object's end.
    pub bytes: Bytes,
    /// The whole object's size.
    pub total: u64,
    /// The object's version.
    pub etag: Option<String>,
}

/// A client for the stores that leases refer to.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Consecutive tasks that were deferred because a store was down.
    deferred: AtomicU32,
}

impl Client {
    /// Creates a client that reuses connections.
    ///
    /// # Errors
    /// When the system's TLS roots cannot be read.
    pub fn new() -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            // A redirect could lead to any server.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIME_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .http1_only()
            .build()?;
        Ok(Self { http, deferred: AtomicU32::new(0) })
    }

    /// Reads a range; if `etag` is known, only of that version.
    pub(crate) async fn get(
        &self,
        url: &Secret,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Part, BucketError> {
        let wanted = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let mut request = self.http.get(url.expose()).header(header::RANGE, wanted);
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        let reply = request.timeout(GET_TIME_MAX).send().await.map_err(|e| transport_error(&e))?;
        if reply.status() != StatusCode::PARTIAL_CONTENT {
            return Err(status_error(&reply));
        }
        let (start, total) = content_range(&reply)
            .filter(|(start, _)| *start == range.start)
            .ok_or_else(|| BucketError::Down("its reply is not the requested range".to_owned()))?;
        let etag = reply.headers().get(header::ETAG).and_then(|value| value.to_str().ok());
        let etag = etag.map(str::to_owned);
        let length = range.end.min(total).saturating_sub(start);
        let bytes = body(reply, length).await?;
        self.deferred.store(0, Ordering::Relaxed);
        Ok(Part { bytes, total, etag })
    }

    /// Writes a whole object.
    pub(crate) async fn put(
        &self,
        url: &Secret,
        bytes: Bytes,
        sha256: &Sha256Digest,
    ) -> Result<(), BucketError> {
        let time = bytes.len() as u64 / PUT_BYTES_PER_SECOND_MIN;
        let request = self.http.put(url.expose()).header(CHECKSUM, BASE64_STANDARD.encode(sha256));
        let request = request.timeout(PUT_TIME_MIN + Duration::from_secs(time)).body(bytes);
        let reply = request.send().await.map_err(|error| transport_error(&error))?;
        if !reply.status().is_success() {
            return Err(status_error(&reply));
        }
        self.deferred.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// How long to defer a task whose store is down.
    pub fn defer(&self) -> Duration {
        let before = self.deferred.fetch_add(1, Ordering::Relaxed);
        let longest = (DEFER_MIN * 2_u32.saturating_pow(before.min(8))).min(DEFER_MAX);
        longest.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

/// Reads a body of exactly `length` bytes; a body that ends early is an error.
async fn body(mut reply: Response, length: u64) -> Result<Bytes, BucketError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::new();
    while let Some(piece) = reply.chunk().await.map_err(|error| transport_error(&error))? {
        if bytes.len() + piece.len() > length {
            return Err(BucketError::Down("its reply is too long".to_owned()));
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() < length {
        return Err(BucketError::Down("its reply ended early".to_owned()));
    }
    Ok(bytes.freeze())
}

/// The first byte and the object's size.
fn content_range(reply: &Response) -> Option<(u64, u64)> {
    let text = reply.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()?))
}

/// Keeps only the kind of the error, because its text contains the URL.
fn transport_error(error: &reqwest::Error) -> BucketError {
    let reason = if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "the connection was lost"
    };
    BucketError::Down(reason.to_owned())
}

fn status_error(reply: &Response) -> BucketError {
    let status = reply.status();
    match status {
        StatusCode::NOT_FOUND
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::RANGE_NOT_SATISFIABLE => BucketError::Missing,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            BucketError::Down(status.as_str().to_owned())
        }
        status if status.is_client_error() => BucketError::Denied(status.as_str().to_owned()),
        status => BucketError::Down(status.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BucketError, Client};

    #[test]
    fn tasks_are_deferred_longer_while_a_store_stays_down() {
        let client = Client::new().unwrap();
        let pauses: Vec<Duration> = (0..8).map(|_| client.defer()).collect();
        assert!(pauses[0] <= Duration::from_secs(2), "{pauses:?}");
        assert!(pauses[7] >= Duration::from_secs(30), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn errors_never_contain_the_url() {
        let client = Client::new().unwrap();
        let url = runtime::Secret::new("http://127.0.0.1:9/source?X-Amz-Signature=abc");
        let error = client.get(&url, 0..10, None).await.unwrap_err();
        assert!(matches!(error, BucketError::Down(_)));
        assert!(!format!("{error} {error:?}").contains("127.0.0.1"), "{error:?}");
    }
}
