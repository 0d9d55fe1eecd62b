//! Verifies JWTs among the bearer tokens before a call reaches its handler, because verification
//! may have to fetch keys and the authorizer must not wait.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use authz::{
    JwtNames, bearer_token, is_jwt,
    jwt::{Identity, JwtError},
};
use futures::future::BoxFuture;
use http::{Request, header};
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use crate::{identity::jwt::JwtVerifyError, state::AppState};

/// The result of verifying a call's JWT, stored in the request for the authorizer.
#[derive(Clone, Debug)]
pub struct CheckedJwt {
    /// The names by which the JWT may be revoked.
    pub names: JwtNames,
    /// The identity in its claims, or why the JWT is rejected.
    pub identity: Result<Identity, JwtVerifyError>,
}

/// Adds [`CheckedJwt`] to calls with a JWT when an identity provider is configured.
#[derive(Clone, Debug)]
pub struct JwtLayer(pub Arc<AppState>);

impl<S> Layer<S> for JwtLayer {
    type Service = JwtService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JwtService { app: self.0.clone(), inner }
    }
}

/// See [`JwtLayer`].
#[derive(Clone, Debug)]
pub struct JwtService<S> {
    app: Arc<AppState>,
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
        // The instance that was polled ready must be the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let app = self.app.clone();
        Box::pin(async move {
            let header = request.headers().get(header::AUTHORIZATION);
            let token =
                header.and_then(|value| bearer_token(value.to_str().ok()?)).map(str::to_owned);
            if let (Some(provider), Some(token)) = (&app.jwt, token)
                && is_jwt(&token)
            {
                let mut identity = provider.verify(&token, app.clock.now_unix()).await;
                if matches!(identity, Err(JwtVerifyError::Token(JwtError::Expired))) {
                    let peer = request.extensions().get::<TcpConnectInfo>();
                    let peer = peer.and_then(TcpConnectInfo::remote_addr);
                    let began = app.began(request.headers(), peer);
                    identity = provider.verify(&token, began).await;
                }
                let names = JwtNames::of(&token);
                request.extensions_mut().insert(CheckedJwt { names, identity });
            }
            inner.call(request).await
        })
    }
}
