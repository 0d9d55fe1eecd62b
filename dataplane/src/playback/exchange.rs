//! JWTs for playback: control exchanges each one for a biscuit once, which is then verified offline
//! like any other until it expires. So playback continues while control cannot be reached.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, auth_service_client::AuthServiceClient},
};
use authz::{JwtNames, Verifier};
use quick_cache::sync::Cache;
use runtime::{Clock, SystemClock};

use crate::control::{Control, caller::Caller};

/// Most JWTs whose biscuits are cached.
const CACHED_MAX: usize = 10_000;
/// How long a rejection is repeated without calling control.
const REJECTED: Duration = Duration::from_secs(5);

/// Results of exchanges, by the digest of the JWT's whole text: the same JWT with another signature
/// is verified again.
pub(crate) struct TokenExchange {
    cached: Cache<[u8; 32], Exchanged>,
    control: Arc<Control>,
    verifier: Arc<Verifier>,
}

#[derive(Clone)]
struct Exchanged {
    outcome: Result<Arc<str>, Problem>,
    /// In milliseconds since 1970.
    until_ms: i64,
}

impl TokenExchange {
    /// An empty cache.
    pub(crate) fn new(control: Arc<Control>, verifier: Arc<Verifier>) -> Self {
        Self { cached: Cache::new(CACHED_MAX), control, verifier }
    }

    /// The cached biscuit of a JWT.
    pub(crate) fn cached(&self, jwt: &str, now_ms: i64) -> Option<Arc<str>> {
        let cached = self.cached.get(&authz::digest(jwt))?;
        cached.outcome.ok().filter(|_| cached.until_ms > now_ms)
    }

    /// The biscuit for a JWT, from the cache or from control.
    ///
    /// # Errors
    /// If control rejects the JWT or cannot be reached (503), or if the JWT is revoked.
    pub(crate) async fn biscuit(&self, jwt: &str, caller: &Caller) -> Result<Arc<str>, Problem> {
        let digest = authz::digest(jwt);
        if self.verifier.is_revoked(&JwtNames::of(jwt).revocation_ids()) {
            return Err(Problem::new(Code::Unauthenticated, "token has been revoked"));
        }
        let now_ms = SystemClock.now_ms();
        if let Some(cached) = self.cached.get(&digest).filter(|cached| cached.until_ms > now_ms) {
            return cached.outcome;
        }
        let message = v1::ExchangeTokenRequest { token: jwt.to_owned() };
        let exchanged = self
            .control
            .unary(caller, message, async |channel, request| {
                AuthServiceClient::new(channel).exchange_token(request).await
            })
            .await;
        let cached = match exchanged {
            Ok(reply) => {
                let end = reply.expires_at.map_or(0, |end| end.seconds);
                Exchanged { outcome: Ok(reply.token.into()), until_ms: end.saturating_mul(1000) }
            }
            Err(problem) => {
                // Not cached: the condition may end a moment later, and must not affect the
                // requests of other clients.
                if matches!(problem.code, Code::Unavailable | Code::Timeout | Code::RateLimited) {
                    return Err(problem);
                }
                let until_ms = now_ms.saturating_add(REJECTED.as_millis() as i64);
                Exchanged { outcome: Err(problem), until_ms }
            }
        };
        self.cached.insert(digest, cached.clone());
        cached.outcome
    }
}
