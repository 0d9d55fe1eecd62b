//! Verifies an identity provider's JWT: signature, validity period, audience, and the identity in
//! its claims.
//!
//! Only RS256, ES256, EdDSA and HS256 are supported, and each key verifies exactly one of them, so
//! that a token cannot choose how it is checked. Key references inside a token (`jku`, `x5u`,
//! `jwk`) are never followed; `kid` is only compared. The library checks the signature, this module
//! the claims, because a claim of the wrong type must make the token invalid and the time must be
//! an argument.

mod claims;
mod keys;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

pub use claims::{Identity, Policy};
pub use keys::{JwtKeys, KeySetError};

use self::keys::Algorithm;
use crate::token::TOKEN_BYTES_MAX;

/// Bytes of a decoded header, which is parsed before any signature is checked.
const HEADER_BYTES_MAX: usize = 2048;
/// Bytes of a key id.
const KEY_ID_BYTES_MAX: usize = 256;
/// Token types that may authorize a request. An ID token states who logged in to a client, not what
/// its bearer may do.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// Why a JWT is rejected. No variant contains any part of the token.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum JwtError {
    /// Not a JWT, or a JWT in an unsupported form.
    #[error("token is malformed")]
    Malformed,
    /// Longer than the size limit.
    #[error("token is too long")]
    TooLong,
    /// No key is configured for its algorithm.
    #[error("token's algorithm is not accepted")]
    Algorithm,
    /// No key has this id; fetching the provider's keys again may help.
    #[error("token is signed by an unknown key")]
    UnknownKey,
    /// The signature does not match the key.
    #[error("token has no valid signature")]
    BadSignature,
    /// Its `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// Its `nbf` or `iat` is in the future.
    #[error("token is not valid yet")]
    NotYet,
    /// A claim is missing, has the wrong type, or has an unexpected value; contains the claim's
    /// name.
    #[error("claim {0} of the token is missing or invalid")]
    Claim(&'static str),
    /// Genuine, but its role claim names no role that an identity provider may grant.
    #[error("token names no role of this service")]
    Role,
    /// Genuine, but its tenant claim is not a valid tenant, or is absent without a default.
    #[error("token names no tenant")]
    Tenant,
}

impl JwtError {
    /// The value of a metric's label, from a closed set.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "limit",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Claim(_) => "claim",
            Self::Role => "role",
            Self::Tenant => "tenant",
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

/// Verifies a JWT at `now` (Unix seconds) and returns the identity in its claims.
///
/// # Errors
/// When the token is malformed, too long, not signed by one of `keys`, outside its validity period,
/// or has claims that do not satisfy `policy`.
pub fn verify(text: &str, keys: &JwtKeys, policy: &Policy, now: i64) -> Result<Identity, JwtError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(JwtError::TooLong);
    }
    let (message, signature) = text.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(JwtError::Malformed)?;
    if payload.contains('.') || signature.is_empty() {
        return Err(JwtError::Malformed);
    }
    let header = read_header(header)?;
    let algorithm = Algorithm::parse(&header.alg).ok_or(JwtError::Algorithm)?;
    keys.verify(algorithm, header.kid.as_deref(), message, signature)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| JwtError::Malformed)?;
    let claims = serde_json::from_slice(&payload).map_err(|_| JwtError::Malformed)?;
    claims::identity(&claims, policy, now)
}

/// When a JWT ends by its own claim, which is not verified here.
pub fn claimed_end(text: &str) -> Option<i64> {
    let payload = text.split('.').nth(1).filter(|_| text.len() <= TOKEN_BYTES_MAX)?;
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    claims::time(&claims, "exp").ok()?
}

fn read_header(text: &str) -> Result<Header, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| JwtError::Malformed)?;
    if bytes.len() > HEADER_BYTES_MAX {
        return Err(JwtError::Malformed);
    }
    let header: Header = serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)?;
    // `crit` lists extensions that a recipient must understand; none are supported here.
    let critical = header.crit.is_some();
    let long = header.kid.as_ref().is_some_and(|kid| kid.len() > KEY_ID_BYTES_MAX);
    if critical || long {
        return Err(JwtError::Malformed);
    }
    match &header.typ {
        Some(typ) if !TYPES.contains(&typ.to_ascii_lowercase().as_str()) => {
            Err(JwtError::Claim("typ"))
        }
        _ => Ok(header),
    }
}
