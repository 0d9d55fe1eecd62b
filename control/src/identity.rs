//! Identities of callers: root keys, JWTs of an identity provider, and the rate limit of rejected
//! tokens.

pub mod jwt;
pub mod key_file;
pub mod keys;
pub mod rejected_tokens;
