//! Presigned URLs: one object, one method, a bounded time. What a worker gets instead of keys.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer};
use runtime::Secret;

use crate::Store;

/// S3 compares what it gets with this header, and the signature covers it.
pub const CHECKSUM_HEADER: &str = "x-amz-checksum-sha256";

/// A raw digest as [`CHECKSUM_HEADER`] takes it.
pub fn checksum(sha256: &[u8]) -> String {
    BASE64_STANDARD.encode(sha256)
}

impl Store {
    /// A URL that reads `key` for `lifetime`; none for a local store.
    ///
    /// # Errors
    /// When no credentials can be had.
    pub async fn sign_get(
        &self,
        key: &str,
        lifetime: Duration,
    ) -> Result<Option<Secret>, object_store::Error> {
        let Some(s3) = &self.s3 else { return Ok(None) };
        let url = s3.signed_url(Method::GET, &self.locate(key), lifetime).await?;
        Ok(Some(Secret::new(url)))
    }

    /// A URL that writes `key` for `lifetime`, with the bytes of this digest and no others; none for a
    /// local store.
    ///
    /// # Errors
    /// When no credentials can be had.
    pub async fn sign_put(
        &self,
        key: &str,
        sha256: &[u8],
        lifetime: Duration,
    ) -> Result<Option<Secret>, object_store::Error> {
        let Some(s3) = &self.s3 else { return Ok(None) };
        let value = HeaderValue::try_from(checksum(sha256)).map_err(|error| {
            object_store::Error::Generic { store: "S3", source: Box::new(error) }
        })?;
        let header = HeaderName::from_static(CHECKSUM_HEADER);
        let options = SignedUrlOptions::new().with_signed_header(header, value);
        let path = self.locate(key);
        let url = s3.signed_url_opts(Method::PUT, &path, lifetime, &options).await?;
        Ok(Some(Secret::new(url)))
    }
}
