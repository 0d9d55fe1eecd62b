//! JWTs among the bearer tokens: verified before a call reaches its handler, because that may mean
//! fetching keys, and the gate itself never waits.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use authz::{
    JwtNames, is_jwt,
    jwt::{Identity, JwtError},
};
use futures::future::BoxFuture;
use http::{Request, header};
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use crate::{deps::Deps, jwt::Refusal};

/// What the call's bearer turned out to be, left for the gate.
#[derive(Clone, Debug)]
pub struct Presented {
    /// What the JWT may be revoked by.
    pub names: JwtNames,
    /// Whom it stands for, or why it does not count.
    pub verdict: Result<Identity, Refusal>,
}

/// The token of an `Authorization: Bearer` header.
pub fn token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Puts [`Presented`] into the calls that bring a JWT, when a provider is configured.
#[derive(Clone, Debug)]
pub struct JwtLayer(pub Arc<Deps>);

impl<S> Layer<S> for JwtLayer {
    type Service = JwtService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JwtService { deps: self.0.clone(), inner }
    }
}

/// See [`JwtLayer`].
#[derive(Clone, Debug)]
pub struct JwtService<S> {
    deps: Arc<Deps>,
    inner: S,
}

impl<S, B> Service<Request<B>> for JwtService<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was polled ready is the one that must be called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let deps = self.deps.clone();
        Box::pin(async move {
            let header = request.headers().get(header::AUTHORIZATION);
            let token = header.and_then(|value| token(value.to_str().ok()?)).map(str::to_owned);
            if let (Some(provider), Some(token)) = (&deps.jwt, token)
                && is_jwt(&token)
            {
                let mut verdict = provider.verify(&token, deps.clock.now_unix()).await;
                if matches!(verdict, Err(Refusal::Token(JwtError::Expired))) {
                    let peer = request.extensions().get::<TcpConnectInfo>();
                    let peer = peer.and_then(TcpConnectInfo::remote_addr);
                    let began = deps.began(request.headers(), peer);
                    verdict = provider.verify(&token, began).await;
                }
                let names = JwtNames::of(&token);
                request.extensions_mut().insert(Presented { names, verdict });
            }
            inner.call(request).await
        })
    }
}
