//! Authorizes viewers: a public video needs no credentials; a private one needs a playback token
//! for it, or a bearer token that may read it. Tokens are verified offline, with the public keys.

use std::{net::IpAddr, sync::Arc};

use api::code::{Code, Problem};
use authz::{AuthError, Operation, Request};
use http::HeaderMap;
use media::{VideoId, index::Index};
use runtime::{Clock, SystemClock};

use super::Playback;
use crate::{
    control::{Control, caller::Caller},
    http::bearer,
};

/// Longest token that is parsed.
const TOKEN_BYTES_MAX: usize = 8192;

/// The credentials of a request.
pub(crate) struct Credentials {
    /// From `?token=`.
    pub(crate) token: Option<String>,
    /// From `Authorization: Bearer`.
    pub(crate) bearer: Option<String>,
    /// The client's address.
    pub(crate) address: IpAddr,
    /// The identity for exchanging the bearer token at the control plane, if it is a JWT.
    pub(crate) caller: Option<Caller>,
}

/// The rungs that the viewer may see, and the form of URLs in replies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Viewer {
    /// Added to every URL of a manifest.
    pub(crate) token: Option<String>,
    /// Rungs with more lines are hidden.
    pub(crate) max_height: Option<u32>,
    /// Whether shared caches must not store the reply.
    pub(crate) private: bool,
}

impl Credentials {
    /// Reads the credentials of a request.
    pub(crate) fn read(
        control: &Control,
        headers: &HeaderMap,
        query: Option<&str>,
        address: IpAddr,
    ) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let token = pairs.into_iter().find(|(name, _)| name == "token");
        let token = token.map(|(_, value)| value.into_owned()).filter(|token| !token.is_empty());
        let bearer = bearer::token(headers).map(str::to_owned);
        let caller = bearer.as_deref().filter(|bearer| authz::is_jwt(bearer));
        let caller = caller.map(|_| Caller::new(control, headers, address));
        Self { token, bearer, address, caller }
    }
}

/// The facts about a video that decide who may play it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protection {
    /// The video.
    pub(crate) video: VideoId,
    /// The tenant that owns it.
    pub(crate) tenant: String,
    /// Whether it plays without credentials.
    pub(crate) public: bool,
}

impl From<&Index> for Protection {
    fn from(index: &Index) -> Self {
        Self { video: index.video, tenant: index.tenant.clone(), public: index.public }
    }
}

/// Authorizes the viewer.
///
/// # Errors
/// 404 for a private video without credentials, because its existence is confidential; 403 for
/// credentials that do not permit it.
pub(crate) async fn authorize(
    playback: &Playback,
    video: &Protection,
    credentials: &Credentials,
) -> Result<Viewer, Problem> {
    if video.public && credentials.token.is_none() {
        return Ok(Viewer::default());
    }
    if let Some(token) = &credentials.token {
        return match by_token(playback, video, token, credentials.address) {
            Ok(viewer) => Ok(viewer),
            // A public video plays with any token in the URL.
            Err(_) if video.public => Ok(Viewer::default()),
            Err(problem) => Err(problem),
        };
    }
    let Some(bearer) = &credentials.bearer else { return Err(unknown()) };
    let exchanged = exchanged(playback, bearer, credentials).await?;
    by_bearer(playback, video, exchanged.as_deref().unwrap_or(bearer), credentials.address)?;
    Ok(Viewer { token: None, max_height: None, private: true })
}

/// The biscuit for a bearer token that is an identity provider's JWT; `None` for other tokens.
async fn exchanged(
    playback: &Playback,
    bearer: &str,
    credentials: &Credentials,
) -> Result<Option<Arc<str>>, Problem> {
    let Some(caller) = credentials.caller.as_ref().filter(|_| bearer.len() <= TOKEN_BYTES_MAX)
    else {
        return Ok(None);
    };
    match playback.exchange.biscuit(bearer, caller).await {
        Ok(biscuit) => Ok(Some(biscuit)),
        // The same error as for other invalid credentials.
        Err(problem) if matches!(problem.code, Code::Unauthenticated | Code::NotConfigured) => {
            Err(rejected(playback, &AuthError::Malformed))
        }
        Err(problem) => Err(problem),
    }
}

/// The error for a video that does not exist, cannot be played yet, or is confidential.
pub(crate) fn unknown() -> Problem {
    Problem::new(Code::NotFound, "the video does not exist or cannot be played yet")
}

fn by_token(
    playback: &Playback,
    video: &Protection,
    token: &str,
    address: IpAddr,
) -> Result<Viewer, Problem> {
    let private = !video.public;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(rejected(playback, &AuthError::Malformed));
    }
    let now = SystemClock.now_unix();
    match playback.verifier.playback(token, video.video, now, Some(address)) {
        Ok(playback) => {
            let token = Some(token.to_owned());
            Ok(Viewer { token, max_height: playback.max_height, private })
        }
        Err(error) => {
            // The URL may also contain a reader's bearer token.
            by_bearer(playback, video, token, address).map_err(|_| rejected(playback, &error))?;
            Ok(Viewer { token: Some(token.to_owned()), max_height: None, private })
        }
    }
}

fn by_bearer(
    playback: &Playback,
    video: &Protection,
    token: &str,
    address: IpAddr,
) -> Result<(), Problem> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(rejected(playback, &AuthError::Malformed));
    }
    let request = Request {
        now: SystemClock.now_unix(),
        operation: Operation::Read,
        video: Some(video.video),
        address: Some(address),
    };
    match playback.verifier.authenticate(token, &request) {
        Ok(principal) if principal.tenant == video.tenant => Ok(()),
        Ok(_) => Err(unknown()),
        Err(error) => Err(rejected(playback, &error)),
    }
}

fn rejected(playback: &Playback, error: &AuthError) -> Problem {
    playback.metrics.rejected_token(error.reason());
    match error {
        AuthError::Busy => Problem::new(Code::Unavailable, "the token cannot be checked now"),
        AuthError::Expired => Problem::new(Code::PermissionDenied, "the token has expired"),
        _ => Problem::new(Code::PermissionDenied, "the token does not allow this"),
    }
}
