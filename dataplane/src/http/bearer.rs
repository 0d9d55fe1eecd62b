//! Reads the bearer token of a request.

use http::{HeaderMap, HeaderValue, header};

/// The token of an `Authorization: Bearer` header.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    token_of(headers.get(header::AUTHORIZATION)?)
}

/// The token in the value of such a header.
pub(crate) fn token_of(value: &HeaderValue) -> Option<&str> {
    let value = value.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
