//! OpenID Connect Discovery: where browsers sign in at the identity provider. Only the console uses
//! it; JWTs are verified without it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use runtime::retry::doubled;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::fetch::{FetchError, Fetcher, trusted};

/// Below the issuer (OpenID Connect Discovery 1.0, section 4).
const PATH: &str = "/.well-known/openid-configuration";
/// Time between two fetches when the last one succeeded.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// Time between two attempts after a failure; doubles from the first value to the second.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Why the provider's description is unknown.
#[derive(Debug, thiserror::Error)]
enum DiscoveryError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the document does not describe an OpenID provider")]
    Malformed(#[from] serde_json::Error),
    #[error("the document has another issuer than STREAMING_JWT_ISSUER")]
    Issuer,
    #[error("token_endpoint {0}")]
    Endpoint(String),
}

/// How browsers sign in at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInOptions {
    /// The issuer.
    pub issuer: String,
    /// The console's name at the provider.
    pub client_id: String,
    /// The origins that a browser contacts: the issuer's and its token endpoint's, each once.
    pub origins: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: String,
}

/// The provider's description, fetched periodically.
pub struct Discovery {
    issuer: String,
    client_id: String,
    fetcher: Fetcher,
    known: RwLock<Option<Arc<SignInOptions>>>,
}

impl Discovery {
    /// Describes the provider with this issuer, without fetching anything yet.
    ///
    /// # Errors
    /// The issuer is not a URL from which documents can be trusted; the text states the reason.
    pub(super) fn new(issuer: &str, client_id: &str) -> Result<Self, String> {
        trusted(issuer)?;
        let fetcher = Fetcher::new(&format!("{}{PATH}", issuer.trim_end_matches('/')))?;
        let (issuer, client_id) = (issuer.to_owned(), client_id.to_owned());
        Ok(Self { issuer, client_id, fetcher, known: RwLock::default() })
    }

    /// The latest description; `None` until the provider has answered once.
    pub fn options(&self) -> Option<Arc<SignInOptions>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the description every few minutes until `stop`; sooner after a failure. The last valid
    /// one stays in use.
    pub(super) async fn keep(&self, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let pause = match self.fetch().await {
                Ok(options) => {
                    if failures > 0 || self.options().is_none() {
                        tracing::info!(host = self.fetcher.host(), "OpenID provider found");
                    }
                    failures = 0;
                    let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                    *known = Some(Arc::new(options));
                    REFRESH_EVERY.mul_f64(0.9 + rand::random::<f64>() / 10.0)
                }
                Err(error) => {
                    failures += 1;
                    // Log once per outage.
                    if failures == 1 {
                        let cause = crate::db::causes(&error);
                        let host = self.fetcher.host();
                        tracing::warn!(host, %error, cause, "failed to find the OpenID provider");
                    }
                    doubled(RETRY_MIN, failures, RETRY_MAX)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn fetch(&self) -> Result<SignInOptions, DiscoveryError> {
        let document: Document = serde_json::from_slice(&self.fetcher.get().await?)?;
        if document.issuer != self.issuer {
            return Err(DiscoveryError::Issuer);
        }
        let origin = |url: &str| trusted(url).map(|(url, _)| url.origin().ascii_serialization());
        let endpoint = origin(&document.token_endpoint).map_err(DiscoveryError::Endpoint)?;
        let mut origins = vec![origin(&self.issuer).map_err(DiscoveryError::Endpoint)?, endpoint];
        origins.dedup();
        Ok(SignInOptions { issuer: document.issuer, client_id: self.client_id.clone(), origins })
    }
}
