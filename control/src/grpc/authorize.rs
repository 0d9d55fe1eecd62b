//! Authenticates and authorizes every RPC. One table states which operation each RPC is; the first
//! line of a handler calls [`AppState::authorize`].

use std::net::{IpAddr, SocketAddr};

use api::code::{Code, Problem};
use authz::{AuthError, Credential, Grant, Operation, Origin, Principal, Request as Ask, Role};
use http::HeaderMap;
use media::VideoId;
use tonic::{Request, metadata::MetadataMap};

use super::bearer::CheckedJwt;
use crate::{
    domain::{OPERATOR_TENANT, Owner},
    identity::rejected_tokens::TokenProblem,
    state::AppState,
};

/// Longest plausible time since a client's request began. Requests with longer bodies continue
/// under a lease.
const REQUEST_SECONDS_MAX: i64 = 90;

/// Every RPC that requires a token of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the calls in the .proto files")]
pub enum Rpc {
    CreateVideo,
    GetVideo,
    ListVideos,
    UpdateVideo,
    DeleteVideo,
    ReprobeVideo,
    CreateCaption,
    ListCaptions,
    DeleteCaption,
    BeginUpload,
    GetUpload,
    AcquireUpload,
    AdvanceUpload,
    CompleteUpload,
    AbortUpload,
    CreateJob,
    GetJob,
    ListJobs,
    CancelJob,
    RetryJob,
    WatchJob,
    ListProfiles,
    WatchEvents,
    Work,
    ListWorkers,
    DrainWorker,
    MintToken,
    MintPlaybackToken,
    GetIndex,
    GetProgress,
    DescribeVideo,
    WatchChanges,
    GetKeys,
    GetStatus,
    GetMetrics,
    GetSystem,
    CreateSignInCode,
    ListTokens,
    DeleteToken,
    ReportTokenUses,
}

impl Rpc {
    /// The operation for which a role is needed. Other RPCs are not listed: `RevokeToken`, which
    /// needs the admin role or the token itself; `CreateSession`, `SignOut` and `GetCaller`, which
    /// accept every bearer token ([`AppState::caller`]); `ExchangeToken`, `RenewPlaybackToken` and
    /// `SignIn`, which are authenticated by the token or code in their message; and
    /// `GetSignInOptions`, which is open.
    pub const fn operation(self) -> Operation {
        match self {
            Self::GetVideo
            | Self::ListVideos
            | Self::ListCaptions
            | Self::GetJob
            | Self::ListJobs
            | Self::WatchJob
            | Self::ListProfiles
            | Self::WatchEvents
            | Self::ListWorkers
            | Self::MintPlaybackToken => Operation::Read,
            Self::CreateVideo
            | Self::UpdateVideo
            | Self::ReprobeVideo
            | Self::CreateCaption
            | Self::DeleteCaption
            | Self::BeginUpload
            | Self::GetUpload
            | Self::AcquireUpload
            | Self::AdvanceUpload
            | Self::CompleteUpload
            | Self::AbortUpload
            | Self::CreateJob
            | Self::CancelJob
            | Self::RetryJob => Operation::Write,
            Self::DeleteVideo => Operation::Delete,
            Self::DrainWorker
            | Self::MintToken
            | Self::GetSystem
            | Self::CreateSignInCode
            | Self::ListTokens
            | Self::DeleteToken => Operation::Admin,
            Self::Work => Operation::Work,
            Self::GetIndex
            | Self::GetProgress
            | Self::DescribeVideo
            | Self::WatchChanges
            | Self::GetKeys
            | Self::GetStatus
            | Self::GetMetrics
            | Self::ReportTokenUses => Operation::Serve,
        }
    }
}

impl From<Rpc> for Operation {
    fn from(rpc: Rpc) -> Self {
        rpc.operation()
    }
}

/// The bearer token of a call.
///
/// # Errors
/// [`Code::Unauthenticated`] if the call has no bearer token.
pub fn bearer(metadata: &MetadataMap) -> Result<&str, Problem> {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
    header
        .and_then(authz::bearer_token)
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "a bearer token is needed"))
}

impl AppState {
    /// Authorizes a call for an operation, or returns why it is rejected. `video` is the video that
    /// the call concerns, if any.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] if the token is missing or invalid, [`Code::PermissionDenied`] if
    /// its role does not allow the operation, [`Code::RateLimited`] after too many rejected tokens.
    pub fn authorize<T>(
        &self,
        operation: impl Into<Operation>,
        request: &Request<T>,
        video: Option<VideoId>,
    ) -> Result<Principal, Problem> {
        let operation = operation.into();
        let token = bearer(request.metadata())?;
        let address = self.client(request);
        let authenticate = |now| {
            let ask = Ask { now, operation, video, address };
            match request.extensions().get::<CheckedJwt>() {
                Some(presented) => self.authenticate_jwt(presented, &ask),
                None => self.verifier.authenticate(token, &ask).map_err(TokenProblem::from),
            }
        };
        let principal = match authenticate(self.clock.now_unix()) {
            Err(rejected) if rejected.reason == AuthError::Expired.reason() => {
                authenticate(self.began(request.metadata().as_ref(), request.remote_addr()))
            }
            authenticated => authenticated,
        };
        let principal = principal.map_err(|rejected| {
            self.rejected_tokens.reject(rejected, address, self.clock.now_ms())
        })?;
        if operation == Operation::Serve && !may_serve(&principal) {
            let text = "only the operator's admins may do this";
            return Err(Problem::new(Code::PermissionDenied, text));
        }
        Ok(principal)
    }

