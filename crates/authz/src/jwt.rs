//! An identity provider's JWT: is it genuine, in time, meant for us, and whom does it stand for?
//!
//! Only RS256, ES256, EdDSA and HS256, and each key verifies exactly one of them, so that a token cannot
//! choose how it is checked. Key references inside a token (`jku`, `x5u`, `jwk`) are never followed; `kid`
//! is compared and nothing else. The signature is checked by the library, the claims here: a claim of
//! the wrong type must refuse the token, and the time must be an argument.

mod claims;
mod keys;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

pub use claims::{Identity, Policy};
pub use keys::{JwtKeys, KeySetError};

use self::keys::Algorithm;
use crate::token::TOKEN_BYTES_MAX;

/// Bytes of a decoded header; ours to read before any signature is checked.
const HEADER_BYTES_MAX: usize = 2048;
/// Bytes of a key id.
const KEY_ID_BYTES_MAX: usize = 256;
/// Types of tokens that may authorise. An id token says who logged in to a client, not what a bearer may do.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// Why a JWT is refused. No variant holds any part of the token.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum JwtError {
    /// No JWT, or one in a form that is not taken.
    #[error("token is malformed")]
    Malformed,
    /// Longer than tokens may be.
    #[error("token is too long")]
    TooLong,
    /// Its algorithm is none of those that keys are configured for.
    #[error("token's algorithm is not accepted")]
    Algorithm,
    /// No key of that id; fetching the provider's keys again may help.
    #[error("token is signed by an unknown key")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("token has no valid signature")]
    BadSignature,
    /// Its time is over.
    #[error("token has expired")]
    Expired,
    /// Its time has not begun.
    #[error("token is not valid yet")]
    NotYet,
    /// A claim is missing, of the wrong type, or not what is required; its name.
    #[error("token's claim {0} is not what is required")]
    Claim(&'static str),
    /// Genuine, but its role claim names no role that people may have here.
    #[error("token names no role of this service")]
    Role,
    /// Genuine, but its tenant claim names no tenant.
    #[error("token names no tenant")]
    Tenant,
}

impl JwtError {
    /// A word for a metric's label; the set is closed.
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

/// Verifies a JWT at `now` (Unix seconds) and says whom it stands for.
///
/// # Errors
/// [`JwtError`]
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

fn read_header(text: &str) -> Result<Header, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| JwtError::Malformed)?;
    if bytes.len() > HEADER_BYTES_MAX {
        return Err(JwtError::Malformed);
    }
    let header: Header = serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)?;
    // "crit" names extensions that must be understood; we understand none.
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
