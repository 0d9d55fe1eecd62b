//! Reads the bearer token of a request.

use http::{HeaderMap, HeaderValue, header};

/// The token of an `Authorization: Bearer` header.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    token_of(headers.get(header::AUTHORIZATION)?)
}

/// The token in the value of such a header.
pub(crate) fn token_of(value: &HeaderValue) -> Option<&str> {
    authz::bearer_token(value.to_str().ok()?)
}
