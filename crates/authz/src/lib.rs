//! Biscuits: mint them, narrow them, verify them; JWTs of an identity provider; what each role may do.
//!
//! Three properties carry everything else:
//! - **Who** a token stands for is read from its authority block alone, which only a root key can sign. A
//!   block that a holder appends may add checks, never rights.
//! - Every request publishes the same facts (`time`, `operation`, `resource`, `ip`), so that an appended
//!   check always finds what it asks about, or fails.
//! - A playback token and a bearer token are different kinds: neither passes where the other is asked for.
//!
//! **Invariant:** no network, no clock: the present time is an argument.

mod cost;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod keys;
mod mint;
mod names;
pub mod narrow;
pub mod role;
mod token;
mod verify;

pub use keys::{KeyError, PublicKeys, RootKeys};
pub use mint::{Grant, PlaybackGrant};
pub use names::JwtNames;
pub use narrow::{Restriction, narrow};
pub use role::{Operation, Role};
pub use verify::{Playback, Principal, Request, Verifier};

/// Why a token is refused. No variant holds any part of the token.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    /// No biscuit, or one that lacks what every token of ours holds.
    #[error("token is malformed")]
    Malformed,
    /// Signed by a key that we do not know, or changed after signing.
    #[error("token has no valid signature")]
    BadSignature,
    /// Its time is over.
    #[error("token has expired")]
    Expired,
    /// Taken back.
    #[error("token has been revoked")]
    Revoked,
    /// Genuine, but it does not allow this; the text says why.
    #[error("the token does not allow this: {0}")]
    Forbidden(String),
    /// Larger than tokens may be, or with more in it than tokens of ours need.
    #[error("token exceeds a limit")]
    Limit,
    /// This machine was too busy to evaluate it in time. Says nothing about the holder's rights.
    #[error("token could not be checked in time")]
    Busy,
}

impl AuthError {
    /// A word for a metric's label; the set is closed.
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

/// What the verdict on a token is remembered by: its whole text, signature included. A JWT is revoked by
/// [`JwtNames`].
pub fn digest(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

/// Whether a bearer token has a JWT's form: biscuits hold no dots.
pub fn is_jwt(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}