    fn authenticate_jwt(
        &self,
        presented: &CheckedJwt,
        ask: &Ask,
    ) -> Result<Principal, TokenProblem> {
        let principal = self.identify_jwt(presented, ask.now)?;
        principal.may(ask.operation)?;
        Ok(principal)
    }

    fn identify_jwt(&self, presented: &CheckedJwt, now: i64) -> Result<Principal, TokenProblem> {
        let identity = presented.identity.as_ref().map_err(|error| TokenProblem::from(*error))?;
        let revocation_ids = presented.names.revocation_ids();
        if self.verifier.is_revoked(&revocation_ids) {
            return Err(TokenProblem::revoked());
        }
        if now >= identity.expires_at {
            return Err(AuthError::Expired.into());
        }
        Ok(Principal {
            subject: identity.subject.clone(),
            tenant: identity.tenant.clone(),
            role: identity.role,
            expires_at: identity.expires_at,
            narrowed_end: None,
            revocation_ids,
            origin: Origin::Provider,
        })
    }

    /// The identity in a call's bearer token, with any role and restriction.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] if the token is missing or invalid, [`Code::PermissionDenied`] if
    /// it is a playback token, [`Code::RateLimited`] after too many rejected tokens.
    pub fn caller<T>(&self, request: &Request<T>) -> Result<Principal, Problem> {
        let (token, now) = (bearer(request.metadata())?, self.clock.now_unix());
        let identified = match request.extensions().get::<CheckedJwt>() {
            Some(presented) => self.identify_jwt(presented, now),
            None => self.verifier.identify(token, now).map_err(TokenProblem::from),
        };
        let principal = identified.map_err(|rejected| {
            self.rejected_tokens.reject(rejected, self.client(request), self.clock.now_ms())
        })?;
        self.verifier.note_use(&principal, now);
        Ok(principal)
    }

    /// A call's bearer token as something from which other tokens are made, with any role and restriction.
    ///
    /// # Errors
    /// Those of [`Self::caller`], and [`Code::PermissionDenied`] if a restriction of the token
    /// cannot be copied.
    pub fn credential<T>(&self, request: &Request<T>) -> Result<Credential, Problem> {
        let principal = self.caller(request)?;
        if request.extensions().get::<CheckedJwt>().is_none() {
            let token = bearer(request.metadata())?;
            return self.verifier.credential(token, self.clock.now_unix()).map_err(problem);
        }
        let Principal { subject, tenant, role, expires_at, revocation_ids, .. } = principal;
        let grant = Grant { subject, tenant, role };
        Ok(Credential { grant, expires_at, revocation_ids, checks: Vec::new(), key: None })
    }

    /// Checks that the call's token is genuine, regardless of what it allows. Called before
    /// anything is looked up for the call.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] if it is not, [`Code::RateLimited`] after too many rejected
    /// tokens.
    pub fn verify_token<T>(&self, request: &Request<T>) -> Result<(), Problem> {
        let token = bearer(request.metadata())?;
        let verified = match request.extensions().get::<CheckedJwt>() {
            Some(presented) => {
                presented.identity.as_ref().map(drop).map_err(|r| TokenProblem::from(*r))
            }
            None => self.verifier.revocation_ids(token).map(drop).map_err(TokenProblem::from),
        };
        let now_ms = self.clock.now_ms();
        verified
            .map_err(|rejected| self.rejected_tokens.reject(rejected, self.client(request), now_ms))
    }

    /// The client's address: the peer's, or the one that a data plane sends on behalf of its
    /// client. The latter is trusted only together with the data plane's own token.
    pub fn client<T>(&self, request: &Request<T>) -> Option<IpAddr> {
        let peer = request.remote_addr().map(|address| address.ip());
        let named = request.metadata().get(api::CLIENT_METADATA);
        match named.and_then(|ip| ip.to_str().ok()?.parse().ok()) {
            Some(client) if self.by_plane(request) => Some(client),
            _ => peer,
        }
    }

    /// Whether a data plane makes the call: its own token is sent along with the caller's.
    pub fn by_plane<T>(&self, request: &Request<T>) -> bool {
        self.is_plane(request.metadata().as_ref(), request.remote_addr())
    }

    fn is_plane(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> bool {
        let token = headers.get(api::PLANE_METADATA).and_then(|text| text.to_str().ok());
        let Some(token) = token else { return false };
        let now = self.clock.now_unix();
        let address = peer.map(|address| address.ip());
        let ask = Ask { now, operation: Operation::Serve, video: None, address };
        self.verifier.authenticate(token, &ask).is_ok_and(|plane| may_serve(&plane))
    }

    /// When the client's request began, as reported by its data plane. A bearer token that was
    /// valid then remains valid for the call, so that a request with a long body can finish.
    pub fn began(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> i64 {
        let now = self.clock.now_unix();
        let began = headers.get(api::BEGAN_METADATA);
        let began = began.and_then(|text| text.to_str().ok()?.parse::<i64>().ok());
        match began {
            Some(began)
                if (now - REQUEST_SECONDS_MAX..now).contains(&began)
                    && self.is_plane(headers, peer) =>
            {
                began
            }
            _ => now,
        }
    }
}

/// Whether the caller may make a data plane's calls, which return data of every tenant. Only the
/// operator mints tokens for data planes; an admin of another tenant has no rights outside that
/// tenant.
fn may_serve(principal: &Principal) -> bool {
    principal.role == Role::Dataplane || principal.tenant == OPERATOR_TENANT
}

/// The error for a rejected token; it never contains any part of the token.
pub fn problem(error: AuthError) -> Problem {
    TokenProblem::from(error).problem
}

/// The owner of the rows that the caller sees and creates.
pub fn owner(principal: &Principal) -> Owner {
    Owner { tenant: principal.tenant.clone(), subject: principal.subject.clone() }
}
