//! The identity for calls to the control plane: the caller's own credentials, unchanged, and the
//! client's address, which the control plane trusts because this plane's own token is sent with it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use api::code::{Code, Problem};
use http::{HeaderMap, HeaderValue, header};
use runtime::{Clock, SystemClock};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
};

use super::{Control, forwarded};
use crate::http::bearer;

/// The caller of a request.
#[derive(Clone)]
pub(crate) struct Caller {
    authorization: Option<HeaderValue>,
    client: Option<MetadataValue<Ascii>>,
    plane: Option<MetadataValue<Ascii>>,
    /// When the request began, in Unix seconds.
    began: i64,
    authorized: Arc<AtomicBool>,
}

impl Caller {
    /// The caller at `client`, with the bearer token of the request, if any.
    pub(crate) fn new(control: &Control, headers: &HeaderMap, client: IpAddr) -> Self {
        let authorization = bearer::token(headers).and(headers.get(header::AUTHORIZATION));
        Self {
            authorization: authorization.cloned(),
            client: client.to_string().parse().ok(),
            plane: control.bare_token(),
            began: SystemClock.now_unix(),
            authorized: Arc::default(),
        }
    }

    /// A caller of a route that takes no bearer token; one that is sent has no effect.
    pub(crate) fn anonymous(control: &Control, client: IpAddr) -> Self {
        Self::new(control, &HeaderMap::new(), client)
    }

    /// A caller that must have a bearer token.
    ///
    /// # Errors
    /// 401: the request has no bearer token.
    pub(crate) fn bearing(
        control: &Control,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Self, Problem> {
        let caller = Self::new(control, headers, client);
        match caller.authorization {
            Some(_) => Ok(caller),
            None => Err(Problem::new(Code::Unauthenticated, "a bearer token is needed")),
        }
    }

    /// The same caller with the plane's current token: a transfer may outlive the one it began
    /// with.
    pub(crate) fn renewed(&self, control: &Control) -> Self {
        let plane = control.bare_token().or_else(|| self.plane.clone());
        Self { plane, ..self.clone() }
    }

    /// Records that control authorized this request: its token was valid when the request began.
    pub(crate) fn mark_authorized(&self) {
        self.authorized.store(true, Ordering::Relaxed);
    }

    /// Whether control authorized this request.
    pub(crate) fn is_authorized(&self) -> bool {
        self.authorized.load(Ordering::Relaxed)
    }

    /// The bearer token.
    pub(crate) fn token(&self) -> Option<&str> {
        bearer::token_of(self.authorization.as_ref()?)
    }

    /// A gRPC request with the caller's credentials.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = match &self.authorization {
            Some(authorization) => forwarded(message, authorization),
            None => Request::new(message),
        };
        if let (Some(client), Some(plane)) = (&self.client, &self.plane) {
            request.metadata_mut().insert(api::CLIENT_METADATA, client.clone());
            request.metadata_mut().insert(api::PLANE_METADATA, plane.clone());
            request.metadata_mut().insert(api::BEGAN_METADATA, self.began.into());
        }
        request
    }
}
