//! Presigned URLs: one object, one method, a limited time. Workers receive them instead of
//! credentials.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer};
use runtime::Secret;

use crate::Store;

/// S3 verifies the received bytes against this header, which the signature covers.
pub const CHECKSUM_HEADER: &str = "x-amz-checksum-sha256";

/// Encodes a raw digest for [`CHECKSUM_HEADER`].
pub fn checksum(sha256: &[u8]) -> String {
    BASE64_STANDARD.encode(sha256)
}

impl Store {
    /// A URL for reading `key`, valid for `lifetime`; `None` for a local store.
    ///
    /// # Errors
    /// Credentials cannot be obtained.
    pub async fn sign_get(
        &self,
        key: &str,
        lifetime: Duration,
    ) -> Result<Option<Secret>, object_store::Error> {
        let Some(s3) = &self.s3 else { return Ok(None) };
        let url = s3.signed_url(Method::GET, &self.locate(key), lifetime).await?;
        Ok(Some(Secret::new(url)))
    }

    /// A URL for writing `key`, valid for `lifetime` and only for the bytes of this digest; `None`
    /// for a local store.
    ///
    /// # Errors
    /// Credentials cannot be obtained.
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
