//! The gate: which role each call takes. One table; a handler's first line goes through it.

use api::code::{Code, Problem};
use authz::{AuthError, Operation, Principal, Request as Ask};
use media::VideoId;
use tonic::{Request, metadata::MetadataMap};

use crate::{deps::Deps, domain::Owner};

/// Every call that takes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the calls in the .proto files")]
pub enum Rpc {
    CreateVideo,
    GetVideo,
    ListVideos,
    UpdateVideo,
    DeleteVideo,
    BeginUpload,
    CompleteUpload,
    AbortUpload,
    CreateJob,
    GetJob,
    ListJobs,
    CancelJob,
    RetryJob,
    WatchJob,
    Work,
    ListWorkers,
    DrainWorker,
    MintToken,
    MintPlaybackToken,
    GetIndex,
    WatchChanges,
    GetKeys,
    GetStatus,
    GetMetrics,
}

impl Rpc {
    /// What the call does, as roles see it. `RevokeToken` (an admin's, or the token itself) and
    /// `ExchangeToken` (the identity provider's token is the proof) are the two that are not here.
    pub const fn operation(self) -> Operation {
        match self {
            Self::GetVideo
            | Self::ListVideos
            | Self::GetJob
            | Self::ListJobs
            | Self::WatchJob
            | Self::ListWorkers
            | Self::MintPlaybackToken => Operation::Read,
            Self::CreateVideo
            | Self::UpdateVideo
            | Self::BeginUpload
            | Self::CompleteUpload
            | Self::AbortUpload
            | Self::CreateJob
            | Self::CancelJob
            | Self::RetryJob => Operation::Write,
            Self::DeleteVideo => Operation::Delete,
            Self::DrainWorker | Self::MintToken => Operation::Admin,
            Self::Work => Operation::Work,
            Self::GetIndex
            | Self::WatchChanges
            | Self::GetKeys
            | Self::GetStatus
            | Self::GetMetrics => Operation::Serve,
        }
    }
}

/// The bearer token of a call.
///
/// # Errors
/// [`Code::Unauthenticated`] when there is none.
pub fn bearer(metadata: &MetadataMap) -> Result<&str, Problem> {
    let missing = || Problem::new(Code::Unauthenticated, "a bearer token is needed");
    let value = metadata.get("authorization").ok_or_else(missing)?;
    let text = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(missing());
    }
    Ok(token.trim())
}

impl Deps {
    /// Lets a call in, or says why not. `video` is the one it is about, if it is about one.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] or [`Code::PermissionDenied`].
    pub fn enter<T>(
        &self,
        rpc: Rpc,
        request: &Request<T>,
        video: Option<VideoId>,
    ) -> Result<Principal, Problem> {
        let token = bearer(request.metadata())?;
        let ask = Ask {
            now: self.clock.now_unix(),
            operation: rpc.operation(),
            video,
            address: request.remote_addr().map(|address| address.ip()),
        };
        self.verifier.authenticate(token, &ask).map_err(refusal)
    }

    /// Whether the call's token is genuine at all: asked before anything is looked up for it.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`].
    pub fn genuine<T>(&self, request: &Request<T>) -> Result<(), Problem> {
        let token = bearer(request.metadata())?;
        self.verifier.revocation_ids(token).map(drop).map_err(refusal)
    }
}

/// What a caller is told about its token; never any part of it.
pub fn refusal(error: AuthError) -> Problem {
    match error {
        AuthError::Forbidden(_) => Problem::new(Code::PermissionDenied, error.to_string()),
        AuthError::Limit => Problem::new(Code::Unavailable, "the token took too long to check"),
        _ => Problem::new(Code::Unauthenticated, error.to_string()),
    }
}

/// Whose rows the caller sees and makes.
pub fn owner(principal: &Principal) -> Owner {
    Owner { tenant: principal.tenant.clone(), subject: principal.subject.clone() }
}
