//! The identity for calls to the control plane: the caller's own credentials, unchanged, and the
//! client's address, which the control plane trusts because this plane's own token is sent with it.

use std::net::IpAddr;

use api::code::{Code, Problem};
use http::{HeaderMap, HeaderValue, header};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
};

use super::forwarded;
use crate::{app::App, playback::access};

/// The caller of a request.
#[derive(Clone)]
pub(crate) struct Caller {
    authorization: Option<HeaderValue>,
    client: Option<MetadataValue<Ascii>>,
    plane: Option<MetadataValue<Ascii>>,
}

impl Caller {
    /// The caller at `client`, with the bearer token of the request, if any.
    pub(crate) fn new(app: &App, headers: &HeaderMap, client: IpAddr) -> Self {
        let authorization = access::bearer(headers).and(headers.get(header::AUTHORIZATION));
        Self {
            authorization: authorization.cloned(),
            client: client.to_string().parse().ok(),
            plane: app.control.bare_token(),
        }
    }

    /// A caller that must have a bearer token.
    ///
    /// # Errors
    /// 401: the request has no bearer token.
    pub(crate) fn bearing(app: &App, headers: &HeaderMap, client: IpAddr) -> Result<Self, Problem> {
        let caller = Self::new(app, headers, client);
        match caller.authorization {
            Some(_) => Ok(caller),
            None => Err(Problem::new(Code::Unauthenticated, "a bearer token is needed")),
        }
    }

    /// The bearer token.
    pub(crate) fn token(&self) -> Option<&str> {
        access::bearer_of(self.authorization.as_ref()?)
    }

    /// A gRPC request with the caller's credentials.
    pub(crate) fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = match &self.authorization {
            Some(authorization) => forwarded(message, authorization),
            None => Request::new(message),
        };
        if let (Some(client), Some(plane)) = (&self.client, &self.plane) {
            request.metadata_mut().insert(api::CLIENT_METADATA, client.clone());
            request.metadata_mut().insert(api::PLANE_METADATA, plane.clone());
        }
        request
    }
}
