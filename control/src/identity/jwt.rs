//! The identity provider whose JWTs are accepted, if one is configured: its keys and the claims
//! that its tokens must have. `authz::jwt` verifies JWTs; this module provides the keys.

pub mod config;
pub mod discovery;
mod fetch;
pub mod jwks;

use std::sync::Arc;

use authz::jwt::{self, Identity, JwtError, JwtKeys, Policy};
use tokio_util::sync::CancellationToken;

use self::{discovery::Discovery, jwks::Jwks};

/// Why a JWT is rejected.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum JwtVerifyError {
    /// The token is invalid.
    #[error(transparent)]
    Token(#[from] JwtError),
    /// The provider's keys are unknown, or too old to be trusted.
    #[error("the identity provider's keys cannot be fetched")]
    Unavailable,
}

/// The configured provider.
pub struct Provider {
    /// The claims that tokens must have.
    pub policy: Policy,
    /// The longest lifetime of a biscuit that a JWT is exchanged for, in seconds.
    pub ttl: i64,
    /// Keys from files.
    fixed: JwtKeys,
    /// Keys that the provider publishes.
    jwks: Option<Arc<Jwks>>,
    /// Where browsers sign in; `None` if the console does not offer it.
    pub discovery: Option<Arc<Discovery>>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Provider {
    /// Verifies a token at `now` (Unix seconds). Fetches the provider's keys when that may help.
    ///
    /// # Errors
    /// The token is invalid, or the provider's keys are unavailable.
    pub async fn verify(&self, token: &str, now: i64) -> Result<Identity, JwtVerifyError> {
        let check = |keys: &JwtKeys| jwt::verify(token, keys, &self.policy, now);
        let Some(jwks) = &self.jwks else { return Ok(check(&self.fixed)?) };
        match check(&self.fixed) {
            Err(JwtError::UnknownKey) => {}
            other => return Ok(other?),
        }
        let keys = jwks.current().await.ok_or(JwtVerifyError::Unavailable)?;
        match check(&keys) {
            Err(JwtError::UnknownKey) if jwks.look_for_unknown_key().await => {
                let keys = jwks.current().await.ok_or(JwtVerifyError::Unavailable)?;
                Ok(check(&keys)?)
            }
            other => Ok(other?),
        }
    }

    /// Keeps the provider's keys and description fresh until `stop`.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let keys = async {
            if let Some(jwks) = &self.jwks {
                jwks.keep(stop.clone()).await;
            }
        };
        let description = async {
            if let Some(discovery) = &self.discovery {
                discovery.keep(stop.clone()).await;
            }
        };
        tokio::join!(keys, description);
    }
}
