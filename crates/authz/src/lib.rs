//! Mints, narrows, renews and verifies biscuits, makes sessions from them, verifies JWTs of an identity
//! provider, and defines what each role may do.
//!
//! The design rests on three properties:
//! - A token's **identity** is read only from its authority block, which only a root key can sign.
//!   A block that a holder appends can add checks, never rights.
//! - Every request provides the same facts (`time`, `operation`, `resource`, `ip`), so that an
//!   appended check either finds the fact that it refers to, or fails.
//! - Playback tokens and bearer tokens are different kinds: neither is accepted in place of the
//!   other.
//!
//! **Invariant:** no network, no files and no clock; callers pass key files' content and the
//! current time.

mod blocks;
mod cost;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod keys;
mod mint;
mod names;
pub mod narrow;
mod renew;
pub mod role;
mod session;
mod token;
mod uses;
mod verify;

pub use keys::{KeyError, PublicKeys, RootKeys};
pub use mint::{Grant, PlaybackGrant};
pub use names::JwtNames;
pub use narrow::{Restriction, narrow};
pub use renew::{PLAYBACK_SECONDS_MAX, RenewalError, Renewed};
pub use role::{Operation, Role};
pub use session::{Credential, Origin, SESSION_SECONDS_MAX};
pub use uses::TokenUse;
pub use verify::{Playback, Principal, Request, Verifier};

/// Why a token is rejected. No variant contains any part of the token.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    /// Not a biscuit, or one without the facts that every token of this service has.
    #[error("token is malformed")]
    Malformed,
    /// Signed with an unknown key, or changed after signing.
    #[error("token has no valid signature")]
    BadSignature,
    /// Expired.
    #[error("token has expired")]
    Expired,
    /// Revoked.
    #[error("token has been revoked")]
    Revoked,
    /// Genuine, but it does not allow the request; the text states the reason.
    #[error("the token does not allow this: {0}")]
    Forbidden(String),
    /// Larger than a token may be, or more complex than the tokens of this service need to be.
    #[error("token exceeds a limit")]
    Limit,
    /// The machine was too busy to evaluate it in time, which proves nothing about the holder's
    /// rights.
    #[error("token could not be checked in time")]
    Busy,
}

impl AuthError {
    /// The reason as a metric's label; the set of values is closed.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadSignature => "signature",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Forbidden(_) => "forbidden",
            Self::Limit => "limit",
            Self::Busy => "busy",
        }
    }
}

/// The key under which a token's verification result is cached: a digest of the whole text,
/// signature included. JWTs are revoked by their [`JwtNames`] instead.
pub fn digest(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

/// Whether a bearer token has the form of a JWT: biscuits contain no dots.
pub fn is_jwt(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The token in the value of an `Authorization: Bearer` header.
pub fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::bearer_token;

    #[test]
    fn only_the_bearer_scheme_with_a_token_is_read() {
        assert_eq!(bearer_token("Bearer abc"), Some("abc"));
        assert_eq!(bearer_token("bEARER  abc "), Some("abc"));
        for none in ["", "Bearer", "Bearer ", "Bearer   ", "Basic abc", "abc", " Bearer abc"] {
            assert_eq!(bearer_token(none), None, "{none:?}");
        }
    }
}
