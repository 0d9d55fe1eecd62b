//! JWTs for playback: control exchanges each one for a biscuit once, which is then verified offline like any
//! other until it expires. So playback continues while control cannot be reached.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, auth_service_client::AuthServiceClient},
};
use authz::JwtNames;
use quick_cache::sync::Cache;
use runtime::{Clock, SystemClock};

use crate::{
    app::App,
    control::{CALL_TIME_MAX, caller::Caller, refusal},
};

/// Most JWTs whose biscuits are cached.
const KNOWN_MAX: usize = 10_000;
/// How long a rejection is repeated without calling control.
const REFUSED: Duration = Duration::from_secs(5);

/// Results of exchanges, by the digest of the JWT's whole text: the same JWT with another signature is
/// verified anew.
pub(crate) struct Exchange {
    known: Cache<[u8; 32], Known>,
}

#[derive(Clone)]
struct Known {
    outcome: Result<Arc<str>, Problem>,
    /// In milliseconds since 1970.
    until_ms: i64,
}

impl Exchange {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self { known: Cache::new(KNOWN_MAX) }
    }

    /// The cached biscuit of a JWT.
    pub(crate) fn known(&self, jwt: &str, now_ms: i64) -> Option<Arc<str>> {
        let known = self.known.get(&authz::digest(jwt))?;
        known.outcome.ok().filter(|_| known.until_ms > now_ms)
    }

    /// The biscuit for a JWT, from the cache or from control.
    ///
    /// # Errors
    /// If control rejects the JWT or cannot be reached (503), or if the JWT is revoked.
    pub(crate) async fn biscuit(
        &self,
        app: &App,
        jwt: &str,
        caller: &Caller,
    ) -> Result<Arc<str>, Problem> {
        let digest = authz::digest(jwt);
        if app.verifier.is_revoked(&JwtNames::of(jwt).revocation_ids()) {
            return Err(Problem::new(Code::Unauthenticated, "token has been revoked"));
        }
        let now_ms = SystemClock.now_ms();
        if let Some(known) = self.known.get(&digest).filter(|known| known.until_ms > now_ms) {
            return known.outcome;
        }
        let exchanged = app
            .control
            .call(CALL_TIME_MAX, |channel| {
                let request = caller.ask(v1::ExchangeTokenRequest { token: jwt.to_owned() });
                async move { AuthServiceClient::new(channel).exchange_token(request).await }
            })
            .await;
        let known = match exchanged {
            Ok(reply) => {
                let end = reply.expires_at.map_or(0, |end| end.seconds);
                Known { outcome: Ok(reply.token.into()), until_ms: end.saturating_mul(1000) }
            }
            Err(status) => {
                let problem = refusal(&status);
                // Not cached: the condition may be gone a moment later, and must not affect the requests of
                // other clients.
                if matches!(problem.code, Code::Unavailable | Code::Timeout | Code::RateLimited) {
                    return Err(problem);
                }
                let until_ms = now_ms.saturating_add(REFUSED.as_millis() as i64);
                Known { outcome: Err(problem), until_ms }
            }
        };
        self.known.insert(digest, known.clone());
        known.outcome
    }
}
